"""Runs firmware on samples in QEMU and counts what its instructions do."""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lutra.boards.board import Board, board_by_name, counting_boards
from lutra.boards.cycles import Instruction, disassemble, estimate_cycles
from lutra.boards.firmware import BUILD_TOOLS, Firmware, Markers
from lutra.boards.samples import Int8Array, packed, unpacked
from lutra.boards.tools import require_tools
from lutra.host import BundleError, ToolError

_EMULATOR = "qemu-system-arm"
_PROFILE = np.dtype(
    [(name, np.int64) for name in (
        "layer", "address", "size", "executions", "taken", "flash_reads", "ram_reads", "stores", "unaligned",
    )]
)  # fmt: skip


@dataclass(frozen=True)
class BoardRun:
    """Results of a firmware.

    `outputs`: int8 [n, *shape] for each output; `self_test`: the status of NAME_check, 0 if every table is as generated;
    `stack_bytes`: the deepest use of the stack, including the loop over samples;
    `profile`: what each instruction did for the FIRST sample, a row an address and layer, with the fields layer, address, size (bytes),
    executions, taken (branches), flash_reads, ram_reads, stores and unaligned (accesses). Layers are numbered as in the manifest; the
    number after the last stands for what NAME_run does besides: the check of its descriptors.
    `cpu`: what the firmware was compiled for; `code`: the instructions that the profile counts, by address.
    """

    outputs: tuple[Int8Array, ...]
    self_test: int
    stack_bytes: int
    profile: npt.NDArray[Any]
    layers: int
    cpu: str
    code: Mapping[int, Instruction]

    @property
    def layer_instructions(self) -> tuple[int, ...]:
        """Instructions executed in each layer, for the first sample."""
        counts = np.zeros(self.layers + 1, np.int64)
        np.add.at(counts, self.profile["layer"], self.profile["executions"])
        return tuple(map(int, counts[: self.layers]))

    @property
    def instructions(self) -> int:
        """Instructions executed by NAME_run, for the first sample."""
        return int(self.profile["executions"].sum())

    def layer_cycles(self, cpu: str | None = None) -> tuple[float, ...]:
        """Estimated cycles of each layer (see cycles.py), for the first sample, of `cpu`: the firmware's, or another that runs its code."""
        return tuple(self._cycles(cpu, self.profile[self.profile["layer"] == layer]) for layer in range(self.layers))

    def cycles(self, cpu: str | None = None) -> float:
        """Estimated cycles of NAME_run, for the first sample."""
        return sum(self.layer_cycles(cpu)) + self._cycles(cpu, self.profile[self.profile["layer"] == self.layers])

    def _cycles(self, cpu: str | None, profile: npt.NDArray[Any]) -> float:
        return estimate_cycles(cpu or self.cpu, self.code, profile)

    @property
    def unaligned(self) -> int:
        """Unaligned accesses of NAME_run, for the first sample."""
        return int(self.profile["unaligned"].sum())


def require_board(name: str) -> Board:
    """The board called `name`. Raises ConfigurationError if there is none, ToolError if its firmware cannot be built or run here."""
    board = board_by_name(name)
    if board.machine is None:
        raise ToolError(f"QEMU does not know {name}: flash what `lutra firmware --board {name}` builds, then validate with --port")
    require_tools(*BUILD_TOOLS, _EMULATOR)
    return board


def require_counting_board(name: str) -> Board:
    """As `require_board`, of a board whose instructions QEMU counts."""
    board = require_board(name)
    if board.link != "semihosting":
        raise ToolError(f"{name} is not counted in QEMU; choose one of {', '.join(board.name for board in counting_boards())}")
    return board


def run_firmware(firmware: Firmware, inputs: Sequence[Int8Array], timeout_s: float = 600) -> BoardRun:
    """Runs all samples, `inputs`: int8 [n, *shape] for each input (NHWC), n >= 1, in one start of the board.

    Raises DataError for other shapes or types; ToolError if QEMU is missing, does not end in `timeout_s`, or the firmware faults;
    BundleError if NAME_run returns an error.
    """
    require_tools(_EMULATOR)
    if firmware.markers is None:
        raise ToolError(f"{firmware.board.name} takes samples on its serial port: nothing counts its instructions here")
    samples = packed(firmware.manifest, inputs)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        samples.tofile(folder / "input.bin")
        _emulate(firmware, firmware.markers, folder, timeout_s)
        self_test, status, stack_bytes = (int(word) for word in np.fromfile(folder / "report.bin", "<i4"))
        name = f"{firmware.manifest.prefix} on {firmware.board.name}"
        if stack_bytes == firmware.ram.stack:
            raise ToolError(f"{name} filled its stack of {stack_bytes} bytes: raise STACK_BYTES in sections.ld")
        if status:
            raise BundleError(f"{name}: NAME_run returned {status}, NAME_check {self_test}: generate the bundle again")
        profile = _profile(firmware.markers, folder / "profile.txt")
        addresses = profile["address"]
        return BoardRun(
            outputs=unpacked(firmware.manifest, np.fromfile(folder / "output.bin", np.int8).reshape(len(samples), -1)),
            self_test=self_test,
            stack_bytes=stack_bytes,
            profile=profile,
            layers=len(firmware.markers.layers),
            cpu=firmware.cpu,
            code=disassemble(firmware.elf, firmware.cpu, int(addresses.min()), int(addresses.max()) + 4),
        )


@contextlib.contextmanager
def emulated_port(firmware: Firmware) -> Iterator[str]:
    """The firmware of a board with a serial port, running in QEMU; gives the name of a pseudo-terminal, its other end."""
    require_tools(_EMULATOR)
    command = [*_start(firmware), "-serial", "pty"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"redirected to (\S+)", said)
            if found is None:
                raise ToolError(f"QEMU gave {firmware.board.name} no serial port: {said}")
            yield found[1]
        finally:
            process.kill()


def _start(firmware: Firmware) -> list[str]:
    machine = require_board(firmware.board.name).machine
    assert machine is not None
    return [_EMULATOR, "-M", machine, "-display", "none", "-monitor", "none", "-kernel", str(firmware.elf)]


def _emulate(firmware: Firmware, markers: Markers, folder: Path, timeout_s: float) -> None:
    board = firmware.board
    plugin = [
        str(firmware.plugin).replace(",", ",,"), "out=profile.txt", f"flash={board.flash_origin:x}:{board.flash_bytes:x}",
        f"begin={markers.begin:x}", f"end={markers.end:x}", *(f"layer={i:x}:{address:x}" for i, address in enumerate(markers.layers)),
    ]  # fmt: skip
    command = [
        *_start(firmware), "-serial", "none", "-semihosting-config", "enable=on,target=native", "-plugin", ",".join(plugin),
    ]  # fmt: skip
    name = f"{firmware.elf.name} on {board.name}"
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{name} did not end within {timeout_s:g} s: give it fewer samples or more time") from error
    if done.returncode:
        raise ToolError(f"{name} stopped with exit code {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")


def _profile(markers: Markers, path: Path) -> npt.NDArray[Any]:
    profile = np.sort(np.loadtxt(path, _PROFILE, ndmin=1), order=["layer", "address"])
    checking = (profile["address"] >= markers.crc32.start) & (profile["address"] < markers.crc32.stop)
    profile["layer"][checking] = len(markers.layers)
    return profile
