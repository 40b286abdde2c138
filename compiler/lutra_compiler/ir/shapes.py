"""Shape rules of every operator."""

from math import prod

from lutra_compiler.errors import GraphError
from lutra_compiler.ir.graph import Graph, Shape
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Binary,
    Concat,
    Conv2d,
    Elementwise,
    Flatten,
    Gather,
    Linear,
    MaxPool,
    Normalise,
    Op,
    Pad,
    Padding,
    Pair,
    Rearrange,
    Recurrent,
    Select,
    Slice,
    Softmax,
    Upsample,
)


def infer_shapes(graph: Graph) -> dict[str, Shape]:
    """The per-sample shape of every value. Raises GraphError with the op and the shapes that do not fit."""
    shapes: dict[str, Shape] = {i.name: i.shape for i in graph.inputs}
    for op in graph.ops:
        missing = [name for name in op.inputs if name not in shapes]
        if missing:
            raise GraphError(f"op '{op.name}' reads '{missing[0]}' before it is computed; ops must be in topological order")
        shapes[op.output] = output_shape(graph, op, [shapes[name] for name in op.inputs])
    return shapes


def output_shape(graph: Graph, op: Op, inputs: list[Shape]) -> Shape:
    """The shape of `op`'s output from the shapes of its inputs."""
    first = inputs[0]
    match op:
        case Conv2d():
            _require_rank(op, first, 3)
            out, kernel_h, kernel_w, channels = graph.weight_shape(op.weight)
            if op.groups < 1 or first[2] != channels * op.groups or out % op.groups:
                raise GraphError(
                    f"convolution '{op.name}': {first[2]} input channels do not fit a weight for {channels} channels in "
                    f"{op.groups} group(s) and {out} outputs"
                )
            return (*_window_output(op, first, (kernel_h, kernel_w), op.stride, op.padding), out)
        case Linear():
            _require_rank(op, first, 1)
            out, features = graph.weight_shape(op.weight)
            if first[0] != features:
                raise GraphError(f"layer '{op.name}': {first[0]} input features, but its weight is for {features}")
            return (out,)
        case BatchNorm():
            channels = graph.weight_shape(op.scale)[0]
            if first[-1] != channels:
                raise GraphError(f"batch norm '{op.name}': {first[-1]} channels, but its parameters are for {channels}")
            return first
        case MaxPool() | AveragePool():
            _require_rank(op, first, 3)
            return (*_window_output(op, first, op.kernel, op.stride, op.padding), first[2])
        case Add():
            if len(inputs) != 2 or inputs[0] != inputs[1]:
                raise GraphError(f"add '{op.name}': needs two values of one shape, got {inputs}; broadcasting is not supported")
            return first
        case Concat():
            if not -len(first) <= op.axis < 0:
                raise GraphError(f"concat '{op.name}': its axis {op.axis} must be in {-len(first)}..-1")
            before, after = slice(0, len(first) + op.axis), slice(len(first) + op.axis + 1, None)
            if any(len(s) != len(first) or s[before] != first[before] or s[after] != first[after] for s in inputs):
                where = "the channels" if op.axis == -1 else f"axis {op.axis}"
                raise GraphError(f"concat '{op.name}': shapes differ outside {where}: {inputs}")
            return (*first[before], sum(shape[op.axis] for shape in inputs), *first[after])
        case Binary():
            return _broadcast(op, inputs)
        case Pad():
            _require_rank(op, first, 3)
            top, left, bottom, right = op.spatial
            return (first[0] + top + bottom, first[1] + left + right, first[2] + sum(op.channels))
        case Slice():
            _require_rank(op, first, 3)
            if min(*op.start, *op.stop) < 0 or min(op.step) < 1:
                raise GraphError(f"slice '{op.name}': {op.start}:{op.stop}:{op.step} must have bounds from 0 and steps from 1")
            lengths = [len(range(size)[slice(a, b, s)]) for size, a, b, s in zip(first, op.start, op.stop, op.step, strict=True)]
            if min(lengths) < 1:
                raise GraphError(f"slice '{op.name}': {op.start}:{op.stop}:{op.step} of shape {first} selects nothing")
            return tuple(lengths)
        case Select():
            _require_rank(op, first, 1)
            if not op.indices or any(a >= b for a, b in zip((-1, *op.indices), (*op.indices, first[0]), strict=True)):
                raise GraphError(f"select '{op.name}': its indices must increase from 0 on and be below {first[0]}, the features there are")
            return (len(op.indices),)
        case Gather():
            if not 0 <= op.axis < len(first):
                raise GraphError(f"gather '{op.name}': its axis {op.axis} must be in 0..{len(first) - 1}")
            if not op.indices or not all(0 <= index < first[op.axis] for index in op.indices):
                raise GraphError(f"gather '{op.name}': its indices must be in 0..{first[op.axis] - 1}, and there must be one")
            return (*first[: op.axis], len(op.indices), *first[op.axis + 1 :])
        case Flatten():
            return (prod(first),)
        case Rearrange():
            if min((*op.view, *op.shape), default=0) < 1 or not prod(first) == prod(op.view) == prod(op.shape):
                raise GraphError(f"rearrange '{op.name}': view {op.view} and shape {op.shape} do not fit an input of {first}")
            if sorted(op.order) != list(range(len(op.view))) or len(op.shape) not in (1, 3):
                raise GraphError(f"rearrange '{op.name}': the order {op.order} of {op.view} is no permutation, or {op.shape} no shape")
            return op.shape
        case Upsample():
            _require_rank(op, first, 3)
            if min(op.factors) < 1:
                raise GraphError(f"upsample '{op.name}': its factors {op.factors} must be from 1")
            return (first[0] * op.factors[0], first[1] * op.factors[1], first[2])
        case Normalise():
            inside = bool(op.axes) and 0 <= op.axes[0] <= op.axes[-1] < len(first)
            if not inside or op.axes != tuple(range(op.axes[0], op.axes[-1] + 1)):
                raise GraphError(f"normalise '{op.name}': its axes {op.axes} must be adjacent ones of {first}")
            return first
        case Recurrent():
            _require_rank(op, first, 3)
            rows, units = graph.weight_shape(op.weight)
            if first[2] != rows:
                raise GraphError(f"{op.kind} '{op.name}': {first[2]} pre-activations a step, but its weight is for {rows}")
            return (*first[:2], units) if op.sequence else (units,)
        case Activation() | Elementwise() | Softmax():
            return first
    raise GraphError(f"op '{op.name}' has no shape rule for kind '{op.kind}'")


