"""Measures the released artefacts and writes docs/results.md and the tables in README.md: `make bench-compression`.

Accuracy is that of the C runtime on all 10,000 test images; each artefact's settings were chosen on validation images. What was
measured of an artefact by the same sources before is taken from Lutra's cache.
"""

import hashlib
import json
import os
import pickle
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lutra
from lutra import zoo
from lutra.api import bench
from lutra.boards import counting_boards
from lutra.host import open_bundle
from lutra.host.build import cache_directory
from lutra.host.bundle import quantize
from lutra.validation import Validation
from lutra.zoo.data import dataset_of, load
from lutra_compiler.config import load_config

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE_ARENA = 4096  # bytes of RAM that a board's firmware may need beside the arena
SOURCES = ("compiler", "python", "runtime_c", "boards")
MAKING = {"frontends", "compression", "recipes", "train.py"}  # of networks: what is measured has been made
NO_SOURCES = {*MAKING, "artefacts", "__pycache__", "page", "cli.py"}
MARKERS = ("<!-- results: written by benchmarks/results.py -->", "<!-- /results -->")
SPEED_MARKERS = ("<!-- speed: written by benchmarks/results.py -->", "<!-- /speed -->")
SPEED_TARGETS = {"M0+": "cortex-m0plus", "M3": "cortex-m3", "M4": "cortex-m4", "M55": "cortex-m55"}
SPEED_LAYERS = {
    "convolution 3x3, 8x8x64 -> 64": "conv3x3_8x8x64_64",
    "fully connected 784 -> 300": "fc_784_300",
}
NAMES = {
    "lenet5": "LeNet-5-Caffe, MNIST", "lenet300": "LeNet-300-100, MNIST", "resnet20": "ResNet-20, CIFAR-10",
    "alexnet": "AlexNet, CIFAR-10", "resnet8": "ResNet-8, CIFAR-10", "vgg16": "VGG-16, CIFAR-10", "resnet18": "ResNet-18, CIFAR-10",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What was measured of one artefact."""

    name: str
    validation: Validation
    parity_boards: tuple[str, ...]
    microbit: "lutra.api.Benchmark | None"  # None if it does not fit
    host_seconds: float


def measured(name: str) -> Row:
    """What `measure` gives, or gave for the same artefact and the same sources."""
    digest = hashlib.sha256(zoo.artefact(name).read_bytes())
    for file in sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.is_file()):
        if not NO_SOURCES & set(file.parts):
            digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    kept = cache_directory() / "results" / f"{digest.hexdigest()}.pickle"
    if not kept.exists():
        row = measure(name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(row))
    found: Row = pickle.loads(kept.read_bytes())
    return found


def measure(name: str) -> Row:
    """Validate one artefact on the host and on every board, and measure it as firmware of the microbit."""
    artefact = f"{zoo.PREFIX}{name}"
    test = load(dataset_of(zoo.load(name)), "test")
    full = lutra.validate(artefact, test)
    exact = []
    fitting = [board for board in counting_boards() if full.arena_bytes <= board.ram_bytes - OUTSIDE_ARENA]
    for board in fitting:
        part = lutra.validate(artefact, test.head(100), board=board.name)
        if not (part.bit_exact and part.tables_intact):
            raise SystemExit(f"{artefact} differs between interpreter, host and {board.name}")
        exact.append(board.name)
    microbit = bench(artefact, board="microbit") if "microbit" in exact else None
    return Row(name, full, tuple(exact), microbit, host_seconds(artefact, test.images))


def host_seconds(artefact: str, images: np.ndarray) -> float:
    """Seconds for all images on the host: float images in, float scores out, all cores, without building."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = open_bundle(lutra.generate(artefact, Path(folder, "bundle"), prefix="model"))
        bundle.run_int8([quantize(images[:1], bundle.inputs[0])])
        start = time.perf_counter()
        bundle.run(images, threads=os.cpu_count() or 1)
        return time.perf_counter() - start


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) + ("---:",) * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def accuracy_table(rows: list[Row]) -> str:
    """One artefact a row."""
    header = ("network", "float", "compressed", "drop", "model bytes", "vs float", "vs int8", "arena on M0")
    body = []
    rows = sorted(rows, key=lambda row: (row.name.partition("/")[0], row.validation.model_bytes))
    for row in rows:
        v = row.validation
        assert v.accuracy is not None
        assert v.float_accuracy is not None
        network = row.name.partition("/")[0]
        body.append((
            f"{NAMES.get(network, network)} `zoo:{row.name}`", percent(v.float_accuracy), percent(v.accuracy),
            f"{100 * (v.float_accuracy - v.accuracy):.2f} pp", f"{v.model_bytes:,}", f"{v.ratio:.0f}x", f"{v.int8_ratio:.1f}x",
            f"{v.arena_bytes:,} B",
        ))  # fmt: skip
    return table(header, body)


