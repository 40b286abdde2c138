"""k-means on BLAS: weighted, annealed, entropy-constrained, with codewords that end on an int8 grid."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]

CODEWORD_LIMIT = 127
CODEWORD_L1_LIMIT = 255  # 128 * 255 < 2^15: lookup tables of int16 stay exact

_SCORES = 1 << 17  # entries of a block of scores: half a megabyte, so that it stays in a cache
_NEIGHBOURS = 64  # codewords with which passes compare many points
_UNSORTED = 0.1  # of the points may have left the codeword under which they are sorted
_CROWD = 256  # points a codeword from which such passes pay, but for the first: then codewords move far
_WHOLE_PASSES = 3
_MANY = 512  # points a codeword from which starts are tried on a sample
_SAMPLE, _SAMPLE_PASSES = 64, 10  # points a codeword
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

    `pin_zero` keeps codeword 0 the zero vector. `anneal` adds noise to the codewords, of that many standard deviations of the points over
    the root of the number of their own, which falls to none as (1 - t/T)^0.5 (Martinez 2018, SR-C). `rate` is what a bit of an
    entropy-coded index may cost in squared distance (Chou 1989, ECVQ): codewords are charged -log2 of their share of the points. `norm`
    holds codewords in the last passes on an int8 grid with at most that L1 norm. A codeword that loses all its points takes the one that is
    served worst, unless rate is charged.

    Where points are many, the starts are tried on a sample of them, and passes but the first few and the last compare a point only with
    the codewords that are nearest to its own.
    """
    many = len(points) >= _MANY * codewords
    drawn = rng.choice(len(points), _SAMPLE * codewords, replace=False) if many else slice(None)
    few = _Search(points[drawn], None if importance is None else importance[drawn], threads)

    def run(search: _Search, codebook: FloatArray) -> KMeans:
        return _lloyd(search, codebook, rng, iterations, pin_zero, anneal, rate, norm)

    def start() -> KMeans:
        seeds = few.seed(codewords, rng, pin_zero)
        return _lloyd(few, seeds, rng, _SAMPLE_PASSES, pin_zero, 0.0, 0.0, None) if many else run(few, seeds)

    best = min((start() for _ in range(starts)), key=lambda found: found.distortion + rate * found.entropy)
    return run(_Search(points, importance, threads), best.codebook) if many else best


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
    """A column a codeword."""
    half = np.float32(-0.5) * np.square(codebook)
    rest = np.pad(half, ((0, 0), (0, 1))) if weighted else half.sum(1, keepdims=True)
    columns: FloatArray = np.concatenate([codebook, rest], axis=1)
    if penalty is not None:
        columns[:, -1] -= 0.5 * penalty
    return np.ascontiguousarray(columns.T, np.float32)


def _in_threads(share: Callable[[int], None], threads: int) -> None:
    """Run share(0), share(1), ..., one a thread."""
    if threads == 1:
        share(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(share, range(threads)))


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

    _in_threads(share, threads)


def _compare_neighbours(
    features: FloatArray, columns: FloatArray, near: IndexArray, ends: IndexArray, indices: IndexArray, threads: int
) -> None:
    """Write the best of the codewords `near` [K, neighbours] its home for every row; rows are in the order of their homes."""
    step = _SCORES // near.shape[1]

    def share(part: int) -> None:
        scores = np.empty((step, near.shape[1]), np.float32)
        for home in range(part, len(near), threads):
            candidates = columns.take(near[home], 1)
            for at in range(ends[home - 1] if home else 0, ends[home], step):
                rows = slice(at, min(at + step, ends[home]))
                found = np.matmul(features[rows], candidates, out=scores[: rows.stop - at])
                near[home].take(found.argmax(1), out=indices[rows], mode="clip")

    _in_threads(share, threads)


