"""Narrower versions of a network: channels go by what they are worth against what they cost, over all layers at once."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lutra_compiler.compression.channels import Channels, channels_of, is_depthwise
from lutra_compiler.compression.prune import Scores, target_widths, weighted_layers
from lutra_compiler.config import PruningConfig
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d, Recurrent
from lutra_compiler.ir.shapes import infer_shapes

_STEP = 0.04  # of the cost that goes before the costs of the rest are counted anew
_FLOOR = 32  # a layer keeps at least this part of its channels, and two

Counts = npt.NDArray[np.float64]


def cost(graph: Graph, cycles_matter: bool) -> float:
    """What `narrower` brings down: weights, and multiply-adds with the same say if `cycles_matter`. The whole network's is 1 or 2."""
    channels = channels_of(graph)
    alive = np.ones(1 + max(int(ids.max()) for ids in channels.elements.values()))
    return float(_costs(graph, channels, alive, _weights_of(graph, cycles_matter))[1])


def narrower(graph: Graph, scores: Scores, part: float, cycles_matter: bool = False) -> dict[str, int]:
    """Channels that stay, by output value as `prune` takes them, so that `part` of the network's cost is left, or as little as can be.

    `scores`: what the loss gains from each channel, comparable between layers (Molchanov 2017); those that are worth the least for their
    cost go first. `cycles_matter`: a channel costs multiply-adds as well as weights.
    """
    channels = channels_of(graph)
    elements = 1 + max(int(ids.max()) for ids in channels.elements.values())
    worth, alive = np.zeros(elements), np.ones(elements)
    for value, score in scores.items():
        np.add.at(worth, channels.elements[value], score)
    weights = _weights_of(graph, cycles_matter)
    values = list(target_widths(graph, PruningConfig()))
    owned = {v: [e for e in set(channels.elements[v].tolist()) if channels.owner.get(e) == v and e not in channels.fixed] for v in values}
    least = {value: max(2, -(-len(ids) // _FLOOR)) for value, ids in owned.items()}
    _, whole = _costs(graph, channels, alive, weights)
    while True:
        each, left = _costs(graph, channels, alive, weights)
        candidates = [e for v, ids in owned.items() for e in _removable(ids, alive, worth, least[v])]
        if left <= part * whole or not candidates:
            return {value: int(alive[np.unique(channels.elements[value])].sum()) for value in values}
        step = max(left - part * whole, 0.0) if left - _STEP * whole < part * whole else _STEP * whole
        for element in sorted(candidates, key=lambda e: (worth[e] / each[e], e)):
            alive[element] = 0
            step -= each[element]
            if step <= 0:
                break


def _removable(ids: list[int], alive: Counts, worth: Counts, least: int) -> list[int]:
    """The elements of a layer that may go, all but its `least` best."""
    left = sorted((e for e in ids if alive[e]), key=lambda e: (worth[e], e))
    return left[: max(0, len(left) - least)]


def _weights_of(graph: Graph, cycles_matter: bool) -> Mapping[str, float]:
    """What a weight of each layer costs, by output value; the network's weights cost 1, and its multiply-adds another 1 if they matter."""
    shapes = infer_shapes(graph)
    sizes = {op.output: float(np.prod(graph.weight_shape(op.weight))) for op in weighted_layers(graph)}
    places = {op.output: op.inputs[0] if isinstance(op, Recurrent) else op.output for op in weighted_layers(graph)}
    uses = {value: float(np.prod(shapes[place][:-1])) for value, place in places.items()}
    parameters, macs = sum(sizes.values()), sum(sizes[value] * uses[value] for value in sizes)
    return {value: 1 / parameters + (uses[value] / macs if cycles_matter else 0) for value in sizes}


def _costs(graph: Graph, channels: Channels, alive: Counts, weights: Mapping[str, float]) -> tuple[Counts, float]:
    """What goes with each element, and what all that are alive cost."""
    each, total = np.full(len(alive), 1e-12), 0.0
    for op in weighted_layers(graph):
        if isinstance(op, Recurrent):  # none of its units goes
            total += weights[op.output] * float(np.prod(graph.weight_shape(op.weight)))
            continue
        written, read = channels.elements[op.output], channels.elements[op.inputs[0]]
        taps, rows = float(np.prod(graph.weight_shape(op.weight)[1:-1])), alive[written].sum()
        weight = weights[op.output] * taps
        if isinstance(op, Conv2d) and is_depthwise(graph, op):
            np.add.at(each, written, weight)
            total += weight * rows
            continue
        groups = op.groups if isinstance(op, Conv2d) else 1
        columns = alive[read].sum() / groups
        np.add.at(each, written, weight * columns)
        np.add.at(each, read, weight * rows / groups)
        total += weight * rows * columns
    return each, float(total)
