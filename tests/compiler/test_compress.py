"""compression/: from a float Graph to an encoded one, on a small problem that takes seconds."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from lutra_compiler.compression.calibrate import calibrate, quantization_of_range
from lutra_compiler.compression.compress import Stages, compress, quantize_to_int8
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import AUGMENTATION_DRAWS, Checkpoints, Progress, Samples, augment, fit, measure_accuracy
from lutra_compiler.compression.weights import CodebookWeight
from lutra_compiler.config import CompressionConfig, LayerConfig, PruningConfig, StageConfig, TrainingConfig
from lutra_compiler.errors import CompressionError, DataError
from lutra_compiler.ir.encoding import SOFTMAX_OUTPUT, ProductQuantized, ScalarQuantized
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import BatchNorm, Clamp, Conv2d, Flatten, Linear, MaxPool, Softmax
from lutra_compiler.model_file import load_model, save_model

STAGE = StageConfig(2, 2e-3)
CONFIG = CompressionConfig(
    layers=(LayerConfig("hidden", "pq", 16, 4, True), LayerConfig("conv2", "pq", 16, 4)),
    pruning=PruningConfig(widths={"conv2": 8, "hidden": 24}, rounds=2),
    training=TrainingConfig(STAGE, STAGE, STAGE, STAGE, batch_size=64, reassign_every=4),
    seed=5,
)


def small_network(seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    shapes = {"conv1": (8, 3, 3, 1), "conv2": (16, 3, 3, 8), "hidden": (48, 2 * 2 * 16), "scores": (4, 48)}
    parameters = {name: (rng.normal(size=s) * np.sqrt(2 / np.prod(s[1:]))).astype(np.float32) for name, s in shapes.items()}
    parameters |= {f"{name}_bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    relu = Clamp(0, None)

    def weights(name: str) -> dict[str, str]:
        return {"name": name, "output": name, "weight": name, "bias": f"{name}_bias"}

    return Graph(
        (Input("image", (12, 12, 1), "NCHW"),),
        (
            Conv2d(inputs=("image",), activation=relu, **weights("conv1")),
            MaxPool(name="pool1", inputs=("conv1",), output="pool1", kernel=(2, 2), stride=(2, 2)),
            Conv2d(inputs=("pool1",), activation=relu, padding=(1, 1, 1, 1), **weights("conv2")),
            MaxPool(name="pool2", inputs=("conv2",), output="pool2", kernel=(2, 2), stride=(2, 2)),
            Flatten(name="flatten", inputs=("pool2",), output="flat"),
            Linear(inputs=("flat",), activation=relu, **weights("hidden")),
            Linear(inputs=("hidden",), **weights("scores")),
        ),
        ("scores",),
        parameters,
    )


def batch_norm_network() -> Graph:
    """The small network with two batch norms: one that folds into the first convolution, and one after the pooling, which does not."""
    graph = small_network()
    parameters = {
        f"{name}_{role}": np.full(8, value, np.float32)
        for name in ("folded", "free")
        for role, value in (("scale", 1), ("offset", 0), ("mean", 0), ("variance", 1))
    }

    def batch_norm(name: str, source: str) -> BatchNorm:
        roles = {role: f"{name}_{role}" for role in ("scale", "offset", "mean", "variance")}
        return BatchNorm(name=name, inputs=(source,), output=name, activation=Clamp(0, None), **roles)

    conv1, pool1, conv2, *rest = graph.ops
    ops = (
        replace(conv1, activation=None), batch_norm("folded", "conv1"), replace(pool1, inputs=("folded",)),
        batch_norm("free", "pool1"), replace(conv2, inputs=("free",)), *rest,
    )  # fmt: skip
    return replace(graph.with_parameters(parameters), ops=ops)


def bars(count: int, seed: int) -> Samples:
    """Noisy images with one bar: which of four directions it has is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    rows, columns = np.mgrid[0:12, 0:12]
    angle = labels[:, None, None] * np.pi / 4
    row, column = rng.integers(4, 8, (2, count, 1, 1))
    distance = np.abs((rows - row) * np.cos(angle) + (columns - column) * np.sin(angle))
    images = (distance < 1.2) + rng.normal(scale=0.35, size=(count, 12, 12))
    return Samples(torch.from_numpy(images[:, None].astype(np.float32)), torch.from_numpy(labels))


@pytest.fixture(scope="module")
def trained() -> Graph:
    torch.manual_seed(0)
    module = TorchGraph(small_network())
    fit(module, bars(1500, 1), StageConfig(10, 3e-3), TrainingConfig(batch_size=50), name="float", seed=0)
    return module.to_graph()


@pytest.fixture(scope="module")
def compressed(trained: Graph) -> Graph:
    return compress(trained, bars(1500, 1), CONFIG)


