"""lutra_compiler.files: whole or not at all, and nothing is left behind."""

import os
from pathlib import Path

import pytest

from lutra_compiler.errors import OutputError
from lutra_compiler.files import write_atomically


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_ends_a_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    (tmp_path / "x").write_bytes(b"old")

    def stop(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"old")]


def test_what_a_killed_process_left_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / f".x.{os.getpid()}.tmp").touch()
    write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"


def test_others_may_read_the_file(tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "made").stat().st_mode
