"""The deepest use of the stack that the code of an ELF allows, found in its disassembly: generated C calls named functions only."""

import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lutra.host import ToolError

_FUNCTION = re.compile(r"^([0-9a-f]+) <(.+)>:$")
_INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(\S+)(?:\t([^@;\n]*))?")
_LISTED = re.compile(r"(?:([rsdq])(\d+)-[rsdq](\d+))|\b(r\d+|sl|fp|ip|lr|pc|[sd]\d+|q\d)\b")
_BYTES = {"s": 4, "d": 8, "q": 16}
_BRANCH = re.compile(r"b(l|x|lx|eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.[nw])?|cbn?z")


def worst_stack_bytes(elf: Path, functions: Sequence[str], vector: bool = False) -> int:
    """Bytes of stack that any of `functions` takes at most, all that it calls included, the caller's frame not.

    `vector`: the code has instructions of Helium. Every push of a function counts, whether or not they meet. Raises ToolError for code
    whose stack is not bounded: recursion, calls through pointers, frames of variable size.
    """
    options = ["-m", "armv8.1-m.main", "-M", "force-thumb"] if vector else []
    command = ["arm-none-eabi-objdump", "-d", "--no-show-raw-insn", *options, str(elf)]
    frames, calls, address_of = _functions(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    open_calls: list[int] = []

    @cache
    def depth(function: int) -> int:
        if function in open_calls:
            raise ToolError(f"{elf.name}: the function at {function:#x} calls itself; its stack is not bounded")
        open_calls.append(function)
        deepest = frames[function] + max((depth(called) for called in sorted(calls[function])), default=0)
        open_calls.pop()
        return deepest

    return max(depth(address_of[function]) for function in functions)


def _functions(text: str) -> tuple[dict[int, int], dict[int, set[int]], dict[str, int]]:
    """Bytes that each function itself puts on the stack, what it calls, by address, and the addresses by name."""
    frames: dict[int, int] = {}
    calls: dict[int, set[int]] = {}
    address_of: dict[str, int] = {}
    branches: list[tuple[int, int]] = []
    now = 0
    for line in text.splitlines():
        if start := _FUNCTION.match(line):
            now = int(start[1], 16)
            address_of[start[2]] = now
            frames[now], calls[now] = 0, set()
        elif found := _INSTRUCTION.match(line):
            name, operands = found[2], (found[3] or "").strip()
            frames[now] += _pushed(name, operands)
            target = re.match(r"(?:\w+, )?([0-9a-f]+) <", operands)
            if _BRANCH.fullmatch(name) and target:
                branches.append((now, int(target[1], 16)))
            elif name.startswith("blx"):
                raise ToolError(f"the function at {now:#x} calls through a pointer; its stack is not known")
    for function, called in branches:
        if called in frames and called != function:
            calls[function].add(called)
    return frames, calls, address_of


def _pushed(name: str, operands: str) -> int:
    base = name.partition(".")[0]
    if base in ("push", "vpush") or (base in ("stmdb", "vstmdb") and operands.startswith("sp!")):
        return sum(_register_bytes(*match.groups()) for match in _LISTED.finditer(operands[operands.index("{") :]))
    if written := re.search(r"\[sp, #-(\d+)\]!", operands):
        return int(written[1])
    if base in ("sub", "subw", "subs") and operands.startswith("sp,"):
        amount = re.search(r"#(\d+)$", operands)
        if amount is None:
            raise ToolError(f"a frame of variable size ('{name} {operands}'); its stack is not known")
        return int(amount[1])
    if base in ("add", "adds") and re.fullmatch(r"sp, (sp, )?r\d+", operands):
        raise ToolError(f"a frame of a size in a register ('{name} {operands}'); its stack is not known")
    return 0


def _register_bytes(kind: str | None, first: str, last: str, single: str | None) -> int:
    if single is not None:
        return _BYTES.get(single[0], 4) if single[1:].isdecimal() else 4
    assert kind is not None
    return (int(last) - int(first) + 1) * _BYTES.get(kind, 4)
