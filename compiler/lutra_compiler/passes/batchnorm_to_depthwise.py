"""Batch norms that fold into no layer, as convolutions."""

import numpy as np

from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.encoding import ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import FloatArray, Graph
from lutra_compiler.ir.ops import BatchNorm, Conv2d, Op
from lutra_compiler.ir.shapes import infer_shapes
from lutra_compiler.passes.batchnorm import gain_and_shift


def batchnorm_to_depthwise(graph: Graph) -> Graph:
    """Turn each batch norm on an image into a 1x1 depthwise convolution, its weight in int8 without loss: +-127 * scale.

    Raises LoweringError for a batch norm on a vector.
    """
    shapes = infer_shapes(graph)
    parameters: dict[str, FloatArray] = {}
    encodings: dict[str, WeightEncoding] = {}
    ops: list[Op] = []
    for op in graph.ops:
        if isinstance(op, BatchNorm):
            if len(shapes[op.output]) != 3:
                raise LoweringError(
                    f"batch norm '{op.name}' follows no fully connected layer of its own, so it has nowhere to fold into; "
                    "put it right after one, before the activation"
                )
            gain, shift = gain_and_shift(graph, op)
            values = (127 * np.sign(gain)).astype(np.int8).reshape(-1, 1, 1, 1)
            encodings[op.scale] = ScalarQuantized(values, np.where(gain == 0, 1, np.abs(gain) / 127).astype(np.float32))
            parameters[op.offset] = shift.astype(np.float32)
            op = Conv2d(
                name=op.name,
                inputs=op.inputs,
                output=op.output,
                weight=op.scale,
                bias=op.offset,
                groups=len(gain),
                activation=op.activation,
            )
        ops.append(op)
    return graph.with_parameters(parameters).with_encodings(encodings).with_ops(ops)
