"""How strong the inputs of each layer are: what errors of its weights count for."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from lutra_compiler.compression.prune import met_by, weighted_layers
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.errors import DataError
from lutra_compiler.ir.graph import FloatArray, Graph

_FLOOR = 1e-3  # of the mean: a channel that was silent on the samples may speak up


def input_power(graph: Graph, samples: Iterable[Tensor]) -> Mapping[str, FloatArray]:
    """The mean square of what meets each weight, by its name, in its shape without the rows, from batches in the source's layout.

    It is taken for all taps of a kernel together. Raises DataError without samples.
    """
    module = TorchGraph(graph).eval()
    sums: dict[str, np.ndarray] = {}
    batches = 0
    with torch.no_grad():
        for batch in samples:
            batches += 1
            values = module.to(batch.device).run(batch)
            for op in weighted_layers(graph):
                square = values[met_by(op)].float().square()
                mean = square.mean((0, 2, 3)) if square.ndim == 4 else square.mean(0)
                sums[op.weight] = sums.get(op.weight, 0) + mean.numpy(force=True).astype(np.float64)
    if not batches:
        raise DataError("weighing weights by their inputs needs at least one batch of samples, got none")
    return {op.weight: _per_entry(sums[op.weight] / batches, graph.weight_shape(op.weight)) for op in weighted_layers(graph)}


def _per_entry(power: np.ndarray, shape: tuple[int, ...]) -> FloatArray:
    floored = np.maximum(power, _FLOOR * max(float(power.mean()), 1e-30)).astype(np.float32)
    # Grouped convolutions, which are not product-quantized, see only part of the channels.
    return np.broadcast_to(floored if len(floored) == shape[-1] else np.float32(1), shape[1:])
