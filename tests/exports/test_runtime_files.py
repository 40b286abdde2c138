"""The files of the runtime that a bundle needs are enough to link it, and no more than they must be."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from lutra import runtime
from lutra.host import runtime_directory
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.target import TARGETS, Target

FLAGS = {"cortex-m55": ["-mfloat-abi=hard"]}
NATIVE = {"cortex-m0": "v6m", "cortex-m0plus": "v6m", "cortex-m55": "mve"}


@cache
def symbols_of(path: Path, target: Target, *more: str) -> tuple[frozenset[str], frozenset[str]]:
    """The functions of the runtime that a C file defines and that it needs, compiled for `target`."""
    compiler = "gcc" if target.cpu is None else "arm-none-eabi-gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed (make toolchain)")
    flags = [] if target.cpu is None else [f"-mcpu={target.cpu}", "-mthumb", *FLAGS.get(target.cpu, []), *more]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "object.o")
        include = next(parent for parent in path.parents if parent.name == "src").parent / "include"
        subprocess.run([compiler, *flags, "-std=c99", "-Os", "-w", f"-I{include}", "-c", path, "-o", file], check=True)
        text = subprocess.run([compiler.replace("gcc", "nm"), "-P", file], check=True, capture_output=True, text=True).stdout
    lines = [line.split()[:2] for line in text.splitlines() if line.startswith("lutra_")]
    return frozenset(name for name, kind in lines if kind == "T"), frozenset(name for name, kind in lines if kind == "U")


def symbols(files: Iterable[Path], target: Target, *more: str) -> tuple[set[str], set[str]]:
    """The same of the C files among `files`."""
    found = [symbols_of(path, target, *more) for path in files if path.suffix == ".c"]
    return set().union(*(defined for defined, _ in found)), set().union(*(needed for _, needed in found))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_they_are_enough_to_link_every_kernel(target: Target) -> None:
    for kernel in KERNELS.values():
        defined, needed = symbols(runtime.needed_files(f"{kernel.name}();", target.cpu), target)
        assert kernel.name in defined
        assert needed <= defined, kernel.name


@pytest.mark.parametrize("target", [target for target in TARGETS if target.cpu], ids=lambda target: target.name)
def test_native_loops_of_the_cpu_are_among_them(target: Target) -> None:
    _, needed = symbols(runtime.needed_files("lutra_conv2d_lut8(); lutra_linear_lut();", target.cpu), target)
    assert any(name.endswith(NATIVE.get(target.name, "v7m")) for name in needed)


@pytest.mark.parametrize("target", [target for target in TARGETS if target.cpu], ids=lambda target: target.name)
def test_where_unaligned_accesses_fault_no_loop_makes_them(target: Target) -> None:
    """Those for Armv6-M make none."""
    files = runtime.needed_files(" ".join(f"{name}();" for name in KERNELS), target.cpu)
    defined, needed = symbols(files, target, "-mno-unaligned-access")
    assert needed <= defined
    assert not [name for name in needed if name.endswith(("v7m", "mve"))]


def test_for_another_cpu_portable_loops_take_their_part(tmp_path: Path) -> None:
    files = runtime.needed_files("lutra_linear_lut();", "cortex-m0")
    root = tmp_path / "runtime"
    for path in files:
        copy = root / path.relative_to(runtime_directory())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (cortex_m4,) = (target for target in TARGETS if target.name == "cortex-m4")
    defined, needed = symbols(root.rglob("*.c"), cortex_m4)
    assert "lutra_add_lookups_reference" in needed <= defined


def test_a_small_kernel_needs_little() -> None:
    names = {path.name for path in runtime.needed_files("lutra_select_int8();")}
    assert "select.c" in names
    assert not {path for path in names if path.startswith(("conv2d", "linear", "lookups", "requantize"))}


def test_names_in_comments_count_for_nothing() -> None:
    assert runtime.needed_files("/* lutra_conv2d_lut() */") == ()


def test_all_kernels_together_need_every_source_and_header() -> None:
    files = runtime.needed_files(" ".join(f"{kernel.name}();" for kernel in KERNELS.values()) + "lutra_crc32()")
    everything = {path for path in runtime_directory().rglob("*") if path.suffix in (".c", ".h")}
    assert set(files) == everything


def test_without_comments_the_code_compiles_to_the_same(tmp_path: Path) -> None:
    objects = []
    for name, text in (("as_it_is", Path.read_text), ("without", runtime.without_comments)):
        for path in sorted(runtime_directory().rglob("*.[ch]")):
            copy = tmp_path / name / path.relative_to(runtime_directory())
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text(path))
        folder = tmp_path / name / "objects"
        folder.mkdir()
        sources = sorted((tmp_path / name / "src").rglob("*.c"))
        for number, source in enumerate(sources):
            command = ["gcc", "-std=c99", "-O1", "-Iinclude", "-c", source.relative_to(tmp_path / name), "-o", folder / f"{number}.o"]
            subprocess.run(command, cwd=tmp_path / name, check=True)
        objects.append([path.read_bytes() for path in sorted(folder.iterdir())])
        assert all("SPDX-License-Identifier: Apache-2.0" in path.read_text() for path in sources)
    assert objects[0] == objects[1]
    assert len(objects[0]) == len(runtime.get_sources())
