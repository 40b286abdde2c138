"""Every supported ONNX operator computes what onnxruntime computes; everything else is refused with a reason and a remedy."""

import math
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.errors import ModelError, UnsupportedModelError
from lutra_compiler.frontends.onnx_reader import read_onnx
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Activation, Clamp, Flatten
from lutra_compiler.passes import canonicalise, prepare_for_lowering
from onnx_models import model, node, normal

W = normal(4, 2, 3, 2)
FLAT = node("Flatten", "x", "f")
LINEAR = normal(60, 3)


def read(m: onnx.ModelProto, shapes: dict[str, tuple[int, ...]] | None = None) -> Graph:
    return read_onnx(m.SerializeToString(), shapes)


def run(graph: Graph, *inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return TorchGraph(graph).eval()(*map(torch.from_numpy, inputs)).numpy()


def f32(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32) if len(numbers) != 1 else np.float32(numbers[0])


MODELS = {
    "conv": model([node("Conv", "x w b", "y")], {"w": W, "b": normal(4)}),
    "conv stride and uneven pads": model([node("Conv", "x w", "y", strides=[2, 1], pads=[0, 1, 2, 3])], {"w": W}),
    "conv same upper": model([node("Conv", "x w", "y", auto_pad="SAME_UPPER", strides=[2, 2])], {"w": W}),
    "conv same lower": model([node("Conv", "x w", "y", auto_pad="SAME_LOWER")], {"w": W}),
    "conv valid": model([node("Conv", "x w", "y", auto_pad="VALID", kernel_shape=[3, 2])], {"w": W}),
    "conv groups": model([node("Conv", "x w", "y", group=2)], {"w": W[:, :1]}),
    "conv with a bias added": model([node("Conv", "x w", "c"), node("Add", "b c", "y")], {"w": W, "b": normal(1, 4, 1, 1)}),
    "conv with two biases": model([node("Conv", "x w b", "c"), node("Add", "c s", "y")], {"w": W, "b": normal(4), "s": f32(2)}),
    "conv read before its bias": model(
        [node("Conv", "x w", "c"), node("Add", "c b", "d"), node("Add", "c d", "y")], {"w": W, "b": normal(4, 1, 1)}
    ),
    "gemm": model([FLAT, node("Gemm", "f w b", "y", alpha=0.5, beta=2.0)], {"w": LINEAR, "b": normal(3)}),
    "gemm transposed": model([FLAT, node("Gemm", "f w b", "y", transB=1)], {"w": LINEAR.T.copy(), "b": normal(1, 1)}),
    "gemm without bias": model([FLAT, node("Gemm", "f w", "y")], {"w": LINEAR}),
    "matmul and add": model([FLAT, node("MatMul", "f w", "m"), node("Add", "m b", "y")], {"w": LINEAR, "b": normal(3)}),
    "batch norm": model(
        [node("BatchNormalization", "x s o m v", "y", epsilon=1e-3)], {"s": normal(2), "o": normal(2), "m": normal(2), "v": normal(2) ** 2}
    ),
    "relu": model([node("Relu", "x", "y")]),
    "clip": model([node("Clip", "x a b", "y")], {"a": f32(-0.5), "b": f32(0.25)}),
    "clip above": model([node("Clip", "x - b", "y")], {"b": f32(0.25)}),
    "clip upside down": model([node("Clip", "x a b", "y")], {"a": f32(1), "b": f32(0.25)}),
    "clip by castlike": model([node("CastLike", "d x", "a"), node("Clip", "x a", "y")], {"d": np.float64(0.5)}),
    "max pool": model([node("MaxPool", "x", "y", kernel_shape=[3, 2], strides=[1, 2], pads=[1, 0, 2, 1])]),
    "max pool ceil": model([node("MaxPool", "x", "y", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1)]),
    "max pool same": model([node("MaxPool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")]),
    "average pool": model([node("AveragePool", "x", "y", kernel_shape=[3, 2], pads=[1, 1, 1, 0])]),
    "average pool with pads": model([node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)]),
    "average pool ceil": model([node("AveragePool", "x", "y", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, pads=[1, 1, 0, 0])]),
    "global average pool": model([node("GlobalAveragePool", "x", "y")]),
    "global max pool": model([node("GlobalMaxPool", "x", "y")]),
    "mean": model([node("ReduceMean", "x", "y", axes=[-1, 2])]),
    "mean to vector": model([node("ReduceMean", "x a", "y", keepdims=0)], {"a": [2, 3]}, opset=18),
    "add": model([node("Relu", "x", "r"), node("Add", "x r", "y")]),
    "add nothing": model([node("Add", "x z", "a"), node("Relu", "a", "y")], {"z": f32(0)}),
    "concat": model([node("Relu", "x", "r"), node("Concat", "x r x", "y", axis=-3)]),
    "pad": model([node("Pad", "x p", "y")], {"p": [0, 1, 2, 0, 0, 3, 0, 1]}),
    "pad some axes": model([node("Pad", "x p z a", "y")], {"p": [1, 2], "z": f32(0), "a": [-1]}, opset=18),
    "slice": model([node("Slice", "x a b c d", "y")], {"a": [1, -5], "b": [2**63 - 1, -1], "c": [1, 3], "d": [1, 2]}),
    "slice without axes": model([node("Slice", "x a b", "y")], {"a": [0, 0, 1], "b": [1, 9, 4]}),
    "slice of a slice": model(
        [node("Slice", "x a b c d", "s"), node("Slice", "s a b c d", "y")], {"a": [1], "b": [9], "c": [3], "d": [2]}
    ),
    "flatten by reshape": model([node("Reshape", "x s", "f"), node("Gemm", "f w", "y")], {"s": [0, -1], "w": LINEAR}),
    "flatten by computed shape": model(
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n"),
            node("Unsqueeze", "n first", "u"),
            node("Constant", "", "m", value_ints=[-1]),
            node("Concat", "u m", "t", axis=0),
            node("Reshape", "x t", "f"),
            node("Gemm", "f w", "y"),
        ],
        {"zero": np.int64(0), "first": [0], "w": LINEAR},
    ),
    "flatten by squeeze": model([node("GlobalAveragePool", "x", "g"), node("Squeeze", "g a", "y")], {"a": [2, -1]}),
    "shape of constants": model(
        [
            node("ConstantOfShape", "n", "z", value=onnx.numpy_helper.from_array(f32(2).reshape(1))),
            node("Expand", "z e", "b"),
            node("Conv", "x w b", "y"),
        ],
        {"n": [1], "e": [4], "w": W},
    ),
    "reshape and unsqueeze of nothing": model(
        [node("Reshape", "x s", "a"), node("Unsqueeze", "a n", "b"), node("Relu", "b", "y")],
        {"s": [1, 2, 5, 6], "n": np.zeros(0, np.int64)},
    ),
    "softmax": model([node("Softmax", "x", "y", axis=1)]),
    "softmax before opset 13": model(
        [node("GlobalAveragePool", "x", "g"), node("Flatten", "g", "f"), node("Softmax", "f", "y")], opset=11
    ),
    "what does nothing": model(
        [
            node("Identity", "x", "a"),
            node("Dropout", "a", "b"),
            node("Cast", "b", "c", to=1),
            node("Clip", "c", "d"),
            node("MaxPool", "d", "e", kernel_shape=[1, 1]),
            node("AveragePool", "e", "f", kernel_shape=[1, 1]),
            node("Slice", "f zero end", "g"),
            node("Relu", "g", "y"),
        ],
        {"zero": [0], "end": [9]},
    ),
    "nodes in any order": model([node("Relu", "a", "y"), node("Add", "x x", "a")]),
    "weights from constant nodes": model(
        [
            node("Constant", "", "w", value=onnx.numpy_helper.from_array(LINEAR.T.copy())),
            node("Transpose", "w", "t"),
            FLAT,
            node("MatMul", "f t", "y"),
        ]
    ),
    "unused nodes": model([node("Relu", "x", "y"), node("Sin", "x", "z")]),
    "two inputs": model([node("Add", "x z", "y")], inputs={"x": (1, 2, 5, 6), "z": (1, 2, 5, 6)}),
    "symbolic batch": model([node("Relu", "x", "y")], inputs={"x": ("batch", 2, 5, 6)}),
}


