"""`lutra analyze` tells everything at once: all that is unsupported, else what each layer costs, and whether it fits."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from test_cli import Result, lutra  # noqa: F401  (fixture)

from cli_models import FEATURES, METADATA, compressed_graph, float_onnx
from lutra_compiler.driver import TARGETS
from lutra_compiler.model_file import save_model
from onnx_models import model as network
from onnx_models import node, normal

UNKNOWN = ("Hardmax", "LpNormalization", "MeanVarianceNormalization", "LogSoftmax", "Bernoulli", "Trilu")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "small.lutra", compressed_graph(), METADATA)
    return tmp_path / "small.lutra"


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    onnx.save(float_onnx(), tmp_path / "float.onnx")
    return tmp_path / "float.onnx"


def test_twenty_unsupported_nodes_of_six_kinds_are_listed_in_one_run(lutra: Callable[..., Result], tmp_path: Path) -> None:  # noqa: F811
    names = [f"node {index}" for index in range(20)]
    nodes = []
    for index, name in enumerate(names):  # what is supported stands between them
        nodes.append(node(UNKNOWN[index % 6], f"v{index}" if index else "x", f"u{index}", name))
        nodes.append(node("Relu", f"u{index}", "y" if index == 19 else f"v{index + 1}"))
    onnx.save(network(nodes), tmp_path / "x.onnx")
    started = time.monotonic()
    result = lutra("analyze", "x.onnx", "--json")
    seconds = time.monotonic() - started
    assert result.code == 1
    problems = result.json()["problems"]
    assert [problem["node"] for problem in problems] == names
    assert {problem["operator"] for problem in problems} == set(UNKNOWN)
    assert all(problem["reason"] and problem["remedy"] for problem in problems)
    assert seconds < 3
    told = lutra("analyze", "x.onnx").err
    counts = ", ".join(f"{4 if index < 2 else 3} {operator}" for index, operator in enumerate(UNKNOWN))
    assert f"the model has 20 unsupported node(s) of 6 kinds ({counts})" in told
    assert all(f"  {name} (" in told for name in names)


def test_all_layers_that_cannot_be_lowered_are_listed(lutra: Callable[..., Result], tmp_path: Path) -> None:  # noqa: F811
    nodes = [
        node("Gemm", "x w", "h", "first", transB=1), node("Softmax", "h", "a", "wide"), node("Gemm", "a v", "b", "second", transB=1),
        node("Softmax", "b", "y", "also wide"),
    ]  # fmt: skip
    onnx.save(network(nodes, {"w": normal(600, 4), "v": normal(513, 600)}, {"x": (1, 4)}), tmp_path / "x.onnx")
    record = lutra("analyze", "x.onnx", "--json").json()
    assert [problem["node"] for problem in record["problems"]] == ["wide", "also wide"]
    assert "600 channels, at most 512" in record["problems"][0]["reason"]


def test_every_layer_has_its_memory_and_cycles(lutra: Callable[..., Result], model: Path) -> None:  # noqa: F811
    record = lutra("analyze", model, "--target", "cortex-m4", "--json").json()
    assert max(layer["ram_bytes"] for layer in record["layers"]) <= record["arena_bytes"]
    assert sum(layer["cycles"] for layer in record["layers"]) == pytest.approx(record["cycles"])
    out = lutra("analyze", model, "--target", "cortex-m4").out
    header = next(line for line in out.splitlines() if line.startswith("layer"))
    assert header.split() == ["layer", "output", "params", "MACs", "kernel", "K", "x", "d", "flash", "RAM", "cycles"]


def test_every_target_has_its_costs(lutra: Callable[..., Result], model: Path) -> None:  # noqa: F811
    record = lutra("analyze", model, "--json").json()
    targets = {cost["name"]: cost for cost in record["targets"]}
    assert set(targets) == {target.name for target in TARGETS}
    assert targets["cortex-m0"]["flash_bytes"] == record["flash_bytes"]
    for name in ("cortex-m4", "cortex-m55"):
        there = lutra("analyze", model, "--target", name, "--json").json()
        assert {key: there[key] for key in ("flash_bytes", "ram_bytes")}.items() <= targets[name].items()
        assert targets[name]["cycles"] == round(there["cycles"])


def test_of_a_float_model_it_tells_what_compression_could_bring(lutra: Callable[..., Result], tmp_path: Path) -> None:  # noqa: F811
    nodes = [node("Gemm", "x w", "h", transB=1), node("Relu", "h", "y")]
    onnx.save(network(nodes, {"w": normal(128, 64)}, {"x": (1, 64)}), tmp_path / "x.onnx")
    record = lutra("analyze", "x.onnx", "--json").json()
    sizes = {cost["name"]: cost["model_bytes"] for cost in record["compressed_estimates"]}
    # 8,192 weights: a bit each and 16 codewords of 4; or four and 256 of 2. Biases, multipliers, descriptor and checksums are 600 bytes.
    assert 1024 + 64 < sizes["trained"] < 1024 + 64 + 700
    assert 4096 + 512 < sizes["reconstructed"] < 4096 + 512 + 700
    assert "smaller than float" in lutra("analyze", "x.onnx").out


def test_it_promises_no_compression_of_a_network_of_several_outputs(lutra: Callable[..., Result], tmp_path: Path) -> None:  # noqa: F811
    nodes = [node("Gemm", "x w", "h", "first", transB=1), node("Relu", "h", "y"), node("Neg", "h", "z")]
    onnx.save(network(nodes, {"w": normal(6, 4)}, {"x": (1, 4)}, "y z"), tmp_path / "x.onnx")
    record = lutra("analyze", "x.onnx", "--json").json()
    reason = "compression is for networks of one input and one output; this has 1 and 2"
    assert (record["compressed_estimates"], record["compression_refused"]) == ([], reason)
    assert reason in " ".join(lutra("analyze", "x.onnx").out.split())


def test_what_compression_could_bring_is_what_it_brings(lutra: Callable[..., Result], float_model: Path, tmp_path: Path) -> None:  # noqa: F811
    estimates = {cost["name"]: cost for cost in lutra("analyze", float_model, "--json").json()["compressed_estimates"]}
    np.save(tmp_path / "samples.npy", np.random.default_rng(0).normal(size=(64, FEATURES)).astype(np.float32))
    made = lutra("compress", float_model, "--data", "samples.npy", "-o", "small.lutra", "--json").json()
    assert made["model_bytes"] == estimates["reconstructed"]["model_bytes"]


def test_of_a_compressed_model_nothing_is_guessed(lutra: Callable[..., Result], model: Path) -> None:  # noqa: F811
    assert lutra("analyze", model, "--json").json()["compressed_estimates"] == []


def test_a_board_brings_processor_and_limits(lutra: Callable[..., Result], model: Path) -> None:  # noqa: F811
    record = lutra("analyze", model, "--board", "mps3-an547", "--json").json()
    assert (record["target"], record["fits"]) == ("cortex-m55", True)
    assert (record["flash_limit"], record["ram_limit"]) == (2 << 20, 4 << 20)
    narrowed = lutra("analyze", model, "--board", "mps3-an547", "--target", "cortex-m55", "--ram", "2K", "--json").json()
    assert (narrowed["target"], narrowed["flash_limit"], narrowed["ram_limit"]) == ("cortex-m55", 2 << 20, 2048)
    assert lutra("analyze", model, "--board", "nosuch").code == 2


def test_what_does_not_fit_is_shown_all_the_same(lutra: Callable[..., Result], model: Path) -> None:  # noqa: F811
    result = lutra("analyze", model, "--flash", "1K", "--json")
    record = result.json()
    assert (result.code, record["compilable"], record["fits"]) == (1, True, False)
    assert "the limit is 1024" in record["why_not"]
    assert len(record["layers"]) == 2
    assert "does not fit: the network needs" in lutra("analyze", model, "--flash", "1K").out
    assert "fits: " in lutra("analyze", model, "--flash", "64K").out
    assert lutra("analyze", model, "--json").json()["fits"] is None


def test_a_board_has_a_processor_of_its_own(lutra: Callable[..., Result], model: Path) -> None:  # noqa: F811
    refused = lutra("analyze", model, "--board", "microbit", "--target", "cortex-m55")
    assert (refused.code, "the board microbit has a cortex-m0, not a cortex-m55" in refused.err) == (2, True)
    assert lutra("analyze", model, "--board", "microbit", "--target", "cortex-m0").code == 0


def test_what_has_a_shape_is_given_none(lutra: Callable[..., Result]) -> None:  # noqa: F811
    refused = lutra("analyze", "zoo:lenet5", "--shape", "1,1,12,12")
    assert (refused.code, "zoo:lenet5 has its own" in refused.err) == (2, True)


def test_a_shape_is_told_where_the_file_leaves_it_open(lutra: Callable[..., Result], tmp_path: Path) -> None:  # noqa: F811
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "y")]
    onnx.save(network(nodes, {"w": normal(4, 2, 3, 3)}, {"x": ("n", 2, "h", "w_")}), tmp_path / "x.onnx")
    refused = lutra("analyze", "x.onnx")
    assert refused.code == 2
    assert "give them: --shape x=1,..." in refused.err
    for shape in ("1,2,8,9", "x=1x2x8x9"):
        assert lutra("analyze", "x.onnx", "--shape", shape, "--json").json()["layers"][0]["output_shape"] == [6, 7, 4]
    for shape in ("1,2,", "x", "1,2,-8,9", "99999999999"):
        assert lutra("analyze", "x.onnx", "--shape", shape).code == 2
