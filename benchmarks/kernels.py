"""Kernels on single layers of each target: writes docs/benchmarks/kernels.md and kernels.json (`make bench-kernels`).

    python benchmarks/kernels.py                             measure everything and write both files
    python benchmarks/kernels.py --check                     measure some targets and fail if the files say otherwise
    python benchmarks/kernels.py --target cortex-m4 --json   measure one target and print one JSON object a row; write nothing
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from elftools.elf.elffile import ELFFile

from lutra.boards import board_by_name
from lutra.boards.cycles import OWN_MODELS, estimate_cycles
from lutra_compiler.program.candidates import VECTOR_TARGETS
from lutra_compiler.program.choose_kernel import Candidate
from lutra_compiler.program.kernels import subvectors
from lutra_compiler.program.work import work
from measure_layers import (
    BOARD_OF,
    PACKED_L1,
    BatchRun,
    Case,
    Coding,
    Layer,
    Measurement,
    batches,
    cases_of,
    measure_batch,
    one_of_each_kernel,
)
from sizes import compiler_version, flash_bytes

ROOT = Path(__file__).resolve().parents[1]
JSON, REPORT = ROOT / "docs/benchmarks/kernels.json", ROOT / "docs/benchmarks/kernels.md"
TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
EXACT_L1 = 127  # a codeword's norm beyond that of packed sums
FLASH_SPARE = 200_000  # of a board, for all but a layer's tables


def convolution(kernel: int, size: int, width: int, channels: int, out: int, padding: int) -> Layer:
    return Layer("conv2d", (size, width, channels), out, (kernel, kernel), padding=(padding,) * 4)


LAYERS = {
    "fc_784_300": Layer("linear", (784,), 300),
    "fc_640_128": Layer("linear", (640,), 128),
    "fc_4096_512": Layer("linear", (4096,), 512),
    "fc_256_10": Layer("linear", (256,), 10),
    "conv3x3_8x8x64_64": convolution(3, 8, 8, 64, 64, padding=1),
    "conv3x3_16x16x32_32": convolution(3, 16, 16, 32, 32, padding=1),
    "conv5x5_14x14x20_50": convolution(5, 14, 14, 20, 50, padding=0),
    "conv1x1_25x5x64_64": convolution(1, 25, 5, 64, 64, padding=0),
    "conv5x5_28x28x1_20": convolution(5, 28, 28, 1, 20, padding=0),
    "conv3x3_32x32x3_16": convolution(3, 32, 32, 3, 16, padding=1),
    "dw3x3_25x5x64": Layer("conv2d", (25, 5, 64), 64, (3, 3), padding=(1,) * 4, groups=64),
}
# Layer, codings (d, K), and kernels for each of them. "exact": with codewords whose table entries do not add as int16.
TABLES, EXACT = ("lut", "lut8", "pairs"), ("lut_exact", "lut8_exact")
PLAN: tuple[tuple[str, Sequence[tuple[int, int] | None], Sequence[str]], ...] = (
    ("fc_784_300", ((4, 16), (8, 16), (8, 64), (8, 256), (16, 16)), TABLES),
    ("fc_784_300", ((8, 16),), ("decode",)),
    ("fc_640_128", ((8, 16), (8, 64)), TABLES),
    ("fc_4096_512", ((8, 16), (8, 64)), TABLES),
    ("fc_256_10", ((8, 16),), (*TABLES, "decode")),
    ("conv3x3_8x8x64_64", ((8, 16), (8, 64)), (*TABLES, *EXACT)),
    ("conv3x3_8x8x64_64", ((4, 16), (8, 256)), (*TABLES, "decode")),
    ("conv3x3_16x16x32_32", ((8, 16), (8, 64)), (*TABLES, *EXACT)),
    ("conv3x3_16x16x32_32", ((8, 256),), (*TABLES, "decode")),
    ("conv5x5_14x14x20_50", ((4, 16),), TABLES),
    ("conv1x1_25x5x64_64", ((8, 16), (8, 64)), (*TABLES, "decode")),
    ("conv1x1_25x5x64_64", ((2, 256),), ("decode",)),
    ("conv5x5_28x28x1_20", ((1, 16),), TABLES),
    ("conv3x3_32x32x3_16", ((1, 16),), TABLES),
    *((name, (None,), ("dense", "depthwise")) for name in LAYERS),
)
CHECKED = ("cortex-m0plus", "cortex-m4", "cortex-m55")  # a target for each set of native loops



def _sweeps(kernel: str, f: Mapping[str, int]) -> float:
    counts = work(kernel, f)
    return counts.get("lookups", 0.0) + counts.get("packed lookups", 0.0)


# The loop of a kernel, and how many lookups of it a call does.
LOOPS: Mapping[str, tuple[str | tuple[str, ...], Callable[[Mapping[str, int]], float]]] = {
    "linear_lut": (("lutra_add_lookups", "add_8", "add_groups", "add_column"), lambda f: subvectors(f) * f["out_c"]),
    "linear_pairs": ("lutra_add_pair_lookups", lambda f: subvectors(f) // 8 * 4 * f["out_c"]),
    "conv2d_lut": (("lutra_add_pixel_lookups",), partial(_sweeps, "lutra_conv2d_lut")),
    "conv2d_lut8": ("lutra_add_lookups8", partial(_sweeps, "lutra_conv2d_lut8")),
}


@dataclass(frozen=True)
class Row:
    """What was measured of a layer on a target. Ratios are times that the other takes, by estimated cycles: above 1 this is faster.

    `d`, `K`: of a product-quantized layer. `cycles_per_lookup`: in the loop of the kernel alone, a lookup of one table entry (of a pair
    of indices, or for two pixels). `kernel_flash_bytes`: the kernel with all that it calls; `model_bytes`: this layer's tables.
    """

    target: str
    layer: str
    kernel: str
    d: int | None
    K: int | None
    macs: int
    instructions_per_mac: float
    cycles_per_mac: float
    ratio_cmsis_nn: float | None
    ratio_dense: float | None
    flash_reads_per_mac: float
    ram_reads_per_mac: float
    stores_per_mac: float
    unaligned_per_mac: float
    cycles_per_lookup: float | None
    scratch_bytes: int
    model_bytes: int
    kernel_flash_bytes: int


@dataclass(frozen=True)
class _Planned:
    layer: str
    kernel: str
    case: Case


def planned(target: str) -> list[_Planned]:
    """What to measure: only what the target has a kernel for and its board has flash for."""
    plan = []
    limit = board_by_name(BOARD_OF[target]).flash_bytes - FLASH_SPARE
    for name, codings, kernels in PLAN:
        for coding in codings:
            for kernel in kernels:
                if kernel in ("lut", "lut_exact") and LAYERS[name].op == "conv2d" and target in VECTOR_TARGETS:
                    continue  # lut8 is what it has
                cases = cases_of(_coded(LAYERS[name], coding, kernel), target, partial(_only, kernel.partition("_")[0]))
                plan += [_Planned(name, kernel, case) for case in cases if case.flash_bytes <= limit]
    return plan


def _coded(layer: Layer, coding: tuple[int, int] | None, kernel: str) -> Layer:
    l1 = EXACT_L1 if kernel in EXACT else PACKED_L1
    return replace(layer, coding=Coding(*coding, l1=l1) if coding else None)


def _only(form: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    return [candidate for candidate in one_of_each_kernel(candidates) if candidate.kernel.endswith(f"_{form}")]


def measure_target(target: str) -> list[Row]:
    """All rows of a target."""
    cmsis_nn = json.loads((ROOT / "benchmarks/cmsis_nn.json").read_text())["layers"]["cycles_per_mac"]
    plan = planned(target)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        measured: list[tuple[Measurement, float | None]] = []
        flash: dict[str, int] = {}
        for batch in batches(entry.case for entry in plan):
            result = measure_batch(target, Path(folder), batch)
            measured += [(m, cycles_per_lookup(target, result, index)) for index, m in enumerate(result.measurements)]
            archive = result.firmware.plugin.parents[1] / "runtime_c/liblutra_runtime.a"
            for m in result.measurements:
                flash[m.kernel] = flash.get(m.kernel) or flash_bytes(archive, [f"lutra_{m.kernel}"])
    dense = {
        entry.layer: m.cycles for entry, (m, _) in zip(plan, measured, strict=True) if entry.kernel in ("dense", "depthwise")
    }
    for entry, (m, lookup) in zip(plan, measured, strict=True):
        coding = entry.case.layer.coding
        rows.append(Row(
            target=target,
            layer=entry.layer,
            kernel=entry.kernel,
            d=coding.subvector if coding else None,
            K=coding.codewords if coding else None,
            macs=m.macs,
            instructions_per_mac=_round(m.instructions / m.macs),
            cycles_per_mac=_round(m.cycles / m.macs),
            ratio_cmsis_nn=_round(cmsis_nn[entry.layer][target] * m.macs / m.cycles) if entry.layer in cmsis_nn else None,
            ratio_dense=_round(dense[entry.layer] / m.cycles) if entry.layer in dense else None,
            flash_reads_per_mac=_round(m.flash_reads / m.macs),
            ram_reads_per_mac=_round(m.ram_reads / m.macs),
            stores_per_mac=_round(m.stores / m.macs),
            unaligned_per_mac=_round(m.unaligned / m.macs),
            cycles_per_lookup=None if lookup is None else _round(lookup),
            scratch_bytes=m.scratch_bytes,
            model_bytes=m.model_bytes,
            kernel_flash_bytes=flash[m.kernel],
        ))
    return rows


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def cycles_per_lookup(target: str, result: BatchRun, index: int) -> float | None:
    """Cycles within the lookup loop of a call, one a lookup; None if its kernel has no such loop here."""
    m = result.measurements[index]
    if m.kernel not in LOOPS:
        return None
    prefixes, lookups = LOOPS[m.kernel]
    rows = result.run.profile[result.run.profile["layer"] == index]
    total = 0.0
    with result.firmware.elf.open("rb") as file:
        for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols():
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol.name.startswith(prefixes):
                start = symbol["st_value"] & ~1
                inside = rows[(rows["address"] >= start) & (rows["address"] < start + symbol["st_size"])]
                total += estimate_cycles(target, result.run.code, inside)
    return total / lookups(m.fields) if total else None


# Reports


def report(rows: Sequence[Row]) -> str:
    """The text of kernels.md."""
    sources = json.loads((ROOT / "benchmarks/cmsis_nn.json").read_text())["layers"]
    best = "\n".join(_summary(rows, name) for name in dict.fromkeys(row.layer for row in rows))
    return f"""# Kernels

