"""How fast codebooks are learned: writes docs/benchmarks/kmeans.md.

    pip install faiss-cpu
    python benchmarks/kmeans_speed.py

learns a codebook of 256 codewords of 8 for every layer of ResNet-18 in 25 iterations, with Lutra and with faiss, on the same points and as
many threads, one after the other. Its subsampling is off. Weights are drawn at random with a fixed seed, each row with a size of its own.
"""

# ruff: noqa: E402 (BLAS reads its environment when NumPy is imported)
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # of a matrix product: the threads that are compared divide the points
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)  # let BLAS choose for the machine

import platform
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from lutra_compiler.numerics.k_means import k_means
from lutra_compiler.numerics.product_quantization import subvectors_of

REPORT = Path(__file__).resolve().parents[1] / "docs/benchmarks/kmeans.md"
CODEWORDS, SUBVECTOR, ITERATIONS, REPEATS = 256, 8, 25, 3


def layers() -> dict[str, tuple[int, ...]]:
    """The weights of ResNet-18 (He 2016, for images of 224x224), input channels last."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 7, 7, 3)}
    before = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            shapes[f"layer{stage}.{block}.conv1"] = (width, 3, 3, before)
            shapes[f"layer{stage}.{block}.conv2"] = (width, 3, 3, width)
            if before != width:
                shapes[f"layer{stage}.{block}.downsample"] = (width, 1, 1, before)
            before = width
    shapes["fc"] = (1000, 512)
    return shapes


def points_of(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Subvectors of a random weight, its rows normalised as the compiler does."""
    weight = rng.standard_normal(shape, np.float32) * np.exp(0.3 * rng.standard_normal(shape[-1], np.float32))
    rows = weight.reshape(len(weight), -1)
    size = np.sqrt(np.square(rows).mean(1)).reshape(-1, *([1] * (weight.ndim - 1)))
    return np.ascontiguousarray(subvectors_of(weight / size, SUBVECTOR).reshape(-1, SUBVECTOR))


def with_lutra(points: np.ndarray, threads: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return k_means(points, CODEWORDS, rng, iterations=ITERATIONS, starts=1, pin_zero=False, threads=threads).codebook


def with_faiss(points: np.ndarray, threads: int) -> np.ndarray:
    faiss.omp_set_num_threads(threads)
    options = {"max_points_per_centroid": 1 << 30, "min_points_per_centroid": 1, "seed": 0}
    search = faiss.Kmeans(SUBVECTOR, CODEWORDS, niter=ITERATIONS, **options)
    search.train(points)
    return search.centroids


def timed(learn: Callable[[np.ndarray, int], np.ndarray], points: np.ndarray, threads: int) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    codebook = learn(points, threads)
    return time.perf_counter() - start, codebook


def distortion(points: np.ndarray, codebook: np.ndarray) -> float:
    """Mean squared distance to the nearest codeword, in percent of the mean square: measured the same way for both."""
    index = faiss.IndexFlatL2(SUBVECTOR)
    index.add(codebook)
    return 100 * float(index.search(points, 1)[0].mean(dtype=np.float64) / np.square(points).sum(1).mean(dtype=np.float64))


def main() -> None:
    shapes = layers()
    weights = sum(int(np.prod(shape)) for shape in shapes.values())
    lines = [
        "# Learning the codebooks of ResNet-18",
        "",
        f"{weights / 1e6:.1f} million random weights in the shapes of ResNet-18, K = {CODEWORDS}, d = {SUBVECTOR}: {ITERATIONS} iterations",
        f"over all points, one start. Seconds (the best of {REPEATS} runs, the two in turn) and squared error in percent of the mean",
        f"square. Lutra on NumPy {np.__version__} against faiss-cpu {faiss.__version__}, its subsampling off, with as many threads, on",
        f"{os.cpu_count()} cores of {platform.machine()}. Regenerate with `python benchmarks/kmeans_speed.py`.",
        "",
        "| layer | points | Lutra, 1 thread | faiss, 1 thread | Lutra, 2 threads | faiss, 2 threads | Lutra, error | faiss, error |",
        "| --- | ---: |" + " ---: |" * 6,
    ]
    totals, rng = np.zeros(4), np.random.default_rng(0)
    for name, shape in shapes.items():
        points = points_of(shape, rng)
        seconds: list[float] = []
        for threads in (1, 2):
            runs = [[timed(learn, points, threads) for learn in (with_lutra, with_faiss)] for _ in range(REPEATS)]
            seconds += [min(run[which][0] for run in runs) for which in (0, 1)]
            errors = [distortion(points, codebook) for _, codebook in runs[0]]
        totals += seconds
        shown = " | ".join([f"{value:.3f}" for value in seconds] + [f"{error:.2f} %" for error in errors])
        lines.append(f"| {name} {'x'.join(map(str, shape))} | {len(points):,} | {shown} |")
        print(lines[-1], flush=True)
    lines.append("| **all** | | " + " | ".join(f"**{value:.2f}**" for value in totals) + " | | |")
    print(lines[-1])
    REPORT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
