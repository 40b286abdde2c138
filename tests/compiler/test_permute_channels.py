"""compression/permute_channels.py: another order of channels, the same function, better subvectors."""

from functools import cache

import numpy as np
import pytest
import torch

from lutra_compiler.compression.permute_channels import permute_channels
from lutra_compiler.compression.prune import weighted_layers
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import Conv2d, Flatten, Linear, Select
from lutra_compiler.ir.verify import verify
from lutra_compiler.numerics.product_quantization import quantize_rows
from lutra_compiler.passes import canonicalise
from networks import NETWORKS, network


@cache
def imported(name: str) -> Graph:
    module, sample = network(name)
    return canonicalise(graph_from_module(module, (sample,)))


def all_subvectors(graph: Graph, subvector: int) -> dict[str, int]:
    return {op.weight: subvector for op in weighted_layers(graph) if not (isinstance(op, Conv2d) and op.groups > 1)}


def batch(graph: Graph) -> torch.Tensor:
    return torch.randn(4, *graph.inputs[0].source_shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("subvector", [1, 2, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays(name: str, subvector: int) -> None:
    graph = imported(name)
    permuted = permute_channels(graph, all_subvectors(graph, subvector))
    verify(permuted)
    moved = [op.name for op in weighted_layers(graph) if not np.array_equal(graph.weight(op.weight), permuted.weight(op.weight))]
    if subvector != 2:  # subvectors of one entry have no order to gain from
        assert bool(moved) == (subvector == 4)
    torch.testing.assert_close(TorchGraph(permuted).eval()(batch(graph)), TorchGraph(graph).eval()(batch(graph)), rtol=1e-4, atol=1e-5)


def chain(width: int, rng: np.random.Generator) -> Graph:
    """Two fully connected layers; the second hears each hidden feature with another strength, and some features together."""
    second = (rng.normal(size=(40, width // 4)) @ rng.normal(size=(width // 4, width)) + rng.normal(size=(40, width))) * np.exp(
        rng.normal(size=width)
    )
    parameters = {"first": rng.normal(size=(width, 12)).astype(np.float32), "second": second.astype(np.float32)}
    layers = {"first": ("x", "first"), "second": ("first", "second")}
    ops = tuple(Linear(name=name, inputs=(read,), output=written, weight=name) for name, (read, written) in layers.items())
    return Graph((Input("x", (12,), "NF"),), ops, ("second",), parameters)


def distortion(weight: np.ndarray) -> float:
    rows = quantize_rows(weight, 16, 4, np.random.default_rng(2))
    return float(np.square(rows.dense(weight.shape[-1]) - weight.reshape(len(weight), -1)).sum())


@pytest.mark.parametrize("width", [32, 30])
def test_the_distortion_falls(width: int) -> None:
    graph = chain(width, np.random.default_rng(3))
    permuted = permute_channels(graph, {"second": 4})
    assert distortion(permuted.weight("second")) < 0.7 * distortion(graph.weight("second"))


def test_inputs_and_outputs_of_the_network_stay_in_order() -> None:
    graph = chain(32, np.random.default_rng(3))
    permuted = permute_channels(graph, {"first": 4, "second": 4})
    place = [int(np.flatnonzero((permuted.weight("first") == row).all(1))[0]) for row in graph.weight("first")]
    assert sorted(place) == list(range(32)) != place  # whole rows moved: the columns, the inputs, did not
    np.testing.assert_array_equal(permuted.weight("second")[:, place], graph.weight("second"))  # nor did its rows, the outputs


def test_nothing_moves_for_layers_that_are_not_quantized() -> None:
    graph = chain(32, np.random.default_rng(3))
    permuted = permute_channels(graph, {"first": 4})
    for name in ("first", "second"):
        np.testing.assert_array_equal(permuted.weight(name), graph.weight(name))


def test_flattened_channels_that_break_subvectors_stay() -> None:
    graph = imported("lenet")  # 6 channels: in subvectors of 4, those of one pixel begin amid those of another
    flat = next(op for op in weighted_layers(graph) if isinstance(op, Linear))
    permuted = permute_channels(graph, {flat.weight: 4})
    np.testing.assert_array_equal(permuted.weight(flat.weight), graph.weight(flat.weight))
    assert not np.array_equal(permute_channels(graph, {flat.weight: 2}).weight(flat.weight), graph.weight(flat.weight))


def test_single_features_of_flattened_channels_keep_their_places() -> None:
    rng = np.random.default_rng(5)
    kept = (*range(4, 12), *range(16, 32))  # of channels 0..3 the first pixel is missing, of 4..7 the second
    shapes = {"a": (8, 1, 1, 3), "b": (12, 1, 1, 8), "c": (5, len(kept))}
    ops = (
        Conv2d(name="a", inputs=("x",), output="a", weight="a"),
        Conv2d(name="b", inputs=("a",), output="b", weight="b"),
        Flatten(name="flat", inputs=("a",), output="flat"),
        Select(name="some", inputs=("flat",), output="some", indices=kept),
        Linear(name="c", inputs=("some",), output="c", weight="c"),
    )
    parameters = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    graph = Graph((Input("x", (2, 2, 3), "NCHW"),), ops, ("b", "c"), parameters)
    permuted = permute_channels(graph, {"b": 2})
    source = [int(np.flatnonzero((graph.weight("a") == row).all((1, 2, 3)))[0]) for row in permuted.weight("a")]
    assert sorted(source[:4]) == [0, 1, 2, 3] != source[:4]
    for ours, theirs in zip(TorchGraph(permuted)(batch(graph)), TorchGraph(graph)(batch(graph)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_seed_decides() -> None:
    graph = chain(32, np.random.default_rng(3))
    one, same, other = (permute_channels(graph, {"second": 4}, seed).weight("second") for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
