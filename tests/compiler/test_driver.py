"""driver.py: what joins the stages."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lutra_compiler.driver import Model, analyze, build_program, float_metadata, generate_bundle, outlook, read_model
from lutra_compiler.errors import LoweringError, ModelError
from lutra_compiler.ir.encoding import Quantization, ScalarQuantized
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import BatchNorm, Clamp, Conv2d, Flatten, Linear, MaxPool, Softmax
from lutra_compiler.model_file import save_model
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.program.footprint import footprint
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph

M0 = target_by_name("cortex-m0")


def layers() -> tuple[Conv2d, MaxPool, Flatten, Linear]:
    return (
        Conv2d(name="conv", inputs=("x",), output="c", weight="conv.w", activation=Clamp(0.0, None)),
        MaxPool(name="pool", inputs=("c",), output="p", kernel=(2, 2), stride=(2, 2)),
        Flatten(name="flatten", inputs=("p",), output="f"),
        Linear(name="fc", inputs=("f",), output="y", weight="fc.w"),
    )


def compressed() -> Graph:
    return graph(layers(), {"x": (6, 6, 3)}, {"conv.w": dense((8, 3, 3, 3)), "fc.w": coded((10, 32), codewords=16, subvector=4)})


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m4", "cortex-m55"])
def test_what_compression_could_bring_is_not_less_ram_than_it_will_take(target: str):
    ops = [Conv2d(name=f"c{i}", inputs=(f"v{i}",), output=f"v{i + 1}", weight=f"w{i}", padding=(1, 1, 1, 1)) for i in range(3)]
    encodings = {"w0": dense((64, 3, 3, 3)), "w1": coded((64, 3, 3, 64), largest=15), "w2": coded((64, 3, 3, 64), largest=15)}
    made = graph(ops, {"v0": (16, 16, 3)}, encodings, quantization={f"v{i}": Quantization(1 / 16, -128) for i in range(4)})
    weights = {name: np.random.default_rng(0).normal(0, 0.1, weight.shape).astype(np.float32) for name, weight in encodings.items()}
    (trained, _) = outlook(Model(replace(made, parameters=weights, encodings={}, quantization={}), {}), target_by_name(target)).compressed
    assert trained.ram_bytes >= footprint(build_program(made, target_by_name(target))).ram


def floating() -> Graph:
    rng = np.random.default_rng(0)
    norm = BatchNorm(name="norm", inputs=("c",), output="n", scale="g", offset="o", mean="m", variance="v")
    conv, pool, flatten, fc = layers()
    softmax = Softmax(name="softmax", inputs=("y",), output="z")
    ops = (replace(conv, activation=None), norm, replace(pool, inputs=("n",)), flatten, fc, softmax)
    shapes = {"conv.w": (8, 3, 3, 3), "g": (8,), "o": (8,), "m": (8,), "v": (8,), "fc.w": (10, 32)}
    parameters = {name: rng.uniform(0.5, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    return Graph((Input("x", (6, 6, 3), "NCHW"),), ops, ("z",), parameters)


def test_a_row_tells_what_each_layer_costs() -> None:
    analysis = analyze(Model(compressed()), M0)
    conv, fc = analysis.layers
    assert conv.names == ("conv", "pool")
    assert (conv.output_shape, conv.macs, conv.parameters) == ((2, 2, 8), 4 * 4 * 8 * 27, 8 * 27)
    assert (conv.codewords, conv.subvector, conv.weight_bytes, conv.index_bytes, conv.codebook_bytes) == (None, None, 8 * 27, 0, 0)
    assert (fc.codewords, fc.subvector, fc.weight_bytes, fc.index_bytes, fc.codebook_bytes) == (16, 4, 0, 10 * 4, 64)
    assert (conv.channel_bytes, fc.channel_bytes) == (4 * 8, 4 * 10)


@pytest.mark.parametrize("features", [1, 2, 3])
def test_networks_of_few_inputs_can_be_analysed(features: int) -> None:
    """The numbers that stand in for weights have sums that lower, whatever the shapes."""
    names = "abcd"
    ops = tuple(Linear(name=y, inputs=(x,), output=y, weight=f"{y}.w") for x, y in pairwise(names))
    parameters = {f"{name}.w": np.ones((32 if name != "d" else 1, features if name == "b" else 32), np.float32) for name in names[1:]}
    model = Model(Graph((Input("a", (features,), "NF"),), ops, ("d",), parameters))
    assert [layer.macs for layer in analyze(model, M0).layers] == [32 * features, 32 * 32, 32]


def test_the_rows_add_up_to_the_model() -> None:
    for model in (Model(compressed()), Model(floating())):
        analysis = analyze(model, M0)
        assert sum(layer.model_bytes for layer in analysis.layers) == analysis.model_bytes
        assert sum(layer.macs for layer in analysis.layers) == analysis.macs


def test_cycles_are_those_of_the_chosen_kernels() -> None:
    analysis = analyze(Model(compressed()), M0)
    for layer in analysis.layers:
        (chosen,) = (candidate for candidate in layer.candidates if not candidate.why_not)
        assert (chosen.kernel, chosen.cycles, chosen.scratch_bytes) == (layer.kernel, layer.cycles, layer.scratch_bytes)
    assert analysis.cycles == sum(layer.cycles for layer in analysis.layers) > 0


def test_a_limit_of_ram_holds_for_the_analysis_and_the_bundle(tmp_path: Path) -> None:
    model = Model(graph(layers(), {"x": (6, 6, 3)}, {"conv.w": coded((32, 3, 3, 3)), "fc.w": coded((10, 128))}))
    limits = Limits(ram=analyze(model, M0).ram_bytes - 4)
    assert analyze(model, M0, limits).ram_bytes <= limits.ram
    assert footprint(generate_bundle(model, tmp_path / "out", "net", M0, limits)).ram <= limits.ram
    with pytest.raises(LoweringError, match="bytes of RAM"):
        analyze(model, M0, Limits(ram=100))


def test_a_compressed_model_is_measured_against_the_float_network_it_came_from() -> None:
    analysis = analyze(Model(compressed(), {"float_parameter_bytes": 40_000, "int8_model_bytes": 10_400}), M0)
    assert analysis.ratio == pytest.approx(40_000 / analysis.model_bytes)
    assert analysis.int8_ratio == pytest.approx(10_400 / analysis.model_bytes)
    unknown = analyze(Model(compressed()), M0)
    assert (unknown.ratio, unknown.int8_ratio) == (None, None)


def test_a_float_model_is_shown_as_plain_int8_makes_it() -> None:
    network = floating()
    analysis = analyze(Model(network, float_metadata(network, "net")), M0)
    assert not analysis.compressed
    assert analysis.float_parameter_bytes == 4 * (8 * 27 + 2 * 8 + 10 * 32)  # running statistics are not trained
    int8 = replace(
        network.with_encodings({name: scalar(network.parameters[name]) for name in ("conv.w", "fc.w")}),
        quantization=dict(compressed().quantization) | graph(network.ops, {"x": (6, 6, 3)}).quantization,
    )
    assert analysis.model_bytes == analysis.int8_model_bytes == build_program(int8, M0).model_bytes


def scalar(weight: np.ndarray) -> ScalarQuantized:
    scale = np.full(len(weight), np.abs(weight).max() / 127, np.float32)
    return ScalarQuantized(np.rint(weight / scale[0]).astype(np.int8), scale)


def test_the_sizes_of_a_float_model_do_not_depend_on_its_numbers() -> None:
    network = floating()
    other = network.with_parameters({name: -1e6 * array for name, array in network.parameters.items() if name != "v"})
    assert analyze(Model(other), M0).model_bytes == analyze(Model(network), M0).model_bytes


def test_equal_layers_of_a_float_model_are_all_counted() -> None:
    ops = tuple(Linear(name=f"fc{i}", inputs=(f"h{i}",), output=f"h{i + 1}", weight=f"w{i}") for i in range(3))
    network = Graph((Input("h0", (32,), "NF"),), ops, ("h3",), {f"w{i}": np.ones((32, 32), np.float32) for i in range(3)})
    assert [(layer.weight_bytes, layer.channel_bytes) for layer in analyze(Model(network), M0).layers] == [(32 * 32, 4 * 32)] * 3


def test_float_weights_are_not_lowered() -> None:
    with pytest.raises(LoweringError, match="compress it first"):
        build_program(floating(), M0)


def test_an_encoded_model_without_calibration_is_not_lowered() -> None:
    with pytest.raises(LoweringError):
        build_program(replace(compressed(), quantization={}), M0)


def test_a_lutra_file_and_a_bundle_come_of_one_model(tmp_path: Path) -> None:
    save_model(tmp_path / "net.lutra", compressed(), {"network": "net"})
    model = read_model(tmp_path / "net.lutra")
    assert model.metadata == {"network": "net"}
    program = generate_bundle(model, tmp_path / "out", "net", M0)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"net.c", "net.h", "net_data.h", "net.json"}
    assert program.model_bytes == analyze(model, M0).model_bytes


def test_a_lutra_suffix_in_capitals_is_known(tmp_path: Path) -> None:
    save_model(tmp_path / "net.LUTRA", compressed(), {})
    assert read_model(tmp_path / "net.LUTRA").graph.outputs == ("y",)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nonsense")
    for name in ("x.onnx", "nosuch.onnx", "nosuch.lutra"):
        with pytest.raises(ModelError):
            read_model(tmp_path / name)
