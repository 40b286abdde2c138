"""lutra.boards: what a firmware takes, what a run reports, and how failures are told. Bundles are made by hand: a few lines of C each."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from lutra.boards import Board, BoardRun, Firmware, board_by_name, build_firmware, build_firmwares, counting_boards, run_firmware
from lutra.host import BundleError, DataError, ToolError
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.codegen.manifest import FORMAT_VERSION
from lutra_compiler.errors import ConfigurationError
from tiny_program import tiny_program

IMAGE = np.random.default_rng(0).integers(-128, 128, (3, 4, 4, 2), np.int8)
BYTE = np.zeros((1, 1), np.int8)

M0, M3 = board_by_name("microbit"), board_by_name("mps2-an385")


class Builder(Protocol):
    """Firmware of a bundle whose NAME_run is `layers`, in C; its inputs and outputs follow each other in the arena."""

    def __call__(
        self, board: Board, *layers: str, inputs: Sequence[int] = (1,), outputs: Sequence[int] = (1,), arena: int = 64
    ) -> Firmware: ...


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")  # shared: the runtime is compiled once a board


@pytest.fixture
def build_handmade(tmp_path: Path, build_dir: Path) -> Builder:
    def build(
        board: Board, *layers: str, inputs: Sequence[int] = (1,), outputs: Sequence[int] = (1,), arena: int = 64
    ) -> Firmware:
        return build_firmware(write_handmade(tmp_path / "handmade", layers, inputs, outputs, arena), board, build_dir)

    return build


def write_handmade(folder: Path, layers: Sequence[str], inputs: Sequence[int], outputs: Sequence[int], arena: int) -> Path:
    name, macro = folder.name, folder.name.upper()
    offsets = np.cumsum([0, *inputs, *outputs]).tolist()
    ports = [("INPUT", i, size) for i, size in enumerate(inputs)] + [("OUTPUT", i, size) for i, size in enumerate(outputs)]
    schedule = "\n".join(f"{layer}\nLUTRA_AFTER_LAYER({index}, NULL, 0);" for index, layer in enumerate(layers))
    header = [f"#define {macro}_ARENA_BYTES {arena}u"]
    for (kind, index, size), offset in zip(ports, offsets, strict=False):
        header += [f"#define {macro}_{kind}_{index}_OFFSET {offset}u", f"#define {macro}_{kind}_{index}_SIZE {size}u"]
    signature = f"int {name}_run(void *arena, size_t arena_bytes, const int8_t *const inputs[], int8_t *const outputs[])"
    files = {
        f"{name}.h": "\n".join(['#include "lutra/lutra.h"', *header, f"{signature};", f"int {name}_check(void);", ""]),
        f"{name}.c": f"""
            #include "{name}.h"
            #include "lutra/lutra_kernels.h"
            #include "{name}_data.h"
            int {name}_check(void) {{ return lutra_crc32({name}_table, 4) == 0; }}
            {signature} {{
              (void)arena, (void)arena_bytes, (void)inputs, (void)outputs;
              {schedule}
              return LUTRA_OK;
            }}""",
        f"{name}_data.h": f"static const uint8_t {name}_table[4] = {{1, 2, 3, 4}};\n",
    }
    port = {"layout": "NF", "scale": 1.0, "zero_point": 0}
    manifest = {
        "format": "lutra-bundle", "format_version": FORMAT_VERSION, "abi": 1, "prefix": name,
        "files": {file: hashlib.sha256(text.encode()).hexdigest() for file, text in files.items()},
        "inputs": [{**port, "name": f"i{i}", "shape": [size]} for i, size in enumerate(inputs)],
        "outputs": [{**port, "name": f"o{i}", "shape": [size]} for i, size in enumerate(outputs)],
        "layers": [{"output_shape": [1]} for _ in layers],
    }  # fmt: skip
    folder.mkdir(parents=True)
    for file, text in {**files, f"{name}.json": json.dumps(manifest)}.items():
        (folder / file).write_text(text)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Firmware:
    folder = tmp_path_factory.mktemp("tiny")
    write_bundle(emit(tiny_program(), "tiny", {}), folder / "bundle")
    return build_firmware(folder / "bundle", M0, folder)


@pytest.fixture(scope="module")
def tiny_run(tiny: Firmware) -> BoardRun:
    return run_firmware(tiny, [IMAGE])


@pytest.mark.board
def test_flash_is_split_into_model_kernels_and_board_code(tiny: Firmware, tmp_path: Path) -> None:
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", str(tiny.elf), str(tmp_path / "image")], check=True)
    assert tiny.flash.model == tiny.manifest.content["model_bytes"] == tiny_program().model_bytes
    assert tiny.flash.total == (tmp_path / "image").stat().st_size
    assert 0 < tiny.flash.kernels <= 6 * 1024
    assert 0 < tiny.flash.board <= 1024


@pytest.mark.board
def test_a_portable_build_has_less_code_and_the_same_outputs(tiny: Firmware, tiny_run: BoardRun, tmp_path: Path) -> None:
    write_bundle(emit(tiny_program(), "tiny", {}), tmp_path / "bundle")
    portable = build_firmware(tmp_path / "bundle", M0, tiny.elf.parents[2], portable=True)
    assert portable.flash.kernels < tiny.flash.kernels
    assert portable.flash.model == tiny.flash.model
    run = run_firmware(portable, [IMAGE])
    assert run.instructions != tiny_run.instructions
    np.testing.assert_array_equal(run.outputs[0], tiny_run.outputs[0])
    assert run_firmware(tiny, [IMAGE[:1]]).instructions == tiny_run.instructions  # its own build is as it was


@pytest.mark.board
def test_ram_holds_the_arena_the_stack_and_nothing_else(tiny: Firmware, tiny_run: BoardRun) -> None:
    assert tiny.ram.arena == tiny_program().arena_bytes
    assert tiny.ram.data == 0
    assert 0 < tiny_run.stack_bytes < tiny.ram.stack


@pytest.mark.board
def test_counts_are_those_of_the_first_sample_and_always_the_same(tiny: Firmware, tiny_run: BoardRun) -> None:
    again = run_firmware(tiny, [IMAGE[:1]])
    np.testing.assert_array_equal(again.profile, tiny_run.profile)
    assert len(again.layer_instructions) == 3
    assert 0 < sum(again.layer_instructions) < again.instructions


@pytest.mark.board
def test_counts_are_exact(build_handmade: Builder) -> None:
    prepare = """
      static const uint32_t table[2] = {1, 2};
      const uint32_t *flash = table;
      __asm__ volatile("" : "+r"(flash), "+r"(arena));"""
    measured = """
      __asm__ volatile(".syntax unified\\n"
                       "movs r0, #10\\n"
                       "1: subs r0, #1\\n"
                       "bne 1b\\n"
                       "ldm %0, {r0, r1}\\n"
                       "str r0, [%1]\\n"
                       "ldrh r0, [%1, #1]\\n" :: "r"(flash), "r"(arena) : "r0", "r1", "cc", "memory");"""
    firmware = build_handmade(M3, prepare, measured)
    run = run_firmware(firmware, [BYTE])
    layer = run.profile[run.profile["layer"] == 1]
    totals = {name: int(layer[name].sum()) for name in ("executions", "taken", "flash_reads", "ram_reads", "stores", "unaligned")}
    assert totals == {"executions": 24, "taken": 9, "flash_reads": 2, "ram_reads": 1, "stores": 1, "unaligned": 1}
    assert run.layer_instructions[1] == 24
    assert run.unaligned == 1


@pytest.mark.board
def test_several_inputs_and_outputs_keep_their_order(build_handmade: Builder) -> None:
    swap = "outputs[0][0] = inputs[1][2]; outputs[1][0] = inputs[0][0]; outputs[1][1] = inputs[0][1];"
    firmware = build_handmade(M0, swap, inputs=(2, 3), outputs=(1, 2))
    first, second = np.array([[1, 2], [3, 4]], np.int8), np.array([[5, 6, 7], [8, 9, 10]], np.int8)
    run = run_firmware(firmware, [first, second])
    assert [output.tolist() for output in run.outputs] == [[[7], [10]], [[1, 2], [3, 4]]]


@pytest.mark.board
def test_inputs_that_do_not_fit_the_network_are_refused(tiny: Firmware) -> None:
    for inputs in ([IMAGE.astype(np.uint8)], [IMAGE[:, 1:]], [IMAGE[:0]]):
        with pytest.raises(DataError, match=r"'image' must be int8 \[n, 4, 4, 2\].*n >= 1"):
            run_firmware(tiny, inputs)
    with pytest.raises(DataError, match="got 2 inputs, the network has 1: image"):
        run_firmware(tiny, [IMAGE, IMAGE])


@pytest.mark.board
def test_a_damaged_weight_fails_the_self_test_but_not_the_run(tmp_path: Path, build_dir: Path) -> None:
    assert run_firmware(build_firmware(damaged_bundle(tmp_path / "damaged", part=1), M0, build_dir), [IMAGE]).self_test == -4


@pytest.mark.board
def test_a_damaged_descriptor_stops_the_run(tmp_path: Path, build_dir: Path) -> None:
    firmware = build_firmware(damaged_bundle(tmp_path / "damaged", part=0), M0, build_dir)
    with pytest.raises(BundleError, match="damaged on microbit: NAME_run returned -4, NAME_check -4"):
        run_firmware(firmware, [IMAGE])


def damaged_bundle(folder: Path, part: int) -> Path:
    """The tiny network with another CRC for one of its objects."""
    files = emit(tiny_program(), "damaged", {})
    manifest = json.loads(files["damaged.json"])
    files["damaged_data.h"] = files["damaged_data.h"].replace(f"0x{manifest['objects'][part]['crc32']}u", "0x00000badu")
    manifest["files"]["damaged_data.h"] = hashlib.sha256(files["damaged_data.h"].encode()).hexdigest()
    write_bundle({**files, "damaged.json": json.dumps(manifest)}, folder)
    return folder


@pytest.mark.board
@pytest.mark.parametrize("board", [M0, M3], ids=lambda board: board.name)
def test_a_fault_is_told_with_its_address(board: Board, build_handmade: Builder) -> None:
    firmware = build_handmade(board, '__asm__ volatile("udf #0");')
    with pytest.raises(ToolError, match=rf"handmade.elf on {board.name} stopped with exit code 91:\nfault: exception 0x00000003\npc 0x"):
        run_firmware(firmware, [BYTE])


@pytest.mark.board
@pytest.mark.parametrize("board", [M0, M3], ids=lambda board: board.name)
def test_a_stack_that_overflows_is_told(board: Board, build_handmade: Builder) -> None:
    firmware = build_handmade(board, "volatile uint8_t deep[4096]; for (int i = 4095; i >= 0; i--) { deep[i] = 1; }")
    with pytest.raises(ToolError, match="stack"):
        run_firmware(firmware, [BYTE])


@pytest.mark.board
def test_an_endless_run_is_ended(build_handmade: Builder) -> None:
    firmware = build_handmade(M0, "while (*(volatile char *)arena == 0) { }")
    with pytest.raises(ToolError, match=r"handmade\.elf on microbit did not end within 0\.5 s"):
        run_firmware(firmware, [BYTE], timeout_s=0.5)


@pytest.mark.board
def test_an_unaligned_access_faults_on_the_m0(build_handmade: Builder) -> None:
    firmware = build_handmade(M0, "*(volatile uint16_t *)((uintptr_t)arena + 1u) = 0;")
    with pytest.raises(ToolError, match="stopped with exit code 91:\nfault: exception 0x00000003\npc 0x00000"):
        run_firmware(firmware, [BYTE])


@pytest.mark.board
def test_a_bundle_that_does_not_fit_the_board_is_told_by_how_much(build_handmade: Builder) -> None:
    message = r"handmade does not fit microbit \(262144 bytes of flash, 16384 of RAM\): 2048 bytes of RAM too much"
    with pytest.raises(ToolError, match=message):
        build_handmade(M0, "", arena=16384)


@pytest.mark.board
def test_two_bundles_of_one_prefix_are_refused(tmp_path: Path) -> None:
    folders = [write_handmade(tmp_path / parent / "same", [""], [1], [1], 8) for parent in "ab"]
    with pytest.raises(BundleError, match="two bundles have one prefix: same, same"):
        build_firmwares(folders, M0, tmp_path)


@pytest.mark.board
def test_a_missing_emulator_is_named_with_its_package(tiny: Firmware, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match=r"not on the PATH: qemu-system-arm; install them \(Debian: apt-get install qemu-system-arm\)"):
        run_firmware(tiny, [IMAGE])


def test_missing_compilers_are_all_named_with_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    message = r"cmake, ninja, arm-none-eabi-gcc, cc; .*apt-get install cmake ninja-build gcc-arm-none-eabi libnewlib-arm-none-eabi gcc"
    with pytest.raises(ToolError, match=message):
        build_firmware(tmp_path, M0, tmp_path)


def test_an_unknown_board_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown board 'uno'; choose one of microbit, mps2-an385, .*, stm32f405"):
        board_by_name("uno")


def test_the_boards_that_count_are_one_for_each_cpu() -> None:
    assert [board.cpu for board in counting_boards()] == ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"]
