"""Small model and data files for tests of the API and the command line."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Clamp, Linear
from quantized_graphs import coded, dense, graph

FEATURES, HIDDEN, CLASSES = 16, 32, 4
METADATA = {"network": "small", "float_parameter_bytes": 4 * 676, "int8_model_bytes": 900, "float_accuracy": 0.75}


def compressed_graph() -> Graph:
    """Product-quantized and int8 layers, calibrated."""
    ops = (
        Linear(name="hidden", inputs=("x",), output="h", weight="w1", activation=Clamp(0.0, None)),
        Linear(name="scores", inputs=("h",), output="y", weight="w2"),
    )
    return graph(ops, {"x": (FEATURES,)}, {"w1": coded((HIDDEN, FEATURES)), "w2": dense((CLASSES, HIDDEN))})


def clusters(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points around one centre a class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=samples)
    centres = np.random.default_rng(0).normal(size=(CLASSES, FEATURES))
    return (centres[labels] + 0.5 * rng.normal(size=(samples, FEATURES))).astype(np.float32), labels


def write_data(path: Path, samples: int = 60, seed: int = 1) -> Path:
    """A .npz file of clusters."""
    images, labels = clusters(samples, seed)
    np.savez(path, images=images, labels=labels)
    return path


def float_onnx() -> onnx.ModelProto:
    """A float network that classifies the clusters: relu(W x) against the centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, FEATURES))
    hidden = np.repeat(np.concatenate([centres, -centres]), HIDDEN // (2 * CLASSES), 0).astype(np.float32)
    scores = np.concatenate([np.eye(CLASSES), -np.eye(CLASSES)], 1).repeat(HIDDEN // (2 * CLASSES), 1).astype(np.float32)
    weights = {"w1": hidden, "b1": np.zeros(HIDDEN, np.float32), "w2": scores, "b2": -np.square(centres).sum(1).astype(np.float32)}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "hidden", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "scores", transB=1),
    ]
    return onnx_model(nodes, [numpy_helper.from_array(array, name) for name, array in weights.items()])


def onnx_model(
    nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], shape: tuple[object, ...] = (1, FEATURES), kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """A model of one input "x" and one output "y"."""
    ports = helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", kind, None)
    return helper.make_model(
        helper.make_graph(nodes, "g", [ports[0]], [ports[1]], weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
