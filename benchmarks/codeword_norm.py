"""What the bound of a codeword's L1 norm costs in accuracy: writes docs/benchmarks/codeword_norm.md.

    python benchmarks/codeword_norm.py

compresses LeNet-300-100 with its recipe at a quarter of the epochs, for every bound and three seeds, and measures on validation
images. The smaller the bound, the coarser are the int8 codewords, and the more table entries a kernel may add in 16 bits.
"""

from dataclasses import replace
from pathlib import Path
from statistics import mean

import lutra
from lutra import zoo
from lutra.validation import accuracy_of, run_float
from lutra.zoo.data import load_mnist
from lutra_compiler.config import CODEWORD_NORMS, CompressionConfig, load_config

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs/benchmarks/codeword_norm.md"
NETWORK, SEEDS, EPOCHS = "lenet300", (1, 2, 3), 0.25


def accuracy(config: CompressionConfig) -> float:
    """Validation accuracy of the integer network, in percent."""
    held_out = load_mnist("validation")
    small = lutra.compress(f"{zoo.PREFIX}{NETWORK}/float", load_mnist("train"), config)
    found = accuracy_of(run_float(small, held_out), held_out)
    assert found is not None
    return 100 * found


def main() -> None:
    recipe = load_config(zoo.recipe(NETWORK)).with_epochs_scaled(EPOCHS)
    layers = ", ".join(f"{layer.codewords} x {layer.subvector}" for layer in recipe.layers)
    lines = [
        "# What the bound of a codeword's L1 norm costs",
        "",
        f"Validation accuracy of {NETWORK}, compressed with its recipe ({layers}) at {EPOCHS:g} of the epochs, by",
        "the bound `codeword_norm` and the seed. With 127, sums of two table entries fit 16 bits, with 63 sums of four. Regenerate with",
        "`python benchmarks/codeword_norm.py`.",
        "",
        "| bound | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | mean |",
        "| ---: |" + " ---: |" * (len(SEEDS) + 1),
    ]
    for norm in reversed(CODEWORD_NORMS):
        bounded = tuple(replace(layer, codeword_norm=norm) for layer in recipe.layers)
        found = [accuracy(replace(recipe, layers=bounded).with_seed(seed)) for seed in SEEDS]
        lines.append(f"| {norm} | " + " | ".join(f"{value:.2f} %" for value in (*found, mean(found))) + " |")
        print(lines[-1], flush=True)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