@pytest.mark.parametrize("name", MODELS)
def test_operator_computes_what_onnxruntime_does(name: str) -> None:
    session = onnxruntime.InferenceSession(MODELS[name].SerializeToString())
    inputs = [normal(*(size if isinstance(size, int) else 1 for size in port.shape)) + i for i, port in enumerate(session.get_inputs())]
    (expected,) = session.run(None, {port.name: array for port, array in zip(session.get_inputs(), inputs, strict=True)})
    graph = read(MODELS[name])
    np.testing.assert_allclose(run(graph, *inputs), expected, atol=1e-5)
    if not isinstance(graph.ops[-1], Flatten):
        np.testing.assert_allclose(run(prepare_for_lowering(canonicalise(graph)), *inputs), expected, atol=1e-4)


@pytest.mark.parametrize("opset", [*range(7, onnx.defs.onnx_opset_version() + 1)])
def test_opsets(opset: int) -> None:
    assert read(model([node("Relu", "x", "y")], opset=opset)).ops == (
        Activation(name="y", inputs=("x",), output="y", clamp=Clamp(0.0, None)),
    )


def test_names_are_kept_for_people_and_made_safe_for_values() -> None:
    odd = model([node("Relu", "x", "a", "/block 0/\x1b[31mä"), node("Relu", "a", "y", "/block 0/\x1b[31mä")])
    odd.graph.node[1].output[0] = odd.graph.output[0].name = "out put!"
    graph = read(odd)
    assert [op.name for op in graph.ops] == ["/block 0/\x1b[31mä", "/block 0/\x1b[31mä"]
    assert [op.output for op in graph.ops] == ["block_0_31m", "out_put"]


