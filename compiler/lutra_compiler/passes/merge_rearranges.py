"""Rearrangements in sequence become one, or none."""

from dataclasses import replace

from lutra_compiler.ir.graph import Graph, Shape
from lutra_compiler.ir.ops import Flatten, Op, Rearrange
from lutra_compiler.ir.rearranging import MAX_AXES, composed, moves_nothing, simplified
from lutra_compiler.ir.shapes import infer_shapes


def merge_rearranges(graph: Graph) -> Graph:
    """Let each Rearrange or Flatten read what the Rearrange or Flatten before it reads, if one can do the work of both.

    Those that leave everything as it is go.
    """
    shapes = infer_shapes(graph)
    ops: dict[str, Op] = {}  # by output
    same: dict[str, str] = {}  # values that are others
    for op in graph.ops:
        op = replace(op, inputs=tuple(same.get(value, value) for value in op.inputs))
        before = ops.get(op.inputs[0])
        if isinstance(op, Rearrange | Flatten) and isinstance(before, Rearrange | Flatten):
            first, second = _rearrange(before, shapes), _rearrange(op, shapes)
            if (both := composed(first, second)) is not None and len(both[0]) <= MAX_AXES:
                op = Rearrange(name=op.name, inputs=first.inputs, output=op.output, view=both[0], order=both[1], shape=shapes[op.output])
        if isinstance(op, Rearrange) and moves_nothing(op) and shapes[op.inputs[0]] == op.shape and op.output not in graph.outputs:
            same[op.output] = op.inputs[0]
            continue
        ops[op.output] = _as_flatten(op, shapes[op.inputs[0]]) if isinstance(op, Rearrange) else op
    read = set(graph.outputs)
    kept: list[Op] = []
    for op in reversed(ops.values()):
        if op.output in read:
            read.update(op.inputs)
            kept.append(op)
    return graph.with_ops(kept[::-1])


def _rearrange(op: Rearrange | Flatten, shapes: dict[str, Shape]) -> Rearrange:
    """A Flatten as what it is a case of."""
    if isinstance(op, Rearrange):
        return op
    view = shapes[op.inputs[0]]
    order = (2, 0, 1) if op.order == "CHW" and len(view) == 3 else tuple(range(len(view)))
    return Rearrange(name=op.name, inputs=op.inputs, output=op.output, view=view, order=order, shape=shapes[op.output])


def _as_flatten(op: Rearrange, before: Shape) -> Op:
    """The Flatten that a Rearrange is, for `reorder_flatten` to remove; else the Rearrange."""
    if len(op.shape) != 1 or len(before) != 3:
        return op
    for order, axes in (("HWC", (0, 1, 2)), ("CHW", (2, 0, 1))):
        if simplified(op.view, op.order) == simplified(before, axes):
            return Flatten(name=op.name, inputs=op.inputs, output=op.output, order=order)
    return op
