"""A firmware on a serial port (boards/PROTOCOL.md): inputs go out, outputs and cycles come back, whatever the line does to the bytes."""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lutra.boards.samples import Int8Array, packed, unpacked
from lutra.host import BundleError, ToolError
from lutra.host.manifest import Manifest

BAUD = 115_200
_VERSION = 1
_HELLO, _WRITE, _RUN, _READ, _LAYERS, _CHECK = range(1, 7)
_DONE, _OTHER_INPUT = 0, 4
_WRITE_BYTES, _READ_BYTES, _LAYERS_AT_ONCE = 236, 240, 60  # what a message can carry
_HELLO_FORMAT = struct.Struct("<BIIIII64s")
_ATTEMPTS = 10
_LONGEST_WAIT_S = 300.0


class Line(Protocol):
    """A serial port: what pyserial's is. `read` gives what came until `timeout`, at most `size` bytes."""

    timeout: float | None

    def read(self, size: int = 1, /) -> bytes: ...  # noqa: D102
    def write(self, data: bytes, /) -> int | None: ...  # noqa: D102


@dataclass(frozen=True)
class SerialRun:
    """Results of a firmware on a serial port.

    `outputs`: int8 [n, *shape] for each output. Cycles are those that the processor counted in each run, in all [n] and by layer
    [n, layers]; `hz` is how many it has in a second. `stack_bytes`: the deepest use of the stack.
    """

    outputs: tuple[Int8Array, ...]
    cycles: npt.NDArray[np.int64]
    layer_cycles: npt.NDArray[np.int64]
    hz: int
    stack_bytes: int


@contextlib.contextmanager
def open_port(name: str) -> Iterator[Line]:
    """The serial port called `name`, such as /dev/ttyACM0 or COM3. Raises ToolError."""
    try:
        import serial
        from serial.tools import list_ports
    except ImportError as error:
        raise ToolError("serial ports need pyserial, which is not installed; run: pip install 'lutra-mcu[serial]'") from error
    try:
        port = serial.Serial(name, BAUD, timeout=1.0)
    except (OSError, ValueError) as error:  # SerialException is an OSError
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        ports = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        raise ToolError(f"the serial port {name} cannot be opened: {reason}; ports of this machine: {ports}") from error
    with port:
        yield port


def run_on_line(line: Line, manifest: Manifest, inputs: Sequence[Int8Array], *, timeout_s: float = 1.0) -> SerialRun:
    """Runs all samples, `inputs`: int8 [n, *shape] for each input (NHWC), n >= 1, by the firmware at the other end of `line`.

    `timeout_s` is waited for an answer at first, longer at each new attempt. What is returned is what the board computed of these inputs:
    both are checked against CRC-32s of the whole. Raises ToolError if nothing answers, or answers are nonsense; BundleError if the
    firmware holds another bundle, damaged tables, or its run fails; DataError for other inputs.
    """
    samples = packed(manifest, inputs)
    device = _Device(line, timeout_s)
    hello = device.ask(_HELLO, b"")
    if len(hello) < _HELLO_FORMAT.size:
        raise ToolError(f"the firmware's greeting has {len(hello)} bytes, {_HELLO_FORMAT.size} or more were expected: flash it anew")
    version, hz, _, output_bytes, layers, _, tables = _HELLO_FORMAT.unpack_from(hello)
    if version != _VERSION:
        raise ToolError(f"the firmware speaks version {version} of the protocol, this is version {_VERSION}: build it with this Lutra")
    if tables.decode("ascii", "replace") != manifest.content["files"][f"{manifest.prefix}_data.h"]:
        name = hello[_HELLO_FORMAT.size :].decode("ascii", "replace")
        raise BundleError(f"the board holds another bundle ('{name}', tables {tables[:8].decode('ascii', 'replace')}...): flash this one")
    if device.status(_CHECK, b""):
        raise BundleError("the tables in the board's flash are damaged: flash it again")
    results = [device.run(sample.tobytes(), output_bytes, layers) for sample in samples]
    return SerialRun(
        outputs=unpacked(manifest, np.frombuffer(b"".join(r.output for r in results), np.int8).reshape(len(results), -1)),
        cycles=np.array([r.cycles for r in results]),
        layer_cycles=np.array([r.layer_cycles for r in results]),
        hz=hz,
        stack_bytes=max(r.stack_bytes for r in results),
    )


