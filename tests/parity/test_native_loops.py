"""Native inner loops compute what their portable references compute, on every CPU: the tests of tests/runtime in QEMU."""

import itertools
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from lutra.boards import board_by_name

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = sorted((ROOT / "runtime_c/src/reference").glob("*.c"))
LOOPS = ROOT / "tests/runtime/loops"
TARGETS = [
    ("microbit", "cortex-m0", "MinSizeRel"),  # faults where an access is unaligned; only the loops' test fits it
    ("mps2-an385", "cortex-m0plus", "MinSizeRel"),
    ("mps2-an385", "cortex-m3", "MinSizeRel"),
    ("mps2-an386", "cortex-m4", "MinSizeRel"),
    ("mps2-an386", "cortex-m4", "Release"),
    ("mps2-an500", "cortex-m7", "MinSizeRel"),
    ("mps2-an505", "cortex-m33", "MinSizeRel"),
    ("mps3-an547", "cortex-m55", "MinSizeRel"),
    ("mps3-an547", "cortex-m55", "Release"),
    ("mps3-an547", "cortex-m55", "Debug"),
]
KERNEL_CPUS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55")  # one for each set of loops

Target = tuple[str, str, str]
Build = Callable[[Target, str], Path]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds firmware for a target: a test of tests/runtime."""

    @cache
    def configured(board: str, cpu: str, build_type: str) -> Path:
        folder = tmp_path_factory.mktemp(cpu)
        options = (f"-DTARGET_CPU={cpu}", f"-DCMAKE_BUILD_TYPE={build_type}", "-DLUTRA_BUILD_TESTS=ON")
        run("cmake", "--preset", board, "-B", folder, *options)
        return folder

    def built(target: Target, name: str) -> Path:
        folder = configured(*target)
        run("cmake", "--build", folder, "--target", name)
        return next((folder / "tests/runtime").rglob(f"{name}.elf"))

    return built


def emulate(board: str, elf: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [
            "qemu-system-arm", "-M", board_by_name(board).machine, "-display", "none", "-monitor", "none", "-serial", "none",
            "-semihosting-config", "enable=on,target=native", "-kernel", elf,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()


def on(*targets: Target) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "target",
        [pytest.param(target, id="-".join(target[1:]), marks=pytest.mark.xdist_group(f"loops-{target[1:]}")) for target in targets],
    )


@pytest.mark.board
@on(*TARGETS)
def test_native_loops_compute_what_the_references_compute(target: Target, build: Build) -> None:
    status, lines = emulate(target[0], build(target, "loops"))
    wrong = [f"{case}\n{line}" for case, line in itertools.pairwise(lines) if "FAIL" in line]
    assert status == 0, "\n".join([f"{len(wrong)} cases fail", *wrong[:20], "the last lines:", *lines[-3:]])
    assert lines[-1] == "passed"


@pytest.mark.board
@on(*(target for target in TARGETS if target[1] in KERNEL_CPUS and target[2] == "MinSizeRel"))
@pytest.mark.parametrize("kernels", ["conv2d", "linear", "operators"])
def test_kernels_follow_the_specification_on_boards(target: Target, kernels: str, build: Build) -> None:
    status, lines = emulate(target[0], build(target, f"test_{kernels}"))
    assert status == 0, "\n".join(lines[-3:])


# The test is not blind: a fault of any loop makes it fail.

MUTANTS = [
    ("tables.c", "lutra_dot(codeword, x, d)", "lutra_dot(codeword, x, d - (d > 15u))"),
    ("tables.c", "codeword += d", "codeword += d - (k > 253u)"),
    ("tables.c", "tables[low] + tables[16u + high]", "(tables[low] >> 1) + tables[16u + high]"),
    ("decode.c", "(at & 7u)", "(at & 3u)"),
    ("decode.c", "i < codes->length", "i + (codes->d > 15u) < codes->length"),
    ("decode.c", "& (codes->codewords - 1u)", "& (codes->codewords - 1u) & 0x7Fu"),
    ("lookups.c", "indices[7] & mask", "indices[7] & mask & 0x7Fu"),
    ("lookups.c", "i < count; i++", "i < (count > 6u ? 6u : count); i++"),
    ("lookups.c", "count & 1u : 0u", "0u : 0u"),
    ("lookups.c", "index & mask", "index"),
    ("lookups.c", "pairs[768u + indices[3]]", "pairs[768u + (indices[3] & 0xFEu)]"),
    ("pixel_tables.c", "sum + 0x8000u", "sum + 0x7FFFu"),
    ("pixel_tables.c", "j < d", "j < d - (d > 15u)"),
    ("pixel_tables.c", "(int32_t)both >> 16", "both >> 16"),
    ("pixel_tables.c", "b[n] += high", "b[n] = high"),
    ("pixel_tables.c", "- (count << 15)", "- (count << 15) + (count > 63u)"),
    ("patches.c", "p < pixels", "p < (pixels & ~1u)"),
    ("patches.c", "i < run", "i < (run & ~1u)"),
    ("patches.c", "*to_b++ = b[i]", "*to_b++ = a[i]"),
    ("patches.c", "b += step", "b += run"),
    ("patches.c", "2u * pair * rows", "2u * (pair & 0u) * rows"),
    ("dot_rows.c", "lutra_dot(weights, x, length)", "lutra_dot(weights, x, length & ~1u)"),
    ("depthwise.c", "row += windows->row", "row += windows->width * channels"),
    ("depthwise.c", "*x++ * *weights++", "*x++ * *weights++ * (c < 16u)"),
    ("depthwise.c", "input += windows->input_step", "input += channels"),
    ("depthwise.c", "output += windows->output_step", "output += channels"),
    ("depthwise.c", "windows->begin[c]", "windows->begin[c / 2u]"),
    ("requantize.c", "& 0x0FFFu", "& 0x07FFu"),
    ("requantize.c", "accumulator >> how->acc_shift", "accumulator >> (how->acc_shift & 15u)"),
    ("requantize.c", "how->output_min", "-128"),
    ("requantize.c", "output += step", "output += count"),
    ("requantize.c", "channel.bias << how->bias_shift", "channel.bias * how->bias_shift"),
    ("lookups8.c", "(index & (codewords - 1u))", "index"),
    ("lookups8.c", "(i >> 2) * codewords", "0u"),
    ("lookups8.c", "(i & 3u)) * lanes", "(i & 3u)) * (lanes & ~1u)"),
    ("lookups8.c", "offsets[i] = (uint16_t)(shift +", "offsets[i] = (uint16_t)("),
    ("lookups8.c", "offsets += step", "offsets += count"),
    ("lookups8.c", "i < 4u * fours", "i < 4u * (fours - (fours > 9u))"),
    ("lookups8.c", "x < LUTRA_PIXELS8 * vectors", "x < LUTRA_PIXELS8"),
    ("lookups8.c", "count * sizeof *sums", "(count & ~1u) * sizeof *sums"),
    ("lookups8.c", "sums += pitch", "sums += LUTRA_PIXELS8"),
    ("tables8.c", "p < pixels->count ?", "p <= pixels->count && pixels->count > 0u ?"),
    ("tables8.c", "j < d &&", "j < d - (d > 15u) &&"),
    ("tables8.c", "i * d + j < channels", "i * d + j < (channels + 1u & ~1u)"),
    ("tables8.c", ": pixels->zero_point", ": 0"),
    ("tables8.c", "tables += lanes", "tables += LUTRA_PIXELS8"),
    ("requantize8.c", "*sum++ = 0u", "sum++"),
    ("requantize8.c", "x < pool", "x < (pool > 3u ? 3u : pool)"),
    ("requantize8.c", "!max ||", "max ||"),
    ("requantize8.c", "share != NULL ? share[n]", "share != NULL ? share[0]"),
]


@pytest.fixture(scope="module")
def mutable_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loops' test for this host without the implementations that it takes for native; returns its folder."""
    folder = tmp_path_factory.mktemp("loops")
    header = "".join((ROOT / "runtime_c/src" / name).read_text() for name in ("loops.h", "loops8.h"))
    names = re.findall(r"^lutra_\w+_loop (lutra_\w+)_reference;$", header, re.MULTILINE)
    (folder / "native.h").write_text(
        "".join(f"#define {name} {name}_native\n" for name in names)
        + '#include "loops8.h"\n'
        + "".join(f"{name}_loop {name}_native;\n" for name in names)
    )
    sources = [*REFERENCES, *(path for path in LOOPS.glob("*.c") if path.name not in ("board.c", "guarded_call.c"))]
    run("cc", "-O1", *include(folder), "-c", *sources, LOOPS.parent / "random.c", LOOPS.parent / "buffers.c", cwd=folder)
    return folder


