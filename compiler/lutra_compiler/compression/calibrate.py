"""int8 scales and zero points of activations, from samples."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.errors import DataError
from lutra_compiler.ir.encoding import Quantization
from lutra_compiler.ir.graph import Graph

_RESERVOIR = 1 << 16  # values kept of each activation for the clipping search


def calibrate(graph: Graph, samples: Iterable[Tensor | tuple[Tensor, ...]]) -> Graph:
    """Choose int8 quantization of every materialised value from batches of inputs in the source's layout.

    Values that no kernel rescales (through max pooling, padding, slicing, flattening) share theirs. The range is clipped where that
    lowers the mean squared error; zero is always exact. Raises DataError without samples or where a sample gives NaN or infinity.
    """
    module = TorchGraph(replace(graph, quantization={})).eval()
    shared = graph.quantization_roots()
    kept: dict[str, list[np.ndarray]] = {}
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    rng = np.random.default_rng(0)
    batches = 0
    with torch.no_grad():
        for batch in samples:
            batches += 1
            inputs = batch if isinstance(batch, tuple) else (batch,)
            for name, value in module.to(inputs[0].device).run(*inputs).items():
                if name not in shared:
                    continue
                flat = value.float().flatten().numpy(force=True)
                if not np.isfinite(flat).all():
                    raise DataError(f"calibration: value '{name}' becomes NaN or infinite; check the samples and the weights")
                root = shared[name]
                low[root] = min(low.get(root, 0.0), float(flat.min()))
                high[root] = max(high.get(root, 0.0), float(flat.max()))
                kept.setdefault(root, []).append(flat if len(flat) <= _RESERVOIR // 4 else rng.choice(flat, _RESERVOIR // 4))
    if not batches:
        raise DataError("calibration needs at least one batch of samples, got none")
    chosen = {root: _best_range(np.concatenate(kept[root][-64:]), low[root], high[root]) for root in low}
    fixed = graph.fixed_quantization()
    return replace(graph, quantization={name: fixed.get(root) or chosen[root] for name, root in shared.items()})


def quantization_of_range(low: float, high: float) -> Quantization:
    """The int8 quantization of [low, high], widened to hold zero exactly; a constant zero gets scale 1/128."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        return Quantization(1 / 128, 0)
    scale = float(np.float32((high - low) / 255))
    return Quantization(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _best_range(values: np.ndarray, low: float, high: float) -> Quantization:
    """Clip the range by the factor that gives the least mean squared error."""

    def error(candidate: Quantization) -> float:
        integers = np.clip(np.rint(values / candidate.scale) + candidate.zero_point, -128, 127)
        return float(np.square((integers - candidate.zero_point) * candidate.scale - values).mean())

    return min((quantization_of_range(low * clip, high * clip) for clip in np.linspace(0.5, 1.0, 26)[::-1]), key=error)
