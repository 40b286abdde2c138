"""What both frontends build with: operators as PyTorch and ONNX have them (NCHW, batch 1) in, a verified NHWC Graph out."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lutra_compiler.errors import ModelError, UnsupportedNode
from lutra_compiler.ir.graph import FloatArray, Graph, Input, Shape
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Clamp,
    Concat,
    Conv2d,
    Flatten,
    Linear,
    MaxPool,
    Op,
    Pad,
    Padding,
    Pair,
    Rearrange,
    Slice,
    Softmax,
    Weighted,
)
from lutra_compiler.ir.shapes import output_shape
from lutra_compiler.ir.verify import MAX_ELEMENTS, MAX_VALUE_ELEMENTS, verify

MAX_RANK = 8

_CONTROL_FLOW = "export the path that is taken"
_FLOAT_MODEL = "hand over the float model; Lutra quantizes it"
_REMEDIES = {
    "if": _CONTROL_FLOW,
    "logsoftmax": "leave it out: the largest output stays the largest",
    "loop": _CONTROL_FLOW,
    "nativebatchnormlegit": "use a batch norm with running statistics",
    "nativebatchnormlegitfunctional": "export the module in evaluation mode: module.eval()",
    "nativedropout": "use nn.Dropout, or pass training=self.training, and export in evaluation mode",
    "qlinearconv": _FLOAT_MODEL,
    "scan": _CONTROL_FLOW,
}


_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True)
class _View:
    """`base` with its axes in another order: axis i of the view is `axes[i]` of the base."""

    base: str
    axes: tuple[int, ...]


class Unbatched(str):
    """A value whose first axis is not the batch, as recurrent layers have it: the name of the same value with a batch before it."""


def graph_shape(source: Shape) -> Shape:
    """The shape in a Graph of a value [1, F] or [1, C, ...]: channels last, and of the other axes all but the last one as rows."""
    if len(source) == 2:
        return source[1:]
    return (math.prod(source[2:-1]), source[-1], source[1])


def _named_apart(ops: Sequence[Op]) -> list[Op]:
    """The ops, each layer with parameters by a name that no other op has: a module that runs twice is two layers."""
    taken: set[str] = set()
    names: dict[str, str] = {}  # by output
    for op in sorted(ops, key=lambda op: not isinstance(op, Weighted | BatchNorm)):
        name, count = op.name, 0
        while name in taken:
            count += 1
            name = f"{op.name}_{count}"
        names[op.output] = name
        if isinstance(op, Weighted | BatchNorm):
            taken.add(name)
    return [replace(op, name=names[op.output]) for op in ops]


class Unsupported(Exception):
    """What a frontend met and a Graph cannot express; frontends collect these and never let them out."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy

    def at(self, node: str, operator: str) -> UnsupportedNode:
        """The same, with its place in the source model."""
        return UnsupportedNode(node, operator, self.reason, self.remedy)


def unknown_operator(operator: str) -> Unsupported:
    """For an operator that no handler knows."""
    key = operator.replace("_", "").lower()
    return Unsupported("the operator is not supported", _REMEDIES.get(key, "leave it out or replace it by supported operators"))


