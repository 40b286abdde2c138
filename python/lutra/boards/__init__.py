"""Firmware for boards, and boards in QEMU. Reads only the bundle, the runtime and the sources in boards/."""

from lutra.boards.board import Board, board_by_name, boards
from lutra.boards.emulator import BoardRun, require_board, run_firmware
from lutra.boards.firmware import Firmware, FlashUse, RamUse, build_firmware, build_firmwares

__all__ = [
    "Board", "BoardRun", "Firmware", "FlashUse", "RamUse", "board_by_name", "boards", "build_firmware", "build_firmwares",
    "require_board", "run_firmware",
]
