"""Every error that a user can meet; all are LutraErrors."""

from collections.abc import Iterator
from contextlib import contextmanager

from lutra.host.errors import HostError
from lutra_compiler import errors
from lutra_compiler.errors import (
    BudgetError,
    BundleError,
    CompressionError,
    ConfigurationError,
    DataError,
    GraphError,
    LoweringError,
    LutraError,
    ModelError,
    OutputError,
    ProgramError,
    ToolError,
    UnsupportedModelError,
)

__all__ = [
    "BudgetError", "BundleError", "CompressionError", "ConfigurationError", "DataError", "GraphError", "LoweringError", "LutraError",
    "ModelError", "OutputError", "ProgramError", "ToolError", "UnsupportedModelError", "one_family",
]


@contextmanager
def one_family() -> Iterator[None]:
    """Errors of lutra.host, which imports nothing of the compiler, as the LutraErrors of the same names."""
    try:
        yield
    except HostError as error:
        raise getattr(errors, type(error).__name__)(str(error)) from error
