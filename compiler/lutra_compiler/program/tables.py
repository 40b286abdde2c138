"""The bytes of every constant table, as SPEC.md lays them out."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.encoding import Quantization
from lutra_compiler.ir.functions import evaluate
from lutra_compiler.ir.ops import Step
from lutra_compiler.numerics.index_coding import decode_indices
from lutra_compiler.numerics.packing import join_indices, unpack_indices
from lutra_compiler.program.kernels import COPY_AXES, KERNELS, Descriptor
from lutra_compiler.program.program import Call, Program, Role, Table

TableData = npt.NDArray[np.int8] | npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass
class TableSet:
    """Collects tables; those of one role with the same bytes are stored once."""

    _tables: dict[tuple[Role, str, bytes], tuple[int, TableData, list[int]]] = field(default_factory=dict)

    def add(self, role: Role, data: TableData, call: int, c_type: str = "") -> int:
        """The index of a table that holds `data` and is read by the call `call`."""
        key = (role, c_type, data.tobytes())
        index, _, calls = self._tables.setdefault(key, (len(self._tables), data, []))
        calls.append(call)
        return index

    def tables(self) -> tuple[Table, ...]:
        """All tables, by index."""
        return tuple(
            Table(index, role, data, tuple(calls)) for (role, *_), (index, data, calls) in self._tables.items()
        )


def descriptor_bytes(descriptor: Descriptor, fields: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    """A layer descriptor as it lies in flash, uint8."""
    codes = "".join(
        code.lower() if name in descriptor.signed else code
        for names, code in ((descriptor.halfwords, "H"), (descriptor.bytes_, "B"))
        for name in names
    )
    return np.frombuffer(struct.pack("<" + codes, *(fields[name] for name in descriptor.fields)), np.uint8)


def channel_records(bias: npt.NDArray[np.int16], multiplier: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """uint16 [2 * out]: bias and multiplier of each output channel."""
    records: npt.NDArray[np.uint16] = np.stack([bias.view(np.uint16), multiplier], axis=1).ravel()
    return records


def exponentials(input_scale: float) -> npt.NDArray[np.uint16]:
    """uint16 [256]: round(32767 * exp(-k * input_scale))."""
    table: npt.NDArray[np.uint16] = np.rint(32767 * np.exp(-np.arange(256) * input_scale)).astype(np.uint16)
    return table


def tangents() -> npt.NDArray[np.uint16]:
    """uint16 [129]: tanh(k / 16) in units of 2^-15, at most 32767."""
    table: npt.NDArray[np.uint16] = np.minimum(np.rint(32768 * np.tanh(np.arange(129) / 16)), 32767).astype(np.uint16)
    return table


def function_table(steps: Sequence[Step], source: Quantization, result: Quantization) -> npt.NDArray[np.int8]:
    """int8 [256]: the outputs of an Elementwise for inputs from -128 to 127. Where it is not defined, it counts as 0."""
    integers = np.arange(-128, 128, dtype=np.float64)
    y = evaluate(steps, source.scale * (integers - source.zero_point)) / result.scale + result.zero_point
    y = np.where(np.isnan(y), result.zero_point, y)
    return np.rint(np.clip(y, -128, 127)).astype(np.int8)


def tables_of(call: Call) -> dict[str, int]:
    """The tables that a call reads, by their name in its kernel."""
    names = (name for name in KERNELS[call.kernel].tables if name != "indices" or call.indices is None)
    return dict(zip(names, call.tables, strict=True))


def decoded_indices(call: Call, tables: Sequence[Table]) -> npt.NDArray[np.uint8]:
    """What a call of lutra_unpack_indices writes: packed indices, uint8 [bytes]."""
    f = call.fields
    count = (f["bytes_low"] + 65536 * f["bytes_high"]) * 8 // f["index_bits"]
    coded = tables[tables_of(call)["coded"]].data.astype(np.uint8)
    return join_indices(decode_indices(coded, count, 1 << f["log2_codewords"], f["index_bits"]), f["index_bits"])


def copy_places(f: Mapping[str, int], side: str) -> npt.NDArray[np.int64]:
    """Where lutra_copy_int8 reads (`side` "in") or writes ("out"), counted from the start of the buffer, int64 [count_0, .. count_4]."""
    places = np.array(f[f"{side}_start_low"] + 65536 * f[f"{side}_start_high"], np.int64)
    for axis in range(COPY_AXES):
        places = places[..., None] + np.arange(f[f"count_{axis}"]) * f[f"{side}_step_{axis}"]
    return places


def layer_weights(call: Call, program: Program) -> npt.NDArray[np.int8]:
    """The weight of a convolution, int8 [out, kernel_h, kernel_w, channels of a group], or fully connected layer, int8 [out, in]."""
    f = call.fields
    data = {name: program.tables[index].data for name, index in tables_of(call).items()}
    if call.indices is not None:
        unpacking = next(other for other in program.calls if other.output == call.indices)
        data["indices"] = decoded_indices(unpacking, program.tables)
    linear = "kernel_h" not in f
    kernel = (1, 1) if linear else (f["kernel_h"], f["kernel_w"])
    channels = f["in_c"] // f.get("groups", 1)
    taps = kernel[0] * kernel[1]
    if "indices" in data:
        codewords, subvector = 1 << f["log2_codewords"], f["subvector"]
        indices = unpack_indices(data["indices"].astype(np.uint8), f["out_c"], taps, -(-channels // subvector), f["index_bits"])
        codebook = data["codebook"].astype(np.int8).reshape(codewords, subvector)
        weights = codebook[indices & (codewords - 1)].reshape(f["out_c"], taps, -1)[:, :, :channels]
    elif call.kernel == "lutra_conv2d_depthwise":
        weights = data["weights"].astype(np.int8).reshape(taps, f["out_c"]).T
    else:
        weights = data["weights"].astype(np.int8)
    shape = (f["out_c"], channels) if linear else (f["out_c"], *kernel, channels)
    return np.ascontiguousarray(weights).reshape(shape)
