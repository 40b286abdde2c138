"""Are budgets kept: random networks under random limits of flash and RAM, measured in ELFs; writes docs/benchmarks/budgets.md.

    python benchmarks/budgets.py            20 budgets
    python benchmarks/budgets.py --count 3  fewer; writes nothing
"""

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import lutra
from lutra import zoo
from lutra.api import fit
from lutra.budgets import Fit
from lutra.dataset import Dataset
from lutra.zoo.data import is_fetched, load_mnist
from lutra_compiler.budget import Budget
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Samples
from lutra_compiler.compression.training import fit as train
from lutra_compiler.errors import BudgetError
from random_networks import random_network

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs/benchmarks/budgets.md"
TARGETS = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m55")
ZOO = {7: "lenet300", 13: "lenet5"}  # the numbers of budgets that are for networks of the zoo, where MNIST is at hand
SHORT = lutra.StageConfig(1, 1e-3)
CONFIG = lutra.CompressionConfig(
    training=lutra.TrainingConfig(SHORT, SHORT, SHORT, SHORT, batch_size=64),
    pruning=lutra.PruningConfig(rounds=1),
    search=lutra.SearchConfig(samples=512, validation=128, levels=5, recovery=SHORT, trials=1, swaps=2),
)


@dataclass(frozen=True)
class Row:
    """A budget and what became of it. `nearest`: what the nearest point takes that was named, as measured; None if the budget was kept."""

    network: str
    budget: Budget
    taken: Fit | None
    nearest: Fit | None
    reason: str
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether the bundle fits, or the nearest point that was named does what was said of it."""
        return self.taken is not None or self.nearest is not None


def prototypes(count: int, seed: int) -> Dataset:
    """Noisy images of four classes."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(4, 1, 12, 12))
    labels = rng.integers(4, size=count)
    return lutra.make_dataset((centres[labels] + rng.normal(size=(count, 1, 12, 12))).astype(np.float32), labels)


def float_network(number: int) -> tuple[str, lutra.Model, Dataset]:
    """The network of a budget, trained for a moment, and samples for it."""
    if number in ZOO and is_fetched("mnist"):
        return f"zoo:{ZOO[number]}", zoo.load(f"{ZOO[number]}/float"), load_mnist("train").head(1000)
    data = prototypes(500, seed=1)
    model = lutra.load(random_network(number), torch.zeros(1, 1, 12, 12))
    module = TorchGraph(model.graph)
    samples = Samples(torch.from_numpy(data.images), torch.from_numpy(data.labels))
    train(module, samples, lutra.StageConfig(3, 2e-3), lutra.TrainingConfig(batch_size=50), name="float", seed=0, after_step=module.project)
    return f"random {number}", replace(model, graph=module.to_graph()), data


def random_budget(number: int) -> Budget:
    """Limits from far too tight to plenty."""
    rng = np.random.default_rng([number, 4])
    flash, ram = (int(1024 * 2 ** rng.uniform(low, high)) for low, high in ((1.2, 4.7), (-0.8, 3.8)))
    return Budget(flash=flash, ram=ram, target=TARGETS[number % len(TARGETS)])


def keep(number: int) -> Row:
    """Compress under the budget; if that cannot be, under the one that the nearest point is said to need."""
    started = time.monotonic()
    name, model, data = float_network(number)
    budget = random_budget(number)
    try:
        taken = fit(model, data, CONFIG, budget)[1]
        assert taken is not None
        return Row(name, budget, taken if taken.measured and taken.keeps(budget) else None, None, "", time.monotonic() - started)
    except BudgetError as error:
        if error.nearest is None:
            return Row(name, budget, None, None, str(error), time.monotonic() - started)
        wider = budget.just(int(error.nearest["flash_bytes"]), int(error.nearest["ram_bytes"]), error.nearest["cycles"])
        nearest = fit(model, data, CONFIG, wider)[1]
        assert nearest is not None
        kept = nearest.measured and nearest.keeps(wider) and not nearest.keeps(budget)
        return Row(name, budget, None, nearest if kept else None, str(error), time.monotonic() - started)


def report(rows: list[Row]) -> str:
    """The text of budgets.md."""
    fits = sum(row.taken is not None for row in rows)
    lines = [
        "# Are budgets kept", "",
        f"{len(rows)} random (network, flash, RAM): `python benchmarks/budgets.py`. Flash (tables, kernels, schedule) and RAM (arena,",
        "worst-case stack) are read from ELFs. Training is cut short, since sizes do not depend on it.",
        f"{fits} were kept; for {sum(row.nearest is not None for row in rows)} the command failed and named the nearest point, which",
        f"does fit what it is said to need; {sum(not row.kept for row in rows)} were not kept.", "",
        "| network | target | flash limit | RAM limit | result | flash | of it model | RAM |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]  # fmt: skip
    for row in rows:
        found = row.taken or row.nearest
        what = "fits" if row.taken else "cannot; nearest" if row.nearest else "NOT KEPT"
        sizes = ("", "", "") if found is None else (f"{found.flash_bytes:,}", f"{found.model_bytes:,}", f"{found.ram_bytes:,}")
        cells = (row.network, row.budget.target, f"{row.budget.flash:,}", f"{row.budget.ram:,}", what, *sizes)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20)
    count = parser.parse_args().count
    rows = []
    for number in range(count):
        rows.append(row := keep(number))
        print(f"{row.network}, {row.budget}: {row.taken or row.nearest} {row.reason} {row.seconds:.0f} s", file=sys.stderr, flush=True)
    text = report(rows)
    if count == 20:
        REPORT.write_text(text)
    print(text)
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
