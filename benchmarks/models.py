"""Whole networks on each target: writes docs/benchmarks/models.md and models.json (`make bench-models`).

    python benchmarks/models.py                             measure everything and write both files
    python benchmarks/models.py --target cortex-m4 --json   measure one target and print one JSON object a row; write nothing

LUTRA_MODELS names a folder of ONNX files of the MLPerf Tiny reference networks, to measure those as well.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import lutra
from host_speed import ResNet20
from kernels import TARGETS, _line, _short
from lutra.boards import board_by_name, build_firmware, run_firmware
from lutra.boards.cycles import OWN_MODELS
from lutra.zoo.networks import lenet5
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.driver import build_program
from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d, Weighted
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.program.footprint import footprint
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.program import Program
from lutra_compiler.target import target_by_name
from measure_layers import ARMV6M, BOARD_OF
from sizes import compiler_version

ROOT = Path(__file__).resolve().parents[1]
JSON, REPORT = ROOT / "docs/benchmarks/models.json", ROOT / "docs/benchmarks/models.md"
SUBVECTOR, CODEWORDS, NORM = 8, 16, 63
PORTABLE_ON = "cortex-m4"  # measured with portable loops as well
STACK_BYTES = 1024  # set aside of the RAM that a network may take

NAMES = {
    "lenet5": "LeNet-5-Caffe", "resnet20": "ResNet-20", "mlperf_ic_resnet8": "MLPerf Tiny IC ResNet-8",
    "mlperf_vww_mobilenet": "MLPerf Tiny VWW MobileNetV1-0.25", "mlperf_ad_autoencoder": "MLPerf Tiny AD autoencoder",
}  # fmt: skip


def networks() -> Mapping[str, Callable[[], lutra.Model]]:
    """How to get the networks there are: untrained ones, and those in LUTRA_MODELS."""
    import torch

    def untrained(module: Callable[[], torch.nn.Module], shape: tuple[int, ...]) -> lutra.Model:
        torch.manual_seed(0)
        return lutra.load(module(), torch.zeros(1, *shape))

    known: dict[str, Callable[[], lutra.Model]] = {
        "lenet5": lambda: untrained(lenet5, (1, 28, 28)), "resnet20": lambda: untrained(ResNet20, (3, 32, 32)),
    }  # fmt: skip
    if folder := os.environ.get("LUTRA_MODELS"):
        paths = [path for name in NAMES if (path := Path(folder, f"{name}.onnx")).exists()]
        known |= {path.stem: partial(lutra.load, str(path)) for path in paths}
    return known


def coded(model: lutra.Model) -> lutra.Model:
    """The model with its weights product-quantized (int8 where there are few or the format cannot), calibrated on noise."""
    none = lutra.StageConfig(0, 0.0)
    training = lutra.TrainingConfig(none, none, none, none)
    config = lutra.CompressionConfig(layer_configs(model.graph), training=training, calibration_samples=64)
    noise = np.random.default_rng(0).normal(size=(64, *model.graph.inputs[0].source_shape)).astype(np.float32)
    return lutra.compress(model, lutra.Dataset(noise), config)


def layer_configs(graph: Graph) -> tuple[lutra.LayerConfig, ...]:
    configs = []
    for number, op in enumerate(op for op in graph.ops if isinstance(op, Weighted)):
        shape = graph.weight_shape(op.weight)
        plain = shape[-1] < 4 or prod(shape) < 1024 or (isinstance(op, Conv2d) and op.groups > 1)
        configs.append(
            lutra.LayerConfig(number, "int8") if plain
            else lutra.LayerConfig(number, codewords=CODEWORDS, subvector=SUBVECTOR, codeword_norm=NORM)
        )  # fmt: skip
    return tuple(configs)


@dataclass(frozen=True)
class Row:
    """A network on a target. `ratio`: cycles of TensorFlow Lite Micro with CMSIS-NN, divided by these; `code_ratio`: its code's flash.

    `code_bytes`: kernels, schedule, and what they need of libraries; `ram_bytes`: arena, stack and data; `ram_limit`: what the compiler
    was told for the arena, None if that was not possible; `portable`: whether native loops are left out (LUTRA_PORTABLE); `kernels`: how
    many calls of each; `layers`: the calls in order.
    """

    target: str
    network: str
    macs: int
    million_instructions: float
    million_cycles: float
    ratio: float | None
    code_bytes: int
    code_ratio: float | None
    model_bytes: int
    arena_bytes: int
    stack_bytes: int
    ram_bytes: int
    ram_limit: int | None
    portable: bool
    unaligned: int
    kernels: dict[str, int]
    layers: tuple["LayerCost", ...]


@dataclass(frozen=True)
class LayerCost:
    """A call: the layers that it computes, and what it takes."""

    names: tuple[str, ...]
    kernel: str
    macs: int
    instructions: int
    cycles: float


def rows_of(target: str, network: str, model: lutra.Model, build_dir: Path) -> list[Row]:
    """A network within the RAM of direct CMSIS-NN calls, without a limit where that makes a difference, and with portable loops on M4."""
    baseline = json.loads((ROOT / "benchmarks/cmsis_nn.json").read_text())["networks"]["figures"].get(network)
    free = build_program(model.graph, target_by_name(target))
    limit = baseline["bytes_on_cortex_m4"]["direct_calls_ram"] - STACK_BYTES if baseline else free.arena_bytes
    programs: list[tuple[Program, int | None]] = [(free, limit)]
    if free.arena_bytes > limit:
        programs = [(free, None)]
        with suppress(LoweringError):
            programs.insert(0, (build_program(model.graph, target_by_name(target), Limits(ram=limit + footprint(free).stack)), limit))
    rows = [measure(program, within, target, network, build_dir, baseline) for program, within in programs]
    if target == PORTABLE_ON:
        program, within = programs[0]
        rows.append(measure(program, within, target, network, build_dir, baseline, portable=True))
    return rows


def measure(
    program: Program,
    limit: int | None,
    target: str,
    network: str,
    build_dir: Path,
    baseline: Mapping[str, Any] | None,
    *,
    portable: bool = False,
) -> Row:
    """One inference, on noise. Raises AssertionError if it is not what the interpreter computes."""
    inputs = [np.random.default_rng(1).integers(-128, 128, (1, *port.shape), np.int8) for port in program.inputs]
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(emit(program, network, {}), Path(folder, network))
        board, cpu = board_by_name(BOARD_OF[target]), target if target in ARMV6M else None
        firmware = build_firmware(Path(folder, network), board, build_dir, cpu, portable=portable)
        run = run_firmware(firmware, inputs)
    for wanted, found in zip(interpret(program, inputs).outputs, run.outputs, strict=True):
        assert np.array_equal(wanted, found), f"{network} differs from the interpreter on {target}"
    assert run.unaligned == 0 or target not in ARMV6M, f"{run.unaligned} unaligned accesses, which fault on {target}"
    names = [call.kernel.removeprefix("lutra_") for call in program.calls]
    cycles, code = run.cycles(), firmware.flash.kernels
    return Row(
        target=target,
        network=network,
        macs=sum(call.layer.macs for call in program.calls),
        million_instructions=_round(run.instructions / 1e6),
        million_cycles=_round(cycles / 1e6),
        ratio=_round(1e6 * baseline["million_cycles"][target] / cycles) if baseline else None,
        code_bytes=code,
        code_ratio=_round(baseline["bytes_on_cortex_m4"]["code"] / code) if baseline and target == "cortex-m4" else None,
        model_bytes=firmware.flash.model,
        arena_bytes=firmware.ram.arena,
        stack_bytes=run.stack_bytes,
        ram_bytes=firmware.ram.arena + run.stack_bytes + firmware.ram.data,
        ram_limit=limit,
        portable=portable,
        unaligned=run.unaligned,
        kernels={name: names.count(name) for name in sorted(set(names))},
        layers=tuple(
            LayerCost(call.layer.source_names, name, call.layer.macs, instructions, spent)
            for call, name, instructions, spent in zip(program.calls, names, run.layer_instructions, run.layer_cycles(), strict=True)
        ),
    )


def measure_network(network: str, targets: Sequence[str]) -> list[Row]:
    """A network on all of `targets`; no row, and a word on stderr, if the compiler cannot lower it."""
    model = coded(networks()[network]())
    with tempfile.TemporaryDirectory() as folder:
        try:
            return [row for target in targets for row in rows_of(target, network, model, Path(folder))]
        except LoweringError as error:
            print(f"{network} is left out: {error}", file=sys.stderr)
            return []


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def report(rows: Sequence[Row]) -> str:
    """The text of models.md."""
    baseline = json.loads((ROOT / "benchmarks/cmsis_nn.json").read_text())["networks"]
    sections = "\n".join(_section(network, [row for row in rows if row.network == network], baseline) for network in NAMES)
    return f"""# Whole networks

