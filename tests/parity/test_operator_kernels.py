"""Tables, binary operators and copies: interpreter = float layers within their bounds = host C = every board, byte for byte."""

from pathlib import Path

import numpy as np
import pytest
from test_boards import BOARDS

from float_layers import bound_of, layers_of
from lutra.boards import board_by_name, build_firmwares, run_firmware
from lutra.host import open_bundle
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.program.interpreter import interpret
from operator_programs import operator_network
from random_programs import random_inputs

KERNELS = ("lutra_lookup_int8", "lutra_binary_int8", "lutra_copy_int8", "lutra_normalise_int8")
SAMPLES = 8

pytestmark = pytest.mark.usefixtures("host_cache")


def test_the_networks_have_every_form_of_every_kernel() -> None:
    calls = [call for seed in range(100) for call in operator_network(seed)[1].calls]
    assert {call.kernel for call in calls} >= set(KERNELS)
    forms = {(call.fields["function"], call.fields["steps_b"]) for call in calls if call.kernel == "lutra_binary_int8"}
    assert {function for function, _ in forms} == set(range(4))
    assert {steps for _, steps in forms} == set(range(4))


def test_every_layer_is_within_its_bound_of_the_float_layer() -> None:
    for seed in range(100):
        for call, integers, real in layers_of(*operator_network(seed), seed):
            assert np.abs(integers - real).max() <= bound_of(call), f"seed {seed}, {call.kernel}"


@pytest.mark.parametrize("seeds", [range(start, start + 10) for start in range(0, 60, 10)], ids=str)
def test_interpreter_and_host_give_the_same_bytes(tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        program = operator_network(seed)[1]
        inputs = random_inputs(program, SAMPLES, seed)
        write_bundle(emit(program, "net", {}), tmp_path / str(seed))
        for output, wanted in zip(open_bundle(tmp_path / str(seed)).run_int8(inputs), interpret(program, inputs).outputs, strict=True):
            np.testing.assert_array_equal(output, wanted, f"seed {seed}")


@pytest.mark.board
@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in BOARDS])
def test_a_board_computes_what_the_interpreter_computes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-Werror")
    programs = [operator_network(seed)[1] for seed in range(12)]
    assert {call.kernel for program in programs for call in program.calls} >= set(KERNELS)
    for index, program in enumerate(programs):
        write_bundle(emit(program, f"operators{index}", {}), tmp_path / f"operators{index}")
    folders = [tmp_path / f"operators{index}" for index in range(len(programs))]
    for seed, firmware in enumerate(build_firmwares(folders, board_by_name(name), tmp_path / "build")):
        inputs = random_inputs(programs[seed], SAMPLES, seed)
        run = run_firmware(firmware, inputs)
        assert run.self_test == 0, f"seed {seed}"
        for expected, actual in zip(interpret(programs[seed], inputs).outputs, run.outputs, strict=True):
            np.testing.assert_array_equal(actual, expected, f"seed {seed}")
        if name == "microbit":
            assert run.unaligned == 0, f"seed {seed}"
