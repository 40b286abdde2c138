"""Builds the C runtime and its C tests in every way that matters, and compares the header with the compiler's view of it."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from lutra_compiler.program.kernels import KERNELS, Descriptor, Kernel
from lutra_compiler.program.program import ABI_VERSION, ARENA_ALIGN

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime_c"
SOURCES = sorted(RUNTIME.glob("src/**/*.c"))
HEADERS = sorted({kernel.descriptor.header for kernel in KERNELS.values()})
INCLUDES = "".join(f'#include "{header}"\n' for header in HEADERS)
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wvla", "-Wdouble-promotion", "-pedantic", "-Werror")
DESCRIPTORS = {kernel.descriptor.c_type: kernel.descriptor for kernel in KERNELS.values()}
HELPERS = re.compile(r"memcpy|memset|__aeabi_u?idiv(mod)?|__aeabi_lmul|__gnu_thumb1_case_\w+")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def compiler(name: str) -> str:
    return name if shutil.which(name) else pytest.skip(f"{name} is not installed")


def load_sizes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sizes", ROOT / "benchmarks/sizes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SIZES = load_sizes()


@pytest.mark.parametrize(("preset", "cc"), [("host-asan", "gcc"), ("host-asan", "clang"), ("host", "gcc")])
def test_c_tests_pass(preset: str, cc: str, tmp_path: Path) -> None:
    run("cmake", "--preset", preset, "-B", tmp_path, f"-DCMAKE_C_COMPILER={compiler(cc)}")
    run("cmake", "--build", tmp_path)
    run("ctest", "--output-on-failure", "--no-tests=error", cwd=tmp_path)


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O3"])
def test_sources_are_c99_without_warnings(cc: str, level: str, tmp_path: Path) -> None:
    run(compiler(cc), "-std=c99", level, *WARNINGS, f"-I{RUNTIME}/include", "-c", *SOURCES, cwd=tmp_path)


def test_header_is_cpp17_as_well(tmp_path: Path) -> None:
    (tmp_path / "all.cpp").write_text(INCLUDES)
    run(compiler("g++"), "-std=c++17", *WARNINGS, f"-I{RUNTIME}/include", "-fsyntax-only", tmp_path / "all.cpp")


def test_runtime_builds_on_its_own(tmp_path: Path) -> None:
    run("cmake", "-S", RUNTIME, "-B", tmp_path)
    run("cmake", "--build", tmp_path)
    assert (tmp_path / "liblutra_runtime.a").is_file()


def test_wheel_carries_the_sources_and_compiles_nothing(tmp_path: Path) -> None:
    run("cmake", "-S", ROOT, "-B", tmp_path / "build", "-DLUTRA_WHEEL=ON", "-DCMAKE_C_COMPILER=/nonexistent")
    run("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "lutra")
    installed = tmp_path / "lutra/runtime_c"
    expected = {p.relative_to(RUNTIME) for p in RUNTIME.rglob("*") if p.is_file() and p.name != "SIZES.md"}
    assert {p.relative_to(installed) for p in installed.rglob("*") if p.is_file()} == expected


# The Cortex-M builds


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The runtime for every CPU, built by its preset; its warnings are errors."""
    compiler("arm-none-eabi-gcc")
    return {cpu: SIZES.build(cpu, tmp_path_factory.mktemp(cpu)) for cpu in SIZES.CPUS}


