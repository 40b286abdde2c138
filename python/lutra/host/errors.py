"""Errors of the host simulator. The same rules as lutra_compiler.errors, of which this package imports nothing."""


class HostError(Exception):
    """Base of all errors that a user of a bundle can cause and mend."""


class BundleError(HostError):
    """A bundle is missing, damaged, or of another version."""


class ToolError(HostError):
    """The C compiler is missing or failed."""


class DataError(HostError):
    """Samples are of the wrong shape, type or content."""