def _broadcast(op: Op, inputs: list[Shape]) -> Shape:
    """The shape of two values of which one may have one channel or one pixel where the other has more."""
    a, b = inputs
    whole = tuple(map(max, a, b))
    fits = len(a) == len(b) and all(s[-1] in (1, whole[-1]) and s[:-1] in (whole[:-1], (1,) * (len(s) - 1)) for s in inputs)
    if not fits:
        raise GraphError(f"{op.kind} '{op.name}': shapes {a} and {b} do not fit: one may have one channel or one pixel, no more")
    return whole


def _require_rank(op: Op, shape: Shape, rank: int) -> None:
    if len(shape) != rank:
        form = "(height, width, channels)" if rank == 3 else "(features,)"
        raise GraphError(f"{op.kind} '{op.name}' needs an input of shape {form}, got {shape}")


def _window_output(op: Op, shape: Shape, kernel: Pair, stride: Pair, padding: Padding) -> Pair:
    top, left, bottom, right = padding
    height, width = shape[0] + top + bottom, shape[1] + left + right
    if min(*kernel, *stride) < 1 or min(padding) < 0 or height < kernel[0] or width < kernel[1]:
        raise GraphError(f"{op.kind} '{op.name}': kernel {kernel}, stride {stride}, padding {padding} do not fit an input of {shape}")
    return (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1
