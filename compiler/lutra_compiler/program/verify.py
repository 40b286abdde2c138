"""Checks a Program against the rules of the seam, from its calls and tables alone: nothing here asks how they came to be."""

from collections.abc import Mapping
from itertools import combinations
from math import prod

import numpy as np

from lutra_compiler.errors import ProgramError
from lutra_compiler.numerics.fixed_point import (
    ACC_SHIFT_MAX,
    BIAS_SHIFT_MAX,
    INT32_LIMIT,
    OUTPUT_SHIFT_MAX,
    SHIFT_MAX,
    Requantization,
    bounds_of,
)
from lutra_compiler.numerics.index_coding import table_bytes
from lutra_compiler.numerics.packing import GROUP, index_bytes
from lutra_compiler.program.kernels import (
    COPY_AXES,
    FUNCTIONS,
    KERNELS,
    STEPS_CHANNELS,
    STEPS_PIXELS,
    is_flat,
    least_epsilon,
    leaves_image,
    reach8,
)
from lutra_compiler.program.program import ARENA_ALIGN, Buffer, Call, Program, Role, Storage, Table
from lutra_compiler.program.tables import copy_places, layer_weights, tables_of

Fields = Mapping[str, int]
Ranges = Mapping[str, tuple[int, int]]

L1_LIMIT = 255
PAIRS_L1_LIMIT = 127
SOFTMAX_CHANNELS = 512

_POSITIVE = (1, 65535)
_CONV2D_RANGES: Ranges = {
    **dict.fromkeys(("in_h", "in_w", "in_c", "out_h", "out_w", "out_c", "groups"), _POSITIVE),
    **dict.fromkeys(("kernel_h", "kernel_w", "stride_h", "stride_w", "pool_h", "pool_w"), (1, 255)),
}
_POOL_RANGES: Ranges = {
    **dict.fromkeys(("in_h", "in_w", "in_c", "out_h", "out_w"), _POSITIVE),
    **dict.fromkeys(("kernel_h", "kernel_w", "stride_h", "stride_w"), (1, 255)),
}
_REQUANTIZATION_RANGES: Ranges = {
    "bias_shift": (0, BIAS_SHIFT_MAX), "acc_shift": (0, ACC_SHIFT_MAX), "output_shift": (1, OUTPUT_SHIFT_MAX),
}
_CODING_RANGES: Ranges = {"log2_codewords": (1, 8), "subvector": (1, 16)}
_SHIFT_RANGE: Ranges = {"shift": (1, SHIFT_MAX)}


def verify(program: Program) -> None:
    """Raises ProgramError with the first rule that `program` breaks."""
    _require(program.calls, "a program needs at least one call")
    for i, buffer in enumerate(program.buffers):
        _require(buffer.index == i, f"buffer {i} has index {buffer.index}")
    for i, table in enumerate(program.tables):
        _require(table.index == i, f"table {i} has index {table.index}")
    for i, call in enumerate(program.calls):
        _Check(program, i, call).all()
    _check_ports(program)
    _check_order(program)
    _check_memory(program)
    _check_table_users(program)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ProgramError(message)


