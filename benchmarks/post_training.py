"""Compression without training data: writes docs/benchmarks/post_training.md and post_training.json (`make bench-post-training`).

    LUTRA_MODELS=FOLDER python benchmarks/post_training.py              measure all networks and write both files
    python benchmarks/post_training.py --network lenet5 --json          measure one and print its row; write nothing

From a float model and 256 unlabelled samples to a C bundle by `lutra compress --method reconstruct`, measured on test samples that nothing
was chosen by. LUTRA_MODELS names a folder of the MLPerf Tiny reference networks as ONNX files.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

import lutra
from lutra.dataset import Dataset
from lutra.validation import Validation, run_float
from lutra.zoo.data import load
from lutra.zoo.machine_noise import machine_noise

ROOT = Path(__file__).resolve().parents[1]
JSON, REPORT = ROOT / "docs/benchmarks/post_training.json", ROOT / "docs/benchmarks/post_training.md"
RECIPES = Path(__file__).parent / "recipes"
SAMPLES, SEED = 256, 0
NOISE_SEED, NOISE_TEST_SEED, NOISE_TEST_SAMPLES = 1, 2, 10_000


@dataclass(frozen=True)
class Network:
    """A float model, the samples that it is reconstructed from, and those that it is measured on."""

    title: str
    model: str
    samples: Callable[[], Dataset]
    test: Callable[[], Dataset]


@dataclass(frozen=True)
class Row:
    """What came of one network. Accuracies, or without labels differences relative to the float outputs' variance, are parts of 1."""

    network: str
    parameters: int
    model_bytes: int
    ratio: float
    int8_ratio: float
    float_accuracy: float | None
    accuracy: float | None
    difference: float | None
    cpu_seconds: float
    command: str


def networks() -> dict[str, Network]:
    """All that there are: LeNet-5, and those in LUTRA_MODELS."""
    found = {"lenet5": Network("LeNet-5-Caffe, MNIST", "zoo:lenet5/float", partial(load, "mnist", "train"), partial(load, "mnist", "test"))}
    folder = os.environ.get("LUTRA_MODELS")
    if folder is None:
        print("LUTRA_MODELS names no folder: the MLPerf Tiny networks are left out", file=sys.stderr)
        return found
    resnet8, autoencoder = (Path(folder, f"{name}.onnx") for name in ("mlperf_ic_resnet8", "mlperf_ad_autoencoder"))
    noise = partial(machine_noise, SAMPLES, NOISE_SEED), partial(machine_noise, NOISE_TEST_SAMPLES, NOISE_TEST_SEED)
    cifar10 = partial(load, "cifar10", "train"), partial(load, "cifar10", "test")
    return found | {
        resnet8.stem: Network("MLPerf Tiny ResNet-8, CIFAR-10", str(resnet8), *cifar10),
        autoencoder.stem: Network("MLPerf Tiny autoencoder, machine noise", str(autoencoder), *noise),
    }


def measure(name: str, network: Network) -> Row:
    """Compress by the command that users type, in a process of its own, and validate the C of what it writes."""
    with tempfile.TemporaryDirectory() as folder:
        samples, output = Path(folder, "samples.npy"), Path(folder, "small.lutra")
        np.save(samples, network.samples().images[:SAMPLES])
        options = ["--config", str(RECIPES / f"{name}.toml"), "--seed", str(SEED)]
        command = [sys.executable, "-m", "lutra", "compress", network.model, "--data", str(samples), *options, "-o", str(output)]
        before = cpu_seconds()
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        seconds = cpu_seconds() - before
        test = network.test()
        reference = lutra.load(network.model)
        small = lutra.validate(output, test, reference=reference)
    if not (small.bit_exact and small.tables_intact):
        raise SystemExit(f"{name}: the C differs from the interpreter")
    assert small.ratio is not None
    assert small.int8_ratio is not None
    recipe = (RECIPES / f"{name}.toml").relative_to(ROOT)
    return Row(
        name,
        reference.graph.trainable_parameters(),
        small.model_bytes,
        round(small.ratio, 2),
        round(small.int8_ratio, 2),
        small.float_accuracy,
        small.accuracy,
        None if test.labels is not None else relative_difference(small, reference, test),
        round(seconds, 1),
        f"lutra compress {network.model.rpartition('/')[2] if network.model.endswith('.onnx') else network.model} --data samples.npy "
        f"--config {recipe} --seed {SEED} -o small.lutra",
    )


def cpu_seconds() -> float:
    """What all commands that have ended took of the processor: on a quiet machine the seconds on one core."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def relative_difference(validation: Validation, reference: lutra.Model, test: Dataset) -> float:
    """Mean squared difference from the float network's outputs, relative to their variance."""
    assert validation.difference is not None
    return float(f"{validation.difference.rmse**2 / float(run_float(reference, test).var()):.3g}")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def table(rows: Sequence[Row]) -> list[str]:
    """A network a line."""
    titles = {name: network.title for name, network in networks().items()}
    lines = [
        "| network | parameters | model bytes | vs float | vs int8 | float | compressed | drop or difference | CPU seconds |",
        "| --- |" + " ---: |" * 8,
    ]
    for row in rows:
        sizes = f"{row.parameters:,} | {row.model_bytes:,} | {row.ratio:.1f}x | {row.int8_ratio:.2f}x"
        if row.accuracy is None or row.float_accuracy is None:
            measured = f"- | - | {percent(row.difference)}"
        else:
            accuracies = f"{percent(row.float_accuracy)} | {percent(row.accuracy)}"
            measured = f"{accuracies} | {100 * (row.float_accuracy - row.accuracy):.2f} pp"
        lines.append(f"| {titles[row.network]} | {sizes} | {measured} | {row.cpu_seconds:.0f} |")
    return lines


def fingerprint(samples: int, seed: int) -> str:
    """SHA-256 of made-up machine noise, float32 little-endian."""
    return sha256(machine_noise(samples, seed).images.astype("<f4").tobytes()).hexdigest()


def report(rows: Sequence[Row]) -> str:
    """The text of post_training.md."""
    return "\n".join(
        [
            "# Compression without training data",
            "",
            "Written by `make bench-post-training` (benchmarks/post_training.py): from a float model and 256 unlabelled samples, the first",
            "of the training set, to a C bundle. All model bytes are counted; accuracy is that of the C runtime on all 10,000 test images,",
            "which nothing was chosen by: settings come from validation images. \"vs float\": 4 bytes a trainable parameter of the float",
            "network; \"vs int8\": Lutra's own plain int8 bundle of it. Of the autoencoder the mean squared difference of the C's outputs",
            "from the float network's is shown, relative to the variance of those, on 10,000 windows. CPU seconds are those of the whole",
            "command, which had one thread.",
            "",
            *table(rows),
            "",
            "The autoencoder's inputs are made up (`lutra.zoo.machine_noise`): `machine_noise(256, 1)` to compress, SHA-256",
            f"`{fingerprint(SAMPLES, NOISE_SEED)}`, and `machine_noise(10000, 2)` to measure, SHA-256",
            f"`{fingerprint(NOISE_TEST_SAMPLES, NOISE_TEST_SEED)}`.",
            "",
            "## Commands",
            *(f"- `{row.command}`" for row in rows),
            "",
        ]
    )


def main(arguments: Sequence[str]) -> None:
    known = networks()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=known, action="append")
    parser.add_argument("--json", action="store_true", help="print rows; write nothing")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.network or known:
        rows.append(measure(name, known[name]))
        print(json.dumps(asdict(rows[-1])), flush=True)
    if not options.json:
        JSON.write_text("[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n")
        REPORT.write_text(report(rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
