"""Flash bytes of every kernel on every CPU: writes runtime_c/SIZES.md; with --check fails if that is out of date."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from elftools.elf.elffile import ELFFile

from lutra_compiler.program.kernels import KERNELS

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "runtime_c/SIZES.md"
CPUS = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
SMALLEST = ("lutra_linear_lut", "lutra_crc32")
COMMON = ("lutra_conv2d_dense", "lutra_conv2d_lut", "lutra_linear_lut", "lutra_crc32")
FUNCTIONS = (*KERNELS, "lutra_crc32")
ALL = tuple(name for name in FUNCTIONS if name != "lutra_conv2d_lut8")
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


def flash_bytes(archive: Path, functions: Sequence[str]) -> int:
    """Bytes of `functions` and all that they call, linked."""
    cache = (archive.parents[1] / "CMakeCache.txt").read_text()
    flags = re.findall(r"^CMAKE_C_FLAGS:STRING=(.*)$", cache, re.MULTILINE)[0].split()
    elf = archive.with_suffix(".elf")
    keep = [f"-Wl,--undefined={function}" for function in functions]
    link = [COMPILER, *flags, "--specs=nano.specs", "-nostartfiles", "-Wl,--gc-sections", f"-Wl,--entry={functions[0]}", *keep]
    subprocess.run([*link, str(archive), "-o", str(elf)], check=True)
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
        label = "all but lut8" if names == ALL else " + ".join(name.removeprefix("lutra_") for name in names)
        lines.append(f"| {label}{remark} | " + " | ".join(str(flash_bytes(build_of[cpu], names)) for cpu in CPUS) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        native = {cpu: build(cpu, Path(folder, cpu)) for cpu in CPUS}
        text = table(native, {cpu: build(cpu, Path(folder, f"{cpu}-portable"), PORTABLE) for cpu in CPUS})
    if "--check" not in arguments:
        TABLE.write_text(text)
    elif TABLE.read_text() != text:
        print(f"{TABLE.relative_to(ROOT)} is out of date: run `make sizes`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