class GraphBuilder:
    """Collects operators. Shapes, axes and weights are the source's: images [1, C, H, W], vectors [1, F], convolutions OIHW.

    Every method takes the source's name of the node first and returns the name of the new value. Names of values and
    parameters are unique and of letters, digits, '_' and '.'. Operators that do nothing are left out. Raises Unsupported.

    Signals are [1, C, L]; arrays of more axes can be reshaped, transposed, and taken number by number. A transposed value is a view:
    nothing is moved, what works element by element or along axes goes through it, and a transposition back ends it. Where its numbers are
    needed in the order of its axes they are rearranged.
    """

    def __init__(self) -> None:
        self._inputs: list[Input] = []
        self._ops: dict[str, Op] = {}  # by output
        self._shapes: dict[str, Shape] = {}
        self._parameters: dict[str, FloatArray] = {}
        self._elements = 0  # of all parameters
        self._uses: Counter[str] = Counter()  # of each legal name
        self._views: dict[str, _View] = {}
        self._sources: dict[str, Shape] = {}  # shapes in the source that do not follow from a Graph's
        self._stacks: dict[str, list[str]] = {}  # what was stacked, [1, U] each
        self._rearranged: dict[str, str] = {}  # views -> their numbers in the order of their axes

    def source_shape(self, value: str) -> Shape:
        """A value's shape in the source: (1, C, H, W), (1, C, L), (1, F), or of more axes."""
        if isinstance(value, Unbatched):
            return self.source_shape(str(value))[1:]
        *spatial, channels = self._shapes[value]
        return self._sources.get(value, (1, channels, *spatial))

    def input(self, name: str, shape: Shape, nhwc: bool = False) -> str:
        """An input of the network; `nhwc`: an image [1, H, W, C] that is transposed before it is used."""
        if len(shape) not in (2, 3, 4) or shape[0] != 1:
            raise ModelError(
                f"input '{name}' has shape {list(shape)}; Lutra takes [1, channels, height, width], [1, channels, length] or "
                "[1, features]: export the model with such an input and batch 1"
            )
        value = self.placeholder(name, tuple(shape[axis] for axis in _TO_NCHW) if nhwc else shape)
        layout = "NHWC" if nhwc else {2: "NF", 3: "NCL", 4: "NCHW"}[len(shape)]
        self._inputs.append(Input(value, self._shapes[value], layout))
        return self.transpose(name, value, _TO_NHWC) if nhwc else value

    def placeholder(self, name: str, shape: Shape) -> str:
        """Stands for the result of an unsupported node, so that the nodes after it can be checked as well. Raises ModelError."""
        if not 2 <= len(shape) <= MAX_RANK or shape[0] != 1 or min(shape) < 1:
            raise ModelError(f"'{name}' has shape {list(shape)}; values have 2 to {MAX_RANK} axes, the first one of length 1")
        value = self._declare(self._unique(name), graph_shape(shape))
        if len(shape) not in (2, 4):
            self._sources[value] = shape
        return value

    def transpose(self, name: str, x: str, permutation: Sequence[int]) -> str:
        """x with its axes in another order."""
        if permutation[0] != 0 or isinstance(x, Unbatched):
            return self.unbatched(name, self.transpose(name, self.with_batch(name, x), (0, *(axis + 1 for axis in permutation))))
        base, before = self._base(x)
        return self._view(name, base, tuple(before[axis] for axis in permutation))

    def with_batch(self, name: str, x: str) -> str:
        """x with an axis of length 1 before its axes, which are then no batch."""
        return str(x) if isinstance(x, Unbatched) else self.reshape(name, x, (1, *self.source_shape(x)))

    def unbatched(self, name: str, x: str) -> str:
        """What x is without its first axis."""
        shape = self.source_shape(x)[1:]
        return self.reshape(name, x, shape) if shape[0] == 1 and len(shape) > 1 else Unbatched(x)

    def conv2d(
        self, name: str, x: str, weight: FloatArray, bias: FloatArray | None, stride: Pair, padding: Padding, groups: int
    ) -> str:
        """Convolution; `weight` OIHW, `padding` top, left, bottom, right."""
        self.require_image(x)
        _check_bias(name, weight, bias)
        parameters = {"weight": weight.transpose(0, 2, 3, 1), "bias": bias}
        return self._emit(Conv2d, name, (x,), parameters, stride=stride, padding=padding, groups=groups)

    def linear(self, name: str, x: str, weight: FloatArray, bias: FloatArray | None) -> str:
        """Fully connected layer; `weight` [out, in]."""
        if len(self._shapes[x]) != 1:
            raise Unsupported("it multiplies the last axis of an image", "flatten the image before it")
        if weight.ndim != 2:
            raise Unsupported(f"its weight has shape {list(weight.shape)}", "use a weight of two dimensions")
        _check_bias(name, weight, bias)
        return self._emit(Linear, name, (x,), {"weight": weight, "bias": bias})

    def batch_norm(
        self, name: str, x: str, scale: FloatArray, offset: FloatArray, mean: FloatArray, variance: FloatArray, epsilon: float
    ) -> str:
        """Batch normalization with fixed statistics, all [C]."""
        parameters = {"scale": scale, "offset": offset, "mean": mean, "variance": variance}
        if {array.shape for array in parameters.values()} != {self._shapes[x][-1:]}:
            found = {role: list(array.shape) for role, array in parameters.items()}
            raise ModelError(f"batch norm '{name}': {self._shapes[x][-1]} channels do not fit parameters of shapes {found}")
        return self._emit(BatchNorm, name, (x,), parameters, epsilon=epsilon)

    def clamp(self, name: str, x: str, minimum: float | None, maximum: float | None) -> str:
        """min(max(x, minimum), maximum); None and infinities are unbounded; a minimum above the maximum gives the maximum."""
        if any(bound is not None and math.isnan(bound) for bound in (minimum, maximum)):
            raise ModelError(f"clamp '{name}': a bound is NaN")
        low = None if minimum in (None, -math.inf) else minimum
        high = None if maximum in (None, math.inf) else maximum
        if low is None and high is None:
            return x
        if low is not None and high is not None:
            low = min(low, high)
        base, axes = self._base(x)
        return self._view(name, self._emit(Activation, name, (base,), clamp=Clamp(low, high)), axes)

    def max_pool(self, name: str, x: str, kernel: Pair, stride: Pair, padding: Padding, ceil_mode: bool) -> str:
        """Max pooling."""
        self.require_image(x)
        if ceil_mode:
            padding = self._ceil_padding(x, kernel, stride, padding)
        if (kernel, stride) == ((1, 1), (1, 1)) and not any(padding):
            return x
        return self._emit(MaxPool, name, (x,), kernel=kernel, stride=stride, padding=padding)

    def average_pool(
        self, name: str, x: str, kernel: Pair, stride: Pair, padding: Padding, ceil_mode: bool, count_include_pad: bool
    ) -> str:
        """Average pooling."""
        self.require_image(x)
        count_include_pad &= any(padding)
        if ceil_mode:
            grown = self._ceil_padding(x, kernel, stride, padding)
            if count_include_pad and grown != padding:
                raise Unsupported("ceil_mode with padding that counts", "set ceil_mode or count_include_pad to false")
            padding = grown
        if (kernel, stride) == ((1, 1), (1, 1)) and not any(padding):
            return x
        return self._emit(
            AveragePool, name, (x,), kernel=kernel, stride=stride, padding=padding, count_include_pad=count_include_pad
        )

    def global_max_pool(self, name: str, x: str) -> str:
        """The largest value of each channel, [1, C, 1, 1]."""
        return self.max_pool(name, x, *self._whole(x), (0, 0, 0, 0), False)

    def mean(self, name: str, x: str, axes: Sequence[int], keepdims: bool) -> str:
        """Mean over height and width, [1, C, 1, 1] or without `keepdims` [1, C]."""
        base, order = self._base(x)
        rank = len(order)
        if rank != 4 or sorted(order[axis % rank] for axis in axes) != [2, 3]:
            raise Unsupported(f"a mean over axes {list(axes)} of rank {rank}", "take one mean over height and width (axes 2 and 3)")
        pooled = self.average_pool(name, base, *self._whole(base), (0, 0, 0, 0), False, False)
        return self._view(name, pooled, order) if keepdims else self.reshape(name, pooled, self.source_shape(base)[:2])

    def add(self, name: str, a: str, b: str) -> str:
        """Sum of two values of one shape."""
        if self._shapes[a] != self._shapes[b]:
            shapes = f"{list(self.source_shape(a))} and {list(self.source_shape(b))}"
            raise Unsupported(f"it broadcasts {shapes}", "add values of one shape")
        (base_a, axes), (base_b, axes_b) = self._base(a), self._base(b)
        if axes != axes_b:
            raise Unsupported("one of its inputs is transposed, the other is not", "transpose both or none")
        return self._view(name, self._emit(Add, name, (base_a, base_b)), axes)

    def concat(self, name: str, values: Sequence[str], axis: int) -> str:
        """Values joined along the channels."""
        bases = [self._base(value) for value in values]
        axes = bases[0][1]
        if any(other != axes for _, other in bases):
            raise Unsupported("some of its inputs are transposed, others are not", "transpose all or none")
        if axes != tuple(range(len(axes))):
            return self._view(name, self.concat(name, [base for base, _ in bases], axes[axis % len(axes)]), axes)
        shapes = [self.source_shape(value) for value in values]
        if axis % len(shapes[0]) != 1 or any(shape[2:] != shapes[0][2:] for shape in shapes):
            raise Unsupported(f"it joins shapes {[list(s) for s in shapes]} along axis {axis}", "join along the channels (axis 1)")
        return values[0] if len(values) == 1 else self._emit(Concat, name, tuple(values))

    def pad(self, name: str, x: str, pads: Sequence[Pair], value: float) -> str:
        """Zeros before and after each axis."""
        if not any(any(pair) for pair in pads):
            return x
        base, axes = self._base(x)
        if base != x:
            return self._view(name, self.pad(name, base, [pads[axes.index(axis)] for axis in range(len(axes))], value), axes)
        if value != 0:
            raise Unsupported(f"it pads with {value}", "pad with zeros")
        if len(pads) != 4 or len(self._shapes[x]) != 3 or any(pads[0]) or min(min(pair) for pair in pads) < 0:
            raise Unsupported(f"it pads the axes by {[list(pair) for pair in pads]}", "pad the height, width or channels of an image")
        (top, bottom), (left, right) = pads[2:]
        return self._emit(Pad, name, (x,), spatial=(top, left, bottom, right), channels=pads[1])

    def slice(self, name: str, x: str, slices: Mapping[int, slice]) -> str:
        """x[slices] by axis, with positive steps; a slice of a slice becomes one."""
        base, axes = self._base(x)
        if base != x:
            cuts = {axes[axis % len(axes)]: cut for axis, cut in slices.items()}
            return self._view(name, self.slice(name, base, cuts), axes)
        shape = self.source_shape(x)
        if any(cut.step < 1 for cut in slices.values()):
            raise Unsupported("it slices backwards", "use positive steps")
        cuts = {axis % len(shape): cut for axis, cut in slices.items()}
        if all(len(range(shape[axis])[cut]) == shape[axis] for axis, cut in cuts.items()):
            return x
        if len(shape) != 4 or (0 in cuts and len(range(1)[cuts[0]]) != 1):
            raise Unsupported("it slices something other than an image", "slice the height, width or channels of an image")
        inner = self._ops.get(x)
        ranges = [range(size) for size in self._shapes[x]]
        if isinstance(inner, Slice):
            x, ranges = inner.inputs[0], [range(*r) for r in zip(inner.start, inner.stop, inner.step, strict=True)]
        ranges = [r[cuts.get(axis, slice(None))] for r, axis in zip(ranges, (2, 3, 1), strict=True)]
        if not all(ranges):
            raise ModelError(f"slice '{name}' of shape {list(shape)} selects nothing")
        return self._emit(
            Slice,
            name,
            (x,),
            start=tuple(r.start for r in ranges),
            stop=tuple(r[-1] + 1 for r in ranges),
            step=tuple(r.step for r in ranges),
        )

    def reshape(self, name: str, x: str, shape: Shape) -> str:
        """The same numbers, in the order of the source's axes, as an array of another shape."""
        before = self.source_shape(x)
        if shape == before:
            return x
        if isinstance(x, Unbatched):
            return self.unbatched(name, self.reshape(name, str(x), (1, *shape)))
        x, axes = self._base(x)
        if math.prod(shape) != math.prod(before):
            raise ModelError(f"reshape '{name}': {list(before)} does not fit {list(shape)}; export the model with batch 1")
        if not 2 <= len(shape) <= MAX_RANK or shape[0] != 1:
            raise Unsupported(f"it reshapes {list(before)} to {list(shape)}", "keep the batch as the first axis, of length 1")
        if len(before) == 4 and len(shape) == 2:
            result, hwc, chw = (
                [axis for axis in order if self.source_shape(x)[axis] != 1] for order in (axes, (2, 3, 1), (1, 2, 3))
            )
            if result in (hwc, chw):
                return self._emit(Flatten, name, (x,), order="HWC" if result == hwc else "CHW")
        flat = x
        if len(before) > 2:
            memory = [axes.index(axis) for axis in self._memory(x)]
            flat = self._in_order(name, x, memory, before, range(1, len(before)), (math.prod(shape),))
        if len(shape) == 2:
            return flat
        channels, places = shape[1], math.prod(shape[2:])
        return self._sourced(
            self._emit(Rearrange, name, (flat,), view=(channels, places), order=(1, 0), shape=graph_shape(shape)), shape
        )

    def softmax(self, name: str, x: str, axis: int) -> str:
        """Softmax over the channels."""
        base, axes = self._base(x)
        if axes[axis % len(axes)] != 1:
            raise Unsupported(f"a softmax over axis {axis}", "take it over the channels (axis 1)")
        return self._view(name, self._emit(Softmax, name, (base,)), axes)

    def build(self, outputs: Sequence[tuple[str, str]]) -> Graph:
        """The network that computes `outputs`: values with the names they get. Raises GraphError."""
        renamed: dict[str, str] = {}
        for value, name in ((self._output(value), name) for value, name in outputs):
            if value not in self._ops:
                raise ModelError(f"output '{name}' is an input of the network; leave it out")
            if value in renamed:
                raise ModelError(f"output '{name}' is the same value as another output; return it once")
            renamed[value] = value if value == name else self._declare(self._unique(name), self._shapes[value])
        live: set[str] = set(renamed)
        ops: list[Op] = []
        for op in reversed(self._ops.values()):
            if op.output in live:
                live.update(op.inputs)
                inputs = tuple(renamed.get(value, value) for value in op.inputs)
                ops.append(replace(op, inputs=inputs, output=renamed.get(op.output, op.output)))
        ops = _named_apart(ops[::-1])
        graph = Graph(tuple(self._inputs), (), tuple(renamed.values()), self._parameters).with_ops(ops)
        verify(graph)
        return graph

    def _output(self, x: str) -> str:
        """What the network puts out for a value. Where images enter as [1, H, W, C], those that leave are taken for such: anything of
        more axes than a vector is put in the order of its axes."""
        base, axes = self._base(x)
        shape, layout = self.source_shape(x), next((port.layout for port in self._inputs if len(port.shape) == 3), "NCHW")
        if base not in self._ops or layout != "NHWC" or len(shape) == 2 or isinstance(x, Unbatched):
            return self._stored(x)
        if axes == _TO_NHWC:
            return base
        image = self.reshape(x, x, (1, math.prod(shape[1:-2]), *shape[-2:]))
        return self._stored(self.transpose(x, image, _TO_NCHW))

    def _emit(
        self,
        kind: type[Op],
        name: str,
        inputs: tuple[str, ...],
        parameters: Mapping[str, npt.NDArray[np.float32] | None] | None = None,
        **attributes: Any,
    ) -> str:
        inputs = tuple(self._stored(value) for value in inputs)
        output = self._unique(name)
        arrays = {role: array for role, array in (parameters or {}).items() if array is not None}
        self._elements += sum(array.size for array in arrays.values())
        if self._elements > MAX_ELEMENTS:
            raise ModelError(f"layer '{name}': up to it there are {self._elements} parameters; the limit is {MAX_ELEMENTS}")
        self._parameters.update({f"{output}.{role}": np.array(array, np.float32, order="C") for role, array in arrays.items()})
        op = kind(name=name, inputs=inputs, output=output, **{role: f"{output}.{role}" for role in arrays}, **attributes)
        parameters_only = Graph((), (), (), self._parameters)
        shape = output_shape(parameters_only, op, [self._shapes[value] for value in inputs])
        self._declare(output, shape)
        source = self._sources.get(inputs[0], ())
        if source and shape == self._shapes[inputs[0]]:
            self._sources[output] = source
        elif len(source) == 3 and len(shape) == 3 and shape[0] == 1:  # a signal stays one
            self._sources[output] = (1, shape[2], shape[1])
        self._ops[output] = op
        return output

    def _base(self, x: str) -> tuple[str, tuple[int, ...]]:
        """What a view is of, with the axis of that for each of its own; for anything else itself, with its axes in order."""
        view = self._views.get(x)
        return (x, tuple(range(len(self.source_shape(x))))) if view is None else (view.base, view.axes)

    def _stored(self, x: str) -> str:
        """A value whose numbers lie in memory in the order of its axes."""
        if x in self._views and x not in self._rearranged:
            base, axes = self._base(x)
            shape = self.source_shape(x)
            memory = [axes.index(axis) for axis in self._memory(base)]
            arranged = self._in_order(f"{x}.rearranged", base, memory, shape, (*range(2, len(shape)), 1), graph_shape(shape))
            self._rearranged[x] = self._sourced(arranged, shape)
        return self._rearranged.get(x, x)

    def _memory(self, base: str) -> Sequence[int]:
        """The axes of a value that is no view, but the batch, from the outermost to the innermost in memory."""
        return (*range(2, len(self.source_shape(base))), 1)

    def _in_order(self, name: str, base: str, memory: Sequence[int], sizes: Shape, order: Sequence[int], shape: Shape) -> str:
        """`base`, whose memory has axes of the `sizes` in the order `memory`, with these axes put in `order`; `shape` is the Graph's."""
        view = tuple(sizes[axis] for axis in memory)
        return self._emit(Rearrange, name, (base,), view=view, order=tuple(memory.index(axis) for axis in order), shape=shape)

    def _sourced(self, value: str, shape: Shape) -> str:
        """`value`, whose shape in the source is `shape`."""
        if len(shape) in (2, 4):
            self._sources.pop(value, None)
        else:
            self._sources[value] = shape
        return value

    def _view(self, name: str, base: str, axes: tuple[int, ...]) -> str:
        """`base` with its axes in another order; itself if that is none."""
        if axes == tuple(range(len(axes))):
            return base
        shape = self.source_shape(base)
        value = self.placeholder(f"{name}.view", tuple(shape[axis] for axis in axes))
        self._views[value] = _View(base, axes)
        return value

    def _declare(self, value: str, shape: Shape) -> str:
        if math.prod(shape) > MAX_VALUE_ELEMENTS:
            raise ModelError(f"'{value}' has {math.prod(shape)} elements (shape {list(shape)}); the limit is {MAX_VALUE_ELEMENTS}")
        self._shapes[value] = shape
        return value

    def _unique(self, name: str) -> str:
        """A new name made of `name`."""
        base = re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.")[:80] or "value"
        while (value := f"{base}_{self._uses[base]}" if self._uses[base] else base) in self._shapes:
            self._uses[base] += 1
        return value

    def require_image(self, x: str, ranks: tuple[int, ...] = (3, 4)) -> None:
        """Refuse what is neither an image nor, where `ranks` has 3, a signal."""
        if len(self.source_shape(x)) not in ranks:
            shape = list(self.source_shape(x))
            others = " or [1, channels, length]" if 3 in ranks else ""
            raise Unsupported(f"its input of shape {shape} is no image", f"give it [1, channels, height, width]{others}")

    def _whole(self, x: str) -> tuple[Pair, Pair]:
        """Kernel and stride of one window over all of an image."""
        self.require_image(x)
        height, width, _ = self._shapes[x]
        return (height, width), (height, width)

    def _ceil_padding(self, x: str, kernel: Pair, stride: Pair, padding: Padding) -> Padding:
        """Padding with which rounding down gives as many windows as rounding up; no window starts beyond the image."""
        ends = []
        for size, k, s, before, after in zip(self._shapes[x][:2], kernel, stride, padding[:2], padding[2:], strict=True):
            last = -(-(size + before + after - k) // s) * s
            if last >= size + before:
                last -= s
            ends.append(max(after, last + k - size - before))
        return (*padding[:2], ends[0], ends[1])


def _check_bias(name: str, weight: FloatArray, bias: FloatArray | None) -> None:
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ModelError(f"layer '{name}': its bias has shape {list(bias.shape)}; it must have shape {list(weight.shape[:1])}")
