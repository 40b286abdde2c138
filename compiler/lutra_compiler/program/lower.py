"""Graph -> Program: kernels chosen, arithmetic in integers, tables laid out, memory planned."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from math import frexp, inf, prod
from typing import Self

import numpy as np

from lutra_compiler.errors import BudgetError, LoweringError, UnsupportedLayersError
from lutra_compiler.ir.encoding import HIDDEN_STATE, SOFTMAX_OUTPUT, ProductQuantized, Quantization, WeightEncoding
from lutra_compiler.ir.graph import Graph, Shape
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
    Weighted,
)
from lutra_compiler.ir.rearranging import moves_nothing, simplified
from lutra_compiler.ir.shapes import infer_shapes
from lutra_compiler.numerics.fixed_point import (
    PRE_ACTIVATION,
    PRE_ACTIVATION_ERROR,
    PRE_ACTIVATION_MAX,
    OutputRange,
    Requantization,
    requantize,
    rescale_multipliers,
)
from lutra_compiler.program.candidates import candidates_of
from lutra_compiler.program.choose_kernel import (
    NETWORK_TIE,
    Candidate,
    Choose,
    Impossible,
    Limits,
    bytes_alive,
    considered,
    fastest,
    with_fewer_kernels,
)
from lutra_compiler.program.cost_model import cycles
from lutra_compiler.program.footprint import Footprint, footprint, stack_bytes
from lutra_compiler.program.kernels import (
    COPY_AXES,
    FUNCTIONS,
    KERNELS,
    STEPS_CHANNELS,
    STEPS_PIXELS,
    UNPACK,
    least_epsilon,
    leaves_image,
    scratch_bytes,
)
from lutra_compiler.program.plan_memory import Request, plan_memory
from lutra_compiler.program.program import Call, LayerRecord, Port, Program, Role, Storage
from lutra_compiler.program.tables import TableData, TableSet, channel_records, descriptor_bytes, exponentials, function_table, tangents
from lutra_compiler.program.verify import verify
from lutra_compiler.target import Target

SOFTMAX_CHANNELS = 512
STATE_SCALES = {"lstm": (2.0**-15, 2.0**-11), "gru": (2.0**-15,)}  # of initial states
NORMALISED_SCALES = (2.0**-12, 2.0**10)  # of what is normalised: the kernel's shifts stay in range

Fields = dict[str, int]
RoledData = Sequence[tuple[Role, TableData]]


def lower(graph: Graph, target: Target, limits: Limits | None = None, choose: Choose | None = None) -> Program:
    """Turn a prepared, encoded and calibrated graph into a Program.

    Of the programs that take up to NETWORK_TIE times the cycles of the fastest one, one of a smaller product of cycles, RAM and flash
    is taken if there is one; or `choose` picks one of the candidates for each layer. Where that exceeds `limits.ram`, ones of less scratch
    memory follow, and where it exceeds `limits.flash`, fewer kernels. Raises LoweringError with the op and the value if something is
    missing, beyond a limit, or too coarse in integers, UnsupportedLayersError if that is so of several ops, BudgetError if the program
    does not fit.
    """
    lowering = _Lowering(_with_outputs_apart(graph), target, limits or Limits())
    problems: list[tuple[str, LoweringError]] = []
    for op in lowering.graph.ops:
        try:
            lowering.lower_op(op)
        except LoweringError as error:
            problems.append((op.name, error))
            pool = lowering.pools.get(op.output, op)
            lowering.output_buffer(pool.output)  # so that the ops after it are lowered too
    if len(problems) > 1:
        raise UnsupportedLayersError(problems)
    if problems:
        raise problems[0][1]
    program = lowering.program(graph.outputs, choose)
    verify(program)
    return program


@dataclass(frozen=True)
class _Step:
    """A call whose kernel is not chosen yet. `inputs`, `output`: buffer indices."""

    inputs: tuple[int, ...]
    output: int
    layer: LayerRecord
    candidates: Sequence[Candidate]
    impossible: Sequence[Impossible]


@dataclass(frozen=True)
class _Found:
    """A program, its estimated cycles, and what it needs."""

    program: Program
    cycles: float
    needed: Footprint
    chosen: tuple[Candidate, ...]
    needs: tuple[int, ...]  # bytes of RAM without stack in use during each step

    @property
    def ram_profile(self) -> tuple[int, ...]:
        """RAM of the layers, largest first, then of the network: gaps between buffers come and go, a layer that needs less is progress."""
        return *sorted(self.needs, reverse=True), self.needed.ram

    def beats(self, other: Self) -> bool:
        """Whether this one is better by more than estimates are uncertain: 1 % of cycles, RAM or flash is worth 1 % of another."""
        return self.worth * NETWORK_TIE < other.worth

    @property
    def worth(self) -> float:
        """The less, the better."""
        return self.cycles * self.needed.ram * self.needed.flash


class _Lowering:
    """What has been lowered so far. A buffer's index is its place in `requests`."""

    def __init__(self, graph: Graph, target: Target, limits: Limits) -> None:
        self.graph, self.target, self.limits = graph, target, limits
        self.shapes = infer_shapes(graph)
        self.steps: list[_Step] = []
        self.requests: list[Request] = []
        self.buffer_of: dict[str, int] = {}
        self.flattened = _flattened(graph)
        self.pools = {op.output: pool for op in graph.ops if (pool := _pool_after(graph, op))}
        for port in graph.inputs:
            self.buffer_of[port.name] = self.request(Storage.INPUT, prod(port.shape))

    # Values and memory

    def buffer(self, value: str) -> int:
        return self.buffer_of[_root(self.flattened, value)]

    def request(self, storage: Storage, size_bytes: int) -> int:
        self.requests.append(Request(storage, size_bytes))
        return len(self.requests) - 1

    def output_buffer(self, value: str) -> int:
        if value not in self.buffer_of:
            is_output = value in (_root(self.flattened, output) for output in self.graph.outputs)
            self.buffer_of[value] = self.request(Storage.OUTPUT if is_output else Storage.ACTIVATION, prod(self.shapes[value]))
        return self.buffer_of[value]

    def quantization(self, value: str) -> Quantization:
        if value not in self.graph.quantization:
            raise LoweringError(f"value '{value}' has no int8 quantization; calibrate the graph before lowering it")
        return self.graph.quantization[value]

    def same_quantization(self, op: Op) -> Quantization:
        """The quantization of an op that moves integers as they are."""
        before, after = self.quantization(op.inputs[0]), self.quantization(op.output)
        if before != after:
            raise LoweringError(
                f"{op.kind} '{op.name}' does not rescale, but its input '{op.inputs[0]}' has {before} and its output '{op.output}' "
                f"{after}; calibrate them together"
            )
        return after

    # Calls

    def call(self, kernel_name: str, op: Op, fields: Fields, tables: RoledData = ()) -> None:
        """Append the call that computes `op`, by the one kernel there is for it."""
        fields = self.whole(kernel_name, op, fields)
        flash = KERNELS[kernel_name].descriptor.size_bytes + sum(data.nbytes for _, data in tables)
        estimate = cycles(kernel_name, fields, self.target.name)
        self.step([op], [Candidate(kernel_name, fields, tuple(tables), estimate, flash, scratch_bytes=0)])

    def weighted_call(
        self, family: str, ops: Sequence[Op], fields: Fields, encoding: WeightEncoding, arithmetic: Requantization, macs: int,
        tables: RoledData = (),
    ) -> None:
        """Append the call that computes `ops`, a layer with weights and perhaps the pooling after it, by a kernel of the `family`.

        `tables`: those behind the weights and the channel records.
        """
        fields = self.whole(f"lutra_{family}_dense", ops[0], fields)
        tables = ((Role.CHANNELS, channel_records(arithmetic.bias, arithmetic.multiplier)), *tables)
        sharing = self.layers_with_the_codebook_of(encoding)
        ways = list(candidates_of(family, fields, encoding, tables, self.target.name, self.limits.expand_weights, sharing))
        parameters = sum(prod(self.graph.weight_shape(name)) for name in ops[0].parameter_names)
        self.step(
            ops,
            [way for way in ways if isinstance(way, Candidate)],
            [way for way in ways if isinstance(way, Impossible)],
            macs,
            parameters,
        )

    def layers_with_the_codebook_of(self, encoding: WeightEncoding) -> int:
        if not isinstance(encoding, ProductQuantized):
            return 1
        others = (e for e in self.graph.encodings.values() if isinstance(e, ProductQuantized))
        return sum(np.array_equal(other.codebook, encoding.codebook) for other in others)

    def step(
        self, ops: Sequence[Op], candidates: Sequence[Candidate], impossible: Sequence[Impossible] = (), macs: int = 0, parameters: int = 0
    ) -> None:
        op, output = ops[0], ops[-1].output
        layer = LayerRecord(op.kind, tuple(o.name for o in ops), output, self.shapes[output], macs, parameters)
        inputs = tuple(self.buffer(value) for value in op.inputs)
        self.steps.append(_Step(inputs, self.output_buffer(output), layer, candidates, impossible))

    def whole(self, kernel_name: str, op: Op, fields: Fields) -> Fields:
        """`fields` in the order of the descriptor, with 0 for the others. Raises LoweringError if one is out of range."""
        descriptor = KERNELS[kernel_name].descriptor
        fields = {name: fields.get(name, 0) for name in descriptor.fields}
        for name, value in fields.items():
            low, high = descriptor.range_of(name)
            if not low <= value <= high:
                raise LoweringError(
                    f"{op.kind} '{op.name}': {name} is {value}, the kernel's limit is {low}..{high}; make the image or the "
                    "window smaller, or split the operator"
                )
        return fields

    def lower_op(self, op: Op) -> None:
        match op:
            case Conv2d():
                self.convolution(op)
            case Linear():
                self.linear(op)
            case Recurrent():
                self.recurrent(op)
            case MaxPool():
                self.same_quantization(op)
                if op.inputs[0] not in self.pools:
                    self.call("lutra_max_pool", op, self.pool_fields(op))
            case AveragePool():
                self.average_pool(op)
            case Activation():
                self.rescale(op, op.inputs[0], self.output_range(op.output, op.clamp))
            case Add():
                self.add(op)
            case Elementwise():
                self.elementwise(op)
            case Binary():
                self.binary(op)
            case Concat():
                offset = 0
                for value in op.inputs:
                    self.rescale(replace(op, inputs=(value,)), value, self.output_range(op.output, None), offset, op.axis)
                    offset += prod(self.shapes[value][op.axis :])
            case Pad():
                self.pad(op)
            case Slice():
                self.slice(op)
            case Select():
                self.select(op)
            case Gather():
                self.gather(op)
            case Upsample():
                self.upsample(op)
            case Rearrange():
                self.rearrange(op)
            case Flatten():
                self.same_quantization(op)
                if op.order != "HWC":
                    raise LoweringError(f"flatten '{op.name}' is in {op.order} order; run prepare_for_lowering first")
            case Normalise():
                self.normalise(op)
            case Softmax():
                self.softmax(op)
            case _:
                raise LoweringError(f"{op.kind} '{op.name}' has no kernel; run prepare_for_lowering first")

    # Layers with weights

    def convolution(self, op: Conv2d) -> None:
        in_h, in_w, in_c = self.shapes[op.inputs[0]]
        out_h, out_w, out_c = self.shapes[op.output]
        encoding, output, arithmetic = self.weighted(op)
        _, kernel_h, kernel_w, _ = encoding.shape
        pool = self.pools.get(op.output)
        pool_h, pool_w = pool.kernel if pool else (1, 1)
        fields = _requantization_fields(arithmetic, output) | {
            "in_h": in_h, "in_w": in_w, "in_c": in_c, "out_h": out_h, "out_w": out_w, "out_c": out_c, "groups": op.groups,
            "kernel_h": kernel_h, "kernel_w": kernel_w, "stride_h": op.stride[0], "stride_w": op.stride[1],
            "pad_top": op.padding[0], "pad_left": op.padding[1], "pool_h": pool_h, "pool_w": pool_w,
            "input_zero_point": self.quantization(op.inputs[0]).zero_point,
        }
        fields["padded"] = int(leaves_image(fields) and fields["input_zero_point"] != 0)
        if isinstance(encoding, ProductQuantized) and op.groups > 1:
            raise LoweringError(
                f"convolution '{op.name}' has {op.groups} groups and a product-quantized weight; store grouped convolutions as int8"
            )
        macs = out_h * out_w * prod(encoding.shape)
        self.weighted_call("conv2d", [op, pool] if pool else [op], fields, encoding, arithmetic, macs)

    def linear(self, op: Linear) -> None:
        encoding, output, arithmetic = self.weighted(op)
        out_c, in_c = encoding.shape
        fields = _requantization_fields(arithmetic, output) | {"in_c": in_c, "out_c": out_c}
        self.weighted_call("linear", [op], fields, encoding, arithmetic, macs=in_c * out_c)

    def recurrent(self, op: Recurrent) -> None:
        encoding, source, result = self.encoding(op), self.quantization(op.inputs[0]), self.quantization(op.output)
        if result != HIDDEN_STATE:
            raise LoweringError(f"{op.kind} '{op.name}': its output '{op.output}' has {result}, it must have {HIDDEN_STATE}")
        out_c, in_c = encoding.shape
        multipliers = HIDDEN_STATE.scale * encoding.scale.astype(np.float64) / PRE_ACTIVATION
        bias = self.graph.parameters[op.bias].astype(np.float64) if op.bias else np.zeros(out_c)
        limits = OutputRange(0, -PRE_ACTIVATION_MAX, PRE_ACTIVATION_MAX)
        arithmetic = requantize(op.name, encoding.integers(), multipliers, bias / PRE_ACTIVATION, 0, limits, PRE_ACTIVATION_ERROR)
        (multiplier,), shift = rescale_multipliers(op.name, [source.scale / PRE_ACTIVATION], [255])
        steps = prod(self.shapes[op.inputs[0]][:-1])
        fields = _shifts(arithmetic) | {
            "steps": steps, "in_c": in_c, "out_c": out_c, "input_multiplier": multiplier, "input_zero_point": source.zero_point,
            "input_shift": shift, "initial": int(op.initial is not None), "reverse": int(op.reverse), "sequence": int(op.sequence),
        }
        tables = [(Role.TANGENTS, tangents()), (Role.INITIAL, self.initial_states(op))]
        self.weighted_call(op.kind, [op], fields, encoding, arithmetic, steps * in_c * out_c, tables)

    def initial_states(self, op: Recurrent) -> TableData:
        """The states before the first step, or a zero for all of them."""
        if op.initial is None:
            return np.zeros(1, np.uint16)
        states = self.graph.parameters[op.initial].astype(np.float64)
        scales = np.array(STATE_SCALES[op.kind])
        for largest, limit in zip(np.abs(states).max(axis=1), 32768 * scales, strict=True):
            if largest > limit:
                raise LoweringError(f"{op.kind} '{op.name}' begins with a state of {largest:.3g}, at most {limit:g} is possible")
        integers = np.clip(np.rint(states / scales[:, None]), -32768, 32767).astype(np.int16)
        table: TableData = integers.view(np.uint16).ravel()
        return table

    def encoding(self, op: Weighted) -> WeightEncoding:
        encoding = self.graph.encodings.get(op.weight)
        if encoding is None:
            raise LoweringError(f"layer '{op.name}': its weight '{op.weight}' is still float; quantize it before lowering")
        return encoding

    def weighted(self, op: Conv2d | Linear) -> tuple[WeightEncoding, OutputRange, Requantization]:
        encoding = self.encoding(op)
        source, result = self.quantization(op.inputs[0]), self.quantization(op.output)
        output = self.output_range(op.output, op.activation)
        multipliers = source.scale * encoding.scale.astype(np.float64) / result.scale
        bias = self.graph.parameters[op.bias].astype(np.float64) if op.bias else np.zeros(encoding.shape[0])
        return encoding, output, requantize(
            op.name, encoding.integers(), multipliers, bias / result.scale, source.zero_point, output
        )

    # Layers without weights

    def output_range(self, value: str, clamp: Clamp | None) -> OutputRange:
        quantization = self.quantization(value)

        def bound(real: float | None, unbounded: int) -> int:
            if real is None:
                return unbounded
            return int(np.clip(np.rint(real / quantization.scale) + quantization.zero_point, -128, 127))

        clamp = clamp or Clamp()
        return OutputRange(quantization.zero_point, bound(clamp.minimum, -128), bound(clamp.maximum, 127))

    def pool_fields(self, op: MaxPool | AveragePool) -> Fields:
        in_h, in_w, in_c = self.shapes[op.inputs[0]]
        out_h, out_w, _ = self.shapes[op.output]
        top, left, bottom, right = op.padding
        if top >= op.kernel[0] or left >= op.kernel[1] or bottom >= op.kernel[0] or right >= op.kernel[1]:
            raise LoweringError(f"{op.kind} '{op.name}': padding {op.padding} reaches the kernel's size {op.kernel}; pad it less")
        return {
            "in_h": in_h, "in_w": in_w, "in_c": in_c, "out_h": out_h, "out_w": out_w,
            "kernel_h": op.kernel[0], "kernel_w": op.kernel[1], "stride_h": op.stride[0], "stride_w": op.stride[1],
            "pad_top": top, "pad_left": left, "output_min": -128, "output_max": 127,
        }

    def average_pool(self, op: AveragePool) -> None:
        source, result = self.quantization(op.inputs[0]), self.quantization(op.output)
        size = prod(op.kernel)
        whole = op.count_include_pad or not any(op.padding)
        fields = self.pool_fields(op)
        fewest = size if whole else _fewest_pixels(fields)
        counts = range(fewest, size + 1)
        ratios = [source.scale / (result.scale * count) for count in counts]
        multipliers, shift = rescale_multipliers(op.name, ratios, [255 * count for count in counts])
        if not whole:
            multipliers = multipliers[:1] * (fewest - 1) + multipliers  # of counts that no window has
        self.call(
            "lutra_average_pool",
            op,
            fields | {
                "input_zero_point": source.zero_point, "output_zero_point": result.zero_point,
                "shift": shift, "count_include_pad": int(whole),
            },
            [(Role.MULTIPLIERS, np.array(multipliers, np.uint16))],
        )

    def add(self, op: Add) -> None:
        a, b = (self.quantization(value) for value in op.inputs)
        scale = self.quantization(op.output).scale
        (multiplier_a, multiplier_b), shift = rescale_multipliers(op.name, [a.scale / scale, b.scale / scale], [510, 510])
        size = prod(self.shapes[op.output])
        self.call("lutra_add_int8", op, _range_fields(self.output_range(op.output, op.activation)) | {
            "size_low": size % 65536, "size_high": size // 65536, "multiplier_a": multiplier_a, "multiplier_b": multiplier_b,
            "zero_point_a": a.zero_point, "zero_point_b": b.zero_point, "shift": shift,
        })

    def elementwise(self, op: Elementwise) -> None:
        size = prod(self.shapes[op.output])
        table = function_table(op.steps, self.quantization(op.inputs[0]), self.quantization(op.output))
        self.call("lutra_lookup_int8", op, {"size_low": size % 65536, "size_high": size // 65536}, [(Role.LOOKUP, table)])

    def binary(self, op: Binary) -> None:
        shape = self.shapes[op.output]
        if op.function != "subtract" and self.shapes[op.inputs[0]] != shape:  # the first one may be overwritten
            op = replace(op, inputs=op.inputs[::-1])
        a, b = (self.quantization(value) for value in op.inputs)
        scale = self.quantization(op.output).scale
        if op.function == "multiply":
            (multiplier_a,), shift = rescale_multipliers(op.name, [a.scale * b.scale / scale], [255 * 255], bits=15)
            multiplier_b = 0
        else:
            ratios = [a.scale / scale, b.scale / scale]
            (multiplier_a, multiplier_b), shift = rescale_multipliers(op.name, ratios, [510, 510], bits=15)
        if op.function == "subtract":
            op, multiplier_b = replace(op, function="add"), -multiplier_b
            if self.shapes[op.inputs[0]] != shape:
                op, a, b = replace(op, inputs=op.inputs[::-1]), b, a
                multiplier_a, multiplier_b = multiplier_b, multiplier_a
        pixels = prod(shape[:-1])
        steps = [
            STEPS_CHANNELS * (self.shapes[value][-1] == shape[-1]) + STEPS_PIXELS * (self.shapes[value][:-1] == shape[:-1])
            for value in op.inputs
        ]
        self.call("lutra_binary_int8", op, _range_fields(self.output_range(op.output, op.activation)) | {
            "pixels_low": pixels % 65536, "pixels_high": pixels // 65536, "channels": shape[-1],
            "multiplier_a": multiplier_a, "multiplier_b": multiplier_b, "zero_point_a": a.zero_point, "zero_point_b": b.zero_point,
            "shift": shift, "function": FUNCTIONS.index(op.function), "steps_a": steps[0], "steps_b": steps[1],
        })

    def rescale(self, op: Op, value: str, output: OutputRange, offset: int = 0, axis: int = -1) -> None:
        """Write `value` from place `offset` of each row of `op`'s output on; a row is what is behind `axis`, counted from the last."""
        source, shape = self.quantization(value), self.shapes[value]
        ratio = source.scale / self.quantization(op.output).scale
        (multiplier,), shift = rescale_multipliers(op.name, [ratio], [255])
        pixels = prod(shape[:axis])
        self.call("lutra_rescale_int8", op, _range_fields(output) | {
            "pixels_low": pixels % 65536, "pixels_high": pixels // 65536, "channels": prod(shape[axis:]),
            "output_stride": prod(self.shapes[op.output][axis:]), "output_offset": offset, "multiplier": multiplier,
            "input_zero_point": source.zero_point, "shift": shift,
        })

    def pad(self, op: Pad) -> None:
        shape = self.shapes[op.inputs[0]]
        before = (op.spatial[0], op.spatial[1], op.channels[0])
        if min(*op.spatial, *op.channels) < 0:
            raise LoweringError(f"pad '{op.name}': negative padding {op.spatial}, {op.channels}; slice instead")
        self.slice_pad(op, start=(0, 0, 0), step=(1, 1, 1), pad=before, count=shape, value=op.value)

    def slice(self, op: Slice) -> None:
        self.slice_pad(op, start=op.start, step=op.step, pad=(0, 0, 0), count=self.shapes[op.output])

    def slice_pad(self, op: Op, start: Shape, step: Shape, pad: Shape, count: Shape, value: float = 0.0) -> None:
        triples = {
            "in": self.shapes[op.inputs[0]], "out": self.shapes[op.output], "start": start, "step": step, "pad": pad, "count": count,
        }
        fields = {f"{name}_{axis}": size for name, triple in triples.items() for axis, size in zip("hwc", triple, strict=True)}
        quantization = self.same_quantization(op)
        filling = int(np.clip(np.rint(value / quantization.scale) + quantization.zero_point, -128, 127))
        self.call("lutra_slice_pad_int8", op, fields | {"zero_point": filling})

    def gather(self, op: Gather) -> None:
        self.same_quantization(op)
        shape = self.shapes[op.inputs[0]]
        before, inner, position = prod(shape[: op.axis]), prod(shape[op.axis + 1 :]), 0
        for first, step, count in _runs(op.indices):
            self.copy(
                op, (before, count, inner), (shape[op.axis] * inner, step * inner, 1), (len(op.indices) * inner, inner, 1),
                first * inner, position * inner,
            )
            position += count

    def upsample(self, op: Upsample) -> None:
        self.same_quantization(op)
        (height, width, channels), (rows, columns) = self.shapes[op.inputs[0]], op.factors
        out_row = width * columns * channels
        self.copy(
            op, (height, rows, width, columns, channels), (width * channels, 0, channels, 0, 1),
            (rows * out_row, out_row, columns * channels, channels, 1),
        )

    def rearrange(self, op: Rearrange) -> None:
        self.same_quantization(op)
        if moves_nothing(op):
            return
        view, order = simplified(op.view, op.order)
        if len(view) > COPY_AXES:
            raise LoweringError(
                f"{op.kind} '{op.name}' moves {len(view)} axes {view} to the order {order}; the kernel's limit is {COPY_AXES}: "
                "do it in two steps"
            )
        steps = [prod(view[axis + 1 :]) for axis in range(len(view))]
        counts = tuple(view[axis] for axis in order)
        self.copy(op, counts, tuple(steps[axis] for axis in order), tuple(prod(counts[i + 1 :]) for i in range(len(counts))))

    def copy(self, op: Op, counts: Shape, in_steps: Shape, out_steps: Shape, in_start: int = 0, out_start: int = 0) -> None:
        """Append a call that copies `counts` elements, of up to five axes, from places `in_steps` apart to places `out_steps` apart."""
        missing = COPY_AXES - len(counts)
        fields = {
            "in_start_low": in_start % 65536, "in_start_high": in_start // 65536,
            "out_start_low": out_start % 65536, "out_start_high": out_start // 65536,
        }
        for name, numbers, neutral in (("count", counts, 1), ("in_step", in_steps, 0), ("out_step", out_steps, 0)):
            fields |= {f"{name}_{axis}": size for axis, size in enumerate((*(neutral,) * missing, *numbers))}
        # A step that is never taken may be of any length.
        fields |= {f"{name}_{i}": 0 for name in ("in_step", "out_step") for i in range(COPY_AXES) if fields[f"count_{i}"] == 1}
        self.call("lutra_copy_int8", op, fields)

    def select(self, op: Select) -> None:
        self.same_quantization(op)
        (in_c,) = self.shapes[op.inputs[0]]
        chosen = np.zeros(in_c, np.uint8)
        chosen[list(op.indices)] = 1
        mask = np.packbits(chosen, bitorder="little")
        self.call("lutra_select_int8", op, {"in_c": in_c, "out_c": len(op.indices)}, [(Role.MASK, mask)])

    def normalise(self, op: Normalise) -> None:
        shape, source, result = self.shapes[op.output], self.quantization(op.inputs[0]), self.quantization(op.output)
        if not NORMALISED_SCALES[0] <= result.scale <= NORMALISED_SCALES[1]:
            raise LoweringError(
                f"normalise '{op.name}': its output '{op.output}' has the scale {result.scale:.3g}, possible are "
                f"{NORMALISED_SCALES[0]:.3g} to {NORMALISED_SCALES[1]:.3g}; calibrate it with samples that are not constant"
            )
        count = prod(shape[axis] for axis in op.axes)
        epsilon = round(256 * count**2 * op.epsilon / source.scale**2)
        if epsilon >= 1 << 48:
            raise LoweringError(
                f"normalise '{op.name}': its epsilon of {op.epsilon:.3g} is {op.epsilon / source.scale**2:.3g} in squares of its input's "
                "steps, beyond the kernel's range; use a smaller one"
            )
        gain_shift, value_shift = 14 - (frexp(1 / result.scale)[1] - 1), max(0, (255 * count).bit_length() - 14)
        epsilon = max(epsilon, least_epsilon(gain_shift, value_shift))
        gain = min(round(2**gain_shift / result.scale), (1 << 15) - 1)
        self.call("lutra_normalise_int8", op, _range_fields(self.output_range(op.output, None)) | {
            "outer": prod(shape[: op.axes[0]]), "count": count, "inner": prod(shape[op.axes[-1] + 1 :]),
            "epsilon_low": epsilon % 65536, "epsilon_mid": epsilon // 65536 % 65536, "epsilon_high": epsilon >> 32,
            "gain": gain, "gain_shift": gain_shift, "value_shift": value_shift,
        })

    def softmax(self, op: Softmax) -> None:
        shape, result = self.shapes[op.output], self.quantization(op.output)
        if result != SOFTMAX_OUTPUT:
            raise LoweringError(f"softmax '{op.name}': its output '{op.output}' has {result}, it must have {SOFTMAX_OUTPUT}")
        if shape[-1] > SOFTMAX_CHANNELS:
            raise LoweringError(f"softmax '{op.name}' has {shape[-1]} channels, at most {SOFTMAX_CHANNELS} are possible; leave it out")
        scale = self.quantization(op.inputs[0]).scale
        self.call(
            "lutra_softmax_int8",
            op,
            {"pixels": prod(shape[:-1]), "channels": shape[-1]},
            [(Role.EXPONENTIALS, exponentials(scale))],
        )

    # The whole

    def program(self, output_names: Sequence[str], choose: Choose | None) -> Program:
        """Call after every op has been lowered."""
        candidates = [step.candidates for step in self.steps]
        found = self.within_ram(output_names, candidates, choose)
        if found.needed.flash <= self.flash_limit:
            return (found if choose else self.with_kernels_that_pay(output_names, candidates, found)).program
        smallest = found.needed
        for fewer in self.fewer_kernels(candidates):
            with suppress(BudgetError):
                found = self.within_ram(output_names, fewer)
                if found.needed.flash <= self.flash_limit:
                    return found.program
                smallest = min(smallest, found.needed, key=lambda footprint: footprint.flash)
        raise BudgetError(
            f"the network needs {smallest.flash} bytes of flash with the smallest kernels, model {smallest.model} and code "
            f"{smallest.code}, the limit is {self.limits.flash}; allow more or compress it further"
        )

    @property
    def flash_limit(self) -> float:
        return inf if self.limits.flash is None else self.limits.flash

    def fewer_kernels(self, candidates: Sequence[Sequence[Candidate]]) -> Iterator[Sequence[Sequence[Candidate]]]:
        """`candidates` restricted to some of the kernels, where that makes another program, the fastest first."""
        tried = {tuple(fastest(ways).kernel for ways in candidates)}
        for fewer in with_fewer_kernels(candidates):
            if (kernels := tuple(fastest(ways).kernel for ways in fewer)) not in tried:
                tried.add(kernels)
                yield fewer

    def with_kernels_that_pay(self, output_names: Sequence[str], candidates: Sequence[Sequence[Candidate]], found: _Found) -> _Found:
        """`found`, or a program without some of its kernels, whose code other layers may not need, if that is better."""
        allowed = max(found.cycles, NETWORK_TIE * sum(fastest(ways).cycles for ways in candidates))
        for fewer in self.fewer_kernels(candidates):
            if sum(fastest(ways).cycles for ways in fewer) <= allowed:
                with suppress(BudgetError):
                    other = self.within_ram(output_names, fewer, allowed=allowed)
                    if other.cycles <= allowed and other.needed.flash <= self.flash_limit and other.beats(found):
                        found = other
        return found

    def within_ram(
        self, output_names: Sequence[str], candidates: Sequence[Sequence[Candidate]], choose: Choose | None = None,
        allowed: float | None = None,
    ) -> _Found:
        """The program of the `candidates`, a sequence a step, that `choose` picks if there is RAM enough.

        Without `choose` the best of the fastest one and of those that need less and less RAM, as long as they take `allowed` cycles at
        most (None: NETWORK_TIE times those of the fastest).
        """
        found = self.weighed(output_names, [(choose or fastest)(ways) for ways in candidates])
        allowed = allowed or NETWORK_TIE * found.cycles
        best: _Found | None = None
        while True:
            if self.limits.ram is None or found.needed.ram <= self.limits.ram:
                within = found.needed.flash <= self.flash_limit
                if best is None or (within and (found.beats(best) or best.needed.flash > self.flash_limit)):
                    best = found
                if choose:
                    return best
            try:
                found = self.with_less_ram(output_names, candidates, found, allowed if best else inf)
            except BudgetError as error:
                if best:
                    return best
                if shallower := self.with_less_stack(candidates, found):
                    with suppress(BudgetError):
                        return self.within_ram(output_names, shallower)
                raise error

    def with_less_stack(self, candidates: Sequence[Sequence[Candidate]], found: _Found) -> list[list[Candidate]]:
        """The candidates that take less stack than the deepest one of `found`; empty if a step has none."""
        deepest = max(map(self.stack, found.chosen))
        shallower = [[way for way in ways if not way.objection and self.stack(way) < deepest] for ways in candidates]
        return shallower if all(shallower) else []

    def with_less_ram(
        self, output_names: Sequence[str], candidates: Sequence[Sequence[Candidate]], found: _Found, allowed: float
    ) -> _Found:
        """`found`, which needs too much RAM, with another candidate for one layer: of the layers that can do with less the one that needs
        the most, of its candidates that need less the fastest, within `allowed` cycles of the network.

        Raises BudgetError if there is none.
        """
        stacks = [min(self.stack(way) for way in ways if not way.objection) for ways in candidates]
        for layer in sorted(range(len(candidates)), key=lambda layer: -found.needs[layer]):
            now = found.chosen[layer]
            for way in sorted(candidates[layer], key=lambda way: way.cycles):
                if way.objection or found.cycles - now.cycles + way.cycles > allowed or not self.may_need_less(way, now):
                    continue
                other = self.weighed(output_names, [*found.chosen[:layer], way, *found.chosen[layer + 1 :]])
                if other.ram_profile < found.ram_profile:
                    return other
            needed, stack = found.needs[layer], max(self.stack(now), *stacks)
            limit = found.needed.ram - 1 if self.limits.ram is None else min(self.limits.ram, found.needed.ram - 1)
            if needed + stack > limit:
                kernel = now.kernel + (", and its decoded indices" if now.unpacking else "")
                raise BudgetError(
                    f"layer '{self.steps[layer].layer.source_names[0]}' needs {needed + stack} bytes of RAM with a stack of {stack} and "
                    f"the smallest kernel, {kernel}, the limit is {limit}; allow more, prune the layer, or give the network a smaller input"
                )
        raise BudgetError(
            f"the network needs {found.needed.ram} bytes of RAM with the smallest kernels, {found.needed.stack} of them stack, the limit "
            f"is {self.limits.ram}; allow more"
        )

    def weighed(self, output_names: Sequence[str], chosen: Sequence[Candidate]) -> _Found:
        """The program that takes `chosen`, one a step, and what it needs."""
        program = self.placed(output_names, chosen)
        calls = accumulate(1 + (candidate.unpacking is not None) for candidate in chosen)
        needs = tuple(bytes_alive(end - 1, program.buffers) for end in calls)
        return _Found(program, sum(candidate.cycles for candidate in chosen), footprint(program), tuple(chosen), needs)

    def stack(self, candidate: Candidate) -> int:
        """Bytes of stack of a network that has no other layer."""
        return stack_bytes([candidate.kernel] + [UNPACK] * (candidate.unpacking is not None), self.target.name)

    def may_need_less(self, candidate: Candidate, than: Candidate) -> bool:
        """Whether a candidate takes less scratch memory or stack, or writes over more of its input."""
        leads = [KERNELS[c.kernel].lead(c.fields) for c in (candidate, than)]
        lead, other = (inf if lead is None else lead for lead in leads)
        return candidate.scratch_bytes < than.scratch_bytes or lead < other or self.stack(candidate) < self.stack(than)

    def placed(self, output_names: Sequence[str], chosen: Sequence[Candidate]) -> Program:
        """The program that takes `chosen`, one a step."""
        requests, calls, tables = self.assembled(chosen)
        buffers, arena_bytes = plan_memory(requests, calls)
        outputs = tuple(
            Port(name, self.shapes[value], self.graph.output_layout(self.shapes[value]), self.quantization(value), self.buffer(value))
            for name, value in zip(output_names, self.graph.outputs, strict=True)
        )
        inputs = tuple(Port(i.name, i.shape, i.layout, self.quantization(i.name), self.buffer(i.name)) for i in self.graph.inputs)
        return Program(self.target.name, inputs, outputs, tuple(calls), tables.tables(), buffers, arena_bytes)

    def assembled(self, chosen: Sequence[Candidate]) -> tuple[list[Request], list[Call], TableSet]:
        """Memory, calls and tables of the program that takes `chosen`, one a step."""
        requests, tables = list(self.requests), TableSet()
        calls: list[Call] = []

        def request(storage: Storage, size_bytes: int) -> int:
            requests.append(Request(storage, size_bytes))
            return len(requests) - 1

        def append(
            kernel_name: str, fields: Mapping[str, int], data: RoledData, inputs: tuple[int, ...], output: int, layer: LayerRecord,
            indices: int | None = None,
        ) -> None:
            kernel, index = KERNELS[kernel_name], len(calls)
            calls.append(Call(
                kernel=kernel_name,
                fields=fields,
                descriptor=tables.add(Role.DESCRIPTOR, descriptor_bytes(kernel.descriptor, fields), index, kernel.descriptor.c_type),
                tables=tuple(tables.add(role, array, index) for role, array in data),
                inputs=inputs,
                output=output,
                scratch=request(Storage.SCRATCH, scratch_bytes(kernel_name, fields)) if kernel.scratch else None,
                layer=layer,
                indices=indices,
            ))

        for step, candidate in zip(self.steps, chosen, strict=True):
            indices, unpacking = None, candidate.unpacking
            if unpacking:
                indices, name = request(Storage.INDICES, unpacking.index_bytes), step.layer.source_names[0]
                record = LayerRecord("indices", (name,), f"{name}.indices", (unpacking.index_bytes,), macs=0, parameters=0)
                append(UNPACK, unpacking.fields, [(Role.CODED, unpacking.coded)], (), indices, record)
            layer = replace(step.layer, candidates=considered(step.candidates, step.impossible, candidate))
            append(candidate.kernel, candidate.fields, candidate.tables, step.inputs, step.output, layer, indices)
        return requests, calls, tables


def _fewest_pixels(f: Fields) -> int:
    """Pixels of the image in the pooling window that has the fewest, which is the first or the last one of each axis."""
    return prod(
        min(min(i * f[f"stride_{a}"] - f[pad] + f[f"kernel_{a}"], f[f"in_{a}"]) - max(i * f[f"stride_{a}"] - f[pad], 0)
            for i in (0, f[f"out_{a}"] - 1))
        for a, pad in (("h", "pad_top"), ("w", "pad_left"))
    )  # fmt: skip


def _root(flattened: Mapping[str, str], value: str) -> str:
    """The value whose memory holds `value`: flattening moves nothing. `flattened` maps a flatten's output to its input."""
    while value in flattened:
        value = flattened[value]
    return value


def _flattened(graph: Graph) -> dict[str, str]:
    return {
        op.output: op.inputs[0] for op in graph.ops if isinstance(op, Flatten) or (isinstance(op, Rearrange) and moves_nothing(op))
    }


def _runs(indices: Sequence[int]) -> list[tuple[int, int, int]]:
    """Indices as first, step and count of stretches with equal steps from 0."""
    runs: list[tuple[int, int, int]] = []
    for index in indices:
        first, step, count = runs[-1] if runs else (index, 0, 0)
        if count == 1 and index >= first:
            runs[-1] = (first, index - first, 2)
        elif count > 1 and index == first + count * step:
            runs[-1] = (first, step, count + 1)
        else:
            runs.append((index, 0, 1))
    return runs


def _with_outputs_apart(graph: Graph) -> Graph:
    """Every output in memory of its own: one that is an input, or the same as an output before it, becomes a copy."""
    flattened, taken = _flattened(graph), {i.name for i in graph.inputs}
    ops, outputs, quantization = list(graph.ops), list(graph.outputs), dict(graph.quantization)
    for i, value in enumerate(graph.outputs):
        if _root(flattened, value) in taken:
            outputs[i] = f"{value}, output {i}"
            ops.append(Activation(name=outputs[i], inputs=(value,), output=outputs[i], clamp=Clamp()))
            if value in quantization:
                quantization[outputs[i]] = quantization[value]
        taken.add(_root(flattened, value))
    return replace(graph, ops=tuple(ops), outputs=tuple(outputs), quantization=quantization)


def _pool_after(graph: Graph, op: Op) -> MaxPool | None:
    """The pooling that the convolution `op` can do itself."""
    consumers = graph.consumers(op.output)
    if not isinstance(op, Conv2d) or op.output in graph.outputs or len(consumers) != 1:
        return None
    pool = consumers[0]
    fits = isinstance(pool, MaxPool) and pool.kernel == pool.stride != (1, 1) and not any(pool.padding)
    return pool if fits and isinstance(pool, MaxPool) else None


def _requantization_fields(arithmetic: Requantization, output: OutputRange) -> Fields:
    return _range_fields(output) | _shifts(arithmetic)


def _shifts(arithmetic: Requantization) -> Fields:
    return {name: getattr(arithmetic, name) for name in ("bias_shift", "acc_shift", "output_shift")}


def _range_fields(output: OutputRange) -> Fields:
    return {"output_zero_point": output.zero_point, "output_min": output.minimum, "output_max": output.maximum}
