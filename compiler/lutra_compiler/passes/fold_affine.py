"""Products and sums with constants join the layer before them."""

from collections import Counter
from dataclasses import replace

import numpy as np

from lutra_compiler.ir.functions import affine_of
from lutra_compiler.ir.graph import FloatArray, Graph
from lutra_compiler.ir.ops import BatchNorm, Conv2d, Elementwise, Linear, Op

Factors = FloatArray | float


def fold_affine(graph: Graph) -> Graph:
    """Fold each y = a * x + b, of one a and b or one a channel, into the Conv2d, Linear or BatchNorm whose output it alone reads."""
    readers = Counter([*(value for op in graph.ops for value in op.inputs), *graph.outputs])
    parameters: dict[str, FloatArray] = dict(graph.parameters)
    ops: dict[str, Op] = {}  # by output
    for op in graph.ops:
        layer, found = ops.get(op.inputs[0]), _gain_and_shift(graph, op)
        alone = layer is not None and readers[layer.output] == 1
        if found is not None and layer is not None and alone and not graph.encodings.keys() & layer.parameter_names:
            gain, shift = found
            match layer:
                case Conv2d(activation=None) | Linear(activation=None):
                    channels = graph.weight_shape(layer.weight)[0]
                    bias = parameters[layer.bias] if layer.bias else np.zeros(channels, np.float32)
                    name = layer.bias or f"{layer.output}.bias"
                    parameters[layer.weight] = (parameters[layer.weight].T * gain).T.astype(np.float32, order="C")
                    parameters[name] = (bias * gain + shift).astype(np.float32)
                    layer = replace(layer, bias=name)
                case BatchNorm(activation=None):
                    for name in (layer.scale, layer.offset):
                        parameters[name] = (parameters[name] * gain).astype(np.float32)
                    parameters[layer.offset] = (parameters[layer.offset] + shift).astype(np.float32)
                case _:
                    ops[op.output] = op
                    continue
            del ops[layer.output]
            op = replace(layer, output=op.output, activation=op.activation if isinstance(op, Conv2d) else None)
        ops[op.output] = op
    return graph.with_parameters(parameters).with_ops(list(ops.values()))


def _gain_and_shift(graph: Graph, op: Op) -> tuple[Factors, Factors] | None:
    """An Elementwise of sums and products, or a depthwise convolution of single pixels, as (a, b); None for other ops."""
    match op:
        case Elementwise():
            return affine_of(op.steps)
        case Conv2d(stride=(1, 1), padding=(0, 0, 0, 0)) if graph.weight_shape(op.weight) == (op.groups, 1, 1, 1):
            if op.weight in graph.encodings:
                return None
            return graph.parameters[op.weight].reshape(-1), graph.parameters[op.bias] if op.bias else 0.0
        case _:
            return None
