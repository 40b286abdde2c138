"""ONNX nodes beyond layers: what OperatorBuilder makes of each. onnx_reader.py joins this table with its own."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx.helper

from lutra_compiler.errors import ModelError
from lutra_compiler.frontends import functions
from lutra_compiler.frontends.builder import Unbatched, Unsupported
from lutra_compiler.frontends.functions import Steps
from lutra_compiler.frontends.operators import MAX_INDICES, OperatorBuilder
from lutra_compiler.ir.graph import Shape
from lutra_compiler.ir.ops import Padding, Pair

if TYPE_CHECKING:
    from lutra_compiler.frontends.onnx_reader import _Node as Node
else:
    Node = Any

Array = npt.NDArray[Any]
Result = str | Array | list[str]
Handler = Callable[[OperatorBuilder, Node], Result]

MAX_LENGTH = 1 << 12  # of what is resized
_MAX_RESIZED = 1 << 17  # pixels, before and after: ONNX's evaluator takes its time for each


# Functions of one value


def _function(steps: Callable[[Node], Steps]) -> Handler:
    return lambda b, n: b.elementwise(n.name, n.value(0), steps(n))


def _gelu(n: Node) -> Steps:
    return functions.gelu(n.text("approximate", "none") == "tanh")


def _number(n: Node, attribute: str, default: float) -> float:
    return float(n.attributes.get(attribute, default))


# Arithmetic


def _arithmetic(function: str) -> Handler:
    def handler(b: OperatorBuilder, n: Node) -> str:
        if not isinstance(n.inputs[0], str):
            return b.arithmetic(n.name, function, n.value(1), n.required_weight(0), reverse=True)
        if not isinstance(n.inputs[1], str):
            return b.arithmetic(n.name, function, n.value(0), n.required_weight(1))
        return b.binary(n.name, function, n.value(0), n.value(1))

    return handler


def _several(function: str) -> Handler:
    """Of any number of inputs, constants last."""

    def handler(b: OperatorBuilder, n: Node) -> str:
        order = sorted(range(len(n.inputs)), key=lambda index: not isinstance(n.inputs[index], str))
        result = n.value(order[0])
        for index in order[1:]:
            if isinstance(n.inputs[index], str):
                result = b.add(n.name, result, n.value(index)) if function == "add" else b.binary(n.name, function, result, n.value(index))
            else:
                result = b.arithmetic(n.name, function, result, n.required_weight(index))
        return result

    return handler


def _mean(b: OperatorBuilder, n: Node) -> Result:
    return b.elementwise(n.name, str(_several("add")(b, n)), functions.constant_right("divide", float(len(n.inputs))))


def _pow(b: OperatorBuilder, n: Node) -> str:
    if isinstance(n.inputs[1], str):
        if isinstance(n.inputs[0], str):
            raise Unsupported("its base and its exponent are computed", "use a constant exponent")
        return b.arithmetic(n.name, "power", n.value(1), n.required_weight(0), reverse=True)
    return b.arithmetic(n.name, "power", n.value(0), _numbers(n, 1, "fiu").astype(np.float32))


def _comparison(kind: str) -> Handler:
    def handler(b: OperatorBuilder, n: Node) -> str:
        a, other = (found if isinstance(found, str) else n.required_weight(index) for index, found in enumerate(n.inputs))
        return b.compare(n.name, kind, a, other)

    return handler


def _where(b: OperatorBuilder, n: Node) -> str:
    choices = [found if isinstance(found, str) else n.required_weight(index) for index, found in enumerate(n.inputs) if index > 0]
    return b.where(n.name, n.inputs[0], *choices)


def _prelu(b: OperatorBuilder, n: Node) -> str:
    return b.prelu(n.name, n.value(0), n.required_weight(1))


def _numbers(n: Node, index: int, kinds: str) -> Array:
    """A constant input of one of NumPy's `kinds` of numbers."""
    found = n.required(index)
    if found.dtype.kind not in kinds:
        raise ModelError(f"node '{n.name}': its input '{n.input_names[index]}' cannot be {found.dtype}")
    return found


# Moves


def _axis(n: Node, rank: int, default: int = 0) -> int:
    axis = int(n.attributes.get("axis", default))
    if not -rank <= axis < rank:
        raise ModelError(f"node '{n.name}': its axis {axis} is beyond the {rank} axes there are")
    return axis % rank


