"""Every kernel that can compute a layer, with every setting, gives the interpreter's bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from candidate_programs import CONVOLUTIONS, VECTORS, convolution, extreme_inputs, fully_connected
from lutra.host import open_bundle
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.program import Call, Program

pytestmark = pytest.mark.usefixtures("host_cache")


def compare(program: Program, calls: Sequence[Call], directory: Path) -> None:
    write_bundle(emit(program, "net", {}), directory)
    x = extreme_inputs(program)
    expected = interpret(program, [x]).outputs
    assert len(np.unique(expected[0])) > 6
    for call, wanted, output in zip(calls, expected, open_bundle(directory).run_int8([x]), strict=True):
        np.testing.assert_array_equal(wanted, expected[0])
        np.testing.assert_array_equal(output, wanted, f"{call.kernel} {dict(call.fields)}")


@pytest.mark.parametrize("zero_point", [-5, 0])
@pytest.mark.parametrize("pool", [(1, 1), (2, 2), (1, 3)], ids=["", "pooled", "pooled in rows"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_way_to_compute_a_convolution(name: str, pool: tuple[int, int], zero_point: int, tmp_path: Path):
    compare(*convolution(name, pool, zero_point), tmp_path / "net")


@pytest.mark.parametrize("name", VECTORS)
def test_every_way_to_compute_a_fully_connected_layer(name: str, tmp_path: Path):
    compare(*fully_connected(name), tmp_path / "net")


def test_the_shapes_see_every_kernel_and_every_setting():
    seen = set()
    for name in CONVOLUTIONS:
        program, calls = convolution(name)
        for call in calls:
            source, result = program.buffers[call.inputs[0]], program.buffers[call.output]
            over = source.offset < result.offset + result.size_bytes and result.offset < source.offset + source.size_bytes
            f = call.fields
            several = 0 < f["block"] < (f["out_c"] if call.kernel == "lutra_conv2d_decode" else -(-f["in_c"] // max(f["subvector"], 1)))
            seen.add((call.kernel, f["keep_offsets"], f["packed_sums"], several, over))
    for kernel in ("lutra_conv2d_lut", "lutra_conv2d_lut8"):
        for settings in np.ndindex(2, 2, 2):
            assert any((kernel, *settings, over) in seen for over in (False, True)), settings
        assert any(name == kernel and over for name, *_, over in seen)
    assert {("lutra_conv2d_decode", 0, 0, several, False) for several in (False, True)} <= seen
    assert {("lutra_conv2d_dense", 0, 0, False, False), ("lutra_conv2d_depthwise", 0, 0, False, False)} <= seen
    assert {call.kernel for name in VECTORS for call in fully_connected(name)[1]} == {
        f"lutra_linear_{form}" for form in ("lut", "pairs", "decode", "dense")
    }
