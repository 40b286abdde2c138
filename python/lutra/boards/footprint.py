"""What a bundle takes of a product's flash and RAM, read from an ELF that it is linked into."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from lutra.boards.board import Board, counting_boards
from lutra.boards.firmware import ARMV6M, build_firmware
from lutra.boards.stack import worst_stack_bytes
from lutra_compiler.errors import ConfigurationError


@dataclass(frozen=True)
class MeasuredFootprint:
    """Bytes. `model`: tables; `code`: kernels, schedule and what they need of libgcc and libc; `stack`: the most that a run or a check
    takes; `data`: the rest of .data and .bss."""

    model: int
    code: int
    arena: int
    stack: int
    data: int

    @property
    def flash(self) -> int:
        """What --flash limits."""
        return self.model + self.code

    @property
    def ram(self) -> int:
        """What --ram limits."""
        return self.arena + self.stack + self.data


def measure_footprint(bundle: Path, cpu: str, build_dir: Path | None = None) -> MeasuredFootprint:
    """Link the bundle for `cpu` and measure. Raises ToolError if a tool is missing; `build_dir` as for `build_firmware`."""
    with tempfile.TemporaryDirectory() as folder:
        board = roomiest_board(cpu)
        firmware = build_firmware(bundle, board, build_dir or Path(folder), None if board.cpu == cpu else cpu)
        prefix = firmware.manifest.prefix
        stack = worst_stack_bytes(firmware.elf, [f"{prefix}_run", f"{prefix}_check"], vector=cpu == "cortex-m55")
        return MeasuredFootprint(firmware.flash.model, firmware.flash.kernels, firmware.ram.arena, stack, firmware.ram.data)


def roomiest_board(cpu: str) -> Board:
    """The board with the most memory that code for `cpu` can be linked for."""
    there = counting_boards()
    fits = [board for board in there if board.cpu == cpu or (cpu in ARMV6M and board.cpu == "cortex-m3")]
    if not fits:
        raise ConfigurationError(f"no board runs code for {cpu}; there are boards for {', '.join(sorted({b.cpu for b in there}))}")
    return max(fits, key=lambda board: (board.flash_bytes + board.ram_bytes, board.name))
