"""The boards there are: one folder of boards/ each."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from lutra.host import runtime_directory
from lutra_compiler.errors import ConfigurationError


@dataclass(frozen=True)
class Board:
    """What board.toml says: GCC's name of the CPU, QEMU's of the machine, and where flash and RAM are."""

    name: str
    description: str
    machine: str
    cpu: str
    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int


def source_root() -> Path:
    """The folder of CMakeLists.txt, boards/ and runtime_c/."""
    return runtime_directory().parent


def boards() -> tuple[Board, ...]:
    """All boards, by name."""
    return tuple(
        Board(name=path.parent.name, **tomllib.loads(path.read_text())) for path in sorted(source_root().glob("boards/*/board.toml"))
    )


def board_by_name(name: str) -> Board:
    """The board called `name`. Raises ConfigurationError with the names there are."""
    for board in boards():
        if board.name == name:
            return board
    raise ConfigurationError(f"unknown board '{name}'; choose one of {', '.join(board.name for board in boards())}")
