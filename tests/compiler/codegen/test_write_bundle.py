import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.errors import OutputError
from tiny_program import tiny_program


@pytest.fixture(scope="module")
def files() -> Mapping[str, str]:
    return emit(tiny_program(), "tiny", {})


@pytest.fixture(scope="module")
def other_files() -> Mapping[str, str]:
    """The next bundle of the same prefix."""
    return emit(tiny_program(), "tiny", {"generation": 2})


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_a_new_folder_holds_exactly_the_files(tmp_path: Path, files: Mapping[str, str]):
    write_bundle(files, tmp_path / "deep/er/tiny")
    assert content(tmp_path / "deep/er/tiny") == files


def test_an_empty_folder_is_filled(tmp_path: Path, files: Mapping[str, str]):
    (tmp_path / "tiny").mkdir()
    write_bundle(files, tmp_path / "tiny")
    assert content(tmp_path / "tiny") == files


def test_the_folder_has_the_usual_permissions(tmp_path: Path, files: Mapping[str, str]):
    (tmp_path / "usual").mkdir()
    write_bundle(files, tmp_path / "tiny")
    assert (tmp_path / "tiny").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_bundle_of_the_same_prefix_is_replaced(tmp_path: Path, files: Mapping[str, str], other_files: Mapping[str, str]):
    write_bundle(files, tmp_path / "tiny")
    write_bundle(other_files, tmp_path / "tiny")
    assert content(tmp_path / "tiny") == other_files
    assert os.listdir(tmp_path) == ["tiny"]


def foreign_file(directory: Path) -> None:
    (directory / "notes.txt").write_text("mine")


def edited_file(directory: Path) -> None:
    (directory / "tiny.c").write_text("mine")


def link(directory: Path) -> None:
    (directory / "tiny.h").rename(directory.parent / "elsewhere.h")
    (directory / "tiny.h").symlink_to(directory.parent / "elsewhere.h")


def subfolder(directory: Path) -> None:
    (directory / "more").mkdir()


def no_manifest(directory: Path) -> None:
    (directory / "tiny.json").unlink()


def foreign_manifest(directory: Path) -> None:
    (directory / "tiny.json").write_text('{"format": "something else"}')


def broken_manifest(directory: Path) -> None:
    (directory / "tiny.json").write_text("[" * 100_000)


def another_prefix(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    for name, text in emit(tiny_program(), "other", {}).items():
        (directory / name).write_text(text)


@pytest.mark.parametrize(
    "change", [foreign_file, edited_file, link, subfolder, no_manifest, foreign_manifest, broken_manifest, another_prefix]
)
def test_a_folder_with_foreign_files_is_left_untouched(tmp_path: Path, files: Mapping[str, str], change):
    write_bundle(files, tmp_path / "tiny")
    change(tmp_path / "tiny")
    before = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="choose a new folder"):
        write_bundle(files, tmp_path / "tiny")
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path, files: Mapping[str, str]):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tiny").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link"):
        write_bundle(files, tmp_path / "tiny")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, files: Mapping[str, str]):
    (tmp_path / "tiny").write_text("mine")
    with pytest.raises(OutputError, match="not a folder"):
        write_bundle(files, tmp_path / "tiny")


@pytest.mark.parametrize("successful_writes", range(4))
@pytest.mark.parametrize("previous", [False, True])
def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, files, other_files, monkeypatch, successful_writes: int, previous: bool):
    if previous:
        write_bundle(files, tmp_path / "tiny")
    write_text, left = Path.write_text, iter(range(successful_writes))

    def fail(path: Path, *arguments, **settings) -> int:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_text(path, *arguments, **settings)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_bundle(other_files, tmp_path / "tiny")
    assert {path.name: content(path) for path in tmp_path.iterdir()} == ({"tiny": files} if previous else {})


def test_a_bundle_that_cannot_be_moved_in_leaves_the_previous_one(tmp_path: Path, files, other_files, monkeypatch):
    write_bundle(files, tmp_path / "tiny")
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(other_files, tmp_path / "tiny")
    assert {path.name: content(path) for path in tmp_path.iterdir()} == {"tiny": files}


def test_a_killed_process_leaves_no_folder_of_that_name(tmp_path: Path):
    program = """
import os, sys
from pathlib import Path
from lutra_compiler.codegen.bundle import write_bundle
class Deadly(dict):
    def items(self):
        yield "tiny.h", "half"
        os._exit(9)
write_bundle(Deadly({"tiny.h": "", "tiny.json": ""}), Path(sys.argv[1], "tiny"))
"""
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode == 9
    assert not (tmp_path / "tiny").exists()
