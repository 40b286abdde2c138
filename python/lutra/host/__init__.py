"""Builds a bundle with the host's C compiler and runs it. Reads only the bundle and the runtime, never the compiler."""

from lutra.host.build import cache_directory, runtime_directory
from lutra.host.bundle import Bundle, open_bundle
from lutra.host.errors import BundleError, DataError, HostError, ToolError
from lutra.host.manifest import Port

__all__ = [
    "Bundle", "BundleError", "DataError", "HostError", "Port", "ToolError", "cache_directory", "open_bundle", "runtime_directory",
]