class _Search:
    """The best codewords of fixed points while the codebook moves, and the sums that move it. Rows may be in an `order` of its own."""

    def __init__(self, points: FloatArray, importance: FloatArray | None, threads: int) -> None:
        self.weighted, self.threads = importance is not None, threads
        self.features = _features(points, importance)
        self.subvector = points.shape[1]
        self.points = points if self.weighted else self.features[:, : self.subvector]
        self.order = np.arange(len(points))

    def start(self, codebook: FloatArray) -> None:
        """Assign all points anew."""
        self.indices = np.empty(len(self.points), np.int64)
        _compare_all(self.features, _columns(codebook, self.weighted, None), self.indices, self.threads)
        self.sums = self._sums(self.features, self.indices, len(codebook))
        self.unsorted: float = len(self.points)

    def _sums(self, features: FloatArray, indices: IndexArray, codewords: int, sign: FloatArray | None = None) -> npt.NDArray[np.float64]:
        """What each codeword's points add up to: their features, the last of which counts them."""
        parts = features if sign is None else features * sign[:, None]
        return np.stack([np.bincount(indices, column, codewords) for column in parts.T])

    @property
    def count(self) -> npt.NDArray[np.float64]:
        """Points of each codeword."""
        found: npt.NDArray[np.float64] = np.rint(self.sums[-1])
        return found

    def means(self, codebook: FloatArray) -> FloatArray:
        """The (weighted) mean of each codeword's points, of entries without weight zero; codewords without points stay."""
        weight = self.sums[self.subvector : -1] if self.weighted else self.count[None]
        mean = np.where(weight > 0, self.sums[: self.subvector] / np.where(weight > 0, weight, 1), 0)
        return np.where(self.count > 0, mean, codebook.T).T.astype(np.float32)

    def move(self, codebook: FloatArray, penalty: FloatArray | None, whole: bool) -> bool:
        """Give points their best codewords, of all or of those near their home; whether any point changed."""
        before, columns = self.indices, _columns(codebook, self.weighted, penalty)
        self.indices = np.empty_like(before)
        if whole:
            _compare_all(self.features, columns, self.indices, self.threads)
        else:
            if self.unsorted > _UNSORTED * len(before):
                before = self._sort(before)
            charge = np.square(codebook).sum(1) + (0 if penalty is None else penalty)
            near = np.argpartition(charge - 2 * codebook @ codebook.T, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
            _compare_neighbours(self.features, columns, near, self.ends, self.indices, self.threads)
        moved = np.flatnonzero(before != self.indices)
        self.unsorted += len(moved)
        # Only what moved changes the sums.
        features = self.features.take(moved, 0)
        sign = np.repeat(np.array([-1, 1], np.float32), len(moved))
        both = np.concatenate([before[moved], self.indices[moved]])
        self.sums += self._sums(np.concatenate([features, features]), both, len(codebook), sign)
        return len(moved) > 0

    def _sort(self, indices: IndexArray) -> IndexArray:
        """Put the rows in the order of their codewords, which become their homes; returns the indices in that order."""
        order = np.argsort(indices.astype(np.uint16), kind="stable")
        self.features, self.order, self.unsorted = self.features.take(order, 0), self.order.take(order), 0
        self.points = self.points.take(order, 0) if self.weighted else self.features[:, : self.subvector]
        self.ends = np.cumsum(np.bincount(indices, minlength=self.sums.shape[1]))
        return indices.take(order)

    def distances(self, codebook: FloatArray) -> FloatArray:
        """The (weighted) squared distance of each point to its codeword."""
        difference = codebook.take(self.indices, 0)
        difference -= self.points
        weighted = difference * self.features[:, self.subvector : -1] if self.weighted else difference
        found: FloatArray = np.einsum("nd,nd->n", difference, weighted)
        return found

    def seed(self, codewords: int, rng: np.random.Generator, pin_zero: bool) -> FloatArray:
        """Starting codewords, drawn with probability proportional to their (weighted) squared distance to those drawn before.

        Of many, a few are drawn at a time.
        """
        few = len(self.points) <= _SEEDING * codewords
        sample = np.arange(len(self.points)) if few else rng.choice(len(self.points), _SEEDING * codewords, replace=False)
        points, features = self.points[sample], self.features[sample]
        to_zero = np.einsum("nd,nd->n", points, features[:, : self.subvector])
        chosen = np.zeros((codewords, self.subvector), np.float32)
        if not pin_zero:
            chosen[0] = points[rng.integers(len(points))]
        nearest = np.full(len(points), np.inf, np.float32)
        at_once, first, known = max(1, codewords // 32), 0, 1
        while known < codewords:
            scores = features @ _columns(chosen[first:known], self.weighted, None)
            np.minimum(nearest, np.maximum(to_zero - 2 * scores.max(1), 0), out=nearest)
            edges = np.cumsum(nearest, dtype=np.float64)
            first, known = known, min(known + at_once, codewords)
            drawn = np.searchsorted(edges, rng.random(known - first) * edges[-1], "right")
            chosen[first:known] = points[np.minimum(drawn, len(points) - 1)]
        return chosen

    def found(self) -> IndexArray:
        """The indices in the order of the points as they were given."""
        indices = np.empty_like(self.indices)
        indices[self.order] = self.indices
        return indices


def _lloyd(
    search: _Search,
    codebook: FloatArray,
    rng: np.random.Generator,
    iterations: int,
    pin_zero: bool,
    anneal: float,
    rate: float,
    norm: int | None,
) -> KMeans:
    total, codewords = len(search.points), len(codebook)
    integers, scale = None, 1.0
    spread = search.points.std(0) if anneal else None
    search.start(codebook)
    crowded = total >= _CROWD * codewords and codewords > 2 * _NEIGHBOURS
    unsettled = 0 if total >= _MANY * codewords else _WHOLE_PASSES
    penalty: FloatArray | None = None
    settled = held = False
    for step in range(1, iterations + 1):
        last = step == iterations
        codebook = search.means(codebook)
        if spread is not None:
            noise = anneal * np.sqrt((1 - step / iterations) / np.maximum(search.count, 1))[:, None] * spread
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
        whole = not crowded or step <= unsettled or last or settled
        settled = not search.move(codebook, penalty, whole) and not len(empty) and not anneal
        if settled and whole:
            if held or norm is None:
                break
            held = True
    distortion = float(search.distances(codebook).mean(dtype=np.float64))
    return KMeans(codebook, search.found(), distortion, entropy(search.indices), integers, scale)
