"""boards/common/serve.c and lutra.boards.serial_link: what comes back over a serial port is right, whatever the line does to the bytes."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lutra
from lutra import api
from lutra.boards import board_by_name, boards, build_firmware, emulated_port, open_port, run_on_line
from lutra.boards.serial_link import SerialRun, stuffed, unstuffed
from lutra.cli import main
from lutra.host import BundleError, DataError, ToolError
from lutra.host.manifest import Manifest, read_manifest
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.program.interpreter import interpret
from tiny_program import tiny_program

ROOT = Path(__file__).resolve().parents[2]
SERVE = [ROOT / f"boards/common/{name}.c" for name in ("serve", "link", "network", "mlperf_tiny")]
CORRUPTIONS = 1000
UART_BOARDS = [board.name for board in boards() if board.link == "uart"]

Bytes = bytes | bytearray


class Pipe:
    """The two pipes of a process as a serial port; `damage` is what the line does to what goes through it."""

    def __init__(self, process: "subprocess.Popen[bytes]", damage: Callable[[bytes], bytes] = bytes) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._out, self._in, self._damage = process.stdin, process.stdout.fileno(), damage
        self._came = b""
        self.timeout: float | None = 1.0

    def write(self, data: bytes, /) -> int:
        self._out.write(self._damage(data))
        self._out.flush()
        return len(data)

    def read(self, size: int = 1, /) -> bytes:
        if not self._came and select.select([self._in], [], [], self.timeout)[0]:
            self._came = self._damage(os.read(self._in, 4096))
        came, self._came = self._came[:size], self._came[size:]
        return came


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(emit(tiny_program(), "tiny", {}), folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return read_manifest(bundle)


@pytest.fixture(scope="module")
def board(bundle: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that serves the bundle, with all checks that the compiler can build in."""
    folder = tmp_path_factory.mktemp("board")
    ports = {kind: "".join(f"PORT({kind}_{i}) " for i in range(n)) for kind, n in (("INPUT", 1), ("OUTPUT", 1))}
    values = {"prefix": "tiny", "PREFIX": "TINY", "sha256": manifest.content["files"]["tiny_data.h"]}
    values |= {f"{kind}S": text for kind, text in ports.items()}
    text = (ROOT / "boards/common/bundle.h.in").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    (folder / "bundle.h").write_text(text)
    includes = [f"-I{path}" for path in (folder, bundle, ROOT / "boards/common", ROOT / "runtime_c/include")]
    sources = [*SERVE, Path(__file__).with_name("host_board.c"), bundle / "tiny.c"]
    runtime = sorted((ROOT / "runtime_c/src").glob("*.c")) + sorted((ROOT / "runtime_c/src/kernels").glob("*.c"))
    runtime += sorted((ROOT / "runtime_c/src/reference").glob("*.c"))
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror"]
    hook = ["-include", str(ROOT / "boards/common/timing.h")]
    command = ["cc", "-std=c99", "-O1", *checks, *hook, *includes, *map(str, sources + runtime), "-o", str(folder / "board")]
    subprocess.run(command, check=True)
    return folder / "board"


