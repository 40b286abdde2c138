"""compression/product_quantize.py: what the configuration says of codebooks is what layers get, before and after training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_compress import Interrupted, bars, equal, small_network

from lutra_compiler.compression.calibrate import calibrate
from lutra_compiler.compression.compress import Stages, compress
from lutra_compiler.compression.input_power import input_power
from lutra_compiler.compression.product_quantize import order_channels, product_quantize
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Checkpoints, Progress
from lutra_compiler.config import CompressionConfig, LayerConfig, StageConfig, TrainingConfig
from lutra_compiler.driver import build_program
from lutra_compiler.errors import CompressionError, DataError
from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d
from lutra_compiler.program.program import Role
from lutra_compiler.target import target_by_name

SHARED = (LayerConfig("conv2", codebook="one"), LayerConfig("hidden", codebook="one"), LayerConfig("*", "int8"))
STAGE = StageConfig(1, 2e-3)
CONFIG = CompressionConfig(layers=SHARED, training=TrainingConfig(STAGE, STAGE, STAGE, STAGE, batch_size=64, reassign_every=4), seed=5)


def codebook(graph: Graph, name: str) -> bytes:
    encoding = graph.encodings[name]
    assert isinstance(encoding, ProductQuantized)
    return encoding.codebook.tobytes()


def test_layers_that_give_the_same_name_share_a_codebook() -> None:
    encoded = product_quantize(small_network(), CONFIG)
    assert codebook(encoded, "conv2") == codebook(encoded, "hidden")
    apart = (LayerConfig("conv2", codebook="a"), LayerConfig("hidden", codebook="b"))
    own = product_quantize(small_network(), replace(CONFIG, layers=apart))
    assert codebook(own, "conv2") != codebook(own, "hidden")


@pytest.mark.parametrize(("field", "value"), [("codewords", 32), ("subvector", 8), ("codeword_norm", 255), ("zero_codeword", True)])
def test_sharing_needs_the_same_settings(field: str, value: int) -> None:
    layers = (SHARED[0], replace(SHARED[1], **{field: value}))
    with pytest.raises(CompressionError, match=f"'conv2' and 'hidden' share the codebook 'one', but {field} is .* in one and {value}"):
        product_quantize(small_network(), replace(CONFIG, layers=layers))


def test_a_shared_codebook_is_one_parameter() -> None:
    encoded = product_quantize(small_network(), CONFIG)
    own = product_quantize(small_network(), replace(CONFIG, layers=tuple(replace(layer, codebook=None) for layer in SHARED)))
    assert len(list(TorchGraph(encoded).parameters())) == len(list(TorchGraph(own).parameters())) - 1


def test_shared_codebooks_stay_the_same_in_training_and_resume(tmp_path: Path) -> None:
    kept: dict[str, Graph] = {}
    stages, checkpoints = Stages(kept.get, kept.__setitem__), Checkpoints(tmp_path)

    def interrupt(progress: Progress) -> None:
        if progress.stage == "codewords" and progress.epoch == 1:
            raise Interrupted

    config = replace(CONFIG, training=replace(CONFIG.training, codewords=StageConfig(2, 2e-3)))
    whole = compress(small_network(), bars(300, 1), config)
    with pytest.raises(Interrupted):
        compress(small_network(), bars(300, 1), config, checkpoints=checkpoints, stages=stages, report=interrupt)
    resumed = compress(small_network(), bars(300, 1), config, checkpoints=checkpoints, stages=stages)
    assert codebook(whole, "conv2") == codebook(whole, "hidden") != codebook(product_quantize(small_network(), config), "hidden")
    assert equal(resumed, whole)


def test_a_rate_shortens_indices() -> None:
    def used(rate: float) -> int:
        config = CompressionConfig(layers=(LayerConfig("*", codewords=64, rate=rate),))
        encoding = product_quantize(small_network(), config).encodings["hidden"]
        assert isinstance(encoding, ProductQuantized)
        return len(np.unique(encoding.indices))

    assert used(1.0) < used(0.0) == 64


def test_input_power_is_the_mean_square_of_what_meets_each_weight() -> None:
    graph, images = small_network(), bars(96, 1).inputs
    power = input_power(graph, images.split(32))
    values = TorchGraph(graph).run(images)
    for name, value in (("conv2", "pool1"), ("hidden", "flat")):
        square = values[value].detach().square().numpy()
        channels = square.mean((0, 2, 3)) if square.ndim == 4 else square.mean(0)
        expected = np.broadcast_to(np.maximum(channels, 1e-3 * channels.mean()), graph.weight_shape(name)[1:])
        np.testing.assert_allclose(power[name], expected, rtol=1e-4)
    with pytest.raises(DataError, match="at least one batch"):
        input_power(graph, [])


def test_importance_lowers_the_error_of_outputs() -> None:
    graph, images = small_network(), bars(256, 1).inputs
    # Hidden features of very different strength: the errors of the weights that the strong ones meet matter.
    gain = np.exp(np.random.default_rng(1).normal(size=16)).astype(np.float32)
    graph = graph.with_parameters({"conv2": graph.weight("conv2") * gain[:, None, None, None]})
    config = replace(CONFIG, layers=(LayerConfig("hidden"), LayerConfig("*", "int8")))

    def error(encoded: Graph) -> float:
        mixed = graph.with_encodings({"hidden": encoded.encodings["hidden"]})
        difference = TorchGraph(mixed).run(images)["hidden"] - TorchGraph(graph).run(images)["hidden"]
        return float(difference.detach().square().mean())

    weighed = product_quantize(graph, config, input_power(graph, images.split(64)))
    assert error(weighed) < 0.8 * error(product_quantize(graph, config))


def test_depthwise_layers_do_not_disturb_importance() -> None:
    graph = small_network()
    depthwise = Conv2d(name="deep", inputs=("pool1",), output="deep", weight="deep", groups=8)
    first, pool, second, *rest = graph.ops
    graph = replace(graph, ops=(first, pool, depthwise, replace(second, inputs=("deep",)), *rest))
    graph = graph.with_parameters({"deep": np.ones((8, 1, 1, 1), np.float32)})
    power = input_power(graph, bars(32, 1).inputs.split(32))
    assert power["deep"].shape == (1, 1, 1)
    product_quantize(graph, replace(CONFIG, layers=()), power)


def test_channels_are_ordered_only_for_layers_that_permute() -> None:
    graph, images = small_network(), bars(8, 1).inputs
    still = order_channels(graph, CONFIG)
    moved = order_channels(graph, replace(CONFIG, layers=tuple(replace(layer, permute=True) for layer in SHARED)))
    np.testing.assert_array_equal(still.weight("hidden"), graph.weight("hidden"))
    assert not np.array_equal(moved.weight("hidden"), graph.weight("hidden"))
    torch.testing.assert_close(TorchGraph(moved)(images), TorchGraph(graph)(images), rtol=1e-4, atol=1e-5)


def test_a_network_is_compressed_with_everything_on() -> None:
    layers = tuple(replace(layer, permute=True, rate=0.05, zero_codeword=True) for layer in SHARED)
    small = compress(small_network(), bars(300, 1), replace(CONFIG, layers=layers, importance=True))
    assert codebook(small, "conv2") == codebook(small, "hidden")


def test_a_shared_codebook_is_stored_once() -> None:
    def codebooks(config: CompressionConfig) -> int:
        graph = calibrate(product_quantize(small_network(), config), [bars(64, 1).inputs])
        program = build_program(graph, target_by_name("cortex-m4"))
        return sum(table.role == Role.CODEBOOK for table in program.tables)

    apart = replace(CONFIG, layers=tuple(replace(layer, codebook=None) for layer in SHARED))
    assert (codebooks(CONFIG), codebooks(apart)) == (1, 2)
