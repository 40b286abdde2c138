"""What both frontends build with beyond layers: functions, arithmetic, moves, reductions, and layers that are made of others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lutra_compiler.errors import ModelError
from lutra_compiler.frontends import functions
from lutra_compiler.frontends.builder import GraphBuilder, Unbatched, Unsupported, graph_shape
from lutra_compiler.frontends.functions import Steps
from lutra_compiler.ir.graph import FloatArray, Shape
from lutra_compiler.ir.ops import (
    Binary,
    Concat,
    Conv2d,
    Elementwise,
    Gather,
    Linear,
    Normalise,
    Pad,
    Padding,
    Pair,
    Rearrange,
    Recurrent,
    Upsample,
)
from lutra_compiler.ir.verify import MAX_ELEMENTS, MAX_VALUE_ELEMENTS

MAX_STRETCHES = 64  # of constant indices that are gathered: a copy each
MAX_INDICES = 1 << 16  # along an axis
MAX_WINDOW = 255  # of pooling


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent layer, the gates in the order of ir/ops.py: weights [gates * units, features] for the input and
    [gates * units, units] for the hidden state, their biases, and the states before the first step, [states, units]; absent for zeros."""

    weight: FloatArray
    recurrent_weight: FloatArray
    bias: FloatArray | None
    recurrent_bias: FloatArray | None
    initial: FloatArray | None
    reverse: bool


