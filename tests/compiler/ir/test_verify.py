"""`verify` accepts a valid Graph and names what is wrong with any other."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lutra_compiler.errors import GraphError
from lutra_compiler.ir.encoding import ProductQuantized, Quantization, ScalarQuantized
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Clamp,
    Concat,
    Conv2d,
    Gru,
    Linear,
    Lstm,
    MaxPool,
    Normalise,
    Op,
    Slice,
    Softmax,
)
from lutra_compiler.ir.verify import verify

CONV = Conv2d(name="first", inputs=("x",), output="a", weight="w", bias="b", activation=Clamp(0, 6))
BN = BatchNorm(name="norm", inputs=("a",), output="y", scale="s", offset="o", mean="m", variance="v")
SCALAR = ScalarQuantized(np.ones((4, 3, 3, 5), np.int8), np.ones(4, np.float32))
PRODUCT = ProductQuantized(np.zeros((16, 2), np.int8), np.zeros((4, 9, 3), np.uint8), np.ones(4, np.float32), (4, 3, 3, 5), 4)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


GRAPH = Graph(
    inputs=(Input("x", (6, 7, 5), "NCHW"),),
    ops=(CONV, BN),
    outputs=("y",),
    parameters={"w": ones(4, 3, 3, 5), **{name: ones(4) for name in "bsomv"}},
    quantization={"x": Quantization(0.5, -128)},
)


def encoded(encoding: ScalarQuantized | ProductQuantized) -> Graph:
    return GRAPH.with_encodings({"w": encoding})


def product(**changes: object) -> Graph:
    return encoded(replace(PRODUCT, **changes))


def with_op(op: Op) -> Graph:
    return replace(GRAPH, ops=(CONV, op))


def with_conv(**changes: object) -> Graph:
    return replace(GRAPH, ops=(replace(CONV, **changes), BN))


def with_parameter(name: str, array: np.ndarray) -> Graph:
    return replace(GRAPH, parameters={**GRAPH.parameters, name: array})


def with_recurrent(weight: np.ndarray, initial: np.ndarray | None = None) -> Graph:
    op = Lstm(name="r", inputs=("a",), output="y", weight="r", initial=None if initial is None else "h")
    states = {} if initial is None else {"h": initial}
    return replace(with_op(op), parameters={**GRAPH.parameters, "r": weight, **states})


def test_valid_graphs_pass() -> None:
    for graph in (GRAPH, encoded(SCALAR), encoded(PRODUCT), with_recurrent(ones(4, 1), ones(2, 1))):
        verify(graph)


WRONG: dict[str, Callable[[], Graph]] = {
    "at least one input and one output": lambda: replace(GRAPH, outputs=()),
    "layout NF does not fit": lambda: replace(GRAPH, inputs=(Input("x", (6, 7, 5), "NF"),)),
    "value 'a' appears 2 times": lambda: replace(GRAPH, ops=(CONV, replace(BN, output="a"))),
    "output 'y' appears 2 times": lambda: replace(GRAPH, outputs=("y", "y")),
    "parameter 's' appears 2 times": lambda: with_op(replace(BN, offset="s")),
    "output 'z' is not computed": lambda: replace(GRAPH, outputs=("z",)),
    "output 'x' is an input": lambda: replace(GRAPH, outputs=("x", "y")),
    "op 'norm': nothing uses its output 'y'": lambda: replace(GRAPH, outputs=("a",)),
    "op 'norm' reads 'z' before it is computed": lambda: with_op(replace(BN, inputs=("z",))),
    "op 'first' reads 'y' before it is computed": lambda: with_conv(inputs=("y",)),
    r"cannot have 2 input\(s\)": lambda: with_conv(inputs=("x", "x")),
    r"concat 'c' cannot have 1 input\(s\)": lambda: with_op(Concat(name="c", inputs=("a",), output="y")),
    r"add 'c' cannot have 3 input\(s\)": lambda: with_op(Add(name="c", inputs=("a", "a", "a"), output="y")),
    "op 'first': parameter 'q' must be in either parameters or encodings": lambda: with_conv(weight="q"),
    "op 'first': parameter 'w' must be in either": lambda: replace(GRAPH, encodings={"w": SCALAR}),
    "only weights are encoded, not 'b'": lambda: GRAPH.with_encodings({"b": SCALAR}),
    "parameter 'b' is float64": lambda: with_parameter("b", np.ones(4)),
    "parameter 'b' has 2 of 4 values that are NaN or infinite": lambda: with_parameter("b", np.array([1, np.nan, np.inf, 0], np.float32)),
    "a weight of conv2d has 4 dimensions": lambda: with_parameter("w", ones(4, 5)),
    "a weight of linear has 2 dimensions": lambda: with_op(Linear(name="fc", inputs=("a",), output="y", weight="s")),
    r"a weight of gru has the shape \(3 \* units, units\)": lambda: with_op(Gru(name="r", inputs=("a",), output="y", weight="s")),
    r"4 pre-activations a step, but its weight is for 8": lambda: with_recurrent(weight=ones(8, 2)),
    r"parameter 'h' must have shape \(2, 1\)": lambda: with_recurrent(weight=ones(4, 1), initial=ones(1, 1)),
    r"parameter 'b' must have shape \(4,\)": lambda: with_parameter("b", ones(5)),
    r"parameter 'v' must have shape \(4,\)": lambda: with_parameter("v", ones(1, 4)),
    r"variance \+ epsilon must be positive": lambda: with_parameter("v", -ones(4)),
    "must be smaller than the kernel": lambda: with_op(
        MaxPool(name="p", inputs=("a",), output="y", kernel=(2, 2), stride=(1, 1), padding=(0, 0, 0, 2))
    ),
    "average_pool 'p': kernel": lambda: with_op(AveragePool(name="p", inputs=("a",), output="y", kernel=(2, 2), stride=(0, 1))),
    "needs finite bounds in order": lambda: with_conv(activation=Clamp(1, 0)),
    "op 'r': .* needs finite bounds": lambda: with_op(Activation(name="r", inputs=("a",), output="y", clamp=Clamp(float("nan"), 0))),
    "5 input channels do not fit": lambda: with_conv(groups=5),
    "bounds from 0 and steps from 1": lambda: with_op(
        Slice(name="s", inputs=("a",), output="y", start=(0, 0, 0), stop=(4, 5, 4), step=(0, 1, 1))
    ),
    r"normalise 'n': its axes \(0, 2\) must be adjacent": lambda: with_op(Normalise(name="n", inputs=("a",), output="y", axes=(0, 2))),
    r"normalise 'n': its axes \(0, 9223372036854775807\) must be adjacent": lambda: with_op(
        Normalise(name="n", inputs=("a",), output="y", axes=(0, 2**63 - 1))
    ),
    "value 'x' is empty": lambda: Graph((Input("x", (0,), "NF"),), (Softmax(name="s", inputs=("x",), output="y"),), ("y",), {}),
    "quantization for 'z'": lambda: replace(GRAPH, quantization={"z": Quantization(1, 0)}),
    r"value 'x': .* positive scale": lambda: replace(GRAPH, quantization={"x": Quantization(0, 0)}),
    r"value 'x': .* zero point": lambda: replace(GRAPH, quantization={"x": Quantization(1, 128)}),
    "row scales must be positive": lambda: encoded(replace(SCALAR, scale=np.zeros(4, np.float32))),
    "one float32 row scale an output": lambda: encoded(replace(SCALAR, scale=ones(3))),
    "values must be in -127..127": lambda: encoded(replace(SCALAR, values=np.full((4, 3, 3, 5), -128, np.int8))),
    "values are int8, not uint8": lambda: encoded(replace(SCALAR, values=np.ones((4, 3, 3, 5), np.uint8))),
    r"at least two dimensions": lambda: product(shape=(4,)),
    r"a codebook is int8 \[K, d\]": lambda: product(codebook=np.zeros(16, np.int8)),
    "K must be a power of two from 2 to 256, not 12": lambda: product(codebook=np.zeros((12, 2), np.int8)),
    r"d must be one of \(1, 2, 4, 8, 16\), not 3": lambda: product(codebook=np.zeros((16, 3), np.int8)),
    r"indices must be uint8 \(4, 9, 3\), not uint8 \(4, 9, 2\)": lambda: product(indices=np.zeros((4, 9, 2), np.uint8)),
    "index 16 with 16 codewords": lambda: product(indices=np.full((4, 9, 3), 16, np.uint8)),
    "4-bit indices with 32 codewords": lambda: product(codebook=np.zeros((32, 2), np.int8)),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_broken_rule_is_named(message: str) -> None:
    with pytest.raises(GraphError, match=message):
        verify(WRONG[message]())