def seed_table(rows: list[Row]) -> str:
    """What all seeds of each point gave; the artefact is the one of median accuracy."""
    seeds = json.loads((ROOT / "benchmarks/seeds.json").read_text())
    header = ("point", "seed", "model bytes", "accuracy", "epochs", "trained in")
    body = []
    for row in rows:
        epochs = str(epochs_of(row.name))
        for seed, found in seeds[row.name].items():
            size, accuracy = f"{found['model_bytes']:,}", percent(found["accuracy"])
            body.append((f"`zoo:{row.name}`", seed, size, accuracy, epochs, found.get("made", "")))
    return table(header, body)


def float_table(rows: list[Row]) -> str:
    """The float networks that points were made from, known by their weights."""
    header = ("float network of", "parameters", "accuracy", "SHA-256 of its weights")
    points: dict[str | None, list[Row]] = {}
    for row in rows:
        points.setdefault(row.validation.float_sha256, []).append(row)
    body = []
    for sha256, (first, *others) in points.items():
        v, names = first.validation, ", ".join(f"`zoo:{row.name}`" for row in (first, *others))
        assert v.float_parameter_bytes is not None
        body.append((names, f"{v.float_parameter_bytes // 4:,}", percent(v.float_accuracy), f"`{sha256}`"))
    return table(header, body)


def epochs_of(name: str) -> int:
    """Epochs of all stages of a point's recipe."""
    config = load_config(zoo.recipe(name))
    training, pruned = config.training, bool(config.pruning.widths)
    before = training.pruning.epochs * (config.pruning.rounds - 1) + training.recovery.epochs if pruned else 0
    return before + training.assignment.epochs + training.codewords.epochs


def speed_table(rows: list[Row]) -> str:
    """Flash, RAM and estimated cycles of each artefact, against the unpruned int8 network by TensorFlow Lite Micro with CMSIS-NN."""
    figures = json.loads((ROOT / "benchmarks/cmsis_nn.json").read_text())["networks"]["figures"]
    baseline = figures | {"resnet8": figures["mlperf_ic_resnet8"]}
    targets = {name: target for name, target in SPEED_TARGETS.items() if name != "M3"}
    header = ("artefact", "flash on M4", "RAM on M4", *(f"{name}, M cycles" for name in targets))
    body = []
    for row in rows:
        theirs = baseline.get(row.name.partition("/")[0], {})
        analyses = {target: lutra.analyze(f"{zoo.PREFIX}{row.name}", target) for target in targets.values()}
        m4 = analyses["cortex-m4"]
        cells = [f"{m4.flash_bytes:,} B", f"{m4.ram_bytes:,} B"]
        for target, analysis in analyses.items():
            ours, cycles = analysis.cycles / 1e6, theirs.get("million_cycles", {}).get(target)
            cells.append(f"{ours:.3f}" + (f" ({cycles / ours:.1f}x faster)" if cycles else ""))
        body.append((f"`zoo:{row.name}`", *cells))
    for network in dict.fromkeys(row.name.partition("/")[0] for row in rows):
        if network in baseline:
            cycles, sizes = baseline[network]["million_cycles"], baseline[network]["bytes_on_cortex_m4"]
            cells = [f"{sizes['code'] + sizes['model']:,} B", f"{sizes['ram']:,} B"]
            cells += [f"{cycles[target]:.3f}" for target in targets.values()]
            body.append((f"{NAMES[network]}, int8 by TFLM + CMSIS-NN", *cells))
    return table(header, body)


