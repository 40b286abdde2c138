"""Fits the compiler's cost model to layers measured on the emulated boards, and says how well it predicts others.

    python benchmarks/fit_cost_model.py [--target cortex-m4 ...] [--kernel conv2d_decode ... | --unpacking | --new]

writes compiler/lutra_compiler/program/cycles.json and docs/benchmarks/cost_model.md, or their parts about these. A kernel's cycles
are a sum of its work (compiler/lutra_compiler/program/work.py) times cycles a piece, none below zero: least squares of the relative error.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lutra_compiler.program.choose_kernel import Candidate
from lutra_compiler.program.cost_model import TABLE
from lutra_compiler.program.kernels import KERNELS, UNPACK
from lutra_compiler.program.work import work
from measure_layers import (
    BOARD_OF,
    OTHER_LAYERS,
    Coding,
    Layer,
    Measurement,
    Selection,
    coded_layers,
    every_candidate,
    first_candidate,
    measure,
    random_layers,
)

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs/benchmarks/cost_model.md"
FITTED_SEEDS, HELD_OUT_SEED = (11, 12, 13), 17
LAYERS, MACS, CODED_LAYERS = 60, 600_000, 40

Coefficients = dict[str, float]


def measured(target: str, layers: Sequence[Layer], select: Selection = every_candidate) -> list[Measurement]:
    """All ways to compute the layers that `select` takes, measured in two processes."""
    with ProcessPoolExecutor(2) as pool:
        parts = pool.map(partial(measure, target, select=select), (layers[0::2], layers[1::2]))
        return [m for part in parts for m in part]


def candidates_of_kernels(kernels: Collection[str], candidates: Sequence[Candidate]) -> list[Candidate]:
    """All ways to compute a layer by some kernels, named without lutra_."""
    return [candidate for candidate in every_candidate(candidates) if candidate.kernel.removeprefix("lutra_") in kernels]


def unpackings(target: str, seed: int, count: int) -> list[Measurement]:
    """Calls of lutra_unpack_indices."""
    return [m for m in measured(target, coded_layers(seed, count), first_candidate) if f"lutra_{m.kernel}" == UNPACK]


def depthwise_layers() -> list[Layer]:
    """Depthwise convolutions, which are rare among the random layers."""
    rng = np.random.default_rng(15)
    layers = []
    for _ in range(80):
        channels = int(rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 24, 32, 64, 96]))
        kernel, stride = int(rng.choice([1, 3, 3, 5])), int(rng.choice([1, 2]))
        size, padding = (int(rng.integers(kernel, 15)), int(rng.integers(kernel, 15)), channels), int(rng.choice([0, kernel // 2]))
        layers.append(Layer("conv2d", size, channels, (kernel, kernel), (stride, stride), (padding,) * 4, channels))
    return layers


def odd_codings() -> list[Layer]:
    """Codings that are rare among the random layers: subvectors of one value and of lengths without loops of their own, odd channels."""
    rng = np.random.default_rng(14)
    layers = []
    for d, codewords, bits in ((1, 16, 4), (1, 16, 8), (1, 64, 8), (2, 16, 4), (2, 64, 8), (3, 16, 4), (3, 64, 8), (4, 64, 8), (6, 256, 8)):
        coding = Coding(d, codewords, l1=63, index_bits=bits)
        for kernel in (1, 3):
            size = int(rng.integers(4, 9)), int(rng.integers(4, 9)), int(rng.integers(5, 40))
            layers.append(Layer("conv2d", size, int(rng.integers(4, 40)), (kernel, kernel), padding=(kernel // 2,) * 4, coding=coding))
        layers += [Layer("linear", (int(rng.integers(20, 300)),), int(rng.integers(6, 60)), coding=coding) for _ in range(3)]
    return layers


def fit(rows: Sequence[Mapping[str, float]], cycles: npt.NDArray[np.float64]) -> Coefficients:
    """Cycles a piece of work, none below zero, of least squared relative error: coordinate descent."""
    names = sorted({name for row in rows for name in row})
    a = np.array([[row.get(name, 0.0) for name in names] for row in rows]) / cycles[:, None]
    size = np.sqrt(np.square(a).sum(axis=0))
    used = size > 0
    names, a = [name for name, keep in zip(names, used, strict=True) if keep], a[:, used] / size[used]
    gram, target = a.T @ a, a.T @ np.ones(len(a))
    x = np.zeros(len(names))
    for _ in range(20_000):
        for i in range(len(x)):
            x[i] = max(0.0, x[i] + (target[i] - gram[i] @ x) / gram[i, i])
    return {name: float(f"{value:.6g}") for name, value in zip(names, x / size[used], strict=True)}


def by_kernel(measurements: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Measurements of each kernel, by its C name."""
    found: dict[str, list[Measurement]] = defaultdict(list)
    for m in measurements:
        found[f"lutra_{m.kernel}"].append(m)
    return dict(sorted(found.items()))


