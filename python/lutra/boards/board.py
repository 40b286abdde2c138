"""The boards there are: one folder of boards/ each."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lutra.host import runtime_directory
from lutra_compiler.errors import ConfigurationError


@dataclass(frozen=True)
class Board:
    """What board.toml says: GCC's name of the CPU, and where flash and RAM are.

    `machine`: QEMU's name of it; None if it has none. `link`: how its firmware gets samples, from a debugger or on the serial port.
    """

    name: str
    description: str
    cpu: str
    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int
    machine: str | None = None
    link: Literal["semihosting", "uart"] = "semihosting"


def source_root() -> Path:
    """The folder of CMakeLists.txt, boards/ and runtime_c/."""
    return runtime_directory().parent


def boards() -> tuple[Board, ...]:
    """All boards, by name."""
    return tuple(
        Board(name=path.parent.name, **tomllib.loads(path.read_text())) for path in sorted(source_root().glob("boards/*/board.toml"))
    )


def counting_boards() -> tuple[Board, ...]:
    """The boards whose firmware QEMU runs and counts the instructions of."""
    return tuple(board for board in boards() if board.link == "semihosting")


def board_by_name(name: str, target: str | None = None) -> Board:
    """The board called `name`. Raises ConfigurationError with the names there are, or if the processor is not the `target` asked for."""
    for board in boards():
        if board.name == name:
            if target not in (None, board.cpu):
                raise ConfigurationError(f"the board {name} has a {board.cpu}, not a {target}; give one of the two")
            return board
    raise ConfigurationError(f"unknown board '{name}'; choose one of {', '.join(board.name for board in boards())}")
