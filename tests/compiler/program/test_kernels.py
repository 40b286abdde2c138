"""Where a convolution's output may lie over its input, by going through what it reads and writes."""

from collections.abc import Iterator, Mapping

from hypothesis import assume, given
from hypothesis import strategies as st

from lutra_compiler.program.kernels import KERNELS, is_flat

Fields = Mapping[str, int]


@st.composite
def convolutions(draw: st.DrawFn) -> Fields:
    fields = {name: draw(st.integers(1, 9)) for name in ("in_h", "in_w", "in_c", "out_c")}
    for axis, before in (("h", "top"), ("w", "left")):
        kernel, stride = (draw(st.integers(1, 4)) for _ in range(2))
        pad = draw(st.integers(0, kernel - 1))
        out = (fields[f"in_{axis}"] + pad + draw(st.integers(0, kernel - 1)) - kernel) // stride + 1
        assume(out >= 1)
        pool = draw(st.integers(1, out))
        fields |= {f"kernel_{axis}": kernel, f"stride_{axis}": stride, f"pad_{before}": pad, f"out_{axis}": out, f"pool_{axis}": pool}
    return fields


def steps_of_rows(f: Fields) -> Iterator[tuple[int, int]]:
    """After each output row: bytes of the input that have been read, and of the output that have been written."""
    read = 0
    for i in range(f["out_h"] // f["pool_h"] * f["pool_h"]):
        for y in range(i * f["stride_h"] - f["pad_top"], i * f["stride_h"] - f["pad_top"] + f["kernel_h"]):
            if 0 <= y < f["in_h"]:
                read = max(read, (y + 1) * f["in_w"] * f["in_c"])
        yield read, (i // f["pool_h"] + 1) * (f["out_w"] // f["pool_w"]) * f["out_c"]


def steps_of_pixels(f: Fields) -> Iterator[tuple[int, int]]:
    pixels = f["in_h"] * f["in_w"]
    for end in range(16, pixels + 16, 16):
        yield min(end, pixels) * f["in_c"], min(end, pixels) * f["out_c"]


def spoils(f: Fields, steps: Iterator[tuple[int, int]], lead: int) -> bool:
    """Whether something is written over input that is read later, if the output begins `lead` bytes before the input."""
    return any(read < f["in_h"] * f["in_w"] * f["in_c"] and written - lead > read for read, written in steps)


@given(convolutions())
def test_a_convolution_leads_by_as_little_as_it_can(f: Fields):
    read_to_the_end = max(read for read, _ in steps_of_rows(f)) == f["in_h"] * f["in_w"] * f["in_c"]
    assume(read_to_the_end)
    lead = KERNELS["lutra_conv2d_lut"].lead(f)
    assert lead is not None
    assert not spoils(f, steps_of_rows(f), lead)
    assert lead == 0 or spoils(f, steps_of_rows(f), lead - 1)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20))
def test_a_convolution_of_pixels_leads_by_as_little_as_it_can(height: int, width: int, in_c: int, out_c: int):
    ones = dict.fromkeys(("kernel_h", "kernel_w", "stride_h", "stride_w", "pool_h", "pool_w"), 1)
    f = ones | {"pad_top": 0, "in_h": height, "in_w": width, "in_c": in_c, "out_h": height, "out_w": width, "out_c": out_c}
    assert is_flat(f)
    for kernel, steps in (("lutra_conv2d_lut", steps_of_rows), ("lutra_conv2d_lut8", steps_of_pixels)):
        lead = KERNELS[kernel].lead(f)
        assert lead is not None
        assert not spoils(f, steps(f), lead)
        assert lead == 0 or spoils(f, steps(f), lead - 1)
