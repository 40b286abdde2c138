"""Structured pruning: whole channels go, so the network gets smaller in flash, RAM and time without any mask."""

from collections.abc import Mapping

import numpy as np
import torch

from lutra_compiler.compression.channels import Channels, channels_of, remove_channels
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Samples
from lutra_compiler.config import PruningConfig
from lutra_compiler.errors import CompressionError
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d, Linear

Scores = Mapping[str, np.ndarray]  # by layer output value: a score a channel


def weighted_layers(graph: Graph) -> tuple[Conv2d | Linear, ...]:
    """Convolutions and fully connected layers in order; a layer's number is its place here."""
    return tuple(op for op in graph.ops if isinstance(op, Conv2d | Linear))


def target_widths(graph: Graph, config: PruningConfig) -> dict[str, int]:
    """Channels that stay, by output value, of every layer whose channels may go. Raises CompressionError for impossible wishes."""
    channels, layers = channels_of(graph), weighted_layers(graph)
    known = {str(index) for index in range(len(layers))} | {op.name for op in layers if not op.name.isdecimal()}
    if unknown := sorted(set(config.widths) - known):
        raise CompressionError(f"pruning.widths names '{unknown[0]}', but the layers are {', '.join(sorted(op.name for op in layers))}")
    widths = {}
    for index, op in enumerate(layers):
        own = _prunable(channels, op.output)
        wish = config.width_of(op.name, index)
        width = len(channels.elements[op.output])
        if wish is None:
            wish = width if config.widths else max(1, round(width * (1 - config.rate)))
        elif wish > width or (wish < width and not own):
            reason = f"it has {width}" if wish > width else "they are tied to the network's inputs or outputs, or to an earlier layer"
            raise CompressionError(f"layer '{op.name}' cannot have {wish} channels: {reason}; change pruning.widths")
        if own:
            widths[op.output] = wish
    return widths


def _prunable(channels: Channels, value: str) -> list[int]:
    """Elements that the layer of `value` owns and that may be removed."""
    return [e for e in dict.fromkeys(channels.elements[value].tolist()) if channels.owner.get(e) == value and e not in channels.fixed]


def prune(graph: Graph, widths: Mapping[str, int], scores: Scores) -> Graph:
    """Keep the `widths[value]` channels of highest score of each layer; what is tied to a channel goes with it."""
    channels = channels_of(graph)
    total: dict[int, float] = {}
    for value, score in scores.items():
        for element, amount in zip(channels.elements[value].tolist(), score.tolist(), strict=True):
            total[element] = total.get(element, 0.0) + amount
    removed: set[int] = set()
    for value, width in widths.items():
        own = sorted(_prunable(channels, value), key=lambda element: (-total[element], element))
        tied = len(set(channels.elements[value].tolist()) - set(own) - removed)
        removed.update(own[max(width - tied, 0 if tied else 1) :])
    return remove_channels(graph, channels, frozenset(removed))


def magnitude_scores(graph: Graph) -> Scores:
    """L2 norm of each output channel's weights, relative to the layer's mean."""
    scores = {}
    for op in weighted_layers(graph):
        norm = np.sqrt(np.square(graph.weight(op.weight)).reshape(graph.weight_shape(op.weight)[0], -1).sum(1))
        scores[op.output] = norm / max(float(norm.mean()), 1e-12)
    return scores


def taylor_scores(graph: Graph, samples: Samples, teacher: torch.nn.Module | None, batch_size: int = 128) -> Scores:
    """First-order change of the loss when a channel vanishes: |sum over its outputs of gradient * activation|, averaged (Molchanov 2017).

    The loss is the KL divergence from the teacher, or the cross entropy with the labels if there is no teacher.
    """
    module = TorchGraph(graph).eval()
    outputs = {op.output for op in weighted_layers(graph)}
    sums = {name: np.zeros(graph_width, np.float64) for name, graph_width in _widths(graph).items()}
    for start in range(0, len(samples), batch_size):
        inputs = samples.inputs[start : start + batch_size]
        values = module.run(inputs)
        for name in outputs:
            values[name].retain_grad()
        result = values[graph.outputs[0]]
        if teacher is None:
            assert samples.labels is not None
            loss = torch.nn.functional.cross_entropy(result, samples.labels[start : start + batch_size], reduction="sum")
        else:
            with torch.no_grad():
                target = torch.log_softmax(teacher(inputs), 1)
            # The KL divergence has no slope where student = teacher; the entropy of the teacher's answer has.
            loss = -(target.exp() * torch.log_softmax(result, 1)).sum()
        loss.backward()
        for name in outputs:
            gradient = values[name].grad
            assert gradient is not None
            product = (gradient * values[name]).detach()
            per_channel = product.flatten(2).sum(2) if product.ndim == 4 else product
            sums[name] += per_channel.abs().sum(0).double().numpy()
    return {name: total / max(float(total.mean()), 1e-12) for name, total in sums.items()}


def _widths(graph: Graph) -> dict[str, int]:
    return {op.output: graph.weight_shape(op.weight)[0] for op in weighted_layers(graph)}


def round_widths(start: Mapping[str, int], target: Mapping[str, int], step: int, rounds: int) -> dict[str, int]:
    """Widths after `step` of `rounds`: the same factor each round."""
    return {name: round(start[name] * (target[name] / start[name]) ** (step / rounds)) for name in target}
