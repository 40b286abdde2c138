"""Of a recurrent layer whose last hidden state alone is read, the others are not kept."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Flatten, Gather, Op, Rearrange, Recurrent, Slice
from lutra_compiler.ir.shapes import infer_shapes

Places = npt.NDArray[np.int32]


def last_state(graph: Graph) -> Graph:
    """Let each Recurrent put out its last state where all that is read of the sequence is what a Gather or a Slice takes as that."""
    shapes = infer_shapes(graph)
    for op in graph.ops:
        if not isinstance(op, Recurrent) or not op.sequence:
            continue
        places: Places | None = np.arange(np.prod(shapes[op.output]), dtype=np.int32).reshape(shapes[op.output])
        assert places is not None
        last = places.reshape(-1, places.shape[-1])[0 if op.reverse else -1]
        value, passed = op.output, list[Op]()
        while places is not None and len(consumers := graph.consumers(value)) == 1 and value not in graph.outputs:
            passed.append(reader := consumers[0])
            value, places = reader.output, _moved(reader, places)
            if places is not None and np.array_equal(places.ravel(), last) and len(last) < np.prod(shapes[op.output]):
                graph = _shortened(graph, op, passed, shapes[value])
                break
    return graph


def _shortened(graph: Graph, op: Recurrent, passed: list[Op], shape: tuple[int, ...]) -> Graph:
    """The graph with the last state of `op` in place of what the ops after it, `passed`, make of the sequence."""
    end, view = passed[-1], (math.prod(shape),)
    alone = Rearrange(name=end.name, inputs=(op.output,), output=end.output, view=view, order=(0,), shape=shape)
    ops = [replace(op, sequence=False) if other is op else alone if other is end else other for other in graph.ops]
    return graph.with_ops([other for other in ops if not any(other is gone for gone in passed)])


def _moved(op: Op, places: Places) -> Places | None:
    """Where each number of an op's output comes from, given where those of its input do; None for one that computes."""
    match op:
        case Rearrange():
            return places.reshape(op.view).transpose(op.order).reshape(op.shape)
        case Flatten():
            return (places if op.order == "HWC" or places.ndim == 1 else places.transpose(2, 0, 1)).ravel()
        case Gather():
            return places.take(op.indices, op.axis)
        case Slice():
            return places[tuple(slice(*cut) for cut in zip(op.start, op.stop, op.step, strict=True))]
        case _:
            return None