def accuracy(graph: Graph) -> float:
    return measure_accuracy(TorchGraph(graph), bars(1000, 99))


def equal(a: Graph, b: Graph) -> bool:
    def arrays(graph: Graph) -> list[bytes]:
        encodings = [e for _, e in sorted(graph.encodings.items())]
        fields = [getattr(e, f) for e in encodings for f in ("values", "codebook", "indices", "scale") if hasattr(e, f)]
        return [x.tobytes() for x in fields + [p for _, p in sorted(graph.parameters.items())]]

    return a.ops == b.ops and a.quantization == b.quantization and arrays(a) == arrays(b)


def test_compression_keeps_most_of_the_accuracy(trained: Graph, compressed: Graph) -> None:
    assert accuracy(trained) > 0.9
    assert accuracy(compressed) > accuracy(trained) - 0.06


def test_the_configuration_decides_widths_and_encodings(compressed: Graph) -> None:
    hidden, conv2 = compressed.encodings["hidden"], compressed.encodings["conv2"]
    assert isinstance(hidden, ProductQuantized)
    assert isinstance(conv2, ProductQuantized)
    assert hidden.shape == (24, 2 * 2 * 8)
    assert conv2.shape == (8, 3, 3, 8)
    assert (hidden.codewords, hidden.subvector, hidden.index_bits) == (16, 4, 4)
    assert isinstance(compressed.encodings["conv1"], ScalarQuantized)  # the default of a small layer


def test_trained_codewords_keep_the_bounds_of_the_kernels(compressed: Graph) -> None:
    for encoding in compressed.encodings.values():
        assert (encoding.scale > 0).all()
        if isinstance(encoding, ProductQuantized):
            assert encoding.largest_norm <= LayerConfig().codeword_norm
            assert encoding.indices.max() < encoding.codewords


def test_a_pinned_zero_codeword_stays_zero(compressed: Graph) -> None:
    hidden = compressed.encodings["hidden"]
    assert isinstance(hidden, ProductQuantized)
    assert not hidden.codebook[0].any()


def test_a_compressed_graph_runs_as_its_decoded_weights_do(compressed: Graph) -> None:
    images = bars(50, 3).inputs
    decoded = compressed.with_parameters({name: encoding.dense() for name, encoding in compressed.encodings.items()})
    torch.testing.assert_close(TorchGraph(compressed)(images), TorchGraph(decoded)(images), rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_network(trained: Graph, compressed: Graph) -> None:
    assert equal(compress(trained, bars(1500, 1), CONFIG), compressed)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop_at", [("pruning-1", 30), ("recovery", 10), ("assignment", 40), ("codewords", 30)])
def test_an_interrupted_run_resumes_to_the_same_bytes(trained: Graph, compressed: Graph, tmp_path: Path, stop_at: tuple[str, int]) -> None:
    def load(stage: str) -> Graph | None:
        path = tmp_path / f"{stage}.lutra"
        return load_model(path)[0] if path.exists() else None

    stages = Stages(load, lambda stage, graph: save_model(tmp_path / f"{stage}.lutra", graph, {}))

    def interrupt(progress: Progress) -> None:
        if (progress.stage, progress.step) == stop_at:
            raise Interrupted

    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(Interrupted):
        compress(trained, bars(1500, 1), CONFIG, checkpoints=checkpoints, stages=stages, report=interrupt)
    seen: list[Progress] = []
    resumed = compress(trained, bars(1500, 1), CONFIG, checkpoints=checkpoints, stages=stages, report=seen.append)
    assert equal(resumed, compressed)
    assert seen[0].stage == stop_at[0]  # what was finished is not done again


def test_quant_noise_is_drawn_by_the_seed_and_gone_at_the_end(trained: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, int]] = []
    monkeypatch.setattr(CodebookWeight, "leave_float", lambda weight, share, seed: drawn.append((share, seed)))
    one_step = replace(CONFIG, training=replace(CONFIG.training, batch_size=64), pruning=PruningConfig())

    def seeds(seed: int) -> set[int]:
        drawn.clear()
        compress(trained, bars(64, 1), replace(one_step, seed=seed))
        assert drawn[0][0] > 0
        assert drawn[-1][0] == 0
        return {seed for share, seed in drawn if share > 0}

    assert seeds(1).isdisjoint(seeds(2))


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "recovery.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(CompressionError, match=r"recovery\.safetensors is damaged"):
        Checkpoints(tmp_path).load("recovery")


def test_without_labels_the_teacher_alone_teaches(trained: Graph) -> None:
    unlabelled = Samples(bars(1500, 1).inputs)
    assert accuracy(compress(trained, unlabelled, replace(CONFIG, method="train", pruning=PruningConfig()))) > 0.85


