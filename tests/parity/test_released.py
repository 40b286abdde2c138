"""The released artefacts: interpreter, host C and every board give the same bytes, and LeNet-5 fits the smallest board."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from float_layers import bound_of, layers_on
from lutra import zoo
from lutra.boards import board_by_name, build_firmwares, counting_boards, run_firmware
from lutra.host import open_bundle
from lutra.host.bundle import quantize
from lutra.zoo.data import Prepared, dataset_of, load_mnist
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.driver import build_program
from lutra_compiler.errors import DataError
from lutra_compiler.passes import prepare_for_lowering
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.program.interpreter import Run, interpret
from lutra_compiler.program.program import Program
from lutra_compiler.target import DEFAULT_TARGET, target_by_name

pytestmark = pytest.mark.usefixtures("host_cache")

ARTEFACTS = tuple(name for name in zoo.names() if not name.endswith("/float"))
IMAGES = 100
BOUNDED_IMAGES = 20
MANY_MACS, FEW_IMAGES = 50_000_000, 20  # networks of more take minutes on an emulated board: benchmarks/results.py gives it all images
SMALLEST, SMALLEST_RAM = "lenet5/900x", 4 * 1024
SMALLEST_KERNELS_BYTES = 7 * 1024
HARNESS_STACK = 64  # bytes of the test's firmware around NAME_run
OUTSIDE_ARENA = 4 * 1024  # bytes of RAM that a board's firmware may need: stack, messages


@dataclass(frozen=True)
class Released:
    """An artefact, its bundle, the images as it reads them, and what the interpreter makes of them."""

    program: Program
    bundle: Path
    images: np.ndarray
    expected: Run


def images_of(dataset: Prepared) -> np.ndarray:
    """MNIST's own; random colours that change gently for CIFAR-10, which takes minutes to download."""
    if dataset == "mnist":
        try:
            return load_mnist("test").head(IMAGES).images
        except DataError as error:
            pytest.skip(str(error))
    coarse = np.random.default_rng(0).normal(scale=40, size=(IMAGES, 3, 8, 8)).clip(-128, 127)
    pixels = np.round(coarse.repeat(4, 2).repeat(4, 3)).astype(np.float32)
    return pixels / 64 if dataset == "cifar10-centred" else pixels + 128


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Released]:
    return {name: release(name, tmp_path_factory.mktemp("released")) for name in ARTEFACTS}


def release(name: str, folder: Path) -> Released:
    limits = Limits(ram=SMALLEST_RAM) if name == SMALLEST else None
    model = zoo.load(name)
    program = build_program(model.graph, target_by_name(DEFAULT_TARGET), limits)
    write_bundle(emit(program, f"net{ARTEFACTS.index(name)}", {}), folder / "bundle")
    inputs = quantize(images_of(dataset_of(model)), open_bundle(folder / "bundle").inputs[0])
    return Released(program, folder / "bundle", inputs, interpret(program, [inputs], trace=True))


def test_there_are_released_points():
    assert {"lenet5", "lenet300", SMALLEST} < set(ARTEFACTS)


@pytest.mark.parametrize("name", ARTEFACTS)
def test_interpreter_and_host_give_the_same_bytes_in_every_layer(released: Mapping[str, Released], name: str):
    artefact = released[name]
    bundle = open_bundle(artefact.bundle)
    for layer, expected in zip(bundle.run_layers([artefact.images]), artefact.expected.layers, strict=True):
        np.testing.assert_array_equal(layer, expected)
    np.testing.assert_array_equal(bundle.run_int8([artefact.images])[0], artefact.expected.outputs[0])
    assert bundle.check()


@pytest.mark.parametrize("name", ARTEFACTS)
def test_every_layer_is_within_its_bound_of_the_float_layer(released: Mapping[str, Released], name: str):
    graph = prepare_for_lowering(zoo.load(name).graph)
    for call, integers, real in layers_on(graph, released[name].program, [released[name].images[:BOUNDED_IMAGES]]):
        assert np.abs(integers - real).max() <= bound_of(call), call.kernel
        assert len(np.unique(integers)) > 20, call.kernel


@pytest.mark.board
@pytest.mark.parametrize("board", [pytest.param(board.name, marks=pytest.mark.xdist_group(board.name)) for board in counting_boards()])
def test_a_board_gives_the_same_bytes(released: Mapping[str, Released], board: str, tmp_path: Path):
    room = board_by_name(board).ram_bytes - OUTSIDE_ARENA
    fitting = {name: artefact for name, artefact in released.items() if artefact.program.arena_bytes <= room}
    assert len(fitting) >= 3
    firmwares = build_firmwares([artefact.bundle for artefact in fitting.values()], board_by_name(board), tmp_path)
    for (name, artefact), firmware in zip(fitting.items(), firmwares, strict=True):
        count = FEW_IMAGES if sum(call.layer.macs for call in artefact.program.calls) > MANY_MACS else IMAGES
        run = run_firmware(firmware, [artefact.images[:count]])
        np.testing.assert_array_equal(run.outputs[0], artefact.expected.outputs[0][:count], name)
        assert run.self_test == 0, name
        assert firmware.flash.model == artefact.program.model_bytes, name
        if board == "microbit":
            assert run.unaligned == 0, name
        if (board, name) == ("microbit", SMALLEST):
            assert firmware.flash.kernels <= SMALLEST_KERNELS_BYTES
            assert firmware.ram.arena + run.stack_bytes <= SMALLEST_RAM + HARNESS_STACK


@pytest.mark.parametrize("name", ARTEFACTS)
def test_hash_seeds_and_threads_do_not_change_a_byte_of_a_bundle(tmp_path: Path, name: str):
    code = "import sys, lutra; lutra.generate(sys.argv[1], sys.argv[2], prefix='net')"
    for seed in ("1", "2"):
        threads = {"OMP_NUM_THREADS": seed, "OPENBLAS_NUM_THREADS": seed}
        command = [sys.executable, "-c", code, str(zoo.artefact(name)), str(tmp_path / seed)]
        subprocess.run(command, env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}, check=True)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()} for seed in ("1", "2"))
    assert len(first) == 4
    assert first == second
