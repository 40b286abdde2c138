"""Zero padding joins the convolution that reads it."""

from collections import Counter
from dataclasses import replace

from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d, Op, Pad


def merge_padding(graph: Graph) -> Graph:
    """Move each Pad of height and width into the Conv2d that alone reads it (max pools pad with minus infinity, not zeros)."""
    readers = Counter([*(value for op in graph.ops for value in op.inputs), *graph.outputs])
    ops: dict[str, Op] = {}  # by output
    for op in graph.ops:
        pad = ops.get(op.inputs[0])
        joins = isinstance(op, Conv2d) and isinstance(pad, Pad) and pad.channels == (0, 0) and pad.value == 0
        if isinstance(op, Conv2d) and isinstance(pad, Pad) and joins and readers[pad.output] == 1:
            top, left, bottom, right = (a + b for a, b in zip(op.padding, pad.spatial, strict=True))
            op = replace(op, inputs=pad.inputs, padding=(top, left, bottom, right))
            del ops[pad.output]
        ops[op.output] = op
    return graph.with_ops(list(ops.values()))
