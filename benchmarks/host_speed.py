"""Measures the host runner and writes docs/host-speed.md; with --json it also prints the figures.

Others may use the machine as well, so every run is timed twice: by the wall clock, and by the CPU time of all threads, from which the
rate of a core follows.
"""

import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import lutra
from lutra import zoo
from lutra.host import Bundle, open_bundle
from lutra.zoo.networks import lenet5

ROOT = Path(__file__).resolve().parents[1]
CORES = os.cpu_count() or 1
THREADS = 2  # of the bar for MNIST
IMAGES = 10_000
SECONDS = 20.0  # of CPU time, about, for a measurement of the rate
EVALUATION = 400e9  # multiply-adds


class ResNet20(nn.Module):
    """For 32 x 32 images, with parameter-free shortcuts: 40.6 M multiply-adds. [He 2016]"""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._convolution(3, 16, 1)
        widths = [16] * 3 + [32] * 3 + [64] * 3
        self.first = nn.ModuleList(self._convolution(a, b, b // a) for a, b in zip([16, *widths], widths, strict=False))
        self.second = nn.ModuleList(self._convolution(width, width, 1) for width in widths)
        self.classifier = nn.Linear(64, 10)

    @staticmethod
    def _convolution(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, 32, 32] -> [n, 10]"""
        x = functional.relu(self.stem(x))
        for first, second in zip(self.first, self.second, strict=True):
            y = second(functional.relu(first(x)))
            if y.shape != x.shape:
                pad = (y.shape[1] - x.shape[1]) // 2
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad))
            x = functional.relu(x + y)
        scores: Tensor = self.classifier(x.mean([2, 3]))
        return scores


@dataclass(frozen=True)
class Measurement:
    """`images` through a bundle on `threads` threads; float images in, float scores out, building not included."""

    network: str
    weights: str
    multiply_adds: int  # of one image
    images: int
    threads: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Multiply-adds a second of one core."""
        return self.multiply_adds * self.images / self.cpu_seconds

    @property
    def evaluation_minutes(self) -> float:
        """Minutes for 400 G multiply-adds on all cores of this machine, if nobody else uses it."""
        return EVALUATION / (self.rate * CORES) / 60


def untrained(module: nn.Module, shape: tuple[int, ...], layers: tuple[lutra.LayerConfig, ...]) -> lutra.Model:
    """The module with random weights, encoded as configured and calibrated on noise; no time depends on what the numbers are."""
    none = lutra.StageConfig(0, 0.0)
    config = lutra.CompressionConfig(layers, training=lutra.TrainingConfig(none, none, none, none), calibration_samples=64)
    noise = np.random.default_rng(0).normal(size=(64, *shape)).astype(np.float32)
    return lutra.compress(lutra.load(module, torch.zeros(1, *shape)), lutra.Dataset(noise), config)


def timed(bundle: Bundle, images: np.ndarray, threads: int) -> tuple[float, float]:
    """Wall and CPU seconds for all images."""
    wall, cpu = time.perf_counter(), time.process_time()
    bundle.run(images, threads=threads)
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(network: str, weights: str, model: lutra.Model, threads: int, images: int | None = None) -> Measurement:
    """Time `images` random images, or as many as take about SECONDS of CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = open_bundle(lutra.generate(model, Path(folder, "bundle"), prefix="model"))
    noise = np.random.default_rng(1).normal(size=(256, *bundle.inputs[0].source_shape)).astype(np.float32)
    _, warm = timed(bundle, noise, threads)
    count = images or max(len(noise), int(len(noise) * SECONDS / warm))
    wall, cpu = timed(bundle, np.resize(noise, (count, *noise.shape[1:])), threads)
    macs = sum(layer["macs"] for layer in bundle.manifest["layers"])
    return Measurement(network, weights, macs, count, threads, wall, cpu)


def measurements() -> Iterator[Measurement]:
    int8 = lutra.LayerConfig(kind="int8")
    for name in ("lenet5", "lenet300"):
        if name in zoo.names():
            yield measure(f"zoo:{name}", "released artefact", lutra.load(f"zoo:{name}"), THREADS, IMAGES)
    yield measure("LeNet-5", "int8", untrained(lenet5(), (1, 28, 28), (int8,)), THREADS, IMAGES)
    ends = tuple(lutra.LayerConfig(layer, "int8") for layer in (0, 19))
    coded = (*ends, lutra.LayerConfig(codewords=16, subvector=8))
    for weights, layers in (("K = 16, d = 8", coded), ("int8", (int8,))):
        yield measure("ResNet-20", weights, untrained(ResNet20(), (3, 32, 32), layers), CORES)


def report(rows: Sequence[Measurement]) -> str:
    """The text of docs/host-speed.md."""
    body = "\n".join(
        f"| {row.network} | {row.weights} | {row.multiply_adds / 1e6:.2f} M | {row.images:,} | {row.threads} | {row.wall_seconds:.1f} "
        f"| {row.cpu_seconds:.1f} | {row.rate / 1e9:.2f} G | {row.evaluation_minutes:.1f} |"
        for row in rows
    )
    return f"""# Speed of the host runner

Written by `python benchmarks/host_speed.py` on {CORES} cores ({processor()}). Float images in, float scores out, quantization included,
building not. The weights of what is not released are random: no time depends on them. CPU seconds are those of all threads; the rate of a
core and the time for 400 G multiply-adds on all cores follow from them, so that others on the machine count little. Wall-clock seconds are
what it took beside them.

| network | weights | multiply-adds | images | threads | wall s | CPU s | a second, a core | 400 G, min |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{body}
"""


def processor() -> str:
    """What this machine's CPU calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found[1] if found else platform.machine()


def main() -> None:
    torch.manual_seed(0)
    rows = list(measurements())
    (ROOT / "docs/host-speed.md").write_text(report(rows), encoding="utf-8")
    if "--json" in sys.argv[1:]:
        figures = [asdict(row) | {"rate": row.rate, "evaluation_minutes": row.evaluation_minutes} for row in rows]
        print(json.dumps({"cores": CORES, "processor": processor(), "measurements": figures}))


if __name__ == "__main__":
    main()