def speed_summary() -> str:
    """README's table: some layers and networks against CMSIS-NN, as counted, and a released network, as estimated."""
    kernels, networks = (json.loads((ROOT / f"docs/benchmarks/{name}.json").read_text()) for name in ("kernels", "models"))
    theirs = json.loads((ROOT / "benchmarks/cmsis_nn.json").read_text())["networks"]["figures"]["resnet20"]["million_cycles"]

    def layer(name: str, target: str, *wanted: str) -> float:
        rows = [row for row in kernels if (row["layer"], row["target"]) == (name, target) and row["kernel"] in wanted]
        return float(max(row["ratio_cmsis_nn"] for row in rows if row["kernel"] == "dense" or (row["d"], row["K"]) == (8, 16)))

    def network(target: str) -> float:
        rows = [row for row in networks if (row["network"], row["target"]) == ("resnet20", target)]
        return float(min(row["ratio"] for row in rows if not row["portable"]))

    def released(target: str) -> float:
        return float(theirs[target]) * 1e6 / lutra.analyze(f"{zoo.PREFIX}resnet20", target).cycles

    rows = {}
    for name, key in SPEED_LAYERS.items():
        rows[f"{name}, d = 8, K = 16"] = [layer(key, target, "lut", "lut8", "pairs") for target in SPEED_TARGETS.values()]
        rows[f"{name}, int8 by Lutra"] = [layer(key, target, "dense") for target in SPEED_TARGETS.values()]
    rows["ResNet-20, untrained, d = 8, K = 16, against TensorFlow Lite Micro"] = [network(target) for target in SPEED_TARGETS.values()]
    rows["`zoo:resnet20` against TensorFlow Lite Micro"] = [released(target) for target in SPEED_TARGETS.values()]
    return table(("", *SPEED_TARGETS), [(name, *(f"{ratio:.1f}" for ratio in ratios)) for name, ratios in rows.items()])


def between(text: str, markers: tuple[str, str], content: str) -> str:
    """`text` with other content between the markers."""
    before, rest = text.split(markers[0])
    return f"{before}{markers[0]}\n{content}\n{markers[1]}{rest.split(markers[1])[1]}"


def firmware_table(rows: list[Row]) -> str:
    """What each artefact costs on the microbit."""
    header = ("artefact", "model", "kernels + schedule", "board", "arena", "stack", "instructions")
    body = []
    for row in rows:
        if row.microbit is None:
            continue
        cost = row.microbit.board
        assert cost is not None
        body.append((
            f"`zoo:{row.name}`", *(f"{size:,} B" for size in (cost.flash.model, cost.flash.kernels, cost.flash.board)),
            f"{cost.arena_bytes:,} B", f"{cost.stack_bytes:,} B", f"{cost.instructions:,}",
        ))  # fmt: skip
    return table(header, body)


def layer_table(row: Row) -> str:
    """Bytes and instructions of each layer of one artefact."""
    assert row.microbit is not None
    analysis = lutra.analyze(f"{zoo.PREFIX}{row.name}", "cortex-m0")
    header = ("layer", "output", "kernel", "K x d", "MACs", "bytes", "instructions")
    body = []
    for layer, cost in zip(analysis.layers, row.microbit.layers, strict=True):
        coded = "-" if layer.codewords is None else f"{layer.codewords} x {layer.subvector}"
        numbers = tuple(f"{number:,}" for number in (layer.macs, layer.model_bytes, cost.instructions))
        body.append((", ".join(layer.names), "x".join(map(str, layer.output_shape)), layer.kernel, coded, *numbers))
    return table(header, body)


