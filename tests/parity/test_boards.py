"""Every board computes what the interpreter computes, byte for byte."""

from pathlib import Path

import numpy as np
import pytest

from lutra.boards import board_by_name, build_firmwares, run_firmware
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.program.interpreter import interpret
from random_programs import random_inputs, random_program

SEEDS = range(20)
SAMPLES = 8
BOARDS = ("microbit", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = []
    for seed in SEEDS:
        folders.append(tmp_path_factory.mktemp("bundles") / f"random{seed}")
        write_bundle(emit(random_program(seed), f"random{seed}", {}), folders[-1])
    return folders


@pytest.fixture
def strict_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-Werror")


@pytest.mark.board
@pytest.mark.slow
@pytest.mark.usefixtures("strict_compiler")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in BOARDS])
def test_a_board_computes_what_the_interpreter_computes(name: str, bundles: list[Path], tmp_path: Path) -> None:
    firmwares = build_firmwares(bundles, board_by_name(name), tmp_path)
    for seed, firmware in zip(SEEDS, firmwares, strict=True):
        program = random_program(seed)
        inputs = random_inputs(program, SAMPLES, seed)
        run = run_firmware(firmware, inputs)
        assert run.self_test == 0, f"seed {seed}"
        for expected, actual in zip(interpret(program, inputs).outputs, run.outputs, strict=True):
            np.testing.assert_array_equal(actual, expected, f"seed {seed}")
        assert firmware.flash.model == program.model_bytes, f"seed {seed}"
        if name == "microbit":
            assert run.unaligned == 0, f"seed {seed}"
