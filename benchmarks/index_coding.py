"""What coded indices take: bytes against entropy, and the time and the flash of the decoder; writes docs/benchmarks/index_coding.md.

    python benchmarks/index_coding.py
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

import sizes
from lutra import zoo
from lutra_compiler.compression.code_indices import DECODER_BYTES, code_indices, saved_bytes
from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.numerics.index_coding import encode_indices, table_bytes
from lutra_compiler.numerics.packing import pack_indices
from lutra_compiler.program.kernels import KERNELS, UNPACK
from measure_layers import Coding, Layer, first_candidate, measure

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs/benchmarks/index_coding.md"
COUNT, SUBVECTOR = 10_000, 8
SKEWED = ((16, 0.6), (16, 0.8), (16, 0.9), (16, 0.95), (64, 0.8), (256, 0.8))  # K, share of index 0
TARGETS = ("cortex-m0", "cortex-m0plus", "cortex-m4")


def entropy_bytes(indices: npt.NDArray[np.uint8]) -> float:
    _, counts = np.unique(indices, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def synthetic_rows() -> Iterator[str]:
    """Indices of which one is frequent and the others are equally so."""
    for codewords, zeros in SKEWED:
        rng, bits = np.random.default_rng(0), 4 if codewords <= 16 else 8
        indices = np.where(rng.random(COUNT) < zeros, 0, rng.integers(1, codewords, COUNT)).astype(np.uint8)
        coded, codes = encode_indices(indices, codewords, bits).size, table_bytes(codewords, bits)
        entropy = entropy_bytes(indices)
        stream = coded - codes
        yield (
            f"| {codewords} | {zeros:.0%} | {COUNT * bits // 8:,} | {entropy:,.0f} | {stream:,} | {stream / entropy - 1:.2%} | {codes} "
            f"| {8 * coded / COUNT / SUBVECTOR:.3f} |"
        )


def artefact_rows(name: str) -> Iterator[str]:
    """The product-quantized layers of a released network."""
    graph = zoo.load(name).graph
    chosen = code_indices(graph).encodings
    for weight, encoding in graph.encodings.items():
        if isinstance(encoding, ProductQuantized):
            shape = "x".join(map(str, encoding.shape))
            packed, saved = pack_indices(encoding.indices, encoding.index_bits).size, saved_bytes(encoding)
            marked = chosen[weight]
            assert isinstance(marked, ProductQuantized)
            yield (
                f"| `zoo:{name}` | {shape} | {encoding.codewords} x {encoding.subvector} | {packed:,} "
                f"| {entropy_bytes(encoding.indices):,.0f} | {packed - saved:,} | {saved:,} | {'yes' if marked.coded else 'no'} |"
            )


def time_rows() -> Iterator[str]:
    layers = [
        Layer("linear", (SUBVECTOR * 100,), COUNT // 100, coding=Coding(SUBVECTOR, codewords, zeros=zeros)) for codewords, zeros in SKEWED
    ]
    for target in TARGETS:
        for m in measure(target, layers, first_candidate):
            if f"lutra_{m.kernel}" == UNPACK and m.layer.coding:
                coding = m.layer.coding
                yield (
                    f"| {target} | {coding.codewords} | {coding.zeros:.0%} | {m.instructions / COUNT:.1f} | {m.cycles / COUNT:.1f} "
                    f"| {m.cycles / COUNT / SUBVECTOR:.1f} |"
                )


def flash_row() -> str:
    with tempfile.TemporaryDirectory() as folder:
        found = {target: sizes.flash_bytes(sizes.build(target, Path(folder, target)), (UNPACK,)) for target in ("cortex-m0", "cortex-m4")}
    return ", ".join(f"{size} bytes on {target}" for target, size in found.items())


def main() -> None:
    overhead = KERNELS[UNPACK].descriptor.size_bytes
    names = [name for name in zoo.names() if not name.endswith("/float")]
    REPORT.write_text(
        "\n".join([
            "# Coded indices",
            "",
            "Written by `python benchmarks/index_coding.py`. Indices are coded with rANS (SPEC.md, section 4): a table of frequency codes",
            "and a stream. Bytes of flash.",
            "",
            f"## {COUNT:,} indices of which one is frequent, the others equally so (d = {SUBVECTOR})",
            "",
            "| K | frequent | packed | entropy | stream | over entropy | frequency codes | bits a weight |",
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *synthetic_rows(),
            "",
            "## Released networks",
            "",
            f"Coded: frequency codes, stream, and {overhead} bytes for the descriptor of the call. A layer is coded where",
            f"that is less than packed, if all layers together save more than {DECODER_BYTES} bytes, the decoder's code with its calls.",
            "",
            "| network | weight | K x d | packed | entropy | coded | saved | is coded |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
            *(row for name in names for row in artefact_rows(name)),
            "",
            "## The decoder",
            "",
            f"{flash_row()} (gcc -Os). Instructions and estimated cycles counted in QEMU, for the indices of the first table.",
            "",
            "| target | K | frequent | instructions an index | cycles an index | cycles a weight |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *time_rows(),
        ])
        + "\n"
    )


if __name__ == "__main__":
    main()
