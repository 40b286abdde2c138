"""Small ONNX models, node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]


def node(operator: str, inputs: str, output: str, name: str = "", domain: str = "", **attributes: Any) -> onnx.NodeProto:
    """A node; `inputs` and `output` are names separated by spaces, '-' stands for an input that is left out."""
    names = ["" if value == "-" else value for value in inputs.split()]
    return helper.make_node(operator, names, output.split(), name=name, domain=domain, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Shape] | None = None,
    outputs: str = "y",
    opset: int = 17,
) -> onnx.ModelProto:
    """A model of one input x [1, 2, 5, 6] unless `inputs` says otherwise; lists in `constants` are int64, arrays as they are."""
    ports = [helper.make_tensor_value_info(k, TensorProto.FLOAT, list(v)) for k, v in (inputs or {"x": (1, 2, 5, 6)}).items()]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()]
    arrays = {name: np.array(value, np.int64) if isinstance(value, list) else value for name, value in (constants or {}).items()}
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(list(nodes), "test", ports, results, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10 if opset > 20 else 8)


def normal(*shape: int) -> np.ndarray:
    """Random float32 numbers, the same at every call."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
