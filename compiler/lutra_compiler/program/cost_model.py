"""Cycles of a kernel call, estimated from its descriptor: what the kernel choice compares."""

from collections.abc import Mapping
from math import ceil

from lutra_compiler.program.kernels import subvectors

# Provisional: cycles of the inner loops' steps on cores with and without packed multiplication.
_PACKED = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")


def cycles(kernel: str, fields: Mapping[str, int], target: str) -> float:
    """Estimated cycles of one call of `kernel` with the descriptor `fields` on `target`."""
    name = kernel.removeprefix("lutra_")
    multiply = 1.5 if target in _PACKED else 6.0
    if name.startswith("conv2d"):
        return _convolution(name.removeprefix("conv2d_"), fields, multiply) + 25 * fields["out_h"] * fields["out_w"] * fields["out_c"]
    if name.startswith("linear"):
        return _linear(name.removeprefix("linear_"), fields, multiply, target) + 25 * fields["out_c"]
    return _elementwise(name, fields)


def _convolution(form: str, f: Mapping[str, int], multiply: float) -> float:
    taps, pixels = f["kernel_h"] * f["kernel_w"], f["out_h"] * f["out_w"]
    length = taps * f["in_c"] // f["groups"]
    if form == "depthwise":
        return 8 * pixels * taps * f["out_c"]
    if form == "dense":
        return pixels * (2 * length * f["groups"] + multiply * length * f["out_c"])
    if form == "decode":
        blocks = ceil(f["out_c"] / f["block"])
        return 3 * length * f["out_c"] + pixels * (2 * length * blocks + multiply * length * f["out_c"])
    at_once = 8 if form == "lut8" else 2
    vectors, m = f["in_h"] * ceil(f["in_w"] / at_once), subvectors(f)
    build = vectors * m * (300 + (1 << f["log2_codewords"]) * (4 + multiply * f["subvector"]))
    lookups = f["out_h"] * ceil(f["out_w"] / at_once) * taps * m * f["out_c"]
    expansions = (1 if f["keep_offsets"] else pixels / at_once) * taps * m * f["out_c"]
    return build + (4 if f["packed_sums"] else 5) * lookups + 8 * expansions + 40 * vectors * taps * ceil(m / f["block"])


def _linear(form: str, f: Mapping[str, int], multiply: float, target: str) -> float:
    if form == "dense":
        return multiply * f["in_c"] * f["out_c"]
    m = subvectors(f)
    if form == "decode":
        return m * f["out_c"] * (10 + (multiply + 2) * f["subvector"])
    build = m * (70 + (1 << f["log2_codewords"]) * (4 + multiply * f["subvector"]))
    if form == "pairs":
        return build + m / 2 * (500 if target in _PACKED else 1500) + 2.5 * m * f["out_c"]
    return build + 4 * m * f["out_c"]


def _elementwise(name: str, f: Mapping[str, int]) -> float:
    match name:
        case "add_int8":
            return 20 * (f["size_low"] + 65536 * f["size_high"])
        case "rescale_int8":
            return 12 * (f["pixels_low"] + 65536 * f["pixels_high"]) * f["channels"]
        case "softmax_int8":
            return 60 * f["pixels"] * f["channels"]
        case "slice_pad_int8":
            return 4 * f["out_h"] * f["out_w"] * f["out_c"]
        case _:
            return 5 * f["out_h"] * f["out_w"] * f["in_c"] * f["kernel_h"] * f["kernel_w"]
