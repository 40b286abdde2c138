"""Firmware for boards, and boards in QEMU. Reads only the bundle, the runtime and the sources in boards/."""

from lutra.boards.board import Board, board_by_name, boards, counting_boards
from lutra.boards.emulator import BoardRun, emulated_port, require_board, require_counting_board, run_firmware
from lutra.boards.firmware import Firmware, FlashUse, RamUse, build_firmware, build_firmwares
from lutra.boards.footprint import MeasuredFootprint, measure_footprint
from lutra.boards.serial_link import SerialRun, open_port, run_on_line

__all__ = [
    "Board", "BoardRun", "Firmware", "FlashUse", "MeasuredFootprint", "RamUse", "SerialRun", "board_by_name", "boards", "build_firmware",
    "build_firmwares", "counting_boards", "emulated_port", "measure_footprint", "open_port", "require_board", "require_counting_board",
    "run_firmware", "run_on_line",
]
