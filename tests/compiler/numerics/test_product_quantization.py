"""numerics/product_quantization.py: weights as row scales, codewords and indices."""

import numpy as np
import pytest

from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.numerics.product_quantization import QuantizedRows, quantize_rows, quantize_together, row_sizes, subvectors_of


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def dense(found: QuantizedRows, shape: tuple[int, ...]) -> np.ndarray:
    return ProductQuantized(found.codebook, found.indices, found.scale, shape, 8).dense()


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
    found = quantize_rows(weight, codewords, subvector, rng)
    decoded = dense(found, weight.shape)
    relative = np.square(decoded - weight).reshape(64, -1).sum(1) / np.square(weight).reshape(64, -1).sum(1)
    assert relative.mean() < error


@pytest.mark.parametrize("channels", [6, 8])
def test_row_scales_are_least_squares_fits_to_the_entries_that_are_used(rng: np.random.Generator, channels: int) -> None:
    weight = rng.normal(size=(16, 3, 3, channels)).astype(np.float32)
    found = quantize_rows(weight, 16, 4, rng)
    decoded = dense(found, weight.shape)
    np.testing.assert_allclose((decoded * (weight - decoded)).reshape(16, -1).sum(1), 0, atol=1e-3)


@pytest.mark.parametrize(("channels", "subvector", "codewords", "error"), [(5, 4, 16, 0.265), (13, 8, 64, 0.3), (9, 8, 16, 0.5)])
def test_what_fills_the_last_subvectors_does_not_count(
    rng: np.random.Generator, channels: int, subvector: int, codewords: int, error: float
) -> None:
    weight = rng.normal(size=(64, 3, 3, channels)).astype(np.float32)
    found = quantize_rows(weight, codewords, subvector, rng)
    assert np.square(dense(found, weight.shape) - weight).mean() < error


@pytest.mark.parametrize(
    ("sizes", "expected"), [([4.0, 1e-30, 0.0], [4.0, 4 / 4096, 4 / 4096]), ([0.0, 0.0], [1.0, 1.0]), ([3.0, 2.0], [3.0, 2.0])]
)
def test_rows_that_are_as_good_as_dead_keep_a_usable_scale(sizes: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(row_sizes(np.array(sizes, np.float32)), expected)


def test_a_row_of_zeros_is_quantized_to_finite_values(rng: np.random.Generator) -> None:
    weight = rng.normal(size=(8, 16)).astype(np.float32)
    weight[3] = 0
    found = quantize_rows(weight, 16, 4, rng)
    assert not dense(found, weight.shape)[3].any()
    assert (found.scale > 0).all()


def test_importance_lowers_the_output_error(rng: np.random.Generator) -> None:
    weight = rng.normal(size=(64, 3, 3, 16)).astype(np.float32)
    importance = rng.exponential(size=(3, 3, 16)).astype(np.float32) ** 2

    def error(importance_given: np.ndarray | None) -> float:
        found = quantize_rows(weight, 16, 4, np.random.default_rng(1), importance=importance_given)
        return float((importance * np.square(dense(found, weight.shape) - weight)).sum())

    assert error(importance) < 0.8 * error(None)
    assert error(np.broadcast_to(importance, weight.shape)) == error(importance)


def test_the_unit_of_importance_does_not_matter(rng: np.random.Generator) -> None:
    weight, importance = rng.normal(size=(16, 32)).astype(np.float32), rng.exponential(size=32).astype(np.float32)
    one, other = (quantize_rows(weight, 16, 4, np.random.default_rng(1), importance=importance * unit, rate=0.1) for unit in (1, 1024))
    np.testing.assert_array_equal(one.indices, other.indices)


def test_a_rate_shortens_coded_indices(rng: np.random.Generator) -> None:
    weight = rng.normal(size=(64, 64)).astype(np.float32)
    assert quantize_rows(weight, 16, 4, rng, rate=0.5).entropy < 0.9 * quantize_rows(weight, 16, 4, rng).entropy


def test_weights_together_share_one_codebook(rng: np.random.Generator) -> None:
    weights = [scale * rng.normal(size=shape).astype(np.float32) for scale, shape in ((1, (32, 3, 3, 16)), (50, (24, 3, 3, 10)))]
    found = quantize_together(weights, 16, 4, rng)
    assert found[0].codebook.tobytes() == found[1].codebook.tobytes()
    for weight, rows in zip(weights, found, strict=True):
        assert np.square(dense(rows, weight.shape) - weight).sum() < 0.6 * np.square(weight).sum()
