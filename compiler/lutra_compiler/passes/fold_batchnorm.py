"""Batch norms join the layer before them."""

from dataclasses import replace

import numpy as np

from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.encoding import ProductQuantized, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import FloatArray, Graph
from lutra_compiler.ir.ops import BatchNorm, Conv2d, Linear, Op
from lutra_compiler.passes.batchnorm import DoubleArray, gain_and_shift


def fold_batchnorm(graph: Graph) -> Graph:
    """Fold each batch norm that alone reads a Conv2d or Linear into its weight, or the weight's row scales, and its bias.

    Raises LoweringError for a product-quantized row with a gain that is not positive.
    """
    parameters: dict[str, FloatArray] = {}
    encodings: dict[str, WeightEncoding] = {}
    ops: dict[str, Op] = {}  # by output
    for op in graph.ops:
        layer = ops.get(op.inputs[0])
        if isinstance(op, BatchNorm) and isinstance(layer, Conv2d | Linear) and graph.folds_into_batch_norm(layer.output):
            gain, shift = gain_and_shift(graph, op)
            bias = 0.0 if layer.bias is None else graph.parameters[layer.bias]
            parameters[op.offset] = (bias * gain + shift).astype(np.float32)
            if layer.weight in graph.encodings:
                encodings[layer.weight] = _scaled(layer, graph.encodings[layer.weight], gain)
            else:
                parameters[layer.weight] = (graph.parameters[layer.weight].T * gain).T.astype(np.float32, order="C")
            del ops[layer.output]
            op = replace(layer, output=op.output, bias=op.offset, activation=op.activation)
        ops[op.output] = op
    return graph.with_parameters(parameters).with_encodings(encodings).with_ops(list(ops.values()))


def _scaled(layer: Op, encoding: WeightEncoding, gain: DoubleArray) -> WeightEncoding:
    scale = (encoding.scale * np.where(gain == 0, 1, np.abs(gain))).astype(np.float32)
    match encoding:
        case ScalarQuantized():
            signs = np.sign(gain).astype(np.int8)
            return ScalarQuantized((encoding.values.T * signs).T.copy(), scale)  # values are in -127..127
        case ProductQuantized():
            if (gain <= 0).any():
                channel = int(np.argmax(gain <= 0))
                raise LoweringError(
                    f"layer '{layer.name}': channel {channel} has a batch norm gain of {gain[channel]:g} after a product-quantized weight; "
                    "gains must be positive: canonicalise the network before it is compressed"
                )
            return replace(encoding, scale=scale)
