"""numerics/sweep.py: the error of the output, not that of the weights."""

from dataclasses import replace

import numpy as np
import pytest

from lutra_compiler.numerics.product_quantization import QuantizedRows, quantize_rows
from lutra_compiler.numerics.sweep import output_error, sweep

SHAPES = [(48, 64), (32, 3, 3, 10)]


def problem(shape: tuple[int, ...], seed: int = 0, correlated: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A weight and the second moment of inputs that share a few causes."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=shape).astype(np.float32)
    width = weight[0].size
    mixing = rng.normal(size=(width // 4, width)) if correlated else np.zeros((1, width))
    inputs = rng.normal(size=(4000, len(mixing))) @ mixing + rng.normal(size=(4000, width)) * rng.uniform(0.3, 2, width)
    return weight, (inputs.T @ inputs / len(inputs)).astype(np.float32)


def plain(weight: np.ndarray, hessian: np.ndarray, **options: int) -> QuantizedRows:
    importance = np.diagonal(hessian).reshape(weight.shape[1:])
    return quantize_rows(weight, 16, 4, np.random.default_rng(1), importance=importance, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_output_error_is_that_of_the_outputs(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(size=shape).astype(np.float32)
    inputs = rng.normal(size=(500, weight[0].size)).astype(np.float32)
    rows = quantize_rows(weight, 16, 4, rng)
    outputs = inputs @ (rows.dense(shape[-1]) - weight.reshape(len(weight), -1)).T
    assert output_error(weight, rows, inputs.T @ inputs) == pytest.approx(np.square(outputs).sum(), rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rounds", "learn", "part"), [(0, False, 0.6), (2, False, 0.4), (2, True, 0.35)])
def test_correlated_inputs_make_good_much_of_the_error(shape: tuple[int, ...], rounds: int, learn: bool, part: float) -> None:
    weight, hessian = problem(shape)
    rows = plain(weight, hessian)
    swept = sweep(weight, rows, hessian, rounds=rounds, learn=learn)
    assert output_error(weight, swept, hessian) < part * output_error(weight, rows, hessian)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_never_raises_the_output_error(seed: int, correlated: bool) -> None:
    weight, hessian = problem((24, 40), seed, correlated)
    rows = plain(weight, hessian)
    errors = [output_error(weight, each, hessian) for each in (rows, *(sweep(weight, rows, hessian, rounds=n) for n in range(4)))]
    assert errors == sorted(errors, reverse=True)


def test_codewords_keep_their_bounds_and_the_zero_stays() -> None:
    weight, hessian = problem((48, 64))
    swept = sweep(weight, plain(weight, hessian, norm=63), hessian, norm=63)
    assert np.abs(swept.codebook.astype(int)).sum(1).max() <= 63
    assert not swept.codebook[0].any()
    assert swept.indices.max() < 16
    assert (swept.scale > 0).all()


def test_a_codebook_that_is_not_to_be_learned_stays() -> None:
    weight, hessian = problem((48, 64))
    rows = plain(weight, hessian)
    assert sweep(weight, rows, hessian, learn=False).codebook.tobytes() == rows.codebook.tobytes()


def test_inputs_that_never_fire_are_borne() -> None:
    weight, hessian = problem((24, 40))
    hessian[8:12] = 0
    hessian[:, 8:12] = 0
    weight[5] = 0
    swept = sweep(weight, plain(weight, hessian), hessian)
    assert np.isfinite(swept.scale).all()
    assert not swept.dense(40)[5].any() or output_error(weight, swept, hessian) < 0.5 * np.vdot(weight @ hessian, weight)


def test_the_scale_of_weights_and_inputs_does_not_matter() -> None:
    weight, hessian = problem((24, 40))
    swept = sweep(weight, plain(weight, hessian), hessian)
    loud = sweep(weight * 1024, replace(plain(weight, hessian), scale=plain(weight, hessian).scale * 1024), hessian * 2.0**-10)
    np.testing.assert_array_equal(loud.indices, swept.indices)
    np.testing.assert_allclose(loud.scale, swept.scale * 1024, rtol=1e-5)
