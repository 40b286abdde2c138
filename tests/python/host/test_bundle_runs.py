import ctypes
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lutra.host import Bundle, BundleError, DataError, open_bundle
from lutra.host.bundle import dequantize, quantize
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.ir.ops import Add, Concat, MaxPool
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program
from lutra_compiler.target import target_by_name
from quantized_graphs import graph
from tiny_program import tiny_program

RUNTIME = Path(__file__).parents[3] / "runtime_c"

pytestmark = pytest.mark.usefixtures("host_cache")


def image_program() -> Program:
    """One image in, one image out."""
    pool = MaxPool(name="p", inputs=("x",), output="y", kernel=(2, 1), stride=(1, 1))
    return lower(graph([pool], {"x": (4, 3, 2)}), target_by_name("generic"))


def branching_program() -> Program:
    """Two inputs, two outputs."""
    ops = [Add(name="a", inputs=("x", "y"), output="sum"), Concat(name="c", inputs=("x", "sum"), output="both")]
    return lower(graph(ops, {"x": (2, 3, 4), "y": (2, 3, 4)}, outputs=["both", "sum"]), target_by_name("generic"))


@pytest.fixture(scope="module")
def build(host_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Program], Bundle]:
    def build(program: Program) -> Bundle:
        directory = tmp_path_factory.mktemp("bundle") / "net"
        write_bundle(emit(program, "net", {}), directory)
        return open_bundle(directory)

    return build


@pytest.fixture(scope="module")
def tiny(build: Callable[[Program], Bundle]) -> Bundle:
    return build(tiny_program())


@pytest.fixture(scope="module")
def branching(build: Callable[[Program], Bundle]) -> Bundle:
    return build(branching_program())


def random_int8(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, shape, np.int8)


# Integers


@pytest.mark.parametrize("samples", [0, 1, 63, 64, 65, 200])
def test_any_number_of_samples(tiny: Bundle, samples: int):
    x = random_int8(samples, 4, 4, 2)
    (y,) = tiny.run_int8([x])
    np.testing.assert_array_equal(y, interpret(tiny_program(), [x]).outputs[0])


def test_threads_change_nothing(tiny: Bundle):
    x = random_int8(1000, 4, 4, 2)
    np.testing.assert_array_equal(tiny.run_int8([x], threads=3)[0], tiny.run_int8([x])[0])


