"""The same network through torch.export and through ONNX is the same Graph, and computes what the network computes."""

import numpy as np
import onnxruntime
import pytest
import torch

from graphs import assert_equal_up_to_names
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.frontends.onnx_reader import read_onnx
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.ir.graph import Graph
from lutra_compiler.passes import canonicalise, prepare_for_lowering
from networks import NETWORKS, network, onnx_bytes


class Case:
    def __init__(self, name: str) -> None:
        self.module, self.x = network(name)
        self.file = onnx_bytes(self.module, self.x)
        self.from_torch, self.from_onnx = graph_from_module(self.module, (self.x,)), read_onnx(self.file)
        with torch.no_grad():
            self.expected = self.module(self.x).numpy()

    def run(self, graph: Graph) -> np.ndarray:
        with torch.no_grad():
            return TorchGraph(graph).eval()(self.x).numpy()


@pytest.fixture(scope="module", params=NETWORKS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_graphs_are_equal_up_to_names(case: Case) -> None:
    assert_equal_up_to_names(case.from_torch, case.from_onnx)
    assert_equal_up_to_names(canonicalise(case.from_torch), canonicalise(case.from_onnx))


def test_torch_graph_computes_what_torch_does(case: Case) -> None:
    np.testing.assert_allclose(case.run(case.from_torch), case.expected, atol=1e-4)


def test_onnx_graph_computes_what_onnxruntime_does(case: Case) -> None:
    session = onnxruntime.InferenceSession(case.file)
    (expected,) = session.run(None, {session.get_inputs()[0].name: case.x.numpy()})
    np.testing.assert_allclose(case.run(case.from_onnx), expected, atol=1e-4)


def test_passes_keep_what_is_computed(case: Case) -> None:
    canonical = canonicalise(case.from_torch)
    np.testing.assert_allclose(case.run(canonical), case.expected, atol=1e-4)
    np.testing.assert_allclose(case.run(prepare_for_lowering(canonical)), case.expected, atol=1e-4)


def test_a_file_optimized_by_the_exporter_computes_the_same() -> None:
    module, x = network("resnet_projection")
    graph = canonicalise(read_onnx(onnx_bytes(module, x, optimize=True)))
    with torch.no_grad():
        np.testing.assert_allclose(TorchGraph(graph).eval()(x).numpy(), module(x).numpy(), atol=1e-4)
