"""Product quantization against 2- to 4-bit scalar quantization at equal bytes: writes docs/benchmarks/scalar_vs_pq.md.

    python benchmarks/scalar_vs_pq.py

For each layer of the zoo's float networks, and of the ONNX files in the folder LUTRA_MODELS if it is set, the least error of product
quantization in no more bytes than scalar quantization takes. Nothing is trained.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import lutra
from lutra.zoo.data import load_mnist
from lutra_compiler.compression.input_power import input_power
from lutra_compiler.compression.product_quantize import default_setting
from lutra_compiler.compression.prune import weighted_layers
from lutra_compiler.ir.graph import Graph
from lutra_compiler.numerics.index_coding import coded_bytes
from lutra_compiler.numerics.packing import index_bytes
from lutra_compiler.numerics.product_quantization import QuantizedRows, quantize_rows

REPORT = Path(__file__).resolve().parents[1] / "docs/benchmarks/scalar_vs_pq.md"
SAMPLES = 1024
CODEBOOKS = ((16, 1), (16, 2), (64, 2), (256, 2), (16, 4), (256, 4))  # K, d
RATES = (0.0, 0.003, 0.006, 0.012, 0.025, 0.03, 0.035, 0.05, 0.07, 0.1, 0.15)
CALL_BYTES = 10  # of the descriptor of the call that decodes coded indices


@dataclass(frozen=True)
class Stored:
    """Bytes of indices and codebook, and the squared error in percent of the (weighted) square of the weight."""

    name: str
    size_bytes: int
    error: float


def error_of(weight: np.ndarray, rows: QuantizedRows, importance: np.ndarray | None) -> float:
    weighing = 1.0 if importance is None else np.broadcast_to(importance, weight.shape).astype(np.float64)
    difference = rows.dense(weight.shape[-1]).reshape(weight.shape) - weight
    return float(100 * (weighing * np.square(difference)).sum() / (weighing * np.square(weight)).sum())


def scalar(weight: np.ndarray, bits: int, importance: np.ndarray | None) -> Stored:
    """The best 2^bits levels for all of the layer, a scale a row, indices packed to the bit."""
    rng = np.random.default_rng(0)
    rows = quantize_rows(weight, 1 << bits, 1, rng, importance=importance, pin_zero=False)
    return Stored(f"{bits} bits", -(-weight.size * bits // 8) + (1 << bits), error_of(weight, rows, importance))


def products(weight: np.ndarray, importance: np.ndarray | None) -> Iterator[Stored]:
    """Codebooks of several sizes, indices as the target stores them: packed, or coded where that is smaller."""
    for codewords, subvector in CODEBOOKS:
        if subvector > weight.shape[-1] or codewords * subvector > weight.size // 4:
            continue
        bits = 4 if codewords <= 16 else 8
        for rate in RATES:
            rng = np.random.default_rng(0)
            rows = quantize_rows(weight, codewords, subvector, rng, importance=importance, rate=rate, pin_zero=False)
            packed = index_bytes(*rows.indices.shape, bits)
            coded = coded_bytes(np.bincount(rows.indices.ravel(), minlength=codewords), bits) + CALL_BYTES
            name = f"{codewords} x {subvector}" + (f", rate {rate:g}" if rate else "") + (", coded" if coded < packed else "")
            yield Stored(name, min(packed, coded) + codewords * subvector, error_of(weight, rows, importance))


def networks() -> Iterator[tuple[str, Graph, dict[str, np.ndarray]]]:
    """Name, float network, and by weight the mean square of its inputs, where there are data."""
    images = torch.from_numpy(load_mnist("train").images[:SAMPLES])
    for name in ("lenet5", "lenet300"):
        graph = lutra.load(f"zoo:{name}/float").graph
        yield name, graph, dict(input_power(graph, images.reshape(-1, *graph.inputs[0].source_shape).split(256)))
    folder = os.environ.get("LUTRA_MODELS")
    for path in sorted(Path(folder).glob("*.onnx")) if folder else ():
        yield path.stem, lutra.load(path).graph, {}


def table(weight: np.ndarray, importance: np.ndarray | None, label: str) -> list[tuple[str, float]]:
    """Rows of the report, each with the error of the product in parts of that of the scalar."""
    options = list(products(weight, importance))
    rows = []
    for bits in (2, 3, 4):
        plain = scalar(weight, bits, importance)
        best = min((option for option in options if option.size_bytes <= plain.size_bytes), key=lambda option: option.error, default=None)
        left = f"| {label} | {plain.name} | {plain.size_bytes:,} | {plain.error:.2f} % |"
        if best is None:
            rows.append((f"{left} none fits | | | |", np.nan))
        else:
            ratio = best.error / plain.error
            rows.append((f"{left} {best.name} | {best.size_bytes:,} | {best.error:.2f} % | {ratio:.2f} |", ratio))
    return rows


def report(found: list[tuple[str, float]]) -> str:
    ratios = np.array([ratio for _, ratio in found if not np.isnan(ratio)])
    lines = [
        "# Product against scalar quantization at equal bytes",
        "",
        "Squared error, in percent of the weight's square, of scalar quantization (the best 4, 8 or 16 levels of a layer, a scale a row,",
        "indices packed to the bit) and of the best codebook that takes no more bytes (codewords x subvector; indices as the target stores",
        f"them, coded ones with their table and {CALL_BYTES} bytes for the call that decodes them). Where that has d = 1, it is scalar",
        "quantization too, but with coded indices. Row scales are as many for both.",
        "Layers that are int8 by default (small, grouped, few input channels) are left out. \"Weighed\": errors count by the mean square",
        f"of the inputs that they meet, from {SAMPLES} training images. Nothing is trained. Regenerate with",
        "`python benchmarks/scalar_vs_pq.py`; LUTRA_MODELS names the folder of the MLPerf Tiny reference networks.",
        "",
        f"In {np.count_nonzero(ratios <= 1.0)} of {len(found)} comparisons product quantization has the lower or the same error, in",
        f"{np.count_nonzero(ratios > 1.0)} the higher; in {len(found) - len(ratios)} no codebook of these fits.",
        "",
        "| layer | scalar | bytes | error | product | bytes | error | product / scalar |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
        *(row for row, _ in found),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    found: list[tuple[str, float]] = []
    for network, graph, power in networks():
        for op in weighted_layers(graph):
            weight = graph.weight(op.weight)
            shape = "x".join(map(str, weight.shape))
            if default_setting(graph, op).kind == "int8":
                continue
            for importance in (None, power.get(op.weight)) if power else (None,):
                label = f"{network} {op.name} {shape}" + ("" if importance is None else ", weighed")
                found += table(weight, importance, label)
                print(*(row for row, _ in found[-3:]), sep="\n", flush=True)
    REPORT.write_text(report(found))


if __name__ == "__main__":
    main()
