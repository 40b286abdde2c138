"""Flattened images in the order of memory, so that flattening costs nothing."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lutra_compiler.errors import GraphError, ModelError
from lutra_compiler.ir.graph import FloatArray, Graph
from lutra_compiler.ir.ops import Add, BatchNorm, Concat, Flatten, Linear, Op
from lutra_compiler.ir.shapes import infer_shapes

Order = npt.NDArray[np.int64]


def reorder_flatten(graph: Graph) -> Graph:
    """Turn every Flatten to order "HWC" and permute the parameters that meet the reordered vector.

    Raises ModelError where the order of the source model cannot be kept: at an output of the network, or in a sum of
    vectors of different orders.
    """
    shapes = infer_shapes(graph)
    orders: dict[str, Order] = {}  # of values whose feature i is the source's feature order[i]
    parameters: dict[str, FloatArray] = {}
    ops: list[Op] = []

    def order_of(value: str) -> Order:
        return orders.get(value, np.arange(shapes[value][-1]))

    for op in graph.ops:
        moved = any(value in orders for value in op.inputs)
        match op:
            case Flatten(order="CHW"):
                height, width, channels = shapes[op.inputs[0]]
                orders[op.output] = np.arange(height * width * channels).reshape(channels, height, width).transpose(1, 2, 0).ravel()
                op = replace(op, order="HWC")
            case Linear() if moved:
                parameters[op.weight] = np.ascontiguousarray(_float(graph, op, op.weight)[:, order_of(op.inputs[0])])
            case BatchNorm() if moved:
                parameters.update({name: graph.parameters[name][order_of(op.inputs[0])] for name in op.parameter_names})
                orders[op.output] = order_of(op.inputs[0])
            case Add() if moved:
                orders[op.output], other = (order_of(value) for value in op.inputs)
                if not np.array_equal(orders[op.output], other):
                    raise ModelError(f"add '{op.name}': one of the vectors is a flattened image, the other is not; put a layer between")
            case Concat() if moved:
                offsets = np.cumsum([0, *(shapes[value][-1] for value in op.inputs)])
                orders[op.output] = np.concatenate([order_of(value) + offset for value, offset in zip(op.inputs, offsets, strict=False)])
            case _ if moved:  # elementwise, or the same for every order
                orders[op.output] = order_of(op.inputs[0])
            case _:
                pass
        ops.append(op)
    for value in graph.outputs:
        if value in orders and not np.array_equal(orders[value], np.arange(len(orders[value]))):
            raise ModelError(
                f"output '{value}' is a flattened image in the order channels, height, width, which Lutra cannot keep; "
                "end the network before it is flattened, or after a fully connected layer"
            )
    return graph.with_ops(ops).with_parameters(parameters)


def _float(graph: Graph, op: Op, name: str) -> FloatArray:
    if name in graph.encodings:
        raise GraphError(f"layer '{op.name}': its weight is already encoded; canonicalise the network before it is compressed")
    return graph.parameters[name]
