"""What training is made of: rounding with learned steps, entropy-constrained reassignment, statistics of batch norms, processes' shares."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lutra_compiler.compression.torch_graph import TorchGraph, fake_quantize_learned
from lutra_compiler.compression.weights import CodebookWeight, ScalarWeight, nearest_codewords
from lutra_compiler.ir.encoding import ProductQuantized, Quantization
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import BatchNorm, Clamp, Conv2d, Flatten, MaxPool, Softmax
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
