"""Models that others trained, as C bundles: writes docs/benchmarks/third_party.md and third_party.json (`make bench-third-party`).

    LUTRA_MODELS=FOLDER python benchmarks/third_party.py                        measure all and write both files
    python benchmarks/third_party.py --network mlperf_ic_resnet8 --json         measure one and print its rows; write nothing

LUTRA_MODELS names a folder of the MLPerf Tiny reference networks as ONNX files. Each becomes two bundles without any training data: plain
int8, calibrated on 256 unlabelled samples, and compressed from them by `lutra compress --method reconstruct`. Both run on this machine and
as firmware on emulated Cortex-M4, M7 and M55, and must give the interpreter's bytes everywhere.
"""

import argparse
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

import lutra
from kernels import _line
from lutra.boards import board_by_name, build_firmware, run_firmware
from lutra.boards.cycles import OWN_MODELS
from lutra.dataset import Dataset
from lutra.host import open_bundle
from lutra.host.bundle import quantize
from lutra.validation import run_float
from lutra.zoo.data import load
from lutra.zoo.machine_noise import machine_noise
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.compression.compress import quantize_to_int8
from lutra_compiler.config import CompressionConfig, load_config
from lutra_compiler.driver import build_program
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.program.footprint import footprint
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.target import target_by_name
from measure_layers import BOARD_OF
from sizes import compiler_version

ROOT = Path(__file__).resolve().parents[1]
JSON, REPORT = ROOT / "docs/benchmarks/third_party.json", ROOT / "docs/benchmarks/third_party.md"
RECIPES = Path(__file__).parent / "recipes"
TARGETS = ("cortex-m4", "cortex-m7", "cortex-m55")
SAMPLES, SEED = 256, 0
BOARD_SAMPLES = 2
VWW_TEST_SAMPLES, NOISE_TEST_SAMPLES = 2000, 10_000


@dataclass(frozen=True)
class Network:
    """A float model, unlabelled samples for it, and those that it is measured on; `inputs` says what they are."""

    title: str
    samples: Callable[[], Dataset]
    test: Callable[[], Dataset]
    inputs: str
    recipes: tuple[tuple[str, str | None], ...]  # of compressed bundles: what they are called, and the file with their settings
    classifies: bool = True


@dataclass(frozen=True)
class BoardRow:
    """One inference on a board. `ratio`: cycles of TensorFlow Lite Micro with CMSIS-NN divided by these; `ram_bytes`: arena, stack, and
    data."""

    target: str
    million_cycles: float
    ratio: float
    code_bytes: int
    model_bytes: int
    ram_bytes: int
    bit_exact: bool


@dataclass(frozen=True)
class Row:
    """A bundle of a network. Accuracy and agreement with the float network's top class are parts of 1; `difference` is the mean squared
    difference of the outputs, relative to the variance of the float network's."""

    network: str
    bundle: str
    model_bytes: int
    ratio: float
    float_accuracy: float | None
    accuracy: float | None
    agreement: float
    difference: float
    test_samples: int
    boards: tuple[BoardRow, ...]


def enlarged(split: str, samples: int) -> Dataset:
    """CIFAR-10 images, 0..1, bilinearly enlarged to 96 x 96."""
    small = torch.from_numpy(load("cifar10", split).head(samples).images / np.float32(255))  # type: ignore[arg-type]
    large = torch.nn.functional.interpolate(small, size=(96, 96), mode="bilinear", align_corners=False)
    return Dataset(large.numpy())


NETWORKS = {
    "mlperf_ic_resnet8": Network(
        "MLPerf Tiny IC ResNet-8", partial(load, "cifar10", "train"), partial(load, "cifar10", "test"),
        "the CIFAR-10 test set, 10,000 images", (("compressed", "mlperf_ic_resnet8.toml"),),
    ),
    "mlperf_vww_mobilenet": Network(
        "MLPerf Tiny VWW MobileNetV1-0.25", partial(enlarged, "train", SAMPLES), partial(enlarged, "test", VWW_TEST_SAMPLES),
        f"the first {VWW_TEST_SAMPLES:,} CIFAR-10 test images, 0..1, bilinearly enlarged to 96 x 96", (("compressed", None),),
    ),
    "mlperf_ad_autoencoder": Network(
        "MLPerf Tiny AD autoencoder", partial(machine_noise, SAMPLES, 1), partial(machine_noise, NOISE_TEST_SAMPLES, 2),
        f"`machine_noise({NOISE_TEST_SAMPLES}, 2)` of lutra.zoo, {NOISE_TEST_SAMPLES:,} made-up windows",
        (("compressed", "mlperf_ad_autoencoder.toml"), ("for speed", "mlperf_ad_autoencoder_fast.toml")), classifies=False,
    ),
}  # fmt: skip


