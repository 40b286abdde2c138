"""Every error that a user can meet.

Each message names the thing that is wrong, its value, the limit, and what to do about it. Anything that leaves this
package as another exception type is a defect of Lutra, not of the user's input.
"""

from collections import Counter


class LutraError(Exception):
    """Base of all errors that a user can cause and mend."""


class ModelError(LutraError):
    """A model cannot be read or does not describe a valid network."""


class UnsupportedModelError(ModelError):
    """A valid model uses something that Lutra does not support; lists every such place at once."""

    def __init__(self, problems: "list[UnsupportedNode]") -> None:
        self.problems = tuple(problems)
        kinds = Counter(p.operator for p in problems)
        of = "" if len(kinds) < 2 else f" of {len(kinds)} kinds ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})"
        lines = [f"the model has {len(problems)} unsupported node(s){of}:"]
        lines += [f"  {p.node} ({p.operator}): {'; '.join(filter(None, (p.reason, p.remedy)))}" for p in problems]
        super().__init__("\n".join(lines))


class UnsupportedNode:
    """One place in a model that Lutra does not support.

    `node`: its name in the source model; `operator`: its kind there; `reason`: what is not supported;
    `remedy`: the rewrite that helps, empty where `reason` names it.
    """

    def __init__(self, node: str, operator: str, reason: str, remedy: str) -> None:
        self.node, self.operator, self.reason, self.remedy = node, operator, reason, remedy


class GraphError(LutraError):
    """A Graph breaks a rule of the intermediate representation."""


class CompressionError(LutraError):
    """A network cannot be compressed as asked."""


class LoweringError(LutraError):
    """A Graph cannot be turned into integer kernels for the target."""


class UnsupportedLayersError(LoweringError):
    """Several layers cannot be turned into integer kernels; lists every one, the layer's name first."""

    def __init__(self, problems: "list[tuple[str, LoweringError]]") -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{len(problems)} layers cannot be lowered:", *(f"  {error}" for _, error in problems)]))


class BudgetError(LoweringError):
    """A network does not fit the flash, RAM, cycles or accuracy that it was given; a question answered with no.

    `nearest`: numbers of the nearest point that is known to be possible, by name, or None.
    """

    def __init__(self, message: str, nearest: "dict[str, int | float] | None" = None) -> None:
        self.nearest = nearest
        super().__init__(message)


class ProgramError(LutraError):
    """A Program breaks a rule of the seam (overlapping buffers, a table of the wrong size)."""


class OutputError(LutraError):
    """A result cannot be written where it was asked to go."""


class BundleError(LutraError):
    """A generated bundle is missing, damaged, or of another version."""


class ToolError(LutraError):
    """An external program (compiler, emulator) is missing or failed."""


class DataError(LutraError):
    """Samples or labels are missing or of the wrong shape, type or content."""


class ConfigurationError(LutraError):
    """A setting is unknown or out of range."""
