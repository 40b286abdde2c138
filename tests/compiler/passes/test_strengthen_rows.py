"""A channel that is next to dead, but has a bias: its bias must fit beside the others'."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lutra_compiler.compression.calibrate import quantization_of_range
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.driver import build_program
from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.encoding import ProductQuantized, Quantization, ScalarQuantized
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d, Gru, Linear
from lutra_compiler.passes.strengthen_rows import strengthen_rows
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.lower import lower
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph

CHANNELS = 6
WEAK = 2.0**-14


def depthwise(weak: float, groups: int = CHANNELS) -> Graph:
    """A convolution whose channel 2 has weights `weak` times those of the others, and a bias as large as theirs."""
    ops = (Conv2d(name="c", inputs=("x",), output="y", weight="w", bias="b", padding=(1, 1, 1, 1), groups=groups),)
    weight = dense((CHANNELS, 3, 3, CHANNELS // groups))
    scale = weight.scale * np.where(np.arange(CHANNELS) == 2, weak, 1).astype(np.float32)
    built = graph(ops, {"x": (5, 5, CHANNELS)}, {"w": ScalarQuantized(weight.values, scale)})
    built = replace(built, parameters={"b": np.linspace(-1, 1, CHANNELS, dtype=np.float32)})
    values = TorchGraph(replace(built, quantization={})).run(torch.from_numpy(samples()))
    found = values["y"].detach() * 1.05  # rounded inputs reach a little further
    return replace(built, quantization={"x": built.quantization["x"], "y": quantization_of_range(float(found.min()), float(found.max()))})


def samples() -> np.ndarray:
    return np.random.default_rng(0).uniform(-2, 2, (20, CHANNELS, 5, 5)).astype(np.float32)


@pytest.mark.parametrize("weak", [1.0, 2.0**-6, WEAK, 2.0**-20])
@pytest.mark.parametrize("groups", [1, CHANNELS])
def test_a_weak_channel_is_within_a_step_and_a_half(weak: float, groups: int) -> None:
    network = depthwise(weak, groups)
    program = build_program(network, target_by_name("generic"))
    quantization = network.quantization["x"]
    integers = np.clip(np.rint(samples() / quantization.scale) + quantization.zero_point, -128, 127)
    with torch.no_grad():
        float_network = TorchGraph(replace(network, quantization={}))
        expected = float_network(torch.from_numpy(((integers - quantization.zero_point) * quantization.scale).astype(np.float32)))
    layout = program.inputs[0].layout
    codes = integers.astype(np.int8)
    found = interpret(program, [np.ascontiguousarray(codes.transpose(0, 2, 3, 1)) if layout == "NCHW" else codes]).outputs[0]
    step = network.quantization["y"]
    real = (found.astype(np.float64) - step.zero_point) * step.scale
    assert np.abs(real.transpose(0, 3, 1, 2) - expected.numpy()).max() <= 1.5 * step.scale


def test_strong_rows_keep_their_integers() -> None:
    network = depthwise(WEAK)
    weight, stronger = network.encodings["w"], strengthen_rows(network).encodings["w"]
    assert isinstance(weight, ScalarQuantized)
    assert isinstance(stronger, ScalarQuantized)
    strong = np.arange(CHANNELS) != 2
    np.testing.assert_array_equal(stronger.values[strong], weight.values[strong])
    np.testing.assert_array_equal(stronger.scale[strong], weight.scale[strong])
    assert 30 * stronger.scale[2] < stronger.scale[0]
    assert stronger.scale[2] > weight.scale[2]
    np.testing.assert_allclose(stronger.dense()[2], weight.dense()[2], atol=stronger.scale[2] / 2)


def test_one_strong_channel_costs_others_a_bit_at_most() -> None:
    """As where one channel of a fully connected layer reaches much further than the others, and zero points weigh in."""
    rng = np.random.default_rng(0)
    ops = (Linear(name="f", inputs=("x",), output="y", weight="w"),)
    values = rng.integers(-90, 112, (8, 128), np.int8)
    scale = np.where(np.arange(8) == 3, 0.0257, 0.006).astype(np.float32)
    quantization = {"x": Quantization(0.03, -128), "y": Quantization(0.01, -128)}
    network = graph(ops, {"x": (128,)}, {"w": ScalarQuantized(values, scale)}, quantization=quantization)
    stronger = strengthen_rows(network).encodings["w"]
    assert isinstance(stronger, ScalarQuantized)
    factors = stronger.scale / scale
    assert 1 < factors.max() <= 2
    np.testing.assert_allclose(stronger.dense(), network.weight("w"), atol=float(stronger.scale.max()) / 2)
    build_program(network, target_by_name("generic"))


def test_layers_that_fit_are_left_alone() -> None:
    network = depthwise(2.0**-3)
    assert strengthen_rows(network) is network


def test_codewords_that_rows_share_count_as_much_more() -> None:
    network = depthwise(1.0, groups=1)
    weight = coded((CHANNELS, 3, 3, CHANNELS))
    scale = weight.scale * np.where(np.arange(CHANNELS) == 2, 2.0**-40, 1).astype(np.float32)
    network = network.with_encodings({"w": replace(weight, scale=scale)})
    stronger = strengthen_rows(network).encodings["w"]
    assert isinstance(stronger, ProductQuantized)
    np.testing.assert_array_equal(np.flatnonzero(stronger.scale != scale), [2])
    np.testing.assert_array_equal(np.flatnonzero((stronger.indices != weight.indices).any((1, 2))), [2])
    assert np.abs(stronger.integers()[2].astype(int)).sum() <= np.abs(weight.integers().astype(int)).sum((1, 2, 3)).min()
    build_program(network, target_by_name("generic"))


def test_where_an_output_would_change_the_layer_is_refused() -> None:
    network = depthwise(WEAK)
    network = replace(network, parameters={"b": network.parameters["b"] * np.float32(3000)})
    assert strengthen_rows(network) is network
    with pytest.raises(LoweringError, match="differ too much between its channels"):
        build_program(network, target_by_name("generic"))


def test_a_unit_of_a_recurrent_layer_that_is_next_to_dead_but_has_a_bias_can_be_lowered() -> None:
    weight, bias = dense((12, 4)), np.zeros(12, np.float32)
    scale = weight.scale.copy()
    scale[9], bias[9] = 1e-7 * scale[0], 1.0
    layer = Gru(name="g", inputs=("x",), output="y", weight="w", bias="b")
    weak = graph([layer], {"x": (1, 5, 12)}, {"w": replace(weight, scale=scale)}).with_parameters({"b": bias})
    with pytest.raises(LoweringError, match="layer 'g'"):
        lower(weak, target_by_name("generic"))
    strong = strengthen_rows(weak)
    (call,) = lower(strong, target_by_name("generic")).calls
    assert call.kernel == "lutra_gru_dense"
    grown = np.flatnonzero(strong.encodings["w"].scale != scale)
    assert grown.tolist() == [9]
