"""Rows of weights so weak that their biases do not fit beside the others' get larger scales."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.encoding import HIDDEN_STATE, Quantization, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Clamp, Recurrent, Weighted
from lutra_compiler.numerics.fixed_point import (
    BIAS_SHIFT_MAX,
    ERROR_LIMIT,
    PRE_ACTIVATION,
    PRE_ACTIVATION_ERROR,
    PRE_ACTIVATION_MAX,
    OutputRange,
    requantize,
)

Reals = npt.NDArray[np.float64]

CHANGE_LIMIT = 1.0  # output steps, root of the summed squares over the inputs
FACTOR_LIMIT = 2.0  # of an int8 row's scale
_NOTHING = 0.1  # output steps that a row's sum may make at most to count as nothing
_BIAS_UNITS = (1 << 15) - 1


def strengthen_rows(graph: Graph) -> Graph:
    """Give rows larger scales in layers whose integers would be too coarse otherwise, where that changes outputs by less than a step (the
    root of the summed squares of what the largest inputs make of each weight's change), or costs an int8 row no more than a bit.

    A layer has one `bias_shift` (SPEC.md, section 2). The strongest row says how large it may be, and so how many units of its own sum a
    bias may have; a channel that is next to dead, but has a bias, has far more. Its unit becomes what fits: below a hundredth of the
    strongest row's. int8 weights are rounded to it; codewords, which rows share, count as much more, and rows that put out nothing but
    their bias take the smallest codeword. Layers where that is not enough stay as they are, and `lower` refuses them.
    """
    changed: dict[str, WeightEncoding] = {}
    for op in graph.ops:
        if isinstance(op, Weighted) and op.weight in graph.encodings and {op.inputs[0], op.output} <= graph.quantization.keys():
            stronger = _stronger(graph, op)
            if stronger is not None:
                changed[op.weight] = stronger
    return graph.with_encodings(changed) if changed else graph


def _stronger(graph: Graph, op: Weighted) -> WeightEncoding | None:
    """The layer's weight with some larger scales; None if it needs none, or if they would not do."""
    encoding, source, result = graph.encodings[op.weight], graph.quantization[op.inputs[0]], graph.quantization[op.output]
    limit = ERROR_LIMIT
    if isinstance(op, Recurrent):
        source, result, limit = HIDDEN_STATE, Quantization(PRE_ACTIVATION, 0), PRE_ACTIVATION_ERROR
        output = OutputRange(0, -PRE_ACTIVATION_MAX, PRE_ACTIVATION_MAX)
    else:
        output = _output_range(result, op.activation or Clamp())
    bias = (graph.parameters[op.bias].astype(np.float64) if op.bias else np.zeros(encoding.shape[0])) / result.scale
    unit = limit / ERROR_LIMIT  # output steps that count as one

    def fits(encoding: WeightEncoding) -> bool:
        multipliers = source.scale * encoding.scale.astype(np.float64) / result.scale
        try:
            requantize(op.name, encoding.integers(), multipliers, bias, source.zero_point, output, limit)
        except LoweringError:
            return False
        return True

    if fits(encoding):
        return None
    before = source.scale * encoding.scale.astype(np.float64) / result.scale
    rows = encoding.integers().reshape(len(before), -1).astype(np.float64)
    for spare in (1, 2, 4):  # of the rounding that a layer may have; its sum needs some where it is shifted
        factors = _factors(before, rows, bias, source.zero_point, limit / spare)
        stronger = _scaled(encoding, factors, 255 * before * np.abs(rows).sum(axis=1) < _NOTHING * unit)
        after = source.scale * stronger.scale.astype(np.float64) / result.scale
        change = 255 * (before[:, None] * rows - after[:, None] * stronger.integers().reshape(rows.shape))
        small = np.square(change).sum(axis=1) <= (CHANGE_LIMIT * unit) ** 2
        if isinstance(encoding, ScalarQuantized):
            small |= factors <= FACTOR_LIMIT
        if small.all() and fits(stronger):
            return stronger
    return None


def _factors(multipliers: Reals, rows: Reals, bias: Reals, zero_point: int, limit: float) -> Reals:
    """By how much the scale of each row is to grow, from 1 on, so that biases are rounded by `limit` output steps at most."""
    strongest = float(multipliers[rows.any(axis=1)].max(initial=0.0))
    if not strongest:
        return np.ones_like(multipliers)
    bias_shift = int(np.clip(np.floor(np.log2(2 * limit / strongest)), 0, BIAS_SHIFT_MAX))
    units = np.abs(bias / multipliers - zero_point * rows.sum(axis=1))
    factors: Reals = np.maximum(1.02 * units / (_BIAS_UNITS * 2.0**bias_shift), 1.0)
    return factors


def _scaled(encoding: WeightEncoding, factors: Reals, constant: npt.NDArray[np.bool_]) -> WeightEncoding:
    """The encoding with scales `factors` times as large; `constant`: rows that put out nothing but their bias."""
    scale = (encoding.scale * factors).astype(np.float32)
    if not isinstance(encoding, ScalarQuantized):
        smallest = np.abs(encoding.codebook.astype(np.int64)).sum(axis=1).argmin()
        indices = np.where(((factors > 1) & constant)[:, None, None], smallest, encoding.indices).astype(np.uint8)
        return replace(encoding, scale=scale, indices=indices)
    coarse = factors.reshape(-1, *[1] * (encoding.values.ndim - 1))
    return ScalarQuantized(np.rint(encoding.values / coarse).astype(np.int8), scale)


def _output_range(quantization: Quantization, clamp: Clamp) -> OutputRange:
    low, high = (
        unbounded if bound is None else int(np.clip(np.rint(bound / quantization.scale) + quantization.zero_point, -128, 127))
        for bound, unbounded in ((clamp.minimum, -128), (clamp.maximum, 127))
    )
    return OutputRange(quantization.zero_point, low, high)
