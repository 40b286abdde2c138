"""Helpers for tests on Graphs."""

from dataclasses import fields
from typing import Any

import numpy as np

from lutra_compiler.ir.graph import Graph


def assert_equal_up_to_names(a: Graph, b: Graph) -> None:
    """Both compute the same by the same ops with the same attributes and parameters, whatever they are called and in whatever order."""
    assert [(port.shape, port.layout) for port in a.inputs] == [(port.shape, port.layout) for port in b.inputs]
    assert len(a.ops) == len(b.ops)
    same = {x.name: y.name for x, y in zip(a.inputs, b.inputs, strict=True)}
    pending = list(zip(a.outputs, b.outputs, strict=True))
    while pending:
        value_a, value_b = pending.pop()
        if value_a in same:
            assert same[value_a] == value_b
            continue
        same[value_a] = value_b
        op_a, op_b = a.producer(value_a), b.producer(value_b)
        assert op_a is not None
        assert op_b is not None
        assert type(op_a) is type(op_b)
        for field in fields(op_a):
            if field.name not in ("name", "inputs", "output"):
                _assert_same_field(a, b, getattr(op_a, field.name), getattr(op_b, field.name), field.name in op_a.parameter_fields)
        pending += zip(op_a.inputs, op_b.inputs, strict=True)


def _assert_same_field(a: Graph, b: Graph, value_a: Any, value_b: Any, parameter: bool) -> None:
    if parameter and value_a is not None and value_b is not None:
        np.testing.assert_array_equal(a.parameters[value_a], b.parameters[value_b])
    elif isinstance(value_a, float):
        assert np.float32(value_a) == np.float32(value_b)  # ONNX attributes are float32
    else:
        assert value_a == value_b