def test_a_final_softmax_is_left_out_of_training_and_put_back(trained: Graph, compressed: Graph) -> None:
    softmax = Softmax(name="softmax", inputs=("scores",), output="p")
    small = compress(replace(trained, ops=(*trained.ops, softmax), outputs=("p",)), bars(1500, 1), CONFIG)
    assert small.ops[-1] == softmax
    assert small.outputs == ("p",)
    assert small.quantization["p"] == SOFTMAX_OUTPUT
    assert equal(replace(small, ops=small.ops[:-1], outputs=("scores",), quantization=compressed.quantization), compressed)


def test_int8_without_training_agrees_with_float(trained: Graph) -> None:
    assert abs(accuracy(quantize_to_int8(trained, bars(200, 1).inputs)) - accuracy(trained)) < 0.02


@pytest.mark.parametrize("index_coding", ["never", "auto"])
def test_indices_are_coded_if_that_is_configured(trained: Graph, compressed: Graph, index_coding: Literal["never", "auto"]) -> None:
    zeros = ProductQuantized(np.ones((16, 8), np.int8), np.zeros((64, 1, 64), np.uint8), np.ones(64, np.float32), (64, 512), 4)
    finished = compressed.with_encodings({"hidden": zeros})
    stages = Stages(load=lambda _: finished, save=lambda *_: None)
    result = compress(trained, bars(10, 1), replace(CONFIG, index_coding=index_coding), stages=stages)
    assert [result.encodings[name].coded for name in ("hidden", "conv2")] == [index_coding == "auto", False]


def test_a_compressed_model_is_not_compressed_again(compressed: Graph) -> None:
    with pytest.raises(CompressionError, match="compressed already"):
        compress(compressed, bars(10, 1), CONFIG)


def test_settings_for_a_layer_that_is_not_there_are_refused(trained: Graph) -> None:
    with pytest.raises(CompressionError, match=r"'hiden'.*2 'hidden'"):
        compress(trained, bars(10, 1), replace(CONFIG, layers=(LayerConfig("hiden"),)))


def test_only_images_in_nchw_are_augmented(trained: Graph) -> None:
    config = replace(CONFIG, training=replace(CONFIG.training, augmentation="affine"))
    with pytest.raises(CompressionError, match="is NHWC"):
        compress(replace(trained, inputs=(Input("image", (12, 12, 1), "NHWC"),)), bars(10, 1), config)


def test_training_moves_batch_norm_statistics_into_the_graph() -> None:
    graph = batch_norm_network()
    module = TorchGraph(graph)
    fit(module, bars(200, 1), StageConfig(1, 1e-3), TrainingConfig(batch_size=20), name="x", seed=0, after_step=module.project)
    trained = module.to_graph()
    images = bars(50, 3).inputs
    torch.testing.assert_close(TorchGraph(trained).eval()(images), module(images))
    assert not np.allclose(trained.parameters["folded_mean"], graph.parameters["folded_mean"])
    assert not np.allclose(trained.parameters["folded_variance"], graph.parameters["folded_variance"])


def test_gains_stay_positive_where_a_batch_norm_folds_and_free_where_not() -> None:
    graph = batch_norm_network()
    low = np.full(8, -0.5, np.float32)
    module = TorchGraph(graph.with_parameters({"folded_scale": low, "free_scale": low}))
    module.project()
    projected = module.to_graph().parameters
    assert (projected["folded_scale"] > 0).all()
    np.testing.assert_array_equal(projected["free_scale"], low)


def test_training_needs_labels_or_a_teacher() -> None:
    with pytest.raises(DataError, match="labels or a teacher"):
        fit(TorchGraph(small_network()), Samples(bars(10, 1).inputs), STAGE, TrainingConfig(), name="x", seed=0)


def test_calibration_refuses_infinite_activations() -> None:
    graph = small_network()
    with pytest.raises(DataError, match="conv1"):
        calibrate(graph.with_parameters({"conv1_bias": np.full(8, np.inf, np.float32)}), bars(4, 1).inputs.split(4))


def test_calibration_needs_samples() -> None:
    with pytest.raises(DataError, match="at least one"):
        calibrate(small_network(), [])


def test_pooled_values_share_the_quantization_of_what_they_pool(compressed: Graph) -> None:
    quantization = compressed.quantization
    assert quantization["conv1"] == quantization["pool1"]
    assert quantization["pool2"] == quantization["flat"]
    assert quantization["conv1"].zero_point == -128  # after a ReLU the whole range is positive


def test_softmax_has_a_fixed_quantization() -> None:
    graph = small_network()
    ends = (Softmax(name="softmax", inputs=("scores",), output="p"), Flatten(name="flatten2", inputs=("p",), output="flat_p"))
    quantization = calibrate(replace(graph, ops=(*graph.ops, *ends), outputs=("flat_p",)), bars(8, 1).inputs.split(8)).quantization
    assert quantization["p"] == quantization["flat_p"] == SOFTMAX_OUTPUT


