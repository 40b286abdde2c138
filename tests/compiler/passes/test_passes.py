"""Each pass alone: what it changes, what it leaves alone, and that the network computes the same before and after."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from lutra_compiler.compression.compress import quantize_to_int8
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.errors import GraphError, LoweringError
from lutra_compiler.ir.encoding import ProductQuantized, Quantization, ScalarQuantized
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    BatchNorm,
    Clamp,
    Concat,
    Conv2d,
    Flatten,
    Linear,
    MaxPool,
    Op,
    Pad,
    Rearrange,
    Slice,
    Softmax,
)
from lutra_compiler.ir.verify import verify
from lutra_compiler.passes import canonicalise, prepare_for_lowering
from lutra_compiler.passes.batchnorm_to_depthwise import batchnorm_to_depthwise
from lutra_compiler.passes.fold_batchnorm import fold_batchnorm
from lutra_compiler.passes.fuse_activation import fuse_activation
from lutra_compiler.passes.merge_padding import merge_padding
from lutra_compiler.passes.normalise_gain import normalise_gain
from lutra_compiler.passes.reorder_flatten import reorder_flatten

IMAGE, VECTOR = (6, 5, 4), (4,)
RELU, RELU6 = Clamp(0, None), Clamp(0, 6)
SIZES = {"w": (4, 3, 3, 4), "fc": (4, 4), "wide": (3, 120), "double": (3, 240), **dict.fromkeys("bsomv", (4,)), "flat": (120,)}


def graph(*ops: Op, shape: tuple[int, ...] = IMAGE, outputs: Sequence[str] = ("y",)) -> Graph:
    """A graph with random values for the parameters that the ops name; the name up to an underscore gives the shape."""
    random = np.random.default_rng(0)
    names = [name for op in ops for name in op.parameter_names]
    parameters = {name: random.standard_normal(SIZES[name.partition("_")[0]]).astype(np.float32) for name in names}
    parameters |= {name: np.abs(array) for name, array in parameters.items() if name.startswith(("v", "flat_v"))}
    built = Graph((Input("x", shape, "NCHW" if len(shape) == 3 else "NF"),), ops, tuple(outputs), parameters)
    verify(built)
    return built


def assert_same(before: Graph, after: Graph) -> None:
    verify(after)
    x = torch.randn(2, *before.inputs[0].source_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        results = [TorchGraph(g).eval()(x) for g in (before, after)]
    for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def conv(source: str, output: str, activation: Clamp | None = None, **changes: object) -> Conv2d:
    return replace(Conv2d(name=output, inputs=(source,), output=output, weight="w", bias="b", activation=activation), **changes)


def clamp(source: str, output: str, bounds: Clamp = RELU) -> Activation:
    return Activation(name=output, inputs=(source,), output=output, clamp=bounds)


def norm(source: str, output: str, prefix: str = "") -> BatchNorm:
    scale, offset, mean, variance = (prefix + letter for letter in "somv")
    return BatchNorm(name=output, inputs=(source,), output=output, scale=scale, offset=offset, mean=mean, variance=variance)


def linear(source: str, output: str, weight: str = "fc") -> Linear:
    return Linear(name=output, inputs=(source,), output=output, weight=weight)


def flatten(source: str, output: str, order: str = "CHW") -> Flatten:
    return Flatten(name=output, inputs=(source,), output=output, order=order)


def add(a: str, b: str, output: str) -> Add:
    return Add(name=output, inputs=(a, b), output=output)


# fuse_activation


@pytest.mark.parametrize("before", [conv("x", "a"), norm("x", "a"), add("x", "x", "a")])
def test_a_clamp_joins_the_op_before_it(before: Op) -> None:
    original = graph(before, clamp("a", "y"))
    fused = fuse_activation(original)
    assert fused.ops == (replace(before, output="y", activation=RELU),)
    assert_same(original, fused)


@pytest.mark.parametrize(
    ("clamps", "joined"),
    [
        ((RELU, RELU6), Clamp(0, 6)),
        ((RELU6, RELU), Clamp(0, 6)),
        ((Clamp(None, 1), Clamp(-1, None)), Clamp(-1, 1)),
        ((Clamp(0, 1), Clamp(2, 3)), Clamp(2, 2)),
        ((Clamp(2, 3), Clamp(0, 1)), Clamp(1, 1)),
    ],
)
def test_clamps_in_sequence_become_one(clamps: tuple[Clamp, Clamp], joined: Clamp) -> None:
    original = graph(clamp("x", "a", clamps[0]), clamp("a", "y", clamps[1]))
    fused = fuse_activation(original)
    assert [op.clamp for op in fused.ops if isinstance(op, Activation)] == [joined]
    assert_same(original, fused)


def test_a_clamp_moves_ahead_of_pooling_slicing_and_flattening() -> None:
    pool = MaxPool(name="p", inputs=("a",), output="p", kernel=(2, 2), stride=(2, 2), padding=(1, 1, 0, 0))
    cut = Slice(name="c", inputs=("p",), output="c", start=(0, 0, 1), stop=(2, 2, 4), step=(1, 1, 2))
    original = graph(conv("x", "a"), pool, cut, flatten("c", "f"), clamp("f", "y", Clamp(-0.5, 0.5)))
    fused = fuse_activation(original)
    assert [op.kind for op in fused.ops] == ["conv2d", "max_pool", "slice", "flatten"]
    assert_same(original, fused)


@pytest.mark.parametrize(
    "original",
    [
        graph(conv("x", "a"), clamp("a", "b"), conv("a", "c", weight="w_2", bias="b_2"), outputs=("b", "c")),
        graph(conv("x", "a"), clamp("a", "y"), outputs=("a", "y")),
        graph(Pad(name="p", inputs=("x",), output="a", channels=(1, 0)), clamp("a", "y", Clamp(1, 2))),
        graph(clamp("x", "y")),
    ],
)
def test_a_clamp_stays_where_others_read_its_input_or_nothing_can_take_it(original: Graph) -> None:
    assert fuse_activation(original).ops == original.ops


# merge_padding


def test_padding_joins_the_convolution() -> None:
    original = graph(Pad(name="p", inputs=("x",), output="a", spatial=(1, 0, 2, 1)), conv("a", "y", padding=(1, 1, 0, 0)))
    merged = merge_padding(original)
    assert merged.ops == (conv("x", "y", padding=(2, 1, 2, 1)),)
    assert_same(original, merged)


@pytest.mark.parametrize(
    "original",
    [
        graph(
            Pad(name="p", inputs=("x",), output="a", spatial=(1, 1, 1, 1)),
            MaxPool(name="m", inputs=("a",), output="y", kernel=(2, 2), stride=(1, 1)),
        ),
        graph(
            Slice(name="s", inputs=("x",), output="s", start=(0, 0, 0), stop=(6, 5, 3), step=(1, 1, 1)),
            Pad(name="p", inputs=("s",), output="a", spatial=(1, 1, 1, 1), channels=(1, 0)),
            conv("a", "y"),
        ),
        graph(Pad(name="p", inputs=("x",), output="a", spatial=(1, 1, 1, 1)), conv("a", "y"), outputs=("a", "y")),
    ],
)
def test_other_padding_stays(original: Graph) -> None:
    assert merge_padding(original).ops == original.ops


# reorder_flatten


def test_a_fully_connected_layer_takes_a_flattened_image_in_memory_order() -> None:
    original = graph(flatten("x", "f"), linear("f", "y", "wide"))
    reordered = reorder_flatten(original)
    assert reordered.ops[0] == flatten("x", "f", "HWC")
    assert_same(original, reordered)


def test_the_order_passes_through_elementwise_ops_and_concats() -> None:
    original = graph(
        clamp("x", "positive"),
        flatten("x", "f"),
        flatten("positive", "g"),
        norm("f", "n", "flat_"),
        clamp("n", "c"),
        add("c", "g", "s"),
        Softmax(name="p", inputs=("s",), output="p"),
        flatten("x", "plain", "HWC"),
        Concat(name="j", inputs=("p", "plain"), output="j"),
        linear("j", "y", "double"),
    )
    assert_same(original, reorder_flatten(original))


def test_what_is_in_memory_order_stays() -> None:
    original = graph(flatten("x", "y", "HWC"))
    assert reorder_flatten(original).ops == original.ops


@pytest.mark.parametrize("ops", [(flatten("x", "y"),), (flatten("x", "f"), clamp("f", "y"))])
def test_an_output_keeps_the_source_order(ops: tuple[Op, ...]) -> None:
    original = graph(*ops)
    reordered = reorder_flatten(original)
    assert [type(op) for op in reordered.ops] == [Rearrange, *(type(op) for op in ops[1:])]
    assert_same(original, reordered)


def test_a_sum_of_two_orders_is_in_the_source_order() -> None:
    original = graph(flatten("x", "f"), flatten("x", "g", "HWC"), add("f", "g", "s"), linear("s", "y", "wide"))
    reordered = reorder_flatten(original)
    assert [type(op) for op in reordered.ops] == [Rearrange, Flatten, Add, Linear]
    assert_same(original, reordered)


def test_only_the_flatten_that_shows_is_kept() -> None:
    original = graph(
        flatten("x", "f"), linear("f", "a", "wide"), flatten("x", "y"), linear("y", "b", "wide_2"), outputs=("a", "b", "y"),
    )  # fmt: skip
    reordered = reorder_flatten(original)
    assert [type(op) for op in reordered.ops] == [Flatten, Linear, Rearrange, Linear]
    assert_same(original, reordered)


def test_an_encoded_weight_cannot_be_reordered() -> None:
    original = graph(flatten("x", "f"), linear("f", "y", "wide"))
    encoded = original.with_encodings({"wide": ScalarQuantized(np.ones((3, 120), np.int8), np.ones(3, np.float32))})
    with pytest.raises(GraphError, match="layer 'y': its weight is already encoded"):
        reorder_flatten(encoded)


# normalise_gain


def mixed_gains(*ops: Op, shape: tuple[int, ...] = IMAGE) -> Graph:
    return graph(*ops, shape=shape).with_parameters({"s": np.array([1.5, -0.5, 0, -2], np.float32)})


@pytest.mark.parametrize("bias", ["b", None])
def test_gains_become_positive(bias: str | None) -> None:
    original = mixed_gains(conv("x", "a", bias=bias), norm("a", "y"))
    normal = normalise_gain(original)
    assert normal.parameters["s"].tolist() == [1.5, 0.5, 1, 2]
    assert not normal.parameters["w"][2].any()
    assert_same(original, normal)


@pytest.mark.parametrize(
    "original",
    [
        mixed_gains(conv("x", "a", RELU), norm("a", "y")),
        mixed_gains(norm("x", "y")),
        mixed_gains(conv("x", "a"), norm("a", "n"), add("a", "n", "y")),
        mixed_gains(linear("x", "a"), norm("a", "y"), shape=VECTOR).with_encodings(
            {"fc": ScalarQuantized(np.ones((4, 4), np.int8), np.ones(4, np.float32))}
        ),
    ],
)
def test_gains_that_do_not_fold_or_of_encoded_weights_stay(original: Graph) -> None:
    assert np.array_equal(normalise_gain(original).parameters["s"], original.parameters["s"])


def test_a_gain_too_small_for_a_row_scale_is_none() -> None:
    """1e-43 is a number of float32, but its product with the scale of int8 weights is not."""
    for ops in ((conv("x", "a"), norm("a", "y")), (norm("x", "y"),)):
        original = graph(*ops).with_parameters({"s": np.array([1.5, -1e-43, 1e-43, 1e-38], np.float32)})
        lowered = prepare_for_lowering(quantize_to_int8(canonicalise(original), torch.randn(8, 4, 6, 5)))
        assert all((encoding.scale > 1e-38).all() for encoding in lowered.encodings.values())
        assert_same(original, canonicalise(original))


# fold_batchnorm


@pytest.mark.parametrize(
    "original",
    [
        graph(conv("x", "a"), norm("a", "y")),
        graph(conv("x", "a", bias=None), replace(norm("a", "y"), activation=RELU6)),
        graph(linear("x", "a"), norm("a", "y"), shape=VECTOR),
        mixed_gains(conv("x", "a"), norm("a", "y")),
    ],
)
def test_a_batch_norm_folds_into_the_layer_before_it(original: Graph) -> None:
    folded = fold_batchnorm(original)
    assert [op.kind for op in folded.ops] == [original.ops[0].kind]
    assert_same(original, folded)


def test_a_batch_norm_folds_into_row_scales_and_signs_of_int8_weights() -> None:
    values = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 4)).astype(np.int8)
    encoding = ScalarQuantized(values, np.array([1, 2, 3, 4], np.float32) / 256)
    original = mixed_gains(conv("x", "a"), norm("a", "y")).with_encodings({"w": encoding})
    folded = fold_batchnorm(original)
    after = folded.encodings["w"]
    assert isinstance(after, ScalarQuantized)
    assert np.array_equal(after.values, values * np.array([1, -1, 0, -1], np.int8).reshape(-1, 1, 1, 1))
    assert_same(original, folded)


PRODUCT = ProductQuantized(
    codebook=np.arange(-16, 16, dtype=np.int8).reshape(16, 2),
    indices=np.arange(4 * 9 * 2, dtype=np.uint8).reshape(4, 9, 2) % 16,
    scale=np.ones(4, np.float32) / 16,
    shape=(4, 3, 3, 4),
    index_bits=4,
)


def test_a_batch_norm_folds_into_row_scales_of_product_quantized_weights() -> None:
    original = graph(conv("x", "a"), norm("a", "y")).with_encodings({"w": PRODUCT})
    original = original.with_parameters({"s": np.array([1, 2, 3, 4], np.float32)})
    folded = fold_batchnorm(original)
    after = folded.encodings["w"]
    assert isinstance(after, ProductQuantized)
    assert np.array_equal(after.indices, PRODUCT.indices)
    assert_same(original, folded)


def test_a_gain_that_is_not_positive_cannot_fold_into_a_product_quantized_weight() -> None:
    original = mixed_gains(conv("x", "a"), norm("a", "y")).with_encodings({"w": PRODUCT})
    with pytest.raises(LoweringError, match=r"layer 'a': channel 1 has a batch norm gain of -.*canonicalise the network before"):
        fold_batchnorm(original)


def test_quantization_of_values_that_stay_is_kept() -> None:
    quantization = {name: Quantization(1.0, index) for index, name in enumerate("xay")}
    folded = fold_batchnorm(replace(graph(conv("x", "a"), norm("a", "y")), quantization=quantization))
    assert folded.quantization == {"x": Quantization(1.0, 0), "y": Quantization(1.0, 2)}


def test_a_batch_norm_that_others_bypass_stays() -> None:
    original = graph(conv("x", "a"), norm("a", "n"), add("a", "n", "y"))
    assert fold_batchnorm(original).ops == original.ops


# batchnorm_to_depthwise


def test_a_batch_norm_on_its_own_becomes_a_depthwise_convolution() -> None:
    original = mixed_gains(replace(norm("x", "y"), activation=RELU))
    (op,) = batchnorm_to_depthwise(original).ops
    assert isinstance(op, Conv2d)
    assert op.groups == 4
    assert_same(original, batchnorm_to_depthwise(original))


def test_a_batch_norm_on_a_vector_with_nowhere_to_fold_is_refused() -> None:
    with pytest.raises(LoweringError, match="batch norm 'y' follows no fully connected layer of its own"):
        batchnorm_to_depthwise(graph(norm("x", "y"), shape=VECTOR))


def test_passes_verify_what_they_are_given() -> None:
    with pytest.raises(GraphError, match="nothing uses its output 'y'"):
        canonicalise(replace(graph(conv("x", "a"), norm("a", "y")), outputs=("a",)))
