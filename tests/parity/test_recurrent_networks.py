"""A recurrent network, trained in torch, through every stage to the C: it tells sequences apart almost as well as the float network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lutra.host import open_bundle
from lutra.host.bundle import quantize
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.compression.compress import compress, quantize_to_int8
from lutra_compiler.compression.training import Samples
from lutra_compiler.config import CompressionConfig, LayerConfig, PruningConfig, ReconstructionConfig, StageConfig, TrainingConfig
from lutra_compiler.driver import Model, analyze, build_program
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Recurrent
from lutra_compiler.passes import canonicalise
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.target import DEFAULT_TARGET, target_by_name

pytestmark = pytest.mark.usefixtures("host_cache")

CLASSES, STEPS, FEATURES, UNITS = 5, 24, 3, 32


def waves(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy sines of any phase and size at three sensors; their frequency is the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    phase = 6.3 * torch.rand(count, 1, FEATURES, generator=generator)
    size = 0.6 + 0.8 * torch.rand(count, 1, FEATURES, generator=generator)
    frequency = 0.35 + 0.15 * labels[:, None, None]
    x = size * torch.sin(frequency * torch.arange(STEPS)[None, :, None] + phase)
    return x + 0.5 * torch.randn(x.shape, generator=generator), labels


class Classifier(nn.Module):
    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn, self.scores = cell(FEATURES, UNITS, batch_first=True), nn.Linear(UNITS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.rnn(x)[0][:, -1])


@pytest.fixture(scope="module", params=[nn.LSTM, nn.GRU], ids=["lstm", "gru"])
def trained(request: pytest.FixtureRequest) -> tuple[nn.Module, Graph]:
    torch.manual_seed(0)
    module = Classifier(request.param)
    x, labels = waves(2000, 1)
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    for step in range(400):
        chosen = torch.arange(64) + 64 * step
        loss = functional.cross_entropy(module(x[chosen % len(x)]), labels[chosen % len(x)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval(), canonicalise(graph_from_module(module.eval(), (x[:1],)))


def accuracy_of(module: nn.Module) -> float:
    x, labels = waves(1000, 2)
    with torch.no_grad():
        return float((module(x).argmax(1) == labels).float().mean())


def accuracy_in_c(graph: Graph, folder: Path) -> float:
    """Of the C runtime; its bytes are the interpreter's."""
    x, labels = waves(1000, 2)
    program = build_program(graph, target_by_name(DEFAULT_TARGET))
    write_bundle(emit(program, "net", {}), folder)
    bundle = open_bundle(folder)
    inputs = [quantize(x.numpy(), bundle.inputs[0])]
    (output,) = bundle.run_int8(inputs)
    np.testing.assert_array_equal(output, interpret(program, inputs).outputs[0])
    return float((output.reshape(len(x), CLASSES).argmax(1) == labels.numpy()).mean())


def test_int8_weights_lose_next_to_nothing(trained: tuple[nn.Module, Graph], tmp_path: Path) -> None:
    module, graph = trained
    assert accuracy_of(module) > 0.9
    assert accuracy_in_c(quantize_to_int8(graph, waves(256, 1)[0]), tmp_path / "net") > accuracy_of(module) - 0.01


STAGE = StageConfig(4, 3e-3)
TRAINED = CompressionConfig(
    (LayerConfig("rnn", "pq", 16, 4),),
    pruning=PruningConfig(rate=0.0),
    training=TrainingConfig(STAGE, STAGE, STAGE, STAGE, batch_size=50),
)
RECONSTRUCTED = CompressionConfig(
    (LayerConfig("rnn", "pq", 256, 2, codeword_norm=255),),
    method="reconstruct",
    reconstruction=ReconstructionConfig(StageConfig(10, 1e-3), StageConfig(4, 3e-4)),
)


@pytest.mark.parametrize("config", [TRAINED, RECONSTRUCTED], ids=["trained", "reconstructed"])
def test_product_quantized_weights_lose_little(trained: tuple[nn.Module, Graph], config: CompressionConfig, tmp_path: Path) -> None:
    module, graph = trained
    x, labels = waves(1000, 1)
    compressed = compress(graph, Samples(x, labels if config.method == "train" else None), config)
    (op,) = (op for op in compressed.ops if isinstance(op, Recurrent))
    assert not op.sequence
    assert isinstance(compressed.encodings[op.weight], ProductQuantized)
    assert accuracy_in_c(compressed, tmp_path / "net") > accuracy_of(module) - 0.02


def test_an_analysis_counts_the_steps(trained: tuple[nn.Module, Graph]) -> None:
    graph = quantize_to_int8(trained[1], waves(64, 1)[0])
    (op,) = (op for op in graph.ops if isinstance(op, Recurrent))
    layers = {layer.kind: layer for layer in analyze(Model(graph), target_by_name(DEFAULT_TARGET)).layers}
    layer, linear = layers[op.kind], layers["linear"]
    assert layer.macs == STEPS * op.gates * UNITS**2
    assert layer.weight_bytes == op.gates * UNITS**2
    assert layer.cycles > STEPS * op.gates * UNITS**2 / (CLASSES * UNITS) * linear.cycles / 4
