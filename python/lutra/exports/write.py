"""Writes a project: all of it or nothing, and over nothing that is not to be replaced."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from lutra_compiler.errors import OutputError

LISTING = "lutra-export.json"  # a digest of every other file: how a later export knows what is not the user's


def write_project(files: Mapping[str, bytes], directory: Path, force: bool) -> None:
    """Makes `directory` hold `files`, by path, and a listing of them.

    It must be new or empty unless `force`: then files of the same names are replaced, and unchanged ones of an earlier listing that are not
    in `files` are removed; all others stay. Raises OutputError and leaves everything as it was.
    """
    directory = directory.absolute()
    digests = {name: _digest(content) for name, content in sorted(files.items())}
    files = {**files, LISTING: (json.dumps({"format": "lutra-export", "files": digests}, indent=1) + "\n").encode()}
    try:
        _require_writable(files, directory, force)
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as temporary:
            new, old = Path(temporary, "new"), Path(temporary, "old")
            now = int(time.time())  # one time for all: archives are smaller
            for name, content in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(content)
                os.utime(new / name, (now, now))
            if directory.is_dir() and any(directory.iterdir()):
                _exchange(files, _stale(files, directory), directory, new, old)
            else:
                new.replace(directory)  # an empty folder may be there
    except OSError as error:
        raise OutputError(f"the project cannot be written to {directory}: {error.strerror}; choose another folder") from error


def _require_writable(files: Iterable[str], directory: Path, force: bool) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise OutputError(f"{directory} is a link or a file, not a folder; choose another folder")
    if not directory.exists():
        return
    if not force and (present := sorted(path.name for path in directory.iterdir())):
        shown = ", ".join(map(ascii, present[:5])) + (", ..." if len(present) > 5 else "")
        raise OutputError(f"{directory} is not empty: {shown}; choose a new folder, or replace what has the same names (--force)")
    for name in files:
        path = directory / name
        folders = [directory / parent for parent in PurePosixPath(name).parents]
        if path.is_symlink() or path.is_dir() or any(f.is_symlink() or (f.exists() and not f.is_dir()) for f in folders):
            raise OutputError(f"{path} cannot be replaced by a file: a link or a folder is in its place; move it away")


def _stale(files: Mapping[str, bytes], directory: Path) -> list[str]:
    """What an earlier export wrote, nobody has changed since, and this one does not write."""
    try:
        listed = json.loads((directory / LISTING).read_bytes())["files"].items()
        return [name for name, digest in listed if name not in files and _is_unchanged(directory, name, digest)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _is_unchanged(directory: Path, name: str, digest: str) -> bool:
    path = (directory / name).resolve()
    return path.is_relative_to(directory.resolve()) and path.is_file() and _digest(path.read_bytes()) == digest


def _digest(content: bytes) -> str:
    """The beginning of its SHA-256: enough to notice an edit."""
    return hashlib.sha256(content).hexdigest()[:8]


def _exchange(files: Iterable[str], stale: Iterable[str], directory: Path, new: Path, old: Path) -> None:
    """Moves the files of `new` into `directory` and those in their place, and `stale` ones, to `old`; back again if that fails."""
    moved: list[tuple[Path, Path]] = []
    try:
        for name in (*stale, *files):
            for source, destination in ((directory / name, old / name), (new / name, directory / name)):
                if source.exists():
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    source.replace(destination)
                    moved.append((source, destination))
    except BaseException:
        for source, destination in reversed(moved):
            destination.replace(source)
        raise
