"""Of a recurrent layer whose last hidden state alone is read, the others are not kept."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.graph import Graph, Shape
from lutra_compiler.ir.ops import Flatten, Gather, Op, Rearrange, Recurrent, Slice
from lutra_compiler.ir.shapes import infer_shapes

Places = npt.NDArray[np.int32]

_FOLLOWED = 1 << 26  # numbers, in all: a second or two, whatever a network holds


def last_state(graph: Graph) -> Graph:
    """Let each Recurrent put out its last state where all that is read of the sequence is what a Gather or a Slice takes as that."""
    shapes = infer_shapes(graph)
    readers: dict[str, list[Op]] = defaultdict(list)
    for op in graph.ops:
        for value in op.inputs:
            readers[value].append(op)
    changed: dict[str, list[Op]] = {}  # by output of an op: what takes its place
    followed = 0
    for op in graph.ops:
        if isinstance(op, Recurrent) and op.sequence and followed < _FOLLOWED:
            passed = _to_the_last(op, shapes, readers, graph.outputs)
            followed += math.prod(shapes[op.output]) * (1 + len(passed))
            if passed:
                end, shape = passed[-1], shapes[passed[-1].output]
                alone = Rearrange(name=end.name, inputs=(op.output,), output=end.output, view=(math.prod(shape),), order=(0,), shape=shape)
                changed |= {gone.output: [] for gone in passed} | {op.output: [replace(op, sequence=False)], end.output: [alone]}
    return graph.with_ops([new for op in graph.ops for new in changed.get(op.output, [op])]) if changed else graph


def _to_the_last(op: Recurrent, shapes: Mapping[str, Shape], readers: Mapping[str, Sequence[Op]], kept: Sequence[str]) -> list[Op]:
    """The ops after `op` that take nothing but its last state from its sequence; empty if there is more to it. `kept`: outputs."""
    units, passed, value = shapes[op.output][-1], list[Op](), op.output
    while math.prod(shapes[value]) > units:
        if value in kept or len(readers[value]) != 1 or not isinstance(readers[value][0], Rearrange | Flatten | Gather | Slice):
            return []
        passed.append(readers[value][0])
        value = passed[-1].output
    places = np.arange(math.prod(shapes[op.output]), dtype=np.int32).reshape(shapes[op.output])
    last = places.reshape(-1, units)[0 if op.reverse else -1]
    for mover in passed:
        places = _moved(mover, places)
    return passed if np.array_equal(places.ravel(), last) else []


def _moved(op: Op, places: Places) -> Places:
    """Where each number of an op's output comes from, given where those of its input do."""
    match op:
        case Rearrange():
            return places.reshape(op.view).transpose(op.order).reshape(op.shape)
        case Gather():
            return places.take(op.indices, op.axis)
        case Slice():
            return places[tuple(slice(*cut) for cut in zip(op.start, op.stop, op.step, strict=True))]
        case Flatten(order="CHW") if places.ndim == 3:
            return places.transpose(2, 0, 1).ravel()
        case _:
            return places.ravel()