@dataclass(frozen=True)
class _Result:
    output: bytes
    cycles: int
    layer_cycles: tuple[int, ...]
    stack_bytes: int


class _Device:
    """The other end of a line: every request is repeated until its answer comes whole; all of them may be repeated."""

    def __init__(self, line: Line, timeout_s: float) -> None:
        self._line, self._timeout_s, self._sequence = line, timeout_s, 0
        self._received = bytearray()

    def ask(self, kind: int, payload: bytes) -> bytes:
        """The answer's payload. Raises ToolError if there is none, or it says that the request was wrong."""
        status, answer = self._exchange(kind, payload)
        if status != _DONE:
            raise ToolError(f"the firmware refused request {kind} with status {status}: flash it anew with this version of Lutra")
        return answer

    def status(self, kind: int, payload: bytes) -> int:
        """The answer's status."""
        return self._exchange(kind, payload)[0]

    def run(self, sample: bytes, output_bytes: int, layers: int) -> _Result:
        """Runs one sample. Begins anew if the board does not have the whole of it, or its output has become another one."""
        for _ in range(_ATTEMPTS):
            for offset in range(0, len(sample), _WRITE_BYTES):
                self.ask(_WRITE, struct.pack("<I", offset) + sample[offset : offset + _WRITE_BYTES])
            status, answer = self._exchange(_RUN, struct.pack("<I", zlib.crc32(sample)))
            if status == _OTHER_INPUT:
                continue
            if status != _DONE:
                raise BundleError(f"the network on the board stopped with {np.uint8(status).view(np.int8)}: generate the bundle again")
            cycles, crc, stack_bytes = struct.unpack("<III", answer)
            output = b"".join(
                self.ask(_READ, struct.pack("<II", offset, min(_READ_BYTES, output_bytes - offset)))
                for offset in range(0, output_bytes, _READ_BYTES)
            )
            by_layer = b"".join(
                self.ask(_LAYERS, struct.pack("<II", first, min(_LAYERS_AT_ONCE, layers - first)))
                for first in range(0, layers, _LAYERS_AT_ONCE)
            )
            if zlib.crc32(output) == crc:
                return _Result(output, cycles, tuple(struct.unpack(f"<{layers}I", by_layer)), stack_bytes)
        raise ToolError(f"the board did not keep a sample in {_ATTEMPTS} attempts: does it restart? Look at its supply and its reset line")

    def _exchange(self, kind: int, payload: bytes) -> tuple[int, bytes]:
        self._sequence = (self._sequence + 1) % 256
        header = bytes([kind, self._sequence])
        wait = self._timeout_s
        for _ in range(_ATTEMPTS):
            self._line.write(stuffed(header + payload))
            for message in self._messages(wait):
                if message[:2] == header and len(message) > 2:
                    return message[2], message[3:]
            wait = min(2 * wait, _LONGEST_WAIT_S)
        raise ToolError(
            f"no answer from the board in {_ATTEMPTS} attempts: is its firmware that of `lutra firmware`, the port the right one, "
            "and no other program using it? Reset the board and try again"
        )

    def _messages(self, wait: float) -> Iterator[bytes]:
        """Whole messages as they come, until nothing comes for `wait` seconds."""
        while True:
            while (end := self._received.find(0)) >= 0:
                line = bytes(self._received[:end])
                del self._received[: end + 1]
                if message := unstuffed(line):
                    yield message
            self._line.timeout = wait
            came = self._line.read(1)
            if not came:
                return
            self._line.timeout = 0
            self._received += came + self._line.read(4096)


def stuffed(message: bytes) -> bytes:
    """A message as it goes over the line: with its CRC-32, no zero in it, a zero on both sides (COBS, Cheshire 1999)."""
    checked = message + struct.pack("<I", zlib.crc32(message))
    return b"\0" + b"".join(bytes([len(run) + 1]) + run for run in checked.split(b"\0")) + b"\0"


def unstuffed(line: bytes) -> bytes | None:
    """The message in what came between two zeros; None if it is not whole."""
    checked, place = bytearray(), 0
    while place < len(line):
        following = place + line[place]
        if following > len(line):
            return None
        checked += line[place + 1 : following] + (b"\0" if following < len(line) else b"")
        place = following
    message, crc = bytes(checked[:-4]), bytes(checked[-4:])
    return message if len(checked) > 4 and struct.pack("<I", zlib.crc32(message)) == crc else None
