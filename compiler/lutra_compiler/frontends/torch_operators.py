"""ATen operators beyond layers: what OperatorBuilder makes of each. torch_export.py joins this table with its own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lutra_compiler.errors import ModelError
from lutra_compiler.frontends import functions
from lutra_compiler.frontends.builder import Unbatched, Unsupported
from lutra_compiler.frontends.functions import Steps
from lutra_compiler.frontends.operators import Direction, OperatorBuilder
from lutra_compiler.ir.graph import FloatArray
from lutra_compiler.ir.ops import Gru, Lstm, Pair, Recurrent

if TYPE_CHECKING:
    from lutra_compiler.frontends.torch_export import _Call as Call
else:
    Call = Any

Result = str | list[str] | list[Any]
Handler = Callable[[OperatorBuilder, Call], Result]

_SELU = (1.6732632423543772, 1.0507009873554805)


# Recurrent layers


def _recurrent(kind: type[Recurrent]) -> Handler:
    """Hidden states, the last ones, and of an LSTM what stands for its cells, which a Graph does not have."""

    def handler(b: OperatorBuilder, call: Call) -> Result:
        if call.get("batch_sizes") is not None:
            raise Unsupported("it takes a packed sequence", "give it a tensor [1, steps, features]")
        if call["train"] and call["dropout"]:
            raise Unsupported("its dropout is in training mode", "export in evaluation mode: module.eval()")
        layers, count, per = call["num_layers"], 1 + call["bidirectional"], 4 if call["has_biases"] else 2
        parameters = [_float32(call, found) for found in call["params"]]
        if len(parameters) != layers * count * per:
            raise Unsupported("it projects its hidden states (proj_size)", "leave proj_size out")
        given = call["hx"] if kind is Lstm else [call["hx"]]
        initial = np.stack([_float32(call, found) for found in given])  # [states, layers * count, batch, units]
        x = call.value("input")
        x = x if call["batch_first"] else b.transpose(call.name, x, (1, 0, 2))
        if b.source_shape(x)[0] != 1 or isinstance(x, Unbatched):
            raise Unsupported(f"its batch is {initial.shape[2]}", "run one sequence at a time, the batch first: batch_first=True")
        every = []
        for layer in range(layers):
            directions = []
            for index in range(layer * count, (layer + 1) * count):
                weight, recurrent, *biases = parameters[index * per : (index + 1) * per]
                bias, recurrent_bias = biases or (None, None)
                directions.append(Direction(weight, recurrent, bias, recurrent_bias, initial[:, index, 0], index % count == 1))
            name = call.name if layers == 1 else f"{call.name}.{layer}"
            x, last = b.recurrent(name, kind, x, directions)
            every += last
        sequence = x if call["batch_first"] else b.transpose(call.name, x, (1, 0, 2))
        cells = Unsupported("its cell state is used", "use its hidden states only")
        return [sequence, b.stacked(call.name, every), cells]

    return handler


def _float32(call: Call, found: object) -> FloatArray:
    """A constant tensor."""
    if not isinstance(found, Tensor):
        raise Unsupported("its first state is computed", "begin with zeros or with constants")
    if found.dtype != torch.float32:
        raise ModelError(f"layer '{call.name}': a parameter is {found.dtype}, not torch.float32; convert the module with .float()")
    return found.detach().numpy(force=True)


# Functions of one value


def _function(steps: Callable[[Call], Steps]) -> Handler:
    return lambda b, call: b.elementwise(call.name, call.value("self"), steps(call))


def _number(call: Call, argument: str) -> float:
    found = call.number(argument)
    if found is None:
        raise Unsupported(f"its '{argument}' is missing", "give it a number")
    return found


def _celu(call: Call) -> Steps:
    alpha = _number(call, "alpha")
    if alpha == 0:
        raise ModelError(f"'{call.name}': its alpha is 0")
    return functions.elu(alpha, input_scale=1 / alpha)


# Arithmetic


def _arithmetic(function: str, alpha: bool = False) -> Handler:
    """function(self, other); with `alpha` a factor of other, or of self where that is the constant."""

    def handler(b: OperatorBuilder, call: Call) -> str:
        if call.get("rounding_mode"):
            raise Unsupported(f"its rounding mode is {call['rounding_mode']}", "divide without rounding")
        factor = 1.0 if not alpha or call.get("alpha") is None else float(call["alpha"])
        values = [argument for argument in ("self", "other") if isinstance(call[argument], str)]
        if len(values) == 2:
            if factor != 1:
                scaled = b.arithmetic(call.name, "multiply", call.value("other"), np.array(factor, np.float32))
                return b.add(call.name, call["self"], scaled) if function == "add" else b.binary(call.name, function, call["self"], scaled)
            if function == "add":
                return b.add(call.name, call["self"], call["other"])
            return b.binary(call.name, function, call["self"], call["other"])
        reverse = values == ["other"]
        constant = _constant(call, "self" if reverse else "other")
        x = call.value(values[0]) if values else call.value("self")
        if factor != 1:
            if reverse:
                x = b.arithmetic(call.name, "multiply", x, np.array(factor, np.float32))
            else:
                constant = constant * np.float32(factor)
        return b.arithmetic(call.name, function, x, constant, reverse)

    return handler


def _constant(call: Call, argument: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = call[argument]
    return call.required_tensor(argument) if isinstance(found, Tensor) and found.dtype == torch.float32 else np.asarray(found, np.float32)


def _reversed_subtraction(b: OperatorBuilder, call: Call) -> Result:
    """other - alpha * self."""
    swapped = {**call.arguments, "self": call["other"], "other": call["self"]}
    return _arithmetic("subtract", alpha=True)(b, replace(call, arguments=swapped))


def _power(b: OperatorBuilder, call: Call) -> str:
    if isinstance(call["self"], str) and isinstance(call["exponent"], str):
        raise Unsupported("its base and its exponent are computed", "use a constant exponent")
    reverse = not isinstance(call["self"], str)
    constant = _constant(call, "self" if reverse else "exponent")
    return b.arithmetic(call.name, "power", call.value("exponent" if reverse else "self"), constant, reverse)


def _comparison(kind: str) -> Handler:
    def handler(b: OperatorBuilder, call: Call) -> str:
        a, other = (found if isinstance(found := call[name], str) else _constant(call, name) for name in ("self", "other"))
        return b.compare(call.name, kind, a, other)

    return handler


def _where(b: OperatorBuilder, call: Call) -> str:
    a, other = (found if isinstance(found := call[name], str) else _constant(call, name) for name in ("self", "other"))
    return b.where(call.name, call["condition"] if isinstance(call["condition"], str) else None, a, other)


# Moves


def _reshape(b: OperatorBuilder, call: Call) -> str:
    return b.reshape(call.name, call.value("self"), call.shape)


def _permute(b: OperatorBuilder, call: Call) -> str:
    return b.transpose(call.name, call.value("self"), [axis % len(call["dims"]) for axis in call["dims"]])


def _transpose(b: OperatorBuilder, call: Call) -> str:
    order = list(range(len(call.shape)))
    first, second = call["dim0"] % len(order), call["dim1"] % len(order)
    order[first], order[second] = second, first
    return b.transpose(call.name, call.value("self"), order)


def _slice(b: OperatorBuilder, call: Call) -> str:
    return b.slice(call.name, call.value("self"), {call["dim"]: slice(call["start"], call["end"], call["step"])})


def _select(b: OperatorBuilder, call: Call) -> str:
    axis = call["dim"] % len(b.source_shape(call.value("self")))
    return b.reshape(call.name, b.gather(call.name, call.value("self"), axis, [call["index"]]), call.shape)


def _index_select(b: OperatorBuilder, call: Call) -> str:
    indices = call["index"]
    if not isinstance(indices, Tensor):
        raise Unsupported("its indices are computed", "use constant indices")
    return b.gather(call.name, call.value("self"), call["dim"], indices.tolist())


def _split(b: OperatorBuilder, call: Call) -> list[str]:
    axis = call["dim"] % len(shape := b.source_shape(call.value("self")))
    size = call.get("split_size") or call.get("split_sizes")
    if isinstance(size, int):
        size = [min(size, shape[axis] - start) for start in range(0, shape[axis], size)]
    return b.split(call.name, call.value("self"), axis, size)


def _chunk(b: OperatorBuilder, call: Call) -> list[str]:
    axis = call["dim"] % len(shape := b.source_shape(call.value("self")))
    size = -(-shape[axis] // call["chunks"])
    return b.split(call.name, call.value("self"), axis, [min(size, shape[axis] - start) for start in range(0, shape[axis], size)])


def _pad(b: OperatorBuilder, call: Call) -> str:
    mode = call.get("mode") or "constant"
    numbers = call["pad"]  # pairs, last axis first
    rank = len(b.source_shape(call.value("self")))
    pairs = [(0, 0)] * (rank - len(numbers) // 2) + list(zip(numbers[-2::-2], numbers[::-2], strict=True))
    return b.pad(call.name, call.value("self"), pairs, call.number("value") or 0.0 if call.get("value") is not None else 0.0, mode)


def _mode_pad(mode: str) -> Handler:
    def handler(b: OperatorBuilder, call: Call) -> str:
        numbers = call["padding"]
        pairs = [(0, 0)] * (len(call.shape) - len(numbers) // 2) + list(zip(numbers[-2::-2], numbers[::-2], strict=True))
        return b.pad(call.name, call.value("self"), pairs, 0.0, mode)

    return handler


def _flip(b: OperatorBuilder, call: Call) -> str:
    x = call.value("self")
    for axis in call["dims"]:
        x = b.gather(call.name, x, axis, range(b.source_shape(x)[axis])[::-1])
    return x


def _roll(b: OperatorBuilder, call: Call) -> str:
    x = call.value("self")
    if not call["dims"]:
        raise Unsupported("it rolls all axes as one", "name its axes")
    for shift, axis in zip(call["shifts"], call["dims"], strict=True):
        length = b.source_shape(x)[axis]
        x = b.gather(call.name, x, axis, np.roll(np.arange(length), shift).tolist())
    return x


def _upsample(b: OperatorBuilder, call: Call) -> str:
    """Nearest neighbours, as torch rounds them."""
    sizes, lengths = b.source_shape(call.value(next(iter(call.arguments))))[2:], call.shape[2:]
    scales = call.get("scale_factors") or ([call.get("scales_h"), call.get("scales_w")] if len(sizes) == 2 else [call.get("scales")])
    places = []
    for size, length, scale in zip(sizes, lengths, scales or [None] * len(sizes), strict=True):
        step = np.float32(1 / scale) if isinstance(scale, (int, float)) else np.float32(size / length)
        places.append(np.minimum(np.floor(np.arange(length, dtype=np.float32) * step), size - 1).astype(int).tolist())
    return b.upsample(call.name, call.value(next(iter(call.arguments))), *([[0], *places] if len(sizes) == 1 else places))


def _pixel_shuffle(b: OperatorBuilder, call: Call) -> str:
    return b.depth_to_space(call.name, call.value("self"), call["upscale_factor"], columns_first=True)


def _pixel_unshuffle(b: OperatorBuilder, call: Call) -> str:
    return b.space_to_depth(call.name, call.value("self"), call["downscale_factor"], columns_first=True)


def _channel_shuffle(b: OperatorBuilder, call: Call) -> str:
    shape = b.source_shape(x := call.value("self"))
    parts = b.reshape(call.name, x, (1, call["groups"], shape[1] // call["groups"], *shape[2:]))
    order = [0, 2, 1, *range(3, len(shape) + 1)]
    return b.reshape(call.name, b.transpose(call.name, parts, order), shape)


# Reductions


def _reduction(kind: str) -> Handler:
    def handler(b: OperatorBuilder, call: Call) -> str:
        axes = call.get("dim")
        axes = [] if axes is None else [axes] if isinstance(axes, int) else axes
        return b.reduce(call.name, kind, call.value("self"), axes, bool(call.get("keepdim")))

    return handler


# Layers


def _pair(call: Call, argument: str, missing: int = 1) -> Pair:
    numbers = call[argument]
    numbers = [numbers] if isinstance(numbers, int) else list(numbers)
    return (missing, int(numbers[0])) if len(numbers) == 1 and call["weight"].ndim == 3 else (int(numbers[0]), int(numbers[-1]))


def _convolution(b: OperatorBuilder, call: Call) -> str:
    weight, padding = call.required_tensor("weight"), call["padding"]
    dilation = _pair(call, "dilation")
    kernel = (1, *weight.shape[2:]) if weight.ndim == 3 else weight.shape[2:]
    if isinstance(padding, str):
        totals = [(k - 1) * d if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        spread = (totals[0] // 2, totals[1] // 2, totals[0] - totals[0] // 2, totals[1] - totals[1] // 2)
    else:
        pads = _pair(call, "padding", 0)
        spread = (*pads, *pads)
    return b.convolution(
        call.name, call.value("input"), weight, call.tensor("bias"), _pair(call, "stride"), spread, call["groups"], dilation
    )


def _transposed_convolution(b: OperatorBuilder, call: Call) -> str:
    weight = call.required_tensor("weight")
    if _pair(call, "dilation") != (1, 1):
        raise Unsupported(f"its dilation is {call['dilation']}", "use kernels without dilation")
    crop, extra = _pair(call, "padding", 0), _pair(call, "output_padding", 0)
    return b.transposed_convolution(
        call.name, call.value("input"), weight, call.tensor("bias"), _pair(call, "stride"), (*crop, *crop), extra, call["groups"]
    )


def _prelu(b: OperatorBuilder, call: Call) -> str:
    shape, slope = b.source_shape(call.value("self")), call.required_tensor("weight")
    return b.prelu(call.name, call.value("self"), slope.reshape(-1, *[1] * (len(shape) - 2)) if slope.size > 1 else slope)


def _first(numbers: Any) -> int:
    """Of a list, 0 of an empty one; or the number itself."""
    return int(numbers if isinstance(numbers, int) else numbers[0] if numbers else 0)


def _pool(kind: str) -> Handler:
    """Pooling of signals."""

    def handler(b: OperatorBuilder, call: Call) -> str:
        if kind == "max" and call["dilation"] not in (1, [1]):
            raise Unsupported(f"its dilation is {call['dilation']}", "use windows without dilation")
        kernel, stride, pad = (_first(call[argument]) for argument in ("kernel_size", "stride", "padding"))
        window, step, padding = (1, kernel), (1, stride or kernel), (0, pad, 0, pad)
        if kind == "max":
            return b.max_pool(call.name, call.value("self"), window, step, padding, call["ceil_mode"])
        return b.average_pool(call.name, call.value("self"), window, step, padding, call["ceil_mode"], call["count_include_pad"])

    return handler


def _adaptive_pool(kind: str) -> Handler:
    """Adaptive pooling of signals."""

    def handler(b: OperatorBuilder, call: Call) -> str:
        length, (size,) = b.source_shape(call.value("self"))[2], call["output_size"]
        if length % size:
            raise Unsupported(f"it pools {length} to {size}", "use an output size that divides the input's")
        window = (1, length // size)
        if kind == "max":
            return b.max_pool(call.name, call.value("self"), window, window, (0, 0, 0, 0), False)
        return b.average_pool(call.name, call.value("self"), window, window, (0, 0, 0, 0), False, False)

    return handler


def _layer_norm(b: OperatorBuilder, call: Call) -> str:
    axis = len(b.source_shape(call.value("input"))) - len(call["normalized_shape"])
    return b.layer_norm(call.name, call.value("input"), axis, call["eps"], call.tensor("weight"), call.tensor("bias"))


def _instance_norm(b: OperatorBuilder, call: Call) -> str:
    if not call["use_input_stats"]:
        raise Unsupported("it uses running statistics", "use a batch norm for that")
    rank = len(b.source_shape(call.value("input")))
    gain, shift = (None if (array := call.tensor(name)) is None else array.reshape(-1, *[1] * (rank - 2)) for name in ("weight", "bias"))
    return b.normalise(call.name, call.value("input"), list(range(2, rank)), call["eps"], gain, shift)


def _group_norm(b: OperatorBuilder, call: Call) -> str:
    return b.group_norm(call.name, call.value("input"), call["num_groups"], call["eps"], call.tensor("weight"), call.tensor("bias"))


OPERATORS: Mapping[str, Handler] = {
    "_unsafe_view": _reshape,
    **{
        name: _function(lambda _, function=function: functions.named(function))  # type: ignore[misc]
        for name, function in {
            "abs": "abs",
            "acos": "arccos",
            "acosh": "arccosh",
            "asin": "arcsin",
            "asinh": "arcsinh",
            "atan": "arctan",
            "atanh": "arctanh",
            "ceil": "ceil",
            "cos": "cos",
            "cosh": "cosh",
            "erf": "erf",
            "exp": "exp",
            "floor": "floor",
            "log": "log",
            "round": "round",
            "sigmoid": "sigmoid",
            "sign": "sign",
            "sin": "sin",
            "sinh": "sinh",
            "sqrt": "sqrt",
            "tan": "tan",
            "tanh": "tanh",
        }.items()
    },
    "adaptive_avg_pool1d": _adaptive_pool("mean"),
    "adaptive_max_pool1d": _adaptive_pool("max"),
    "add": _arithmetic("add", alpha=True),
    "amax": _reduction("max"),
    "amin": _reduction("min"),
    "avg_pool1d": _pool("mean"),
    "celu": _function(_celu),
    "channel_shuffle": _channel_shuffle,
    "chunk": _chunk,
    "constant_pad_nd": _pad,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv_transpose1d": _transposed_convolution,
    "conv_transpose2d": _transposed_convolution,
    "div": _arithmetic("divide"),
    "elu": _function(lambda call: functions.elu(_number(call, "alpha"), _number(call, "scale"), _number(call, "input_scale"))),
    "flip": _flip,
    "ge": _comparison("greater_equal"),
    "gelu": _function(lambda call: functions.gelu(call["approximate"] == "tanh")),
    "group_norm": _group_norm,
    "gru": _recurrent(Gru),
    "gt": _comparison("greater"),
    "hardshrink": _function(lambda call: functions.shrink(_number(call, "lambd"), 0.0)),
    "hardsigmoid": _function(lambda _: functions.hard_sigmoid(1 / 6, 0.5)),
    "hardswish": _function(lambda _: functions.gated(functions.hard_sigmoid(1 / 6, 0.5))),
    "index_select": _index_select,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "le": _comparison("less_equal"),
    "leaky_relu": _function(lambda call: functions.leaky_relu(_number(call, "negative_slope"))),
    "log_sigmoid": _function(lambda _: functions.log_sigmoid()),
    "lstm": _recurrent(Lstm),
    "lt": _comparison("less"),
    "max_pool1d": _pool("max"),
    "maximum": _arithmetic("maximum"),
    "mean": _reduction("mean"),
    "minimum": _arithmetic("minimum"),
    "mish": _function(lambda _: functions.gated(functions.named("softplus", "tanh"))),
    "mul": _arithmetic("multiply"),
    "neg": _function(lambda _: functions.constant_right("multiply", -1.0)),
    "pad": _pad,
    "permute": _permute,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "pow": _power,
    "prelu": _prelu,
    "reciprocal": _function(lambda _: functions.power(-1.0)),
    "reflection_pad1d": _mode_pad("reflect"),
    "reflection_pad2d": _mode_pad("reflect"),
    "replication_pad1d": _mode_pad("edge"),
    "replication_pad2d": _mode_pad("edge"),
    "reshape": _reshape,
    "roll": _roll,
    "rsqrt": _function(lambda _: functions.power(-0.5)),
    "rsub": _reversed_subtraction,
    "select": _select,
    "selu": _function(lambda _: functions.elu(*_SELU)),
    "silu": _function(lambda _: functions.swish()),
    "slice": _slice,
    "softplus": _function(lambda call: functions.softplus(_number(call, "beta"))),
    "softshrink": _function(lambda call: functions.shrink(_number(call, "lambd"), _number(call, "lambd"))),
    "split": _split,
    "split_with_sizes": _split,
    "square": _function(lambda _: functions.power(2.0)),
    "squeeze": _reshape,
    "sub": _arithmetic("subtract", alpha=True),
    "sum": _reduction("sum"),
    "threshold": _function(lambda call: functions.thresholded(_number(call, "threshold"), _number(call, "value"))),
    "transpose": _transpose,
    "unsqueeze": _reshape,
    "upsample_nearest1d": _upsample,
    "upsample_nearest2d": _upsample,
    "view": _reshape,
    "where": _where,
}
