"""Networks with residual adds, batch norms and depthwise convolutions, from a module through every stage to the C."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lutra.host import open_bundle
from lutra.host.bundle import dequantize, quantize
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.compression.compress import compress
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Samples
from lutra_compiler.config import CompressionConfig, LayerConfig, PruningConfig, StageConfig, TrainingConfig
from lutra_compiler.driver import build_program
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.passes import canonicalise
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.target import DEFAULT_TARGET, target_by_name
from networks import network

pytestmark = pytest.mark.usefixtures("host_cache")

STAGE = StageConfig(2, 1e-3)
CONFIG = CompressionConfig(
    pruning=PruningConfig(rate=0.25, rounds=1),
    training=TrainingConfig(STAGE, STAGE, STAGE, STAGE, batch_size=32),
)


@pytest.mark.parametrize(
    ("name", "coded"), [("resnet_identity", (1, 2, 5)), ("resnet_projection", (3, 5)), ("mobilenet", (2, 4)), ("inception", (1, 2))]
)
def test_the_c_computes_what_training_saw(name: str, coded: tuple[int, ...], tmp_path: Path):
    module, example = network(name)
    generator = torch.Generator().manual_seed(0)
    images, light = (torch.randn(128, *shape, generator=generator) for shape in (example.shape[1:], (example.shape[1], 1, 1)))
    images += 2 * light  # so that means over images differ
    module.train()
    for _ in range(20):
        module(images)  # statistics of batch norms that fit the images
    graph = canonicalise(graph_from_module(module.eval(), (example,)))
    compressed = compress(graph, Samples(images), replace(CONFIG, layers=tuple(LayerConfig(layer, "pq") for layer in coded)))
    assert compressed.trainable_parameters() < graph.trainable_parameters()
    assert sum(isinstance(encoding, ProductQuantized) for encoding in compressed.encodings.values()) == len(coded)

    program = build_program(compressed, target_by_name(DEFAULT_TARGET))
    write_bundle(emit(program, "net", {}), tmp_path / "net")
    bundle = open_bundle(tmp_path / "net")
    inputs = [quantize(images.numpy(), bundle.inputs[0])]
    (output,) = bundle.run_int8(inputs)
    np.testing.assert_array_equal(output, interpret(program, inputs).outputs[0])
    assert len(np.unique(output)) > 20
    with torch.no_grad():
        seen = TorchGraph(compressed).eval()(images).numpy()
    # Where a value lies between two steps, layers may round it to either, and those after them carry that on; but none leans to one side.
    steps = (dequantize(output, bundle.outputs[0]) - seen) / bundle.outputs[0].scale
    assert np.abs(steps).max() < 4
    assert np.abs(steps).mean() < 0.4
    assert abs(steps.mean()) < 0.05
