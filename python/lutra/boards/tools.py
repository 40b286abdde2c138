"""The programs that boards need, and how to get them."""

import shutil

from lutra.host import ToolError

PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "cc": "gcc libc6-dev",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "qemu-system-arm": "qemu-system-arm",
}


def require_tools(*names: str) -> None:
    """Raises ToolError that lists all of `names` that are not on the PATH, and the Debian packages that hold them."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise ToolError(f"not on the PATH: {', '.join(missing)}; install them (Debian: apt-get install {packages})")
