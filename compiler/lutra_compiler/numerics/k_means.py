"""k-means on BLAS: weighted, annealed, entropy-constrained, with codewords that may stay on an int8 grid in every pass."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]

CODEWORD_LIMIT = 127
CODEWORD_L1_LIMIT = 255  # 128 * 255 < 2^15: lookup tables of int16 stay exact

_SCORES = 1 << 17  # entries of a block of scores: half a megabyte stays in a second-level cache
_WHOLE_PASSES = 4  # the first ones, in which codewords move far
_NEIGHBOURS = 48  # codewords that a pass compares with once they have settled
_CROWD = 128  # points a codeword from which sorting them by codeword pays
_SEEDING = 16  # points a codeword among which starting codewords are drawn
_FREE_PASSES = 0.6  # of all, before codewords are held on the grid
_CLIPPING = np.linspace(1.0, 0.6, 9)


@dataclass(frozen=True)
class KMeans:
    """`codebook` [K, d], `indices` [n] of the best codeword, `distortion`: mean (weighted) squared distance, `entropy`:
    bits an index takes with an ideal code.

    With a bound of the L1 norm, `codebook` = `scale` * `integers` exactly.
    """

    codebook: FloatArray
    indices: IndexArray
    distortion: float
    entropy: float
    integers: npt.NDArray[np.int8] | None = None
    scale: float = 1.0


def assign(
    points: FloatArray, codebook: FloatArray, importance: FloatArray | None = None, penalty: FloatArray | None = None, threads: int = 1
) -> IndexArray:
    """Index of the best codeword of each of [n, d] points; ties go to the lower index.

    That is the one of least sum of importance * (point - codeword)^2, `importance` [n, d], plus its `penalty` [K].
    """
    indices = np.empty(len(points), np.int64)
    columns = _columns(codebook, importance is not None, penalty)
    _compare_all(_features(points, importance), columns, indices, threads)
    return indices


def k_means(
    points: FloatArray,
    codewords: int,
    rng: np.random.Generator,
    *,
    importance: FloatArray | None = None,
    iterations: int = 25,
    starts: int = 3,
    pin_zero: bool = True,
    anneal: float = 0.0,
    rate: float = 0.0,
    norm: int | None = None,
    threads: int = 1,
) -> KMeans:
    """The best of several k-means++ starts of Lloyd's iteration on [n, d] points, weighted by `importance` [n, d].

    `pin_zero` keeps codeword 0 the zero vector. `anneal` adds noise to the codewords, of that many standard deviations of their points over
    the root of their number, which falls to none as (1 - t/T)^0.5 (Martinez 2018, SR-C). `rate` is what a bit of an entropy-coded index
    may cost in squared distance (Chou 1989, ECVQ): codewords are charged -log2 of their share of the points. `norm` holds codewords on an
    int8 grid with at most that L1 norm. A codeword that loses all its points takes the one that is served worst, unless rate is charged.

    Once codewords have settled, points are compared with the codewords nearest to their own; the indices that are returned are of all.
    """
    search = _Search(points, importance, threads)
    runs = (_lloyd(search, codewords, rng, iterations, pin_zero, anneal, rate, norm) for _ in range(starts))
    return min(runs, key=lambda run: run.distortion + rate * run.entropy)


def entropy(indices: npt.NDArray[np.integer[Any]]) -> float:
    """Bits an index takes with an ideal code of their frequencies."""
    count = np.bincount(indices.ravel()).astype(np.float64)
    share = count[count > 0] / max(indices.size, 1)
    return float(-(share * np.log2(share)).sum())


def integer_codebook(
    codebook: FloatArray, norm: int = CODEWORD_L1_LIMIT, weight: npt.NDArray[Any] | None = None
) -> tuple[npt.NDArray[np.int8], float]:
    """int8 codewords and the scale that restores [K, d]: codebook ~ scale * integers.

    Every entry is within -127..127 and every codeword's L1 norm at most `norm`. The scale is the one of least squared error, codewords
    counting by `weight` [K]: a finer grid for all may be worth shrinking the longest.
    """
    size = np.abs(codebook)
    largest = max(float(size.max()) / CODEWORD_LIMIT, float(size.sum(1).max()) / norm, 1e-12)
    counted = np.ones(len(codebook)) if weight is None else weight
    best: tuple[float, npt.NDArray[np.int8], float] | None = None
    for scale in largest * _CLIPPING:
        integers = _round_within(codebook / scale, norm)
        error = float(counted @ np.square(integers * scale - codebook).sum(1))
        if best is None or error < best[0]:
            best = error, integers, float(scale)
    assert best is not None
    return best[1:]


def _round_within(values: FloatArray, norm: int) -> npt.NDArray[np.int8]:
    """[K, d] rounded to int8 of L1 norm at most `norm`; what is longer is shrunk first."""
    length = np.abs(values).sum(1, keepdims=True)
    values = np.clip(values * np.minimum(norm / np.maximum(length, 1e-12), 1), -CODEWORD_LIMIT, CODEWORD_LIMIT)
    rounded = np.rint(values)
    excess = np.abs(rounded).sum(1) - norm
    # Entries that rounding moved away from zero go back by one, the farthest moved first; there are at least two of them a unit of excess.
    away = np.abs(rounded) - np.abs(values)
    rank = np.argsort(np.argsort(-away, axis=1, kind="stable"), axis=1)
    integers: npt.NDArray[np.int8] = (rounded - np.sign(rounded) * (rank < excess[:, None])).astype(np.int8)
    return integers


def _features(points: FloatArray, importance: FloatArray | None) -> FloatArray:
    """Rows whose product with `_columns` is a score; the best codeword has the largest: half of (a constant less distance and penalty)."""
    ones = np.ones((len(points), 1), np.float32)
    return np.concatenate([points, ones] if importance is None else [importance * points, importance, ones], axis=1)


def _columns(codebook: FloatArray, weighted: bool, penalty: FloatArray | None) -> FloatArray:
    half = np.float32(-0.5) * np.square(codebook)
    rest = np.pad(half, ((0, 0), (0, 1))) if weighted else half.sum(1, keepdims=True)
    columns: FloatArray = np.concatenate([codebook, rest], axis=1)
    if penalty is not None:
        columns[:, -1] -= 0.5 * penalty
    return np.ascontiguousarray(columns.T, np.float32)


def _in_parts(work: Callable[[int], None], parts: Iterable[int], threads: int) -> None:
    if threads == 1:
        for part in parts:
            work(part)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts))


def _compare_all(features: FloatArray, columns: FloatArray, indices: IndexArray, threads: int) -> None:
    """Write the best codeword of every row."""
    step = max(64, _SCORES // columns.shape[1])

    def share(part: int) -> None:
        scores = np.empty((step, columns.shape[1]), np.float32)
        for at in range(part * step, len(features), threads * step):
            block = features[at : at + step]
            found = scores[: len(block)]
            np.matmul(block, columns, out=found)
            found.argmax(1, out=indices[at : at + step])

    _in_parts(share, range(threads), threads)


def _compare_neighbours(features: FloatArray, columns: FloatArray, near: IndexArray, indices: IndexArray, threads: int) -> None:
    """Move every row to the best of the codewords `near` [K, neighbours] its own."""
    codewords = len(near)
    order = np.argsort(indices.astype(np.uint16), kind="stable")
    ends = np.cumsum(np.bincount(indices, minlength=codewords))
    step = _SCORES // near.shape[1]

    def share(part: int) -> None:
        for own in range(part, codewords, threads):
            candidates = columns.take(near[own], 1)
            for at in range(ends[own - 1] if own else 0, ends[own], step):
                rows = order[at : min(at + step, ends[own])]
                indices[rows] = near[own].take((features.take(rows, 0) @ candidates).argmax(1))

    _in_parts(share, range(threads), threads)


class _Search:
    """The best codewords of fixed points while the codebook moves, and the sums that move it."""

    def __init__(self, points: FloatArray, importance: FloatArray | None, threads: int) -> None:
        self.points, self.importance, self.threads = points, importance, threads
        self.features = _features(points, importance)
        # What an M-step sums, an entry a row: (weighted) points, then weights.
        self.columns = np.ascontiguousarray(self.features[:, :-1].T, np.float64)
        self.spread = points.std(0)

    def start(self, codebook: FloatArray) -> None:
        """Assign all points anew."""
        self.indices = assign(self.points, codebook, self.importance, None, self.threads)
        self.count = np.bincount(self.indices, minlength=len(codebook))
        self.sums = np.stack([np.bincount(self.indices, column, len(codebook)) for column in self.columns])

    def means(self, codebook: FloatArray) -> FloatArray:
        """The (weighted) mean of each codeword's points; entries without weight keep their value."""
        subvector = codebook.shape[1]
        weight = self.count[None] if self.importance is None else self.sums[subvector:]
        mean = self.sums[:subvector] / np.where(weight > 0, weight, 1)
        return np.where(weight > 0, mean, codebook.T).T.astype(np.float32)

    def move(self, codebook: FloatArray, penalty: FloatArray | None, whole: bool) -> bool:
        """Give points their best codewords, of all or of the neighbours of their own; whether any point changed."""
        before, codewords = self.indices, len(codebook)
        columns = _columns(codebook, self.importance is not None, penalty)
        self.indices = before.copy()
        if whole:
            _compare_all(self.features, columns, self.indices, self.threads)
        else:
            charge = np.square(codebook).sum(1) + (0 if penalty is None else penalty)
            near = np.argpartition(charge - 2 * codebook @ codebook.T, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
            _compare_neighbours(self.features, columns, near, self.indices, self.threads)
        moved = np.flatnonzero(before != self.indices)
        if not len(moved):
            return False
        # Only what moved changes the sums.
        old, new = before[moved], self.indices[moved]
        self.count = self.count + np.bincount(new, minlength=codewords) - np.bincount(old, minlength=codewords)
        for sums, column in zip(self.sums, self.columns, strict=True):
            amount = column[moved]
            sums += np.bincount(new, amount, codewords) - np.bincount(old, amount, codewords)
        return True

    def distances(self, codebook: FloatArray) -> FloatArray:
        """The (weighted) squared distance of each point to its codeword."""
        difference = codebook.take(self.indices, 0)
        difference -= self.points
        weighted = difference if self.importance is None else difference * self.importance
        found: FloatArray = np.einsum("nd,nd->n", difference, weighted)
        return found

    def seed(self, codewords: int, rng: np.random.Generator, pin_zero: bool) -> FloatArray:
        """Starting codewords, each drawn with probability proportional to its (weighted) squared distance to those drawn before."""
        few = len(self.points) <= _SEEDING * codewords
        sample = slice(None) if few else rng.choice(len(self.points), _SEEDING * codewords, replace=False)
        points, importance = self.points[sample], None if self.importance is None else self.importance[sample]

        def distances(codeword: FloatArray) -> npt.NDArray[np.float64]:
            square = np.square(points - codeword)
            total: npt.NDArray[np.float64] = (square if importance is None else square * importance).sum(1, dtype=np.float64)
            return total

        chosen = np.zeros((codewords, points.shape[1]), np.float32)
        if not pin_zero:
            chosen[0] = points[rng.integers(len(points))]
        distance = distances(chosen[0])
        for k in range(1, codewords):
            edges = np.cumsum(distance)
            drawn = np.searchsorted(edges, rng.random() * edges[-1], "right") if edges[-1] > 0 else rng.integers(len(points))
            chosen[k] = points[min(int(drawn), len(points) - 1)]
            np.minimum(distance, distances(chosen[k]), out=distance)
        return chosen


def _lloyd(
    search: _Search,
    codewords: int,
    rng: np.random.Generator,
    iterations: int,
    pin_zero: bool,
    anneal: float,
    rate: float,
    norm: int | None,
) -> KMeans:
    total = len(search.points)
    integers, scale = None, 1.0
    codebook = search.seed(codewords, rng, pin_zero)
    search.start(codebook)
    crowded = total >= _CROWD * codewords and codewords > 2 * _NEIGHBOURS
    penalty: FloatArray | None = None
    settled = held = False
    for step in range(1, iterations + 1):
        last = step == iterations
        codebook = search.means(codebook)
        if anneal:
            noise = anneal * np.sqrt((1 - step / iterations) / np.maximum(search.count, 1))[:, None] * search.spread
            codebook += (noise * rng.standard_normal(codebook.shape)).astype(np.float32)
        empty = np.flatnonzero(search.count == 0)
        if pin_zero:
            codebook[0] = 0
            empty = empty[empty != 0]
        if rate:
            penalty = (rate * np.log2(total / np.maximum(search.count, 1))).astype(np.float32)
        elif len(empty):
            worst = np.argsort(-search.distances(codebook), kind="stable")[: len(empty)]
            codebook[empty[: len(worst)]] = search.points[worst]
        # On the grid means can no longer creep: it is for the last passes, that make the best of it.
        held = norm is not None and (held or step > _FREE_PASSES * iterations or last)
        if held:
            assert norm is not None
            integers, scale = integer_codebook(codebook, norm, search.count)
            codebook = integers.astype(np.float32) * np.float32(scale)
        whole = not crowded or step <= _WHOLE_PASSES or last or settled
        settled = not search.move(codebook, penalty, whole) and not len(empty) and not anneal
        if settled and whole:
            if held or norm is None:
                break
            held = True
    distortion = float(search.distances(codebook).mean(dtype=np.float64))
    return KMeans(codebook, search.indices, distortion, entropy(search.indices), integers, scale)