def test_a_bundle_may_be_used_by_several_threads_at_once(tiny: Bundle):
    x = random_int8(500, 4, 4, 2)
    expected, results = tiny.run_layers([x]), []
    threads = [threading.Thread(target=lambda: results.append(tiny.run_layers([x]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        for layer, wanted in zip(result, expected, strict=True):
            np.testing.assert_array_equal(layer, wanted)
    assert len(results) == 3


def test_inputs_in_any_memory_order(tiny: Bundle):
    x = random_int8(20, 4, 4, 2)
    strided = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(tiny.run_int8([strided])[0], tiny.run_int8([x])[0])


def test_several_inputs_and_outputs(branching: Bundle):
    inputs = [random_int8(100, 2, 3, 4), random_int8(200, 2, 3, 4)[100:]]
    expected = interpret(branching_program(), inputs).outputs
    for y, wanted in zip(branching.run_int8(inputs), expected, strict=True):
        np.testing.assert_array_equal(y, wanted)


def test_layers_are_recorded(tiny: Bundle):
    x = random_int8(100, 4, 4, 2)
    for y, wanted in zip(tiny.run_layers([x]), interpret(tiny_program(), [x], trace=True).layers, strict=True):
        np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "got 0 inputs, the network has 2: x, y"),
        ([random_int8(5, 2, 3, 4)], "got 1 inputs"),
        ([random_int8(5, 2, 3, 4), random_int8(5, 2, 4, 3)], r"input 'y' must be int8 \[5, 2, 3, 4\], got int8 \[5, 2, 4, 3\]"),
        ([random_int8(5, 2, 3, 4), random_int8(4, 2, 3, 4)], r"input 'y' must be int8 \[5, 2, 3, 4\], got int8 \[4, 2, 3, 4\]"),
        ([random_int8(5, 2, 3, 4).astype(np.uint8), random_int8(5, 2, 3, 4)], r"input 'x' must be int8 .* got uint8"),
        ([np.int8(3), random_int8(5, 2, 3, 4)], r"input 'x' must be int8"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(branching: Bundle, inputs: list[np.ndarray], message: str):
    with pytest.raises(DataError, match=message):
        branching.run_int8(inputs)


def test_damaged_tables_fail_the_check_and_the_run(tmp_path: Path, build: Callable[[Program], Bundle], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lutra_compiler.program.program.crc32", lambda _: 0)
    bundle = build(tiny_program())
    assert not bundle.check()
    with pytest.raises(BundleError, match=r"net_run returned -4 \(LUTRA_ERROR_CORRUPT\)"):
        bundle.run_int8([random_int8(1, 4, 4, 2)])


# Floats


def test_floats_in_the_layout_of_the_source_give_the_integers_nearest_to_them(build: Callable[[Program], Bundle]):
    bundle = build(image_program())
    (port,) = bundle.inputs
    x = np.random.default_rng(0).normal(0, 3, (10, 2, 4, 3)).astype(np.float32)
    y = bundle.run(x)
    assert y.dtype == np.float32
    assert y.shape == (10, 2, 3, 3)
    expected = np.maximum(x[:, :, :-1], x[:, :, 1:]).clip(port.scale * (-128 - port.zero_point), port.scale * (127 - port.zero_point))
    assert np.abs(y - expected).max() <= port.scale * 0.501


def test_a_flat_output_keeps_its_order(tiny: Bundle):
    x = np.random.default_rng(0).normal(0, 3, (10, 2, 4, 4)).astype(np.float64)
    (integers,) = tiny.run_int8([quantize(x, tiny.inputs[0])])
    np.testing.assert_array_equal(tiny.run(x), (integers.astype(np.float32) + 128) / 256)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((3, 4, 4, 2), np.float32), r"input 'image' must be float \[n, 2, 4, 4\], got float32 \[3, 4, 4, 2\]"),
        (np.zeros((2, 4, 4), np.float32), r"got float32 \[2, 4, 4\]"),
        (np.zeros((3, 2, 4, 4), np.uint8), r"got uint8 \[3, 2, 4, 4\]"),
        (np.full((3, 2, 4, 4), np.nan), "sample 0 for input 'image' holds NaN or infinity"),
        (np.concatenate([np.zeros((2, 2, 4, 4)), np.full((1, 2, 4, 4), np.inf)]), "sample 2 for input"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tiny: Bundle, samples: np.ndarray, message: str):
    with pytest.raises(DataError, match=message):
        tiny.run(samples)


def test_floats_need_one_input_and_one_output(branching: Bundle):
    with pytest.raises(DataError, match="2 inputs and 2 outputs: use run_int8"):
        branching.run(np.zeros((1, 4, 2, 3), np.float32))


def test_no_samples_are_no_error(tiny: Bundle):
    assert tiny.run(np.zeros((0, 2, 4, 4), np.float32)).shape == (0, 5)


@pytest.fixture(scope="module")
def helpers(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The float helpers of the generated header."""
    folder = tmp_path_factory.mktemp("helpers")
    write_bundle(emit(tiny_program(), "tiny", {}), folder / "tiny")
    (folder / "helpers.c").write_text("""
        #define LUTRA_WITH_FLOAT
        #include "tiny.h"
        void quantize(const float *values, int8_t *input) { tiny_quantize_input_0(values, input); }
        void dequantize(const int8_t *output, float *values) { tiny_dequantize_output_0(output, values); }
    """)
    command = ["cc", "-shared", "-fPIC", "-O2", f"-I{RUNTIME / 'include'}", f"-I{folder / 'tiny'}", "-o", "helpers.so", "helpers.c"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(folder / "helpers.so")


def quantized_in_c(helpers: ctypes.CDLL, values: np.ndarray) -> np.ndarray:
    result = np.zeros((4, 4, 2), np.int8)
    helpers.quantize(np.ascontiguousarray(values, np.float32).ctypes, result.ctypes)
    return result


@pytest.mark.parametrize("spread", [0.1, 3, 30, 1e30])
def test_python_quantizes_to_the_bit_as_the_header_does(tiny: Bundle, helpers: ctypes.CDLL, spread: float):
    halves = (np.arange(-200, 200) + 0.5) * np.float32(0.1)
    x = np.random.default_rng(0).normal(0, spread, (100, 2, 4, 4)).astype(np.float32)
    x.reshape(-1)[: len(halves)] = halves
    expected = [quantized_in_c(helpers, np.moveaxis(sample, 0, -1)) for sample in x]
    np.testing.assert_array_equal(quantize(x, tiny.inputs[0]), expected)


def test_the_header_saturates_and_knows_nan(helpers: ctypes.CDLL):
    values = np.zeros((4, 4, 2), np.float32)
    values.reshape(-1)[:7] = [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.05, -0.05]
    # Halves go up: 0.5 - 3 and -0.5 - 3 become -2 and -3.
    assert quantized_in_c(helpers, values).reshape(-1)[:7].tolist() == [-128, 127, -128, 127, -128, -2, -3]


def test_python_dequantizes_to_the_bit_as_the_header_does(tiny: Bundle, helpers: ctypes.CDLL):
    for first in range(-128, 124, 4):
        integers = np.arange(first, first + 5, dtype=np.int8)
        values = np.zeros(5, np.float32)
        helpers.dequantize(integers.ctypes, values.ctypes)
        np.testing.assert_array_equal(dequantize(integers[None], tiny.outputs[0])[0], values)
