"""What a batch norm computes, for the passes that replace it."""

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import BatchNorm

DoubleArray = npt.NDArray[np.float64]
LEAST_GAIN = 1e-30  # a channel of a smaller gain is constant: with one, the scale of a row of weights would not be a number of float32


def gain_and_shift(graph: Graph, op: BatchNorm) -> tuple[DoubleArray, DoubleArray]:
    """The batch norm as y = gain * x + shift, both float64 [channels]."""
    scale, offset, mean, variance = (graph.parameters[name].astype(np.float64) for name in op.parameter_names)
    gain = scale / np.sqrt(variance + op.epsilon)
    gain[np.abs(gain) < LEAST_GAIN] = 0
    return gain, offset - mean * gain
