"""Real multipliers and biases as the integers of SPEC.md, with the proofs that no sum and no product leaves int32."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutra_compiler.errors import LoweringError

ACC_SHIFT_MAX = 16
OUTPUT_SHIFT_MAX = 15  # + 15 of a channel's own <= 30
BIAS_SHIFT_MAX = 15  # int16 << 15 is an int32
SHIFT_MAX = 30
V_LIMIT = 1 << 19
INT32_LIMIT = 1 << 31
MANTISSA_BITS = 12

# Output steps. With half a step of the last shift and 255 steps * 2^-12 of the mantissa, a layer is within one step of its real value.
ERROR_LIMIT = 3 / 8

# Of recurrent layers: what the hidden state adds to a gate, in units of which it may be rounded by some, a thousandth in all.
PRE_ACTIVATION = 2.0**-12
PRE_ACTIVATION_MAX = (1 << 18) - 1
PRE_ACTIVATION_ERROR = 4.0

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Requantization:
    """Sections 2 and 3 of SPEC.md for one layer: `bias` int16 [out], `multiplier` uint16 [out], and the layer's shifts."""

    bias: npt.NDArray[np.int16]
    multiplier: npt.NDArray[np.uint16]
    bias_shift: int
    acc_shift: int
    output_shift: int

    def stays_in_int32(self, bounds: "Bounds") -> bool:
        """Whether no partial sum and no product of sections 2 and 3 leaves its range, whatever the inputs are."""
        bias = self.bias.astype(np.int64) << self.bias_shift
        mantissa = self.multiplier.astype(np.int64) & ((1 << MANTISSA_BITS) - 1)
        rounding = 1 << (self.output_shift + (self.multiplier.astype(np.int64) >> MANTISSA_BITS) - 1)
        v = np.maximum(np.abs(bias + bounds.low >> self.acc_shift), np.abs(bias + bounds.high >> self.acc_shift))
        return bool(
            (np.abs(bias) + bounds.magnitude < INT32_LIMIT).all()
            and (v < V_LIMIT).all()
            and (v * mantissa + rounding < INT32_LIMIT).all()
        )


@dataclass(frozen=True)
class OutputRange:
    """Integers that a layer may put out: the clamp, and the zero point."""

    zero_point: int
    minimum: int
    maximum: int


@dataclass(frozen=True)
class Bounds:
    """Of the sum of w * x for x in -128..127: `low`, `high` and `magnitude` (of any partial sum), int64 [out]."""

    low: Integers
    high: Integers
    magnitude: Integers


def bounds_of(weights: npt.NDArray[np.int8]) -> Bounds:
    """Bounds of the sums of every row of int8 weights [out, ...]."""
    rows = weights.reshape(len(weights), -1)
    positive = np.maximum(rows, 0).sum(axis=1, dtype=np.int64)
    negative = positive - rows.sum(axis=1, dtype=np.int64)
    return Bounds(-128 * positive - 127 * negative, 127 * positive + 128 * negative, 128 * (positive + negative))


def requantize(
    name: str,
    weights: npt.NDArray[np.int8],
    multipliers: Reals,
    bias: Reals,
    input_zero_point: int,
    output: OutputRange,
    error_limit: float = ERROR_LIMIT,
) -> Requantization:
    """Choose a layer's shifts, biases and multipliers.

    `weights`: int8 [out, ...]; `multipliers`: real output steps a unit of the sum, positive, [out]; `bias`: in output steps, [out];
    `error_limit`: output steps by which rounding of bias and sum may change a result.
    Takes the finest `acc_shift` that provably fits. Raises LoweringError with the layer and the channel if that is too coarse.
    """
    bounds = bounds_of(weights)
    bias = bias - input_zero_point * multipliers * weights.reshape(len(weights), -1).sum(axis=1, dtype=np.int64)
    # A row of zeros may have any multiplier; a silent channel, always at its zero point, needs neither multiplier nor bias.
    empty = bounds.magnitude == 0
    silent = _always_zero_point(bias + multipliers * bounds.low, bias + multipliers * bounds.high, output)
    usual = multipliers[~empty & ~silent].max(initial=0.0) or 2.0**-8
    multipliers = np.where(silent, 0.0, np.where(empty, usual, multipliers))
    wanted = np.divide(bias, multipliers, where=~silent, out=np.zeros_like(bias))
    for acc_shift in range(ACC_SHIFT_MAX + 1):
        choice = _with_acc_shift(name, acc_shift, wanted, multipliers)
        if choice.stays_in_int32(bounds):
            _require_fine(name, choice, multipliers, error_limit)
            return choice
    raise LoweringError(f"layer '{name}': its sums leave int32; {_REMEDY}")