Written by `make bench-kernels` (benchmarks/kernels.py) with arm-none-eabi-gcc {compiler_version()} at -Os. Instructions, reads and stores
are counted in QEMU. **Cycles are estimates**: counts times the rules of python/lutra/boards/cycles.py, with zero wait states. Those of M0+,
M3 and M4 are Arm's published instruction timings; those of {", ".join(map(_short, OWN_MODELS))} (*) are models of our own. No board
was used. Requantization, bias, clamp and padding are included; weights are random (codewords of an L1 norm up to {PACKED_L1}, in
rows called exact {EXACT_L1}); every output was compared with the interpreter's.

"vs CMSIS-NN": the estimated cycles of {sources["source"]}, counted in QEMU 7.2 and estimated by the same rules,
divided by ours. "vs dense": those of the same layer as plain int8 by our own kernel, divided by ours. The unit is a multiply-add of the
layer (padding included). A convolution 3x3 is padded by 1, 5x5 and 1x1 are not. "flash", "RAM" and "stores" count accesses. "a lookup":
cycles within the lookup loop alone, for a table entry (`lut`: of one vector, in convolutions of two pixels; `lut8`: of eight; `pairs`: of
two indices). "scratch" is RAM, "model" the flash of the layer's tables, "kernel" that of the kernel with all that it calls; all in bytes.

