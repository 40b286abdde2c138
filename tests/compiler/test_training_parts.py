"""What training is made of: rounding with learned steps, entropy-constrained reassignment, statistics of batch norms, processes' shares."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from lutra_compiler.compression import training as training_module
from lutra_compiler.compression.prune import taylor_scores
from lutra_compiler.compression.torch_graph import TorchGraph, fake_quantize_learned
from lutra_compiler.compression.training import Checkpoints, Progress, Samples, batch_sizes, fit, once
from lutra_compiler.compression.weights import CodebookWeight, ScalarWeight, nearest_codewords
from lutra_compiler.config import StageConfig, TrainingConfig
from lutra_compiler.errors import ConfigurationError, DataError
from lutra_compiler.ir.encoding import ProductQuantized, Quantization
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import BatchNorm, Clamp, Conv2d, Flatten, Linear, MaxPool, Rearrange, Softmax
from lutra_compiler.numerics.product_quantization import quantize_rows


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(400,), (3, 200_000), (2, 3, 5, 7)])
def test_the_gradient_of_a_learned_step_is_that_of_rounding_straight_through(shape: tuple[int, ...]) -> None:
    value = (torch.randn(shape, generator=generator()) * 3).requires_grad_()
    scale, low, high, weights = torch.tensor(0.02, requires_grad=True), -108, 147, torch.randn(shape, generator=generator(1))
    found = fake_quantize_learned(value, scale, -20)
    (found * weights).sum().backward()
    with torch.no_grad():
        steps = value / scale
        rounded = steps.round()
        clipped = (rounded < low) | (rounded > high)
        of_scale = torch.where(clipped, rounded.clamp(low, high), rounded - steps)  # Esser 2020, eq. 3
        torch.testing.assert_close(found, rounded.clamp(low, high) * scale)
        torch.testing.assert_close(value.grad, weights.where(~clipped, torch.zeros(())))
        torch.testing.assert_close(scale.grad, (of_scale.double() * weights).sum().float(), rtol=1e-3, atol=1e-3)
    assert 0 < int(clipped.sum()) < value.numel()


def image_network() -> Graph:
    rng = np.random.default_rng(4)
    parameters = {"w": rng.normal(size=(6, 3, 3, 2)).astype(np.float32), "v": rng.normal(size=(5, 1, 1, 6)).astype(np.float32)}
    parameters |= {"gain": np.ones(5, np.float32), "offset": np.zeros(5, np.float32), "mean": np.zeros(5, np.float32)}
    parameters |= {"variance": np.ones(5, np.float32)}
    ops = (
        Conv2d(name="a", inputs=("x",), output="a", weight="w", activation=Clamp(0.0)),
        MaxPool(name="pool", inputs=("a",), output="pool", kernel=(2, 2), stride=(2, 2)),
        Conv2d(name="b", inputs=("pool",), output="b", weight="v"),
        BatchNorm(name="bn", inputs=("b",), output="bn", scale="gain", offset="offset", mean="mean", variance="variance"),
        Flatten(name="flat", inputs=("bn",), output="flat"),
        Softmax(name="softmax", inputs=("flat",), output="p"),
    )
    return Graph((Input("x", (8, 8, 2), "NCHW"),), ops, ("p",), parameters)


QUANTIZATION = {
    "x": Quantization(0.03, 5), "a": Quantization(0.08, -128), "pool": Quantization(0.08, -128),
    "bn": Quantization(0.1, 3), "flat": Quantization(0.1, 3), "p": Quantization(1 / 256, -128),
}  # fmt: skip


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 2, 8, 8, generator=generator(seed))


def test_values_are_rounded_where_it_is_cheapest_with_the_same_result() -> None:
    graph = replace(image_network(), quantization=QUANTIZATION)
    values = TorchGraph(graph).eval().run(images(4))
    before = TorchGraph(replace(graph, quantization={"x": QUANTIZATION["x"]})).eval().run(images(4))["a"]
    rounded = torch.fake_quantize_per_tensor_affine(before, 0.08, -128, -128, 127)
    torch.testing.assert_close(values["pool"], torch.nn.functional.max_pool2d(rounded, 2))


def test_learned_steps_are_shared_and_leave_inputs_and_probabilities_alone() -> None:
    module = TorchGraph(replace(image_network(), quantization=QUANTIZATION), learn_steps=True)
    assert len(module.steps) == 2  # of "a" with "pool", and of "bn" with "flat"
    with torch.no_grad():
        for gain in module.steps.values():
            gain.fill_(1.5)
    found = module.to_graph().quantization
    scales = {name: q.scale / QUANTIZATION[name].scale for name, q in found.items()}
    assert scales == pytest.approx({"x": 1, "a": 1.5, "pool": 1.5, "bn": 1.5, "flat": 1.5, "p": 1})
    assert all(q.zero_point == QUANTIZATION[name].zero_point for name, q in found.items())


def test_statistics_of_batch_norms_are_those_of_all_batches_together() -> None:
    module = TorchGraph(image_network()).eval()
    module.reestimate_batch_norms(images(48).split(20))
    inputs = module.run(images(48))["b"].detach().transpose(0, 1).flatten(1)
    parameters = module.to_graph().parameters
    np.testing.assert_allclose(parameters["mean"], inputs.mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parameters["variance"], inputs.var(1, correction=0), rtol=1e-4)
    assert not module.training


def coded(rate: float = 0.0, zero: bool = True) -> CodebookWeight:
    weight = np.random.default_rng(5).normal(size=(24, 64)).astype(np.float32)
    rows = quantize_rows(weight, 16, 4, np.random.default_rng(0), pin_zero=zero)
    encoding = ProductQuantized(rows.codebook, rows.indices, rows.scale, weight.shape, 4)
    module = CodebookWeight(encoding, torch.from_numpy(weight), pin_zero=zero)
    for _ in range(8):
        module.reassign(rate)
    return module


def entropy(module: CodebookWeight) -> float:
    share = torch.bincount(module.indices.flatten(), minlength=16) / module.indices.numel()
    return float(-(share * share.clamp_min(1e-12).log2()).sum())


def squared_error(module: CodebookWeight) -> float:
    weight = np.random.default_rng(5).normal(size=(24, 64)).astype(np.float32)
    return float(np.square(module.encoding().dense() - weight).mean())


def test_a_rate_trades_error_for_bits() -> None:
    free, cheap, cheapest = coded(), coded(1.0), coded(3.0)
    assert entropy(free) > entropy(cheap) + 0.1 > entropy(cheapest) + 0.3
    assert squared_error(free) < squared_error(cheap) < squared_error(cheapest)


def test_without_a_rate_every_subvector_has_the_nearest_codeword() -> None:
    module = coded()
    dense = module.encoding().dense().reshape(24, 16, 4)
    codewords = module.encoding().codebook.astype(np.float32)
    weight = np.random.default_rng(5).normal(size=(24, 64)).astype(np.float32).reshape(24, 16, 4)
    every = codewords[None] * module.encoding().scale[:, None, None]
    best = np.square(weight[:, :, None] - every[:, None]).sum(-1).min(-1)
    np.testing.assert_allclose(np.square(weight - dense).sum(-1), best, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_what_fills_the_last_subvectors_up_does_not_decide_on_their_codewords(rate: float) -> None:
    weight = np.random.default_rng(5).normal(size=(24, 9)).astype(np.float32)
    rows = quantize_rows(weight, 16, 8, np.random.default_rng(0))
    module = CodebookWeight(ProductQuantized(rows.codebook, rows.indices, rows.scale, weight.shape, 4), torch.from_numpy(weight))
    module.reassign(rate)
    last = module.encoding().codebook[:, 0].astype(np.float32) * rows.scale[:, None]
    chosen = np.take_along_axis(last, module.encoding().indices[:, 0, 1:].astype(np.int64), 1)[:, 0]
    nearest = np.abs(last - weight[:, 8:]).min(1)
    np.testing.assert_allclose(np.abs(chosen - weight[:, 8]), nearest, atol=1e-6 if rate == 0 else 0.3)


def test_a_penalty_counts_as_squared_distance() -> None:
    points = torch.zeros(1, 1, 1, 2)
    codewords = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert nearest_codewords(points, codewords, torch.tensor([0.99, 0.0])).item() == 0
    assert nearest_codewords(points, codewords, torch.tensor([1.01, 0.0])).item() == 1


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_what_is_trained_has_ordinary_size_whatever_the_weight(size: float) -> None:
    weight = np.random.default_rng(5).normal(size=(24, 64)).astype(np.float32) * np.float32(size)
    rows = quantize_rows(weight, 16, 4, np.random.default_rng(0))
    encoding = ProductQuantized(rows.codebook, rows.indices, rows.scale, weight.shape, 4)
    for module in (CodebookWeight(encoding, torch.from_numpy(weight)), ScalarWeight(torch.from_numpy(weight))):
        for parameter in module.parameters():
            assert 0.3 < float(parameter.detach().square().mean().sqrt()) < 3
        torch.testing.assert_close(module(), torch.from_numpy(module.encoding().dense()), rtol=1e-4, atol=1e-6 * size)


# Batches, order and decay


def test_a_last_batch_too_small_for_statistics_joins_the_one_before() -> None:
    assert batch_sizes(256, 64) == [64] * 4
    assert batch_sizes(258, 64) == [64, 64, 64, 64, 2]
    assert batch_sizes(257, 64) == [64, 64, 64, 65]
    assert batch_sizes(67, 64, least=4) == [67]
    assert batch_sizes(1, 64) == [1]


def vectors(count: int) -> Samples:
    return Samples(torch.randn(count, 8, generator=generator()), torch.randint(3, (count,), generator=generator(1)))


def test_batch_norms_of_vectors_train_on_any_number_of_samples() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))
    fit(module, vectors(65), StageConfig(1, 0.01), TrainingConfig(batch_size=64), name="x", seed=0)


def test_a_resumed_training_drops_out_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def network() -> torch.nn.Module:
        torch.manual_seed(3)
        return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Dropout(), torch.nn.Linear(32, 3))

    def train(module: torch.nn.Module, stop_at: int | None = None, checkpoints: Checkpoints | None = None) -> torch.Tensor:
        def interrupt(progress: Progress) -> None:
            if progress.epoch == stop_at:
                raise Interrupted

        training = TrainingConfig(batch_size=32)
        fit(module, vectors(96), StageConfig(4, 0.01), training, name="x", seed=0, report=interrupt, checkpoints=checkpoints)
        return module[0].weight.detach()  # type: ignore[index, no-any-return]

    whole = train(network())
    with pytest.raises(Interrupted):
        train(network(), 2, Checkpoints(tmp_path))
    torch.rand(7)  # the interrupted process would not have drawn these
    torch.testing.assert_close(train(network(), None, Checkpoints(tmp_path)), whole, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_resumed_training_is_the_same_however_weights_lie_in_memory(optimizer: Literal["adamw", "sgd"], tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def train(stop_at: int | None = None, checkpoints: Checkpoints | None = None) -> torch.Tensor:
        def interrupt(progress: Progress) -> None:
            if progress.epoch == stop_at:
                raise Interrupted

        torch.manual_seed(3)
        module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Linear(32, 3))
        module[0].weight = torch.nn.Parameter(torch.randn(8, 32).T)  # as pruning leaves them
        training = TrainingConfig(batch_size=32, optimizer=optimizer)
        fit(module, vectors(96), StageConfig(4, 0.01), training, name="x", seed=0, report=interrupt, checkpoints=checkpoints)
        return module[0].weight.detach()

    whole = train()
    with pytest.raises(Interrupted):
        train(2, Checkpoints(tmp_path))
    torch.testing.assert_close(train(None, Checkpoints(tmp_path)), whole, rtol=0, atol=0)


def test_one_sample_is_too_few_to_learn_from() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))
    with pytest.raises(DataError, match="stage 'x' has 1 sample to learn from; give at least 2"):
        fit(module, vectors(1), StageConfig(1, 0.01), TrainingConfig(), name="x", seed=0)
    fit(module, vectors(2), StageConfig(1, 0.01), TrainingConfig(batch_size=2), name="x", seed=0)
    with pytest.raises(ConfigurationError, match="batch_size is 1; it must be at least 2"):
        TrainingConfig(batch_size=1)


def test_weight_decay_leaves_scales_and_codewords_alone() -> None:
    graph = image_network()
    rows = quantize_rows(graph.parameters["w"], 16, 2, np.random.default_rng(0))
    encoding = ProductQuantized(rows.codebook, rows.indices, rows.scale, graph.parameters["w"].shape, 4)
    graph = replace(graph.with_encodings({"w": encoding}), quantization=QUANTIZATION)
    module, teacher = (TorchGraph(graph, learn_steps=True) for _ in range(2))
    module.batch_statistics = False
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    training = TrainingConfig(batch_size=8, weight_decay=0.5, distillation=1.0, optimizer="sgd")  # from itself: no gradient
    samples = Samples(images(32), torch.zeros(32, dtype=torch.int64))
    fit(module, samples, StageConfig(1, 0.1), training, name="x", seed=0, teacher=teacher)
    sizes = {name: float(parameter.detach().abs().sum()) for name, parameter in module.named_parameters()}
    shrunk = {name for name, size in sizes.items() if size < 0.95 * float(before[name].abs().sum())}
    kept = {name for name in before if name.startswith("steps.") or name.endswith((".gain", ".codebook"))}
    assert kept
    assert shrunk == {name for name in before if name not in kept and float(before[name].abs().sum()) > 0}


def test_channels_of_a_network_without_classes_have_scores() -> None:
    rng = np.random.default_rng(2)
    parameters = {"a": rng.normal(size=(16, 8)).astype(np.float32), "b": rng.normal(size=(1, 16)).astype(np.float32)}
    ops = (
        Linear(name="a", inputs=("x",), output="a", weight="a", activation=Clamp(0.0)),
        Linear(name="b", inputs=("a",), output="b", weight="b"),
    )
    graph = Graph((Input("x", (8,), "NF"),), ops, ("b",), parameters)
    scores = taylor_scores(graph, Samples(vectors(64).inputs), TorchGraph(graph))["a"]
    assert len(np.unique(scores)) == 16
    assert np.corrcoef(scores, np.abs(parameters["b"][0]))[0, 1] > 0.5


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Input("x", (4, 5, 2), "NCHW"), (3, 4, 5)), (Input("x", (4, 5, 2), "NHWC"), (4, 5, 3)), (Input("x", (1, 5, 2), "NCL"), (3, 5)),
        (Input("x", (40,), "NF"), (3, 4, 5)),
    ],
    ids=lambda value: value.layout if isinstance(value, Input) else "",
)  # fmt: skip
def test_images_come_out_in_the_layout_of_the_source(source: Input, expected: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).normal(size=(3, 1, 1, 2)).astype(np.float32)
    image = Rearrange(name="r", inputs=("x",), output="image", view=(4, 5, 2), order=(0, 1, 2), shape=(4, 5, 2))
    conv = Conv2d(name="c", inputs=("x",), output="y", weight="w")
    ops = (image, replace(conv, inputs=("image",))) if source.layout == "NF" else (conv,)
    graph = Graph((source,), ops, ("y",), {"w": weight})
    assert TorchGraph(graph)(torch.zeros(7, *source.source_shape)).shape == (7, *expected)


# Several processes


def test_a_process_that_comes_late_gets_what_the_main_one_made(monkeypatch: pytest.MonkeyPatch) -> None:
    barrier, this, kept = threading.Barrier(2, timeout=10), threading.local(), list[str]()
    monkeypatch.setattr(training_module, "wait_for_all_processes", barrier.wait)
    monkeypatch.setattr(training_module, "is_main_process", lambda: this.rank == 0)

    def process(rank: int) -> str:
        this.rank = rank
        time.sleep(0.2 * rank)
        return once(lambda: kept[0] if kept else None, lambda: f"made by {rank}", kept.append)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(process, range(2))) == ["made by 0"] * 2
