"""lutra.boards.cycles: published instruction timings, the rules of each core on straight code and loops, and layers of a firmware."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from lutra.boards import board_by_name, build_firmware, run_firmware
from lutra.boards.cycles import CORES, OWN_MODELS, Instruction, Kind, Profile, estimate_cycles, parse_instruction
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.errors import ConfigurationError
from tiny_program import tiny_program

PUBLISHED = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4")


def cycles(cpu: str, lines: Sequence[str], executions: int = 1, taken: Mapping[int, int] | None = None) -> float:
    """Of `lines`, each run as often; `taken`: how often the line of a number branches."""
    code, profile = listing(lines, executions, taken or {})
    return estimate_cycles(cpu, code, profile)


def listing(lines: Sequence[str], executions: int, taken: Mapping[int, int]) -> tuple[dict[int, Instruction], Profile]:
    code, rows, address = {}, [], 0x100
    for number, line in enumerate(lines):
        mnemonic, _, operands = line.partition(" ")
        size = 4 if mnemonic.endswith(".w") or mnemonic.startswith(("v", "sm", "um", "ldrd", "strd")) or mnemonic == "bl" else 2
        code[address] = parse_instruction(mnemonic, operands)
        rows.append((address, size, executions, taken.get(number, 0)))
        address += size
    return code, np.array(rows, [(name, np.int64) for name in ("address", "size", "executions", "taken")])


@pytest.mark.parametrize(
    ("line", "m0", "m0plus", "m3", "m4"),
    [
        ("adds r0, r1, r2", 1, 1, 1, 1),
        ("muls r0, r1", 1, 1, 1, 1),
        ("ldr r0, [r1, #4]", 2, 2, 2, 2),
        ("ldrsb r0, [r1, r2]", 2, 2, 2, 2),
        ("str r0, [r1, #4]", 2, 2, 1, 1),
        ("strb r0, [r1, r2]", 2, 2, 2, 2),
        ("ldmia r0!, {r1, r2, r3}", 4, 4, 4, 4),
        ("push {r4, r5, r6, r7, lr}", 6, 6, 6, 6),
    ],
)
def test_instructions_take_what_the_reference_manuals_say(line: str, m0: int, m0plus: int, m3: int, m4: int) -> None:
    assert [cycles(cpu, [line]) for cpu in PUBLISHED] == [m0, m0plus, m3, m4]


@pytest.mark.parametrize(
    ("line", "m3", "m4"),
    [
        ("mla r0, r1, r2, r3", 2, 1),
        ("smlal r0, r1, r2, r3", 5, 1),
        ("ldrd r0, r1, [r2]", 3, 3),
        ("strd r0, r1, [r2, #8]", 3, 3),
    ],
)
def test_the_m4_multiplies_in_one_cycle(line: str, m3: int, m4: int) -> None:
    assert [cycles(cpu, [line]) for cpu in ("cortex-m3", "cortex-m4")] == [m3, m4]


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("bne.n 100", (3, 2, 3, 3)),
        ("bl 100", (4, 3, 3, 3)),
        ("bx lr", (3, 2, 3, 3)),
        ("mov pc, r3", (3, 2, 3, 3)),
        ("pop {r4, pc}", (6, 5, 6, 6)),
    ],
)
def test_a_branch_costs_more_when_it_is_taken(line: str, taken: tuple[int, ...]) -> None:
    assert tuple(cycles(cpu, [line], taken={0: 1}) for cpu in PUBLISHED) == taken
    assert cycles("cortex-m0", ["bne.n 100"]) == 1


def test_a_loop_is_the_sum_of_its_rounds() -> None:
    loop = ["subs r0, #1", "bne.n 100"]
    assert cycles("cortex-m0", loop, executions=10, taken={1: 9}) == 10 * 1 + 10 * 1 + 9 * 2
    assert cycles("cortex-m0plus", loop, executions=10, taken={1: 9}) == 10 * 1 + 10 * 1 + 9 * 1


def test_neighbouring_loads_overlap_unless_one_is_the_address_of_the_next() -> None:
    assert cycles("cortex-m4", ["ldr r0, [r1]", "ldr r2, [r3]", "ldr r4, [r5]"]) == 2 + 1 + 1
    assert cycles("cortex-m4", ["ldr r0, [r1]", "ldr r2, [r0]"]) == 2 + 2
    assert cycles("cortex-m4", ["ldr r0, [r1]", "strb r2, [r3, r4]"]) == 2 + 1
    assert cycles("cortex-m0", ["ldr r0, [r1]", "ldr r2, [r3]"]) == 2 + 2


def test_an_address_that_was_just_computed_comes_late() -> None:
    assert cycles("cortex-m4", ["adds r1, #4", "ldr r0, [r1]"]) == 1 + 3
    assert cycles("cortex-m4", ["adds r1, #4", "nop", "ldr r0, [r1]"]) == 1 + 1 + 2


def test_only_those_who_came_from_above_overlap() -> None:
    code, profile = listing(["ldr r0, [r1]", "bne.n 100", "ldr r2, [r3]"], 1, {})
    profile["executions"][:] = (4, 4, 7)
    profile["taken"][:] = (0, 3, 0)
    assert estimate_cycles("cortex-m4", code, profile) == 4 * 2 + 4 + 3 * 2 + 7 * 2
    code, profile = listing(["ldr r0, [r1]", "ldr r2, [r3]"], 1, {})
    profile["executions"][:] = (4, 7)
    assert estimate_cycles("cortex-m4", code, profile) == 4 * 2 + 4 * 1 + 3 * 2


def test_a_loaded_operand_costs_the_m33_a_cycle_and_a_sum_that_goes_on_none() -> None:
    assert cycles("cortex-m33", ["ldr r0, [r1]", "adds r2, r0, r3"]) == 1 + 2
    assert cycles("cortex-m33", ["smlad r0, r1, r2, r0", "smlad r0, r3, r4, r0"]) == 1 + 1
    assert cycles("cortex-m33", ["smlad r0, r1, r2, r0", "adds r5, r0, r3"]) == 1 + 2


def test_the_m7_starts_two_instructions_a_cycle() -> None:
    assert cycles("cortex-m7", ["adds r0, r1, r2", "adds r3, r4, r5"], executions=10) == 10
    assert cycles("cortex-m7", ["adds r0, r1, r2", "adds r3, r0, r5"], executions=10) == 20
    assert cycles("cortex-m7", ["mul.w r0, r1, r2", "mul.w r3, r4, r5"], executions=10) == 20


def test_vector_loads_overlap_with_vector_arithmetic_on_the_m55() -> None:
    load, multiply = "vldrb.u8 q0, [r0], #16", "vmladava.s8 r2, q1, q2"
    assert cycles("cortex-m55", [load, multiply]) == 2 + 1
    assert cycles("cortex-m55", [multiply, multiply]) == 2 + 2
    assert cycles("cortex-m55", ["vldrh.s16 q0, [r0, q1, uxtw #1]"]) == 8
    assert cycles("cortex-m55", ["le lr, 100"], executions=5, taken={0: 4}) == 0


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("bls.n 100", Kind.BRANCH), ("blt.n 100", Kind.BRANCH), ("bics r0, r1", Kind.OTHER), ("bl 100", Kind.CALL),
        ("muls r0, r1", Kind.MULTIPLY), ("mls r0, r1, r2, r3", Kind.MULTIPLY_ADD), ("smlabb r0, r1, r2, r3", Kind.MULTIPLY_ADD),
        ("smlalbb r0, r1, r2, r3", Kind.LONG_MULTIPLY),
        ("ldrshcs r0, [r1]", Kind.LOAD), ("itte ne", Kind.NO_RESULT), ("tst r0, r1", Kind.NO_RESULT), ("add pc, r3", Kind.JUMP),
        ("movs r0, #1", Kind.OTHER), ("cbnz r0, 100", Kind.BRANCH), ("ldmia.w sp!, {r4, pc}", Kind.LOAD_MULTIPLE),
    ],
)  # fmt: skip
def test_mnemonics_are_told_apart(line: str, kind: Kind) -> None:
    mnemonic, _, operands = line.partition(" ")
    assert parse_instruction(mnemonic, operands).kind is kind


def test_registers_are_read_from_operands() -> None:
    assert parse_instruction("ldrsb.w", "r3, [ip, r4, lsl #1]") == Instruction(
        Kind.LOAD, reads=frozenset({"r12", "r4"}), writes=frozenset({"r3"}), address=frozenset({"r12", "r4"}), indexed=True
    )
    assert parse_instruction("adds", "r0, #1").reads == {"r0"}
    assert parse_instruction("uxtb", "r0, r1").reads == {"r1"}
    assert parse_instruction("movgt", "r5, r6").reads == {"r5", "r6"}  # else it keeps what it held
    assert parse_instruction("ldmia.w", "sp!, {r4-r6, pc}").writes == {"r4", "r5", "r6", "pc"}
    assert parse_instruction("stmdb", "sp!, {r4-r8, lr}").transfers == 6


def test_every_target_but_the_own_models_has_published_timings() -> None:
    assert set(CORES) == {*PUBLISHED, *OWN_MODELS}


@pytest.mark.board
def test_layers_of_a_firmware_have_cycles_and_armv6m_code_runs_where_there_is_more_memory(tmp_path: Path) -> None:
    write_bundle(emit(tiny_program(), "tiny", {}), tmp_path / "bundle")
    image = np.random.default_rng(0).integers(-128, 128, (1, 4, 4, 2), np.int8)
    firmware = build_firmware(tmp_path / "bundle", board_by_name("mps2-an385"), tmp_path, "cortex-m0plus")
    run = run_firmware(firmware, [image])
    assert run.unaligned == 0
    assert run.instructions < sum(run.layer_cycles()) < run.cycles() < 3 * run.instructions
    assert run.cycles("cortex-m0plus") == run.cycles() < run.cycles("cortex-m0")
    microbit = run_firmware(build_firmware(tmp_path / "bundle", board_by_name("microbit"), tmp_path), [image])
    np.testing.assert_array_equal(microbit.outputs[0], run.outputs[0])
    assert microbit.layer_instructions == run.layer_instructions


def test_a_board_runs_only_its_own_code_and_that_of_armv6m(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="mps2-an385 is a cortex-m3; it runs its own code and that of cortex-m0 or cortex-m0plus"):
        build_firmware(tmp_path, board_by_name("mps2-an385"), tmp_path, "cortex-m4")
