"""compression/channels.py and prune.py: what is tied goes together, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lutra_compiler.compression.channels import channels_of, remove_channels
from lutra_compiler.compression.prune import (
    magnitude_scores,
    prune,
    round_widths,
    target_widths,
    taylor_scores,
    weighted_layers,
    with_selects,
)
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Samples
from lutra_compiler.config import PruningConfig
from lutra_compiler.errors import CompressionError
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Binary,
    Clamp,
    Concat,
    Conv2d,
    Elementwise,
    Flatten,
    Gather,
    Gru,
    Linear,
    MaxPool,
    Normalise,
    Op,
    Pad,
    Rearrange,
    Select,
    Slice,
    Softmax,
    Step,
    Upsample,
)
from lutra_compiler.ir.shapes import infer_shapes
from lutra_compiler.ir.verify import verify

RELU = Clamp(0, None)


def residual_network() -> Graph:
    """Two residual blocks, the second with a strided slice and channel padding, then concat, depthwise, flatten, linear."""
    rng = np.random.default_rng(3)
    shapes = {
        "stem": (8, 3, 3, 2), "inner": (6, 3, 3, 8), "outer": (8, 3, 3, 6), "wide": (16, 3, 3, 8), "branch": (4, 1, 1, 16),
        "depthwise": (20, 3, 3, 1), "head": (5, 4 * 4 * 20),
    }
    parameters = {name: rng.normal(size=shape).astype(np.float32) * 0.3 for name, shape in shapes.items()}
    parameters |= {f"{name}_bias": rng.normal(size=shape[0]).astype(np.float32) for name, shape in shapes.items()}
    parameters |= {name: np.abs(rng.normal(size=8)).astype(np.float32) for name in ("gain", "offset", "mean", "variance")}

    def conv(name: str, source: str, pad: int = 1, **more: object) -> Conv2d:
        return Conv2d(name=name, inputs=(source,), output=name, weight=name, bias=f"{name}_bias", padding=(pad,) * 4, **more)  # type: ignore[arg-type]

    ops: list[Op] = [
        conv("stem", "image"),
        BatchNorm(
            name="bn", inputs=("stem",), output="stem_bn", scale="gain", offset="offset", mean="mean", variance="variance", activation=RELU
        ),
        conv("inner", "stem_bn", activation=RELU),
        conv("outer", "inner"),
        Add(name="add1", inputs=("stem_bn", "outer"), output="add1", activation=RELU),
        conv("wide", "add1", stride=(2, 2)),
        Slice(name="slice", inputs=("add1",), output="slice", start=(0, 0, 0), stop=(8, 8, 8), step=(2, 2, 1)),
        Pad(name="pad", inputs=("slice",), output="pad", channels=(4, 4)),
        Add(name="add2", inputs=("pad", "wide"), output="add2", activation=RELU),
        conv("branch", "add2", pad=0, activation=RELU),
        Concat(name="concat", inputs=("add2", "branch"), output="concat"),
        conv("depthwise", "concat", groups=20),
        MaxPool(name="pool", inputs=("depthwise",), output="pool", kernel=(1, 1), stride=(1, 1)),
        Flatten(name="flatten", inputs=("pool",), output="flat"),
        Linear(name="head", inputs=("flat",), output="head", weight="head", bias="head_bias"),
    ]
    return Graph((Input("image", (8, 8, 2), "NCHW"),), tuple(ops), ("head",), parameters)


def silence(graph: Graph, removed: frozenset[int]) -> Graph:
    """The same network with the channels of the removed elements always zero: what removal must be equal to."""
    channels = channels_of(graph)
    changed = {}
    for op in graph.ops:
        gone = np.isin(channels.elements[op.output], list(removed))
        for name in {Conv2d: ("weight", "bias"), Linear: ("weight", "bias"), BatchNorm: ("scale", "offset")}.get(type(op), ()):
            parameter = graph.weight(getattr(op, name)).copy()
            parameter[gone] = 0
            changed[getattr(op, name)] = parameter
    return graph.with_parameters(changed)


@pytest.mark.parametrize("seed", range(8))
def test_removing_channels_is_the_same_as_silencing_them(seed: int) -> None:
    graph = residual_network()
    channels = channels_of(graph)
    rng = np.random.default_rng(seed)
    free = sorted(set(channels.owner) - channels.fixed)
    removed = frozenset(rng.choice(free, size=rng.integers(1, len(free) // 2), replace=False).tolist())
    smaller = remove_channels(graph, channels, removed)
    image = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(seed))
    expected = TorchGraph(silence(graph, removed)).eval()(image)
    torch.testing.assert_close(TorchGraph(smaller).eval()(image), expected, rtol=1e-4, atol=1e-4)
    assert smaller.trainable_parameters() < graph.trainable_parameters()


def network_with_other_operators() -> Graph:
    """A swish, a gate a channel, a gate a pixel, a transposition, an upsampling and a normalisation of each channel."""
    rng = np.random.default_rng(4)
    shapes = {"stem": (8, 3, 3, 2), "gate": (8, 1, 1, 8), "mask": (1, 1, 1, 8), "wide": (6, 1, 1, 8), "head": (3, 1, 1, 6)}
    parameters = {name: rng.normal(size=shape).astype(np.float32) * 0.3 for name, shape in shapes.items()}
    parameters |= {f"{name}_bias": rng.normal(size=shape[0]).astype(np.float32) for name, shape in shapes.items()}

    def conv(name: str, source: str) -> Conv2d:
        return Conv2d(name=name, inputs=(source,), output=name, weight=name, bias=f"{name}_bias")

    swish = (Step("sigmoid", (0,)), Step("multiply", (0, 1)))
    ops: list[Op] = [
        conv("stem", "image"),
        Elementwise(name="swish", inputs=("stem",), output="swish", steps=swish),
        AveragePool(name="pool", inputs=("swish",), output="pool", kernel=(6, 6), stride=(1, 1)),
        conv("gate", "pool"),
        Binary(name="gated", inputs=("swish", "gate"), output="gated", function="multiply"),
        conv("mask", "gated"),
        Binary(name="masked", inputs=("mask", "gated"), output="masked", function="multiply", activation=RELU),
        Rearrange(name="turned", inputs=("masked",), output="turned", view=(6, 6, 8), order=(1, 0, 2), shape=(6, 6, 8)),
        Upsample(name="large", inputs=("turned",), output="large", factors=(2, 1)),
        Normalise(name="even", inputs=("large",), output="even", axes=(0, 1)),
        conv("wide", "even"),
        Gather(name="rows", inputs=("wide",), output="rows", axis=0, indices=(3, 0, 0)),
        conv("head", "rows"),
    ]
    return Graph((Input("image", (8, 8, 2), "NCHW"),), tuple(ops), ("head",), parameters)


@pytest.mark.parametrize("seed", range(4))
def test_channels_go_through_other_operators(seed: int) -> None:
    graph = network_with_other_operators()
    channels = channels_of(graph)
    free = sorted(set(channels.owner) - channels.fixed)
    assert len(free) == 8 + 6  # of the stem and the gate together, and of the wide one; the mask is one for all
    removed = frozenset(np.random.default_rng(seed).choice(free, size=5, replace=False).tolist())
    smaller = remove_channels(graph, channels, removed)
    verify(smaller)
    image = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(seed))
    expected = TorchGraph(silence(graph, removed)).eval()(image)
    torch.testing.assert_close(TorchGraph(smaller).eval()(image), expected, rtol=1e-4, atol=1e-4)


def test_channels_that_are_mixed_stay() -> None:
    graph = network_with_other_operators()
    shuffled = Rearrange(name="turned", inputs=("masked",), output="turned", view=(6, 6, 4, 2), order=(0, 1, 3, 2), shape=(6, 6, 8))
    over_channels = Normalise(name="even", inputs=("large",), output="even", axes=(2,))
    shares = Softmax(name="even", inputs=("large",), output="even")
    for name, op in (("turned", shuffled), ("even", over_channels), ("even", shares)):
        changed = replace(graph, ops=tuple(op if other.name == name else other for other in graph.ops))
        channels = channels_of(changed)
        assert channels.fixed.issuperset(channels.elements["stem"].tolist())
        assert not channels.fixed & set(channels.elements["wide"].tolist())


def test_a_residual_add_ties_channels() -> None:
    channels = channels_of(residual_network())
    np.testing.assert_array_equal(channels.elements["stem"], channels.elements["outer"])
    np.testing.assert_array_equal(channels.elements["stem"], channels.elements["wide"][4:12])


def test_a_flatten_maps_a_channel_to_its_features() -> None:
    channels = channels_of(residual_network())
    np.testing.assert_array_equal(channels.elements["flat"].reshape(16, 20), np.tile(channels.elements["pool"], (16, 1)))


def test_inputs_and_outputs_are_fixed() -> None:
    channels = channels_of(residual_network())
    assert channels.fixed.issuperset(channels.elements["image"].tolist())
    assert channels.fixed.issuperset(channels.elements["head"].tolist())


def test_pruning_keeps_the_widths_it_is_given() -> None:
    graph = residual_network()
    widths = target_widths(graph, PruningConfig(widths={"stem": 5, "inner": 2, "wide": 11, "branch": 1}))
    smaller = prune(graph, widths, magnitude_scores(graph))
    shapes = infer_shapes(smaller)
    assert {name: shapes[name][-1] for name in ("stem", "inner", "outer", "wide", "branch")} == {
        "stem": 5, "inner": 2, "outer": 5, "wide": 11, "branch": 1,
    }  # fmt: skip


def test_a_layer_of_which_a_slice_takes_some_channels_keeps_them_all() -> None:
    graph = residual_network()
    ops = [replace(op, stop=(8, 8, 4), step=(2, 2, 1)) if isinstance(op, Slice) else op for op in graph.ops]
    ops = [replace(op, channels=(6, 6)) if isinstance(op, Pad) else op for op in ops]
    graph = replace(graph, ops=tuple(ops))
    smaller = prune(graph, target_widths(graph, PruningConfig(rate=0.5)), magnitude_scores(graph))
    shapes = infer_shapes(smaller)
    assert {name: shapes[name][-1] for name in ("stem", "slice", "wide", "inner")} == {"stem": 8, "slice": 4, "wide": 8, "inner": 3}


def test_pruning_removes_the_channels_of_lowest_score() -> None:
    graph = residual_network()
    scores = dict(magnitude_scores(graph))
    scores["inner"] = np.array([5.0, 1, 4, 2, 3, 0])
    smaller = prune(graph, {"inner": 3}, scores)
    np.testing.assert_array_equal(smaller.weight("inner"), graph.weight("inner")[[0, 2, 4]])


def test_taylor_scores_find_the_channels_that_matter() -> None:
    graph = residual_network()
    weight = graph.weight("outer").copy()
    weight[..., 2] = 0  # nobody listens to inner channel 2
    samples = Samples(torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(64, dtype=torch.int64))
    scores = taylor_scores(graph.with_parameters({"outer": weight}), samples, None)
    assert scores["inner"].argmin() == 2


def test_a_rate_prunes_every_free_layer() -> None:
    graph = residual_network()
    widths = target_widths(graph, PruningConfig(rate=0.5))
    assert widths["inner"] == 3
    assert "head" not in widths


def test_rounds_end_at_the_target() -> None:
    start, target = {"a": 500, "b": 20}, {"a": 60, "b": 20}
    sizes = [round_widths(start, target, step, 3) for step in (1, 2, 3)]
    assert [s["a"] for s in sizes] == sorted((s["a"] for s in sizes), reverse=True)
    assert sizes[-1] == target


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"nope": 3}, "'nope'"), ({"stem": 9}, "it has 8"), ({"head": 2}, "tied to the network's inputs or outputs"),
        ({"wide": 4}, "'wide' cannot have 4 channels: 8 of them are tied"), ({"stem": 5, "wide": 4}, "5 of them are tied"),
    ],
)
def test_impossible_widths_are_refused(widths: dict[str, int], message: str) -> None:
    with pytest.raises(CompressionError, match=message):
        target_widths(residual_network(), PruningConfig(widths=widths))


def test_a_width_by_number_is_not_taken_by_a_layer_whose_name_is_that_number() -> None:
    graph = residual_network()
    numbered = replace(graph, ops=tuple(replace(op, name="1") if op.output == "stem" else op for op in graph.ops))
    assert target_widths(numbered, PruningConfig(widths={"1": 3})) == {"stem": 8, "inner": 3, "wide": 16, "branch": 4}


@pytest.mark.parametrize(("stem", "wide"), [(8, 8), (5, 5), (5, 9), (1, 1)])
def test_channels_that_are_tied_count(stem: int, wide: int) -> None:
    graph = residual_network()
    smaller = prune(graph, target_widths(graph, PruningConfig(widths={"stem": stem, "wide": wide})), magnitude_scores(graph))
    shapes = infer_shapes(smaller)
    assert (shapes["stem"][-1], shapes["wide"][-1]) == (stem, wide)


def test_layers_are_numbered_in_order() -> None:
    assert [op.name for op in weighted_layers(residual_network())] == ["stem", "inner", "outer", "wide", "branch", "depthwise", "head"]


FEATURES = PruningConfig(features={"head": 100}, rounds=1)


def silence_features(graph: Graph, kept: np.ndarray) -> Graph:
    weight = np.zeros_like(graph.weight("head"))
    weight[:, kept] = graph.weight("head")[:, kept]
    return graph.with_parameters({"head": weight})


def test_features_of_lowest_score_go() -> None:
    graph = with_selects(residual_network(), FEATURES)
    scores = magnitude_scores(graph)
    small = prune(graph, target_widths(graph, FEATURES), scores)
    kept = np.sort(np.argsort(-scores["head.selected"], kind="stable")[:100])
    assert small.weight_shape("head") == (5, 100)
    images = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(TorchGraph(small).eval()(images), TorchGraph(silence_features(residual_network(), kept)).eval()(images))


def test_features_of_removed_channels_go_with_them() -> None:
    config = replace(FEATURES, widths={"branch": 2})
    graph = with_selects(residual_network(), config)
    channels = channels_of(graph)
    small = prune(graph, target_widths(graph, config), taylor_scores(graph, Samples(torch.randn(20, 2, 8, 8)), TorchGraph(graph).eval()))
    verify(small)
    (select,) = (op for op in small.ops if isinstance(op, Select))
    assert infer_shapes(small)["flat"] == (4 * 4 * 18,)
    assert len(select.indices) == 100
    assert len(channels.elements["flat"]) == 4 * 4 * 20


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"head": 400}, "'head' cannot read 400 features: there are 320"),
        ({"wide": 4}, "'wide' cannot choose among its inputs"),
        ({"tail": 4}, "pruning.features names 'tail'"),
    ],
)
def test_impossible_features_are_refused(features: dict[str, int], reason: str) -> None:
    with pytest.raises(CompressionError, match=reason):
        with_selects(residual_network(), PruningConfig(features=features))


def test_units_of_recurrent_layers_and_what_computes_their_gates_stay() -> None:
    ops = (
        Conv2d(name="gates", inputs=("x",), output="gates", weight="gates"),
        Gru(name="gru", inputs=("gates",), output="h", weight="r"),
        Conv2d(name="head", inputs=("h",), output="y", weight="head"),
        Conv2d(name="last", inputs=("y",), output="z", weight="last"),
    )
    shapes = {"gates": (6, 1, 1, 3), "r": (6, 2), "head": (5, 1, 1, 2), "last": (4, 1, 1, 5)}
    graph = Graph((Input("x", (1, 7, 3), "NHWC"),), ops, ("z",), {name: np.ones(s, np.float32) for name, s in shapes.items()})
    channels = channels_of(graph)
    assert {*channels.elements["gates"].tolist(), *channels.elements["h"].tolist()} <= channels.fixed
    assert target_widths(graph, PruningConfig(rate=0.5)) == {"y": 2}
    smaller = prune(graph, {"y": 2}, magnitude_scores(graph))
    assert smaller.weight_shape("head") == (2, 1, 1, 2)
    assert smaller.weight_shape("r") == (6, 2)


def test_a_single_number_that_is_moved_has_no_channels_to_keep() -> None:
    """The simplest form of its move has no axes."""
    ops = (
        Linear(name="scores", inputs=("x",), output="scores", weight="w"),
        Rearrange(name="moved", inputs=("scores",), output="y", view=(), order=(), shape=(1, 1, 1)),
    )
    source = Graph((Input("x", (8,), "NF"),), ops, ("y",), {"w": np.ones((1, 8), np.float32)})
    verify(source)
    assert channels_of(source).elements["scores"].shape == channels_of(source).elements["y"].shape == (1,)
