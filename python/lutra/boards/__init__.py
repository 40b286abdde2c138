"""Firmware for boards, and boards in QEMU. Reads only the bundle, the runtime and the sources in boards/."""

from lutra.boards.board import Board, board_by_name, boards
from lutra.boards.emulator import BoardRun, require_board, run_firmware
from lutra.boards.firmware import Firmware, FlashUse, RamUse, build_firmware, build_firmwares
from lutra.boards.footprint import MeasuredFootprint, measure_footprint

__all__ = [
    "Board", "BoardRun", "Firmware", "FlashUse", "MeasuredFootprint", "RamUse", "board_by_name", "boards", "build_firmware",
    "build_firmwares", "measure_footprint", "require_board", "run_firmware",
]
