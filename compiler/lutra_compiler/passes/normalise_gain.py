"""Positive gains, so that batch norms fold into the positive row scales of encoded weights."""

import numpy as np

from lutra_compiler.ir.graph import FloatArray, Graph
from lutra_compiler.ir.ops import BatchNorm, Conv2d, Linear
from lutra_compiler.passes.batchnorm import LEAST_GAIN


def normalise_gain(graph: Graph) -> Graph:
    """Make the scale of each foldable batch norm positive: the sign moves into the weight's row, the bias and the mean.

    A channel of a scale below LEAST_GAIN is constant: its row, bias and mean become zero and its scale one. Encoded weights stay.
    """
    parameters: dict[str, FloatArray] = {}
    for op in graph.ops:
        layer = graph.producer(op.inputs[0])
        if not isinstance(op, BatchNorm) or not isinstance(layer, Conv2d | Linear) or layer.weight in graph.encodings:
            continue
        scale = graph.parameters[op.scale]
        if (scale >= LEAST_GAIN).all() or not graph.folds_into_batch_norm(layer.output):
            continue
        sign = np.where(np.abs(scale) < LEAST_GAIN, 0, np.sign(scale))
        for name in (layer.weight, layer.bias, op.mean):
            if name is not None:
                parameters[name] = (graph.parameters[name].T * sign).T.copy()
        parameters[op.scale] = np.where(sign == 0, np.float32(1), np.abs(scale))
    return graph.with_parameters(parameters)