@contextlib.contextmanager
def running(board: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([board], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        assert process.stderr is not None
        complaints = process.stderr.read().decode()
        assert process.wait(20) == 0, complaints


def samples(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (count, 4, 4, 2), np.int8)


def assert_right(run: SerialRun, images: np.ndarray) -> None:
    np.testing.assert_array_equal(run.outputs[0], interpret(tiny_program(), [images]).outputs[0])


def test_outputs_and_cycles_come_back(board: Path, manifest: Manifest) -> None:
    images = samples(5, 1)
    with running(board) as process:
        run = run_on_line(Pipe(process), manifest, [images])
    assert_right(run, images)
    layers = len(manifest.layer_shapes)
    assert run.layer_cycles.tolist() == [[1] * layers] * 5  # the clock of host_board.c
    assert run.cycles.tolist() == [layers + 1] * 5
    assert (run.hz, run.stack_bytes) == (1_000_000, 123)


@given(st.binary(min_size=1, max_size=244))
def test_stuffing_leaves_no_zero_and_loses_nothing(message: bytes) -> None:
    line = stuffed(message)
    assert line[0] == line[-1] == 0
    assert 0 not in line[1:-1]
    assert unstuffed(line[1:-1]) == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_nothing(line: bytes) -> None:
    message = unstuffed(line.replace(b"\0", b"\1"))
    assert message is None or stuffed(message)[1:-1] == line.replace(b"\0", b"\1")


class Damage:
    """Drops, flips, inserts and repeats bytes at random, one in `every` on average, until `most` have been damaged."""

    def __init__(self, every: int, most: int, seed: int) -> None:
        self._rng, self._every, self._most, self.done = np.random.default_rng(seed), every, most, 0

    def __call__(self, data: bytes) -> bytes:
        result = bytearray()
        for byte in data:
            if self.done >= self._most or self._rng.integers(self._every):
                result.append(byte)
                continue
            self.done += 1
            match self._rng.integers(5):
                case 0:
                    pass
                case 1:
                    result.append(byte ^ 1 << int(self._rng.integers(8)))
                case 2:
                    result += bytes([int(self._rng.integers(256)), byte])
                case 3:
                    result += bytes([byte, byte])
                case 4:
                    result.append(0)
        return bytes(result)


def test_no_result_is_wrong_however_the_line_is_disturbed(board: Path, manifest: Manifest) -> None:
    damage = Damage(250, CORRUPTIONS, seed=2)
    right = refused = 0
    with running(board) as process:
        line = Pipe(process, damage)
        while damage.done < CORRUPTIONS:
            images = samples(2, right + refused)
            try:
                assert_right(run_on_line(line, manifest, [images], timeout_s=0.01), images)
                right += 1
            except ToolError:
                refused += 1
        images = samples(3, 99)
        assert_right(run_on_line(line, manifest, [images]), images)
    assert right > 10 * refused


def test_a_board_that_hears_noise_lives(board: Path, manifest: Manifest) -> None:
    rng = np.random.default_rng(3)
    with running(board) as process:
        for _ in range(200):
            Pipe(process).write(rng.integers(0, 256, int(rng.integers(1, 2000)), np.uint8).tobytes())
        images = samples(1, 4)
        assert_right(run_on_line(Pipe(process), manifest, [images]), images)


def request(process: "subprocess.Popen[bytes]", message: bytes) -> bytes:
    line = Pipe(process)
    line.write(stuffed(message))
    line.timeout = 0.3
    time.sleep(0.05)
    replies = [m for part in line.read(4096).split(b"\0") if (m := unstuffed(part))]
    return replies[0] if replies else b""


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"\x09\x01", 1), (b"\x02\x01\x00", 2), (b"\x02\x01\x1f\x00\x00\x00\x01\x02", 3), (b"\x02\x01\xff\xff\xff\xff\x01", 3),
        (b"\x03\x01\x00\x00\x00", 2), (b"\x03\x01\x00\x00\x00\x00", 4), (b"\x04\x01\x00\x00\x00\x00\xff\xff\xff\xff", 3),
        (b"\x04\x01\xff\xff\xff\xff\x01\x00\x00\x00", 3), (b"\x05\x01\x00\x00\x00\x00\x40\x00\x00\x00", 3), (b"\x06\x01", 0),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_met_are_refused(board: Path, message: bytes, status: int) -> None:
    with running(board) as process:
        assert request(process, message) == message[:2] + bytes([status])


def test_the_board_must_hold_the_bundle(board: Path, tmp_path: Path) -> None:
    write_bundle(emit(tiny_program(), "other", {}), tmp_path / "other")
    with running(board) as process, pytest.raises(BundleError, match=r"holds another bundle \('tiny', tables"):
        run_on_line(Pipe(process), read_manifest(tmp_path / "other"), [samples(1, 5)])


def test_silence_and_wrong_samples_are_explained(manifest: Manifest) -> None:
    with subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as silent:
        with pytest.raises(ToolError, match="no answer from the board in 10 attempts"):
            run_on_line(Pipe(silent), manifest, [samples(1, 5)], timeout_s=1e-4)
        with pytest.raises(DataError, match=r"must be int8 \[n, 4, 4, 2\]"):
            run_on_line(Pipe(silent), manifest, [np.zeros((1, 3), np.int8)])
        silent.kill()
    opening = "the serial port /dev/nosuch cannot be opened: No such file or directory; ports of this machine: "
    with pytest.raises(ToolError, match=opening), open_port("/dev/nosuch"):
        pass


def text(process: "subprocess.Popen[bytes]", commands: str, last: str = "m-ready\r\n") -> str:
    line = Pipe(process)
    line.write(commands.encode())
    heard = ""
    while not heard.endswith(last):
        came = line.read(4096).decode()
        assert came, f"nothing more after {heard!r}"
        heard += came
    return heard


def test_the_runner_of_mlperf_tiny_is_answered(board: Path, manifest: Manifest) -> None:
    image = samples(1, 6)
    expected = interpret(tiny_program(), [image]).outputs[0].ravel().astype(float)
    port = manifest.outputs[0]
    with running(board) as process:
        assert "m-init-done\r\nm-ready\r\n" in text(process, "")
        assert text(process, "name%") == "m-name-dut-[lutra]\r\nm-ready\r\n"
        assert "m-model-[tiny]" in text(process, "profile%")
        assert "e-[Load the input first: 32 bytes]" in text(process, "infer 1%")
        assert "m-[Expecting 32 bytes]" in text(process, "db load 32%")
        digits = image.tobytes().hex()
        assert "m-load-done" not in text(process, f"db {digits[:30]}%")
        assert "m-load-done" in text(process, f"db {digits[30:]}%")
        heard = text(process, "infer 2 1%")
        times = [int(line.removeprefix("m-lap-us-")) for line in heard.split("\r\n") if line.startswith("m-lap-us-")]
        assert times[1] > times[0]
        for part in ("m-warmup-start-1", "m-warmup-done", "m-infer-start-2", "m-infer-done"):
            assert part in heard
        results = heard.split("m-results-[")[1].split("]")[0]
        np.testing.assert_allclose([float(x) for x in results.split(",")], port.scale * (expected - port.zero_point), atol=6e-4)
        assert results in text(process, "results%")
        assert "e-[Unknown command: nonsense]" in text(process, "nonsense%")
        assert "e-[The input has 32 bytes]" in text(process, "db load 31%")
        text(process, "db load 32%")
        assert "e-[Digits" in text(process, "db 0g%")
        assert "e-[Inference iterations must be >0]" in text(process, "infer 0%")


def test_what_comes_first_decides_the_protocol(board: Path, manifest: Manifest) -> None:
    images = samples(1, 7)
    with running(board) as process:
        line = Pipe(process)
        assert_right(run_on_line(line, manifest, [images]), images)
        line.write(b"name%")
        line.timeout = 0.2
        assert line.read(100) == b""
        assert_right(run_on_line(line, manifest, [images]), images)
    with running(board) as process:
        text(process, "name%")
        with pytest.raises(ToolError, match="no answer"):
            run_on_line(Pipe(process), manifest, [images], timeout_s=0.001)


@pytest.mark.board
@pytest.mark.xdist_group("stm32f405")
@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed")
def test_an_stm32f405_answers_over_its_uart(bundle: Path, manifest: Manifest, tmp_path: Path) -> None:
    firmware = build_firmware(bundle, board_by_name("stm32f405"), tmp_path)
    images = samples(20, 8)
    with emulated_port(firmware) as name, open_port(name) as line:
        run = run_on_line(line, manifest, [images])
    assert_right(run, images)
    assert (run.cycles > run.layer_cycles.sum(1)).all()
    assert (run.layer_cycles > 0).all()
    assert 0 < run.stack_bytes < firmware.ram.stack


@pytest.mark.board
@pytest.mark.parametrize("name", UART_BOARDS)
def test_every_board_of_a_shop_has_firmware(name: str, bundle: Path, tmp_path: Path) -> None:
    firmware = build_firmware(bundle, board_by_name(name), tmp_path)
    assert firmware.flash.total < 16_384
    assert firmware.markers is None


def test_the_boot_stage_of_rp2040_has_its_checksum(bundle: Path, tmp_path: Path) -> None:
    firmware = build_firmware(bundle, board_by_name("pico"), tmp_path)
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", "-j", ".boot", firmware.elf, tmp_path / "boot"], check=True)
    boot = (tmp_path / "boot").read_bytes()
    crc = 0xFFFFFFFF
    for byte in boot[:252]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    assert len(boot) == 256
    assert boot[252:] == crc.to_bytes(4, "little"), hex(crc)


def test_a_bundle_is_validated_over_a_serial_port(bundle: Path, manifest: Manifest, tmp_path: Path) -> None:
    images = samples(4, 9)
    port = manifest.inputs[0]
    data = lutra.make_dataset(np.moveaxis(port.scale * (images.astype(np.float32) - port.zero_point), 3, 1))
    api.firmware(bundle, "stm32f405", tmp_path / "firmware.elf")
    firmware = build_firmware(bundle, board_by_name("stm32f405"), tmp_path)
    with emulated_port(replace(firmware, elf=tmp_path / "firmware.elf")) as name:
        found = lutra.validate(bundle, data, port=name)
    assert found.comparison is not None
    assert found.comparison.targets == ("host", name)
    assert found.bit_exact
    assert found.timing is not None
    assert found.timing.seconds * found.timing.hz == pytest.approx(found.timing.cycles)
    emulated = lutra.validate(bundle, data, board="stm32f405")
    assert emulated.bit_exact
    assert emulated.timing is None  # QEMU's clock says nothing


def test_what_a_board_cannot_do_is_said(bundle: Path, tmp_path: Path) -> None:
    data = lutra.make_dataset(np.zeros((1, 2, 4, 4), np.float32))
    with pytest.raises(lutra.LutraError, match="QEMU does not know pico: flash what"):
        lutra.validate(bundle, data, board="pico")
    with pytest.raises(lutra.LutraError, match="stm32f405 is not counted in QEMU; choose one of microbit"):
        lutra.bench(bundle, board="stm32f405")
    with pytest.raises(lutra.LutraError, match="give the folder that its firmware was built of"):
        lutra.validate("zoo:lenet5", data, port="/dev/nosuch")
    with pytest.raises(lutra.LutraError, match="cannot be written"):
        api.firmware(bundle, "pico", tmp_path / "no" / "firmware.elf")


def test_boards_say_what_fits_them(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lutra", "boards", "zoo:lenet5", "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    records = {record["name"]: record for record in json.loads(capsys.readouterr().out)["boards"]}
    assert set(records) == {board.name for board in boards()}
    assert all(record["fits"] == (record["needs_ram"] <= record["ram"]) for record in records.values())
    assert records["nucleo-g071rb"]["needs_flash"] < records["nucleo-g071rb"]["flash"] == 131_072
