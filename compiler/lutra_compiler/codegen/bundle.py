"""Writes a bundle: all four files or none, and never over anything that is not a bundle of the same prefix."""

import hashlib
import json
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lutra_compiler.codegen.manifest import FORMAT
from lutra_compiler.errors import OutputError


def write_bundle(files: Mapping[str, str], directory: Path) -> None:
    """Makes `directory` hold exactly `files` (of `emit`), in one rename.

    An existing `directory` must be empty or hold an unchanged bundle of the same prefix. Raises OutputError and leaves it as it is
    otherwise.
    """
    directory = directory.absolute()
    try:
        _require_replaceable(files, directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as temporary:
            new, old = Path(temporary, "new"), Path(temporary, "old")
            new.mkdir()
            for name, text in files.items():
                (new / name).write_text(text, encoding="ascii", newline="\n")
            if directory.exists():
                directory.rename(old)
            try:
                new.rename(directory)
            except BaseException:
                if old.exists():
                    old.rename(directory)
                raise
    except OSError as error:
        raise OutputError(f"the bundle cannot be written to {directory}: {error.strerror}; choose another folder") from error


def _require_replaceable(files: Mapping[str, str], directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise OutputError(f"{directory} is a link or a file, not a folder; choose another folder")
    if not directory.exists():
        return
    written = _previous_bundle(files, directory)
    foreign = sorted(
        entry.name
        for entry in directory.iterdir()
        if not stat.S_ISREG(entry.lstat().st_mode)
        or (entry.name not in written)
        or (written[entry.name] is not None and written[entry.name] != hashlib.sha256(entry.read_bytes()).hexdigest())
    )
    if foreign:
        shown = ", ".join(map(ascii, foreign[:5])) + (", ..." if len(foreign) > 5 else "")
        raise OutputError(
            f"{directory} holds files that are no unchanged bundle of this prefix: {shown}; choose a new folder or move them away"
        )


def _previous_bundle(files: Mapping[str, str], directory: Path) -> dict[str, str | None]:
    """SHA-256 of the files of the bundle in `directory` by its manifest (None for the manifest itself); empty if there is none."""
    name = next(name for name in files if name.endswith(".json"))
    path = directory / name
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_bytes())
        known = manifest["format"] == FORMAT and manifest["prefix"] == path.stem and set(manifest["files"]) == set(files) - {name}
        return {**manifest["files"], name: None} if known else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
