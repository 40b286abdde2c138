"""LSTM and GRU from torch and from ONNX: in float as their source computes them, and clear words for what a Graph cannot express."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.errors import LutraError, ModelError, UnsupportedModelError
from lutra_compiler.frontends.onnx_reader import read_onnx
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Gru, Lstm, Recurrent
from lutra_compiler.passes import canonicalise
from onnx_models import model, node, normal

STEPS, FEATURES, UNITS = 6, 5, 7


class Network(nn.Module):
    """A recurrent layer, and of it the "last" state, the "sequence", the states h of the "top" layer or of "both" directions."""

    def __init__(self, cell: type[nn.RNNBase], layers: int, both: bool, batch_first: bool, end: str) -> None:
        super().__init__()
        self.rnn = cell(FEATURES, UNITS, layers, batch_first=batch_first, bidirectional=both)
        self.batch_first, self.end = batch_first, end
        self.head = nn.Linear(UNITS * (1 + both) if end != "top" else UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, h = self.rnn(x if self.batch_first else x.transpose(0, 1))
        h = h[0] if isinstance(h, tuple) else h
        match self.end:
            case "last":
                return self.head(y[:, -1] if self.batch_first else y[-1])
            case "sequence":
                return self.head(torch.relu(y if self.batch_first else y.transpose(0, 1)))
            case "top":
                return self.head(h[-1])
            case _:
                return self.head(torch.cat([h[-2], h[-1]], 1))


def outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return TorchGraph(graph).eval()(torch.from_numpy(x)).numpy()


def assert_computes(graph: Graph, x: np.ndarray, expected: np.ndarray) -> Graph:
    """Before and after the passes; the canonical graph."""
    canonical = canonicalise(graph)
    for each in (graph, canonical):
        np.testing.assert_allclose(outputs(each, x).reshape(expected.shape), expected, atol=2e-6)
    return canonical


def recurrent(graph: Graph) -> list[Recurrent]:
    return [op for op in graph.ops if isinstance(op, Recurrent)]


FORMS = [
    (cell, layers, both, batch_first, end)
    for cell in (nn.LSTM, nn.GRU)
    for layers, both, batch_first, end in (
        (1, False, True, "last"), (1, False, False, "last"), (1, False, True, "sequence"), (1, False, True, "top"),
        (2, False, False, "sequence"), (2, False, True, "top"), (1, True, True, "last"), (1, True, True, "both"),
        (2, True, False, "sequence"), (2, True, True, "both"),
    )
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_networks_of_torch_compute_the_same_from_the_module_and_from_onnx(form: tuple) -> None:
    torch.manual_seed(0)
    module, x = Network(*form).eval(), torch.randn(4, STEPS, FEATURES)
    with torch.no_grad():
        expected = module(x).numpy()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x[:1],), file, dynamo=False)
    for graph in (graph_from_module(module, (x,)), read_onnx(file.getvalue())):
        canonical = assert_computes(graph, x.numpy(), expected)
        last = form[-1] == "top" or (form[-1] == "last" and not form[2])
        assert [op.sequence for op in recurrent(canonical)][-1] == (form[-1] == "sequence" or (form[-1] == "last" and form[2]))
        assert not last or not any(op.kind in ("gather", "rearrange") for op in canonical.ops[1:])


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_layers_without_biases_and_with_first_states(cell: type[nn.RNNBase]) -> None:
    class Begins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = cell(FEATURES, UNITS, batch_first=True, bias=False)
            self.register_buffer("h", torch.randn(1, 1, UNITS).tanh())
            self.register_buffer("c", torch.randn(1, 1, UNITS))

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x, (self.h, self.c) if cell is nn.LSTM else self.h)[0]

    torch.manual_seed(0)
    module, x = Begins().eval(), torch.randn(1, STEPS, FEATURES)
    with torch.no_grad():
        expected = module(x).numpy()
    (op,) = recurrent(assert_computes(graph_from_module(module, (x,)), x.numpy(), expected))
    assert op.bias is None
    assert op.initial is not None


REFUSED_MODULES = {
    "its batch is 6": (nn.LSTM(FEATURES, UNITS), lambda m, x: m(x)[0]),
    "its cell state is used": (nn.LSTM(FEATURES, UNITS, batch_first=True), lambda m, x: m(x)[1][1]),
    "projects its hidden states": (nn.LSTM(FEATURES, UNITS, batch_first=True, proj_size=3), lambda m, x: m(x)[0]),
    "its first state is computed": (nn.GRU(FEATURES, FEATURES, batch_first=True), lambda m, x: m(x, x[:, :1])[0]),
    "the batch is not the first axis": (nn.GRU(FEATURES, UNITS), lambda m, x: m(x.transpose(0, 1))[0]),
    "not the first axis of its input": (nn.GRU(FEATURES, UNITS), lambda m, x: m(x.transpose(0, 1))[0].tanh().transpose(0, 1)),
}


@pytest.mark.parametrize("reason", REFUSED_MODULES)
def test_what_modules_do_beyond_that_is_refused(reason: str) -> None:
    class Refused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.function = REFUSED_MODULES[reason]

        def forward(self, x: Tensor) -> Tensor:
            return self.function(self.rnn, x)

    with pytest.raises(UnsupportedModelError, match=reason):
        graph_from_module(Refused(), (torch.zeros(1, STEPS, FEATURES),))


def rnn(operator: str, inputs: str = "t w r b", output: str = "- h", directions: int = 1, **more: object) -> onnx.ModelProto:
    """A node between what Keras's exporter writes around it; `output`: "y -" for all hidden states, "- h" for the last one."""
    gates = 4 if operator == "LSTM" else 3
    constants: dict[str, object] = {
        "w": normal(directions, gates * UNITS, FEATURES), "r": normal(directions, gates * UNITS, UNITS) / 2,
        "b": normal(directions, 2 * gates * UNITS), "p": normal(directions, 3 * UNITS) if operator == "LSTM" else normal(1),
        "h0": np.tanh(normal(directions, 1, UNITS)), "c0": normal(directions, 1, UNITS), "lengths": np.array([STEPS], np.int32),
        "short": np.array([STEPS - 1], np.int32),
    }  # fmt: skip
    attributes = {"hidden_size": UNITS, **more}
    if operator == "GRU":
        attributes.setdefault("linear_before_reset", 1)
    whole = output.startswith("y")
    names = [name if name != "-" else "" for name in output.split()]
    layer = onnx.helper.make_node(operator, [n if n != "-" else "" for n in inputs.split()], names, name="rnn", **attributes)
    end = [node("Squeeze", "y dirs", "s"), node("Transpose", "s", "z", perm=[1, 0, 2])] if whole else [node("Squeeze", "h first", "z")]
    constants |= {"dirs": [1], "first": [0]}
    used = {name for each in (layer, *end) for name in each.input}
    constants = {name: array for name, array in constants.items() if name in used}
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), layer, *end]
    return model(nodes, constants, {"x": (1, STEPS, FEATURES)}, outputs="z", opset=14)


