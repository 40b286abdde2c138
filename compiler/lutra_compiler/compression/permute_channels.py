"""Put channels in an order in which subvectors are alike. Producers write in that order, so it costs nothing at run time."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from lutra_compiler.compression.channels import Channels, Elements, channels_of
from lutra_compiler.compression.prune import weighted_layers
from lutra_compiler.ir.graph import FloatArray, Graph
from lutra_compiler.ir.ops import BatchNorm, Conv2d, Linear, Recurrent, Select, Weighted
from lutra_compiler.numerics.channel_order import channel_order


def permute_channels(graph: Graph, subvectors: Mapping[str, int], seed: int = 0) -> Graph:
    """The same function with the input channels of some layers ordered for product quantization (Martinez 2021).

    `subvectors`: d of the layers that are to be quantized, by the name of their weight. Channels that appear in the same values can change
    places; they are ordered for all these layers that read them, with the d of the largest. Inputs and outputs of the network stay as they
    are, and so do channels that only layers read in which they do not fill whole subvectors.
    """
    channels = channels_of(graph)
    rng = np.random.default_rng(seed)
    layers = [op for op in weighted_layers(graph) if op.weight in subvectors and not isinstance(op, Recurrent)]
    layers.sort(key=lambda op: -graph.weight(op.weight).size)
    exchanged: dict[int, int] = {}
    for group in _interchangeable(graph, channels):
        readers = [op for op in layers if np.isin(group, channels.elements[op.inputs[0]]).all()]
        if readers:
            subvector = subvectors[readers[0].weight]
            read = [part for op in readers if (part := _part(graph, channels, op, group, subvector)) is not None]
            if read:
                exchanged.update(zip(group.tolist(), group[channel_order(read, subvector, rng)].tolist(), strict=True))
    return _reorder(graph, channels, exchanged)


def _interchangeable(graph: Graph, channels: Channels) -> list[Elements]:
    """Sets of elements that appear in the same values in the same way: to swap two of them everywhere changes no sum."""
    places: dict[int, list[object]] = {}
    computed = {op.output for op in weighted_layers(graph)}
    alone = set(channels.owner) - channels.fixed
    for value, elements in channels.elements.items():
        for element, count in Counter(elements.tolist()).items():
            places.setdefault(element, []).append((value, count))
            if count > 1 and value in computed:
                alone.discard(element)  # channels of one layer that are tied to each other
    for op in graph.ops:
        if isinstance(op, Select):
            seen: Counter[int] = Counter()
            read = channels.elements[op.inputs[0]].tolist()
            pixels = []
            for element in read:
                pixels.append(seen[element])
                seen[element] += 1
            for place in op.indices:
                places[read[place]].append((op.output, "pixel", pixels[place]))  # just that one of a flattened channel
    sets: dict[tuple[object, ...], list[int]] = {}
    for element in channels.owner:
        if element in alone:
            sets.setdefault(tuple(places[element]), []).append(element)
    return [np.array(elements) for elements in sets.values() if len(elements) > 1]


def _part(graph: Graph, channels: Channels, op: Weighted, group: Elements, subvector: int) -> FloatArray | None:
    """What a layer multiplies the channels of `group` with, [out, taps, channels]; None if they do not fill its subvectors."""
    weight = graph.weight(op.weight)
    flat = weight.reshape(len(weight), -1, weight.shape[-1])
    order = np.argsort(channels.elements[op.inputs[0]], kind="stable")
    found = np.searchsorted(channels.elements[op.inputs[0]][order], group)
    repeats = int(np.count_nonzero(channels.elements[op.inputs[0]] == group[0]))
    places = order[found[None] + np.arange(repeats)[:, None]]  # [times that a channel occurs, channels]
    start, width = places[:, :1], len(group)
    whole = width % subvector == 0 or (repeats == 1 and int(start[0, 0]) + width == weight.shape[-1])
    if not whole or (start % subvector).any() or (places != start + np.arange(width)).any():
        return None
    return flat[:, :, places].reshape(len(weight), -1, width)


def _reorder(graph: Graph, channels: Channels, exchanged: Mapping[int, int]) -> Graph:
    """The graph with element `exchanged[e]` wherever e was."""
    parameters: dict[str, FloatArray] = {}
    sources = {value: _sources(elements, exchanged) for value, elements in channels.elements.items()}
    for op in graph.ops:
        read, written = sources[op.inputs[0]], sources[op.output]
        match op:
            case Conv2d() | Linear():
                weight = graph.weight(op.weight)[written]
                per_group = isinstance(op, Conv2d) and op.groups > 1
                parameters[op.weight] = weight if per_group else np.ascontiguousarray(weight[..., read])
                if op.bias is not None:
                    parameters[op.bias] = graph.weight(op.bias)[written]
            case BatchNorm():
                parameters.update({name: graph.weight(name)[written] for name in op.parameter_names})
            case _:
                pass
    return graph.with_parameters(parameters)


def _sources(elements: Elements, exchanged: Mapping[int, int]) -> Elements:
    """The place in a value from which each place is filled: repeats of an element keep their order."""
    wanted = np.array([exchanged.get(element, element) for element in elements.tolist()], np.int64)
    sources = np.empty_like(elements)
    sources[np.argsort(wanted, kind="stable")] = np.argsort(elements, kind="stable")
    return sources
