"""Files written whole or not at all."""

import os
import secrets
from pathlib import Path

from lutra_compiler.errors import OutputError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` through a temporary file beside it; a crash leaves the old file or the new one. Raises OutputError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")  # not tempfile's, which only its owner can read
    try:
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}; choose a folder that exists and is writable") from error
