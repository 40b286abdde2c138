"""The C runtime as other builds use it: where it is, and which of its files a bundle needs."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lutra.host import runtime_directory

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
_MACRO = re.compile(r"^\s*#\s*define\s+(\w+)((?:\\\n|[^\n])*)", re.MULTILINE)
_FUNCTION = re.compile(r"^(?P<head>[A-Za-z_][^;{}#]*?)(?P<name>\w+)\s*\([^(){};]*\)\s*\{(?P<body>.*?)^\}", re.MULTILINE | re.DOTALL)
_BACKENDS = {  # the CPUs that loops.h includes each for; any other folder is for all
    "arm_v6m": ("cortex-m0", "cortex-m0plus"),
    "arm_v7m": ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"),
    "arm_mve": ("cortex-m55",),
}
_NAME = re.compile(r"[A-Za-z_]\w*")


def get_include() -> str:
    """The folder for -I: that of lutra/lutra.h."""
    return str(runtime_directory() / "include")


def get_sources() -> list[str]:
    """All C files of the runtime. Each is empty for a CPU that it is not meant for, so that any build may compile them all."""
    return [str(path) for path in runtime_sources()]


def cmake_directory() -> Path:
    """The folder of lutra-config.cmake, for -Dlutra_DIR=."""
    return runtime_directory() / "cmake"


def runtime_sources() -> tuple[Path, ...]:
    """The same as `get_sources`: what runtime_c/CMakeLists.txt compiles."""
    return tuple(sorted((runtime_directory() / "src").rglob("*.c")))


def license_text() -> str:
    """The licence of the runtime, without the appendix that tells how to apply it to one's own work."""
    terms, end, _ = (runtime_directory().parent / "LICENSE").read_text(encoding="ascii").partition("END OF TERMS AND CONDITIONS\n")
    return terms + end


def needed_files(code: str, cpu: str | None = None) -> tuple[Path, ...]:
    """The C files and headers of the runtime that `code`, the C of a bundle, needs on `cpu`; on any CPU if None.

    Found as a compiler and a linker would, without deciding on #if: from the names in `code` through the macros, inline functions and
    functions that they are, and from the #include lines of all of that. Without the native loops of other CPUs, whose part the portable
    ones can play.
    """
    include = runtime_directory() / "include"
    files = {include / name for name in _INCLUDE.findall(code) if (include / name).is_file()}
    seen: set[str] = set()
    new = set(_NAME.findall(_COMMENT.sub("", code)))
    while new:
        seen |= new
        found: set[str] = set()
        for name in new:
            found |= _expansions().get(name, frozenset())
            for path in _definitions().get(name, ()):
                if _is_for(path, cpu):
                    files.add(path)
                    found.update(_NAME.findall(_code(path)))
        new = found - seen
    pending = list(files)
    while pending:
        included = {path for path in _included(pending.pop()) if _is_for(path, cpu)} - files
        files |= included
        pending += included
    return tuple(sorted(files))


def without_comments(path: Path) -> str:
    """A file of the runtime as code alone, under its licence line, indented by a space a level."""
    code = re.sub(r"[ \t]+(\\?\n)", r"\1", _code(path))
    code = re.sub(r"^ +", lambda spaces: " " * min(len(spaces[0]) // 2, 4), code, flags=re.MULTILINE)
    code = re.sub(r"\n{3,}", "\n\n", code)
    return "/* SPDX-License-Identifier: Apache-2.0 */\n" + code.lstrip()


def _is_for(path: Path, cpu: str | None) -> bool:
    return cpu is None or cpu in _BACKENDS.get(path.parent.name, (cpu,))


def _included(path: Path) -> Iterator[Path]:
    """The headers of the runtime that a file of it includes, whatever the #if around them."""
    for name in _INCLUDE.findall(path.read_text()):
        for folder in (path.parent, runtime_directory() / "include"):
            if (candidate := (folder / name).resolve()).is_file():
                yield candidate
                break


@cache
def _code(path: Path) -> str:
    return _COMMENT.sub("", path.read_text())


@cache
def _definitions() -> dict[str, tuple[Path, ...]]:
    """The files that define each function."""
    defined: dict[str, tuple[Path, ...]] = {}
    for path in runtime_sources():
        for function in _FUNCTION.finditer(_code(path)):
            if "static" not in function["head"].split():
                defined[function["name"]] = (*defined.get(function["name"], ()), path)
    return defined


@cache
def _expansions() -> dict[str, frozenset[str]]:
    """The names in what each macro and inline function stands for; of several definitions, in all."""
    defined: dict[str, frozenset[str]] = {}
    for path in sorted(runtime_directory().rglob("*.h")):
        text = _code(path)
        bodies = [(macro[1], macro[2]) for macro in _MACRO.finditer(text)]
        bodies += [(function["name"], function["body"]) for function in _FUNCTION.finditer(text)]
        for name, body in bodies:
            defined[name] = defined.get(name, frozenset()) | frozenset(_NAME.findall(body))
    return defined