def test_every_unsupported_node_is_listed_at_once() -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        read(
            model(
                [
                    node("Hardmax", "x", "a", "gate"),
                    node("MaxPool", "x", "b", "wide", kernel_shape=[2, 2], dilations=[2, 2], pads=[1, 1, 1, 1]),
                    node("Add", "a b", "c", "after both"),
                    node("LSTM", "c", "d", "memory"),
                    node("Scale", "d", "y", "custom", domain="com.example"),
                ],
                {"w": normal(2, 2, 2, 2)},
            )
        )
    assert [(p.node, p.operator) for p in caught.value.problems] == [
        ("gate", "Hardmax"), ("wide", "MaxPool"), ("memory", "LSTM"), ("custom", "Scale"),
    ]  # fmt: skip
    assert "gate (Hardmax): the operator is not supported; leave it out or replace it by supported operators" in str(caught.value)


def test_nodes_after_an_unsupported_one_are_checked_where_the_file_declares_shapes() -> None:
    m = model([node("Hardmax", "x", "a", "gate"), node("ReduceMax", "a", "y", "rows", axes=[0], keepdims=0)])
    m.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [1, 2, 5, 6]))
    with pytest.raises(UnsupportedModelError) as caught:
        read(m)
    assert [p.node for p in caught.value.problems] == ["gate", "rows"]


def listed(m: onnx.ModelProto) -> list[str]:
    with pytest.raises(UnsupportedModelError) as caught:
        read(m)
    return [p.node for p in caught.value.problems]


def test_nodes_after_an_unsupported_one_are_checked_by_shapes_that_onnx_infers() -> None:
    nodes = [node("Hardmax", "x", "a", "gate"), node("LpNormalization", "a", "b", "wave")]
    assert listed(model([*nodes, node("ReduceMax", "b", "y", "rows", axes=[0], keepdims=0)])) == ["gate", "wave", "rows"]


def test_a_node_that_is_wrong_does_not_hide_the_others() -> None:
    wrong = node("Conv", "x w", "b", "wrong", group=3)
    nodes = [node("MaxPool", "x", "a", "large", kernel_shape=[9, 9]), wrong, node("Hardmax", "x", "c", "s")]
    assert listed(model([*nodes, node("Concat", "a b c", "y", "all", axis=1)], {"w": W})) == ["large", "wrong", "s"]


def test_an_input_that_cannot_be_does_not_hide_the_others() -> None:
    nodes = [node("Hardmax", "x", "a", "s"), node("Add", "a z", "y")]
    assert listed(model(nodes, inputs={"x": (1, 2, 5, 6), "z": (1, "channels")})) == ["z", "s"]