Written by `make bench-models` (benchmarks/models.py) with arm-none-eabi-gcc {compiler_version()} at -Os: one inference of untrained
networks of the full shapes. Weights are product-quantized (d = {SUBVECTOR}, K = {CODEWORDS}, codewords of an L1 norm up to {NORM}), int8 in
depthwise layers, in those of less than 4 input channels, and in those of less than 1,024 weights. Outputs are the interpreter's.

Instructions are counted in QEMU. **Cycles are estimates** as in [kernels.md](kernels.md): zero wait states, those of
{", ".join(map(_short, OWN_MODELS))} (*) by models of our own. "vs TFLM": cycles of {baseline["source"]}
({baseline["build"]}), counted and estimated the same way, divided
by ours; {baseline["note"]}. "Direct calls":
{baseline["direct_calls"]}.

"code": kernels, schedule and what they need of libgcc and libc. "RAM": arena (inputs and outputs in it), deepest stack, data. The
compiler was told not to exceed the RAM of direct CMSIS-NN calls; where that costs time, or cannot be, a row shows it without a limit.
"(portable)": built with -DLUTRA_PORTABLE, for the least code: without the native loops that the kernels were chosen for.

{sections}"""


def _section(network: str, rows: Sequence[Row], baseline: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> str:
    if not rows:
        return ""
    header = ("target", "M instructions", "M cycles", "TFLM + CMSIS-NN", "vs TFLM", "code", "model", "arena", "stack", "RAM")
    sizes = baseline["figures"][network]["bytes_on_cortex_m4"]
    body = [
        _line(
            _short(row.target) + ("*" if row.target in OWN_MODELS else "") + (" (portable)" if row.portable else ""),
            f"{row.million_instructions:.4g}", f"{row.million_cycles:.4g}",
            f"{baseline['figures'][network]['million_cycles'][row.target]:.4g}", "-" if row.ratio is None else f"{row.ratio:.2f}",
            *(f"{size:,}" for size in (row.code_bytes, row.model_bytes, row.arena_bytes, row.stack_bytes)),
            f"{row.ram_bytes:,}" + ("" if row.ram_limit else " (no limit)"),
        )
        for row in rows
    ]  # fmt: skip
    m4 = next(row for row in rows if row.target == "cortex-m4")  # within the limit, if that can be
    portable = next(row for row in rows if row.portable)
    kernels = ", ".join(f"{count} {name}" for name, count in m4.kernels.items())
    return "\n".join([
        f"## {NAMES[network]}, {rows[0].macs / 1e6:.3g} M multiply-adds", "", _line(*header), _line("---", *["---:"] * 9), *body, "",
        f"TFLM + CMSIS-NN on M4: {sizes['code']:,} B of code ({m4.code_ratio} times ours, {portable.code_ratio} times the",
        f"portable build's), {sizes['model']:,} B of .tflite, {sizes['ram']:,} B of RAM; direct calls of CMSIS-NN:",
        f"{sizes['direct_calls_flash']:,} B of flash, about {sizes['direct_calls_ram']:,} B of RAM. Our kernels on M4: {kernels}.", "",
    ])  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Measure whole networks.")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one (may be repeated)")
    parser.add_argument("--network", choices=NAMES, action="append", help="only this one (may be repeated)")
    parser.add_argument("--json", action="store_true", help="print one object a row instead of writing files")
    options = parser.parse_args(arguments)
    if (options.target or options.network) and not options.json:
        parser.error("--target and --network need --json: the files hold everything")
    names = [name for name in networks() if name in (options.network or NAMES)]
    with ProcessPoolExecutor(2) as pool:
        rows = [row for part in pool.map(partial(measure_network, targets=options.target or TARGETS), names) for row in part]
    if options.json:
        print("\n".join(json.dumps(asdict(row)) for row in rows))
        return 0
    JSON.parent.mkdir(parents=True, exist_ok=True)
    JSON.write_text("[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n")
    REPORT.write_text(report(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
