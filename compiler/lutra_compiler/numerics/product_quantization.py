"""Product quantization of a weight's rows: subvectors, row scales, one codebook of int8 codewords (Jegou 2011)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from lutra_compiler.numerics.k_means import CODEWORD_L1_LIMIT, FloatArray, entropy, k_means

ROW_SIZE_FLOOR = 2.0**-12  # of the largest row


@dataclass(frozen=True)
class QuantizedRows:
    """A weight [out, ..., channels] as `scale[o] * codebook[indices[o, tap, m]]`.

    `codebook`: int8 [K, d]; `indices`: uint8 [out, taps, subvectors]; `scale`: float32 [out], positive.
    """

    codebook: npt.NDArray[np.int8]
    indices: npt.NDArray[np.uint8]
    scale: FloatArray

    @property
    def entropy(self) -> float:
        """Bits an index takes with an ideal code of their frequencies in this weight."""
        return entropy(self.indices)

    def dense(self, channels: int) -> FloatArray:
        """The weight in float32, [out, taps * channels]."""
        decoded = decode(self.codebook.astype(np.float32), self.indices, channels)
        return decoded.reshape(len(self.scale), -1) * self.scale[:, None]


def subvectors_of(weight: FloatArray, subvector: int) -> FloatArray:
    """[out, ..., channels] -> [out, taps, ceil(channels / d), d]; the last subvector of a tap is filled with zeros."""
    out, channels = weight.shape[0], weight.shape[-1]
    taps = weight.reshape(out, -1, channels)
    padded = np.pad(taps, ((0, 0), (0, 0), (0, -channels % subvector)))
    return padded.reshape(out, taps.shape[1], -1, subvector)


def row_sizes(sizes: FloatArray) -> FloatArray:
    """Sizes [out] of a weight's rows as scales may have them: at least 2^-12 of the largest.

    A row that is as good as dead would otherwise get a scale so small that its bias leaves int32 in units of it.
    """
    largest = float(sizes.max(initial=0.0))
    return np.maximum(sizes, largest * ROW_SIZE_FLOOR if largest > 0 else 1.0).astype(np.float32)


class Options(TypedDict, total=False):
    """Those of `k_means`; what is left out is as there, but `anneal` is 1 and `norm` CODEWORD_L1_LIMIT."""

    iterations: int
    starts: int
    pin_zero: bool
    anneal: float
    rate: float
    norm: int
    threads: int


def quantize_rows(
    weight: FloatArray,
    codewords: int,
    subvector: int,
    rng: np.random.Generator,
    *,
    importance: FloatArray | None = None,
    **options: Unpack[Options],
) -> QuantizedRows:
    """Learn one codebook for a weight [out, ..., channels]; see `quantize_together`."""
    weighing = None if importance is None else [importance]
    return quantize_together([weight], codewords, subvector, rng, importance=weighing, **options)[0]


def quantize_together(
    weights: Sequence[FloatArray],
    codewords: int,
    subvector: int,
    rng: np.random.Generator,
    *,
    importance: Sequence[FloatArray] | None = None,
    **options: Unpack[Options],
) -> tuple[QuantizedRows, ...]:
    """Learn one codebook for several weights [out, ..., channels].

    Rows are divided by their RMS first (gain-shape quantization): the row scale costs nothing, since each output channel has its own
    requantization multiplier. The scale is then refitted to the codewords by least squares.

    `importance`, a weight's shape or its shape without the rows, weighs squared errors of entries: the mean square of the inputs that meet
    them, or Fisher information. Without it each row counts by its relative error. `rate` is in units of the mean weighted square of a
    normalised entry, so one value suits all layers.
    """
    sizes = [row_sizes(np.sqrt(np.square(weight.reshape(len(weight), -1)).mean(1))) for weight in weights]
    normalised = [weight / _by_row(size, weight) for weight, size in zip(weights, sizes, strict=True)]
    errors = [None] * len(weights) if importance is None else [_relative(*each) for each in zip(importance, sizes, weights, strict=True)]
    cut = [subvectors_of(weight, subvector) for weight in normalised]
    points = np.concatenate([each.reshape(-1, subvector) for each in cut])
    filled = any(weight.shape[-1] % subvector for weight in weights)  # what fills the last subvectors up must not count
    counted = [np.ones_like(weight) for weight in weights] if importance is None and filled else errors
    weighed = [subvectors_of(each, subvector).reshape(-1, subvector) for each in counted if each is not None]
    chosen: Options = {"anneal": 1.0, "norm": CODEWORD_L1_LIMIT, **options}
    found = k_means(points, codewords, rng, importance=np.concatenate(weighed) if weighed else None, **chosen)
    assert found.integers is not None
    ends = np.cumsum([each.size // subvector for each in cut])
    rows = []
    for part, each, target, error, size in zip(np.split(found.indices, ends[:-1]), cut, normalised, errors, sizes, strict=True):
        indices = part.reshape(each.shape[:3]).astype(np.uint8)
        scale = fitted_scales(found.integers, indices, target, error)
        rows.append(QuantizedRows(found.integers, indices, size * np.where(scale > 0, scale, np.float32(found.scale))))
    return tuple(rows)


def decode(codebook: FloatArray, indices: npt.NDArray[np.integer[Any]], channels: int) -> FloatArray:
    """Codewords [K, d] at indices [out, taps, subvectors] -> [out, taps, channels]."""
    out, taps, _ = indices.shape
    decoded: FloatArray = codebook[indices].reshape(out, taps, -1)[:, :, :channels]
    return decoded


def fitted_scales(
    integers: npt.NDArray[np.int8], indices: npt.NDArray[np.integer[Any]], target: FloatArray, importance: FloatArray | None = None
) -> FloatArray:
    """Row scales [out] of least (weighted) squared error for decoded rows; 0 for rows whose codewords are all zero."""
    decoded = decode(integers.astype(np.float32), indices, target.shape[-1]).reshape(len(target), -1)
    weighed = decoded if importance is None else decoded * importance.reshape(len(target), -1)
    energy = np.einsum("on,on->o", weighed, decoded)
    fitted: FloatArray = np.einsum("on,on->o", weighed, target.reshape(len(target), -1)) / np.maximum(energy, 1e-12)
    return fitted


def _by_row(values: FloatArray, weight: FloatArray) -> FloatArray:
    return values.reshape(-1, *([1] * (weight.ndim - 1)))


def _relative(importance: FloatArray, size: FloatArray, weight: FloatArray) -> FloatArray:
    """The importance of each entry of a normalised weight, 1 on average."""
    full = np.square(_by_row(size, weight)) * np.broadcast_to(importance, weight.shape)
    return (full / max(float(full.mean()), 1e-30)).astype(np.float32)
