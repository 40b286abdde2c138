"""numerics/k_means.py: codebooks of least (weighted, rate-charged) error that the kernels can store."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutra_compiler.numerics import k_means as module
from lutra_compiler.numerics.k_means import KMeans, assign, entropy, integer_codebook, k_means


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def test_assign_finds_the_nearest_codeword(rng: np.random.Generator) -> None:
    points, codebook = normal(rng, 500, 4), normal(rng, 16, 4)
    distance = np.square(points[:, None] - codebook[None]).sum(2)
    np.testing.assert_allclose(distance[np.arange(500), assign(points, codebook)], distance.min(1), rtol=1e-4, atol=1e-5)


def test_assign_weighs_entries_and_charges_codewords(rng: np.random.Generator) -> None:
    points, codebook, penalty = normal(rng, 500, 4), normal(rng, 16, 4), rng.random(16).astype(np.float32)
    importance = rng.random((500, 4)).astype(np.float32)
    cost = (importance[:, None] * np.square(points[:, None] - codebook[None])).sum(2) + penalty
    found = cost[np.arange(500), assign(points, codebook, importance, penalty)]
    np.testing.assert_allclose(found, cost.min(1), rtol=1e-4, atol=1e-5)


def test_k_means_recovers_separated_clusters(rng: np.random.Generator) -> None:
    centres = (rng.permutation(64)[:16, None] * np.array([[10.0, -7.0]])).astype(np.float32)
    points = np.repeat(centres, 20, axis=0) + rng.normal(scale=0.01, size=(320, 2)).astype(np.float32)
    assert k_means(points, 16, rng, pin_zero=False).distortion < 1e-3


def test_k_means_keeps_the_zero_codeword_when_it_is_pinned(rng: np.random.Generator) -> None:
    points = rng.normal(loc=5, size=(300, 4)).astype(np.float32)
    assert not k_means(points, 16, rng, pin_zero=True, anneal=1, norm=63).codebook[0].any()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_more_iterations_never_raise_the_cost(rng: np.random.Generator, weighted: bool, rate: float) -> None:
    points = normal(rng, 2000, 8)
    importance = rng.exponential(size=(2000, 8)).astype(np.float32) if weighted else None

    def run(iterations: int) -> KMeans:
        return k_means(points, 16, np.random.default_rng(1), importance=importance, iterations=iterations, starts=1, rate=rate)

    cost = [found.distortion + rate * found.entropy for found in map(run, (1, 3, 10, 30))]
    assert cost == sorted(cost, reverse=True)
    assert cost[-1] < 0.97 * cost[0]


def test_an_optimum_is_the_weighted_mean_of_its_points(rng: np.random.Generator) -> None:
    points, importance = normal(rng, 1000, 4), rng.exponential(size=(1000, 4)).astype(np.float32)
    found = k_means(points, 8, rng, importance=importance, iterations=200, pin_zero=False)
    for k in range(8):
        mine = found.indices == k
        np.testing.assert_allclose(np.average(points[mine], axis=0, weights=importance[mine]), found.codebook[k], rtol=1e-4, atol=1e-5)
    residual = importance * np.square(points - found.codebook[found.indices])
    assert found.distortion == pytest.approx(residual.sum(1).mean(), rel=1e-5)


def test_weights_lower_the_weighted_error(rng: np.random.Generator) -> None:
    points, importance = normal(rng, 4000, 4), np.tile(np.array([9, 0.3, 0.3, 0.3], np.float32), (4000, 1))
    plain = k_means(points, 16, rng)
    weighted = k_means(points, 16, rng, importance=importance)
    assert weighted.distortion < 0.8 * (importance * np.square(points - plain.codebook[plain.indices])).sum(1).mean()


def test_an_entry_without_weight_is_zero(rng: np.random.Generator) -> None:
    importance = np.tile(np.array([1, 1, 0], np.float32), (200, 1))
    found = k_means(normal(rng, 200, 3), 8, rng, importance=importance, anneal=1.0)
    assert not found.codebook[:, 2].any()
    assert (np.abs(found.codebook[1:, :2]).sum(1) > 0).all()


def test_a_charge_for_bits_trades_distortion_for_entropy(rng: np.random.Generator) -> None:
    points = rng.laplace(size=(4000, 4), scale=0.7).astype(np.float32)
    found = [k_means(points, 64, rng, rate=rate, iterations=40) for rate in (0.0, 0.2, 0.6)]
    assert [f.entropy for f in found] == sorted((f.entropy for f in found), reverse=True)
    assert [f.distortion for f in found] == sorted(f.distortion for f in found)
    # The point of it: at the same entropy, charging beats a smaller codebook that was not charged.
    smaller = k_means(points, 16, rng, iterations=40)
    charged = k_means(points, 64, rng, rate=0.4, iterations=40)
    assert charged.entropy < smaller.entropy
    assert charged.distortion < smaller.distortion


def test_entropy_is_that_of_the_frequencies() -> None:
    assert entropy(np.array([0, 0, 0, 0, 5, 5, 7, 9])) == pytest.approx(1.75)
    assert entropy(np.zeros(9, np.int64)) == 0


def test_annealing_finds_better_codebooks() -> None:
    def mean_distortion(anneal: float) -> float:
        def run(rng: np.random.Generator) -> KMeans:
            return k_means(normal(rng, 1500, 8), 32, rng, starts=1, iterations=60, anneal=anneal)

        return float(np.mean([run(np.random.default_rng(seed)).distortion for seed in range(8)]))

    assert mean_distortion(1.0) < mean_distortion(0.0)


@pytest.mark.parametrize("norm", [63, 127, 255])
def test_codewords_stay_on_the_grid_and_indices_are_best_for_it(rng: np.random.Generator, norm: int) -> None:
    points = normal(rng, 3000, 8)
    found = k_means(points, 32, rng, norm=norm)
    assert found.integers is not None
    assert np.abs(found.integers.astype(int)).sum(1).max() <= norm
    np.testing.assert_array_equal(found.codebook, found.integers.astype(np.float32) * np.float32(found.scale))
    np.testing.assert_array_equal(found.indices, assign(points, found.codebook))


def test_the_grid_in_the_loop_beats_rounding_at_the_end() -> None:
    def distortions(seed: int) -> tuple[float, float]:
        points = normal(np.random.default_rng(seed), 4000, 4)
        held = k_means(points, 256, np.random.default_rng(seed), norm=63, starts=1)
        free = k_means(points, 256, np.random.default_rng(seed), starts=1)
        integers, scale = integer_codebook(free.codebook, 63)
        rounded = integers.astype(np.float32) * np.float32(scale)
        return held.distortion, float(np.square(points - rounded[assign(points, rounded)]).sum(1).mean())

    held, rounded = np.mean([distortions(seed) for seed in range(4)], axis=0)
    assert held < rounded


def test_a_codeword_without_points_takes_the_one_served_worst(rng: np.random.Generator) -> None:
    # All seeds but one fall into a crowd of equal points, so most codewords start empty.
    points = np.concatenate([np.ones((5000, 2), np.float32), 10 + normal(rng, 12, 2)])
    assert k_means(points, 14, rng, starts=1).distortion < 1e-6


def test_more_codewords_than_points_still_gives_a_codebook(rng: np.random.Generator) -> None:
    assert k_means(normal(rng, 5, 2), 16, rng).distortion < 1e-9


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [80_000, 150_000])
def test_passes_over_neighbours_and_starts_on_samples_lose_next_to_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, weighted: bool, count: int
) -> None:
    points = normal(rng, count, 8)
    importance = np.tile(rng.exponential(size=8).astype(np.float32), (count, 1)) if weighted else None

    def run() -> KMeans:
        return k_means(points, 256, np.random.default_rng(2), importance=importance, starts=1, iterations=12)

    quick = run()
    monkeypatch.setattr(module, "_CROWD", 1 << 30)
    monkeypatch.setattr(module, "_MANY", 1 << 30)
    assert quick.distortion < 1.002 * run().distortion
    np.testing.assert_array_equal(quick.indices, assign(points, quick.codebook, importance))


@pytest.mark.parametrize("codewords", [16, 256])
def test_threads_change_nothing(rng: np.random.Generator, codewords: int) -> None:
    points = normal(rng, 140_000, 4)
    one, two = (k_means(points, codewords, np.random.default_rng(2), starts=1, iterations=8, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.codebook, two.codebook)
    np.testing.assert_array_equal(one.indices, two.indices)


@given(st.integers(1, 16), st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([63, 127, 255]))
@settings(deadline=None)
def test_integer_codewords_respect_int8_and_the_l1_bound(subvector: int, seed: int, magnitude: float, norm: int) -> None:
    codebook = np.random.default_rng(seed).standard_cauchy((32, subvector)).astype(np.float32) * np.float32(magnitude)
    integers, scale = integer_codebook(codebook, norm)
    assert np.abs(integers.astype(int)).max() <= 127
    assert np.abs(integers.astype(int)).sum(1).max() <= norm
    assert np.abs(integers * scale - codebook).max() <= np.abs(codebook).max()


def test_one_long_codeword_does_not_make_all_coarse(rng: np.random.Generator) -> None:
    codebook = normal(rng, 256, 8)
    integers, scale = integer_codebook(codebook, 63)
    safe = np.abs(codebook).sum(1).max() / (63 - 8 / 2)  # nothing shrinks and no rounding exceeds the bound
    assert np.square(integers * scale - codebook).sum() < 0.8 * np.square(np.rint(codebook / safe) * safe - codebook).sum()


def test_the_grid_fits_the_codewords_that_count(rng: np.random.Generator) -> None:
    codebook = np.concatenate([normal(rng, 15, 4), 1.5 * np.abs(normal(rng, 1, 4)) + 1])
    fine, coarse = (integer_codebook(codebook, 63, np.array([1] * 15 + [long]))[1] for long in (0, 1000))
    assert fine < coarse
