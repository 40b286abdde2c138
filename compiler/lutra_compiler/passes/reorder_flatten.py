"""Flattened images in the order of memory, so that flattening costs nothing."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lutra_compiler.errors import GraphError
from lutra_compiler.ir.graph import FloatArray, Graph
from lutra_compiler.ir.ops import Add, BatchNorm, Binary, Concat, Flatten, Gather, Linear, Op, Rearrange, Select
from lutra_compiler.ir.shapes import infer_shapes

Order = npt.NDArray[np.int64]


def reorder_flatten(graph: Graph) -> Graph:
    """Turn every Flatten to order "HWC" and permute the parameters that meet the reordered vector.

    A Flatten whose order in the source must be kept, since an output of the network, a sum with another vector or a rearrangement shows it,
    becomes a Rearrange.
    """
    moved = {op.output for op in graph.ops if isinstance(op, Flatten) and op.order == "CHW"}
    kept: set[str] = set()
    while True:
        reordering = _Reordering(graph, kept)
        if not (more := reordering.shown - kept):
            return graph.with_ops(reordering.ops).with_parameters(reordering.parameters)
        kept |= more & moved


class _Reordering:
    """The graph with all Flattens but the `kept` ones in the order of memory; `shown`: those whose order would be seen."""

    def __init__(self, graph: Graph, kept: Collection[str]) -> None:
        self.graph, self.kept = graph, kept
        self.shapes = infer_shapes(graph)
        self.orders: dict[str, Order] = {}  # of values whose feature i is the source's feature order[i]
        self.origins: dict[str, set[str]] = {}  # of such values, the Flattens
        self.parameters: dict[str, FloatArray] = {}
        self.shown: set[str] = set()
        self.ops = [self.reordered(op) for op in graph.ops]
        for value in graph.outputs:
            self.show(value)

    def order_of(self, value: str) -> Order:
        return self.orders.get(value, np.arange(self.shapes[value][-1]))

    def show(self, *values: str) -> None:
        """Something depends on the order of these values."""
        for value in values:
            if value in self.orders and not np.array_equal(self.orders[value], np.arange(len(self.orders[value]))):
                self.shown |= self.origins[value]

    def carry(self, op: Op, order: Order) -> None:
        self.orders[op.output] = order
        self.origins[op.output] = set().union(*(self.origins.get(value, set()) for value in op.inputs))

    def reordered(self, op: Op) -> Op:
        moved = any(value in self.orders for value in op.inputs)
        match op:
            case Flatten(order="CHW"):
                height, width, channels = self.shapes[op.inputs[0]]
                if op.output in self.kept:
                    settings = {"view": (height, width, channels), "order": (2, 0, 1), "shape": self.shapes[op.output]}
                    return Rearrange(name=op.name, inputs=op.inputs, output=op.output, **settings)
                self.orders[op.output] = np.arange(height * width * channels).reshape(channels, height, width).transpose(1, 2, 0).ravel()
                self.origins[op.output] = {op.output}
                return replace(op, order="HWC")
            case _ if not moved:
                return op
            case Linear():
                weight = _float(self.graph, op, op.weight)
                self.parameters[op.weight] = np.ascontiguousarray(weight[:, self.order_of(op.inputs[0])])
            case BatchNorm():
                order = self.order_of(op.inputs[0])
                self.parameters.update({name: self.graph.parameters[name][order] for name in op.parameter_names})
                self.carry(op, order)
            case Add() | Binary():
                orders = [self.order_of(value) for value in op.inputs if self.shapes[value] == self.shapes[op.output]]
                if not all(np.array_equal(orders[0], other) for other in orders):
                    self.show(*op.inputs)
                self.carry(op, orders[0])
            case Concat():
                offsets = np.cumsum([0, *(self.shapes[value][-1] for value in op.inputs)])
                parts = [self.order_of(value) + offset for value, offset in zip(op.inputs, offsets, strict=False)]
                self.carry(op, np.concatenate(parts))
            case Rearrange() | Gather() | Select() | Flatten():
                self.show(*op.inputs)
            case _:  # elementwise, or the same for every order
                self.carry(op, self.order_of(op.inputs[0]))
        return op


def _float(graph: Graph, op: Op, name: str) -> FloatArray:
    if name in graph.encodings:
        raise GraphError(f"layer '{op.name}': its weight is already encoded; canonicalise the network before it is compressed")
    return graph.parameters[name]
