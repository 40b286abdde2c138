"""LSTM and GRU: interpreter = float layers within their bound = host C = every board, byte for byte, however weights are stored."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from test_boards import BOARDS

from float_layers import Array, recurrent_layer
from lutra.boards import board_by_name, build_firmwares, run_firmware
from lutra.host import open_bundle
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.ir.encoding import Quantization, WeightEncoding
from lutra_compiler.ir.ops import Gru, Lstm, Recurrent
from lutra_compiler.program.choose_kernel import Candidate, Choose
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph
from random_programs import random_inputs
from recurrent_programs import recurrent_network

SAMPLES = 8
BOUND = 0.7  # steps of a hidden state: half of them its rounding, most of the rest the input's, to units of the gates, and the tangents

pytestmark = pytest.mark.usefixtures("host_cache")


def recurrent_kernels() -> set[str]:
    return {name for name, kernel in KERNELS.items() if kernel.each_step}


def test_the_networks_have_every_form_of_every_kernel() -> None:
    calls = [call for seed in range(60) for call in recurrent_network(seed)[1].calls if call.kernel in recurrent_kernels()]
    forms = {(call.kernel.split("_")[1], *(call.fields[name] for name in ("initial", "reverse", "sequence"))) for call in calls}
    assert {call.kernel for call in calls} == recurrent_kernels()
    assert len(forms) == 2 * 2**3
    assert any(call.indices is not None for call in calls)
    assert any(writes_over_its_input(recurrent_network(seed)[1]) for seed in range(60))


def writes_over_its_input(program: Program) -> bool:
    calls = [call for call in program.calls if call.kernel in recurrent_kernels()]
    return any(program.buffers[call.inputs[0]].offset == program.buffers[call.output].offset for call in calls)


def layers_of_sequences(seed: int) -> Iterator[tuple[Array, Array]]:
    """Integer hidden states of all layers that put out sequences, and what their float layers make of the same inputs and the same hidden
    states where the weight meets them, in steps."""
    network, program = recurrent_network(seed)
    inputs = random_inputs(program, SAMPLES, seed)
    values = {port.name: array for port, array in zip(program.inputs, inputs, strict=True)}
    values |= {c.layer.output_value: y for c, y in zip(program.calls, interpret(program, inputs, trace=True).layers, strict=True)}
    for op in network.ops:
        if isinstance(op, Recurrent) and op.sequence:
            source, hidden = network.quantization[op.inputs[0]], values[op.output].astype(np.float64)
            x = source.scale * (values[op.inputs[0]].astype(np.float64) - source.zero_point)
            yield hidden, np.clip(recurrent_layer(network, op, x, hidden / 128) * 128, -128, 127)


def test_every_step_is_within_its_bound_of_the_float_layer() -> None:
    pairs = [pair for seed in range(150) for pair in layers_of_sequences(seed)]
    assert len(pairs) > 60
    assert max(np.abs(integers - real).max() for integers, real in pairs) <= BOUND


@pytest.mark.parametrize("seeds", [range(start, start + 10) for start in range(0, 60, 10)], ids=str)
def test_interpreter_and_host_give_the_same_bytes(tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        program = recurrent_network(seed)[1]
        inputs = random_inputs(program, SAMPLES, seed)
        write_bundle(emit(program, "net", {}), tmp_path / str(seed))
        for output, wanted in zip(open_bundle(tmp_path / str(seed)).run_int8(inputs), interpret(program, inputs).outputs, strict=True):
            np.testing.assert_array_equal(output, wanted, f"seed {seed}")


def every_way(kind: type[Recurrent], weight: WeightEncoding) -> Program:
    """A program with a layer for each candidate, all of one input."""
    units, found = weight.shape[1], list[Candidate]()

    def first(candidates: Sequence[Candidate]) -> Candidate:
        found[:] = candidates
        return candidates[0]

    x = {"x": (1, 7, kind.gates * units)}
    scale = np.full(kind.gates * units, 0.02, np.float32)
    weights = {"w": replace(weight, scale=scale)}
    quantization = {"x": Quantization(0.05, 3)}

    def program(layers: int, choose: Choose) -> Program:
        ops = [kind(name=f"l{i}", inputs=("x",), output=f"y{i}", weight="w") for i in range(layers)]
        outputs = [op.output for op in ops]
        return lower(graph(ops, x, weights, outputs, quantization), target_by_name("generic"), choose=choose)

    program(1, first)
    numbers = count()
    return program(len(found), lambda candidates: candidates[next(numbers)])


@pytest.mark.parametrize("kind", [Lstm, Gru], ids=["lstm", "gru"])
@pytest.mark.parametrize("form", ["subvectors of 8", "a part of a group", "single channels", "bytes", "int8", "one unit"])
def test_every_way_to_compute_a_layer_at_the_ends_of_its_range(kind: type[Recurrent], form: str, tmp_path: Path) -> None:
    rows = kind.gates
    weight = {
        "subvectors of 8": coded((rows * 32, 32), subvector=8, largest=15),
        "a part of a group": coded((rows * 44, 44), subvector=4, largest=31),
        "single channels": coded((rows * 19, 19), subvector=1, codewords=4),
        "bytes": coded((rows * 20, 20), subvector=4, codewords=64, index_bits=8),
        "int8": dense((rows * 13, 13)),
        "one unit": dense((rows, 1)),
    }[form]
    program = every_way(kind, weight)
    shape, ends, rng = program.inputs[0].shape, np.array([-128, 127], np.int8), np.random.default_rng(1)
    alike = [np.full((1, *shape), end) for end in ends]
    x = np.concatenate([rng.integers(-128, 128, (4, *shape), np.int8), *alike, rng.choice(ends, (2, *shape))])
    write_bundle(emit(program, "net", {}), tmp_path / "net")
    expected = interpret(program, [x]).outputs
    assert len(np.unique(expected[0])) > 6
    for call, wanted, output in zip(program.calls, expected, open_bundle(tmp_path / "net").run_int8([x]), strict=True):
        np.testing.assert_array_equal(wanted, expected[0])
        np.testing.assert_array_equal(output, wanted, call.kernel)


def various_programs() -> list[Program]:
    """Those of the first seeds that have a kernel that none before has, or the same in the other direction."""
    seen, chosen = set[tuple[str, int]](), list[Program]()
    for seed in range(60):
        program = recurrent_network(seed)[1]
        forms = {(call.kernel, call.fields["reverse"]) for call in program.calls if call.kernel in recurrent_kernels()}
        if not forms <= seen:
            seen |= forms
            chosen.append(program)
    return chosen


@pytest.mark.board
@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in BOARDS])
def test_a_board_computes_what_the_interpreter_computes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-Werror")
    programs = various_programs()
    assert {call.kernel for program in programs for call in program.calls} >= recurrent_kernels()
    for index, program in enumerate(programs):
        write_bundle(emit(program, f"recurrent{index}", {}), tmp_path / f"recurrent{index}")
    folders = [tmp_path / f"recurrent{index}" for index in range(len(programs))]
    for seed, firmware in enumerate(build_firmwares(folders, board_by_name(name), tmp_path / "build")):
        inputs = random_inputs(programs[seed], SAMPLES, seed)
        run = run_firmware(firmware, inputs)
        assert run.self_test == 0, f"seed {seed}"
        for expected, actual in zip(interpret(programs[seed], inputs).outputs, run.outputs, strict=True):
            np.testing.assert_array_equal(actual, expected, f"seed {seed}")
        if name == "microbit":
            assert run.unaligned == 0, f"seed {seed}"
