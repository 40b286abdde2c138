"""What Lutra needs of this machine, whether it is there, and how to mend what is not."""

import contextlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from lutra.boards import boards
from lutra.boards.tools import PACKAGES
from lutra.errors import LutraError, one_family
from lutra.host.build import cache_directory, runtime_abi, runtime_directory
from lutra.zoo import data as zoo_data
from lutra_compiler import __version__
from lutra_compiler.program.program import ABI_VERSION

_DISTRIBUTION = "lutra-mcu"
_SECONDS = 20  # that a tool may take to tell its version
_TOOLS = {
    "cmake": "firmware: bench and validate with --board, sizes read from an ELF",
    "ninja": "the same",
    "arm-none-eabi-gcc": "the same",
    "qemu-system-arm": "emulated boards: --board",
}
_EXTRAS = {  # a package -> the extra that brings it, and what it is for
    "torch": ("train", "compress, and float networks in validate and report"),
    "accelerate": ("train", "compress"),
    "pillow": ("data", "folders of images as samples, fetching CIFAR-10"),
    "pyserial": ("serial", "boards at a serial port: validate --port"),
    "matplotlib": ("plot", "the picture of compress --pareto"),
}


@dataclass(frozen=True)
class Finding:
    """Something that is needed for `purpose`. `found` is what is there, None if it is missing or of no use; then `remedy` mends it.

    Without what is `required` Lutra does not work; without the rest it does less.
    """

    name: str
    purpose: str
    required: bool
    found: str | None
    remedy: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it is there, or can be done without."""
        return self.found is not None or not self.required


def examine() -> tuple[Finding, ...]:
    """Everything, what is required first."""
    required = (_python(), *_packages(), _runtime(), _compiler(), _cache())
    return (*required, *map(_tool, _TOOLS), _newlib(), _boards(), *map(_extra, _EXTRAS), *map(_data_set, zoo_data.NAMES))


def _python() -> Finding:
    return Finding("Python", "all", True, f"{platform.python_version()}, lutra {__version__}")


def _packages() -> tuple[Finding, ...]:
    """The packages that this installation says it needs; one for all if they are there."""
    try:
        needs = [r for r in importlib.metadata.requires(_DISTRIBUTION) or () if "extra ==" not in r]
    except importlib.metadata.PackageNotFoundError:
        return (Finding("packages", "all", True, "not checked: lutra runs from its source tree"),)
    wrong = [problem for need in needs if (problem := _problem(need))]
    if not wrong:
        return (Finding("packages", "all", True, f"{len(needs)}, all as new as needed"),)
    return tuple(Finding(problem, "all", True, None, f"pip install --upgrade {_DISTRIBUTION}") for problem in wrong)


def _problem(requirement: str) -> str:
    """What is wrong with a package of which "NAME>=VERSION" is needed; empty if nothing is."""
    name, minimum = re.match(r"([\w.-]+)[^;]*?(?:>=([\d.]+)|$|;)", requirement).groups()  # type: ignore[union-attr]
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name
    return f"{name} {version}, {minimum} is needed" if minimum and _numbers(version) < _numbers(minimum) else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _runtime() -> Finding:
    def find() -> str:
        directory = runtime_directory()
        if (abi := runtime_abi(directory)) != ABI_VERSION:
            raise LutraError(f"{directory} has ABI {abi}, the compiler writes for ABI {ABI_VERSION}")
        return f"ABI {abi}"

    return _found("C runtime", "generate, validate, bench", True, find, f"pip install --force-reinstall {_DISTRIBUTION}")


def _compiler() -> Finding:
    name = (shlex.split(os.environ.get("CC") or "") or ["cc"])[0]
    remedy = f"install {PACKAGES['cc']} (Debian), or name a C compiler in CC"
    return Finding(name, "validate, bench, report: they run the C here", True, _version(name), remedy)


def _cache() -> Finding:
    def find() -> str:
        directory = cache_directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return str(directory)

    return _found("cache", "compiled bundles and data sets", True, find, "set LUTRA_CACHE to a folder that you may write to")


def _tool(name: str) -> Finding:
    return Finding(name, _TOOLS[name], False, _version(name), f"install {PACKAGES[name]} (Debian: apt-get install {PACKAGES[name]})")


def _newlib() -> Finding:
    """Debian has Arm's compiler in one package and its C library in another."""
    name = "arm-none-eabi-gcc"
    where = "" if _version(name) is None else _output(name, "-print-file-name=libc.a")
    remedy = f"install {PACKAGES[name]} (Debian: apt-get install {PACKAGES[name]})"
    return Finding("newlib", "firmware", False, os.path.normpath(where) if "/" in where else None, remedy)


def _boards() -> Finding:
    remedy = f"pip install --force-reinstall {_DISTRIBUTION}"
    return _found("boards", "--board", False, lambda: ", ".join(board.name for board in boards()), remedy)


def _extra(name: str) -> Finding:
    extra, purpose = _EXTRAS[name]
    version = None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version(name)
    return Finding(name, purpose, False, version, f"pip install '{_DISTRIBUTION}[{extra}]'")


def _data_set(name: zoo_data.Name) -> Finding:
    found = "whole, by its SHA-256" if zoo_data.is_fetched(name) else None
    return Finding(name, "the zoo's networks", False, found, f"lutra data fetch {name}")


def _found(name: str, purpose: str, required: bool, find: Callable[[], str], remedy: str) -> Finding:
    """What `find` finds, if it does."""
    try:
        with one_family():
            return Finding(name, purpose, required, find())
    except (LutraError, OSError) as error:
        return Finding(name, purpose, required, None, f"{error}; {remedy}")


def _version(tool: str) -> str | None:
    """The first line that a tool prints of itself; None if it is not there or does not run."""
    if shutil.which(tool) is None:
        return None
    try:
        return _output(tool, "--version") or "runs"
    except (OSError, subprocess.SubprocessError):
        return None


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=True)
    return next(iter(done.stdout.splitlines()), "")
