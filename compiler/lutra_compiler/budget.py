"""What a network may take on its target, and the accuracy that it may lose."""

from dataclasses import dataclass, replace

from lutra_compiler.errors import ConfigurationError
from lutra_compiler.target import DEFAULT_TARGET


@dataclass(frozen=True)
class Budget:
    """Limits, None for none. `flash`: bytes of tables, kernels and schedule; `ram`: bytes of arena, with inputs and outputs, and stack;
    `cycles`: estimated, of one inference on `target`; `max_drop`: percentage points of accuracy below the float network's.

    With `max_drop` the network that is smallest in flash is wanted, else the most accurate one.
    """

    flash: int | None = None
    ram: int | None = None
    cycles: float | None = None
    max_drop: float | None = None
    target: str = DEFAULT_TARGET

    def __post_init__(self) -> None:
        for name in ("flash", "ram", "cycles"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"Budget.{name} is {value}; it must be above 0")
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise ConfigurationError(f"Budget.max_drop is {self.max_drop}; it must be 0 to 100 percentage points")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is limited."""
        return all(limit is None for limit in (self.flash, self.ram, self.cycles, self.max_drop))

    def admits(self, flash: int, ram: int, cycles: float) -> bool:
        """Whether a network that takes so much is within the limits of memory and time."""
        return self.excess(flash, ram, cycles) <= 1

    def excess(self, flash: int, ram: int, cycles: float) -> float:
        """The largest part of a limit that is taken; above 1 it is exceeded."""
        taken = ((flash, self.flash), (ram, self.ram), (cycles, self.cycles))
        return max((amount / limit for amount, limit in taken if limit is not None), default=0.0)

    def just(self, flash: int, ram: int, cycles: float) -> "Budget":
        """The same kinds of limits, at what a network takes."""
        return replace(
            self,
            flash=None if self.flash is None else max(flash, self.flash),
            ram=None if self.ram is None else max(ram, self.ram),
            cycles=None if self.cycles is None else max(cycles, self.cycles),
        )

    def scaled(self, factor: float) -> "Budget":
        """The same with `factor` times the memory and time."""
        return replace(
            self,
            flash=None if self.flash is None else int(self.flash * factor),
            ram=None if self.ram is None else int(self.ram * factor),
            cycles=None if self.cycles is None else self.cycles * factor,
        )
