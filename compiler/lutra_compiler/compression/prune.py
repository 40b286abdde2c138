"""Structured pruning: whole channels go, so the network gets smaller in flash, RAM and time without any mask.

Where a fully connected layer reads the network's input or a flattened image, single features go as well, for a bit of mask each.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from lutra_compiler.compression.channels import Channels, channels_of, remove_channels
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Samples, training_device
from lutra_compiler.config import PruningConfig
from lutra_compiler.errors import CompressionError
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Flatten, Linear, Op, Recurrent, Select, Weighted

Scores = Mapping[str, np.ndarray]  # by layer output value: a score a channel


def weighted_layers(graph: Graph) -> tuple[Weighted, ...]:
    """Convolutions, fully connected and recurrent layers in order; a layer's number is its place here."""
    return tuple(op for op in graph.ops if isinstance(op, Weighted))


def met_by(op: Weighted) -> str:
    """The value whose channels a layer's weight meets: its input, of a recurrent layer its hidden states."""
    return op.output if isinstance(op, Recurrent) else op.inputs[0]


def with_selects(graph: Graph, config: PruningConfig) -> Graph:
    """The graph with a Select of all features before each layer that is to read fewer. Raises CompressionError for impossible wishes."""
    layers = weighted_layers(graph)
    _require_known(config.features, layers, "features")
    ops: list[Op] = []
    for op in graph.ops:
        wish = config.features_of(op.name, layers.index(op)) if isinstance(op, Weighted) else None
        if isinstance(op, Weighted) and wish is not None:
            features, source = graph.weight_shape(op.weight)[-1], graph.producer(op.inputs[0])
            if not isinstance(op, Linear) or not (source is None or isinstance(source, Flatten)) or len(graph.consumers(op.inputs[0])) > 1:
                raise CompressionError(
                    f"layer '{op.name}' cannot choose among its inputs: only a fully connected layer that alone reads the network's input "
                    "or a flattened image can; remove it from pruning.features"
                )
            if wish > features:
                raise CompressionError(f"layer '{op.name}' cannot read {wish} features: there are {features}; change pruning.features")
            select = Select(name=f"{op.name}.select", inputs=op.inputs, output=f"{op.name}.selected", indices=tuple(range(features)))
            ops.append(select)
            op = replace(op, inputs=(select.output,))
        ops.append(op)
    return replace(graph, ops=tuple(ops))


def _require_known(wishes: Mapping[str, int], layers: tuple[Weighted, ...], kind: str) -> None:
    known = {str(index) for index in range(len(layers))} | {op.name for op in layers if not op.name.isdecimal()}
    if unknown := sorted(set(wishes) - known):
        numbered = ", ".join(f"{index} '{op.name}'" for index, op in enumerate(layers))
        raise CompressionError(f"pruning.{kind} names '{unknown[0]}', but the layers with weights are {numbered}")


def target_widths(graph: Graph, config: PruningConfig) -> dict[str, int]:
    """What stays, by output value: channels of every layer whose channels may go, features of every Select.

    Raises CompressionError for impossible wishes.
    """
    channels, layers = channels_of(graph), weighted_layers(graph)
    _require_known(config.widths, layers, "widths")
    widths: dict[str, int] = {}
    owned: dict[str, set[int]] = {}  # by output value of each layer: the elements that it decides on
    removed: dict[str, int] = {}  # how many of them go
    for index, op in enumerate(layers):
        elements, own = set(channels.elements[op.output].tolist()), set(_prunable(channels, op.output))
        tied = len(elements - own) - sum(min(count, len(owned[value] & elements)) for value, count in removed.items())
        wish = config.width_of(op.name, index)
        width = len(channels.elements[op.output])
        if wish is None:
            wish = width if config.widths else max(1, round(width * (1 - config.rate)))
        elif wish > width or (wish < width and not own) or wish < tied:
            bound = f"{tied} of them are tied to the network's inputs or outputs, or to an earlier layer"
            reason = f"it has {width}" if wish > width else bound
            raise CompressionError(f"layer '{op.name}' cannot have {wish} channels: {reason}; change pruning.widths")
        if own:
            widths[op.output] = wish
            owned[op.output], removed[op.output] = own, len(own) - min(len(own), max(wish - tied, 0 if tied else 1))
        source = graph.producer(op.inputs[0])
        features = config.features_of(op.name, index)
        if isinstance(source, Select) and features is not None:
            widths[source.output] = features
    return widths


def _prunable(channels: Channels, value: str) -> list[int]:
    """Elements that the layer of `value` owns and that may be removed."""
    return [e for e in dict.fromkeys(channels.elements[value].tolist()) if channels.owner.get(e) == value and e not in channels.fixed]


