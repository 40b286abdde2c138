"""program.footprint: bounds of flash and RAM from the measured sizes of code. tests/python/test_budgets.py compares them with ELFs."""

import pytest

from lutra_compiler.program.footprint import code_bytes, footprint, schedule_bytes, stack_bytes
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.target import TARGETS
from tiny_program import tiny_program

NAMES = [target.name for target in TARGETS]


@pytest.mark.parametrize("target", NAMES)
def test_the_size_of_every_kernel_is_known(target: str) -> None:
    for kernel in KERNELS:
        assert 0 < code_bytes([kernel], 0, target) - code_bytes([], 0, target) < 10_000
        assert 20 <= stack_bytes([kernel], target) < 2048


@pytest.mark.parametrize("target", NAMES)
def test_code_that_kernels_share_counts_once(target: str) -> None:
    alone = [code_bytes([kernel], 0, target) for kernel in ("lutra_linear_lut", "lutra_linear_pairs")]
    together = code_bytes(["lutra_linear_lut", "lutra_linear_pairs"], 0, target)
    assert max(alone) < together < sum(alone) - code_bytes([], 0, target)


def test_a_schedule_grows_with_arguments() -> None:
    assert schedule_bytes(0, "cortex-m4") == 0
    assert 0 < schedule_bytes(10, "cortex-m4") < schedule_bytes(20, "cortex-m4")


def test_a_target_without_code_of_its_own_takes_as_much_as_the_largest() -> None:
    kernels = ["lutra_conv2d_lut", "lutra_linear_lut"]
    assert code_bytes(kernels, 9, "generic") >= max(code_bytes(kernels, 9, name) for name in NAMES)
    assert stack_bytes(kernels, "generic") == max(stack_bytes(kernels, name) for name in NAMES)
    assert code_bytes(kernels, 9, "cortex-m0plus") == code_bytes(kernels, 9, "cortex-m0")


def test_flash_is_model_and_code_and_ram_is_arena_and_stack() -> None:
    program = tiny_program()
    found = footprint(program)
    assert (found.model, found.arena) == (program.model_bytes, program.arena_bytes)
    assert found.flash == program.model_bytes + found.code
    assert found.ram == program.arena_bytes + found.stack
    assert found.stack == stack_bytes({call.kernel for call in program.calls}, program.target)