class _Check:
    """The rules of one call."""

    def __init__(self, program: Program, index: int, call: Call) -> None:
        self.program, self.index, self.call, self.f = program, index, call, call.fields
        self.where = f"call {index} ({call.kernel})"

    def require(self, condition: object, message: str) -> None:
        _require(condition, f"{self.where}: {message}")

    def all(self) -> None:
        self.references()
        self.descriptor()
        match self.call.kernel.removeprefix("lutra_").split("_")[0]:
            case "conv2d":
                self.convolution()
            case "linear":
                self.linear()
            case "lstm" | "gru" as cell:
                self.recurrent(gates=4 if cell == "lstm" else 3, states=2 if cell == "lstm" else 1)
            case "max" | "average":
                self.pool()
            case "add":
                self.add()
            case "lookup":
                self.lookup()
            case "binary":
                self.binary()
            case "copy":
                self.copy()
            case "rescale":
                self.rescale()
            case "slice":
                self.slice_pad()
            case "select":
                self.select()
            case "normalise":
                self.normalise()
            case "softmax":
                self.softmax()
            case "unpack":
                self.unpack_indices()
        rule = KERNELS[self.call.kernel].scratch
        if rule is not None and self.call.scratch is not None:
            self.size("scratch memory", self.call.scratch, rule.size_bytes(self.f))

    def references(self) -> None:
        call, program = self.call, self.program
        self.require(call.kernel in KERNELS, "no such kernel")
        kernel = KERNELS[call.kernel]
        self.require(call.indices is None or "indices" in kernel.tables, "takes no indices")
        needed = len(kernel.tables) - (call.indices is not None)
        self.require(len(call.tables) == needed, f"needs {needed} tables, has {len(call.tables)}")
        for name, index in {"descriptor": call.descriptor, **tables_of(call)}.items():
            self.require(0 <= index < len(program.tables), f"its {name} is table {index}, there are {len(program.tables)}")
            self.require(program.tables[index].role is Role(name), f"its {name} is a table of {program.tables[index].role.value}")
        self.require(len(call.inputs) == kernel.inputs, f"needs {kernel.inputs} inputs, has {len(call.inputs)}")
        self.require((call.scratch is None) == (kernel.scratch is None), "scratch memory without a rule for it, or the reverse")
        for buffer in _buffers_of(call):
            self.require(0 <= buffer < len(program.buffers), f"buffer {buffer} does not exist")
        unpacks = call.kernel == "lutra_unpack_indices"
        for buffer in (*call.inputs, call.output):
            self.require(program.buffers[buffer].storage is not Storage.SCRATCH, f"buffer {buffer} is scratch memory")
            is_indices = program.buffers[buffer].storage is Storage.INDICES
            self.require(is_indices == unpacks, f"buffer {buffer} is {'no' if unpacks else 'for'} indices")
        self.require(program.buffers[call.output].storage is not Storage.INPUT, f"writes to the input in buffer {call.output}")
        if call.scratch is not None:
            self.require(program.buffers[call.scratch].storage is Storage.SCRATCH, f"buffer {call.scratch} is no scratch memory")
        if call.indices is not None:
            before = program.calls[self.index - 1] if self.index > 0 else None
            written = before is not None and before.kernel == "lutra_unpack_indices" and before.output == call.indices
            self.require(written, f"the call before does not unpack its indices into buffer {call.indices}")

    def descriptor(self) -> None:
        descriptor = KERNELS[self.call.kernel].descriptor
        self.require(tuple(self.f) == descriptor.fields, f"its fields are not those of {descriptor.c_type}")
        raw = self.table(Role.DESCRIPTOR, self.call.descriptor, descriptor.size_bytes).data.tobytes()
        start = 0
        for name in descriptor.fields:
            end = start + (2 if name in descriptor.halfwords else 1)
            stored = int.from_bytes(raw[start:end], "little", signed=name in descriptor.signed)
            self.require(stored == self.f[name], f"{name} is {self.f[name]}, but {stored} in its descriptor")
            start = end
        if "output_min" in self.f:
            self.require(self.f["output_min"] <= self.f["output_max"], "output_min is above output_max")
        self.require(self.f.get("reserved", 0) == 0, "reserved is not 0")

    def ranges(self, ranges: Ranges) -> None:
        for name, (low, high) in ranges.items():
            self.require(low <= self.f[name] <= high, f"{name} is {self.f[name]}, allowed {low}..{high}")

    def size(self, what: str, buffer: int, size_bytes: int) -> None:
        actual = self.program.buffers[buffer].size_bytes
        self.require(actual == size_bytes, f"its {what} takes {size_bytes} bytes, buffer {buffer} has {actual}")

    def table(self, role: Role, index: int, count: int) -> Table:
        table = self.program.tables[index]
        dtype = {
            Role.DESCRIPTOR: np.uint8, Role.INDICES: np.uint8, Role.CODED: np.uint8, Role.MASK: np.uint8, Role.CODEBOOK: np.int8,
            Role.WEIGHTS: np.int8, Role.LOOKUP: np.int8,
        }.get(role, np.uint16)
        fits = table.data.dtype == dtype and table.data.shape == (count,)
        self.require(fits, f"its {role.value} must be {np.dtype(dtype).name} [{count}], not {table.data.dtype} {list(table.data.shape)}")
        return table

    # Layers with weights

    def convolution(self) -> None:
        f = self.f
        self.ranges(_CONV2D_RANGES)
        self.require(f["in_c"] % f["groups"] == 0 == f["out_c"] % f["groups"], f"{f['groups']} groups do not divide the channels")
        self.require(f["pool_h"] <= f["out_h"] and f["pool_w"] <= f["out_w"], "the fused pooling is larger than the image")
        self.size("input", self.call.inputs[0], f["in_h"] * f["in_w"] * f["in_c"])
        self.size("output", self.call.output, f["out_h"] // f["pool_h"] * (f["out_w"] // f["pool_w"]) * f["out_c"])
        depthwise = self.call.kernel == "lutra_conv2d_depthwise"
        self.require(not depthwise or f["groups"] == f["in_c"] == f["out_c"], "not depthwise")
        padded = int(leaves_image(f) and f["input_zero_point"] != 0)
        self.require(f["padded"] == padded, f"padded is {f['padded']}, its windows and zero point make it {padded}")
        if self.call.kernel not in ("lutra_conv2d_lut", "lutra_conv2d_lut8"):
            blocks = (1, f["out_c"]) if self.call.kernel == "lutra_conv2d_decode" else (0, 0)
            self.ranges({"block": blocks, "keep_offsets": (0, 0), "packed_sums": (0, 0)})
        self.weighted(taps=f["kernel_h"] * f["kernel_w"], channels=f["in_c"] // f["groups"])

    def linear(self) -> None:
        f = self.f
        self.ranges({"in_c": _POSITIVE, "out_c": _POSITIVE})
        self.size("input", self.call.inputs[0], f["in_c"])
        self.size("output", self.call.output, f["out_c"])
        self.weighted(taps=1, channels=f["in_c"])

    def recurrent(self, gates: int, states: int) -> None:
        f = self.f
        self.ranges({"steps": _POSITIVE, "in_c": _POSITIVE, "input_shift": (1, SHIFT_MAX)})  # with a 16-bit multiplier enough for int32
        self.ranges(dict.fromkeys(("initial", "reverse", "sequence"), (0, 1)))
        self.require(f["out_c"] == gates * f["in_c"], f"{f['in_c']} units have {gates} gates each, not {f['out_c']} in all")
        self.size("input", self.call.inputs[0], f["steps"] * f["out_c"])
        self.size("output", self.call.output, (f["steps"] if f["sequence"] else 1) * f["in_c"])
        tables = tables_of(self.call)
        self.table(Role.TANGENTS, tables["tangents"], 129)
        self.table(Role.INITIAL, tables["initial"], states * f["in_c"] if f["initial"] else 1)
        self.weighted(taps=1, channels=f["in_c"])

    def weighted(self, taps: int, channels: int) -> None:
        f = self.f
        self.ranges(_REQUANTIZATION_RANGES)
        if "indices" in KERNELS[self.call.kernel].tables:
            self.require(f.get("groups", 1) == 1, "codebooks are for convolutions of one group")
            self.ranges(_CODING_RANGES)
            self.index_width()
            codebook = self.table(Role.CODEBOOK, self.call.tables[0], f["subvector"] << f["log2_codewords"]).data
            subvectors = -(-channels // f["subvector"])
            size = index_bytes(f["out_c"], taps, subvectors, f["index_bits"])
            if self.call.indices is None:
                self.table(Role.INDICES, self.call.tables[1], size)
            else:
                self.size("memory for indices", self.call.indices, size)
            if not self.call.kernel.endswith("_decode"):
                self.lookup_tables(subvectors, int(np.abs(codebook.astype(np.int64)).reshape(-1, f["subvector"]).sum(axis=1).max()))
        else:
            self.ranges(dict.fromkeys(("log2_codewords", "subvector", "index_bits"), (0, 0)))
            self.table(Role.WEIGHTS, self.call.tables[0], f["out_c"] * taps * channels)
        records = self.table(Role.CHANNELS, tables_of(self.call)["channels"], 2 * f["out_c"]).data.reshape(-1, 2).astype(np.uint16)
        arithmetic = Requantization(
            records[:, 0].view(np.int16), records[:, 1], f["bias_shift"], f["acc_shift"], f["output_shift"]
        )
        fits = arithmetic.stays_in_int32(bounds_of(layer_weights(self.call, self.program)))
        self.require(fits, "its sums or products can leave int32")

    def index_width(self) -> None:
        bits = self.f["index_bits"]
        self.require(bits in (4, 8), f"index_bits is {bits}, allowed 4 or 8")
        self.require(self.f["log2_codewords"] <= bits, "its indices have too few bits for its codebook")

    def unpack_indices(self) -> None:
        f = self.f
        self.ranges({"log2_codewords": _CODING_RANGES["log2_codewords"]})
        self.index_width()
        self.size("output", self.call.output, f["bytes_low"] + 65536 * f["bytes_high"])
        size, codes = f["coded_bytes_low"] + 65536 * f["coded_bytes_high"], table_bytes(1 << f["log2_codewords"], f["index_bits"])
        self.require(size >= codes, f"its table takes {size} bytes, its frequency codes alone {codes}")
        self.table(Role.CODED, self.call.tables[0], size)

    def lookup_tables(self, subvectors: int, norm: int) -> None:
        """`norm`: the largest L1 norm of a codeword; 128 times that is the largest entry of a table."""
        f, kernel = self.f, self.call.kernel
        limit = PAIRS_L1_LIMIT if kernel.endswith("_pairs") else L1_LIMIT
        self.require(norm <= limit, f"a codeword has an L1 norm of {norm}, {kernel} takes {limit}")
        if kernel.endswith("_pairs"):
            self.ranges({"log2_codewords": (4, 4), "index_bits": (4, 4)})
        elif kernel in ("lutra_conv2d_lut", "lutra_conv2d_lut8"):
            self.ranges({"block": (1, subvectors), "keep_offsets": (0, 1), "packed_sums": (0, 1)})
            self.require(f["block"] % GROUP == 0 or f["block"] == subvectors, f"block is {f['block']}, no whole groups of {GROUP}")
            reach = 4 * f["block"] << f["log2_codewords"] if kernel == "lutra_conv2d_lut" else reach8(f)
            self.require(reach <= 1 << 16, "its tables reach beyond 16-bit offsets")
            self.require(not f["packed_sums"] or 4 * 128 * norm < 1 << 15, "four entries of its tables leave int16, but packed_sums is 1")

    # Layers without weights

    def pool(self) -> None:
        f = self.f
        self.ranges(_POOL_RANGES)
        self.size("input", self.call.inputs[0], f["in_h"] * f["in_w"] * f["in_c"])
        self.size("output", self.call.output, f["out_h"] * f["out_w"] * f["in_c"])
        for axis, pad in (("h", f["pad_top"]), ("w", f["pad_left"])):
            last = (f[f"out_{axis}"] - 1) * f[f"stride_{axis}"] - pad
            self.require(pad < f[f"kernel_{axis}"] and last < f[f"in_{axis}"], "a window lies outside the image")
        if self.call.kernel == "lutra_average_pool":
            self.ranges({**_SHIFT_RANGE, "count_include_pad": (0, 1)})
            size = f["kernel_h"] * f["kernel_w"]
            whole = f["count_include_pad"]
            multipliers = self.table(Role.MULTIPLIERS, self.call.tables[0], 1 if whole else size).data
            counts = np.array([size]) if whole else np.arange(1, size + 1)
            largest = int((255 * counts * multipliers.astype(np.int64)).max()) + (1 << (f["shift"] - 1))
            self.require(largest < INT32_LIMIT, f"its products reach {largest}, beyond int32")

    def add(self) -> None:
        f = self.f
        size = f["size_low"] + 65536 * f["size_high"]
        for what, buffer in (("input", self.call.inputs[0]), ("input", self.call.inputs[1]), ("output", self.call.output)):
            self.size(what, buffer, size)
        self.ranges(_SHIFT_RANGE)  # with 16-bit multipliers enough for int32

    def lookup(self) -> None:
        for what, buffer in (("input", self.call.inputs[0]), ("output", self.call.output)):
            self.size(what, buffer, self.f["size_low"] + 65536 * self.f["size_high"])
        self.table(Role.LOOKUP, self.call.tables[0], 256)

    def binary(self) -> None:
        f = self.f
        pixels = f["pixels_low"] + 65536 * f["pixels_high"]
        steps = STEPS_CHANNELS | STEPS_PIXELS
        self.ranges({"channels": _POSITIVE, "function": (0, len(FUNCTIONS) - 1), **_SHIFT_RANGE})
        self.ranges({"steps_a": (0, steps), "steps_b": (0, steps)})
        for name, buffer in zip("ab", self.call.inputs, strict=True):
            has = f[f"steps_{name}"]
            self.size("input", buffer, (pixels if has & STEPS_PIXELS else 1) * (f["channels"] if has & STEPS_CHANNELS else 1))
        self.size("output", self.call.output, pixels * f["channels"])
        a, b = (max(127 - f[f"zero_point_{name}"], 128 + f[f"zero_point_{name}"]) for name in "ab")
        a, scaled = a * abs(f["multiplier_a"]), b * abs(f["multiplier_b"])
        multiplies = FUNCTIONS[f["function"]] == "multiply"
        largest = (a * b if multiplies else a + scaled) + (1 << (f["shift"] - 1))
        self.require(largest < INT32_LIMIT, f"its products reach {largest}, beyond int32")

    def copy(self) -> None:
        f = self.f
        self.ranges({f"count_{axis}": _POSITIVE for axis in range(COPY_AXES)})
        for side, buffer in (("in", self.call.inputs[0]), ("out", self.call.output)):
            end = f[f"{side}_start_low"] + 65536 * f[f"{side}_start_high"] + 1
            end += sum((f[f"count_{axis}"] - 1) * f[f"{side}_step_{axis}"] for axis in range(COPY_AXES))
            there = self.program.buffers[buffer].size_bytes
            self.require(end <= there, f"its {side}put ends at {end}, the buffer at {there}")

    def rescale(self) -> None:
        f = self.f
        pixels = f["pixels_low"] + 65536 * f["pixels_high"]
        self.require(f["output_offset"] + f["channels"] <= f["output_stride"], "writes beyond the pixel")
        self.size("input", self.call.inputs[0], pixels * f["channels"])
        self.size("output", self.call.output, pixels * f["output_stride"])
        self.ranges(_SHIFT_RANGE)  # with a 16-bit multiplier enough for int32

    def slice_pad(self) -> None:
        f = self.f
        self.ranges({f"{name}_{axis}": _POSITIVE for name in ("in", "out", "step", "count") for axis in "hwc"})
        for axis in "hwc":
            last = f[f"start_{axis}"] + (f[f"count_{axis}"] - 1) * f[f"step_{axis}"]
            self.require(last < f[f"in_{axis}"], f"reads {axis} = {last} of {f[f'in_{axis}']}")
            self.require(f[f"pad_{axis}"] + f[f"count_{axis}"] <= f[f"out_{axis}"], f"writes more {axis} than there is")
        self.size("input", self.call.inputs[0], f["in_h"] * f["in_w"] * f["in_c"])
        self.size("output", self.call.output, f["out_h"] * f["out_w"] * f["out_c"])

    def select(self) -> None:
        f = self.f
        self.ranges({"in_c": _POSITIVE, "out_c": (1, f["in_c"])})
        self.size("input", self.call.inputs[0], f["in_c"])
        self.size("output", self.call.output, f["out_c"])
        mask = self.table(Role.MASK, self.call.tables[0], -(-f["in_c"] // 8))
        chosen = int(np.unpackbits(mask.data.view(np.uint8), bitorder="little").sum())
        self.require(chosen == f["out_c"], f"its mask has {chosen} of {f['out_c']} features")

    def normalise(self) -> None:
        f = self.f
        self.ranges({"outer": _POSITIVE, "count": _POSITIVE, "inner": _POSITIVE, "gain": (1 << 14, (1 << 15) - 1), "gain_shift": (2, 24)})
        shift = max(0, (255 * f["count"]).bit_length() - 14)
        self.require(f["value_shift"] == shift, f"value_shift is {f['value_shift']}, for {f['count']} values it is {shift}")
        epsilon = f["epsilon_low"] + (f["epsilon_mid"] << 16) + (f["epsilon_high"] << 32)
        least = least_epsilon(f["gain_shift"], shift)
        self.require(epsilon >= least, f"epsilon is {epsilon}, it must be at least {least}")
        for what, buffer in (("input", self.call.inputs[0]), ("output", self.call.output)):
            self.size(what, buffer, f["outer"] * f["count"] * f["inner"])

    def softmax(self) -> None:
        f = self.f
        self.ranges({"pixels": _POSITIVE, "channels": (1, SOFTMAX_CHANNELS)})
        for what, buffer in (("input", self.call.inputs[0]), ("output", self.call.output)):
            self.size(what, buffer, f["pixels"] * f["channels"])
        self.table(Role.EXPONENTIALS, self.call.tables[0], 256)


def _check_table_users(program: Program) -> None:
    for table in program.tables:
        users = tuple(i for i, call in enumerate(program.calls) if table.index in (call.descriptor, *call.tables))
        _require(users, f"table {table.index} is read by no call")
        _require(table.calls == users, f"table {table.index} is read by the calls {users}, but lists {table.calls}")


def _check_ports(program: Program) -> None:
    for storage, ports in ((Storage.INPUT, program.inputs), (Storage.OUTPUT, program.outputs)):
        buffers = [port.buffer for port in ports]
        stored = [buffer.index for buffer in program.buffers if buffer.storage is storage]
        _require(sorted(buffers) == stored, f"the {storage.value} buffers are {stored}, those of the ports {buffers}")
        for port in ports:
            size = program.buffers[port.buffer].size_bytes
            _require(prod(port.shape) == size, f"{storage.value} '{port.name}' of shape {port.shape} is in {size} bytes")


def _check_order(program: Program) -> None:
    """Every buffer is written before it is read, by one call or by the parts of a concat."""
    for buffer in program.buffers:
        if buffer.storage is Storage.INPUT:
            continue
        users, writers = _users(program, buffer), _writers(program, buffer)
        _require(users, f"{_name(buffer)} is used by no call")
        _require(writers and users[0] == writers[0], f"{_name(buffer)} is read before it is written")
        _require(buffer.storage is not Storage.SCRATCH or len(users) == 1, f"{_name(buffer)} is used by the calls {users}")
        _check_parts(program, buffer, writers)


def _check_memory(program: Program) -> None:
    for buffer in program.buffers:
        users = _users(program, buffer) or [0]
        first = 0 if buffer.storage is Storage.INPUT else users[0]
        last = len(program.calls) - 1 if buffer.storage is Storage.OUTPUT else users[-1]
        end = buffer.offset + buffer.size_bytes
        lives = f"lives from {first} to {last}, not {buffer.first} to {buffer.last}"
        _require((buffer.first, buffer.last) == (first, last), f"{_name(buffer)} {lives}")
        _require(buffer.offset % ARENA_ALIGN == 0, f"{_name(buffer)} is at {buffer.offset}, not aligned to {ARENA_ALIGN}")
        _require(buffer.offset >= 0 and end <= program.arena_bytes, f"{_name(buffer)} ends at {end}, the arena at {program.arena_bytes}")
    for a, b in combinations(program.buffers, 2):
        alive_together = a.first <= b.last and b.first <= a.last
        share_bytes = a.offset < b.offset + b.size_bytes and b.offset < a.offset + a.size_bytes
        if alive_together and share_bytes:
            legal = _shared(program, a, b) or _shared(program, b, a)
            _require(legal, f"buffers {a.index} and {b.index} overlap while both are alive")


def _check_parts(program: Program, buffer: Buffer, writers: list[int]) -> None:
    """Several calls may write one buffer only as the parts of a concat, disjoint and all before the first read, or as copies that are."""
    kernels = {program.calls[i].kernel for i in writers}
    if len(writers) == 1 and not kernels & {"lutra_rescale_int8", "lutra_copy_int8"}:
        return
    calls = [program.calls[i] for i in writers]
    name = _name(buffer)
    reads = [i for i, call in enumerate(program.calls) if buffer.index in call.inputs]
    _require(not reads or writers[-1] < reads[0], f"{name} is read before it is complete")
    if kernels == {"lutra_copy_int8"}:
        written = np.zeros(buffer.size_bytes, np.int64)
        for call in calls:
            np.add.at(written, copy_places(call.fields, "out").ravel(), 1)
        _require((written == 1).all(), f"the copies {writers} do not fill {name} once")
        return
    _require(all(call.kernel == "lutra_rescale_int8" for call in calls), f"{name} is written by the calls {writers}")
    _require(len({call.fields["output_stride"] for call in calls}) == 1, f"{name} is written with several strides")
    spans = sorted((call.fields["output_offset"], call.fields["channels"]) for call in calls)
    edges = [0, *(offset + channels for offset, channels in spans)]
    tiled = [offset for offset, _ in spans] == edges[:-1] and edges[-1] == calls[0].fields["output_stride"]
    _require(tiled, f"the parts {spans} of {name} do not fill its {calls[0].fields['output_stride']} channels once")


def _shared(program: Program, source: Buffer, result: Buffer) -> bool:
    """Whether the call that ends `source` and begins `result` may write over what it reads."""
    call = program.calls[result.first]
    handed_over = (
        source.last == result.first
        and source.storage is not Storage.OUTPUT
        and source.index in call.inputs[: KERNELS[call.kernel].overwrites]
        and result.index == call.output
    )
    if not handed_over or KERNELS[call.kernel].lead(call.fields) is None:
        return False
    if "kernel_h" in call.fields:
        flat = call.kernel == "lutra_conv2d_lut8" and is_flat(call.fields)
        return (_pixels_stay_behind if flat else _stays_behind)(call.fields, source.offset - result.offset)
    return source.offset == result.offset and source.size_bytes >= result.size_bytes


def _stays_behind(f: Fields, lead: int) -> bool:
    """Whether no output row of a convolution that begins `lead` bytes before its input reaches input rows that are still to be read."""
    in_row, out_row = f["in_w"] * f["in_c"], f["out_w"] // f["pool_w"] * f["out_c"]
    stored = range(0, f["out_h"] - f["pool_h"] + 1, f["pool_h"])
    return lead >= 0 and all(
        row * f["stride_h"] + f["kernel_h"] - f["pad_top"] >= f["in_h"]
        or count * out_row <= lead + max(0, row * f["stride_h"] + f["kernel_h"] - f["pad_top"]) * in_row
        for count, row in enumerate(stored, 1)
    )


def _pixels_stay_behind(f: Fields, lead: int) -> bool:
    """The same of a convolution that reads and writes sixteen pixels after the other."""
    read = range(16, f["in_h"] * f["in_w"], 16)
    return lead >= 0 and all(pixels * f["out_c"] <= lead + pixels * f["in_c"] for pixels in read)


def _name(buffer: Buffer) -> str:
    return f"buffer {buffer.index} ({buffer.storage.value})"


def _users(program: Program, buffer: Buffer) -> list[int]:
    return [i for i, call in enumerate(program.calls) if buffer.index in _buffers_of(call)]


def _writers(program: Program, buffer: Buffer) -> list[int]:
    return [i for i, call in enumerate(program.calls) if buffer.index in (call.output, call.scratch)]


def _buffers_of(call: Call) -> tuple[int, ...]:
    return (*call.inputs, call.output, *(buffer for buffer in (call.scratch, call.indices) if buffer is not None))
