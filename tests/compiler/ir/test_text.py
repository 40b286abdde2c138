"""The text form of a Graph."""

import numpy as np

from lutra_compiler.ir.encoding import ProductQuantized, ScalarQuantized
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import Clamp, Conv2d, Elementwise, Flatten, Linear, Step
from lutra_compiler.ir.text import to_text


def test_a_line_an_op_with_shapes_parameters_and_attributes() -> None:
    graph = Graph(
        inputs=(Input("x", (6, 6, 2), "NCHW"),),
        ops=(
            Conv2d(name="conv", inputs=("x",), output="a", weight="w", stride=(2, 2), activation=Clamp(0, None)),
            Flatten(name="flat", inputs=("a",), output="f", order="CHW"),
            Linear(name="fc1", inputs=("f",), output="h", weight="v", bias="b"),
            Linear(name="fc2", inputs=("h",), output="y", weight="u"),
            Linear(name="fc3", inputs=("y",), output="z", weight="t"),
        ),
        outputs=("z",),
        parameters={"w": np.zeros((4, 3, 3, 2), np.float32), "b": np.zeros(8, np.float32)},
        encodings={
            "v": ProductQuantized(np.zeros((16, 2), np.int8), np.zeros((8, 1, 8), np.uint8), np.ones(8, np.float32), (8, 16), 4),
            "t": ProductQuantized(np.zeros((4, 1), np.int8), np.zeros((2, 1, 3), np.uint8), np.ones(2, np.float32), (2, 3), 4, coded=True),
            "u": ScalarQuantized(np.zeros((3, 8), np.int8), np.ones(3, np.float32)),
        },
    )
    assert to_text(graph) == (
        "input x: 6x6x2 NCHW\n"
        "a: 2x2x4 = conv2d(x, weight=4x3x3x2, stride=(2, 2), activation=0..inf)\n"
        "f: 16 = flatten(a, order=CHW)\n"
        "h: 8 = linear(f, weight=8x16 K=16 d=2 4-bit, bias=8)\n"
        "y: 3 = linear(h, weight=3x8 int8)\n"
        "z: 2 = linear(y, weight=2x3 K=4 d=1 4-bit coded)\n"
        "output z\n"
    )


def test_the_steps_of_a_function_are_readable() -> None:
    swish = (Step("multiply", (0,), (1.5,)), Step("sigmoid", (1,)), Step("multiply", (0, 2)))
    op = Elementwise(name="swish", inputs=("x",), output="y", steps=swish)
    lines = to_text(Graph((Input("x", (4,), "NF"),), (op,), ("y",), {})).splitlines()
    assert lines[1] == "y: 4 = elementwise(x, multiply(x, 1.5); sigmoid(#1); multiply(x, #2))"