class OperatorBuilder(GraphBuilder):
    """A GraphBuilder that knows every operator of the frontends. Values have any number of axes from 2; the first one is the batch."""

    # Number by number

    def elementwise(self, name: str, x: str, steps: Steps) -> str:
        """A function of every number."""
        base, axes = self._base(x)
        return self._view(name, self._emit(Elementwise, name, (base,), steps=steps), axes)

    def arithmetic(self, name: str, function: str, x: str, constant: FloatArray, reverse: bool = False) -> str:
        """function(x, constant), or function(constant, x): one number for all, or one a channel."""
        constant = np.asarray(constant, np.float32)
        shape = self.source_shape(x)
        if constant.ndim > len(shape):
            x = self.reshape(name, x, (1,) * (constant.ndim - len(shape)) + shape)
        if constant.size == 1:
            number = float(constant.reshape(-1)[0])
            if not math.isfinite(number):
                raise ModelError(f"'{name}': its constant is {number}")
            if function in ("minimum", "maximum"):
                return self.clamp(name, x, *((None, number) if function == "minimum" else (number, None)))
            if reverse and function == "power" and number <= 0:
                raise Unsupported(f"it is a power of {number}", "use a positive base")
            if function == "power" and not reverse:
                return x if number == 1 else self.elementwise(name, x, functions.power(number))
            if not reverse and number == {"add": 0, "subtract": 0, "multiply": 1, "divide": 1}.get(function):
                return x
            return self.elementwise(name, x, (functions.constant_left if reverse else functions.constant_right)(function, number))
        if function in ("add", "subtract", "multiply", "divide") and not (reverse and function == "divide"):
            match function:
                case "multiply":
                    return self.affine(name, x, constant, None)
                case "divide":
                    return self.affine(name, x, np.float32(1) / constant, None)
                case _:
                    negative = np.full_like(constant, -1) if function == "subtract" and reverse else None
                    return self.affine(name, x, negative, constant if function == "add" or reverse else -constant)
        raise Unsupported(f"it takes a constant of shape {list(constant.shape)}", "use one number for all channels")

    def affine(self, name: str, x: str, gain: FloatArray | None, shift: FloatArray | None) -> str:
        """gain * x + shift, of one shape, with one number a channel: part of the fully connected layer before, else a depthwise
        convolution, which the pass fold_affine makes part of the convolution before."""
        shape = self.source_shape(x)
        form = next(array.shape for array in (gain, shift) if array is not None)
        whole = (1,) * (len(shape) - len(form)) + form
        varying = [axis for axis, size in enumerate(whole) if size != 1]
        if len(whole) != len(shape) or len(varying) != 1 or whole[varying[0]] != shape[varying[0]]:
            raise Unsupported(f"it takes a constant of shape {list(form)}", "use one number, or one a channel")
        (axis,) = varying
        base, order = self._base(x)
        if base != x:
            return self._view(name, self.affine(name, base, *_along(order[axis], len(shape), gain, shift)), order)
        if axis != 1:
            swapped = self._stored(self.swapped(name, x, axis))
            return self.swapped(name, self.affine(name, swapped, *_along(1, len(shape), gain, shift)), axis)
        gain, shift = _along(0, 1, gain, shift)
        op = self._ops.get(x)
        if isinstance(op, Linear) and op.activation is None:
            weight, bias = self._parameters[op.weight], None if op.bias is None else self._parameters[op.bias]
            if gain is not None:
                weight, bias = (weight.T * gain).T, None if bias is None else bias * gain
            bias = bias if shift is None else shift if bias is None else bias + shift
            return self._sourced(self._emit(type(op), op.name, op.inputs, {"weight": weight, "bias": bias}), shape)
        gain = np.ones(shape[1], np.float32) if gain is None else gain
        image = self.reshape(name, x, (1, shape[1], 1, math.prod(shape[2:]))) if len(shape) not in (3, 4) else self._stored(x)
        y = self._emit(Conv2d, name, (image,), {"weight": gain.reshape(-1, 1, 1, 1), "bias": shift}, groups=len(gain))
        return self.reshape(name, y, shape)

    def add(self, name: str, a: str, b: str) -> str:
        """Sum of two values."""
        if self._shapes[a] == self._shapes[b] and self.source_shape(a) == self.source_shape(b) and self._base(a)[1] == self._base(b)[1]:
            return super().add(name, a, b)
        return self.binary(name, "add", a, b)

    def binary(self, name: str, function: str, a: str, b: str) -> str:
        """function(a, b), of one shape, or one has one channel or one pixel where the other has more."""
        if function == "divide":
            return self.binary(name, "multiply", a, self.elementwise(f"{name}.reciprocal", b, functions.power(-1.0)))
        shapes = self.source_shape(a), self.source_shape(b)
        rank = max(map(len, shapes))
        a, b = (self.reshape(name, x, (1,) * (rank - len(shape)) + shape) for x, shape in zip((a, b), shapes, strict=True))
        axes = self._base(a)[1]
        if axes == self._base(b)[1]:
            a, b = self._base(a)[0], self._base(b)[0]
        else:
            a, b, axes = self._stored(a), self._stored(b), tuple(range(rank))
        both = self.source_shape(a), self.source_shape(b)
        whole = tuple(map(max, *both))
        axis = _axis_to_swap(*both) if all(size in (1, most) for s in both for size, most in zip(s, whole, strict=True)) else None
        if axis is None:
            raise Unsupported(
                f"it broadcasts {list(shapes[0])} and {list(shapes[1])}", "use values of one shape, or with one channel or one pixel"
            )
        if axis:
            result = self.binary(name, function, *(self._stored(self.swapped(name, x, axis)) for x in (a, b)))
            return self._view(name, self._stored(self.swapped(name, result, axis)), axes)
        result = self._emit(Binary, name, (a, b), function=function)
        return self._view(name, self._sourced(result, whole), axes)

    def compare(self, name: str, kind: str, a: "str | FloatArray", b: "str | FloatArray") -> str:
        """1 where a is "greater", "greater_equal", "less" or "less_equal" than b, else 0."""
        if kind.startswith("less"):
            return self.compare(name, kind.replace("less", "greater"), b, a)
        if isinstance(a, str) and isinstance(b, str):
            difference = self.binary(f"{name}.difference", "subtract", a, b)
        elif isinstance(a, str) and not isinstance(b, str):
            difference = self.arithmetic(f"{name}.difference", "subtract", a, b)
        elif isinstance(b, str) and not isinstance(a, str):
            difference = self.arithmetic(f"{name}.difference", "subtract", b, a, reverse=True)
        else:
            raise Unsupported("it compares constants", "compare values of the network")
        return self.elementwise(name, difference, functions.positive(kind == "greater_equal"))

    def where(self, name: str, condition: object, a: "str | FloatArray | None", b: "str | FloatArray | None") -> str:
        """a where the condition, a value that is 0 or 1, is 1, else b."""
        if not isinstance(condition, str):
            raise Unsupported("its condition is a constant", "multiply with a mask and add")
        otherwise = self.elementwise(f"{name}.otherwise", condition, functions.affine(-1.0, 1.0))
        parts = []
        for mask, choice in ((condition, a), (otherwise, b)):
            if isinstance(choice, str):
                parts.append(self.binary(f"{name}.part", "multiply", mask, choice))
            elif choice is None or choice.size != 1:
                raise Unsupported("its choice is an array of constants", "choose between values and single numbers")
            else:
                parts.append(self.arithmetic(f"{name}.part", "multiply", mask, choice))
        return self.add(name, *parts)

    def prelu(self, name: str, x: str, slope: FloatArray) -> str:
        """x, below 0 slope * x, of one slope or one a channel."""
        if slope.size == 1:
            return self.elementwise(name, x, functions.leaky_relu(float(slope.reshape(-1)[0])))
        below = self.affine(f"{name}.below", self.clamp(f"{name}.negative", x, None, 0.0), slope, None)
        return self.add(name, self.clamp(f"{name}.positive", x, 0.0, None), below)

    # Moves

    def swapped(self, name: str, x: str, axis: int) -> str:
        """x with the channels and another axis in each other's place."""
        order = list(range(len(self.source_shape(x))))
        order[1], order[axis] = axis, 1
        return self.transpose(name, x, order)

    def gather(self, name: str, x: str, axis: int, indices: Sequence[int]) -> str:
        """Positions of one axis, in any order."""
        shape = self.source_shape(x)
        axis %= len(shape)
        if isinstance(x, Unbatched):
            if axis == 0 and len(indices) == 1 and x in self._stacks and -shape[0] <= indices[0] < shape[0]:
                return self.reshape(name, self._stacks[x][indices[0]], (1, *shape[1:]))
            return self.unbatched(name, self.gather(name, str(x), axis + 1, indices))
        indices = tuple(index + shape[axis] if index < 0 else index for index in indices[: MAX_INDICES + 1])
        if not indices or not all(0 <= index < shape[axis] for index in indices):
            raise ModelError(f"gather '{name}': its indices must be in 0..{shape[axis] - 1}, and there must be one")
        if indices == tuple(range(shape[axis])):
            return x
        if len(indices) > MAX_INDICES:
            raise Unsupported(f"it takes {len(indices)} positions", f"take at most {MAX_INDICES} along an axis")
        if axis == 0:
            raise Unsupported("it takes several samples of a batch", "run one sample at a time")
        base, order = self._base(x)
        if base != x:
            return self._view(name, self.gather(name, base, order[axis], indices), order)
        steps = np.diff(indices)
        stretches = 1 + int(((steps[1:] != steps[:-1]) | (steps[1:] < 0)).sum()) if len(steps) else 1
        if stretches > MAX_STRETCHES:
            raise Unsupported(f"its indices are in {stretches} stretches of equal steps", f"take at most {MAX_STRETCHES}")
        if len(shape) > 4:  # rows are several axes
            before, after = math.prod(shape[1:axis]), math.prod(shape[axis + 1 :])
            flat = self.gather(name, self.reshape(name, x, (1, before, shape[axis], after)), 2, indices)
            return self.reshape(name, flat, (*shape[:axis], len(indices), *shape[axis + 1 :]))
        x = self._stored(x)
        result = self._emit(Gather, name, (x,), axis=_graph_axis(axis, len(shape)), indices=indices)
        return self._sourced(result, (*shape[:axis], len(indices), *shape[axis + 1 :]))

    def slice(self, name: str, x: str, slices: Mapping[int, slice]) -> str:
        """x[slices] by axis."""
        shape = self.source_shape(x)
        if isinstance(x, Unbatched):
            return self.unbatched(name, self.slice(name, str(x), {axis % len(shape) + 1: cut for axis, cut in slices.items()}))
        cuts = {axis % len(shape): cut for axis, cut in slices.items()}
        if any(cut.step == 0 for cut in cuts.values()):
            raise ModelError(f"slice '{name}': a step is 0")
        if 0 in cuts and len(range(1)[cuts[0]]) != 1:
            raise Unsupported("it takes no sample of the batch", "slice the other axes")
        if len(shape) == 4 and all(cut.step is None or cut.step > 0 for cut in cuts.values()):
            return super().slice(name, x, {axis: slice(cut.start, cut.stop, cut.step or 1) for axis, cut in cuts.items()})
        for axis, cut in cuts.items():
            taken = range(shape[axis])[cut]
            if not taken:
                raise ModelError(f"slice '{name}' of shape {list(shape)} selects nothing")
            if taken == range(shape[axis]):
                continue
            x = self.gather(name, x, axis, taken)
        return x

    def split(self, name: str, x: str, axis: int, sizes: Sequence[int]) -> list[str]:
        """x cut along an axis into parts of the given sizes."""
        length = self.source_shape(x)[axis]
        if sum(sizes) != length or min(sizes, default=0) < 1:
            raise ModelError(f"split '{name}': parts of {list(sizes)} do not fit an axis of length {length}")
        ends = np.cumsum(sizes).tolist()
        return [self.slice(f"{name}.{i}", x, {axis: slice(end - size, end)}) for i, (size, end) in enumerate(zip(sizes, ends, strict=True))]

    def concat(self, name: str, values: Sequence[str], axis: int) -> str:
        """Values joined along an axis."""
        shapes = [self.source_shape(value) for value in values]
        rank = len(shapes[0])
        axis %= rank
        states = [value in self._stacks or shape[:2] == (1, 1) for value, shape in zip(values, shapes, strict=True)]
        if axis == 0 and rank == 3 and all(states):
            parts = [self._stacks.get(value) or [self.reshape(name, value, shapes[0][1:])] for value in values]
            return self.stacked(name, [part for several in parts for part in several])
        if any(isinstance(value, Unbatched) for value in values):
            return self.unbatched(name, self.concat(name, [self.with_batch(name, value) for value in values], axis + 1))
        orders = {self._base(value)[1] for value in values}
        if any(len(s) != rank or s[:axis] != shapes[0][:axis] or s[axis + 1 :] != shapes[0][axis + 1 :] for s in shapes) or axis == 0:
            raise Unsupported(f"it joins shapes {[list(s) for s in shapes]} along axis {axis}", "join what differs in that axis alone")
        if len(values) == 1:
            return values[0]
        if axis == 1 and orders == {tuple(range(rank))}:
            return super().concat(name, values, 1) if rank < 5 else self._joined(name, values, axis)
        if len(orders) == 1 and rank == 4:
            order = next(iter(orders))
            bases = [self._base(value)[0] for value in values]
            return self._view(name, self._joined(name, bases, order[axis]), order)
        return self._joined(name, [self._stored(value) for value in values], axis)

    def stacked(self, name: str, states: Sequence[str]) -> str:
        """States [1, U] one after the other, [n, 1, U], as recurrent layers put them out."""
        units = self.source_shape(states[0])[1]
        whole = self.reshape(name, self.concat(name, states, 1), (1, len(states), 1, units))
        result = self.unbatched(name, whole)
        if isinstance(result, Unbatched):
            self._stacks[result] = list(states)
        return result

    def _joined(self, name: str, values: Sequence[str], axis: int) -> str:
        shapes = [self.source_shape(value) for value in values]
        rank, total = len(shapes[0]), sum(shape[axis] for shape in shapes)
        whole = (*shapes[0][:axis], total, *shapes[0][axis + 1 :])
        if rank > 4 and 1 < axis < rank - 1:  # one of several axes that are rows
            after = math.prod(whole[axis + 1 :])
            flat = [self.reshape(name, v, (1, math.prod(s[1:axis]), s[axis], after)) for v, s in zip(values, shapes, strict=True)]
            return self.reshape(name, self._joined(name, flat, 2), whole)
        return self._sourced(self._emit(Concat, name, tuple(values), axis=_graph_axis(axis, rank) - len(graph_shape(whole))), whole)

    def pad(self, name: str, x: str, pads: Sequence[Pair], value: float, mode: str = "constant") -> str:
        """`value` before and after each axis, or what `mode` says: "reflect", "edge", "wrap"; negative numbers cut off."""
        shape = self.source_shape(x)
        cuts = {axis: slice(max(0, -a), shape[axis] - max(0, -b)) for axis, (a, b) in enumerate(pads) if min(a, b) < 0}
        if cuts:
            x, pads = self.slice(name, x, cuts), [(max(0, a), max(0, b)) for a, b in pads]
            shape = self.source_shape(x)
        if not any(any(pair) for pair in pads):
            return x
        if any(pads[0]):
            raise Unsupported("it pads the batch", "pad the other axes")
        if mode != "constant":
            numpy_mode = {"reflect": "reflect", "edge": "edge", "replicate": "edge", "wrap": "wrap", "circular": "wrap"}.get(mode)
            if numpy_mode is None:
                raise Unsupported(f"its mode is {mode}", "pad with a constant, the edge, a reflection or around")
            for axis, pair in enumerate(pads):
                if any(pair):
                    if max(pair) > MAX_INDICES:
                        raise Unsupported(f"it pads by {list(pair)}", f"pad by at most {MAX_INDICES}")
                    try:
                        places = np.pad(np.arange(shape[axis]), pair, numpy_mode)  # type: ignore[call-overload]
                    except ValueError as error:
                        raise ModelError(f"pad '{name}': {error}") from error
                    x = self.gather(name, x, axis, places.tolist())
            return x
        if not math.isfinite(value):
            raise Unsupported(f"it pads with {value}", "pad with a finite number")
        if len(shape) == 2:
            padded = self.pad(name, self.reshape(name, x, (*shape, 1, 1)), [*pads, (0, 0), (0, 0)], value)
            return self.reshape(name, padded, (1, shape[1] + sum(pads[1])))
        if len(shape) > 4:
            raise Unsupported(f"it pads an array of {len(shape)} axes", "pad an image or a vector")
        (top, bottom), (left, right) = ((0, 0), pads[2]) if len(shape) == 3 else pads[2:]
        if len(shape) == 4 and value == 0:
            return super().pad(name, x, pads, value)
        result = self._emit(Pad, name, (x,), spatial=(top, left, bottom, right), channels=pads[1], value=value)
        return self._sourced(result, tuple(size + sum(pair) for size, pair in zip(shape, pads, strict=True)))

    def upsample(self, name: str, x: str, rows: Sequence[int], columns: Sequence[int]) -> str:
        """An image of which row i is row rows[i] of x, and so the columns."""
        self.require_image(x)
        shape = self.source_shape(x)
        height, width = shape[2:] if len(shape) == 4 else (1, shape[2])
        factors = (len(rows) // height or 1, len(columns) // width or 1)
        whole = [np.repeat(np.arange(size), factor).tolist() for size, factor in zip((height, width), factors, strict=True)]
        if [list(rows), list(columns)] == whole:
            return x if factors == (1, 1) else self._emit(Upsample, name, (x,), factors=factors)
        for axis, places in ((len(shape) - 2, rows), (len(shape) - 1, columns)):
            if axis > 1:
                x = self.gather(name, x, axis, places)
        return x

    def depth_to_space(self, name: str, x: str, block: int, columns_first: bool) -> str:
        """Channels to blocks of pixels; `columns_first`: channels are [C, block, block], else [block, block, C]."""
        self.require_image(x, ranks=(4,))
        _, channels, height, width = self.source_shape(x)
        if block < 1 or channels % block**2:
            raise ModelError(f"'{name}': {channels} channels do not fit blocks of {block}x{block}")
        out = channels // block**2
        view, order = ((out, block, block), (0, 3, 1, 4, 2)) if columns_first else ((block, block, out), (0, 2, 1, 3, 4))
        shape = (height * block, width * block, out)
        return self._emit(Rearrange, name, (x,), view=(height, width, *view), order=order, shape=shape)

    def space_to_depth(self, name: str, x: str, block: int, columns_first: bool) -> str:
        """Blocks of pixels to channels: the reverse of `depth_to_space`."""
        self.require_image(x, ranks=(4,))
        _, channels, height, width = self.source_shape(x)
        if block < 1 or height % block or width % block:
            raise ModelError(f"'{name}': an image of {height}x{width} has no whole blocks of {block}x{block}")
        view = (height // block, block, width // block, block, channels)
        order = (0, 2, 4, 1, 3) if columns_first else (0, 2, 1, 3, 4)
        shape = (height // block, width // block, channels * block**2)
        return self._emit(Rearrange, name, (x,), view=view, order=order, shape=shape)

    # Reductions

    def mean(self, name: str, x: str, axes: Sequence[int], keepdims: bool) -> str:
        """Mean over axes."""
        return self.reduce(name, "mean", x, axes, keepdims)

    def reduce(self, name: str, kind: str, x: str, axes: Sequence[int], keepdims: bool) -> str:
        """The "mean", "sum", "max" or "min" over axes; all but the batch if there are none."""
        shape = self.source_shape(x)
        rank = len(shape)
        reduced = sorted({axis % rank for axis in axes} or range(1, rank))
        if 0 in reduced and (not keepdims or len(reduced) == 1):
            raise Unsupported(f"it reduces the batch: axes {list(axes)}", "leave axis 0 out")
        reduced = [axis for axis in reduced if axis != 0]
        final = tuple(1 if axis in reduced else size for axis, size in enumerate(shape) if keepdims or axis not in reduced)
        if len(final) < 2:
            final = (1, 1)
        if kind == "min":
            negative = self.elementwise(f"{name}.negative", x, functions.affine(-1.0, 0.0))
            return self.elementwise(name, self.reduce(name, "max", negative, axes, keepdims), functions.affine(-1.0, 0.0))
        count = math.prod(shape[axis] for axis in reduced)
        base, order = self._base(x)
        if rank in (3, 4) and sorted(order[axis] for axis in reduced) == list(range(2, rank)):
            pooled = self._pooled(name, kind, base)
            result = self._view(name, pooled, order) if keepdims else self.reshape(name, pooled, final)
        else:
            pooled = self._pooled(name, kind, self._for_reduction(name, x, reduced, keepdims))
            size = math.prod(final)
            same = self._emit(Rearrange, name, (pooled,), view=(size,), order=(0,), shape=graph_shape(final))
            result = self._sourced(same, final)
        return self.elementwise(name, result, functions.constant_right("multiply", float(count))) if kind == "sum" and count > 1 else result

    def _pooled(self, name: str, kind: str, x: str) -> str:
        """The mean or maximum of each channel."""
        shape = self.source_shape(x)
        window = shape[2:] if len(shape) == 4 else (1, shape[2])
        if max(window) > MAX_WINDOW:
            raise Unsupported(f"it reduces {window[0]}x{window[1]} numbers at once", f"reduce at most {MAX_WINDOW} along an axis")
        if kind == "max":
            return self.max_pool(name, x, window, window, (0, 0, 0, 0), False)
        return self.average_pool(name, x, window, window, (0, 0, 0, 0), False, False)

    def _for_reduction(self, name: str, x: str, reduced: Sequence[int], keepdims: bool) -> str:
        """x as an image whose pixels are the axes to reduce, and whose channels are all others in the order that the result has them in."""
        shape, (base, axes) = self.source_shape(x), self._base(x)
        memory = [axes.index(axis) for axis in self._memory(base)]
        kept = [axis for axis in range(1, len(shape)) if axis not in reduced]
        channels = [axis for axis in kept if axis != 1] + [1] * (1 in kept) if keepdims else kept[1:] + kept[:1]
        count = math.prod(shape[axis] for axis in reduced)
        rows = next((rows for rows in range(1, MAX_WINDOW + 1) if count % rows == 0 and count // rows <= MAX_WINDOW), 1)
        image = (rows, count // rows, math.prod(shape[axis] for axis in channels))
        return self._sourced(self._in_order(name, base, memory, shape, (*reduced, *channels), image), (1, image[2], image[0], image[1]))

    # Layers

    def normalise(self, name: str, x: str, axes: Sequence[int], epsilon: float, gain: FloatArray | None, shift: FloatArray | None) -> str:
        """(x - mean) / sqrt(variance + epsilon) over axes, then gain * y + shift."""
        shape, x = self.source_shape(x), self._stored(x)
        places = sorted(_graph_axis(axis, len(shape)) for axis in axes)
        if len(shape) > 4 or places != list(range(places[0], places[-1] + 1)):
            raise Unsupported(f"it normalizes the axes {list(axes)} of {list(shape)}", "normalize the last axes, or height and width")
        y = self._emit(Normalise, name, (x,), axes=tuple(places), epsilon=epsilon)
        y = y if gain is None else self.arithmetic(name, "multiply", y, gain)
        return y if shift is None else self.arithmetic(name, "add", y, shift)

    def layer_norm(self, name: str, x: str, axis: int, epsilon: float, gain: FloatArray | None, shift: FloatArray | None) -> str:
        """All axes from `axis` on are normalised together; `gain` and `shift` are one number for each of their positions."""
        shape = self.source_shape(x)
        if axis == len(shape) - 1 and len(shape) < 5:
            return self.normalise(name, x, [axis], epsilon, gain, shift)
        if axis == 0:
            raise Unsupported("it normalizes the batch", "normalize the axes after it")
        flat = (1, math.prod(shape[1:axis]), math.prod(shape[axis:])) if axis > 1 else (1, math.prod(shape[1:]))
        gain, shift = (None if array is None else np.broadcast_to(array, shape[axis:]).reshape(-1) for array in (gain, shift))
        return self.reshape(name, self.normalise(name, self.reshape(name, x, flat), [len(flat) - 1], epsilon, gain, shift), shape)

    def group_norm(self, name: str, x: str, groups: int, epsilon: float, gain: FloatArray | None, shift: FloatArray | None) -> str:
        """Each group of channels is normalised; then gain * y + shift a channel."""
        shape = self.source_shape(x)
        if groups < 1 or shape[1] % groups:
            raise ModelError(f"layer '{name}': {shape[1]} channels in {groups} groups")
        parts = self.reshape(name, x, (1, groups, math.prod(shape[1:]) // groups))
        y = self.reshape(name, self.normalise(name, parts, [2], epsilon, None, None), shape)
        gain, shift = _along(1, len(shape), gain, shift)
        return y if gain is None and shift is None else self.affine(name, y, gain, shift)

    def linear(self, name: str, x: str, weight: FloatArray, bias: FloatArray | None) -> str:
        """Fully connected layer on the last axis; `weight` [out, in]."""
        shape = self.source_shape(x)
        if len(shape) == 2 or weight.ndim != 2:
            return super().linear(name, x, weight, bias)
        if shape[-1] != weight.shape[1]:
            raise ModelError(f"layer '{name}': {shape[-1]} input features, but its weight is for {weight.shape[1]}")
        last = len(shape) - 1
        pixels = self.swapped(name, x, last)
        image = self.reshape(name, pixels, (1, shape[-1], 1, math.prod(shape[1:-1]))) if len(shape) > 4 else self._stored(pixels)
        y = self.conv2d(name, image, weight[:, :, None, None], bias, (1, 1), (0, 0, 0, 0), 1)
        y = self.reshape(name, y, (1, len(weight), *self.source_shape(pixels)[2:]))
        return self.swapped(name, y, last)

    def recurrent(self, name: str, kind: type[Recurrent], x: str, directions: Sequence[Direction]) -> tuple[str, list[str]]:
        """A recurrent layer on [1, steps, features]: its hidden states [1, steps, units], of all directions one after the other, and of
        each the last one, [1, units]."""
        shape = self.source_shape(x)
        if isinstance(x, Unbatched) or len(shape) != 3:
            raise Unsupported(f"its input has shape {list(shape)}", "give it [1, steps, features]")
        steps = self._stored(self.swapped(name, x, 2))
        states, last = [], []
        for each in directions:
            part = f"{name}.reverse" if each.reverse else name
            _check_direction(part, kind, each, shape[2])
            whole = self.conv2d(f"{part}.input", steps, each.weight[:, :, None, None], each.bias, (1, 1), (0, 0, 0, 0), 1)
            more = {"bias": each.recurrent_bias, "initial": each.initial}
            more = {role: array for role, array in more.items() if array is not None and array.any()}
            states.append(self._emit(kind, part, (whole,), {"weight": each.recurrent_weight, **more}, reverse=each.reverse))
            end = self.gather(f"{part}.last", states[-1], 2, [0 if each.reverse else shape[1] - 1])
            last.append(self.reshape(f"{part}.last", end, (1, each.recurrent_weight.shape[1])))
        return self.swapped(name, self.concat(name, states, 1), 2), last

    def softmax(self, name: str, x: str, axis: int) -> str:
        """Softmax over an axis."""
        order = self._base(x)[1]
        axis %= len(order)
        if axis == 0:
            raise Unsupported("it is over the batch", "take it over another axis")
        if order[axis] == 1:
            return super().softmax(name, x, axis)
        return self.swapped(name, super().softmax(name, self._stored(self.swapped(name, x, axis)), 1), axis)

    def convolution(
        self,
        name: str,
        x: str,
        weight: FloatArray,
        bias: FloatArray | None,
        stride: Pair,
        padding: Padding,
        groups: int,
        dilation: Pair = (1, 1),
    ) -> str:
        """Convolution of images, `weight` OIHW, or of signals, OIL (then the first numbers of the pairs are 1, of the padding 0).

        A dilated kernel is stored with the zeros between its taps.
        """
        weight = weight[:, :, None] if weight.ndim == 3 else weight
        if dilation != (1, 1):
            height, width = ((size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True))
            _check_size(name, *weight.shape[:2], height, width)
            spread = np.zeros((*weight.shape[:2], height, width), np.float32)
            spread[:, :, :: dilation[0], :: dilation[1]] = weight
            weight = spread
        return self.conv2d(name, self._stored(x), weight, bias, stride, padding, groups)

    def transposed_convolution(
        self, name: str, x: str, weight: FloatArray, bias: FloatArray | None, stride: Pair, crop: Padding, extra: Pair, groups: int
    ) -> str:
        """Transposed convolution; `weight` [in, out / groups, height, width] or [in, out / groups, length].

        It is a convolution that computes a block of stride x stride outputs as channels, and their move to pixels. `crop`: top, left,
        bottom, right, of the whole result; `extra`: rows and columns added at the end.
        """
        self.require_image(x)
        signal = weight.ndim == 3
        weight = weight[:, :, None] if signal else weight
        source = self.source_shape(x)
        (channels, height, width), (_, out, kernel_h, kernel_w) = (source[1], *((1, source[2]) if signal else source[2:])), weight.shape
        if weight.shape[0] != channels or groups < 1 or channels % groups:
            raise ModelError(f"layer '{name}': {channels} channels in {groups} group(s) do not fit a weight for {weight.shape[0]}")
        if groups > 1 and (out > 1 or groups != channels):
            raise Unsupported(f"it has {groups} groups of {out} outputs", "use one group, or one channel a group")
        if height * width * math.prod(stride) * out * groups > MAX_VALUE_ELEMENTS:
            raise ModelError(f"layer '{name}': strides {list(stride)} make more than {MAX_VALUE_ELEMENTS} elements of {list(source)}")
        rows, columns = -(-kernel_h // stride[0]), -(-kernel_w // stride[1])
        _check_size(name, channels, out, rows * stride[0], columns * stride[1])
        padded = np.zeros((channels, out, rows * stride[0], columns * stride[1]), np.float32)
        padded[:, :, :kernel_h, :kernel_w] = weight
        # Tap (q, p) of the whole kernel meets output block i, phase p, at input i - q: the taps turned round, the phases as channels.
        flipped = padded.reshape(channels, out, rows, stride[0], columns, stride[1])[:, :, ::-1, :, ::-1]
        flipped = flipped.transpose(0, 3, 5, 1, 2, 4) if groups > 1 else flipped.transpose(3, 5, 1, 0, 2, 4)
        per_group = 1 if groups > 1 else channels
        phases = stride[0] * stride[1]
        kernel = flipped.reshape(-1, per_group, rows, columns)
        total = out * groups
        biases = None if bias is None else np.repeat(bias, phases) if groups > 1 else np.tile(bias, phases)
        ends = [
            (size - 1) * step + kernel_size - after + more
            for size, step, kernel_size, after, more in zip((height, width), stride, (kernel_h, kernel_w), crop[2:], extra, strict=True)
        ]
        # Blocks beyond those that the kernel reaches, which hold the bias.
        more_h, more_w = (
            max(0, -(-end // step) - size - taps + 1)
            for end, step, size, taps in zip(ends, stride, (height, width), (rows, columns), strict=True)
        )
        pads = (rows - 1, columns - 1, rows - 1 + more_h, columns - 1 + more_w)
        blocks = self._emit(Conv2d, name, (x,), {"weight": kernel.transpose(0, 2, 3, 1), "bias": biases}, padding=pads, groups=groups)
        in_h, in_w = height + rows - 1 + more_h, width + columns - 1 + more_w
        if groups > 1:
            view, order = (in_h, in_w, groups, *stride), (0, 3, 1, 4, 2)
        else:
            view, order = (in_h, in_w, *stride, out), (0, 2, 1, 3, 4)
        shape = (in_h * stride[0], in_w * stride[1], total)
        whole = self._emit(Rearrange, name, (blocks,), view=view, order=order, shape=shape) if phases > 1 else blocks
        if ends[0] <= crop[0] or ends[1] <= crop[1]:
            raise ModelError(f"layer '{name}': its padding leaves nothing of the result")
        self._sourced(whole, (1, total, *shape[:2]))
        cut = super().slice(name, whole, {2: slice(crop[0], ends[0], 1), 3: slice(crop[1], ends[1], 1)})
        return self.reshape(name, cut, (1, total, ends[1] - crop[1])) if signal else cut


def _check_direction(name: str, kind: type[Recurrent], each: Direction, features: int) -> None:
    units = each.recurrent_weight.shape[-1]
    rows = kind.gates * units
    wanted = {
        "weight": (rows, features), "recurrent_weight": (rows, units), "bias": (rows,), "recurrent_bias": (rows,),
        "initial": (kind.states, units),
    }
    for role, shape in wanted.items():
        array, what = getattr(each, role), role.replace("_", " ")
        if array is not None and array.shape != shape:
            raise ModelError(f"layer '{name}': its {what} has shape {list(array.shape)}; it must have shape {list(shape)}")


def _check_size(name: str, *sizes: int) -> None:
    """Refuse a weight that would be too large as it is stored."""
    if math.prod(sizes) > MAX_ELEMENTS:
        raise ModelError(f"layer '{name}': its weight as a convolution has shape {list(sizes)}; the limit is {MAX_ELEMENTS} elements")


def _repeats_simply(a: Shape, b: Shape) -> bool:
    """Whether each shape has one channel or all, and one pixel or all."""
    whole = tuple(map(max, a, b))
    return all(shape[1] in (1, whole[1]) and shape[2:] in (whole[2:], (1,) * (len(shape) - 2)) for shape in (a, b))


def _axis_to_swap(a: Shape, b: Shape) -> int | None:
    """0 if two shapes repeat simply, else an axis that must take the place of the channels for that; None if there is none."""
    if _repeats_simply(a, b):
        return 0
    for axis in range(2, len(a)):
        swapped = [(1, shape[axis], *shape[2:axis], shape[1], *shape[axis + 1 :]) for shape in (a, b)]
        if _repeats_simply(swapped[0], swapped[1]):
            return axis
    return None


def _along(axis: int, rank: int, *constants: FloatArray | None) -> list[FloatArray | None]:
    """Constants that vary along one of `rank` axes."""
    shape = [-1 if i == axis else 1 for i in range(rank)]
    return [None if constant is None else constant.reshape(shape) for constant in constants]


def _graph_axis(axis: int, rank: int) -> int:
    """The axis of a Graph's value for a source axis; of more than four axes all but the channels and the last are one."""
    if rank == 2:
        return 0
    if axis == 1:
        return 2
    return 1 if axis == rank - 1 else 0
