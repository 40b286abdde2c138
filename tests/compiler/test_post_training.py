"""compression/post_training.py: a float Graph and unlabelled samples -> an encoded Graph, on networks that take seconds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lutra_compiler.compression.calibrate import calibrate
from lutra_compiler.compression.compress import Stages, compress
from lutra_compiler.compression.post_training import FEWEST_SAMPLES, blocks_of
from lutra_compiler.compression.product_quantize import product_quantize
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Progress, Samples
from lutra_compiler.config import CompressionConfig, LayerConfig, PruningConfig, ReconstructionConfig, StageConfig
from lutra_compiler.errors import CompressionError, DataError
from lutra_compiler.ir.encoding import SOFTMAX_OUTPUT, ProductQuantized, ScalarQuantized
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import Add, AveragePool, BatchNorm, Clamp, Conv2d, Flatten, Linear, MaxPool, Op, Softmax
from lutra_compiler.model_file import load_model, save_model

RELU = Clamp(0.0, None)
COARSE = LayerConfig("*", "pq", 16, 4, codeword_norm=255)
CONFIG = CompressionConfig(
    (LayerConfig("stem", "int8"), COARSE),
    method="reconstruct",
    reconstruction=ReconstructionConfig(StageConfig(10, 1e-2), StageConfig(4, 1e-3)),
    seed=3,
)


def parameters(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = {name: (rng.normal(size=s) * np.sqrt(2 / np.prod(s[1:]))).astype(np.float32) for name, s in shapes.items()}
    return weights | {f"{name}_bias": rng.normal(scale=0.1, size=shape[0]).astype(np.float32) for name, shape in shapes.items()}


def layer(name: str) -> dict[str, str]:
    return {"name": name, "output": name, "weight": name, "bias": f"{name}_bias"}


def residual_network() -> Graph:
    """A stem, a residual block, a convolution after pooling, and a fully connected layer."""
    shapes = {"stem": (8, 3, 3, 1), "inner": (8, 3, 3, 8), "outer": (8, 3, 3, 8), "wide": (16, 3, 3, 8), "scores": (5, 16)}
    same = (1, 1, 1, 1)
    ops = (
        Conv2d(inputs=("image",), activation=RELU, padding=same, **layer("stem")),
        Conv2d(inputs=("stem",), activation=RELU, padding=same, **layer("inner")),
        Conv2d(inputs=("inner",), padding=same, **layer("outer")),
        Add(name="sum", inputs=("stem", "outer"), output="sum", activation=RELU),
        MaxPool(name="pool", inputs=("sum",), output="pool", kernel=(2, 2), stride=(2, 2)),
        Conv2d(inputs=("pool",), activation=RELU, **layer("wide")),
        AveragePool(name="mean", inputs=("wide",), output="mean", kernel=(3, 3), stride=(3, 3)),
        Flatten(name="flatten", inputs=("mean",), output="flat"),
        Linear(inputs=("flat",), **layer("scores")),
    )
    return Graph((Input("image", (10, 10, 1), "NCHW"),), ops, ("scores",), parameters(shapes))


def autoencoder() -> Graph:
    shapes = {"encoder": (32, 48), "code": (8, 32), "decoder": (32, 8), "output": (48, 32)}
    ops: list[Op] = []
    for name, source in zip(shapes, ("x", *shapes), strict=False):
        ops.append(Linear(inputs=(source,), activation=None if name == "output" else RELU, **layer(name)))
    return Graph((Input("x", (48,), "NF"),), tuple(ops), ("output",), parameters(shapes))


def smooth(count: int, seed: int, shape: tuple[int, ...] = (1, 10, 10)) -> Tensor:
    """Sums of a few waves, so that neighbouring values are alike, as in pictures and spectra."""
    rng = np.random.default_rng(seed)
    place = np.arange(np.prod(shape)) / shape[-1]
    frequency, phase = rng.uniform(0.1, 4, (count, 3, 1)), rng.uniform(0, 7, (count, 3, 1))
    return torch.from_numpy(np.sin(frequency * place + phase).sum(1).reshape(count, *shape).astype(np.float32))


def error(graph: Graph, reference: Graph, inputs: Tensor) -> float:
    """Mean squared difference of the outputs, relative to their variance."""
    with torch.no_grad():
        wanted = TorchGraph(reference).eval()(inputs)
        return float((TorchGraph(graph).eval()(inputs) - wanted).square().mean() / wanted.var())


@pytest.fixture(scope="module")
def reconstructed() -> Graph:
    return compress(residual_network(), Samples(smooth(64, 1)), CONFIG)


def plain(graph: Graph, config: CompressionConfig, samples: Tensor) -> Graph:
    return calibrate(product_quantize(graph, config), [samples])


def equal(a: Graph, b: Graph, folder: Path) -> bool:
    for name, graph in (("a", a), ("b", b)):
        save_model(folder / f"{name}.lutra", graph, {})
    return (folder / "a.lutra").read_bytes() == (folder / "b.lutra").read_bytes()


def test_reconstruction_gives_the_output_back_better_than_plain_product_quantization(reconstructed: Graph) -> None:
    graph, fresh = residual_network(), smooth(200, 9)
    before = error(plain(graph, CONFIG, smooth(64, 1)), graph, fresh)
    after = error(reconstructed, graph, fresh)
    assert before > 0.05
    assert after < before / 3


def test_an_autoencoder_needs_no_classes() -> None:
    graph, samples, fresh = autoencoder(), smooth(128, 1, (48,)), smooth(300, 9, (48,))
    config = replace(CONFIG, layers=(COARSE,)).with_epochs_scaled(2)
    small = compress(graph, Samples(samples), config)
    assert error(small, graph, fresh) < error(plain(graph, config, samples), graph, fresh) / 3


def test_layers_that_come_to_have_equal_codebooks_are_trained_as_one() -> None:
    graph = autoencoder()
    graph = graph.with_parameters({name: np.zeros_like(graph.parameters[name]) for name in ("code", "decoder")})
    compress(graph, Samples(smooth(64, 1, (48,))), replace(CONFIG, layers=(LayerConfig("*", codewords=16, subvector=4),)))


def test_the_scale_of_weights_and_samples_does_not_matter() -> None:
    graph, samples, fresh = residual_network(), smooth(64, 1), smooth(200, 9)
    ordinary = error(compress(graph, Samples(samples), CONFIG), graph, fresh)
    graph = graph.with_parameters({"stem": graph.parameters["stem"] / 1000})
    assert error(compress(graph, Samples(1000 * samples), CONFIG), graph, 1000 * fresh) < 1.5 * ordinary


def test_blocks_are_cut_where_one_value_carries_everything_on() -> None:
    graph = residual_network()
    blocks = blocks_of(graph)
    assert [[op.name for op in block.ops] for block in blocks] == [
        ["stem"],
        ["inner", "outer", "sum"],
        ["pool", "wide"],
        ["mean", "flatten", "scores"],
    ]
    value = images = smooth(4, 2)
    for block in blocks:
        value = TorchGraph(block)(value)
    torch.testing.assert_close(value, TorchGraph(graph)(images))


def test_a_batch_norm_stays_with_its_layer_and_keeps_its_statistics() -> None:
    graph = residual_network()
    roles = {"scale": 0.5, "offset": 0.2, "mean": 0.1, "variance": 2.0}
    stem, *rest = graph.ops
    norm = BatchNorm(name="norm", inputs=("raw",), output="stem", activation=RELU, **{role: f"norm_{role}" for role in roles})
    assert isinstance(stem, Conv2d)
    ops = (replace(stem, output="raw", activation=None), norm, *rest)
    filled = {f"norm_{role}": np.full(8, value, np.float32) for role, value in roles.items()}
    graph = replace(graph.with_parameters(filled), ops=ops)
    assert [op.name for op in blocks_of(graph)[0].ops] == ["stem", "norm"]
    small = compress(graph, Samples(smooth(64, 1)), CONFIG)
    for role in ("mean", "variance"):
        np.testing.assert_array_equal(small.parameters[f"norm_{role}"], filled[f"norm_{role}"])
    assert not np.array_equal(small.parameters["norm_offset"], filled["norm_offset"])
    assert error(small, graph, smooth(200, 9)) < error(plain(graph, CONFIG, smooth(64, 1)), graph, smooth(200, 9)) / 2


def test_encodings_are_as_configured_and_keep_the_bounds_of_the_kernels() -> None:
    zero = LayerConfig("wide", "pq", 16, 2, zero_codeword=True, codeword_norm=63)
    small = compress(residual_network(), Samples(smooth(64, 1)), replace(CONFIG, layers=(zero, *CONFIG.layers)))
    wide, stem = small.encodings["wide"], small.encodings["stem"]
    assert isinstance(stem, ScalarQuantized)
    assert isinstance(wide, ProductQuantized)
    assert (wide.codewords, wide.subvector) == (16, 2)
    assert wide.largest_norm <= 63
    assert not wide.codebook[0].any()
    assert all((encoding.scale > 0).all() for encoding in small.encodings.values())


def test_without_settings_a_layer_that_is_not_trained_gets_four_bits_a_weight_or_more() -> None:
    small = compress(autoencoder(), Samples(smooth(64, 1, (48,))), replace(CONFIG, layers=()))
    bits = {name: e.index_bits / e.subvector for name, e in small.encodings.items() if isinstance(e, ProductQuantized)}
    assert bits == {"encoder": 4, "output": 4}


def test_values_that_share_a_quantization_still_do(reconstructed: Graph) -> None:
    assert reconstructed.quantization["sum"] == reconstructed.quantization["pool"]
    assert set(reconstructed.quantization) == set(reconstructed.materialised_values())


def test_a_final_softmax_is_left_out_and_put_back(reconstructed: Graph) -> None:
    graph = residual_network()
    softmax = Softmax(name="softmax", inputs=("scores",), output="p")
    small = compress(replace(graph, ops=(*graph.ops, softmax), outputs=("p",)), Samples(smooth(64, 1)), CONFIG)
    assert small.ops[-1] == softmax
    assert small.quantization["p"] == SOFTMAX_OUTPUT
    np.testing.assert_array_equal(small.parameters["scores_bias"], reconstructed.parameters["scores_bias"])


def test_the_same_seed_gives_the_same_bytes(reconstructed: Graph, tmp_path: Path) -> None:
    assert equal(compress(residual_network(), Samples(smooth(64, 1)), CONFIG), reconstructed, tmp_path)
    assert not equal(compress(residual_network(), Samples(smooth(64, 1)), CONFIG.with_seed(4)), reconstructed, tmp_path)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop_at", ["block-1", "block-3", "network"])
def test_an_interrupted_run_resumes_to_the_same_bytes(reconstructed: Graph, tmp_path: Path, stop_at: str) -> None:
    def load(stage: str) -> Graph | None:
        path = tmp_path / f"{stage}.lutra"
        return load_model(path)[0] if path.exists() else None

    stages = Stages(load, lambda stage, graph: save_model(tmp_path / f"{stage}.lutra", graph, {}))

    def interrupt(progress: Progress) -> None:
        if (progress.stage, progress.step) == (stop_at, 3):
            raise Interrupted

    def run(report: Callable[[Progress], None]) -> Graph:
        return compress(residual_network(), Samples(smooth(64, 1)), CONFIG, stages=stages, report=report)

    with pytest.raises(Interrupted):
        run(interrupt)
    seen: list[Progress] = []
    assert equal(run(seen.append), reconstructed, tmp_path)
    assert seen[0].stage == stop_at  # what was finished is not done again


def test_progress_goes_through_blocks_to_the_network() -> None:
    seen: list[Progress] = []
    compress(residual_network(), Samples(smooth(64, 1)), CONFIG, report=seen.append)
    assert list(dict.fromkeys(progress.stage for progress in seen)) == ["block-1", "block-2", "block-3", "block-4", "network"]
    ends = [progress for progress in seen if progress.step == progress.steps]
    assert [(end.epoch, end.epochs, end.step) for end in ends] == [(10, 10, 20)] * 4 + [(4, 4, 8)]


@pytest.mark.parametrize(
    ("samples", "labels", "method"),
    [(256, False, "reconstruct"), (1999, False, "reconstruct"), (2000, False, "train"), (256, True, "train")],
)
def test_few_samples_without_labels_are_reconstructed_from(samples: int, labels: bool, method: str) -> None:
    assert CompressionConfig().for_samples(samples, labels).method == method
    assert CompressionConfig(method="train").for_samples(samples, labels).method == "train"


def test_no_more_samples_are_used_than_calibration_is_to_have() -> None:
    seen: list[Progress] = []
    compress(residual_network(), Samples(smooth(64, 1)), replace(CONFIG, calibration_samples=32), report=seen.append)
    assert seen[0].steps == 10


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(DataError, match=f"at least {FEWEST_SAMPLES} samples, got 5"):
        compress(residual_network(), Samples(smooth(5, 1)), CONFIG)


def test_pruning_is_refused() -> None:
    with pytest.raises(CompressionError, match="does not prune"):
        compress(residual_network(), Samples(smooth(64, 1)), replace(CONFIG, pruning=PruningConfig(rate=0.5)))


def test_two_outputs_are_refused() -> None:
    graph = residual_network()
    with pytest.raises(CompressionError, match="1 and 2"):
        compress(replace(graph, outputs=("scores", "wide")), Samples(smooth(64, 1)), CONFIG)
