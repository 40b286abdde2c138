"""Compiles C with the user's compiler into a cache keyed by everything that the result depends on."""

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lutra.host.errors import BundleError, ToolError

_FLAGS = ("-std=c99", "-O3", "-march=native", "-fPIC", "-w")


def runtime_directory() -> Path:
    """The C runtime: the repository's when running from its tree, else the copy installed with this package."""
    package = Path(__file__).resolve().parents[1]
    candidates = (package.parents[1] / "runtime_c", package / "runtime_c")
    for candidate in candidates:
        if (candidate / "include/lutra/lutra.h").is_file():
            return candidate
    raise ToolError(f"the C runtime is not at {' or '.join(map(str, candidates))}: install lutra-mcu again")


def cache_directory() -> Path:
    """Where compiled bundles and downloads are kept: `$LUTRA_CACHE`, else `$XDG_CACHE_HOME/lutra`, else `~/.cache/lutra`."""
    if chosen := os.environ.get("LUTRA_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lutra"


def runtime_abi(runtime: Path) -> int:
    """LUTRA_ABI_VERSION of a runtime."""
    header = runtime / "include/lutra/lutra.h"
    found = re.search(r"^#define LUTRA_ABI_VERSION (\d+)$", header.read_text() if header.is_file() else "", re.MULTILINE)
    if not found:
        raise BundleError(f"{runtime} is no Lutra runtime: {header} is missing or defines no LUTRA_ABI_VERSION")
    return int(found[1])


class Builder:
    """A C compiler and a runtime. `compiler` is a command with options, which override ours; by default `$CC`, else `cc`."""

    def __init__(self, runtime: Path, compiler: str | None = None) -> None:
        name, *options = shlex.split(compiler or os.environ.get("CC") or "") or ["cc"]
        self._command = (name, *_FLAGS, *options)
        self._include = runtime.resolve() / "include"
        self._identity = _identity(self._command)
        self._headers = sorted(self._include.rglob("*.h"))
        # Native loops are for Arm; their headers are there for loops.h alone.
        self._kernels = sorted(path for folder in ("", "kernels/", "reference/") for path in runtime.resolve().glob(f"src/{folder}*.[ch]"))

    def library(self, main: Path, files: dict[str, bytes], defines: Sequence[str]) -> Path:
        """A shared library of `main`, which includes some of `files`, and the runtime. Raises ToolError."""
        runtime = self._runtime()
        contents = [main.read_bytes(), *(part for name in sorted(files) for part in (name.encode(), files[name]))]

        def build(folder: Path, result: Path) -> None:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            self._run(folder, *defines, f"-I{folder}", "-shared", "-o", str(result), str(main), str(runtime))

        return _cached(self._key(runtime.name.encode(), *(d.encode() for d in defines), *contents), ".so", build)

    def _runtime(self) -> Path:
        """All kernels in one object."""

        def build(folder: Path, result: Path) -> None:
            self._run(folder, "-c", *(str(path) for path in self._kernels if path.suffix == ".c"))
            self._run(folder, "-r", "-nostdlib", "-o", str(result), *map(str, folder.glob("*.o")))

        return _cached(self._key(*(path.read_bytes() for path in (*self._headers, *self._kernels))), ".o", build)

    def _key(self, *parts: bytes) -> str:
        lengths_and_parts = (field for part in (self._identity, *parts) for field in (b"%d:" % len(part), part))
        return hashlib.sha256(b"".join(lengths_and_parts)).hexdigest()[:32]

    def _run(self, folder: Path, *arguments: str) -> None:
        command = [*self._command, f"-I{self._include}", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise ToolError(f"the C compiler failed:\n{shlex.join(command)}\n{done.stderr[-2000:]}")


@functools.cache
def _identity(command: tuple[str, ...]) -> bytes:
    """Version, options and CPU of the compiler, as its predefined macros tell them."""
    if shutil.which(command[0]) is None:
        raise ToolError(f"the C compiler '{command[0]}' was not found: install gcc or clang (Debian: apt install gcc), or name one in CC")
    probe = [*command, "-dM", "-E", "-x", "c", os.devnull]
    done = subprocess.run(probe, capture_output=True, check=False)
    if done.returncode:
        raise ToolError(f"the C compiler failed:\n{shlex.join(probe)}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return shlex.join(command).encode() + done.stdout


def _cached(key: str, suffix: str, build: Callable[[Path, Path], None]) -> Path:
    """The file `key` of the cache, made by `build(folder, result)` in a folder of its own and then moved: whole or not there."""
    cache = cache_directory() / "host"
    path = cache / f"{key}{suffix}"
    try:
        if not path.exists():
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                result = Path(folder, "result")
                build(Path(folder), result)
                result.replace(path)
    except OSError as error:
        raise ToolError(f"the cache {cache} cannot be written: {error.strerror}; set LUTRA_CACHE to a folder of yours") from error
    return path
