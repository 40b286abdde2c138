"""Clamps join the operator that computes what they clamp."""

import math
from collections import Counter
from dataclasses import replace

from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    BatchNorm,
    Binary,
    Clamp,
    Conv2d,
    Flatten,
    Gather,
    Linear,
    MaxPool,
    Op,
    Rearrange,
    Slice,
    Upsample,
)

_MOVES = MaxPool | Flatten | Slice | Gather | Rearrange | Upsample


def fuse_activation(graph: Graph) -> Graph:
    """Move each Activation into the Conv2d, Linear, BatchNorm, Add, Binary or Activation before it, if nothing else reads that value.

    A clamp is monotonous and elementwise, so it also moves ahead of a MaxPool and of what only moves numbers to get there.
    """
    readers = Counter([*(value for op in graph.ops for value in op.inputs), *graph.outputs])
    ops: dict[str, Op] = {}  # by output
    for op in graph.ops:
        ops[op.output] = op
        if not isinstance(op, Activation):
            continue
        target = op.inputs[0]
        while readers[target] == 1 and isinstance(ops.get(target), _MOVES):
            target = ops[target].inputs[0]
        producer = ops.get(target)
        if readers[target] != 1:
            continue
        match producer:
            case Conv2d() | Linear() | BatchNorm() | Add() | Binary():
                ops[target] = replace(producer, activation=_then(producer.activation, op.clamp))
            case Activation():
                ops[target] = replace(producer, clamp=_then(producer.clamp, op.clamp))
            case _:
                continue
        ops[op.output] = replace(ops.pop(op.inputs[0]), output=op.output)
    return graph.with_ops(list(ops.values()))


def _then(first: Clamp | None, second: Clamp) -> Clamp:
    """One clamp for two in sequence."""
    if first is None:
        return second
    low, high = _bounds(second)
    minimum, maximum = (min(max(bound, low), high) for bound in _bounds(first))
    return Clamp(None if minimum == -math.inf else minimum, None if maximum == math.inf else maximum)


def _bounds(clamp: Clamp) -> tuple[float, float]:
    low = -math.inf if clamp.minimum is None else clamp.minimum
    return low, math.inf if clamp.maximum is None else clamp.maximum
