from dataclasses import replace

import numpy as np
import pytest

from lutra_compiler.errors import LoweringError
from lutra_compiler.numerics.fixed_point import Bounds, OutputRange, Requantization, bounds_of, requantize, rescale_multipliers

FULL = OutputRange(zero_point=3, minimum=-128, maximum=127)
RELU = OutputRange(zero_point=-128, minimum=-128, maximum=127)


def apply(choice: Requantization, weights: np.ndarray, x: np.ndarray, output: OutputRange) -> np.ndarray:
    """SPEC.md, sections 2 and 3, in unlimited integers: x [samples, in] -> [samples, out]."""
    sums = x.astype(object) @ weights.T.astype(object) + (choice.bias.astype(object) << choice.bias_shift)
    mantissa, extra = choice.multiplier.astype(object) & 0x0FFF, choice.multiplier.astype(object) >> 12
    shift = extra + choice.output_shift
    y = ((sums >> choice.acc_shift) * mantissa + (1 << (shift - 1))) >> shift
    return np.clip((y + output.zero_point).astype(np.float64), output.minimum, output.maximum)


def random_layer(seed: int):
    """Weights, multipliers, biases, zero point of a layer whose outputs use their range."""
    rng = np.random.default_rng(seed)
    out, fan_in = rng.integers(1, 9), int(2 ** rng.uniform(2, 12))
    weights = rng.integers(-127, 128, (out, fan_in), np.int8)
    multipliers = 2 ** rng.uniform(-3, 0, out) / np.sqrt(fan_in) / 73
    return weights, multipliers, rng.normal(0, 60, out), int(rng.integers(-128, 128))


@pytest.mark.parametrize("seed", range(40))
def test_a_layer_stays_within_one_step_of_its_real_value(seed: int):
    weights, multipliers, bias, zero_point = random_layer(seed)
    x = np.random.default_rng(seed).integers(-128, 128, (64, weights.shape[1])).astype(np.int64)
    choice = requantize("layer", weights, multipliers, bias, zero_point, FULL)
    real = np.clip((x - zero_point) @ weights.T.astype(np.int64) * multipliers + bias + 3, -128, 127)
    assert np.abs(apply(choice, weights, x, FULL) - real).max() < 1


def test_a_bias_holds_the_zero_point():
    choice = requantize("layer", np.full((1, 1000), 100, np.int8), np.array([2.0**-16]), np.array([10.0]), -100, FULL)
    assert choice.bias_shift == 9
    assert choice.bias.tolist() == [round((10 * 2**16 + 100 * 100_000) / 2**9)]


def test_a_bias_holds_half_of_what_the_accumulator_shift_discards():
    choice = requantize("layer", np.full((1, 1000), 100, np.int8), np.array([2.0**-16]), np.zeros(1), 0, FULL)
    assert (choice.acc_shift, choice.bias_shift) == (5, 0)
    assert choice.bias.tolist() == [16]


@pytest.mark.parametrize("seed", range(10))
def test_the_accumulator_shift_is_the_smallest_that_fits(seed: int):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (4, 2000), np.int8)
    choice = requantize("layer", weights, np.full(4, 2.0**-16), np.zeros(4), 0, FULL)
    assert choice.acc_shift > 0
    assert choice.stays_in_int32(bounds_of(weights))
    assert not replace(choice, acc_shift=choice.acc_shift - 1).stays_in_int32(bounds_of(weights))


def test_bounds_are_reached_by_the_worst_inputs():
    weights = np.array([[127, -128, 5], [-1, 0, 0]], np.int8)
    bounds = bounds_of(weights)
    signs = np.sign(weights.astype(int))
    np.testing.assert_array_equal(bounds.high, (weights * np.where(signs > 0, 127, -128)).sum(axis=1))
    np.testing.assert_array_equal(bounds.low, (weights * np.where(signs > 0, -128, 127)).sum(axis=1))
    np.testing.assert_array_equal(bounds.magnitude, [128 * 260, 128])


@pytest.mark.parametrize(
    ("low", "high", "magnitude", "fits"),
    [
        (-(2**19) + 1, 2**19 - 1, 2**19, True),
        (0, 2**19, 2**19, False),
        (-(2**19), 0, 2**19, False),
        (0, 0, 2**31 - 1, True),
        (0, 0, 2**31, False),
    ],
)
def test_sums_and_products_are_proved_to_stay_in_int32(low: int, high: int, magnitude: int, fits: bool):
    bounds = Bounds(*(np.array([value], np.int64) for value in (low, high, magnitude)))
    choice = Requantization(np.zeros(1, np.int16), np.array([0x0FFF], np.uint16), bias_shift=0, acc_shift=0, output_shift=1)
    assert choice.stays_in_int32(bounds) is fits


