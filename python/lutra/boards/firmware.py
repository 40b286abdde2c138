"""Builds the validating firmware of a bundle with CMake and reads from the ELF what it takes."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile

from lutra.boards.board import Board, source_root
from lutra.boards.tools import require_tools
from lutra.host import BundleError, ToolError
from lutra.host.manifest import Manifest, read_manifest
from lutra_compiler.errors import ConfigurationError

BUILD_TOOLS = ("cmake", "ninja", "arm-none-eabi-gcc", "cc")
ARMV6M = ("cortex-m0", "cortex-m0plus")
_BEGIN, _END = -1, -2  # markers.h


@dataclass(frozen=True)
class FlashUse:
    """Bytes of flash: `model` the tables of the bundle, `board` start-up, semihosting and the loop over samples, `kernels` all else.

    So `kernels` holds the kernels, the schedule, what they need of libgcc and libc, initial values and padding.
    """

    model: int
    kernels: int
    board: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.model + self.kernels + self.board


@dataclass(frozen=True)
class RamUse:
    """Bytes of RAM: `arena` with inputs and outputs, `data` the rest of .data and .bss, `stack` what is set aside for it."""

    arena: int
    data: int
    stack: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.arena + self.data + self.stack


@dataclass(frozen=True)
class Markers:
    """Addresses that the counting plugin watches: around NAME_run, after each layer, and the function that checks CRCs."""

    begin: int
    end: int
    layers: tuple[int, ...]
    crc32: range


@dataclass(frozen=True)
class Firmware:
    """A built firmware: `elf` for `board`, compiled for `cpu`, and the QEMU plugin that counts its instructions.

    `markers` is None for boards on a serial port, whose firmware times its layers itself.
    """

    board: Board
    cpu: str
    manifest: Manifest
    elf: Path
    plugin: Path
    flash: FlashUse
    ram: RamUse
    markers: Markers | None


def build_firmware(bundle: Path, board: Board, build_dir: Path, cpu: str | None = None, *, portable: bool = False) -> Firmware:
    """Firmware that runs the bundle in the folder `bundle` on samples; built in a folder of `build_dir`, where a second build is quick.

    `cpu`, if not the board's own: "cortex-m0" or "cortex-m0plus", whose code every larger core runs, to count it with more memory.
    `portable`: without native loops (LUTRA_PORTABLE), for the least code. Raises BundleError for a damaged bundle; ConfigurationError if
    the board cannot run the code of `cpu`; ToolError if a tool is missing or fails, or the firmware does not fit the board.
    """
    return build_firmwares([bundle], board, build_dir, cpu, portable=portable)[0]


def build_firmwares(
    bundles: Sequence[Path], board: Board, build_dir: Path, cpu: str | None = None, *, portable: bool = False
) -> tuple[Firmware, ...]:
    """One firmware for each of `bundles`, whose prefixes differ, as `build_firmware`; they share the runtime's objects."""
    require_tools(*BUILD_TOOLS)
    if cpu not in (None, board.cpu, *ARMV6M):
        raise ConfigurationError(f"{board.name} is a {board.cpu}; it runs its own code and that of {' or '.join(ARMV6M)}, not of {cpu}")
    manifests = [read_manifest(bundle) for bundle in bundles]
    if len({manifest.prefix for manifest in manifests}) < len(manifests):
        raise BundleError(f"two bundles have one prefix: {', '.join(manifest.prefix for manifest in manifests)}; generate one anew")
    folder = build_dir.resolve() / "-".join([board.name, *([cpu] if cpu else []), *(["portable"] if portable else [])])
    root = source_root()
    _cmake(
        board,
        "-S", str(root), "-B", str(folder), "-G", "Ninja", f"-DCMAKE_TOOLCHAIN_FILE={root}/boards/toolchains/arm-none-eabi.cmake",
        f"-DLUTRA_BOARD={board.name}", f"-DTARGET_CPU={cpu or board.cpu}", f"-DLUTRA_PORTABLE={'ON' if portable else 'OFF'}",
        f"-DLUTRA_BUNDLE={';'.join(str(bundle.resolve()) for bundle in bundles)}",
    )  # fmt: skip
    _cmake(board, "--build", str(folder))
    return tuple(_firmware(board, cpu or board.cpu, manifest, folder / "boards") for manifest in manifests)


def _cmake(board: Board, *arguments: str) -> None:
    done = subprocess.run(["cmake", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return
    if excess := re.findall(r"region `(\w+)' overflowed by (\d+) bytes", done.stdout):
        names = sorted(set(re.findall(r"([a-z0-9_]+)\.elf section .* will not fit in region", done.stdout)))
        raise ToolError(
            f"{', '.join(names)} does not fit {board.name} ({board.flash_bytes} bytes of flash, {board.ram_bytes} of RAM): "
            f"{' and '.join(f'{count} bytes of {region}' for region, count in excess)} too much; compress further or choose a larger board"
        )
    raise ToolError(
        f"the firmware for {board.name} cannot be built; if a tool or library is missing, apt-get install gcc-arm-none-eabi "
        f"libnewlib-arm-none-eabi; if the build folder is from elsewhere, remove it:\n{done.stdout[-3000:]}"
    )


def _firmware(board: Board, cpu: str, manifest: Manifest, folder: Path) -> Firmware:
    elf = folder / f"{manifest.prefix}.elf"
    with elf.open("rb") as file:
        image = ELFFile(file)
        section = {section.name: section for section in image.iter_sections()}
        size = {name: int(s["sh_size"]) for name, s in section.items()}
        model, arena, crc32, source = 0, 0, range(0), ""
        for symbol in section[".symtab"].iter_symbols():
            kind, length = symbol["st_info"]["type"], symbol["st_size"]
            if kind == "STT_FILE":
                source = symbol.name
            elif kind == "STT_OBJECT" and source == f"{manifest.prefix}.c":
                model += length
            elif kind == "STT_OBJECT" and source in ("validate.c", "network.c") and symbol.name == "arena":
                arena = length
            elif symbol.name == "lutra_crc32":
                start = symbol["st_value"] & ~1  # bit 0 says Thumb
                crc32 = range(start, start + length)
        markers = None
        if board.link == "semihosting":
            markers = _markers(section[".debug_lutra_markers"].data(), len(manifest.layer_shapes), crc32)
    board_code = size[".vectors"] + size[".board"]
    return Firmware(
        board=board,
        cpu=cpu,
        manifest=manifest,
        elf=elf,
        plugin=folder / "count.so",
        flash=FlashUse(model, size[".text"] + size[".data"] - model, board_code),
        ram=RamUse(arena, size[".data"] + size[".bss"] - arena, size[".stack"]),
        markers=markers,
    )


def _markers(section: bytes, layers: int, crc32: range) -> Markers:
    pairs = np.frombuffer(section, "<i4").reshape(-1, 2)
    place = {int(number): int(address) & 0xFFFFFFFF for address, number in pairs if address}  # 0: in a function that was dropped
    return Markers(place[_BEGIN], place[_END], tuple(place[i] for i in range(layers)), crc32)
