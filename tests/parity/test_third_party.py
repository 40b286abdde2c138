"""Models that others trained, as int8 bundles and compressed without training: the same bytes from interpreter, host and boards.

LUTRA_MODELS names the folder of the MLPerf Tiny reference networks as ONNX files; without it these tests say so and are skipped.
"""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import lutra
from lutra.boards import board_by_name, build_firmware, run_firmware
from lutra.host import open_bundle
from lutra.host.bundle import quantize
from lutra.validation import run_float
from lutra.zoo.machine_noise import machine_noise
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.compression.compress import quantize_to_int8
from lutra_compiler.driver import build_program
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.target import target_by_name

FOLDER = os.environ.get("LUTRA_MODELS")
NAMES = ("mlperf_ic_resnet8", "mlperf_vww_mobilenet", "mlperf_ad_autoencoder")
BOARDS = ("mps2-an386", "mps2-an500", "mps3-an547")  # M4, M7, M55
FIGURES = Path(__file__).parents[2] / "docs/benchmarks/third_party.json"

needs_models = pytest.mark.skipif(FOLDER is None, reason="LUTRA_MODELS names no folder of the MLPerf Tiny networks")
pytestmark = pytest.mark.usefixtures("host_cache")


@cache
def float_model(name: str) -> lutra.Model:
    assert FOLDER is not None
    path = Path(FOLDER, f"{name}.onnx")
    if not path.exists():
        pytest.skip(f"there is no {path.name} in LUTRA_MODELS")
    return lutra.load(path)


def samples(name: str, count: int, seed: int) -> lutra.Dataset:
    """Made-up inputs in the range of the network's own: blurred noise for images, machine noise for the autoencoder."""
    if name == "mlperf_ad_autoencoder":
        return machine_noise(count, seed)
    shape = float_model(name).graph.inputs[0].source_shape
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand((count, shape[0], shape[1] // 8, shape[2] // 8), generator=generator)
    images = torch.nn.functional.interpolate(small, size=shape[1:], mode="bilinear", align_corners=False)
    return lutra.Dataset((images * (255 if name == "mlperf_ic_resnet8" else 1)).numpy())


@cache
def bundle_model(name: str, kind: str) -> lutra.Model:
    model, calibration = float_model(name), samples(name, 32, seed=1)
    if kind == "int8":
        return lutra.Model(quantize_to_int8(model.graph, torch.from_numpy(calibration.images)), model.metadata)
    config = lutra.CompressionConfig(method="reconstruct").with_epochs_scaled(0.01)
    return lutra.compress(model, calibration, config)


@needs_models
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "compressed"])
@pytest.mark.parametrize("name", NAMES)
def test_the_c_is_near_the_float_network_and_gives_the_interpreters_bytes(name: str, kind: str) -> None:
    small, test = bundle_model(name, kind), samples(name, 20, seed=2)
    found = lutra.validate(small, test, reference=float_model(name))
    assert found.bit_exact
    assert found.tables_intact
    assert all(layer.bit_exact for layer in found.layers)
    assert found.difference is not None
    assert found.difference.l2r < (0.3 if kind == "int8" else 0.5)


@needs_models
@pytest.mark.board
@pytest.mark.slow
@pytest.mark.parametrize("board", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in BOARDS])
@pytest.mark.parametrize("kind", ["int8", "compressed"])
@pytest.mark.parametrize("name", NAMES)
def test_boards_give_the_bytes_of_interpreter_and_host(name: str, kind: str, board: str, tmp_path: Path) -> None:
    program = build_program(bundle_model(name, kind).graph, target_by_name(board_by_name(board).cpu))
    write_bundle(emit(program, "network", {}), tmp_path / "network")
    bundle = open_bundle(tmp_path / "network")
    inputs = [quantize(samples(name, 1, seed=3).images, bundle.inputs[0])]
    expected = interpret(program, inputs).outputs[0]
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(bundle.run_int8(inputs)[0], expected)
    run = run_firmware(build_firmware(tmp_path / "network", board_by_name(board), tmp_path), inputs)
    np.testing.assert_array_equal(run.outputs[0], expected)


@needs_models
@pytest.mark.slow
def test_the_int8_autoencoder_reconstructs_within_a_hundredth_of_the_variance() -> None:
    name = "mlperf_ad_autoencoder"
    test = machine_noise(1000, 2)
    found = lutra.validate(bundle_model(name, "int8"), test, reference=float_model(name), layers=False)
    assert found.difference is not None
    assert found.difference.rmse**2 < 0.01 * run_float(float_model(name), test).var()


@pytest.fixture
def figures() -> dict[tuple[str, str], dict]:
    return {(row["network"], row["bundle"]): row for row in json.loads(FIGURES.read_text())}


def on(row: dict, target: str) -> dict:
    return next(board for board in row["boards"] if board["target"] == target)


def test_published_int8_bundles_are_as_good_as_the_float_networks(figures: dict) -> None:
    resnet8 = figures["mlperf_ic_resnet8", "int8"]
    assert resnet8["test_samples"] == 10_000
    assert resnet8["float_accuracy"] == 0.8719
    assert resnet8["accuracy"] >= 0.8719 - 0.005
    assert figures["mlperf_vww_mobilenet", "int8"]["agreement"] >= 0.98
    assert figures["mlperf_ad_autoencoder", "int8"]["difference"] < 0.01


def test_published_bundles_are_bit_exact_everywhere(figures: dict) -> None:
    assert {name for name, _ in figures} == set(NAMES)
    for row in figures.values():
        assert [board["target"] for board in row["boards"]] == ["cortex-m4", "cortex-m7", "cortex-m55"]
        assert all(board["bit_exact"] for board in row["boards"])


@pytest.mark.parametrize("name", NAMES)
def test_published_int8_bundles_beat_the_interpreter_of_others(figures: dict, name: str) -> None:
    """On Cortex-M4: as fast as TensorFlow Lite Micro with CMSIS-NN, a quarter of its code, the RAM of direct calls of CMSIS-NN."""
    baseline = json.loads((FIGURES.parents[2] / "benchmarks/cmsis_nn.json").read_text())["networks"]["figures"][name]["bytes_on_cortex_m4"]
    board = on(figures[name, "int8"], "cortex-m4")
    assert board["ratio"] >= 1
    assert 4 * board["code_bytes"] <= baseline["code"]
    assert board["ram_bytes"] <= baseline["direct_calls_ram"]


def test_published_compression_is_faster(figures: dict) -> None:
    autoencoder, resnet8 = figures["mlperf_ad_autoencoder", "for speed"], figures["mlperf_ic_resnet8", "compressed"]
    assert autoencoder["ratio"] >= 12
    assert on(autoencoder, "cortex-m4")["ratio"] >= 2
    assert resnet8["ratio"] >= 8
    assert on(resnet8, "cortex-m4")["ratio"] >= 1.3