@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (2.0, 5.0), (-7.0, -1.0), (0.0, 0.0), (-1e-9, 1e9)])
def test_zero_is_exact_and_the_range_is_covered(low: float, high: float) -> None:
    q = quantization_of_range(low, high)
    assert -128 <= q.zero_point <= 127
    assert q.scale * (127 - q.zero_point) >= high * 0.99
    assert q.scale * (-128 - q.zero_point) <= low * 0.99 + q.scale


def test_augmentation_changes_images_and_keeps_their_mass() -> None:
    images = bars(64, 2).inputs.clamp_min(0)
    moved = augment(images, "affine", torch.rand(AUGMENTATION_DRAWS, 64, generator=torch.Generator().manual_seed(0)))
    assert moved.shape == images.shape
    assert not torch.allclose(moved, images)
    assert moved.sum() == pytest.approx(float(images.sum()), rel=0.2)


def test_images_that_are_not_square_are_rotated_and_not_sheared() -> None:
    height, width, still = 20, 60, 0.5
    images = torch.zeros(2, 1, height, width)
    images[0, 0, :, width // 2], images[1, 0, height // 2] = 1.0, 1.0  # an upright line and a level one
    draws = torch.tensor([[1.0] * 2, *[[still] * 2] * 4])  # by 10 degrees
    upright, level = augment(images, "affine", draws)[:, 0]
    slope = math.tan(math.radians(10))
    columns, rows = upright.argmax(1), level.argmax(0)
    assert abs(int(columns[-1] - columns[0])) == pytest.approx(slope * (height - 1), abs=1)
    assert abs(int(rows[45] - rows[15])) == pytest.approx(slope * 30, abs=1)


def test_crops_and_mirrors_keep_every_pixel_that_stays_inside() -> None:
    images = torch.arange(1.0, 1 + 3 * 2 * 6 * 5).reshape(3, 2, 6, 5)
    centre, keep, mirror = 4.5 / 9, 0.0, 0.9
    # By image: as it is; mirrored; shifted by 4 pixels down and right.
    draws = torch.tensor([[centre, centre, 0.0], [centre, centre, 0.0], [keep, mirror, keep], [0.0] * 3, [0.0] * 3])
    same, mirrored, shifted = augment(images, "crop_flip", draws)
    torch.testing.assert_close(same, images[0])
    torch.testing.assert_close(mirrored, images[1].flip(-1))
    torch.testing.assert_close(shifted[:, 4:, 4:], images[2][:, :2, :1])
    assert shifted[:, :4].abs().sum() == 0
    assert shifted[:, :, :4].abs().sum() == 0


def test_cutout_blanks_a_square_that_may_reach_beyond_the_image() -> None:
    images = torch.ones(2, 3, 8, 6)
    centre, keep = 4.5 / 9, 0.0
    draws = torch.tensor([[centre] * 2, [centre] * 2, [keep] * 2, [0.5, 0.0], [0.5, 0.99]])
    inner, corner = augment(images, "crop_flip_cutout", draws)
    blank = torch.zeros(2, 8, 6, dtype=torch.bool)
    blank[0, 2:6, 1:5] = blank[1, :2, 3:] = True
    torch.testing.assert_close(inner, (~blank[0]).float().expand(3, 8, 6))
    torch.testing.assert_close(corner, (~blank[1]).float().expand(3, 8, 6))


@pytest.mark.parametrize(
    "training",
    [
        TrainingConfig(optimizer="sgd", batch_size=64),
        TrainingConfig(precision="bfloat16", batch_size=64),
        TrainingConfig(optimizer="sgd", precision="bfloat16", batch_size=64),
    ],
    ids=["sgd", "bfloat16", "both"],
)
def test_other_optimizers_and_precisions_learn_as_well(training: TrainingConfig) -> None:
    module = TorchGraph(small_network())
    fit(module, bars(512, 1), StageConfig(6, 0.05 if training.optimizer == "sgd" else 2e-3), training, name="float", seed=1)
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert measure_accuracy(module, bars(256, 2)) > 0.8


@pytest.mark.parametrize("method", ["train", "reconstruct"])
def test_a_network_without_weights_has_nothing_to_learn(method: Literal["train", "reconstruct"]) -> None:
    ops = (
        MaxPool(name="pool", inputs=("image",), output="pool", kernel=(4, 4), stride=(4, 4)),
        Flatten(name="flatten", inputs=("pool",), output="flat"),
    )
    graph = Graph((Input("image", (12, 12, 1), "NCHW"),), ops, ("flat",), {})
    compressed = compress(graph, bars(64, 0), replace(CONFIG, method=method, layers=(), pruning=PruningConfig()))
    assert compressed.quantization.keys() == {"image", "pool", "flat"}
    assert not compressed.encodings
