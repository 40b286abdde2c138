"""Every operator of a Graph in float64 NumPy, straight from its definition, and the bounds within which integers stay of it."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.functions import evaluate
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    Binary,
    Clamp,
    Concat,
    Conv2d,
    Elementwise,
    Flatten,
    Gather,
    Gru,
    Linear,
    MaxPool,
    Normalise,
    Op,
    Pad,
    Rearrange,
    Recurrent,
    Select,
    Slice,
    Softmax,
    Upsample,
)
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.program import Call, Program

Array = npt.NDArray[np.float64]


def float_layer(graph: Graph, op: Op, inputs: Sequence[Array]) -> Array:
    """The output [samples, *shape] of `op` from its inputs."""
    x = inputs[0]
    match op:
        case Conv2d():
            weight = graph.weight(op.weight).astype(np.float64)
            windows = _windows(x, weight.shape[1:3], op.stride, op.padding, 0.0)
            parts = zip(np.split(windows, op.groups, axis=3), np.split(weight, op.groups), strict=True)
            y = np.concatenate([np.einsum("nijcyx,oyxc->nijo", part, w, optimize=True) for part, w in parts], axis=-1)
            return _clamp(y + (graph.parameters[op.bias] if op.bias else 0), op.activation)
        case Linear():
            y = x @ graph.weight(op.weight).astype(np.float64).T
            return _clamp(y + (graph.parameters[op.bias] if op.bias else 0), op.activation)
        case MaxPool():
            return _windows(x, op.kernel, op.stride, op.padding, -np.inf).max(axis=(4, 5))
        case AveragePool():
            sums = _windows(x, op.kernel, op.stride, op.padding, 0.0).sum(axis=(4, 5))
            inside = _windows(np.ones((1, *x.shape[1:3], 1)), op.kernel, op.stride, op.padding, float(op.count_include_pad))
            return sums / inside.sum(axis=(4, 5))
        case Activation():
            return _clamp(x, op.clamp)
        case Add():
            return _clamp(x + inputs[1], op.activation)
        case Elementwise():
            return evaluate(op.steps, x)
        case Binary():
            return _clamp(getattr(np, op.function)(x, inputs[1]), op.activation)
        case Concat():
            return np.concatenate(inputs, axis=op.axis)
        case Pad():
            top, left, bottom, right = op.spatial
            return np.pad(x, ((0, 0), (top, bottom), (left, right), op.channels), constant_values=op.value)
        case Slice():
            return x[:, *(slice(*bounds) for bounds in zip(op.start, op.stop, op.step, strict=True))]
        case Select():
            return x[:, list(op.indices)]
        case Gather():
            return np.take(x, op.indices, axis=op.axis + 1)
        case Rearrange():
            return x.reshape(len(x), *op.view).transpose(0, *(axis + 1 for axis in op.order)).reshape(len(x), *op.shape)
        case Upsample():
            return x.repeat(op.factors[0], axis=1).repeat(op.factors[1], axis=2)
        case Flatten(order="HWC"):
            return x.reshape(len(x), -1)
        case Normalise():
            axes = tuple(axis + 1 for axis in op.axes)
            return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + op.epsilon)
        case Recurrent():
            return recurrent_layer(graph, op, x)
        case Softmax():
            e = np.exp(x - x.max(axis=-1, keepdims=True))
            return e / e.sum(axis=-1, keepdims=True)
    raise NotImplementedError(op.kind)


def recurrent_layer(graph: Graph, op: Recurrent, x: Array, met: Array | None = None) -> Array:
    """Hidden states, rounded to their int8 scale only where the weight meets them; or there `met`, those of all steps in int8."""
    weight = graph.weight(op.weight).astype(np.float64)
    units = weight.shape[1]
    initial = graph.parameters[op.initial].astype(np.float64) if op.initial else np.zeros((op.states, units))
    steps = x.reshape(len(x), -1, x.shape[-1])
    state, hidden = (np.tile(part, (len(x), 1)) for part in (initial[-1], initial[0]))
    states = np.zeros((len(x), steps.shape[1], units))
    order = range(steps.shape[1])[:: -1 if op.reverse else 1]
    for t in order:
        r = np.clip(np.rint(hidden * 128), -128, 127) / 128 @ weight.T + (graph.parameters[op.bias] if op.bias else 0)
        if isinstance(op, Gru):
            (x_s, x_z, x_n), (r_s, r_z, r_n) = np.split(steps[:, t], 3, axis=1), np.split(r, 3, axis=1)
            z = _sigmoid(x_z + r_z)
            state = (1 - z) * np.tanh(x_n + _sigmoid(x_s + r_s) * r_n) + z * state
            hidden = state
        else:
            i, f, g, o = np.split(steps[:, t] + r, 4, axis=1)
            state = _sigmoid(f) * state + _sigmoid(i) * np.tanh(g)
            hidden = _sigmoid(o) * np.tanh(state)
        states[:, t] = hidden
        hidden = hidden if met is None else met.reshape(states.shape)[:, t]
    return states.reshape(*x.shape[:-1], units) if op.sequence else states[:, order[-1]]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def layers_of(graph: Graph, program: Program, seed: int) -> Iterator[tuple[Call, Array, Array]]:
    """`layers_on` random inputs."""
    rng = np.random.default_rng(seed)
    return layers_on(graph, program, [rng.integers(-128, 128, (8, *port.shape), np.int8) for port in program.inputs])


def layers_on(graph: Graph, program: Program, inputs: Sequence[npt.NDArray[np.int8]]) -> Iterator[tuple[Call, Array, Array]]:
    """Every call that computes a value, its integer output, and what its float layers make of the same integer inputs, in output steps."""
    integers = {port.name: array.astype(np.float64) for port, array in zip(program.inputs, inputs, strict=True)}
    for call, output in zip(program.calls, interpret(program, inputs, trace=True).layers, strict=True):
        integers[call.layer.output_value] = output.astype(np.float64)
    by_output = {op.output: op for op in graph.ops}

    def real(value: str) -> Array:
        if value not in integers:  # inside a fused call, or flattened
            return computed(by_output[value])
        quantization = graph.quantization[value]
        return quantization.scale * (integers[value] - quantization.zero_point)

    def computed(op: Op) -> Array:
        return float_layer(graph, op, [real(value) for value in op.inputs])

    for call in program.calls:
        value = call.layer.output_value
        if call.kernel == "lutra_unpack_indices":
            continue
        quantization = graph.quantization[value]
        steps = computed(by_output[value]) / quantization.scale + quantization.zero_point
        yield call, integers[value], np.clip(steps, -128, 127)


def bound_of(call: Call) -> float:
    """How far a call's output may be from its float layer, in output steps: half a step of rounding, a few hundredths for multipliers
    of 16 bits; what only moves numbers is exact but for the value around a padded image; what is normalised loses up to a quarter more
    where many values are a few steps apart; layers with weights also round their bias and sum (3/8 at most) and have multipliers of 12
    bits."""
    if call.kernel in ("lutra_max_pool", "lutra_slice_pad_int8", "lutra_select_int8", "lutra_copy_int8"):
        return 0.5 if call.layer.kind == "pad" else 0.0
    if call.kernel == "lutra_normalise_int8":
        return 0.75
    return 1.0 if "acc_shift" in call.fields else 0.55


def _clamp(x: Array, clamp: Clamp | None) -> Array:
    if clamp is None:
        return x
    return np.clip(x, -np.inf if clamp.minimum is None else clamp.minimum, np.inf if clamp.maximum is None else clamp.maximum)


def _windows(x: Array, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], outside: float) -> Array:
    """[samples, out_h, out_w, channels, kernel_h, kernel_w]"""
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]
