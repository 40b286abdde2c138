"""Samples and labels, from NumPy files."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lutra_compiler.errors import DataError
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.shapes import infer_shapes

_IMAGES = ("images", "inputs", "samples", "x")
_LABELS = ("labels", "y")
_MIXING_SEED = 0
_MOST_HELD_OUT = 5000


@dataclass(frozen=True)
class Dataset:
    """Samples as a network takes them. `images`: float32 [n, *source shape]; `labels`: int64 [n], or None if not known.

    `numbers`: int64 [n], where each sample stands in its source, from 0, if the order is random; None if it is the source's.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None = None
    numbers: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def head(self, samples: int | None) -> "Dataset":
        """The first `samples` samples; all of them for None."""
        return self._part(slice(samples))

    def mixed(self) -> "Dataset":
        """The samples in a random order, the same every time, so that the first of them, and the last, are of all classes; as they are
        if they are mixed already."""
        if self.numbers is not None:
            return self
        order = mixed_order(len(self))
        return replace(self._part(order), numbers=order)

    def number_of(self, place: int) -> int:
        """Where the sample at `place` stands in its source, from 0."""
        return place if self.numbers is None else int(self.numbers[place])

    def hold_out(self, samples: int | None = None) -> "tuple[Dataset, Dataset]":
        """All but the last `samples` samples, and those: for None a tenth, 5,000 at most. Raises DataError if none are left."""
        samples = max(1, min(len(self) // 10, _MOST_HELD_OUT)) if samples is None else samples
        if samples >= len(self):
            raise DataError(f"of {len(self)} sample(s) {samples} cannot be held out for validation; give more, or --validation")
        return self._part(slice(-samples)), self._part(slice(-samples, None))

    def _part(self, chosen: slice | npt.NDArray[np.int64]) -> "Dataset":
        labels, numbers = (None if array is None else array[chosen] for array in (self.labels, self.numbers))
        return Dataset(self.images[chosen], labels, numbers)

    def check(self, graph: Graph) -> None:
        """Raise DataError unless these are samples for `graph`, with labels that it can give."""
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise DataError(f"samples are for networks of one input and one output; this has {len(graph.inputs)} and {len(graph.outputs)}")
        expected = graph.inputs[0].source_shape
        if self.images.shape[1:] != expected:
            raise DataError(f"samples have shape {self.images.shape[1:]}, but the network takes {expected} ({graph.inputs[0].layout})")
        if self.labels is None:
            return
        scores = infer_shapes(graph)[graph.outputs[0]]
        if len(scores) != 1:
            raise DataError(f"labels are for a network whose output is a vector; this has {scores}: flatten it, or leave out the labels")
        if int(self.labels.max()) >= scores[0]:
            raise DataError(f"there is a label {int(self.labels.max())}, but the network has {scores[0]} outputs: labels count from 0")


def mixed_order(samples: int) -> npt.NDArray[np.int64]:
    """int64 [samples]: the numbers 0..samples-1 in a random order, the same every time."""
    return np.random.default_rng(_MIXING_SEED).permutation(samples)


def read_dataset(path: Path) -> Dataset:
    """Samples from a .npy file, a .npz file, or a folder of .npy files; nothing pickled is read.

    Arrays are found by name: "images", "inputs", "samples" or "x", and "labels" or "y"; a .npy file or a .npz file of one array holds
    samples only. Raises DataError.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; give a .npz or .npy file, or a folder of .npy files")
    try:
        arrays = _read_arrays(path)
    except Exception as error:  # whatever NumPy and zipfile meet in a damaged file
        raise DataError(f"{path} cannot be read: {error}; write it with numpy.savez(path, images=..., labels=...)") from error
    images, labels = _named(arrays, _IMAGES), _named(arrays, _LABELS)
    if images is None and len(arrays) == 1:
        images, labels = next(iter(arrays.values())), None
    if images is None:
        raise DataError(f"{path} holds the arrays {', '.join(arrays) or 'none'}; the samples must be called 'images'")
    if labels is None and len(arrays) > 1:
        raise DataError(f"{path} holds the arrays {', '.join(arrays)}; call the labels 'labels', or leave out what is neither")
    return make_dataset(images, labels, str(path))


def make_dataset(images: npt.ArrayLike, labels: npt.ArrayLike | None = None, source: str = "the data") -> Dataset:
    """Samples from arrays or tensors: floating images [n, ...] without NaN, integer labels [n] from 0. Raises DataError naming `source`."""
    images, labels = _array(images, source), None if labels is None else _array(labels, source)
    if images.dtype.kind != "f" or images.ndim < 2 or not len(images):
        raise DataError(
            f"{source}: samples are {images.dtype} {list(images.shape)}; they must be float [n, ...], preprocessed as for the float network"
        )
    with np.errstate(over="ignore"):  # to infinity, refused below
        samples: npt.NDArray[np.float32] = images.astype(np.float32)
    finite = np.isfinite(samples.reshape(len(samples), -1)).all(1)
    if not finite.all():
        raise DataError(f"{source}: sample {int(finite.argmin())} holds NaN or infinity; remove it")
    if labels is None:
        return Dataset(samples)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or not 0 <= int(labels.min()) <= int(labels.max()) < 1 << 31:
        raise DataError(f"{source}: labels are {labels.dtype} {list(labels.shape)}; they must be class numbers from 0, one a sample")
    return Dataset(samples, labels.astype(np.int64))


def _array(values: npt.ArrayLike, source: str) -> npt.NDArray[np.generic]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors on a GPU or with a gradient
        raise DataError(f"{source}: {error}") from error


def _read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    if path.is_dir():
        return {file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))}
    with path.open("rb") as stream:  # np.load leaves a file that it opened itself open if it is damaged
        loaded = np.load(stream, allow_pickle=False)
        return {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)


def _named(arrays: dict[str, npt.NDArray[np.generic]], names: Iterable[str]) -> npt.NDArray[np.generic] | None:
    return next((arrays[name] for name in names if name in arrays), None)
