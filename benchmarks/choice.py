"""Whether the compiler takes the best kernel: random layers, every candidate measured; writes docs/benchmarks/choice.md.

    python benchmarks/choice.py [--target cortex-m4 ...] [--layers 300]

The candidates of a product-quantized layer include its weights stored as plain int8 (dense), as if flash were no matter.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fit_cost_model import MACS, measured
from lutra_compiler.program.choose_kernel import NETWORK_TIE, TIE
from lutra_compiler.program.cost_model import cycles
from measure_layers import BOARD_OF, Layer, Measurement, random_layers

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs/benchmarks/choice.md"
SEED = 16  # no layer of it is fitted to


@dataclass(frozen=True)
class Choice:
    """Measured cycles of the kernel that the compiler takes, of the best one, and of plain int8."""

    chosen: Measurement
    best: Measurement
    dense: Measurement

    @property
    def loss(self) -> float:
        """Cycles of the choice over those of the best."""
        return self.chosen.cycles / self.best.cycles


def choices(target: str, layers: Sequence[Layer]) -> list[Choice]:
    """What the compiler takes for each layer that has a choice, if flash is no matter."""
    ways: dict[Layer, list[Measurement]] = defaultdict(list)
    for m in measured(target, layers):
        ways[m.layer].append(m)
    found = []
    for layer, candidates in ways.items():
        if layer.coding is None:
            continue
        expected = {id(m): cycles(f"lutra_{m.kernel}", m.fields, target) for m in candidates}
        dense = next(m for m in candidates if m.kernel.endswith("dense"))
        limit = min(TIE * min(expected.values()), expected[id(dense)])
        chosen = min((m for m in candidates if expected[id(m)] <= limit), key=lambda m: (m.scratch_bytes, expected[id(m)]))
        found.append(Choice(chosen, min(candidates, key=lambda m: m.cycles), dense))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=BOARD_OF, action="append")
    parser.add_argument("--layers", type=int, default=300)
    arguments = parser.parse_args()
    targets = arguments.target or [target for target in BOARD_OF if target != "cortex-m0"]
    lines = [
        "# Whether the compiler takes the best kernel",
        "",
        f"{arguments.layers} random layers a target (`random_layers({SEED}, ...)`), those with product-quantized weights: all",
        "candidates measured in QEMU, cycles of the one that the compiler takes against the best one and plain int8 weights. Candidates",
        f"estimated within {100 * TIE - 100:.0f} % of the fastest and no slower than int8 count as equal: the one of less RAM is taken.",
        f"(In a network a slower one may follow where that saves memory, at {100 * NETWORK_TIE - 100:.0f} % of its cycles at most.)",
        "Regenerate with `make choice`.",
        "",
        "| target | layers | within 5 % of the best | largest loss | faster than int8 | slower than int8 | largest loss against int8 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for target in targets:
        found = choices(target, random_layers(SEED, arguments.layers, MACS))
        loss = np.array([choice.loss for choice in found])
        dense = np.array([choice.chosen.cycles / choice.dense.cycles for choice in found])
        lines.append(
            f"| {target} | {len(found)} | {100 * (loss <= 1.05).mean():.1f} % | {100 * loss.max() - 100:.1f} % "
            f"| {100 * (dense < 1).mean():.1f} % | {100 * (dense > 1).mean():.1f} % | {100 * dense.max() - 100:.1f} % |"
        )
        print(lines[-1], flush=True)
        for choice in sorted(found, key=lambda choice: -choice.loss)[:3]:
            print(f"  {choice.loss:.3f} {choice.chosen.kernel} {choice.best.kernel} {choice.chosen.layer}")
    if arguments.target is None:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