def predicted(table: Mapping[str, Coefficients], kernel: str, fields: Mapping[str, int]) -> float:
    """Cycles by the cost model (cost_model.py) with another table."""
    own = sum(table[kernel].get(name, 0.0) * count for name, count in work(kernel, fields).items())
    return own + of_steps(table, kernel, fields)


def of_steps(table: Mapping[str, Coefficients], kernel: str, fields: Mapping[str, int]) -> float:
    """What the sums of a recurrent layer's steps take of that: a fully connected layer each."""
    each_step = KERNELS[kernel].each_step
    return fields["steps"] * predicted(table, each_step, fields) if each_step else 0.0


def errors(table: Mapping[str, Coefficients], measurements: Sequence[Measurement]) -> dict[str, npt.NDArray[np.float64]]:
    """Relative errors of the predictions, by kernel."""
    return {
        kernel: np.array([
            predicted(table, kernel, m.fields) / m.cycles - 1 for m in found
        ])
        for kernel, found in by_kernel(measurements).items()
    }


def report(rows: Sequence[str]) -> str:
    """The text of docs/benchmarks/cost_model.md."""
    head = [
        "# How well the cost model predicts cycles",
        "",
        f"Layers that the model was not fitted to (`random_layers({HELD_OUT_SEED}, {LAYERS})`, all ways to compute them, and for",
        f"unpack_indices `coded_layers({HELD_OUT_SEED}, {CODED_LAYERS // 2})`), by kernel: their number, and the errors of the predicted",
        "cycles against those counted in QEMU. Regenerate with `make cost-model`.",
        "",
        "| target | kernel | calls | median error | 95 % below | largest |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*head, *rows]) + "\n"


def report_rows(target: str, kernels: Mapping[str, npt.NDArray[np.float64]]) -> list[str]:
    """Rows of its table."""
    sizes = {kernel: np.abs(error) * 100 for kernel, error in kernels.items()}
    return [
        f"| {target} | {kernel.removeprefix('lutra_')} | {len(size)} | {np.median(size):.1f} % | {np.quantile(size, 0.95):.1f} % "
        f"| {size.max():.1f} % |"
        for kernel, size in sizes.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=BOARD_OF, action="append")
    parser.add_argument("--kernel", choices=[name.removeprefix("lutra_") for name in KERNELS], action="append", help="refit these alone")
    parser.add_argument("--unpacking", action="store_true", help="refit lutra_unpack_indices alone")
    parser.add_argument("--new", action="store_true", help="fit kernels without weights that the table lacks alone")
    arguments = parser.parse_args()
    targets = arguments.target or list(BOARD_OF)
    if not TABLE.exists():
        TABLE.write_text("{}\n")
    table = json.loads(TABLE.read_text())
    known_rows = REPORT.read_text().splitlines() if REPORT.exists() else []
    rows = {target: [row for row in known_rows if row.startswith(f"| {target} |")] for target in BOARD_OF}
    for target in targets:
        select = partial(candidates_of_kernels, arguments.kernel) if arguments.kernel else every_candidate
        if arguments.kernel:
            fitted, held_out = [], []
        elif arguments.new:
            fitted, held_out = [m for m in measured(target, OTHER_LAYERS) if f"lutra_{m.kernel}" not in table.get(target, {})], []
        else:
            fitted, held_out = unpackings(target, FITTED_SEEDS[0], CODED_LAYERS), unpackings(target, HELD_OUT_SEED, CODED_LAYERS // 2)
        if not arguments.unpacking and not arguments.new:
            random = [layer for seed in FITTED_SEEDS for layer in random_layers(seed, LAYERS, MACS)]
            fitted += measured(target, [*random, *OTHER_LAYERS, *depthwise_layers(), *odd_codings()], select)
            held_out += measured(target, random_layers(HELD_OUT_SEED, LAYERS, MACS), select)
        known = table.setdefault(target, {})
        for kernel, found in sorted(by_kernel(fitted).items(), key=lambda item: KERNELS[item[0]].each_step is not None):
            rest = np.array([m.cycles - of_steps(known, kernel, m.fields) for m in found])
            known[kernel] = fit([work(kernel, m.fields) for m in found], rest)
        found_rows = report_rows(target, errors(table[target], held_out))
        TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
        print(*found_rows, sep="\n")
        if not arguments.unpacking and not arguments.new:
            measured_kernels = {row.split(" | ")[1] for row in found_rows}
            others = [row for row in rows[target] if row.split(" | ")[1] not in measured_kernels] if arguments.kernel else []
            rows[target] = sorted([*others, *found_rows])
            REPORT.write_text(report([row for of_target in rows.values() for row in of_target]))


if __name__ == "__main__":
    main()
