"""What each ingredient buys: ResNet-20 on CIFAR-10 with one thing changed at a time; writes docs/benchmarks/ablation.md and ablation.json.

    python benchmarks/ablation.py                    train every variant (an hour or two on one core)
    python benchmarks/ablation.py --only "no ..."    train one, and put its row into the files
    python benchmarks/ablation.py --report           write the table from the rows there are

Every variant has about the bytes of the base, 16 codewords of 4 in all 3x3 layers but the first (coded ones somewhat more), starts from
zoo:resnet20/float and is trained alike, on part of the training images. Accuracy is that of the integer network on the 5,000 validation
images: differences below 0.3 pp, the standard error, say little.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import lutra
from lutra import zoo
from lutra.dataset import Dataset
from lutra.validation import accuracy_of, run_float
from lutra.zoo.data import load
from lutra_compiler.compression.prune import weighted_layers
from lutra_compiler.config import CompressionConfig, LayerConfig, StageConfig, TrainingConfig
from lutra_compiler.ir.graph import Graph
from lutra_compiler.numerics.channel_order import channel_order
from lutra_compiler.numerics.product_quantization import quantize_rows

ROOT = Path(__file__).resolve().parents[1]
JSON, REPORT = ROOT / "docs/benchmarks/ablation.json", ROOT / "docs/benchmarks/ablation.md"
NETWORK, DATA, SAMPLES, SEED = "resnet20", "cifar10-centred", 15_000, 1
TRAINING = TrainingConfig(
    assignment=StageConfig(5, 5e-3), codewords=StageConfig(1, 1e-3), batch_size=256, reassign_every=4, quant_noise=0.3, distillation=0.7,
    augmentation="crop_flip", precision="bfloat16",
)  # fmt: skip
INT8 = (LayerConfig(0, "int8"), LayerConfig(19, "int8"))
PQ = LayerConfig("*", codewords=16, subvector=4, codeword_norm=255)
BASE = CompressionConfig((*INT8, PQ), "train", training=TRAINING, calibration_samples=2048, seed=SEED)
STAGES = {0: range(1, 7), 1: range(7, 13), 2: range(13, 19)}  # the layers of each resolution


@dataclass(frozen=True)
class Row:
    """A variant, measured on validation images."""

    variant: str
    model_bytes: int
    accuracy: float


def weights(**settings: object) -> CompressionConfig:
    """The base with other settings of the quantized layers."""
    return replace(BASE, layers=(*INT8, replace(PQ, **settings)))  # type: ignore[arg-type]


def training(**settings: object) -> CompressionConfig:
    """The base trained in another way."""
    return replace(BASE, training=replace(TRAINING, **settings))  # type: ignore[arg-type]


def shared(*stages: int, **settings: object) -> CompressionConfig:
    """One codebook for all layers of a resolution, in every stage or those named, indices coded where that is smaller."""
    layer = replace(PQ, **settings)  # type: ignore[arg-type]
    layers = [replace(layer, layer=index, codebook=f"stage{stage}") for stage in stages or STAGES for index in STAGES[stage]]
    return replace(BASE, layers=(*INT8, *layers, PQ), index_coding="auto")


VARIANTS: dict[str, Callable[[], CompressionConfig]] = {
    "base: 16 x 4": lambda: BASE,
    "input channels permuted": lambda: weights(permute=True),
    "errors weighed by inputs": lambda: replace(BASE, importance=True),
    "codeword 0 pinned at zero": lambda: weights(zero_codeword=True),
    "a codebook a resolution, not a layer": shared,
    "256 x 8 in two resolutions, a codebook each": lambda: shared(1, 2, codewords=256, subvector=8),
    "64 x 4, a codebook a resolution, coded": lambda: shared(codewords=64, zero_codeword=True, rate=0.3),
    "16 x 2, a codebook a resolution, coded": lambda: shared(subvector=2, zero_codeword=True, rate=0.4),
    "no Quant-Noise": lambda: training(quant_noise=0.0),
    "no distillation": lambda: training(distillation=0.0),
    "subvectors never move": lambda: training(reassign_every=1 << 20),
    "codewords of L1 norm 63 at most": lambda: weights(codeword_norm=63),
    "activation steps not learned": lambda: training(learn_activation_steps=False),
}


def subset() -> Dataset:
    data = load(DATA, "train")
    assert data.labels is not None
    return lutra.make_dataset(data.images[:SAMPLES], data.labels[:SAMPLES])


def measure(variant: str) -> Iterator[Row]:
    """Train one variant; of the base also what float activations would give."""
    validation = load(DATA, "validation")
    small = lutra.compress(f"zoo:{NETWORK}/float", subset(), VARIANTS[variant]())
    found = lutra.validate(small, validation, layers=False)
    assert found.accuracy is not None
    yield Row(variant, found.model_bytes, found.accuracy)
    if variant.startswith("base"):
        accuracy = accuracy_of(run_float(small, validation), validation)
        assert accuracy is not None
        yield Row("base with float activations", found.model_bytes, accuracy)


def first_errors() -> dict[str, float]:
    """Squared error before training, in percent of the weights' square, of all quantized layers together."""
    graph = zoo.load(f"{NETWORK}/float").graph
    ways: dict[str, Callable[[np.ndarray], float]] = {
        "base: 16 x 4, a scale a row": lambda w: error(w),
        "one scale a layer": lambda w: error(w.reshape(1, -1, w.shape[-1])),
        "input channels permuted": lambda w: error(w[..., channel_order([w], 4, np.random.default_rng(SEED))]),
        "codeword 0 pinned at zero": lambda w: error(w, pin_zero=True),
        "256 x 8": lambda w: error(w, 256, 8),
        "256 x 4, twice the bits": lambda w: error(w, 256, 4),
        "16 x 2, twice the bits": lambda w: error(w, 16, 2),
    }
    layers = quantized(graph)
    total = sum(float(np.square(weight).sum()) for weight in layers)
    return {name: 100 * sum(map(way, layers)) / total for name, way in ways.items()}