def test_a_symbolic_shape_is_what_is_told() -> None:
    m = model([node("Flatten", "x", "f"), node("Gemm", "f w", "y")], {"w": LINEAR}, inputs={"x": (None, 2, "height", "width")})
    for shapes in ({"x": (1, 2, 5, 6)}, {"": (1, 2, 5, 6)}):
        assert read(m, shapes).inputs[0].source_shape == (2, 5, 6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (1, 3, 5, 6)}, r"has shape \['batch', 2, 5, 6\] in the file; \[1, 3, 5, 6\] does not fit"),
        ({"x": (1, 2, 5)}, "does not fit"),
        ({"x": (2, 2, 5, 6)}, r"does not begin with 1"),
        ({"z": (1, 2, 5, 6)}, "a shape is given for the input 'z'; the inputs of the model are 'x'"),
    ],
)
def test_a_told_shape_that_does_not_fit_is_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(model([node("Relu", "x", "y")], inputs={"x": ("batch", 2, 5, 6)}), shapes)


NHWC = {"x": (1, 5, 6, 2)}
TO_NCHW, TO_NHWC = {"perm": [0, 3, 1, 2]}, {"perm": [0, 2, 3, 1]}
PAIR = f32(0.5, -0.5)
# As tf2onnx writes networks of TensorFlow: transpositions around what needs NCHW. The last values are vectors.
TRANSPOSED = {
    "relu, pads and sums between": model(
        [
            node("Pad", "x p", "a"), node("Transpose", "a", "b", **TO_NCHW), node("Conv", "b w", "c"),
            node("Transpose", "c", "d", **TO_NHWC), node("Add", "d four", "e"), node("Relu", "e", "f"),
            node("Add", "f d", "g"), node("Clip", "g zero one", "h"),
            node("Transpose", "h", "i", **TO_NCHW), node("MaxPool", "i", "j", kernel_shape=[2, 2]), node("Transpose", "j", "k", **TO_NHWC),
            node("Reshape", "k shape", "l"), node("MatMul", "l m", "y"),
        ],
        {
            "p": [0, 0, 1, 0, 0, 1, 0, 0], "w": normal(4, 2, 3, 3), "four": normal(4), "zero": f32(0), "one": f32(1), "shape": [1, -1],
            "m": normal(48, 3),
        },
        NHWC,
    ),
    "mean over the rows and columns": model(
        [
            node("Transpose", "x", "a", **TO_NCHW), node("Transpose", "a", "b", **TO_NHWC),
            node("ReduceMean", "b", "y", axes=[1, 2], keepdims=0),
        ],
        None, NHWC,
    ),
    "mean that keeps its axes": model(
        [
            node("Transpose", "x", "a", **TO_NCHW), node("Transpose", "a", "b", **TO_NHWC), node("ReduceMean", "b", "c", axes=[1, 2]),
            node("Squeeze", "c axes", "y"),
        ],
        {"axes": [1, 2]}, NHWC,
    ),
    "concat, slice and softmax over channels": model(
        [
            node("Transpose", "x", "a", **TO_NCHW), node("Relu", "a", "r"), node("Transpose", "r", "b", **TO_NHWC),
            node("Concat", "b b", "c", axis=3), node("Slice", "c one three last", "d"), node("Softmax", "d", "e", axis=-1),
            node("Flatten", "e", "y"),
        ],
        {"one": [1], "three": [3], "last": [3]}, NHWC,
    ),
    "channels first flattened channels last": model([node("Transpose", "x", "t", **TO_NHWC), node("Flatten", "t", "y")]),
    "a vector in an image's shape": model(
        [node("GlobalAveragePool", "x", "g"), node("Transpose", "g", "t", **TO_NHWC), node("Reshape", "t s", "y")], {"s": [1, 2]}
    ),
    "a transposition and back": model([node("Transpose", "x", "a", perm=[0, 1, 3, 2]), node("Transpose", "a", "b", perm=[0, 1, 3, 2]),
                                       node("Relu", "b", "c"), node("Flatten", "c", "y")]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transpositions_go_through_or_end(name: str) -> None:
    session = onnxruntime.InferenceSession(TRANSPOSED[name].SerializeToString())
    graph = read(TRANSPOSED[name])
    x = normal(*session.get_inputs()[0].shape)
    (expected,) = session.run(None, {"x": x})
    np.testing.assert_allclose(run(graph, x), expected, atol=1e-5)
    if not isinstance(graph.ops[-1], Flatten):
        np.testing.assert_allclose(run(canonicalise(graph), x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "m",
    [
        model([node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("Conv", "t w", "y")], {"w": W}),
        model([node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("Flatten", "t", "y")]),
        model([node("Transpose", "x", "t", perm=[0, 2, 1, 3]), node("Concat", "t x", "y", axis=2)], inputs={"x": (1, 3, 3, 3)}),
        model([node("Transpose", "x", "t", perm=[0, 2, 1, 3]), node("Add", "x t", "y")], inputs={"x": (1, 3, 3, 3)}),
    ],
    ids=["convolution", "flatten", "concat", "add"],
)
def test_transpositions_that_move_numbers_do(m: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(m.SerializeToString())
    x = normal(*session.get_inputs()[0].shape)
    (expected,) = session.run(None, {"x": x})
    for graph in (read(m), canonicalise(read(m))):
        np.testing.assert_allclose(run(graph, x), expected, atol=1e-5)


OUTPUTS = {  # of networks on images [1, H, W, C]
    "an image of channels first": [node("Relu", "c", "y")],
    "rows and columns swapped": [node("Transpose", "c", "y", perm=[0, 3, 2, 1])],
    "boxes": [node("Transpose", "c", "t", **TO_NHWC), node("Reshape", "t boxes", "y")],
    "boxes of channels first": [node("Reshape", "c boxes", "y")],
    "an array": [node("Transpose", "c", "t", **TO_NHWC), node("Reshape", "t array", "y")],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_networks_on_channels_last_have_the_order_of_their_axes(name: str) -> None:
    nodes = [node("Transpose", "x", "a", **TO_NCHW), node("Conv", "a w", "c"), *OUTPUTS[name]]
    m = model(nodes, {"w": W, "boxes": [1, 20, 3], "array": [1, 5, 2, 2, 3]}, NHWC)
    x = normal(*NHWC["x"])
    (expected,) = onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})
    for graph in (read(m), canonicalise(read(m))):
        found = run(graph, x)
        assert found.shape == (1, math.prod(expected.shape[1:-2]), *expected.shape[-2:])
        np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)


def test_a_transposition_of_the_batch_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="the batch is not the first axis"):
        read(model([node("Transpose", "x", "y")]))


# Before opset 9 to 13 numbers were attributes that are inputs now.
OLD = {
    "clip": (6, 10, [node("Clip", "x", "y", min=-0.5, max=0.25)], {}),
    "pad": (2, 10, [node("Pad", "x", "p", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.0), node("Relu", "p", "y")], {}),
    "slice": (1, 9, [node("Slice", "x", "s", starts=[1, 0], ends=[9, 3], axes=[2, 3]), node("Relu", "s", "y")], {}),
    "resize": (10, 10, [node("Resize", "x s", "y", mode="nearest")], {"s": f32(1, 1, 2, 1.5)}),
    "squeeze": (1, 12, [node("GlobalAveragePool", "x", "g"), node("Squeeze", "g", "y", axes=[2, 3])], {}),
    "dropout": (7, 11, [node("Dropout", "x", "d", ratio=0.5), node("Relu", "d", "y")], {}),
    "mean": (1, 17, [node("ReduceMean", "x", "y", axes=[2, 3], keepdims=0)], {}),
    "softmax": (1, 12, [node("GlobalAveragePool", "x", "g"), node("Flatten", "g", "f"), node("Softmax", "f", "y", axis=1)], {}),
    "batch norm": (7, 13, [node("BatchNormalization", "x v v v v", "y")], {"v": f32(1, 2)}),
    "gemm": (7, 10, [FLAT, node("Gemm", "f l b", "y")], {"l": LINEAR, "b": normal(3)}),
}


@pytest.mark.parametrize("name", OLD)
def test_old_opsets_compute_what_onnxruntime_does(name: str) -> None:
    first, last, nodes, constants = OLD[name]
    for opset in sorted({max(first, 7), last}):
        m = model(nodes, constants, opset=opset)
        x = normal(1, 2, 5, 6)
        (expected,) = onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})
        np.testing.assert_allclose(run(read(m), x), expected, atol=1e-5)