def include(folder: Path) -> tuple[str, ...]:
    paths = (folder, ROOT / "runtime_c/include", ROOT / "runtime_c/src", ROOT / "runtime_c/src/reference", LOOPS.parent)
    return ("-include", "native.h", *(f"-I{path}" for path in paths))


def outcome(mutable_test: Path, folder: Path, file: str, sound: str, faulty: str) -> int:
    """Exit status of the test of references, taken for native, with a change."""
    texts = {path.name: path.read_text() for path in REFERENCES}
    assert texts[file].count(sound) == 1, f"{file} has {texts[file].count(sound)} times {sound!r}"
    texts[file] = texts[file].replace(sound, faulty)
    (folder / "native.c").write_text(re.sub(r"(lutra_\w+)_reference", r"\1_native", "\n".join(texts.values())))
    run("cc", "-O1", *include(mutable_test), folder / "native.c", *mutable_test.glob("*.o"), "-o", folder / "loops")
    return subprocess.run([folder / "loops"], stdout=subprocess.DEVNULL, timeout=60, check=False).returncode


def test_sound_loops_pass(mutable_test: Path, tmp_path: Path) -> None:
    assert outcome(mutable_test, tmp_path, "dot_rows.c", "n++", "n += 1u") == 0


@pytest.mark.parametrize(("file", "sound", "faulty"), MUTANTS, ids=range(len(MUTANTS)))
def test_a_fault_of_a_loop_is_noticed(mutable_test: Path, tmp_path: Path, file: str, sound: str, faulty: str) -> None:
    assert outcome(mutable_test, tmp_path, file, sound, faulty) != 0, f"nothing notices {faulty!r} for {sound!r} in {file}"
