"""Which channels of which layers must be removed together.

Every value's channels are elements; what ties two of them (a residual add, a batch norm, a depthwise convolution) makes them one. A flatten
repeats a channel's element for each of its features, a concat joins elements, a channel pad adds elements that no layer computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import (
    Add,
    BatchNorm,
    Binary,
    Concat,
    Conv2d,
    Flatten,
    Gather,
    Linear,
    Normalise,
    Op,
    Pad,
    Rearrange,
    Recurrent,
    Select,
    Slice,
    Softmax,
)
from lutra_compiler.ir.shapes import infer_shapes

Elements = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Channels:
    """`elements[value]`: the element of each channel (feature) of a value; `fixed`: elements that must stay.

    `owner[element]`: the output value of the first layer that computes it.
    """

    elements: Mapping[str, Elements]
    fixed: frozenset[int]
    owner: Mapping[int, str]


def is_depthwise(graph: Graph, op: Conv2d) -> bool:
    """Whether each output channel reads just its own input channel."""
    return op.groups > 1 and graph.weight_shape(op.weight)[0] == op.groups and graph.weight_shape(op.weight)[-1] == 1


def channels_of(graph: Graph) -> Channels:
    """The elements of every value, after all ties."""
    shapes = infer_shapes(graph)
    parent: list[int] = []

    def find(element: int) -> int:
        while parent[element] != element:
            parent[element] = parent[parent[element]]
            element = parent[element]
        return element

    def fresh(count: int) -> Elements:
        start = len(parent)
        parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def tie(a: Elements, b: Elements) -> None:
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            low, high = sorted((find(x), find(y)))
            parent[high] = low

    elements: dict[str, Elements] = {}
    fixed: list[Elements] = []
    owner_of_fresh: dict[int, str] = {}
    for port in graph.inputs:
        elements[port.name] = fresh(port.shape[-1])
        fixed.append(elements[port.name])
    for op in graph.ops:
        first = elements[op.inputs[0]]
        match op:
            case Conv2d() if is_depthwise(graph, op):
                elements[op.output] = first
            case Conv2d() | Linear():
                elements[op.output] = fresh(shapes[op.output][-1])
                owner_of_fresh.update(dict.fromkeys(elements[op.output].tolist(), op.output))
                if isinstance(op, Conv2d) and op.groups > 1:
                    fixed += [first, elements[op.output]]
            case Recurrent():
                elements[op.output] = fresh(shapes[op.output][-1])
                fixed += [first, elements[op.output]]  # a unit is a row of each gate and a column of all
            case Add():
                tie(first, elements[op.inputs[1]])
                elements[op.output] = first
            case Binary():
                a, b = first, elements[op.inputs[1]]
                if len(a) == len(b):
                    tie(a, b)
                else:  # the one channel of either counts for every channel of the other
                    fixed.append(a if len(a) == 1 else b)
                elements[op.output] = b if len(a) == 1 else a
            case Concat(axis=axis) if axis != -1:
                for name in op.inputs[1:]:
                    tie(first, elements[name])
                elements[op.output] = first
            case Gather(axis=axis) if axis == len(shapes[op.inputs[0]]) - 1:
                fixed.append(first)
                elements[op.output] = first[list(op.indices)]
            case Softmax():
                fixed.append(first)  # every channel counts for the others
                elements[op.output] = first
            case Normalise():
                if op.axes[-1] == len(shapes[op.output]) - 1:
                    fixed.append(first)  # every channel counts for the others
                elements[op.output] = first
            case Rearrange() if _keeps_channels(op, len(first), shapes[op.output][-1]):
                elements[op.output] = first
            case Rearrange():
                fixed.append(first)
                elements[op.output] = fresh(shapes[op.output][-1])
                fixed.append(elements[op.output])
            case Concat():
                elements[op.output] = np.concatenate([elements[name] for name in op.inputs])
            case Pad():
                before, after = op.channels
                elements[op.output] = np.concatenate([fresh(before), first, fresh(after)])
            case Slice():
                elements[op.output] = first[op.start[2] : op.stop[2] : op.step[2]]
                if len(elements[op.output]) != len(first):
                    fixed.append(first)
            case Select():
                elements[op.output] = first[list(op.indices)]
            case Flatten():
                height_width = shapes[op.inputs[0]][:-1]
                repeats = int(np.prod(height_width)) if height_width else 1
                elements[op.output] = np.tile(first, repeats) if op.order == "HWC" else np.repeat(first, repeats)
            case _:
                elements[op.output] = first
    fixed += [elements[name] for name in graph.outputs]
    resolved = {name: np.array([find(e) for e in ids.tolist()], np.int64) for name, ids in elements.items()}
    owner: dict[int, str] = {}
    for element, value in owner_of_fresh.items():
        owner.setdefault(find(element), value)
    return Channels(resolved, frozenset(find(e) for ids in fixed for e in ids.tolist()), owner)


def _keeps_channels(op: Rearrange, before: int, after: int) -> bool:
    """Whether pixels move as they are, with their channels."""
    last = len(op.view) - 1
    return last >= 0 and op.order[last] == last and op.view[last] == before == after


def remove_channels(graph: Graph, channels: Channels, removed: frozenset[int]) -> Graph:
    """The graph without the channels of the `removed` elements, in every layer that computes or reads them."""
    keep = {name: ~np.isin(ids, list(removed)) for name, ids in channels.elements.items()}
    parameters = {}
    ops: list[Op] = []
    for op in graph.ops:
        read, written = keep[op.inputs[0]], keep[op.output]
        match op:
            case Conv2d() | Linear():
                weight = graph.weight(op.weight)[written]
                depthwise = isinstance(op, Conv2d) and is_depthwise(graph, op)
                parameters[op.weight] = weight if depthwise or weight.shape[-1] != len(read) else weight[..., read]
                if op.bias is not None:
                    parameters[op.bias] = graph.weight(op.bias)[written]
                if isinstance(op, Conv2d) and depthwise:
                    op = replace(op, groups=int(written.sum()))
            case BatchNorm():
                for name in op.parameter_names:
                    parameters[name] = graph.weight(name)[written]
            case Pad():
                before, after = op.channels
                op = replace(op, channels=(int(written[:before].sum()), int(written[len(written) - after :].sum())))
            case Select():
                place = np.cumsum(read) - 1
                op = replace(op, indices=tuple(int(place[i]) for i in op.indices if read[i]))
            case Rearrange() if not read.all():
                left = int(read.sum())
                op = replace(op, view=(*op.view[:-1], left), shape=(*op.shape[:-1], left))
            case Slice() if not read.all():
                op = replace(op, stop=(*op.stop[:2], int(read.sum())))
            case _:
                pass
        ops.append(op)
    return replace(graph.with_parameters(parameters), ops=tuple(ops), quantization={})
