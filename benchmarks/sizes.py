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
COMMON = ("lutra_conv2d_dense", "lutra_conv2d_lut", "lutra_linear_lut", "lutra_crc32")
FUNCTIONS = (*KERNELS, "lutra_crc32")
COMPILER = "arm-none-eabi-gcc"


def compiler_version() -> str:
    return subprocess.run([COMPILER, "-dumpfullversion"], check=True, capture_output=True, text=True).stdout.strip()


def build(cpu: str, folder: Path) -> Path:
    """The runtime for `cpu`, built by its preset, with warnings as errors; returns the archive."""
    for command in (["cmake", "--preset", cpu, "-B", str(folder)], ["cmake", "--build", str(folder)]):
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


def table(archives: Mapping[str, Path]) -> str:
    """The text of SIZES.md."""
    sets: list[tuple[str, ...]] = [*((name,) for name in FUNCTIONS), COMMON, FUNCTIONS]
    lines = [
        "# Sizes",
        "",
        "Flash bytes of each kernel linked alone, with all that it calls of the runtime, libgcc and newlib-nano, by",
        f"{COMPILER} {compiler_version()} at -Os. Kernels share functions: several together need less than their sum.",
        "Regenerate with `make sizes`.",
        "",
        "| kernel | " + " | ".join(cpu.removeprefix("cortex-").upper() for cpu in CPUS) + " |",
        "| --- |" + " ---: |" * len(CPUS),
    ]
    for names in sets:
        label = "all" if names == FUNCTIONS else " + ".join(name.removeprefix("lutra_") for name in names)
        lines.append(f"| {label} | " + " | ".join(str(flash_bytes(archives[cpu], names)) for cpu in CPUS) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        text = table({cpu: build(cpu, Path(folder, cpu)) for cpu in CPUS})
    if "--check" not in arguments:
        TABLE.write_text(text)
    elif TABLE.read_text() != text:
        print(f"{TABLE.relative_to(ROOT)} is out of date: run `make sizes`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
