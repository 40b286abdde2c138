"""numerics/product_quantization.py: codebooks as the lookup tables need them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.numerics.product_quantization import assign, integer_codebook, k_means, quantize_rows, row_sizes, subvectors_of


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_assign_finds_the_nearest_codeword(rng: np.random.Generator) -> None:
    points = rng.normal(size=(500, 4)).astype(np.float32)
    codebook = rng.normal(size=(16, 4)).astype(np.float32)
    distance = np.square(points[:, None] - codebook[None]).sum(2)
    np.testing.assert_allclose(distance[np.arange(500), assign(points, codebook)], distance.min(1), rtol=1e-4, atol=1e-5)


def test_k_means_recovers_separated_clusters(rng: np.random.Generator) -> None:
    centres = (rng.permutation(64)[:16, None] * np.array([[10.0, -7.0]])).astype(np.float32)
    points = np.repeat(centres, 20, axis=0) + rng.normal(scale=0.01, size=(320, 2)).astype(np.float32)
    assert k_means(points, 16, rng, pin_zero=False).distortion < 1e-3


def test_k_means_keeps_the_zero_codeword_when_it_is_pinned(rng: np.random.Generator) -> None:
    points = rng.normal(loc=5, size=(300, 4)).astype(np.float32)
    assert not k_means(points, 16, rng, pin_zero=True).codebook[0].any()


def test_more_iterations_never_raise_the_distortion(rng: np.random.Generator) -> None:
    points = rng.normal(size=(2000, 8)).astype(np.float32)
    distortion = [k_means(points, 16, np.random.default_rng(1), iterations=n, starts=1).distortion for n in (1, 3, 10, 30)]
    assert distortion == sorted(distortion, reverse=True)
    assert distortion[-1] < 0.9 * np.square(points).sum(1).mean()


def test_more_codewords_than_points_still_gives_a_codebook(rng: np.random.Generator) -> None:
    points = rng.normal(size=(5, 2)).astype(np.float32)
    assert k_means(points, 16, rng).distortion < 1e-9


@given(st.integers(1, 16), st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([63, 127, 255]))
@settings(deadline=None)
def test_integer_codewords_respect_int8_and_the_l1_bound(subvector: int, seed: int, magnitude: float, norm: int) -> None:
    codebook = np.random.default_rng(seed).standard_cauchy((32, subvector)).astype(np.float32) * np.float32(magnitude)
    integers, scale = integer_codebook(codebook, norm)
    assert np.abs(integers.astype(int)).max() <= 127
    assert norm - 1.5 * subvector <= np.abs(integers.astype(int)).sum(1).max() <= norm or np.abs(integers).max() == 127
    assert np.abs(integers * scale - codebook).max() <= 0.501 * scale


def test_subvectors_of_a_tap_are_padded_with_zeros(rng: np.random.Generator) -> None:
    weight = rng.normal(size=(3, 2, 2, 6)).astype(np.float32)
    cut = subvectors_of(weight, 4)
    assert cut.shape == (3, 4, 2, 4)
    assert not cut[:, :, 1, 2:].any()
    np.testing.assert_array_equal(cut.reshape(3, 4, 8)[:, :, :6].reshape(weight.shape), weight)


@pytest.mark.parametrize(("codewords", "subvector", "error"), [(16, 1, 0.02), (256, 2, 0.03), (256, 4, 0.2), (16, 4, 0.6)])
def test_quantized_rows_are_near_the_weight(rng: np.random.Generator, codewords: int, subvector: int, error: float) -> None:
    gain = np.exp(rng.normal(size=(64, 1, 1, 1)))  # rows of very different size: the row scales absorb them
    weight = (gain * rng.normal(size=(64, 3, 3, 16))).astype(np.float32)
    codebook, indices, scale = quantize_rows(weight, codewords, subvector, rng)
    decoded = ProductQuantized(codebook, indices, scale, weight.shape, 8).dense()
    relative = np.square(decoded - weight).reshape(64, -1).sum(1) / np.square(weight).reshape(64, -1).sum(1)
    assert relative.mean() < error


@pytest.mark.parametrize("channels", [6, 8])
def test_row_scales_are_least_squares_fits_to_the_entries_that_are_used(rng: np.random.Generator, channels: int) -> None:
    weight = rng.normal(size=(16, 3, 3, channels)).astype(np.float32)
    codebook, indices, scale = quantize_rows(weight, 16, 4, rng)
    decoded = ProductQuantized(codebook, indices, scale, weight.shape, 4).dense()
    np.testing.assert_allclose((decoded * (weight - decoded)).reshape(16, -1).sum(1), 0, atol=1e-3)


@pytest.mark.parametrize(
    ("sizes", "expected"), [([4.0, 1e-30, 0.0], [4.0, 4 / 4096, 4 / 4096]), ([0.0, 0.0], [1.0, 1.0]), ([3.0, 2.0], [3.0, 2.0])]
)
def test_rows_that_are_as_good_as_dead_keep_a_usable_scale(sizes: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(row_sizes(np.array(sizes, np.float32)), expected)


def test_a_row_of_zeros_is_quantized_to_finite_values(rng: np.random.Generator) -> None:
    weight = rng.normal(size=(8, 16)).astype(np.float32)
    weight[3] = 0
    codebook, indices, scale = quantize_rows(weight, 16, 4, rng)
    assert not ProductQuantized(codebook, indices, scale, weight.shape, 4).dense()[3].any()
    assert (scale > 0).all()