def test_weights_that_are_inputs_as_well_are_constants() -> None:
    """As exporters wrote them before IR version 4."""
    m = model([node("Conv", "x w", "y")], {"w": W}, inputs={"x": (1, 2, 5, 6), "w": W.shape}, opset=7)
    assert [port.name for port in read(m).inputs] == ["x"]


ON_IMAGE = {"b": normal(1, 2, 5, 6), "w": W, "m": normal(6, 3), "p": [0, 0, 1, 1, 0, 0, 1, 1], "n": [0, 0, -1, 0, 0, 0, 0, 0]}
UNSUPPORTED = {
    "the operator is not supported": [node("Einsum", "x", "y", equation="bchw->bchw")],
    "takes a constant of shape": [node("Add", "x b", "y")],
    "constant of shape .* one a channel": [node("Conv", "x w", "c"), node("Add", "c b35", "y")],
    "no image": [node("Flatten", "x", "f"), node("MaxPool", "f", "y", kernel_shape=[2, 2])],
    "kernel_shape is": [node("MaxPool", "x", "y", kernel_shape=[3, 3, 3])],
    "dilations are": [node("MaxPool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2])],
    "joins shapes": [node("GlobalMaxPool", "x", "g"), node("Concat", "x g", "y", axis=2)],
    "pads with inf": [node("Pad", "x p infinity", "y")],
    "pads the batch": [node("Pad", "x q", "y")],
    "reshapes": [node("Reshape", "x flat", "y")],
    "input 1 .* is computed": [node("Conv", "x x", "y")],
    "input 0 is a constant": [node("Relu", "b", "y")],
    r"weight has shape \[3\]": [node("Flatten", "x", "f"), node("MatMul", "f three", "y")],
    "weight has shape": [node("Conv", "x m", "y")],
    "pads are": [node("Conv", "x w", "y", pads=[-1, 0, 0, 0])],
    "ceil_mode with padding": [
        node("AveragePool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1)
    ],
    "second output": [node("MaxPool", "x", "a i", kernel_shape=[1, 2]), node("Add", "a i", "y")],
    "training_mode is 1": [node("BatchNormalization", "x v v v v", "y", training_mode=1)],
    "in training mode": [node("Dropout", "x half on", "y")],
    "transA is 1": [node("Flatten", "x", "f"), node("Gemm", "f m", "y", transA=1)],
    "C has shape": [node("Flatten", "x", "f"), node("Gemm", "f l b3", "y")],
    "to is 11": [node("Cast", "x", "y", to=11)],
}
EXTRA = {
    "b35": normal(1, 1, 3, 5), "infinity": f32(np.inf), "q": [1, 0, 0, 0, 0, 0, 0, 0], "b3": normal(1, 1, 5), "one": f32(1),
    "zero": [0], "four": [4], "two": [2], "one1": [1], "minus": [-1], "flat": [60], "v": f32(1, 2), "half": f32(0.5), "on": np.bool_(True),
    "l": LINEAR, "three": f32(1, 2, 3),
}  # fmt: skip


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_what_a_graph_cannot_express_is_refused(reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        read(model(UNSUPPORTED[reason], {**ON_IMAGE, **EXTRA}))
    assert all(problem.remedy for problem in caught.value.problems)


def test_softmax_over_several_axes_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="joins several axes"):
        read(model([node("Softmax", "x", "y", axis=1)], opset=11))


@pytest.mark.parametrize("path", sorted(Path(os.environ.get("LUTRA_MODELS", ".")).glob("*.onnx")) or [None])
def test_models_that_others_trained(path: Path | None) -> None:
    if path is None or "LUTRA_MODELS" not in os.environ:
        pytest.skip("set LUTRA_MODELS to a folder of .onnx files")
    session = onnxruntime.InferenceSession(path)
    x = np.random.default_rng(0).uniform(0, 1, session.get_inputs()[0].shape).astype(np.float32)
    (expected,) = session.run(None, {session.get_inputs()[0].name: x})
    graph = read_onnx(path)
    for stage in (graph, canonicalise(graph), prepare_for_lowering(canonicalise(graph))):
        np.testing.assert_allclose(run(stage, x), expected, atol=1e-4)
