"""What code takes on every CPU: writes runtime_c/SIZES.md, flash of the kernels, and compiler/lutra_compiler/program/sizes.json, from
which the compiler knows what flash and stack a bundle will take; with --check fails if one is out of date.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile

from lutra.boards.stack import worst_stack_bytes
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.driver import build_program
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.target import target_by_name

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "runtime_c/SIZES.md"
COMPILERS_TABLE = ROOT / "compiler/lutra_compiler/program/sizes.json"
SCHEDULES = 24  # random networks that the bound of a schedule's size is fitted to
CPUS = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
SMALLEST = ("lutra_linear_lut", "lutra_crc32")
COMMON = ("lutra_conv2d_dense", "lutra_conv2d_lut", "lutra_linear_lut", "lutra_crc32")
FUNCTIONS = (*KERNELS, "lutra_crc32")
LATER = (  # for vectors, pruned features, coded indices, networks of other people, and recurrent ones
    "lutra_conv2d_lut8", "lutra_select_int8", "lutra_unpack_indices", "lutra_lookup_int8", "lutra_binary_int8", "lutra_copy_int8",
    "lutra_normalise_int8", *(name for name, kernel in KERNELS.items() if kernel.each_step),
)  # fmt: skip
ALL = tuple(name for name in FUNCTIONS if name not in LATER)
ALWAYS = ("lutra_crc32", "memcpy", "memset")  # of libc a firmware mostly has these anyway: they count in any case
PORTABLE = "-DLUTRA_PORTABLE=ON"
COMPILER = "arm-none-eabi-gcc"


def compiler_version() -> str:
    return subprocess.run([COMPILER, "-dumpfullversion"], check=True, capture_output=True, text=True).stdout.strip()


def build(cpu: str, folder: Path, *options: str) -> Path:
    """The runtime for `cpu`, built by its preset, with warnings as errors; returns the archive."""
    for command in (["cmake", "--preset", cpu, "-B", str(folder), *options], ["cmake", "--build", str(folder)]):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return folder / "runtime_c/liblutra_runtime.a"


def c_flags(archive: Path) -> list[str]:
    cache = (archive.parents[1] / "CMakeCache.txt").read_text()
    return re.findall(r"^CMAKE_C_FLAGS:STRING=(.*)$", cache, re.MULTILINE)[0].split()


def flash_bytes(archive: Path, functions: Sequence[str]) -> int:
    """Bytes of `functions` and all that they call, linked."""
    flags = c_flags(archive)
    elf = archive.with_suffix(".elf")
    keep = [f"-Wl,--undefined={function}" for function in functions]
    link = [COMPILER, *flags, "--specs=nano.specs", "-nostartfiles", "-Wl,--gc-sections", f"-Wl,--entry={functions[0]}", *keep]
    subprocess.run([*link, f"-Wl,-Map={elf.with_suffix('.map')}", str(archive), "-o", str(elf)], check=True)
    with elf.open("rb") as file:
        return sum(s["sh_size"] for s in ELFFile(file).iter_sections() if s["sh_flags"] & 2 and s["sh_type"] != "SHT_NOBITS")


def table(archives: Mapping[str, Path], portable: Mapping[str, Path]) -> str:
    """The text of SIZES.md, from archives by CPU: as they are, and built with LUTRA_PORTABLE."""
    sets: list[tuple[str, ...]] = [*((name,) for name in FUNCTIONS), SMALLEST, COMMON, ALL]
    lines = [
        "# Sizes",
        "",
        "Flash bytes of each kernel linked alone, with all that it calls of the runtime, libgcc and newlib-nano, by",
        f"{COMPILER} {compiler_version()} at -Os. Kernels share functions: several together need less than their sum.",
        "Native loops for a CPU pay for their speed with flash: the last rows are of a build with -DLUTRA_PORTABLE, without them.",
        "lut8 is for CPUs with vectors. Regenerate with `make sizes`.",
        "",
        "| kernel | " + " | ".join(cpu.removeprefix("cortex-").upper() for cpu in CPUS) + " |",
        "| --- |" + " ---: |" * len(CPUS),
    ]
    for names, build_of, remark in [*((names, archives, "") for names in sets), *((names, portable, ", portable") for names in sets[-3:])]:
        short = dict.fromkeys(label_of(name) for name in (LATER if names == ALL else names))
        label = f"all but {', '.join(short)}" if names == ALL else " + ".join(name.removeprefix("lutra_") for name in names)
        lines.append(f"| {label}{remark} | " + " | ".join(str(flash_bytes(build_of[cpu], names)) for cpu in CPUS) + " |")
    return "\n".join(lines) + "\n"


def label_of(kernel: str) -> str:
    """A kernel's name in a list; the kernels of a recurrent layer are one."""
    short = kernel.removeprefix("lutra_").removesuffix("_int8")
    return short.partition("_")[0] if kernel in KERNELS and KERNELS[kernel].each_step else short


