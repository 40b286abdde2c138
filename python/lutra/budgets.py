"""Whether a compressed model fits a budget: sizes read from an ELF where the Arm toolchain is at hand, else upper bounds."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lutra.boards import measure_footprint
from lutra.boards.firmware import BUILD_TOOLS
from lutra_compiler.budget import Budget
from lutra_compiler.driver import Model, generate_bundle
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.program.cost_model import program_cycles
from lutra_compiler.program.footprint import footprint
from lutra_compiler.target import target_by_name


@dataclass(frozen=True)
class Fit:
    """What a model takes on a budget's target. `flash_bytes` and `ram_bytes` were read from an ELF if `measured`, else they are upper
    bounds; `cycles` is an estimate. `flash_limit`: what kernels were chosen within."""

    model_bytes: int
    flash_bytes: int
    ram_bytes: int
    cycles: float
    measured: bool
    flash_limit: int | None

    def keeps(self, budget: Budget) -> bool:
        """Whether that is within the budget."""
        return budget.admits(self.flash_bytes, self.ram_bytes, self.cycles)

    def __str__(self) -> str:
        how = "as measured in an ELF" if self.measured else "estimated, at most"
        return (
            f"{self.flash_bytes:,} bytes of flash ({self.model_bytes:,} of them model) and {self.ram_bytes:,} bytes of RAM, {how}, "
            f"and {self.cycles:,.0f} cycles"
        )


def fit_of(model: Model, budget: Budget, limited: bool = True) -> Fit:
    """What the model takes with the fastest kernels that fit the budget, or with the fastest ones if not `limited`. Raises BudgetError
    if no kernels fit."""
    limits = Limits(ram=budget.ram, flash=budget.flash) if limited else None
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "bundle")
        program = generate_bundle(model, bundle, "model", target_by_name(budget.target), limits)
        taken = program_cycles(program)
        cpu = target_by_name(budget.target).cpu
        if cpu is None or not can_measure():
            needed = footprint(program)
            return Fit(needed.model, needed.flash, needed.ram, taken, measured=False, flash_limit=limits.flash if limits else None)
        found = measure_footprint(bundle, cpu)
        return Fit(found.model, found.flash, found.ram, taken, measured=True, flash_limit=limits.flash if limits else None)


def can_measure() -> bool:
    """Whether the tools are here that link a bundle for a Cortex-M."""
    return all(shutil.which(tool) for tool in BUILD_TOOLS)
