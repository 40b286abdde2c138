"""The kernels of the C runtime as the compiler sees them: descriptors, tables, scratch, and memory that output and input may share.

One entry a kernel of the headers in runtime_c/include/lutra; a test compares the two field by field.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lutra_compiler.ir.rearranging import MAX_AXES

Fields = Mapping[str, int]


@dataclass(frozen=True)
class Descriptor:
    """A C struct of 16-bit members (`halfwords`) followed by 8-bit members (`bytes_`); `signed` names the signed ones."""

    c_type: str
    halfwords: tuple[str, ...]
    bytes_: tuple[str, ...]
    signed: frozenset[str] = frozenset()
    header: str = "lutra/lutra_kernels.h"  # that declares it and its kernels

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
FUNCTIONS = ("multiply", "add", "minimum", "maximum")  # of lutra_binary, by number: LUTRA_MULTIPLY, ...
STEPS_CHANNELS, STEPS_PIXELS = 1, 2  # LUTRA_STEPS_CHANNELS, ...
COPY_AXES = MAX_AXES
DECODED_ROWS = 4  # LUTRA_DECODED_ROWS
_OPERATORS = "lutra/lutra_operators.h"

CONV2D = Descriptor(
    "lutra_conv2d",
    ("in_h", "in_w", "in_c", "out_h", "out_w", "out_c", "groups", "block"),
    (
        "kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left", "pool_h", "pool_w",
        "input_zero_point", "output_zero_point", "output_min", "output_max",
        "bias_shift", "acc_shift", "output_shift", "log2_codewords", "subvector", "index_bits",
        "padded", "keep_offsets", "packed_sums", "reserved",
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
LOOKUP = Descriptor("lutra_lookup", ("size_low", "size_high"), (), header=_OPERATORS)
BINARY = Descriptor(
    "lutra_binary",
    ("pixels_low", "pixels_high", "channels", "multiplier_a", "multiplier_b"),
    (
        "zero_point_a", "zero_point_b", "output_zero_point", "output_min", "output_max", "shift", "function", "steps_a", "steps_b",
        "reserved",
    ),
    _SIGNED | {"multiplier_a", "multiplier_b"},
    _OPERATORS,
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
COPY = Descriptor(
    "lutra_copy",
    (
        *(f"{name}_{axis}" for name in ("count", "in_step", "out_step") for axis in range(COPY_AXES)),
        "in_start_low", "in_start_high", "out_start_low", "out_start_high",
    ),
    (),
    header=_OPERATORS,
)
SELECT = Descriptor("lutra_select", ("in_c", "out_c"), ())
NORMALISE = Descriptor(
    "lutra_normalise",
    ("outer", "count", "inner", "epsilon_low", "epsilon_mid", "epsilon_high", "gain"),
    ("gain_shift", "value_shift", "output_zero_point", "output_min", "output_max", "reserved"),
    _SIGNED,
    _OPERATORS,
)
RECURRENT = Descriptor(
    "lutra_recurrent",
    ("steps", "in_c", "out_c", "input_multiplier"),
    (
        "input_zero_point", "input_shift", "bias_shift", "acc_shift", "output_shift", "log2_codewords", "subvector", "index_bits",
        "initial", "reverse", "sequence", "reserved",
    ),
    _SIGNED,
    "lutra/lutra_recurrent.h",
)
SOFTMAX = Descriptor("lutra_softmax", ("pixels", "channels"), ())
INDICES = Descriptor(
    "lutra_indices", ("bytes_low", "bytes_high", "coded_bytes_low", "coded_bytes_high"), ("log2_codewords", "index_bits")
)


# What scratch rules ask for beyond the descriptors' members.
_DERIVED: Mapping[str, Callable[[Fields], int]] = {
    "codewords": lambda f: 1 << f["log2_codewords"],
    "subvectors": lambda f: subvectors(f),
    "length": lambda f: f["kernel_h"] * f["kernel_w"] * f["in_c"] // f["groups"],
    "out_group": lambda f: f["out_c"] // f["groups"],
    "d": lambda f: f["subvector"],
    "flat": lambda f: int(is_flat(f)),
}


def subvectors(fields: Fields) -> int:
    """Subvectors of the input at one tap of a product-quantized layer."""
    return -(-fields["in_c"] // fields["subvector"])


def is_flat(fields: Fields) -> bool:
    """Whether a convolution works pixel by pixel, so that rows do not matter: LUTRA_CONV2D_LUT8_FLAT."""
    ones = ("kernel_h", "kernel_w", "stride_h", "stride_w", "pool_h", "pool_w")
    return all(fields[name] == 1 for name in ones) and (fields["in_h"], fields["in_w"]) == (fields["out_h"], fields["out_w"])


def leaves_image(fields: Fields) -> bool:
    """Whether some window of a convolution reaches beyond the image."""
    return any(
        fields[f"pad_{side}"] > 0
        or (fields[f"out_{axis}"] - 1) * fields[f"stride_{axis}"] + fields[f"kernel_{axis}"] - fields[f"pad_{side}"] > fields[f"in_{axis}"]
        for axis, side in (("h", "top"), ("w", "left"))
    )


@dataclass(frozen=True)
class ScratchRule:
    """Scratch memory of a kernel: a C macro, and the same formula in Python, whose parameters have the names of the macro's."""

    macro: str
    formula: Callable[..., int]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the macro takes: members of the descriptor, or what follows from them."""
        return tuple(inspect.signature(self.formula).parameters)

    def values(self, fields: Fields) -> tuple[int, ...]:
        """The arguments for a descriptor."""
        return tuple(fields[name] if name in fields else _DERIVED[name](fields) for name in self.arguments)

    def size_bytes(self, fields: Fields) -> int:
        """Scratch memory for a descriptor."""
        return self.formula(*self.values(fields))


def _linear_lut(out_c: int, codewords: int, index_bits: int) -> int:
    return 14 * codewords + 2 * max(codewords, 1 << index_bits) + 4 * out_c


def _linear_pairs(out_c: int) -> int:
    return 8 * 16 * 2 + 4 * 256 * 2 + 4 * out_c


def _linear_decode(in_c: int) -> int:
    return DECODED_ROWS * in_c


def _recurrent_lut(in_c: int, out_c: int, codewords: int, index_bits: int) -> int:
    return _states(in_c) + _linear_lut(out_c, codewords, index_bits)


def _recurrent_pairs(in_c: int, out_c: int) -> int:
    return _states(in_c) + _linear_pairs(out_c)


def _recurrent_decode(in_c: int, out_c: int) -> int:
    return _recurrent(in_c, out_c) + _linear_decode(in_c)


def _recurrent(in_c: int, out_c: int) -> int:
    return _states(in_c) + 4 * out_c


def _states(units: int) -> int:
    return _aligned(3 * units, 4)


def _conv2d_lut(
    kernel_h: int, kernel_w: int, stride_h: int, out_h: int, out_w: int, out_c: int, codewords: int, subvectors: int, block: int,
    keep_offsets: int, padded: int,
) -> int:
    ring_rows = min(-(-kernel_h // stride_h), out_h)
    offsets = kernel_h * kernel_w * out_c * subvectors if keep_offsets else out_c * block
    size = 1 if 4 * block * codewords <= 256 else 2
    padding = kernel_h * kernel_w * out_c if padded else 0
    return 4 * block * codewords + 4 * out_c * (ring_rows * out_w + 1) + _aligned(size * offsets, 4) + 4 * padding


def _conv2d_lut8(
    flat: int, kernel_h: int, kernel_w: int, stride_h: int, stride_w: int, pad_left: int, in_w: int, out_h: int, out_w: int, out_c: int,
    codewords: int, subvectors: int, d: int, block: int, keep_offsets: int, padded: int,
) -> int:
    lanes = _lanes8(flat, kernel_w, stride_w, pad_left, in_w, out_w)
    ring_rows = min(-(-kernel_h // stride_h), out_h)
    sums = ring_rows * _aligned(16 if flat else out_w, 8) + (kernel_h + 1 if padded else 0)
    filled = 3 * stride_w if stride_w > 1 and subvectors % 4 else 0
    kept = kernel_h * _aligned(kernel_w * subvectors + filled, 4)
    offsets = kept if keep_offsets else _aligned(-(-kernel_w // stride_w) * min(block, 8), 4)
    tables = max(8 * -(-block // 4) * codewords * lanes + 16, 14 * codewords + 512 if padded else 0)
    return 4 * out_c * sums + 64 * d + 2 * out_c * offsets + tables


def _lanes8(flat: int, kernel_w: int, stride_w: int, pad_left: int, in_w: int, out_w: int) -> int:
    """LUTRA_CONV2D_LUT8_LANES."""
    if flat:
        in_w = out_w = 16
    pixels = -(-pad_left // stride_w) + _aligned(-(-in_w // stride_w), 8)
    return max(pixels, out_w + -(-kernel_w // stride_w) - (stride_w == 1))


def lanes8(fields: Fields) -> int:
    """Lanes of a table entry of lutra_conv2d_lut8, one a pixel of a row: LUTRA_CONV2D_LUT8_LANES."""
    names = ("kernel_w", "stride_w", "pad_left", "in_w", "out_w")
    return _lanes8(int(is_flat(fields)), *(fields[name] for name in names))


def reach8(fields: Fields) -> int:
    """Bytes that 16-bit offsets of lutra_conv2d_lut8 must reach: LUTRA_CONV2D_LUT8_REACH_BYTES. At most 65536."""
    return (16 if subvectors(fields) > 4 else 8) * lanes8(fields) << fields["log2_codewords"]


def _aligned(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _conv2d_dense(length: int, out_group: int) -> int:
    return 8 * _aligned(length, 4) + max(16 * out_group, _aligned(2 * length, 4))


def _conv2d_decode(length: int, block: int) -> int:
    return _conv2d_dense(length, block) + _aligned(length * block, 4)


def _conv2d_depthwise(kernel_h: int, kernel_w: int, out_c: int) -> int:
    return 20 * out_c + _aligned(kernel_h * kernel_w * out_c, 4)


def _unpack_indices(codewords: int) -> int:
    return 64 + 2 * codewords + 4


# How many bytes before its input a kernel's output must begin, at least, to overwrite only what has been read; None: they must not
# overlap.


def _apart(fields: Fields) -> int | None:
    return None


def _same_place(fields: Fields) -> int | None:
    return 0


def _same_place_if_whole(fields: Fields) -> int | None:
    return 0 if fields["output_stride"] == fields["channels"] else None


def _same_place_if_a_is_whole(fields: Fields) -> int | None:
    return 0 if fields["steps_a"] == STEPS_CHANNELS | STEPS_PIXELS else None


def _same_place_if_forward(fields: Fields) -> int | None:
    """A step's hidden state is shorter than its pre-activations, which have been read by then; backwards it would meet those to come."""
    return None if fields["reverse"] else 0