@pytest.fixture(scope="module")
def portable_archives(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The same without native loops."""
    compiler("arm-none-eabi-gcc")
    return {cpu: SIZES.build(cpu, tmp_path_factory.mktemp(f"{cpu}-portable"), SIZES.PORTABLE) for cpu in SIZES.CPUS}


@pytest.mark.board
@pytest.mark.parametrize("cpu", SIZES.CPUS)
def test_runtime_builds_without_optimisation(cpu: str, tmp_path: Path) -> None:
    compiler("arm-none-eabi-gcc")
    SIZES.build(cpu, tmp_path, "-DCMAKE_BUILD_TYPE=Debug")  # warnings are errors


@pytest.mark.board
@pytest.mark.xdist_group("runtime_arm")
def test_runtime_needs_only_memcpy_memset_and_what_libgcc_computes(archives: Mapping[str, Path]) -> None:
    for cpu, archive in archives.items():
        symbols = re.findall(r"^ *([0-9a-f]*) ([A-Za-z]) (\S+)$", run("arm-none-eabi-nm", archive), re.MULTILINE)
        defined = {name for _, kind, name in symbols if kind != "U"}
        needed = {name for _, kind, name in symbols if kind == "U"} - defined
        assert not [name for name in needed if not HELPERS.fullmatch(name)], cpu


@pytest.mark.board
@pytest.mark.xdist_group("runtime_arm")
def test_runtime_has_no_variables(archives: Mapping[str, Path]) -> None:
    for cpu, archive in archives.items():
        assert not re.findall(r" [BbCDdGgSs] \S+$", run("arm-none-eabi-nm", archive), re.MULTILINE), cpu


@pytest.mark.board
@pytest.mark.xdist_group("runtime_arm")
@pytest.mark.parametrize(("cpu", "kernels", "limit"), [
    ("cortex-m0", SIZES.ALL, 7022),
    ("cortex-m4", SIZES.ALL, 6776),
    ("cortex-m0", SIZES.SMALLEST, 800),
    ("cortex-m4", SIZES.SMALLEST, 744),
])  # fmt: skip
def test_portable_kernels_are_small(portable_archives: Mapping[str, Path], cpu: str, kernels: Sequence[str], limit: int) -> None:
    assert SIZES.flash_bytes(portable_archives[cpu], kernels) <= limit


@pytest.mark.board
@pytest.mark.xdist_group("runtime_arm")
@pytest.mark.parametrize(("cpu", "kernels", "limit"), [
    ("cortex-m0", SIZES.ALL, 8428),
    ("cortex-m4", SIZES.ALL, 11844),
    ("cortex-m0", SIZES.SMALLEST, 1480),
    ("cortex-m4", SIZES.SMALLEST, 1952),
])  # fmt: skip
def test_native_loops_do_not_grow(archives: Mapping[str, Path], cpu: str, kernels: Sequence[str], limit: int) -> None:
    assert SIZES.flash_bytes(archives[cpu], kernels) <= limit


@pytest.mark.board
@pytest.mark.xdist_group("runtime_arm")
def test_table_of_sizes_is_up_to_date(archives: Mapping[str, Path], portable_archives: Mapping[str, Path]) -> None:
    recorded = SIZES.TABLE.read_text()
    if f"{SIZES.COMPILER} {SIZES.compiler_version()} at" not in recorded:
        pytest.skip("the table was made by another version of the compiler")
    assert recorded == SIZES.table(archives, portable_archives)


# The header and the compiler's view of it


def test_compiler_and_runtime_have_one_abi() -> None:
    header = (RUNTIME / "include/lutra/lutra.h").read_text()
    assert f"#define LUTRA_ABI_VERSION {ABI_VERSION}\n" in header
    assert f"ABI number: **{ABI_VERSION}**" in (RUNTIME / "SPEC.md").read_text(encoding="utf-8")
    assert f"#define LUTRA_ARENA_ALIGN {ARENA_ALIGN}\n" in header


@pytest.mark.parametrize("descriptor", DESCRIPTORS.values(), ids=DESCRIPTORS)
def test_descriptors_have_the_members_of_the_header(descriptor: Descriptor) -> None:
    text = re.sub(r"/\*.*?\*/", "", "".join((RUNTIME / "include" / header).read_text() for header in HEADERS), flags=re.DOTALL)
    structs = re.findall(r"typedef struct {([^}]*)} (\w+);", text)
    body = next(body for body, name in structs if name == descriptor.c_type)
    members = [(kind, name.strip()) for kind, names in re.findall(r"(u?int\d+_t) ([^;]+);", body) for name in names.split(",")]
    expected = [
        (f"{'' if name in descriptor.signed else 'u'}int{16 if name in descriptor.halfwords else 8}_t", name) for name in descriptor.fields
    ]
    assert members == expected


def test_descriptors_have_no_padding(tmp_path: Path) -> None:
    checks = [f"typedef char {d.c_type}_size[sizeof({d.c_type}) == {d.size_bytes} ? 1 : -1];" for d in DESCRIPTORS.values()]
    source = tmp_path / "sizes.c"
    source.write_text(INCLUDES + "\n".join(checks) + "\n")
    run("cc", "-std=c99", "-Werror", f"-I{RUNTIME}/include", "-fsyntax-only", source)


def signature(kernel: Kernel) -> list[str]:
    """Parameters of a kernel's C function, by the rule of `Kernel`: descriptor, tables, inputs, output, scratch."""
    inputs = ([], ["input"], ["a", "b"])[kernel.inputs]
    return ["layer", *kernel.tables, *inputs, "output", *(["scratch"] if kernel.scratch else [])]


def test_kernels_are_those_of_the_header() -> None:
    text = re.sub(r"/\*.*?\*/", "", "".join((RUNTIME / "include" / header).read_text() for header in HEADERS), flags=re.DOTALL)
    functions = {
        name: (parameters.split()[1], re.findall(r"(\w+)(?:,|$)", " ".join(parameters.split())))
        for name, parameters in re.findall(r"^void (\w+)\(([^)]*)\);", text, re.MULTILINE)
    }
    assert functions == {name: (kernel.descriptor.c_type, signature(kernel)) for name, kernel in KERNELS.items()}


@pytest.mark.parametrize("kernel", [k for k in KERNELS.values() if k.scratch], ids=lambda kernel: kernel.name)
def test_scratch_sizes_agree(kernel: Kernel, tmp_path: Path) -> None:
    assert kernel.scratch is not None
    layers = [
        {
            "kernel_h": size, "kernel_w": size, "stride_h": stride, "stride_w": stride, "pad_left": flags,
            "pool_h": 1, "pool_w": 1, "in_h": 9, "in_w": 5 * stride, "out_h": out_h, "out_w": 5,
            "in_c": 3 * channels, "out_c": 6 + channels, "groups": groups,
            "log2_codewords": log2_codewords, "subvector": 2, "index_bits": bits,
            "block": block, "padded": flags & 1, "keep_offsets": flags >> 1,
        }
        for size in (1, 3, 5, 12)
        for stride in (1, 2, 3)
        for out_h in (1, 2, 9)
        for channels, groups in ((1, 1), (3, 3), (4, 2))
        for log2_codewords, bits in ((1, 4), (4, 4), (4, 8), (8, 8))
        for block, flags in enumerate(range(4), start=1)
    ]  # fmt: skip
    arguments = [", ".join(f"{value}u" for value in kernel.scratch.values(fields)) for fields in layers]
    source = tmp_path / "scratch.c"
    source.write_text(
        f"#include <stdio.h>\n{INCLUDES}int main(void) {{\n"
        + "".join(f'  printf("%u\\n", {kernel.scratch.macro}({values}));\n' for values in arguments)
        + "  return 0;\n}\n"
    )
    run("cc", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{RUNTIME}/include", source, "-o", tmp_path / "scratch")
    assert [int(line) for line in run(tmp_path / "scratch").split()] == [kernel.scratch.size_bytes(fields) for fields in layers]