def models_folder() -> Path:
    """Where the models are. Exits if nobody says it."""
    if "LUTRA_MODELS" not in os.environ:
        raise SystemExit("LUTRA_MODELS names no folder of the MLPerf Tiny networks")
    return Path(os.environ["LUTRA_MODELS"])


def int8(model: lutra.Model, samples: Dataset) -> lutra.Model:
    """The plain int8 network, calibrated on the samples."""
    return lutra.Model(quantize_to_int8(model.graph, torch.from_numpy(samples.images)), model.metadata)


def compressed(recipe: str | None, model: lutra.Model, samples: Dataset) -> lutra.Model:
    """The network compressed without training data, by a recipe or by default."""
    config = CompressionConfig(method="reconstruct") if recipe is None else load_config(RECIPES / recipe)
    return lutra.compress(model, Dataset(samples.images), config.with_seed(SEED))


def measure(name: str, targets: Sequence[str] = TARGETS) -> list[Row]:
    """Both bundles of a network."""
    torch.set_num_threads(1)
    network, model = NETWORKS[name], lutra.load(models_folder() / f"{name}.onnx")
    samples, test = Dataset(network.samples().images[:SAMPLES]), network.test()
    scores = run_float(model, test)
    rows = []
    bundles = [("int8", partial(int8, model, samples))]
    bundles += [(kind, partial(compressed, recipe, model, samples)) for kind, recipe in network.recipes]
    for kind, make in bundles:
        small = make()
        found = lutra.validate(small, test, reference=model, layers=False)
        assert found.difference is not None
        assert found.ratio is not None
        if not (found.bit_exact and found.tables_intact):
            raise SystemExit(f"{name}, {kind}: the C differs from the interpreter")
        rows.append(
            Row(
                network=name,
                bundle=kind,
                model_bytes=found.model_bytes,
                ratio=round(found.ratio, 2),
                float_accuracy=found.float_accuracy,
                accuracy=found.accuracy,
                agreement=found.difference.agreement,
                difference=float(f"{found.difference.rmse**2 / float(scores.var()):.3g}"),
                test_samples=len(test),
                boards=tuple(on_board(name, small, test.head(BOARD_SAMPLES), target, kind == "int8") for target in targets),
            )
        )
    return rows