def test_the_proof_counts_the_rounding_of_large_shifts():
    bounds = Bounds(*(np.array([value], np.int64) for value in (0, 2**19 - 1, 2**19)))
    choice = Requantization(np.zeros(1, np.int16), np.array([0xFFFF], np.uint16), bias_shift=0, acc_shift=0, output_shift=15)
    assert not choice.stays_in_int32(bounds)


def test_weak_channels_lose_mantissa_bits_and_nothing_else():
    weights = np.full((3, 80), 50, np.int8)
    multipliers = np.array([1e-3, 1e-5, 1e-6])
    choice = requantize("layer", weights, multipliers, np.zeros(3), 0, FULL)
    mantissa, shift = choice.multiplier & 0x0FFF, choice.output_shift + (choice.multiplier >> 12).astype(int)
    assert [m >= 2048 for m in mantissa] == [True, True, False]
    np.testing.assert_allclose(mantissa / 2.0**shift / 2.0**choice.acc_shift, multipliers, rtol=2**-12, atol=2**-31)


def test_a_row_of_zeros_with_any_scale_puts_out_its_bias():
    weights = np.array([[100, 100], [0, 0]], np.int8)
    for scale in (1e-20, 1e6):
        choice = requantize("layer", weights, np.array([0.005, scale]), np.array([0.0, 42.0]), -128, FULL)
        assert apply(choice, weights, np.array([[-128, 127]]), FULL)[0, 1] == 45


def test_a_layer_of_zeros_puts_out_its_biases():
    weights = np.zeros((2, 3), np.int8)
    choice = requantize("layer", weights, np.ones(2), np.array([-20.0, 100.0]), 7, FULL)
    assert apply(choice, weights, np.zeros((1, 3), int), FULL).tolist() == [[-17, 103]]


def test_a_channel_that_its_clamp_silences_costs_the_others_no_precision():
    weights = np.array([[100, 100], [90, -90]], np.int8)
    choice = requantize("layer", weights, np.array([0.005, 1e-12]), np.array([0.0, -50.0]), 0, RELU)
    assert choice.multiplier[1] & 0x0FFF == 0
    assert choice.bias_shift == 0
    assert apply(choice, weights, np.array([[127, -128]]), RELU)[0, 1] == -128


@pytest.mark.parametrize(
    ("multipliers", "bias", "message"),
    [
        ([0.005, 1e-12], [0.0, 50.0], "a bias of 5e.13 units of its sums leaves int32"),
        ([0.005, 3e-6], [0.0, 100.0], "channel 0: bias and sum would be rounded by up to .* output steps, limit 0.375"),
        ([0.005, 0.9], [0.0, 0.0], "channel 1: bias and sum would be rounded by up to 0.45 output steps"),
        ([0.005, 0.005], [0.0, np.nan], "leaves int32"),
    ],
)
def test_a_layer_too_coarse_for_the_format_is_refused_with_its_name(multipliers: list, bias: list, message: str):
    weights = np.array([[100, 100], [90, -90]], np.int8)
    with pytest.raises(LoweringError, match=f"layer 'head'.*{message}.*prune"):
        requantize("head", weights, np.array(multipliers), np.array(bias), 0, FULL)


def test_a_layer_with_too_many_inputs_for_int32_is_refused():
    with pytest.raises(LoweringError, match="'wide': its sums leave int32"):
        requantize("wide", np.full((1, 140_000), 127, np.int8), np.array([1e-8]), np.zeros(1), 0, FULL)


@pytest.mark.parametrize("ratios", [[1.0], [0.3, 0.7], [1e-6], [200.0, 0.5], [1 / (i + 1) for i in range(9)]])
def test_multipliers_are_as_fine_as_sixteen_bits_allow(ratios: list[float]):
    multipliers, shift = rescale_multipliers("add", ratios, [510] * len(ratios))
    np.testing.assert_allclose(np.array(multipliers) / 2.0**shift, ratios, atol=0.5 / 2**shift)
    assert max(multipliers) < 65536
    assert shift == 30 or max(ratios) * 2.0 ** (shift + 1) >= 65535.5


def test_products_of_large_windows_stay_in_int32():
    (multiplier,), shift = rescale_multipliers("pool", [1 / 65025], [255 * 65025])
    assert multiplier * 255 * 65025 + (1 << (shift - 1)) < 2**31


def test_a_ratio_beyond_the_format_is_refused():
    with pytest.raises(LoweringError, match=r"'add'.*4e\+04 times"):
        rescale_multipliers("add", [40000.0], [510])