def _behind_the_window(fields: Fields) -> int | None:
    """An output row is written once its window's last input row has been read; of a pooled row, once the first of its rows is."""
    in_row = fields["in_w"] * fields["in_c"]
    out_row = fields["out_w"] // fields["pool_w"] * fields["out_c"]
    step = fields["pool_h"] * fields["stride_h"]
    lead = 0
    for i in range(fields["out_h"] // fields["pool_h"]):
        unread = max(0, i * step + fields["kernel_h"] - fields["pad_top"])
        if unread < fields["in_h"]:
            lead = max(lead, (i + 1) * out_row - unread * in_row)
    return lead


def _behind_the_window8(fields: Fields) -> int | None:
    """The same; where rows do not matter, sixteen pixels are written as soon as they have been read."""
    if not is_flat(fields):
        return _behind_the_window(fields)
    pixels_before_the_last = (fields["in_h"] * fields["in_w"] - 1) // 16 * 16
    return max(0, pixels_before_the_last * (fields["out_c"] - fields["in_c"]))


@dataclass(frozen=True)
class Kernel:
    """A C function: descriptor, then `tables` in order, then `inputs` pointers, the output, and scratch if there is a rule.

    A call may take the table "indices" from memory instead.
    """

    name: str
    descriptor: Descriptor
    tables: tuple[str, ...]
    inputs: int = 1
    overwrites: int | None = None  # of how many inputs, the first ones, the output may share the memory; None: of any
    scratch: ScratchRule | None = None
    lead: Callable[[Fields], int | None] = _apart  # bytes that the output begins before an input that it shares memory with
    each_step: str | None = None  # the kernel of a fully connected layer whose sums this one computes `steps` times

UNPACK = "lutra_unpack_indices"
_CODED = ("codebook", "indices", "channels")
_DENSE = ("weights", "channels")
_RECURRENT = {  # by the last part of the name: tables, scratch memory
    "lut": (_CODED, ScratchRule("LUTRA_RECURRENT_LUT_SCRATCH_BYTES", _recurrent_lut)),
    "pairs": (_CODED, ScratchRule("LUTRA_RECURRENT_PAIRS_SCRATCH_BYTES", _recurrent_pairs)),
    "decode": (_CODED, ScratchRule("LUTRA_RECURRENT_DECODE_SCRATCH_BYTES", _recurrent_decode)),
    "dense": (_DENSE, ScratchRule("LUTRA_RECURRENT_SCRATCH_BYTES", _recurrent)),
}

KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel(
            "lutra_conv2d_lut", CONV2D, _CODED,
            scratch=ScratchRule("LUTRA_CONV2D_LUT_SCRATCH_BYTES", _conv2d_lut), lead=_behind_the_window,
        ),
        Kernel(
            "lutra_conv2d_lut8", CONV2D, _CODED,
            scratch=ScratchRule("LUTRA_CONV2D_LUT8_SCRATCH_BYTES", _conv2d_lut8), lead=_behind_the_window8,
        ),
        Kernel("lutra_conv2d_decode", CONV2D, _CODED, scratch=ScratchRule("LUTRA_CONV2D_DECODE_SCRATCH_BYTES", _conv2d_decode)),
        Kernel("lutra_conv2d_dense", CONV2D, _DENSE, scratch=ScratchRule("LUTRA_CONV2D_DENSE_SCRATCH_BYTES", _conv2d_dense)),
        Kernel(
            "lutra_conv2d_depthwise", CONV2D, _DENSE, scratch=ScratchRule("LUTRA_CONV2D_DEPTHWISE_SCRATCH_BYTES", _conv2d_depthwise)
        ),
        Kernel("lutra_linear_lut", LINEAR, _CODED, scratch=ScratchRule("LUTRA_LINEAR_LUT_SCRATCH_BYTES", _linear_lut)),
        Kernel("lutra_linear_pairs", LINEAR, _CODED, scratch=ScratchRule("LUTRA_LINEAR_PAIRS_SCRATCH_BYTES", _linear_pairs)),
        Kernel("lutra_linear_decode", LINEAR, _CODED, scratch=ScratchRule("LUTRA_LINEAR_DECODE_SCRATCH_BYTES", _linear_decode)),
        Kernel("lutra_linear_dense", LINEAR, _DENSE),
        Kernel("lutra_max_pool", POOL, ()),
        Kernel("lutra_average_pool", POOL, ("multipliers",)),
        Kernel("lutra_add_int8", ADD, (), inputs=2, lead=_same_place),
        Kernel("lutra_lookup_int8", LOOKUP, ("lookup",), lead=_same_place),
        Kernel("lutra_binary_int8", BINARY, (), inputs=2, overwrites=1, lead=_same_place_if_a_is_whole),
        Kernel("lutra_rescale_int8", RESCALE, (), lead=_same_place_if_whole),
        Kernel("lutra_slice_pad_int8", SLICE_PAD, ()),
        Kernel("lutra_copy_int8", COPY, ()),
        Kernel("lutra_select_int8", SELECT, ("mask",), lead=_same_place),
        Kernel("lutra_normalise_int8", NORMALISE, (), lead=_same_place),
        Kernel("lutra_softmax_int8", SOFTMAX, ("exponentials",), lead=_same_place),
        *(
            Kernel(
                f"lutra_{cell}_{form}", RECURRENT, (*tables, "tangents", "initial"),
                scratch=scratch, lead=_same_place_if_forward, each_step=f"lutra_linear_{form}",
            )
            for cell in ("lstm", "gru")
            for form, (tables, scratch) in _RECURRENT.items()
        ),
        Kernel(
            UNPACK, INDICES, ("coded",), inputs=0,
            scratch=ScratchRule("LUTRA_UNPACK_INDICES_SCRATCH_BYTES", _unpack_indices),
        ),
    )
}


def scratch_bytes(kernel: str, fields: Fields) -> int:
    """Scratch memory of a call."""
    rule = KERNELS[kernel].scratch
    return rule.size_bytes(fields) if rule else 0


def least_epsilon(gain_shift: int, value_shift: int) -> int:
    """The epsilon of a normalise descriptor from which on the shift of every row is at least 1 (SPEC.md, normalise)."""
    return int(4 ** max(0, 4 + value_shift - gain_shift))