def code(archives: Mapping[str, Path]) -> dict[str, Any]:
    """The content of sizes.json, by CPU: the linked `sections` with their bytes, what each kernel needs of them and its `stack`, and the
    bytes of a schedule, at most `base` + a number for each argument of a call."""
    return {cpu: {**kernels_code(archive, cpu), "schedule": schedule_code(archive, cpu)} for cpu, archive in archives.items()}


def kernels_code(archive: Path, cpu: str) -> dict[str, Any]:
    sections: dict[str, int] = {}
    kernels = {}
    for name in FUNCTIONS:
        flash_bytes(archive, ALWAYS if name == ALWAYS[0] else (name,))
        needed = linked_sections(archive.with_suffix(".map"))
        sections |= needed
        stack = worst_stack_bytes(archive.with_suffix(".elf"), [name], vector=cpu == "cortex-m55")
        kernels[name] = {"stack": stack, "sections": sorted(needed)}
    numbers = {section: number for number, section in enumerate(sorted(sections))}
    return {
        "sections": [sections[section] for section in sorted(sections)],
        "kernels": {name: {**kernel, "sections": [numbers[s] for s in kernel["sections"]]} for name, kernel in kernels.items()},
    }


def linked_sections(link_map: Path) -> dict[str, int]:
    """Bytes in flash of every input section of a link, up to a multiple of 4, by object and section."""
    text = link_map.read_text().partition("Linker script and memory map")[2]
    lines = re.findall(r"^ (\.(?:text|rodata|data)\S*)\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S+)$", text, re.MULTILINE)
    return {f"{Path(file).name} {name}": -(-int(size, 16) // 4) * 4 for name, size, file in lines if int(size, 16)}


def schedule_code(archive: Path, cpu: str) -> dict[str, float]:
    """A bound of what the compiled NAME.c takes besides the network's tables, fitted to random networks. Needs torch."""
    from random_networks import coded_network

    rows, sizes, stacks = [], [], []
    for seed in range(SCHEDULES):
        program = build_program(coded_network(seed), target_by_name(cpu))
        with tempfile.TemporaryDirectory() as folder:
            bundle, compiled = Path(folder, "x"), Path(folder, "x.o")
            write_bundle(emit(program, "x", {}), bundle)
            includes = [f"-I{ROOT}/runtime_c/include", "-include", f"{ROOT}/boards/common/markers.h"]
            flags = [*c_flags(archive), "-Os", "-DNDEBUG", "-std=c99", *includes]
            subprocess.run([COMPILER, *flags, "-c", str(bundle / "x.c"), "-o", str(compiled)], check=True)
            with compiled.open("rb") as file:
                sections = ((s.name, s["sh_size"]) for s in ELFFile(file).iter_sections())
                sizes.append(sum(size for name, size in sections if name.startswith(".text")))
            stacks.append(worst_stack_bytes(compiled, ["x_run", "x_check"], vector=cpu == "cortex-m55"))
        arguments = sum(1 + len(call.tables) + len(call.inputs) + 1 + (call.scratch is not None) for call in program.calls)
        rows.append([arguments, 1])
    argument = round(float(np.linalg.lstsq(np.array(rows, float), np.array(sizes, float), rcond=None)[0][0]), 1)
    above = max(size - argument * row[0] for row, size in zip(rows, sizes, strict=True))
    return {"argument": argument, "base": float(np.ceil(above / 4) * 4 + 8), "stack": max(stacks)}


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        native = {cpu: build(cpu, Path(folder, cpu)) for cpu in CPUS}
        text = table(native, {cpu: build(cpu, Path(folder, f"{cpu}-portable"), PORTABLE) for cpu in CPUS})
        known = re.sub(r"\[[^][]*\]", lambda found: " ".join(found[0].split()), json.dumps(code(native), indent=1)) + "\n"
    for path, content in ((TABLE, text), (COMPILERS_TABLE, known)):
        if "--check" not in arguments:
            path.write_text(content)
        elif path.read_text() != content:
            print(f"{path.relative_to(ROOT)} is out of date: run `make sizes`", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