KERAS = {
    "lstm, last": rnn("LSTM"),
    "lstm, all": rnn("LSTM", output="y -"),
    "lstm, reverse": rnn("LSTM", output="y -", direction="reverse"),
    "lstm, first states": rnn("LSTM", "t w r b - h0 c0"),
    "lstm, no bias": rnn("LSTM", "t w r"),
    "lstm, lengths": rnn("LSTM", "t w r b lengths"),
    "lstm, names of functions": rnn("LSTM", activations=["Sigmoid", "Tanh", "Tanh"]),
    "gru, last": rnn("GRU"),
    "gru, all": rnn("GRU", output="y -"),
    "gru, reverse, last": rnn("GRU", direction="reverse"),
    "gru, first state": rnn("GRU", "t w r b - h0"),
}


@pytest.mark.parametrize("name", KERAS)
def test_nodes_as_keras_exports_them(name: str) -> None:
    content = KERAS[name].SerializeToString()
    x = np.random.default_rng(1).standard_normal((1, STEPS, FEATURES)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(content).run(None, {"x": x})
    canonical = assert_computes(read_onnx(content), x, expected)
    (op,) = recurrent(canonical)
    assert isinstance(op, Lstm if name.startswith("lstm") else Gru)
    assert op.sequence == ("all" in name or name == "lstm, reverse")


REFUSED_NODES = {
    "its clip is 3": rnn("LSTM", clip=3.0),
    "its input_forget is 1": rnn("LSTM", input_forget=1),
    "its activations are sigmoid, relu, tanh": rnn("LSTM", activations=["Sigmoid", "Relu", "Tanh"]),
    r"it has peepholes \(P\)": rnn("LSTM", "t w r b - - - p"),
    r"its sequence_lens are \[5\] of 6": rnn("GRU", "t w r b short"),
    "it resets before the product": rnn("GRU", linear_before_reset=0),
    "its third output is used": model(
        [node("Transpose", "x", "t", perm=[1, 0, 2]), node("LSTM", "t w r", "y h c", hidden_size=2), node("Relu", "c", "z")],
        {"w": normal(1, 8, 3), "r": normal(1, 8, 2)}, {"x": (1, 4, 3)}, "z", 14,
    ),
    "its batch is 4": model(
        [node("LSTM", "x w r", "y", hidden_size=2), node("Relu", "y", "z")],
        {"w": normal(1, 8, 3), "r": normal(1, 8, 2)}, {"x": (1, 4, 3)}, "z", 14,
    ),
    "its direction is 'sideways'": rnn("LSTM", direction="sideways"),
    "its weight has shape": rnn("GRU", "t w w"),
    "the batch is not the first axis": model(
        [node("Transpose", "x", "t", perm=[1, 0, 2]), node("Softmax", "t", "z")], {}, {"x": (1, 4, 3)}, "z"
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED_NODES)
def test_what_nodes_do_beyond_that_is_refused(reason: str) -> None:
    with pytest.raises(LutraError, match=reason) as caught:
        read_onnx(REFUSED_NODES[reason].SerializeToString())
    assert isinstance(caught.value, UnsupportedModelError | ModelError)


def test_a_state_that_is_read_elsewhere_as_well_is_taken_from_the_sequence() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(FEATURES, UNITS, batch_first=True)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.rnn(x)[0]
            return y[:, -1].tanh(), y[:, 0].tanh()

    torch.manual_seed(0)
    module, x = Both().eval(), torch.randn(1, STEPS, FEATURES)
    graph = canonicalise(graph_from_module(module, (x,)))
    assert [op.sequence for op in recurrent(graph)] == [True]
    with torch.no_grad():
        for found, wanted in zip(TorchGraph(graph).eval()(x), module(x), strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-6)
