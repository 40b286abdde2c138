"""Interpreter = host C on 200 random Programs, every layer, every byte."""

from pathlib import Path

import numpy as np
import pytest

from lutra.host import Bundle, open_bundle
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.ir.ops import Clamp, Conv2d, Flatten, Linear, MaxPool, Softmax
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph
from random_programs import random_inputs, random_program
from tiny_program import with_random_indices

pytestmark = pytest.mark.usefixtures("host_cache")

SAMPLES = 8


def build(program: Program, directory: Path) -> Bundle:
    write_bundle(emit(program, "net", {}), directory)
    return open_bundle(directory)


def complete_layers(program: Program) -> list[int]:
    """The calls after which their output buffer is complete: the last part of a concat, and every other call."""
    return list({call.output: index for index, call in enumerate(program.calls)}.values())


@pytest.mark.parametrize("seeds", [range(start, start + 10) for start in range(0, 200, 10)], ids=str)
def test_interpreter_and_host_give_the_same_bytes(tmp_path: Path, seeds: range):
    for seed in seeds:
        program = random_program(seed)
        inputs = random_inputs(program, SAMPLES, seed)
        bundle, expected = build(program, tmp_path / str(seed)), interpret(program, inputs, trace=True)
        layers = bundle.run_layers(inputs)
        for index in complete_layers(program):
            where = f"seed {seed}, call {index}, {program.calls[index].kernel}"
            np.testing.assert_array_equal(layers[index], expected.layers[index], where)
        for output, wanted in zip(bundle.run_int8(inputs), expected.outputs, strict=True):
            np.testing.assert_array_equal(output, wanted, f"seed {seed}")


@pytest.mark.parametrize("seed", range(10))
def test_any_bytes_are_legal_indices_coded_or_not(tmp_path: Path, seed: int):
    program = with_random_indices(random_program(seed))
    inputs = random_inputs(program, SAMPLES, seed)
    for output, wanted in zip(build(program, tmp_path / "net").run_int8(inputs), interpret(program, inputs).outputs, strict=True):
        np.testing.assert_array_equal(output, wanted)


def lenet() -> Program:
    """LeNet-5-Caffe in full size: layers beyond those of random programs."""
    weights = {
        "c1": dense((20, 5, 5, 1)),
        "c2": coded((50, 5, 5, 20), codewords=32, subvector=4, index_bits=8),
        "l1": coded((500, 800), codewords=16, subvector=8, largest=30),
        "l2": coded((10, 500), codewords=256, subvector=4, index_bits=8),
    }
    ops = [
        Conv2d(name="c1", inputs=("x",), output="c1", weight="c1"),
        MaxPool(name="p1", inputs=("c1",), output="p1", kernel=(2, 2), stride=(2, 2)),
        Conv2d(name="c2", inputs=("p1",), output="c2", weight="c2"),
        MaxPool(name="p2", inputs=("c2",), output="p2", kernel=(2, 2), stride=(2, 2)),
        Flatten(name="f", inputs=("p2",), output="f"),
        Linear(name="l1", inputs=("f",), output="l1", weight="l1", activation=Clamp(0.0, None)),
        Linear(name="l2", inputs=("l1",), output="l2", weight="l2"),
        Softmax(name="s", inputs=("l2",), output="s"),
    ]
    return lower(graph(ops, {"x": (28, 28, 1)}, weights), target_by_name("cortex-m4"))


def test_a_hundred_images_through_lenet(tmp_path: Path):
    program = lenet()
    inputs = random_inputs(program, 100, 0)
    (output,) = interpret(program, inputs).outputs
    assert len(np.unique(output)) > 20
    np.testing.assert_array_equal(build(program, tmp_path / "net").run_int8(inputs)[0], output)
