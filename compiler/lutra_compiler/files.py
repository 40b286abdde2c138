"""Files written whole or not at all."""

import os
from pathlib import Path

from lutra_compiler.errors import OutputError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` through a temporary file beside it; a crash leaves the old file or the new one. Raises OutputError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror}; choose a folder that exists and is writable") from error
