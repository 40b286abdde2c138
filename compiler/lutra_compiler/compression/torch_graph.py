"""A Graph as a torch module: for training, calibration and float reference results."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lutra_compiler.compression.functions import apply, evaluate
from lutra_compiler.compression.weights import CodebookWeight, FloatWeight, ScalarWeight, WeightModule, share_codebooks
from lutra_compiler.config import CODEWORD_NORMS
from lutra_compiler.errors import GraphError
from lutra_compiler.ir.encoding import ProductQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
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
    Padding,
    Rearrange,
    Recurrent,
    Select,
    Slice,
    Softmax,
    Upsample,
)

BATCH_NORM_MOMENTUM = 0.1
_CACHED_VALUES = 1 << 18  # of a value that is worked on at a time


class TorchGraph(nn.Module):
    """Runs a Graph on batches in the source model's layout; every float parameter and codeword of it can be trained.

    Values that have a `quantization` are rounded to int8 on the way (straight-through), so the module behaves as the integer network will.
    `to_graph` writes what was trained back. Images are NCHW inside, where torch is fastest.
    """

    def __init__(self, graph: Graph, weights: "dict[str, WeightModule] | None" = None, *, learn_steps: bool = False) -> None:
        """`weights` overrides how single weights are held, by parameter name (see compression.weights).

        With `learn_steps` the scales of int8 values are trained too (learned step size, Esser 2020), but of inputs, softmax, hidden states.
        """
        super().__init__()
        self.graph = graph
        self.batch_statistics = True  # what batch norms use in training; else their running statistics
        self._rounded = _rounded_values(graph)
        self._steps = _step_keys(graph) if learn_steps else {}
        self.steps = nn.ParameterDict({key: nn.Parameter(torch.ones(())) for key in self._steps.values()})
        self._statistics = {name for op in graph.ops if isinstance(op, BatchNorm) for name in (op.mean, op.variance)}
        names = sorted({name for op in graph.ops for name in op.parameter_names})
        self._keys = {name: f"p{index}" for index, name in enumerate(names)}
        self.weights = nn.ModuleDict()
        for name, key in self._keys.items():
            if weights and name in weights:
                self.weights[key] = weights[name]
            elif name in self._statistics:
                self.register_buffer(key, torch.tensor(graph.parameters[name]))
            elif name in graph.encodings:
                self.weights[key] = weight_module(graph.encodings[name])
            else:
                self.weights[key] = FloatWeight(torch.tensor(graph.parameters[name]))
        share_codebooks(self.weights.values())

    def parameter(self, name: str) -> Tensor:
        """A parameter of the Graph as a tensor, decoded."""
        key = self._keys[name]
        tensor: Tensor = self.get_buffer(key) if name in self._statistics else self.weights[key]()
        return tensor

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Batches [n, *source shape] -> the network's output, or a tuple of them, in the source's layout."""
        values = self.run(*inputs)
        outputs = tuple(self._as_in_source(values[name]) for name in self.graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _as_in_source(self, output: Tensor) -> Tensor:
        if output.ndim != 4:
            return output
        channels, height, width = output.shape[1:]
        match self.graph.output_layout((height, width, channels)):
            case "NHWC":
                return output.permute(0, 2, 3, 1)
            case "NCL":
                return output.squeeze(2)
            case _:
                return output

    def run(self, *inputs: Tensor) -> dict[str, Tensor]:
        """All values, images as NCHW."""
        if len(inputs) != len(self.graph.inputs):
            raise GraphError(f"the network has {len(self.graph.inputs)} input(s), got {len(inputs)}")
        values: dict[str, Tensor] = {}
        for port, batch in zip(self.graph.inputs, inputs, strict=True):
            if tuple(batch.shape[1:]) != port.source_shape:
                raise GraphError(f"input '{port.name}' must be [n, {', '.join(map(str, port.source_shape))}], got {list(batch.shape)}")
            values[port.name] = self._quantize(port.name, _as_nchw(batch, port.layout))
        for op in self.graph.ops:
            values[op.output] = self._quantize(op.output, self._evaluate(op, [values[name] for name in op.inputs]))
        return values

    def _quantize(self, name: str, value: Tensor) -> Tensor:
        if name not in self._rounded:
            return value
        quantization = self.graph.quantization[name]
        if name in self._steps:
            return fake_quantize_learned(value, quantization.scale * self.steps[self._steps[name]], quantization.zero_point)
        return torch.fake_quantize_per_tensor_affine(value, quantization.scale, quantization.zero_point, -128, 127)

    def _evaluate(self, op: Op, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        match op:
            case Conv2d():
                weight, bias = self.parameter(op.weight), None if op.bias is None else self.parameter(op.bias)
                out, *kernel, channels = weight.shape
                if kernel == [1, 1]:
                    # In the channels-last layout torch 2.13 writes out of bounds in the gradient of a strided 1x1 convolution, and the
                    # strides of a permuted 1x1 weight count as that layout.
                    x, weight = x.contiguous(), weight.reshape(out, channels, 1, 1)
                else:
                    weight = weight.permute(0, 3, 1, 2).contiguous()
                x, padding = _symmetric(x, op.padding)
                return _clamp(functional.conv2d(x, weight, bias, op.stride, padding, 1, op.groups), op.activation)
            case Linear():
                bias = None if op.bias is None else self.parameter(op.bias)
                return _clamp(functional.linear(x, self.parameter(op.weight), bias), op.activation)
            case BatchNorm():
                normalised = functional.batch_norm(
                    x,
                    self.parameter(op.mean),
                    self.parameter(op.variance),
                    self.parameter(op.scale),
                    self.parameter(op.offset),
                    self.training and self.batch_statistics,
                    BATCH_NORM_MOMENTUM,
                    op.epsilon,
                )
                return _clamp(normalised, op.activation)
            case Activation():
                return _clamp(x, op.clamp)
            case MaxPool():
                top, left, bottom, right = op.padding
                padded = functional.pad(x, (left, right, top, bottom), value=-torch.inf) if any(op.padding) else x
                return functional.max_pool2d(padded, op.kernel, op.stride)
            case AveragePool():
                return _average_pool(x, op)
            case Add():
                return _clamp(x + inputs[1], op.activation)
            case Binary():
                return _clamp(apply(op.function, x, inputs[1]), op.activation)
            case Elementwise():
                return evaluate(op.steps, x)
            case Concat():
                return torch.cat(inputs, _torch_axis(x.ndim - 1 + op.axis, x.ndim))
            case Pad():
                top, left, bottom, right = op.spatial
                return functional.pad(x, (left, right, top, bottom, *op.channels), value=op.value)
            case Slice():
                h, w, c = (slice(a, b, s) for a, b, s in zip(op.start, op.stop, op.step, strict=True))
                return x[:, c, h, w]
            case Select():
                return x[:, list(op.indices)]
            case Gather():
                return x.index_select(_torch_axis(op.axis, x.ndim), torch.tensor(op.indices, device=x.device))
            case Rearrange():
                return _rearrange(x, op)
            case Upsample():
                return x.repeat_interleave(op.factors[0], 2).repeat_interleave(op.factors[1], 3)
            case Flatten():
                return (x.permute(0, 2, 3, 1) if op.order == "HWC" and x.ndim == 4 else x).flatten(1)
            case Normalise():
                variance, mean = torch.var_mean(x, tuple(_torch_axis(axis, x.ndim) for axis in op.axes), correction=0, keepdim=True)
                return (x - mean) * torch.rsqrt(variance + op.epsilon)
            case Recurrent():
                return self._recurrent(op, x)
            case Softmax():
                return functional.softmax(x, 1)
        raise GraphError(f"op '{op.name}' has no float rule for kind '{op.kind}'")

    def _recurrent(self, op: Recurrent, x: Tensor) -> Tensor:
        """The hidden states, rounded where the weight meets them, as images; or the last one."""
        weight, bias = self.parameter(op.weight), None if op.bias is None else self.parameter(op.bias)
        steps = x.flatten(2).unbind(2)
        shape = (op.states, 1, weight.shape[1])
        initial = x.new_zeros(shape) if op.initial is None else self.parameter(op.initial).reshape(shape)
        state, hidden = initial[-1], self._quantize(op.output, initial[0].expand(len(x), -1))
        states: list[Tensor] = []
        for step in steps[::-1] if op.reverse else steps:
            recurrent = functional.linear(hidden, weight, bias)
            if isinstance(op, Gru):
                reset, update, new = step.chunk(3, 1)
                by_reset, by_update, by_new = recurrent.chunk(3, 1)
                gate = torch.sigmoid(update + by_update)
                state = torch.lerp(torch.tanh(new + torch.sigmoid(reset + by_reset) * by_new), state, gate)
                hidden = state
            else:
                enter, forget, new, out = (step + recurrent).chunk(4, 1)
                state = torch.sigmoid(forget) * state + torch.sigmoid(enter) * torch.tanh(new)
                hidden = torch.sigmoid(out) * torch.tanh(state)
            hidden = self._quantize(op.output, hidden)
            states.append(hidden)
        if not op.sequence:
            return hidden
        return torch.stack(states[::-1] if op.reverse else states, 2).reshape(len(x), -1, *x.shape[2:])

    @torch.no_grad()
    def project(self) -> None:
        """Restore what the integer network needs after an optimizer step: codeword bounds, positive gains of batch norms that fold."""
        for module in self.weights.values():
            if isinstance(module, CodebookWeight):
                module.project()
        for op in self.graph.ops:
            if isinstance(op, BatchNorm) and self.graph.folds_into_batch_norm(op.inputs[0]):
                gain = self.weights[self._keys[op.scale]]
                assert isinstance(gain, FloatWeight)
                gain.weight.clamp_min_(1e-5)
        for step in self.steps.values():
            step.clamp_min_(1e-3)

    @torch.no_grad()
    def reestimate_batch_norms(self, batches: Iterable[Tensor]) -> None:
        """Give every batch norm the statistics of its input over these batches, as the network is now."""
        norms = [op for op in self.graph.ops if isinstance(op, BatchNorm)]
        if not norms:
            return
        totals: dict[str, tuple[Tensor, Tensor]] = {}
        count = 0
        with _training_mode(self):
            for batch in batches:
                values = self.run(batch)
                for op in norms:
                    x = values[op.inputs[0]].transpose(0, 1).flatten(1).double()
                    mean, square = totals.get(op.output, (0.0, 0.0))
                    totals[op.output] = (mean + x.mean(1) * len(batch), square + x.square().mean(1) * len(batch))
                count += len(batch)
        for op in norms:
            mean, square = (total / count for total in totals[op.output])
            self.get_buffer(self._keys[op.mean]).copy_(mean)
            self.get_buffer(self._keys[op.variance]).copy_(square - mean.square())

    def to_graph(self) -> Graph:
        """The Graph with the present values of all parameters, encodings included."""
        parameters, encodings = {}, {}
        for name, key in self._keys.items():
            encoding = None if name in self._statistics else self.weights[key].encoding()  # type: ignore[operator]
            if encoding is None:
                parameters[name] = self.parameter(name).detach().float().numpy(force=True).copy()
            else:
                encodings[name] = encoding
        graph = self.graph.with_parameters(parameters).with_encodings(encodings)
        quantization = dict(graph.quantization)
        for name, key in self._steps.items():
            quantization[name] = replace(quantization[name], scale=float(np.float32(quantization[name].scale * self.steps[key].item())))
        return replace(graph, quantization=quantization)


def _rounded_values(graph: Graph) -> set[str]:
    """Where rounding to int8 must be done: what takes its quantization from its input is on the grid already.

    A maximum of rounded values is the rounded maximum, of which there are fewer.
    """
    rounded = {name for name, root in graph.quantization_roots().items() if name == root} & set(graph.quantization)
    for op in graph.ops:
        if isinstance(op, MaxPool) and op.inputs[0] in rounded - set(graph.outputs) and graph.consumers(op.inputs[0]) == (op,):
            rounded = rounded - set(op.inputs) | {op.output}
    return rounded


def _step_keys(graph: Graph) -> dict[str, str]:
    """Values whose scale is learned -> a key that those share which must have one scale."""
    roots = graph.quantization_roots()
    fixed = {port.name for port in graph.inputs} | {op.output for op in graph.ops if isinstance(op, Softmax | Recurrent)}
    keys = {root: f"s{index}" for index, root in enumerate(dict.fromkeys(roots.values())) if root not in fixed}
    return {name: keys[root] for name, root in roots.items() if root in keys and name in graph.quantization}


@contextmanager
def _training_mode(module: nn.Module) -> Iterator[None]:
    was = module.training
    module.train()
    try:
        yield
    finally:
        module.train(was)


def weight_module(encoding: WeightEncoding) -> WeightModule:
    """A trainable module for an encoded weight; indices are frozen, and codewords keep the bound of their L1 norm."""
    if isinstance(encoding, ProductQuantized):
        norm = min((limit for limit in CODEWORD_NORMS if limit >= encoding.largest_norm), default=CODEWORD_NORMS[-1])
        return CodebookWeight(encoding, pin_zero=not encoding.codebook[0].any(), norm=norm)
    return ScalarWeight(torch.from_numpy(encoding.dense()))


class _LearnedStep(torch.autograd.Function):
    """A value rounded to the int8 grid of a trained scale; gradients are Esser's (2020, eq. 3): straight-through where nothing is clipped.

    A few samples at a time: many passes over a value that stays in the processor's cache are quicker than few over the whole batch.
    """

    @staticmethod
    def forward(context: Any, value: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        context.save_for_backward(value, scale)
        context.range = low, high
        rounded = torch.empty_like(value)
        for part, out in zip(_cached_parts(value), _cached_parts(rounded), strict=True):
            out.copy_(part / scale).round_().clamp_(low, high).mul_(scale)
        return rounded

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        value, scale = context.saved_tensors
        low, high = context.range
        through, of_scale = torch.empty_like(gradient), torch.zeros_like(scale)
        for part, upper, lower in zip(*map(_cached_parts, (value, gradient, through)), strict=True):
            steps = part / scale
            # The gradient of a clamp, in one pass; half a step beyond the range a value is rounded but not clipped.
            torch.ops.aten.hardtanh_backward.grad_input(upper, steps, low - 0.5, high + 0.5, grad_input=lower)
            error = steps.round().clamp_(low, high).sub_(steps)
            of_scale += error.mul_(upper).sum(dtype=scale.dtype) + steps.mul_(upper - lower).sum(dtype=scale.dtype)
        return through, of_scale, None, None


def _cached_parts(batch: Tensor) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = batch.split(max(1, _CACHED_VALUES * len(batch) // max(1, batch.numel())))
    return parts


def fake_quantize_learned(value: Tensor, scale: Tensor, zero_point: int) -> Tensor:
    """Round to the int8 grid of a scalar tensor `scale`, with gradients for both: straight-through inside the range."""
    result: Tensor = _LearnedStep.apply(value, scale, -128 - zero_point, 127 - zero_point)  # type: ignore[no-untyped-call]
    return result


def _clamp(x: Tensor, clamp: Clamp | None) -> Tensor:
    if clamp is None or (clamp.minimum is None and clamp.maximum is None):
        return x
    if clamp.minimum == 0 and clamp.maximum is None:
        return functional.relu(x)
    return x.clamp(clamp.minimum, clamp.maximum)


def _as_nchw(batch: Tensor, layout: str) -> Tensor:
    match layout:
        case "NHWC":
            return batch.permute(0, 3, 1, 2)
        case "NCL":
            return batch.unsqueeze(2)
        case _:
            return batch


def _torch_axis(axis: int, rank: int) -> int:
    """The axis of a batch for an axis of a Graph's value: images are NCHW here."""
    return (2, 3, 1)[axis] if rank == 4 else axis + 1


def _rearrange(x: Tensor, op: Rearrange) -> Tensor:
    memory = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
    moved = memory.reshape(-1, *op.view).permute(0, *(axis + 1 for axis in op.order)).reshape(-1, *op.shape)
    return moved.permute(0, 3, 1, 2) if len(op.shape) == 3 else moved


def _symmetric(x: Tensor, padding: Padding) -> tuple[Tensor, tuple[int, int]]:
    """Symmetric padding goes to the convolution; any other is done here."""
    top, left, bottom, right = padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom)), (0, 0)


def _average_pool(x: Tensor, op: AveragePool) -> Tensor:
    top, left, bottom, right = op.padding
    sums = functional.avg_pool2d(functional.pad(x, (left, right, top, bottom)), op.kernel, op.stride)
    if op.count_include_pad or not any(op.padding):
        return sums
    inside = functional.pad(torch.ones_like(x[:1, :1]), (left, right, top, bottom))
    return sums / functional.avg_pool2d(inside, op.kernel, op.stride)
