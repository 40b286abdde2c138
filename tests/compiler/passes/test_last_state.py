"""Only the last state of a recurrent layer is kept where nothing else of it is read."""

from dataclasses import replace

import numpy as np
import pytest

from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import Concat, Flatten, Gather, Gru, Op, Rearrange, Recurrent, Slice
from lutra_compiler.passes.last_state import last_state

STEPS, UNITS = 5, 3


def network(*ops: Op, reverse: bool = False, outputs: tuple[str, ...] = ("y",)) -> Graph:
    layer = Gru(name="gru", inputs=("x",), output="h", weight="w", reverse=reverse)
    parameters = {"w": np.ones((3 * UNITS, UNITS), np.float32)}
    return Graph((Input("x", (1, STEPS, 3 * UNITS), "NHWC"),), (layer, *ops), outputs, parameters)


def gather(*steps: int, source: str = "h", output: str = "y") -> Gather:
    return Gather(name="gather", inputs=(source,), output=output, axis=1, indices=steps)


TURNED = Rearrange(name="turned", inputs=("h",), output="t", view=(STEPS, UNITS), order=(1, 0), shape=(1, UNITS, STEPS))
KEPT = {
    "another step": network(gather(STEPS - 2)),
    "two steps": network(gather(STEPS - 1, STEPS - 1)),
    "the first step": network(gather(0)),
    "the last step of a layer that ends with the first": network(gather(STEPS - 1), reverse=True),
    "an output": network(gather(STEPS - 1), outputs=("y", "h")),
    "another reader": network(gather(STEPS - 1), gather(0, output="z"), outputs=("y", "z")),
    "all of it": network(Flatten(name="f", inputs=("h",), output="y")),
    "a join": network(Concat(name="c", inputs=("h", "h"), output="c"), gather(STEPS - 1, source="c")),
    "units in another order": network(
        gather(STEPS - 1, output="g"), Gather(name="turn", inputs=("g",), output="y", axis=2, indices=(2, 1, 0))
    ),
}  # fmt: skip
LAST = {
    "gathered": network(gather(STEPS - 1)),
    "sliced": network(Slice(name="s", inputs=("h",), output="y", start=(0, STEPS - 1, 0), stop=(1, STEPS, UNITS), step=(1, 1, 1))),
    "reverse": network(gather(0), reverse=True),
    "from a transposition": network(TURNED, Gather(name="g", inputs=("t",), output="y", axis=2, indices=(STEPS - 1,))),
    "flattened": network(gather(STEPS - 1, output="g"), Flatten(name="f", inputs=("g",), output="y")),
}


def layer_of(graph: Graph) -> Recurrent:
    (op,) = (op for op in graph.ops if isinstance(op, Recurrent))
    return op


@pytest.mark.parametrize("name", LAST)
def test_what_reads_the_last_state_alone_gets_it_alone(name: str) -> None:
    graph = last_state(LAST[name])
    assert layer_of(graph) == replace(layer_of(LAST[name]), sequence=False)
    assert not any(isinstance(op, Gather | Slice) for op in graph.ops)
    assert graph.outputs == ("y",)


@pytest.mark.parametrize("name", [name for name in KEPT if name != "units in another order"])
def test_what_reads_anything_else_keeps_the_sequence(name: str) -> None:
    assert last_state(KEPT[name]) == KEPT[name]


def test_an_order_of_units_comes_after_the_last_state() -> None:
    graph = last_state(KEPT["units in another order"])
    assert not layer_of(graph).sequence
    assert [op.kind for op in graph.ops] == ["gru", "rearrange", "gather"]