def quantized(graph: Graph) -> list[np.ndarray]:
    return [graph.parameters[op.weight] for op in weighted_layers(graph)][1:-1]


def error(weight: np.ndarray, codewords: int = 16, subvector: int = 4, *, pin_zero: bool = False) -> float:
    rows = quantize_rows(weight, codewords, subvector, np.random.default_rng(SEED), pin_zero=pin_zero)
    return float(np.square(rows.dense(weight.shape[-1]).reshape(weight.shape) - weight).sum())


def report(rows: dict[str, Row]) -> str:
    base = rows["base: 16 x 4"]
    order = [name for name in ("base: 16 x 4", "base with float activations", *VARIANTS) if name in rows]
    body = "\n".join(
        f"| {row.variant} | {row.model_bytes:,} | {100 * row.accuracy:.2f} % | {100 * (row.accuracy - base.accuracy):+.2f} pp |"
        for row in (rows[name] for name in dict.fromkeys(order))
    )
    missing = [name for name in VARIANTS if name not in rows]
    first = "\n".join(f"| {name} | {value:.2f} % |" for name, value in first_errors().items())
    return f"""# What each ingredient buys

Written by `python benchmarks/ablation.py`: zoo:{NETWORK}/float with one thing changed at a time, {TRAINING.assignment.epochs} +
{TRAINING.codewords.epochs} epochs on {SAMPLES:,} training images, seed {SEED}, accuracy on the 5,000 validation images; differences below
0.3 pp, the standard error, say little, and a long training makes them smaller. Two 4-bit indices share a byte: with a byte an index the
base would take {sum(w.size for w in quantized(zoo.load(f"{NETWORK}/float").graph)) // 4 // 2:,} bytes more. How small coded indices get
is known after training only: compare their bytes as well.{f" Variants not trained yet: {'; '.join(missing)}." if missing else ""}

| variant | model bytes | validation | against the base |
| --- | ---: | ---: | ---: |
{body}

Before training, squared error of the weights in percent of their square:

| variant | error |
| --- | ---: |
{first}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=VARIANTS)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    rows = {row["variant"]: Row(**row) for row in (json.loads(JSON.read_text()) if JSON.exists() else [])}
    for variant in () if arguments.report else (arguments.only,) if arguments.only else VARIANTS:
        for row in measure(variant):
            rows[row.variant] = row
            print(json.dumps(asdict(row)), flush=True)
        JSON.write_text(json.dumps([asdict(row) for row in rows.values()], indent=1) + "\n")
    REPORT.write_text(report(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
