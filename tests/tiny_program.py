"""A fixed Program small enough to read: convolution with pooling, fully connected layer, softmax."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.encoding import Quantization
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.program import Buffer, Call, LayerRecord, Port, Program, Role, Storage, Table

_CONV = {
    "in_h": 4, "in_w": 4, "in_c": 2, "out_h": 4, "out_w": 4, "out_c": 3, "groups": 1, "block": 1, "kernel_h": 3, "kernel_w": 3,
    "stride_h": 1, "stride_w": 1, "pad_top": 1, "pad_left": 1, "pool_h": 2, "pool_w": 2, "input_zero_point": -3,
    "output_zero_point": -20, "output_min": -20, "output_max": 127, "bias_shift": 2, "acc_shift": 1, "output_shift": 12,
    "log2_codewords": 4, "subvector": 2, "index_bits": 4, "padded": 1, "keep_offsets": 1, "packed_sums": 0, "reserved": 0,
}
_LINEAR = {
    "in_c": 12, "out_c": 5, "output_zero_point": 4, "output_min": -128, "output_max": 127, "bias_shift": 1, "acc_shift": 0,
    "output_shift": 14, "log2_codewords": 4, "subvector": 4, "index_bits": 4, "reserved": 0,
}
_SOFTMAX = {"pixels": 1, "channels": 5}


def tiny_program(names: Sequence[str] = ("image", "features", "conv", "fc", "softmax", "probabilities")) -> Program:
    """The program; `names` are all the strings that a model brings along."""
    random = np.random.default_rng(1)
    tables = (
        descriptor_table(0, "lutra_conv2d_lut", _CONV, (0,)),
        Table(1, Role.CODEBOOK, random.integers(-60, 61, 32, dtype=np.int8), (0,)),
        Table(2, Role.INDICES, random.integers(0, 16, 27, dtype=np.uint8), (0,)),
        Table(3, Role.CHANNELS, _channels([40, -25, 7], [0x0A31, 0x0913, 0x1C07]), (0,)),
        descriptor_table(4, "lutra_linear_decode", _LINEAR, (1,)),
        Table(5, Role.CODEBOOK, random.integers(-60, 61, 64, dtype=np.int8), (1,)),
        Table(6, Role.INDICES, random.integers(0, 256, 10, dtype=np.uint8) & np.tile(np.array([255, 15], np.uint8), 5), (1,)),
        Table(7, Role.CHANNELS, _channels([-300, 0, 220, -32768, 32767], [0x0812, 0x0FFF, 0x1900, 0x0001, 0xF800]), (1,)),
        descriptor_table(8, "lutra_softmax_int8", _SOFTMAX, (2,)),
        Table(9, Role.EXPONENTIALS, np.rint(32767 * np.exp(-0.05 * np.arange(256))).astype(np.uint16), (2,)),
    )
    buffers = (
        Buffer(0, Storage.INPUT, 32, 0, 0, 0),
        Buffer(1, Storage.ACTIVATION, 12, 32, 0, 1),
        Buffer(2, Storage.SCRATCH, 356, 44, 0, 0),
        Buffer(3, Storage.ACTIVATION, 5, 0, 1, 2),
        Buffer(4, Storage.OUTPUT, 5, 8, 2, 2),
        Buffer(5, Storage.SCRATCH, 48, 44, 1, 1),
    )
    image, features, conv, linear, softmax, probabilities = names
    calls = (
        Call("lutra_conv2d_lut", _CONV, 0, (1, 2, 3), (0,), 1, 2, LayerRecord("conv2d", (conv,), features, (2, 2, 3), 864, 57)),
        Call("lutra_linear_decode", _LINEAR, 4, (5, 6, 7), (1,), 3, 5, LayerRecord("linear", (linear,), linear, (5,), 60, 65)),
        Call("lutra_softmax_int8", _SOFTMAX, 8, (9,), (3,), 4, None, LayerRecord("softmax", (softmax,), probabilities, (5,), 0, 0)),
    )
    inputs = (Port(image, (4, 4, 2), "NCHW", Quantization(0.1, -3), 0),)
    outputs = (Port(probabilities, (5,), "NF", Quantization(1 / 256, -128), 4),)
    return Program("cortex-m0", inputs, outputs, calls, tables, buffers, 400)


def descriptor_table(index: int, kernel: str, fields: dict[str, int], calls: tuple[int, ...]) -> Table:
    """The descriptor of `kernel` with the members `fields` as a table."""
    descriptor = KERNELS[kernel].descriptor
    halfwords = np.array([fields[name] & 0xFFFF for name in descriptor.halfwords], "<u2").view(np.uint8)
    octets = np.array([fields[name] & 0xFF for name in descriptor.bytes_], np.uint8)
    return Table(index, Role.DESCRIPTOR, np.concatenate([halfwords, octets]), calls)


def with_table(program: Program, index: int, data: npt.NDArray[np.generic]) -> Program:
    """`program` with the content of one table replaced."""
    tables = tuple(replace(table, data=data) if table.index == index else table for table in program.tables)
    return replace(program, tables=tables)


def with_random_indices(program: Program) -> Program:
    """`program` with any bytes in its tables of indices, coded or not, as a damaged flash has them."""
    for table in program.tables:
        if table.role in (Role.INDICES, Role.CODED):
            program = with_table(program, table.index, np.random.default_rng(table.index).integers(0, 256, table.data.size, np.uint8))
    return program


def _channels(biases: list[int], multipliers: list[int]) -> npt.NDArray[np.uint16]:
    return np.array([biases, multipliers]).T.astype(np.uint16).reshape(-1)
