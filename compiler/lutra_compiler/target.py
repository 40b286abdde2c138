"""The processors that Lutra writes for."""

from dataclasses import dataclass

from lutra_compiler.errors import ConfigurationError


@dataclass(frozen=True)
class Target:
    """A processor. `cpu` is what GCC's -mcpu calls it; None means any machine with a C99 compiler."""

    name: str
    cpu: str | None


DEFAULT_TARGET = "cortex-m0"
CORTEX_M = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
TARGETS = (*(Target(cpu, cpu) for cpu in CORTEX_M), Target("generic", None))


def target_by_name(name: str) -> Target:
    """The target called `name`. Raises ConfigurationError with the names there are."""
    for target in TARGETS:
        if target.name == name:
            return target
    names = ", ".join(target.name for target in TARGETS)
    raise ConfigurationError(f"unknown target '{name}'; choose one of {names}, generic for any other CPU")
