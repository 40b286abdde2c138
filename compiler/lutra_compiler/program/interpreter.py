"""Runs a Program in NumPy integers, written from SPEC.md: the reference for the C runtime.

Arrays of int32 wrap where C computes in uint32, so a corrupted table gives the same bytes here and there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutra_compiler.errors import DataError
from lutra_compiler.program.kernels import FUNCTIONS, STEPS_CHANNELS, STEPS_PIXELS
from lutra_compiler.program.program import Call, Program, Storage
from lutra_compiler.program.tables import copy_places, decoded_indices, layer_weights, tables_of

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Fields = Mapping[str, int]

_CHUNK = 128  # samples at once, to bound memory


@dataclass(frozen=True)
class Run:
    """Results: `outputs`, int8 [samples, *shape] each; with a trace also `layers`, the same of every call's output buffer.

    Channels that the parts of a concat have not written yet are zero in a trace.
    """

    outputs: tuple[Int8, ...]
    layers: tuple[Int8, ...]


def interpret(program: Program, inputs: Sequence[Int8], trace: bool = False) -> Run:
    """Run int8 `inputs` [samples, *shape], one array an input of the program. Raises DataError if they do not fit."""
    samples = _check_inputs(program, inputs)
    chunks = [
        _interpret(program, [array[start : start + _CHUNK] for array in inputs], trace) for start in range(0, max(samples, 1), _CHUNK)
    ]
    return Run(
        tuple(np.concatenate(parts) for parts in zip(*(chunk.outputs for chunk in chunks), strict=True)),
        tuple(np.concatenate(parts) for parts in zip(*(chunk.layers for chunk in chunks), strict=True)),
    )


def _check_inputs(program: Program, inputs: Sequence[Int8]) -> int:
    if len(inputs) != len(program.inputs):
        raise DataError(f"the program has {len(program.inputs)} input(s), got {len(inputs)}")
    for port, array in zip(program.inputs, inputs, strict=True):
        if array.dtype != np.int8 or array.shape[1:] != port.shape or len(array) != len(inputs[0]):
            raise DataError(
                f"input '{port.name}' must be int8 [samples, {', '.join(map(str, port.shape))}] with as many samples as the other "
                f"inputs, got {array.dtype} {list(array.shape)}"
            )
    return len(inputs[0])


def _interpret(program: Program, inputs: Sequence[Int8], trace: bool) -> Run:
    samples = len(inputs[0])
    memory = {
        buffer.index: np.zeros((samples, buffer.size_bytes), np.int8)
        for buffer in program.buffers
        if buffer.storage is not Storage.SCRATCH
    }
    for port, array in zip(program.inputs, inputs, strict=True):
        memory[port.buffer] = array.reshape(memory[port.buffer].shape)
    layers = []
    for call in program.calls:
        _KERNELS[call.kernel](program, call, [memory[buffer] for buffer in call.inputs], memory[call.output])
        if trace:
            layers.append(memory[call.output].reshape(samples, *call.layer.output_shape).copy())
    return Run(tuple(memory[port.buffer].reshape(samples, *port.shape) for port in program.outputs), tuple(layers))


# Sections 2 to 4


def _requantize(acc: Int32, f: Fields, multipliers: npt.NDArray[np.uint16]) -> Int8:
    """Section 2: `acc` int32 [..., out]."""
    return _finish(_scaled(acc, f, multipliers), f)


def _scaled(acc: Int32, f: Fields, multipliers: npt.NDArray[np.uint16]) -> Int32:
    mantissa = (multipliers & 0x0FFF).astype(np.int32)
    shift = f["output_shift"] + (multipliers >> 12).astype(np.int32)
    rounding = np.int32(1) << (shift - 1)
    return ((acc >> f["acc_shift"]) * mantissa + rounding) >> shift


def _finish(y: Int32, f: Fields) -> Int8:
    return np.clip(y + f["output_zero_point"], f["output_min"], f["output_max"]).astype(np.int8)


def _channels(program: Program, call: Call) -> tuple[Int32, npt.NDArray[np.uint16]]:
    """Biases in units of the sum, and multipliers."""
    records = program.tables[tables_of(call)["channels"]].data.astype(np.uint16).reshape(-1, 2)
    return records[:, 0].view(np.int16).astype(np.int32) << call.fields["bias_shift"], records[:, 1]


def _convolution(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    f = call.fields
    samples, out_h, out_w, groups = len(output), f["out_h"], f["out_w"], f["groups"]
    weights = layer_weights(call, program).astype(np.int32)
    bias, multipliers = _channels(program, call)
    bottom = max(0, (out_h - 1) * f["stride_h"] + f["kernel_h"] - f["pad_top"] - f["in_h"])
    right = max(0, (out_w - 1) * f["stride_w"] + f["kernel_w"] - f["pad_left"] - f["in_w"])
    x = np.pad(
        inputs[0].reshape(samples, f["in_h"], f["in_w"], f["in_c"]),
        ((0, 0), (f["pad_top"], bottom), (f["pad_left"], right), (0, 0)),
        constant_values=f["input_zero_point"],
    ).astype(np.int32)
    acc = np.tile(bias, (samples, out_h, out_w, 1))
    of_group = [slice(g * f["in_c"] // groups, (g + 1) * f["in_c"] // groups) for g in range(groups)]
    to_group = [slice(g * f["out_c"] // groups, (g + 1) * f["out_c"] // groups) for g in range(groups)]
    for ky in range(f["kernel_h"]):
        for kx in range(f["kernel_w"]):
            tap = x[:, ky :: f["stride_h"], kx :: f["stride_w"]][:, :out_h, :out_w]
            if call.kernel == "lutra_conv2d_depthwise":
                acc += tap * weights[:, ky, kx, 0]
            else:
                for source, result in zip(of_group, to_group, strict=True):
                    acc[..., result] += tap[..., source] @ weights[result, ky, kx].T
    y = _requantize(acc, f, multipliers)
    pool_h, pool_w = f["pool_h"], f["pool_w"]
    rows, columns = out_h // pool_h, out_w // pool_w
    windows = y[:, : rows * pool_h, : columns * pool_w].reshape(samples, rows, pool_h, columns, pool_w, f["out_c"])
    output[:] = windows.max(axis=(2, 4)).reshape(output.shape)


def _linear(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    bias, multipliers = _channels(program, call)
    acc = inputs[0].astype(np.int32) @ layer_weights(call, program).astype(np.int32).T + bias
    output[:] = _requantize(acc, call.fields, multipliers)


def _unpack_indices(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    output[:] = decoded_indices(call, program.tables).view(np.int8)


# Section 5


def _windows(x: npt.NDArray[np.int32], f: Fields, outside: int) -> Int32:
    """int32 [samples, out_h, out_w, channels, kernel_h, kernel_w], with `outside` where a window leaves the image."""
    bottom = max(0, (f["out_h"] - 1) * f["stride_h"] + f["kernel_h"] - f["pad_top"] - f["in_h"])
    right = max(0, (f["out_w"] - 1) * f["stride_w"] + f["kernel_w"] - f["pad_left"] - f["in_w"])
    padded = np.pad(x, ((0, 0), (f["pad_top"], bottom), (f["pad_left"], right), (0, 0)), constant_values=outside)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (f["kernel_h"], f["kernel_w"]), axis=(1, 2))
    return windows[:, :: f["stride_h"], :: f["stride_w"]][:, : f["out_h"], : f["out_w"]]


def _image(x: Int8, f: Fields) -> Int32:
    return x.reshape(len(x), f["in_h"], f["in_w"], f["in_c"]).astype(np.int32)


def _max_pool(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    windows = _windows(_image(inputs[0], call.fields), call.fields, outside=-128)
    output[:] = windows.max(axis=(4, 5)).reshape(output.shape)


def _average_pool(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    f = call.fields
    sums = _windows(_image(inputs[0], f) - f["input_zero_point"], f, outside=0).sum(axis=(4, 5), dtype=np.int32)
    inside = np.ones((1, f["in_h"], f["in_w"], 1), np.int32)
    counts = _windows(inside, f, outside=0).sum(axis=(4, 5))
    multipliers = program.tables[call.tables[0]].data.astype(np.int32)
    multiplier = multipliers[0] if f["count_include_pad"] else multipliers[counts - 1]
    output[:] = _finish(_scale(sums * multiplier, f), f).reshape(output.shape)


def _scale(products: Int32, f: Fields) -> Int32:
    return (products + (np.int32(1) << np.int32(f["shift"] - 1))) >> f["shift"]


def _add(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    f = call.fields
    a, b = (x.astype(np.int32) for x in inputs)
    products = (a - f["zero_point_a"]) * f["multiplier_a"] + (b - f["zero_point_b"]) * f["multiplier_b"]
    output[:] = _finish(_scale(products, f), f)


def _lookup(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    table = program.tables[call.tables[0]].data.astype(np.int8)
    output[:] = table[inputs[0].astype(np.int32) + 128]


def _binary(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    f = call.fields
    pixels, channels = f["pixels_low"] + 65536 * f["pixels_high"], f["channels"]
    a, b = (
        x.reshape(len(x), pixels if f[f"steps_{name}"] & STEPS_PIXELS else 1, channels if f[f"steps_{name}"] & STEPS_CHANNELS else 1)
        .astype(np.int32) - f[f"zero_point_{name}"]
        for name, x in zip("ab", inputs, strict=True)
    )  # fmt: skip
    a, other = a * f["multiplier_a"], b * f["multiplier_b"]
    match FUNCTIONS[f["function"]]:
        case "multiply":
            result = a * b
        case "add":
            result = a + other
        case "minimum":
            result = np.minimum(a, other)
        case _:
            result = np.maximum(a, other)
    output[:] = _finish(_scale(result, f), f).reshape(output.shape)


def _copy(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    output[:, copy_places(call.fields, "out").ravel()] = inputs[0].reshape(len(output), -1)[:, copy_places(call.fields, "in").ravel()]


def _rescale(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    f = call.fields
    y = _finish(_scale((inputs[0].astype(np.int32) - f["input_zero_point"]) * f["multiplier"], f), f)
    pixels = f["pixels_low"] + 65536 * f["pixels_high"]
    result = output.reshape(len(output), pixels, f["output_stride"])
    result[:, :, f["output_offset"] : f["output_offset"] + f["channels"]] = y.reshape(len(output), pixels, f["channels"])


def _slice_pad(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    f = call.fields
    image = inputs[0].reshape(len(output), f["in_h"], f["in_w"], f["in_c"])
    y = output.reshape(len(output), f["out_h"], f["out_w"], f["out_c"])
    source = [slice(f[f"start_{a}"], f[f"start_{a}"] + f[f"count_{a}"] * f[f"step_{a}"], f[f"step_{a}"]) for a in "hwc"]
    result = [slice(f[f"pad_{a}"], f[f"pad_{a}"] + f[f"count_{a}"]) for a in "hwc"]
    y[:] = f["zero_point"]
    y[:, *result] = image[:, *source]


def _select(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    mask = np.unpackbits(program.tables[call.tables[0]].data.view(np.uint8), count=call.fields["in_c"], bitorder="little")
    chosen = np.flatnonzero(mask)[: call.fields["out_c"]]
    output[:] = 0
    output[:, : len(chosen)] = inputs[0].reshape(len(output), -1)[:, chosen]


def _normalise(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    f = call.fields
    n = f["count"]
    x = inputs[0].reshape(len(output), f["outer"], n, f["inner"]).astype(np.int64)
    sums, squares = x.sum(axis=2, keepdims=True), np.square(x).sum(axis=2, keepdims=True)
    spread = 256 * (n * squares - np.square(sums)) + f["epsilon_low"] + (f["epsilon_mid"] << 16) + (f["epsilon_high"] << 32)
    halvings = np.zeros_like(spread)
    constant, spread = spread == 0, np.maximum(spread, 1)
    while (large := spread >= 1 << 32).any():
        spread, halvings = np.where(large, spread >> 2, spread), halvings + large
    while (small := spread < 1 << 30).any():
        spread, halvings = np.where(small, spread << 2, spread), halvings - small
    root = np.floor(np.sqrt(spread.astype(np.float64))).astype(np.int64)  # exact: below 2^53
    multiplier = ((1 << 31) + (root >> 1)) // root * f["gain"] + (1 << 14) >> 15
    shift = 12 + halvings + f["gain_shift"] - f["value_shift"]
    multiplier = np.where(constant, 0, multiplier >> np.clip(shift - 30, 0, 31))
    shift = np.minimum(shift, 30)
    values = n * x - sums + ((1 << f["value_shift"]) >> 1) >> f["value_shift"]
    y = values * multiplier + (1 << (shift - 1)) >> shift
    output[:] = _finish(y.astype(np.int32), f).reshape(output.shape)


def _softmax(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
    x = inputs[0].reshape(len(output), call.fields["pixels"], call.fields["channels"]).astype(np.int32)
    e = program.tables[call.tables[0]].data.astype(np.int64)[x.max(axis=2, keepdims=True) - x]
    total = np.maximum(e.sum(axis=2, keepdims=True), 1)
    y = np.minimum((e * 256 + total // 2) // total - 128, 127)
    output[:] = y.astype(np.int8).reshape(output.shape)


# Section 7


def _recurrent(step: "Callable[[Int32, Int32, Int32, Int32], tuple[Int32, Int32]]") -> "Callable[..., None]":
    """A kernel that computes the state and the hidden state of each step by `step`, from x, r, the state before and the tangents."""

    def kernel(program: Program, call: Call, inputs: Sequence[Int8], output: Int8) -> None:
        f = call.fields
        samples, units = len(output), f["in_c"]
        data = {name: program.tables[index].data for name, index in tables_of(call).items()}
        weights, (bias, multipliers) = layer_weights(call, program).astype(np.int32), _channels(program, call)
        table = data["tangents"].astype(np.int32) & 0x7FFF
        x = (inputs[0].reshape(samples, f["steps"], f["out_c"]).astype(np.int32) - f["input_zero_point"]) * f["input_multiplier"]
        x = x + (np.int32(1) << np.int32(f["input_shift"] - 1)) >> f["input_shift"]
        states = data["initial"].astype(np.uint16).view(np.int16).astype(np.int32)
        states = np.broadcast_to(states, 2 * units) if len(states) == 1 else states
        state, hidden = (np.tile(part, (samples, 1)) for part in (states[-units:], _octets(states[:units] + 128 >> 8)))
        result = output.reshape(samples, -1, units)
        for t in range(f["steps"])[:: -1 if f["reverse"] else 1]:
            r = np.clip(_scaled(hidden @ weights.T + bias, f, multipliers), 1 - (1 << 18), (1 << 18) - 1)
            state, hidden = step(x[:, t], r, state, table)
            hidden = _octets(hidden)
            result[:, t if f["sequence"] else 0] = hidden

    return kernel


def _lstm_step(x: Int32, r: Int32, c: Int32, table: Int32) -> tuple[Int32, Int32]:
    i, f, g, o = np.split(x + r, 4, axis=1)
    enter, forget, new, out = _sigmoid(i, table), _sigmoid(f, table), _tanh(2 * g, table), _sigmoid(o, table)
    c = np.clip(forget * c + (enter * new >> 4) + (1 << 14) >> 15, -32768, 32767)
    return c, out * _tanh(4 * c, table) + (1 << 22) >> 23


def _gru_step(x: Int32, r: Int32, h: Int32, table: Int32) -> tuple[Int32, Int32]:
    (x_s, x_z, x_n), (r_s, r_z, r_n) = np.split(x, 3, axis=1), np.split(r, 3, axis=1)
    s, z = _sigmoid(x_s + r_s, table), _sigmoid(x_z + r_z, table)
    n = _tanh(2 * (x_n + ((s >> 3) * r_n + (1 << 11) >> 12)), table)
    h = z * h + (32768 - z) * n + (1 << 14) >> 15
    return h, h + 128 >> 8


def _tanh(x: Int32, table: Int32) -> Int32:
    """In units of 2^-15, of `x` in units of 2^-13."""
    size = np.minimum(np.abs(x), 65535)
    low, high = table[size >> 9], table[(size >> 9) + 1]
    y: Int32 = np.sign(x) * (low + ((high - low) * (size & 511) + 256 >> 9))
    return y


def _sigmoid(x: Int32, table: Int32) -> Int32:
    """In units of 2^-15, of `x` in units of 2^-12: (1 + tanh(x / 2)) / 2."""
    return 32768 + _tanh(x, table) >> 1


def _octets(x: Int32) -> Int32:
    return np.clip(x, -128, 127)


_KERNELS: Mapping[str, Callable[[Program, Call, Sequence[Int8], Int8], None]] = {
    "lutra_conv2d_lut": _convolution,
    "lutra_conv2d_lut8": _convolution,
    "lutra_conv2d_decode": _convolution,
    "lutra_conv2d_dense": _convolution,
    "lutra_conv2d_depthwise": _convolution,
    "lutra_linear_lut": _linear,
    "lutra_linear_pairs": _linear,
    "lutra_linear_decode": _linear,
    "lutra_linear_dense": _linear,
    "lutra_max_pool": _max_pool,
    "lutra_average_pool": _average_pool,
    "lutra_add_int8": _add,
    "lutra_lookup_int8": _lookup,
    "lutra_binary_int8": _binary,
    "lutra_copy_int8": _copy,
    "lutra_rescale_int8": _rescale,
    "lutra_slice_pad_int8": _slice_pad,
    "lutra_select_int8": _select,
    "lutra_normalise_int8": _normalise,
    "lutra_softmax_int8": _softmax,
    **{f"lutra_lstm_{form}": _recurrent(_lstm_step) for form in ("lut", "pairs", "decode", "dense")},
    **{f"lutra_gru_{form}": _recurrent(_gru_step) for form in ("lut", "pairs", "decode", "dense")},
    "lutra_unpack_indices": _unpack_indices,
}