## Times CMSIS-NN
{_line("layer", "kernel", "d, K", *(_short(t) + ("*" if t in OWN_MODELS else "") for t in TARGETS))}
{_line("---", "---", "---", *("---:" for _ in TARGETS))}
{best}

{"".join(_target_section(target, [row for row in rows if row.target == target]) for target in TARGETS)}"""


def _summary(rows: Sequence[Row], layer: str) -> str:
    keys = dict.fromkeys((row.kernel, row.d, row.K) for row in rows if row.layer == layer)
    lines = []
    for kernel, d, k in keys:
        ratio = {row.target: row.ratio_cmsis_nn for row in rows if (row.layer, row.kernel, row.d, row.K) == (layer, kernel, d, k)}
        lines.append(_line(layer, kernel, _coding(d, k), *(_number(ratio.get(target), 2) for target in TARGETS)))
    return "\n".join(lines)


def _target_section(target: str, rows: Sequence[Row]) -> str:
    header = (
        "layer", "kernel", "d, K", "instructions", "cycles", "vs CMSIS-NN", "vs dense", "flash", "RAM", "stores", "unaligned", "a lookup",
        "scratch", "model", "kernel",
    )  # fmt: skip
    body = [
        _line(
            row.layer, row.kernel, _coding(row.d, row.K), _number(row.instructions_per_mac), _number(row.cycles_per_mac),
            _number(row.ratio_cmsis_nn, 2), _number(row.ratio_dense, 2), _number(row.flash_reads_per_mac), _number(row.ram_reads_per_mac),
            _number(row.stores_per_mac), _number(row.unaligned_per_mac), _number(row.cycles_per_lookup, 2), f"{row.scratch_bytes:,}",
            f"{row.model_bytes:,}", f"{row.kernel_flash_bytes:,}",
        )
        for row in rows
    ]  # fmt: skip
    model = " (cycles by our own model)" if target in OWN_MODELS else ""
    return "\n".join([f"## {_short(target)}{model}", _line(*header), _line(*["---"] * 3, *["---:"] * 12), *body, "\n"])


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _short(target: str) -> str:
    return target.removeprefix("cortex-").upper().replace("PLUS", "+")


def _coding(d: int | None, k: int | None) -> str:
    return "int8" if d is None else f"{d}, {k}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def document(rows: Sequence[Row]) -> str:
    """The text of kernels.json: an object a row, a row a line."""
    return "[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n"


def stale(rows: Sequence[Row], recorded: Sequence[Mapping[str, object]]) -> list[str]:
    """What differs between measured rows (+) and those on record (-) for the same targets."""
    targets = {row.target for row in rows}
    now, before = [asdict(row) for row in rows], [row for row in recorded if row["target"] in targets]
    return [*(f"- {json.dumps(row)}" for row in before if row not in now), *(f"+ {json.dumps(row)}" for row in now if row not in before)]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Measure the kernels on single layers.")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one (may be repeated)")
    parser.add_argument("--json", action="store_true", help="print one object a row instead of writing files")
    parser.add_argument("--check", action="store_true", help="fail if the files differ from what is measured now")
    options = parser.parse_args(arguments)
    with ProcessPoolExecutor(2) as pool:
        rows = [row for part in pool.map(measure_target, options.target or (CHECKED if options.check else TARGETS)) for row in part]
    if options.json:
        print("\n".join(json.dumps(asdict(row)) for row in rows))
    elif options.check:
        recorded = json.loads(JSON.read_text())
        problems = stale(rows, recorded)
        if REPORT.read_text() != report([Row(**row) for row in recorded]):
            problems.append(f"{REPORT.relative_to(ROOT)} is not what {JSON.relative_to(ROOT)} says")
        if problems:
            print("\n".join([*problems, "docs/benchmarks is out of date: run `make bench-kernels`"]), file=sys.stderr)
            return 1
    elif options.target:
        parser.error("--target needs --json or --check: the files hold every target")
    else:
        JSON.parent.mkdir(parents=True, exist_ok=True)
        JSON.write_text(document(rows))
        REPORT.write_text(report(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