def on_board(name: str, model: lutra.Model, data: Dataset, target: str, limited: bool) -> BoardRow:
    """The bundle for `target`, if `limited` within the RAM of direct CMSIS-NN calls where that can be, on the host and as firmware."""
    baseline = json.loads((ROOT / "benchmarks/cmsis_nn.json").read_text())["networks"]["figures"][name]
    program = build_program(model.graph, target_by_name(target))
    limit = baseline["bytes_on_cortex_m4"]["direct_calls_ram"]
    if limited and footprint(program).ram > limit:
        try:
            program = build_program(model.graph, target_by_name(target), Limits(ram=limit))
        except lutra.BudgetError as error:
            print(f"{name} on {target}: {error}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(emit(program, name, model.metadata), Path(folder, name))
        bundle = open_bundle(Path(folder, name))
        inputs = [quantize(data.images, bundle.inputs[0])]
        firmware = build_firmware(Path(folder, name), board_by_name(BOARD_OF[target]), Path(folder, "build"))
        run = run_firmware(firmware, inputs)
        expected = interpret(program, inputs).outputs[0]
        same = np.array_equal(bundle.run_int8(inputs)[0], expected) and np.array_equal(run.outputs[0], expected)
    cycles = run.cycles() / 1e6
    return BoardRow(
        target=target,
        million_cycles=float(f"{cycles:.4g}"),
        ratio=float(f"{baseline['million_cycles'][target] / cycles:.3g}"),
        code_bytes=firmware.flash.kernels,
        model_bytes=firmware.flash.model,
        ram_bytes=firmware.ram.arena + run.stack_bytes + firmware.ram.data,
        bit_exact=same,
    )


def report(rows: Sequence[Row]) -> str:
    """The text of third_party.md."""
    baseline = json.loads((ROOT / "benchmarks/cmsis_nn.json").read_text())["networks"]
    lines = [
        "# Models that others trained",
        "",
        *textwrap.wrap(
            f"Written by `make bench-third-party` (benchmarks/third_party.py) with arm-none-eabi-gcc {compiler_version()} at -Os. The "
            "MLPerf Tiny reference networks, as ONNX files, become C bundles without training data: plain int8, calibrated on 256 "
            "unlabelled samples, and compressed from the same samples by `lutra compress --method reconstruct` (by default, or by a recipe "
            f"of benchmarks/recipes). Interpreter, host and emulated boards gave the same bytes on {BOARD_SAMPLES} samples, interpreter "
            "and host on 100.",
            140,
        ),
        "",
        *textwrap.wrap(
            'Accuracy is that of the C on all test samples; "same class": where its highest score is the float network\'s; "difference": '
            "mean squared, of the outputs, relative to the variance of the float network's. Cycles are **estimates** from instructions "
            "counted in QEMU ([kernels.md](kernels.md)), those of M7 and M55 (*) by models of our own. TFLM: "
            f"{baseline['source']}, counted the same way. The RAM of direct calls of CMSIS-NN was the limit of int8 bundles where that can "
            'be; "RAM" is arena, deepest stack and data.',
            140,
        ),
        "",
        _line("network", "bundle", "model bytes", "vs float", "float", "C", "same class", "difference"),
        _line("---", "---", *["---:"] * 6),
        *(
            _line(
                NETWORKS[row.network].title, row.bundle, f"{row.model_bytes:,}", f"{row.ratio:.1f}x", _percent(row.float_accuracy),
                _percent(row.accuracy), _percent(row.agreement if NETWORKS[row.network].classifies else None), _percent(row.difference),
            )
            for row in rows
        ),
        "",
        _line(
            "network", "bundle", "target", "M cycles", "TFLM", "times faster", "code", "TFLM", "RAM", "TFLM", "direct calls", "bit-exact"
        ),
        _line("---", "---", "---", *["---:"] * 8, "---"),
        *(_board_line(row, board, baseline["figures"][row.network]) for row in rows for board in row.boards),
        "",
        "## Inputs",
        "",
        *(f"- {network.title}: {network.inputs}; SHA-256 `{_fingerprint(network.test())}`" for network in NETWORKS.values()),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _board_line(row: Row, board: BoardRow, baseline: dict[str, dict[str, float]]) -> str:
    name = board.target.removeprefix("cortex-").upper() + ("*" if board.target in OWN_MODELS else "")
    sizes = baseline["bytes_on_cortex_m4"]
    theirs = [f"{int(sizes[key]):,}" if board.target == "cortex-m4" else "" for key in ("code", "ram", "direct_calls_ram")]
    return _line(
        NETWORKS[row.network].title, row.bundle, name, f"{board.million_cycles:.4g}", f"{baseline['million_cycles'][board.target]:.4g}",
        f"{board.ratio:.2f}", f"{board.code_bytes:,}", theirs[0], f"{board.ram_bytes:,}", theirs[1], theirs[2],
        "yes" if board.bit_exact else "NO",
    )  # fmt: skip


def _fingerprint(data: Dataset) -> str:
    return sha256(data.images.astype("<f4").tobytes()).hexdigest()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--json", action="store_true", help="print rows; write nothing")
    options = parser.parse_args(arguments)
    if options.network and not options.json:
        parser.error("--network needs --json: the files hold everything")
    rows = []
    for name in options.network or NETWORKS:
        for row in measure(name):
            rows.append(row)
            print(json.dumps(asdict(row)), flush=True)
    if not options.json:
        JSON.write_text("[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n")
        REPORT.write_text(report(rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