def report(rows: list[Row]) -> str:
    """The text of docs/results.md."""
    parity = table(("artefact", "boards"), [(f"`zoo:{row.name}`", ", ".join(row.parity_boards)) for row in rows])
    host = table(
        ("artefact", "10,000 images"), [(f"`zoo:{row.name}`", f"{row.host_seconds:.1f} s") for row in rows]
    )
    return f"""# Results

Written by `make bench-compression` (benchmarks/results.py). Accuracy is that of the C runtime on all 10,000 test images; settings were
chosen on 5,000 images cut from the training set. All model bytes are counted: indices, codebooks, biases, multipliers, shapes, CRCs. "vs
float": 4 bytes a parameter of the unpruned network; "vs int8": the same unpruned network as Lutra's own plain int8 bundle; "arena":
without stack, with the kernels that are chosen for a Cortex-M0. The standard error of an accuracy near 99 % on 10,000 images is 0.09 pp,
near 92 % 0.27 pp. Inputs are (pixel / 255 - 0.1307) / 0.3081 for MNIST and (pixel - 128) / 64 for CIFAR-10, of ResNet-8
pixels as they are.

{accuracy_table(rows)}

Points were trained with one or several seeds from one float network; the released one is that of median accuracy, of two the worse
(benchmarks/release.py):

{seed_table(rows)}

How each was made is in its file: `python/lutra/zoo/recipes/` holds the settings with their seeds, and
`lutra compress zoo:NETWORK/float --data DATA --config zoo:NETWORK[/POINT] -o out.lutra`, DATA being mnist or cifar10-centred, makes its
like again (of ResNet-8 from MLPerf Tiny's float network as an ONNX file, and cifar10; of AlexNet, VGG-16 and ResNet-18 from what
`lutra zoo train` writes): with the same versions,
number of threads and kind of processor a recipe gives the same bytes, otherwise float rounding differs.
`lutra zoo train NETWORK` trains the float network: the 80 epochs of ResNet-20 took 84 min on one core of an AMD EPYC (Zen 5), the 44 of
AlexNet, whose 93 MB are not in the zoo, 75 min on one of an Intel Xeon (Sapphire Rapids). VGG-16 (59 MB, not in the zoo either) and
ResNet-18 (45 MB) were trained there in the time there was, far from the 100 epochs and more that would bring them to 93 %: 20 epochs in
83 min and 10 in 70 min. (For time, convolutions of at most 4 x 4 pixels ran as matrix products there and while the points of VGG-16,
ResNet-18 and `zoo:alexnet/60x` were compressed, which is not part of Lutra: with torch's own the rounding differs, and training takes
longer.) `zoo:resnet18` is smaller than `zoo:resnet18/160x` and better: it had more epochs.

{float_table(rows)}

## Flash, RAM and speed
Flash is model, kernels and schedule, RAM is arena and stack; both are bounds from before linking. Estimated cycles of one inference by the
compiler's cost model (zero wait states; M55 by a model of our own), and how many times faster that is than the unpruned int8 network by
TensorFlow Lite Micro with CMSIS-NN ([models.md](benchmarks/models.md)).

{speed_table(rows)}

## As firmware on a Cortex-M0 (emulated microbit, arm-none-eabi-gcc -Os)
Of those that fit its 16 KB of RAM. "kernels + schedule" counts compiler support routines, libc and padding.
Instructions are executed ones of one inference, counted by QEMU.

{firmware_table(rows)}

{chr(10).join(f"### `zoo:{row.name}`{chr(10)}{layer_table(row)}{chr(10)}" for row in rows if row.microbit)}
## Parity
Interpreter = host C = board, 0 differing bytes over the first 100 test images, on all boards whose RAM is enough:

{parity}

## On the host
{os.cpu_count()} cores ({platform.machine()}), wall clock beside whatever else the machine did, building not included, quantization and
dequantization included.

{host}
"""


def main() -> None:
    rows = [measured(name) for name in zoo.names() if not name.endswith("/float")]
    (ROOT / "docs/results.md").write_text(report(rows), encoding="utf-8")
    readme = between((ROOT / "README.md").read_text(encoding="utf-8"), MARKERS, accuracy_table(rows))
    (ROOT / "README.md").write_text(between(readme, SPEED_MARKERS, speed_summary()), encoding="utf-8")
    print(json.dumps({row.name: {"ratio": row.validation.ratio, "accuracy": row.validation.accuracy} for row in rows}))


if __name__ == "__main__":
    main()