def prune(graph: Graph, widths: Mapping[str, int], scores: Scores) -> Graph:
    """Keep the `widths[value]` channels of highest score of each layer, features of each Select; what is tied to a channel goes with it."""
    channels = channels_of(graph)
    selects = [op for op in graph.ops if isinstance(op, Select) and op.output in widths]
    total: dict[int, float] = {}
    for value, score in scores.items():
        if any(op.output == value for op in selects):
            continue
        for element, amount in zip(channels.elements[value].tolist(), score.tolist(), strict=True):
            total[element] = total.get(element, 0.0) + amount
    removed: set[int] = set()
    for value, width in widths.items():
        own = sorted(_prunable(channels, value), key=lambda element: (-total[element], element))
        tied = len(set(channels.elements[value].tolist()) - set(own) - removed)
        removed.update(own[max(width - tied, 0 if tied else 1) :] if own else ())
    graph = remove_channels(graph, channels, frozenset(removed))
    for select in selects:
        left = scores[select.output][~np.isin(channels.elements[select.output], list(removed))]
        graph = _keep_features(graph, select.output, np.sort(np.argsort(-left, kind="stable")[: widths[select.output]]))
    return graph


def _keep_features(graph: Graph, value: str, kept: np.ndarray) -> Graph:
    """The graph whose Select with the output `value` takes just the `kept` ones of its features, and the layer after it reads them."""
    (reader,) = graph.consumers(value)
    assert isinstance(reader, Linear)
    ops = tuple(
        replace(op, indices=tuple(op.indices[i] for i in kept)) if isinstance(op, Select) and op.output == value else op for op in graph.ops
    )
    return replace(graph.with_parameters({reader.weight: graph.weight(reader.weight)[:, kept]}), ops=ops)


def magnitude_scores(graph: Graph) -> Scores:
    """L2 norm of the weights of each output channel, and of each selected feature, relative to the layer's mean."""
    norms = {}
    for op in _computing(graph):
        square = np.square(graph.weight(op.weight)).reshape(graph.weight_shape(op.weight)[0], -1)
        norms[op.output] = np.sqrt(square.sum(1))
        if isinstance(graph.producer(op.inputs[0]), Select):
            norms[op.inputs[0]] = np.sqrt(square.sum(0))
    return {value: norm / max(float(norm.mean()), 1e-12) for value, norm in norms.items()}


def taylor_scores(graph: Graph, samples: Samples, teacher: torch.nn.Module | None, batch_size: int = 128) -> Scores:
    """First-order change of the loss when a channel vanishes: |sum over its outputs of gradient * activation|, averaged (Molchanov 2017);
    the same of selected features. Relative to the layer's mean.

    The loss is the KL divergence from the teacher, or the cross entropy with the labels if there is no teacher; without labels it is
    that the outputs change at all.
    """
    changes = loss_changes(graph, samples, teacher, batch_size)
    return {name: total / max(float(total.mean()), 1e-12) for name, total in changes.items()}


def loss_changes(graph: Graph, samples: Samples, teacher: torch.nn.Module | None, batch_size: int = 128) -> Scores:
    """The same as `taylor_scores`, summed over the samples and comparable between layers."""
    device = training_device()
    module = TorchGraph(graph).to(device).eval()
    if teacher is not None:
        teacher.to(device)
    sums = {value: np.zeros(width, np.float64) for value, width in widths_of(graph).items()}
    generator = torch.Generator().manual_seed(0)
    for start in range(0, len(samples), batch_size):
        inputs = samples.inputs[start : start + batch_size].to(device)
        # The gradients of values are asked for, also of those that depend on no parameter.
        values = module.run(inputs.requires_grad_())
        for name in sums:
            values[name].retain_grad()
        result = values[graph.outputs[0]]
        if samples.labels is None:
            # As in training, the outputs may be anything: how much they change, seen from random directions.
            loss = (result * torch.randn(result.shape, generator=generator).to(device)).sum()
        elif teacher is None:
            loss = torch.nn.functional.cross_entropy(result, samples.labels[start : start + batch_size].to(device), reduction="sum")
        else:
            with torch.no_grad():
                target = torch.log_softmax(teacher(inputs), 1)
            # The KL divergence has no slope where student = teacher; the entropy of the teacher's answer has.
            loss = -(target.exp() * torch.log_softmax(result, 1)).sum()
        loss.backward()
        for name in sums:
            gradient = values[name].grad
            assert gradient is not None
            product = (gradient * values[name]).detach()
            per_channel = product.flatten(2).sum(2) if product.ndim == 4 else product
            sums[name] += per_channel.abs().sum(0).double().numpy(force=True)
    return sums


def widths_of(graph: Graph) -> dict[str, int]:
    """Channels by output value of the layers with a row of weights for each, features of Selects."""
    widths = {op.output: graph.weight_shape(op.weight)[0] for op in _computing(graph)}
    return widths | {op.output: len(op.indices) for op in graph.ops if isinstance(op, Select)}


def _computing(graph: Graph) -> tuple[Weighted, ...]:
    """Layers with a row of weights for each channel: all but recurrent ones, whose units stay."""
    return tuple(op for op in weighted_layers(graph) if not isinstance(op, Recurrent))


def round_widths(start: Mapping[str, int], target: Mapping[str, int], step: int, rounds: int) -> dict[str, int]:
    """Widths after `step` of `rounds`: the same factor each round."""
    return {name: round(start[name] * (target[name] / start[name]) ** (step / rounds)) for name in target}
