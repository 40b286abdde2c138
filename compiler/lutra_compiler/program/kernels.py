"""The kernels of the C runtime as the compiler sees them: descriptors, tables, scratch.

One entry a kernel of runtime_c/include/lutra/lutra_kernels.h; a test compares the two field by field.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Fields = Mapping[str, int]


@dataclass(frozen=True)
class Descriptor:
    """A C struct of 16-bit members (`halfwords`) followed by 8-bit members (`bytes_`); `signed` names the signed ones."""

    c_type: str
    halfwords: tuple[str, ...]
    bytes_: tuple[str, ...]
    signed: frozenset[str] = frozenset()

    @property
    def fields(self) -> tuple[str, ...]:
        """All members in C order."""
        return self.halfwords + self.bytes_

    @property
    def size_bytes(self) -> int:
        """Size of the struct on every target."""
        return 2 * len(self.halfwords) + len(self.bytes_)

    def range_of(self, field: str) -> tuple[int, int]:
        """Smallest and largest value of a member."""
        bits = 16 if field in self.halfwords else 8
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if field in self.signed else (0, (1 << bits) - 1)


_SIGNED = frozenset({
    "input_zero_point", "output_zero_point", "output_min", "output_max", "zero_point_a", "zero_point_b", "zero_point",
})

CONV2D = Descriptor(
    "lutra_conv2d",
    ("in_h", "in_w", "in_c", "out_h", "out_w", "out_c", "groups"),
    (
        "kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left", "pool_h", "pool_w",
        "input_zero_point", "output_zero_point", "output_min", "output_max",
        "bias_shift", "acc_shift", "output_shift", "log2_codewords", "subvector", "index_bits",
    ),
    _SIGNED,
)
LINEAR = Descriptor(
    "lutra_linear",
    ("in_c", "out_c"),
    (
        "output_zero_point", "output_min", "output_max", "bias_shift", "acc_shift", "output_shift",
        "log2_codewords", "subvector", "index_bits", "reserved",
    ),
    _SIGNED,
)
POOL = Descriptor(
    "lutra_pool",
    ("in_h", "in_w", "in_c", "out_h", "out_w"),
    (
        "kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left",
        "input_zero_point", "output_zero_point", "output_min", "output_max", "shift", "count_include_pad",
    ),
    _SIGNED,
)
ADD = Descriptor(
    "lutra_add",
    ("size_low", "size_high", "multiplier_a", "multiplier_b"),
    ("zero_point_a", "zero_point_b", "output_zero_point", "output_min", "output_max", "shift"),
    _SIGNED,
)
RESCALE = Descriptor(
    "lutra_rescale",
    ("pixels_low", "pixels_high", "channels", "output_stride", "output_offset", "multiplier"),
    ("input_zero_point", "output_zero_point", "output_min", "output_max", "shift", "reserved"),
    _SIGNED,
)
SLICE_PAD = Descriptor(
    "lutra_slice_pad",
    (
        "in_h", "in_w", "in_c", "out_h", "out_w", "out_c", "start_h", "start_w", "start_c", "step_h", "step_w", "step_c",
        "pad_h", "pad_w", "pad_c", "count_h", "count_w", "count_c",
    ),
    ("zero_point", "reserved"),
    _SIGNED,
)
SOFTMAX = Descriptor("lutra_softmax", ("pixels", "channels"), ())


def ring_rows(fields: Fields) -> int:
    """Rows of accumulators that one input row of a convolution meets: LUTRA_CONV2D_RING_ROWS."""
    return min(-(-fields["kernel_h"] // fields["stride_h"]), fields["out_h"])


def _conv2d_lut_scratch(fields: Fields) -> int:
    return 8 * (1 << fields["log2_codewords"]) + 4 * ring_rows(fields) * fields["out_w"] * fields["out_c"]


def _linear_lut_scratch(fields: Fields) -> int:
    return 8 * (1 << fields["log2_codewords"]) + 4 * fields["out_c"]


@dataclass(frozen=True)
class ScratchRule:
    """Scratch memory of a kernel: in Python, and the C macro that must give the same number from the named fields."""

    size_bytes: Callable[[Fields], int]
    macro: str
    arguments: tuple[str, ...]  # descriptor fields; "codewords" stands for 1 << log2_codewords


@dataclass(frozen=True)
class Kernel:
    """A C function: descriptor, then `tables` in order, then `inputs` pointers, the output, and scratch if there is a rule."""

    name: str
    descriptor: Descriptor
    tables: tuple[str, ...]
    inputs: int = 1
    scratch: ScratchRule | None = None
    in_place: bool = False  # the output may share the memory of an input of the same size


KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel(
            "lutra_conv2d_lut", CONV2D, ("codebook", "indices", "channels"),
            scratch=ScratchRule(
                _conv2d_lut_scratch, "LUTRA_CONV2D_LUT_SCRATCH_BYTES",
                ("kernel_h", "stride_h", "out_h", "out_w", "out_c", "codewords"),
            ),
        ),
        Kernel("lutra_conv2d_decode", CONV2D, ("codebook", "indices", "channels")),
        Kernel("lutra_conv2d_dense", CONV2D, ("weights", "channels")),
        Kernel("lutra_conv2d_depthwise", CONV2D, ("weights", "channels")),
        Kernel(
            "lutra_linear_lut", LINEAR, ("codebook", "indices", "channels"),
            scratch=ScratchRule(_linear_lut_scratch, "LUTRA_LINEAR_LUT_SCRATCH_BYTES", ("out_c", "codewords")),
        ),
        Kernel("lutra_linear_decode", LINEAR, ("codebook", "indices", "channels")),
        Kernel("lutra_linear_dense", LINEAR, ("weights", "channels")),
        Kernel("lutra_max_pool", POOL, ()),
        Kernel("lutra_average_pool", POOL, ("multipliers",)),
        Kernel("lutra_add_int8", ADD, (), inputs=2, in_place=True),
        Kernel("lutra_rescale_int8", RESCALE, (), in_place=True),
        Kernel("lutra_slice_pad_int8", SLICE_PAD, ()),
        Kernel("lutra_softmax_int8", SOFTMAX, ("exponentials",), in_place=True),
    )
}