def _gather(b: OperatorBuilder, n: Node) -> str:
    shape, indices = b.source_shape(n.value(0)), _numbers(n, 1, "i")
    axis = _axis(n, len(shape))
    if indices.size > MAX_INDICES:
        raise Unsupported(f"it has {indices.size} indices", f"take at most {MAX_INDICES}")
    if axis == 0 and not isinstance(n.inputs[0], Unbatched):
        state = indices.ndim == 0 and len(shape) == 3 and shape[1] == 1  # of a recurrent layer: [layers, batch, units]
        if state and int(indices) in (0, -1):
            return b.reshape(n.name, n.value(0), shape[1:])
        if indices.reshape(-1).tolist() not in ([0], [-1]) or indices.ndim == 0:
            raise Unsupported("it takes samples of the batch", "run one sample at a time")
        return n.value(0)
    taken = b.gather(n.name, n.value(0), axis, [int(index) for index in indices.reshape(-1)])
    return b.reshape(n.name, taken, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))


def _split(b: OperatorBuilder, n: Node) -> list[str]:
    shape = b.source_shape(n.value(0))
    axis = _axis(n, len(shape))
    sizes = n.integers(1) if n.opset >= 13 else n.attributes.get("split")
    if sizes is None:
        parts = int(n.attributes.get("num_outputs", n.outputs))
        if not 1 <= parts <= shape[axis]:
            raise ModelError(f"node '{n.name}': {parts} parts of an axis of length {shape[axis]}")
        size = -(-shape[axis] // parts)
        sizes = [size] * (parts - 1) + [shape[axis] - size * (parts - 1)]
    if len(sizes) != n.outputs:
        raise ModelError(f"node '{n.name}': {len(sizes)} parts for {n.outputs} outputs")
    return b.split(n.name, n.value(0), axis, sizes)


def _pad(b: OperatorBuilder, n: Node) -> str:
    rank = len(b.source_shape(n.value(0)))
    before_11 = n.opset < 11
    pads, axes = (n.attributes.get("pads", []), None) if before_11 else (n.integers(1) or [], n.integers(3))
    axes = list(range(rank)) if axes is None else [axis + rank if axis < 0 else axis for axis in axes]
    if len(pads) != 2 * len(axes):
        raise ModelError(f"pad '{n.name}': {len(pads)} pads for {len(axes)} axes")
    if len(set(axes)) != len(axes) or not all(0 <= axis < rank for axis in axes):
        raise ModelError(f"pad '{n.name}': axes {axes} of a tensor of rank {rank}")
    pairs = [(0, 0)] * rank
    for axis, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        pairs[axis] = (int(before), int(after))
    value = n.attributes.get("value", 0.0) if before_11 else n.scalar(2)
    return b.pad(n.name, n.value(0), pairs, value or 0.0, n.text("mode", "constant"))


def _depth_to_space(b: OperatorBuilder, n: Node) -> str:
    return b.depth_to_space(n.name, n.value(0), int(n.attributes["blocksize"]), n.text("mode", "DCR") == "CRD")


def _space_to_depth(b: OperatorBuilder, n: Node) -> str:
    return b.space_to_depth(n.name, n.value(0), int(n.attributes["blocksize"]), n.text("mode", "DCR") == "CRD")


def _resize(b: OperatorBuilder, n: Node) -> str:
    """Nearest neighbours; where rows and columns come from is what ONNX's own evaluator says, which does not know opset 10."""
    if n.opset < 11:
        return _upsample(b, n)
    if n.text("mode", "nearest") != "nearest":
        raise Unsupported(f"its mode is {n.text('mode', 'nearest')}", "resize to the nearest neighbour, or by a transposed convolution")
    shape = b.source_shape(n.value(0))
    if len(shape) not in (3, 4):
        raise Unsupported(f"it resizes an array of {len(shape)} axes", "resize an image")
    constants = [_of_one_channel(n.constant(index), shape) for index in range(1, len(n.inputs))]
    for number, constant in enumerate(constants, 1):  # sizes are the fourth input, the others factors
        if constant is not None and constant.size and constant.dtype.kind != ("i" if number == 3 else "f"):
            raise ModelError(f"'{n.name}': its input {number} is of the type {constant.dtype}; export the model again")
    shape = (1, 1, *shape[2:])  # all channels move alike
    axes = n.attributes.get("axes", range(len(shape)))
    resized = np.array([shape[axis] for axis in axes], np.float64)
    sizes = [size.reshape(-1) for size in constants if size is not None and size.size == len(axes) and size.dtype.kind in "fi"]
    lengths = [np.abs(size * (resized if size.dtype.kind == "f" else 1)) for size in sizes]
    pixels = max([math.prod(shape), *(length.prod() * math.prod(shape) / resized.prod() for length in lengths)])
    aligned = n.text("coordinate_transformation_mode", "") == "align_corners"
    if aligned and any(size.dtype.kind == "f" and (length % 1).any() for size, length in zip(sizes, lengths, strict=True)):
        raise Unsupported("it aligns corners by factors that give no whole lengths", "give it sizes instead")  # two readings of ONNX's text
    if pixels > _MAX_RESIZED or not all(length.max() <= MAX_LENGTH for length in lengths):
        raise Unsupported(f"it resizes {list(shape[2:])} to {pixels:g} pixels", f"resize to at most {_MAX_RESIZED} pixels")
    places = []
    for axis in range(2, len(shape)):
        index = np.arange(shape[axis], dtype=np.float32).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        result = n.computed([np.broadcast_to(index, shape), *constants])
        if result.ndim != len(shape) or result.shape[:2] != shape[:2] or not result.size or not np.isfinite(result).all():
            raise Unsupported(f"it resizes {list(shape)} to {list(result.shape)}", "resize the height and the width")
        places.append(np.moveaxis(result, axis, 0).reshape(result.shape[axis], -1)[:, 0].astype(int).tolist())
    return b.upsample(n.name, n.value(0), *([[0], *places] if len(shape) == 3 else places))


def _of_one_channel(sizes: Array | None, shape: Shape) -> Array | None:
    """Sizes of a result as they would be for one channel; scales and others as they are."""
    if sizes is None or sizes.dtype.kind != "i" or sizes.size != len(shape):
        return sizes
    if sizes.reshape(-1)[:2].tolist() != list(shape[:2]):
        raise Unsupported(f"it resizes {list(shape)} to {sizes.tolist()}", "resize the height and the width")
    return np.array([1, 1, *sizes.reshape(-1)[2:]], sizes.dtype)


def _upsample(b: OperatorBuilder, n: Node) -> str:
    if n.text("mode", "nearest") != "nearest":
        raise Unsupported(f"its mode is {n.text('mode', 'nearest')}", "resize to the nearest neighbour, or by a transposed convolution")
    shape, scales = b.source_shape(n.value(0)), n.weight(1) if n.opset >= 9 else n.attributes["scales"]
    factors = [float(scale) for scale in np.asarray(scales).reshape(-1)]
    if len(factors) != 4 or len(shape) != 4 or factors[:2] != [1, 1] or not all(1 <= factor <= 64 for factor in factors):
        raise Unsupported(f"it resizes {list(shape)} by {factors}", "resize the height and the width of an image, each by 1 to 64")
    places = [[int(i / f) for i in range(int(size * f))] for size, f in zip(shape[2:], factors[2:], strict=True)]
    return b.upsample(n.name, n.value(0), *places)


def _expand(b: OperatorBuilder, n: Node) -> str:
    shape, target = b.source_shape(n.value(0)), n.integers(1) or []
    if len(target) > len(shape) or any(size not in (1, have) for size, have in zip(target[::-1], shape[::-1], strict=False)):
        raise Unsupported(f"it expands {list(shape)} to {target}", "let the operator after it broadcast")
    return n.value(0)


# Reductions


def _reduction(kind: str, before: Steps = (), after: Steps = ()) -> Handler:
    """`kind` over axes of what `before` makes of the input; then `after`."""

    def handler(b: OperatorBuilder, n: Node) -> str:
        x = n.value(0)
        axes = n.integers(1) if len(n.inputs) > 1 else n.attributes.get("axes")
        x = result = b.elementwise(f"{n.name}.before", x, before) if before else x
        if axes or not n.attributes.get("noop_with_empty_axes", 0):
            result = b.reduce(n.name, kind, x, axes or [], bool(n.attributes.get("keepdims", 1)))
        return b.elementwise(n.name, result, after) if after else result

    return handler


# Layers


def _conv(b: OperatorBuilder, n: Node) -> str:
    weight, bias = n.required_weight(1), n.weight(2)
    if weight.ndim not in (3, 4) or weight.ndim != len(b.source_shape(n.value(0))):
        raise Unsupported(f"its weight has shape {list(weight.shape)}", "use convolutions of one or two dimensions")
    kernel = tuple(n.attributes.get("kernel_shape", weight.shape[2:]))
    if weight.shape[2:] != kernel:
        raise Unsupported(f"its weight has shape {list(weight.shape)}", f"use a weight for its kernel_shape {list(kernel)}")
    if bias is not None and not bias.any():
        bias = None  # exporters write zeros for a layer without one
    stride, dilation = _two(n, "strides"), _two(n, "dilations")
    reach = tuple((size - 1) * step + 1 for size, step in zip(_as_two(kernel), dilation, strict=True))
    padding = _padding(b, n, (reach[0], reach[1]), stride)
    return b.convolution(n.name, n.value(0), weight, bias, stride, padding, int(n.attributes.get("group", 1)), dilation)


def _conv_transpose(b: OperatorBuilder, n: Node) -> str:
    weight, bias = n.required_weight(1), n.weight(2)
    shape = b.source_shape(n.value(0))
    if weight.ndim not in (3, 4) or weight.ndim != len(shape):
        raise Unsupported(f"its weight has shape {list(weight.shape)}", "use convolutions of one or two dimensions")
    if _two(n, "dilations") != (1, 1):
        raise Unsupported(f"its dilations are {n.attributes['dilations']}", "use kernels without dilation")
    stride, kernel = _two(n, "strides"), _as_two(weight.shape[2:])
    extra = _as_two(n.attributes.get("output_padding", [0] * (weight.ndim - 2)), missing=0)
    auto = n.text("auto_pad", "NOTSET")
    given = n.attributes.get("output_shape")
    pads = [0] * (2 * weight.ndim - 4) if auto == "VALID" else n.attributes.get("pads", [0] * (2 * weight.ndim - 4))
    if given or auto.startswith("SAME"):
        sizes = shape[2:]
        wanted = given[-len(sizes) :] if given else [size * step for size, step in zip(sizes, stride[-len(sizes) :], strict=True)]
        steps, kernels, more = stride[-len(sizes) :], kernel[-len(sizes) :], extra[-len(sizes) :]
        totals = [
            (size - 1) * step + k + e - want for size, step, k, e, want in zip(sizes, steps, kernels, more, wanted, strict=True)
        ]
        if min(totals) < 0:
            raise Unsupported(f"its output_shape is {list(wanted)}", "use at most what the kernel reaches")
        first = [total - total // 2 if auto == "SAME_LOWER" else total // 2 for total in totals]
        if given and auto not in ("SAME_UPPER", "SAME_LOWER"):
            first = [total - total // 2 for total in totals] if auto == "NOTSET" else first
        pads = [*first, *(total - before for total, before in zip(totals, first, strict=True))]
    if len(pads) != 2 * (weight.ndim - 2) or min(pads) < 0:
        raise Unsupported(f"its pads are {pads}", "use pads from 0, two a dimension")
    crop = (*_as_two(pads[: len(pads) // 2], missing=0), *_as_two(pads[len(pads) // 2 :], missing=0))
    return b.transposed_convolution(n.name, n.value(0), weight, bias, stride, crop, extra, int(n.attributes.get("group", 1)))


def _window(n: Node) -> tuple[Pair, Pair]:
    """Kernel and stride of pooling."""
    if _two(n, "dilations") != (1, 1):
        raise Unsupported(f"its dilations are {n.attributes['dilations']}", "use windows without dilation")
    return _two(n, "kernel_shape"), _two(n, "strides")


def _max_pool(b: OperatorBuilder, n: Node) -> str:
    kernel, stride = _window(n)
    return b.max_pool(n.name, n.value(0), kernel, stride, _padding(b, n, kernel, stride), bool(n.attributes.get("ceil_mode", 0)))


def _average_pool(b: OperatorBuilder, n: Node) -> str:
    kernel, stride = _window(n)
    ceil_mode, include = bool(n.attributes.get("ceil_mode", 0)), bool(n.attributes.get("count_include_pad", 0))
    return b.average_pool(n.name, n.value(0), kernel, stride, _padding(b, n, kernel, stride), ceil_mode, include)


def _as_two(numbers: Sequence[int], missing: int = 1) -> Pair:
    """Numbers of one or two dimensions as those of two."""
    if len(numbers) not in (1, 2):
        raise Unsupported(f"it has {len(numbers)} dimensions", "use layers of one or two dimensions")
    first = missing if len(numbers) == 1 else int(numbers[0])
    return first, int(numbers[-1])


def _two(n: Node, attribute: str) -> Pair:
    numbers = n.attributes.get(attribute, [1])
    if min(numbers, default=0) < 1 or len(numbers) > 2:
        raise Unsupported(f"its {attribute} is {list(numbers)}", "use layers of one or two dimensions with numbers from 1")
    return _as_two(numbers)


def _padding(b: OperatorBuilder, n: Node, kernel: Pair, stride: Pair) -> Padding:
    """Explicit padding (top, left, bottom, right) for `pads` or `auto_pad`."""
    b.require_image(n.value(0))
    sizes = _as_two(b.source_shape(n.value(0))[2:])
    auto = n.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [max((-(-size // s) - 1) * s + k - size, 0) for size, k, s in zip(sizes, kernel, stride, strict=True)]
        small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
        first, last = (small, large) if auto == "SAME_UPPER" else (large, small)
        return first[0], first[1], last[0], last[1]
    pads = n.attributes.get("pads", [0, 0]) if auto == "NOTSET" else [0, 0]
    if len(pads) not in (2, 4) or min(pads) < 0:
        raise Unsupported(f"its pads are {pads}", "use layers of one or two dimensions with pads from 0")
    half = len(pads) // 2
    return (*_as_two(pads[:half], missing=0), *_as_two(pads[half:], missing=0))


def _instance_norm(b: OperatorBuilder, n: Node) -> str:
    rank = len(b.source_shape(n.value(0)))
    return b.normalise(
        n.name, n.value(0), list(range(2, rank)), _number(n, "epsilon", 1e-5), n.required_weight(1).reshape(1, -1, *[1] * (rank - 2)),
        n.required_weight(2).reshape(1, -1, *[1] * (rank - 2)),
    )


def _layer_norm(b: OperatorBuilder, n: Node) -> str:
    axis = _axis(n, len(b.source_shape(n.value(0))), -1)
    return b.layer_norm(n.name, n.value(0), axis, _number(n, "epsilon", 1e-5), n.weight(1), n.weight(2))


def _group_norm(b: OperatorBuilder, n: Node) -> str:
    shape = b.source_shape(n.value(0))
    groups = int(n.attributes["num_groups"])
    if groups < 1 or shape[1] % groups:
        raise ModelError(f"node '{n.name}': {shape[1]} channels in {groups} groups")
    scale, bias = n.required_weight(1), n.required_weight(2)
    if n.opset < 21:
        scale, bias = (array.repeat(shape[1] // groups) for array in (scale, bias))
    return b.group_norm(n.name, n.value(0), groups, _number(n, "epsilon", 1e-5), scale, bias)


# Quantized models


def _quantize(b: OperatorBuilder, n: Node) -> Result:
    """A value stays a float within the range of its integers: they limit it, and Lutra quantizes it anew."""
    scale, zero_point = n.required_weight(1), n.constant(2)
    kind = _type_without_zero_point(n) if zero_point is None else zero_point.dtype
    if scale.size != 1 or (zero_point is not None and zero_point.size != 1) or kind not in (np.int8, np.uint8, np.int16, np.uint16):
        raise Unsupported(f"its scale has {scale.size} numbers, its integers are {kind}", "quantize values with one scale to 8 or 16 bits")
    zero = 0 if zero_point is None else int(zero_point.reshape(-1)[0])
    limits, step = np.iinfo(kind), float(scale.reshape(-1)[0])
    return b.clamp(n.name, n.value(0), (limits.min - zero) * step, (limits.max - zero) * step)


def _type_without_zero_point(n: Node) -> np.dtype[Any]:
    """What `output_dtype` says, uint8 without."""
    code = int(n.attributes.get("output_dtype", 0))
    return onnx.helper.tensor_dtype_to_np_dtype(code) if code else np.dtype(np.uint8)


def _dequantize(_: OperatorBuilder, n: Node) -> Result:
    if isinstance(n.inputs[0], str):
        return n.value(0)
    integers, scale = _numbers(n, 0, "iu"), n.required_weight(1)
    zero_point = None if n.constant(2) is None else _numbers(n, 2, "iu")
    axis = _axis(n, max(integers.ndim, 1), 1 if integers.ndim > 1 else 0)
    if scale.size != 1 and (integers.ndim == 0 or scale.shape != (integers.shape[axis],)):
        raise Unsupported(f"its scale has shape {list(scale.shape)}", "use one scale, or one along an axis")
    if zero_point is not None and zero_point.shape != scale.shape and not zero_point.size == scale.size == 1:
        raise ModelError(f"node '{n.name}': its scale has shape {list(scale.shape)}, its zero point {list(zero_point.shape)}")
    along = [-1 if i == axis else 1 for i in range(integers.ndim)] if scale.size > 1 else []
    zero = np.zeros((), np.float32) if zero_point is None else zero_point.astype(np.float32)
    zero = zero.reshape(along if zero.size > 1 else [])
    return ((integers.astype(np.float32) - zero) * scale.reshape(along)).astype(np.float32)


def _celu(n: Node) -> Steps:
    alpha = _number(n, "alpha", 1.0)
    if alpha == 0:
        raise ModelError(f"node '{n.name}': its alpha is 0")
    return functions.elu(alpha, input_scale=1 / alpha)


_NEGATIVE = functions.constant_right("multiply", -1.0)

OPERATORS: Mapping[str, Handler] = {
    **{
        name: _function(lambda _, function=function: functions.named(function))  # type: ignore[misc]
        for name, function in {
            "Abs": "abs", "Acos": "arccos", "Acosh": "arccosh", "Asin": "arcsin", "Asinh": "arcsinh", "Atan": "arctan", "Atanh": "arctanh",
            "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Floor": "floor", "Log": "log", "Round": "round",
            "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
        }.items()
    },
    "AveragePool": _average_pool,
    "Celu": _function(_celu),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": _dequantize,
    "Div": _arithmetic("divide"),
    "Elu": _function(lambda n: functions.elu(_number(n, "alpha", 1.0))),
    "Expand": _expand,
    "Gather": _gather,
    "Gelu": _function(_gelu),
    "GroupNormalization": _group_norm,
    "Greater": _comparison("greater"),
    "GreaterOrEqual": _comparison("greater_equal"),
    "HardSigmoid": _function(lambda n: functions.hard_sigmoid(_number(n, "alpha", 0.2), _number(n, "beta", 0.5))),
    "HardSwish": _function(lambda _: functions.gated(functions.hard_sigmoid(1 / 6, 0.5))),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _function(lambda n: functions.leaky_relu(_number(n, "alpha", 0.01))),
    "Less": _comparison("less"),
    "LessOrEqual": _comparison("less_equal"),
    "Max": _several("maximum"),
    "MaxPool": _max_pool,
    "Mean": _mean,
    "Min": _several("minimum"),
    "Mish": _function(lambda _: functions.gated(functions.named("softplus", "tanh"))),
    "Mul": _arithmetic("multiply"),
    "Neg": _function(lambda _: _NEGATIVE),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _pow,
    "QuantizeLinear": _quantize,
    "Reciprocal": _function(lambda _: functions.power(-1.0)),
    "ReduceL1": _reduction("sum", functions.named("abs")),
    "ReduceLogSum": _reduction("sum", after=functions.named("log")),
    "ReduceMax": _reduction("max"),
    "ReduceMean": _reduction("mean"),
    "ReduceMin": _reduction("min"),
    "ReduceSum": _reduction("sum"),
    "ReduceSumSquare": _reduction("sum", functions.power(2.0)),
    "Resize": _resize,
    "Selu": _function(
        lambda n: functions.elu(_number(n, "alpha", 1.6732632423543772), _number(n, "gamma", 1.0507009873554805))
    ),
    "Shrink": _function(lambda n: functions.shrink(_number(n, "lambd", 0.5), _number(n, "bias", 0.0))),
    "Softplus": _function(lambda _: functions.softplus()),
    "Softsign": _function(lambda _: functions.softsign()),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sub": _arithmetic("subtract"),
    "Sum": _several("add"),
    "Swish": _function(lambda n: functions.swish(_number(n, "alpha", 1.0))),
    "ThresholdedRelu": _function(lambda n: functions.thresholded(_number(n, "alpha", 1.0))),
    "Upsample": _upsample,
    "Where": _where,
}
