"""What a program will take of flash and RAM, before any C is compiled: an upper bound from the measured sizes of code.

sizes.json holds them by target (benchmarks/sizes.py): the sections that a kernel links, its deepest stack, and a bound of the schedule.
"""

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutra_compiler.program.program import Program

TABLE = Path(__file__).with_name("sizes.json")
_SAME_CODE = {"cortex-m0plus": "cortex-m0"}
_ALWAYS = ("lutra_crc32",)


@dataclass(frozen=True)
class Footprint:
    """Bytes in flash and RAM. `model`: tables; `code`: kernels and schedule; `arena` with inputs and outputs. `code` and `stack` are upper
    bounds; without native Cortex-M code (target generic) those of the Cortex-M that needs the most."""

    model: int
    code: int
    arena: int
    stack: int

    @property
    def flash(self) -> int:
        """What --flash limits."""
        return self.model + self.code

    @property
    def ram(self) -> int:
        """What --ram limits."""
        return self.arena + self.stack


def footprint(program: Program) -> Footprint:
    """The footprint of a program's bundle in firmware."""
    kernels = {call.kernel for call in program.calls}
    arguments = sum(2 + len(call.tables) + len(call.inputs) + (call.scratch is not None) for call in program.calls)
    code = code_bytes(kernels, arguments, program.target)
    return Footprint(program.model_bytes, code, program.arena_bytes, stack_bytes(kernels, program.target))


def code_bytes(kernels: Iterable[str], arguments: int, target: str) -> int:
    """Flash of `kernels` and a schedule whose calls have `arguments` in all."""
    used = (*kernels, *_ALWAYS)

    def bound(sizes: dict[str, Any]) -> float:
        sections = {section for kernel in used for section in sizes["kernels"][kernel]["sections"]}
        return float(sum(sizes["sections"][section] for section in sections) + sizes["schedule"]["base"])

    return math.ceil(max(map(bound, _sizes(target))) + schedule_bytes(arguments, target))


def schedule_bytes(arguments: int, target: str) -> float:
    """The part of `code_bytes` that grows with the schedule."""
    return float(max(s["schedule"]["argument"] * arguments for s in _sizes(target)))


def stack_bytes(kernels: Iterable[str], target: str) -> int:
    """Stack that NAME_run and NAME_check take at most, the caller's not counted."""
    used = (*kernels, *_ALWAYS)
    return max(int(sizes["schedule"]["stack"]) + max(int(sizes["kernels"][kernel]["stack"]) for kernel in used) for sizes in _sizes(target))


def _sizes(target: str) -> tuple[dict[str, Any], ...]:
    table = _table()
    target = _SAME_CODE.get(target, target)
    return (table[target],) if target in table else tuple(table.values())


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = json.loads(TABLE.read_text())
    return loaded
