"""Codebooks: k-means over subvectors, with int8 codewords and the bounds that lookup tables need (Jegou 2011)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]

CODEWORD_LIMIT = 127
ROW_SIZE_FLOOR = 2.0**-12  # of the largest row
CODEWORD_L1_LIMIT = 255  # 128 * 255 < 2^15: lookup tables of int16 stay exact


@dataclass(frozen=True)
class KMeans:
    """`codebook` [K, d], `indices` [n] of the nearest codeword, `distortion`: mean squared distance."""

    codebook: FloatArray
    indices: IndexArray
    distortion: float


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


def assign(points: FloatArray, codebook: FloatArray) -> IndexArray:
    """Index of the nearest codeword of each of [n, d] points; ties go to the lower index."""
    half_norm = 0.5 * np.square(codebook).sum(1)
    # A slice of points at a time keeps the distance matrix in cache.
    step = max(1, (1 << 20) // len(codebook))
    nearest = [np.argmin(half_norm - points[at : at + step] @ codebook.T, axis=1) for at in range(0, len(points), step)]
    return np.concatenate(nearest) if nearest else np.empty(0, np.int64)


def k_means(
    points: FloatArray, codewords: int, rng: np.random.Generator, *, iterations: int = 25, starts: int = 3, pin_zero: bool = True
) -> KMeans:
    """The best of several k-means++ starts of Lloyd's iteration on [n, d] points.

    With `pin_zero`, codeword 0 stays the zero vector. A codeword that loses all its points takes the one that is served worst.
    """
    runs = (_lloyd(points, _plus_plus(points, codewords, rng, pin_zero), iterations, pin_zero) for _ in range(starts))
    return min(runs, key=lambda run: run.distortion)


def _plus_plus(points: FloatArray, codewords: int, rng: np.random.Generator, pin_zero: bool) -> FloatArray:
    """Starting codewords, each drawn with probability proportional to its squared distance to those drawn before."""
    chosen = np.zeros((codewords, points.shape[1]), np.float32)
    if not pin_zero:
        chosen[0] = points[rng.integers(len(points))]
    distance = np.square(points - chosen[0]).sum(1, dtype=np.float64)
    for k in range(1, codewords):
        total = distance.sum()
        probability = distance / total if total > 0 else None
        chosen[k] = points[rng.choice(len(points), p=probability)]
        np.minimum(distance, np.square(points - chosen[k]).sum(1, dtype=np.float64), out=distance)
    return chosen


def _lloyd(points: FloatArray, codebook: FloatArray, iterations: int, pin_zero: bool) -> KMeans:
    codewords = len(codebook)
    indices = assign(points, codebook)
    for _ in range(iterations):
        count = np.bincount(indices, minlength=codewords)
        sums = np.stack([np.bincount(indices, column, codewords) for column in points.T], axis=1)
        codebook = (sums / np.maximum(count, 1)[:, None]).astype(np.float32)
        empty = np.flatnonzero(count == 0)
        if pin_zero:
            codebook[0] = 0
            empty = empty[empty != 0]
        if len(empty):
            worst = np.argsort(-np.square(points - codebook[indices]).sum(1), kind="stable")[: len(empty)]
            codebook[empty[: len(worst)]] = points[worst]
        moved = assign(points, codebook)
        if np.array_equal(moved, indices) and not len(empty):
            break
        indices = moved
    return KMeans(codebook, indices, float(np.square(points - codebook[indices]).sum(1).mean()))


def integer_codebook(codebook: FloatArray, norm: int = CODEWORD_L1_LIMIT) -> tuple[npt.NDArray[np.int8], float]:
    """int8 codewords and the scale that restores [K, d]: codebook ~ scale * integers.

    The scale is the smallest for which every entry is within -127..127 and every codeword's L1 norm is at most `norm`.
    """
    subvector = codebook.shape[1]
    # Rounding adds at most 1/2 an entry to the L1 norm.
    scale = max(np.abs(codebook).max() / CODEWORD_LIMIT, np.abs(codebook).sum(1).max() / (norm - subvector / 2), 1e-12)
    return np.rint(codebook / scale).astype(np.int8), float(scale)


def quantize_rows(
    weight: FloatArray,
    codewords: int,
    subvector: int,
    rng: np.random.Generator,
    *,
    iterations: int = 25,
    starts: int = 3,
    pin_zero: bool = True,
    norm: int = CODEWORD_L1_LIMIT,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint8], FloatArray]:
    """Learn one codebook for a weight [out, ..., channels]: codebook int8 [K, d], indices uint8 [out, taps, subvectors], scale [out].
    `norm` bounds the L1 norm of a codeword.

    Rows are divided by their RMS first (gain-shape quantization): the row scale costs nothing, since each output channel has its own
    requantization multiplier. The scale is then refitted to the codewords by least squares.
    """
    row_scale = row_sizes(np.sqrt(np.square(weight.reshape(len(weight), -1)).mean(1)))
    normalised = weight / row_scale.reshape(-1, *([1] * (weight.ndim - 1)))
    subvectors = subvectors_of(normalised, subvector)
    points = np.ascontiguousarray(subvectors.reshape(-1, subvector))
    found = k_means(points, codewords, rng, iterations=iterations, starts=starts, pin_zero=pin_zero)
    integers, scale = integer_codebook(found.codebook, norm)
    indices = assign(points, integers.astype(np.float32) * np.float32(scale)).reshape(subvectors.shape[:3])
    padded = integers.astype(np.float32)[indices].reshape(*subvectors.shape[:2], -1)
    decoded = padded[:, :, : weight.shape[-1]].reshape(len(weight), -1)
    energy = np.square(decoded).sum(1)
    fitted = (decoded * normalised.reshape(len(weight), -1)).sum(1) / np.maximum(energy, 1e-12)
    return integers, indices.astype(np.uint8), (row_scale * np.where(fitted > 0, fitted, scale)).astype(np.float32)