def rescale_multipliers(name: str, ratios: Sequence[float], bounds: Sequence[int], bits: int = 16) -> tuple[list[int], int]:
    """Multipliers of `bits` bits and their common shift, as fine as they can be: multiplier / 2^shift = ratio.

    `bounds[i]` limits what multiplier i is applied to, so that its product and the rounding stay in int32.
    """
    for shift in range(SHIFT_MAX, 0, -1):
        multipliers = [round(ratio * 2**shift) for ratio in ratios]
        products = [multiplier * bound for multiplier, bound in zip(multipliers, bounds, strict=True)]
        if max(multipliers) < 1 << bits and max(products) + (1 << (shift - 1)) < INT32_LIMIT:
            return multipliers, shift
    raise LoweringError(
        f"layer '{name}': its input's scale is {max(ratios):.3g} times its output's, at most {(1 << 15) - 1} is possible; "
        "calibrate it with samples that use its whole range"
    )


_REMEDY = "row scales or biases differ too much between its channels: prune the weakest ones or store the layer as int8"


def _always_zero_point(low: Reals, high: Reals, output: OutputRange) -> npt.NDArray[np.bool_]:
    """Whether an output between `low` and `high` steps from the zero point, not yet clamped, is nothing but the zero point."""
    below, above = output.minimum - output.zero_point, output.maximum - output.zero_point
    always: npt.NDArray[np.bool_] = (np.rint(np.clip(low, below, above)) == 0) & (np.rint(np.clip(high, below, above)) == 0)
    return always


def _with_acc_shift(name: str, acc_shift: int, wanted: Reals, multipliers: Reals) -> Requantization:
    wanted = wanted + ((1 << acc_shift) >> 1)
    bias_shift = next((shift for shift in range(BIAS_SHIFT_MAX + 1) if (np.abs(np.rint(wanted / 2**shift)) < 1 << 15).all()), None)
    if bias_shift is None:
        raise LoweringError(f"layer '{name}': a bias of {np.abs(wanted).max():.3g} units of its sums leaves int32; {_REMEDY}")
    steps = multipliers * 2.0**acc_shift
    shifts = np.where(steps > 0, MANTISSA_BITS - np.frexp(steps)[1], SHIFT_MAX)
    output_shift = int(np.clip(shifts.min(), 1, OUTPUT_SHIFT_MAX))
    extra = np.clip(shifts - output_shift, 0, 15)
    mantissa = np.minimum(np.rint(steps * 2.0 ** (output_shift + extra)), (1 << MANTISSA_BITS) - 1).astype(np.int64)
    return Requantization(
        np.rint(wanted / 2**bias_shift).astype(np.int16),
        (mantissa | extra << MANTISSA_BITS).astype(np.uint16),
        bias_shift,
        acc_shift,
        output_shift,
    )


def _require_fine(name: str, choice: Requantization, multipliers: Reals, limit: float) -> None:
    """Bias and sum are rounded by half of their units; a sum that is not shifted is exact."""
    error = multipliers * (2.0 ** (choice.bias_shift - 1) + (2.0 ** (choice.acc_shift - 1) if choice.acc_shift else 0.0))
    worst = int(error.argmax())
    if error[worst] > limit:
        raise LoweringError(
            f"layer '{name}', channel {worst}: bias and sum would be rounded by up to {error[worst]:.3g} output steps, "
            f"limit {limit:g}; {_REMEDY}"
        )
