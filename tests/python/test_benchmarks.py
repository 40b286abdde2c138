"""benchmarks/: layers side by side in a firmware (measure_layers.py), tables in docs/benchmarks (kernels.py), and that the rest loads."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lutra_compiler.ir.encoding import ProductQuantized

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """A script of benchmarks/, which imports those beside it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


sizes, measure_layers = load("sizes"), load("measure_layers")
kernels = load("kernels")
Coding, Layer = measure_layers.Coding, measure_layers.Layer

FC = Layer("linear", (100,), 24, coding=Coding(8, 16))
CONVOLUTION = Layer("conv2d", (6, 7, 16), 12, (3, 3), padding=(1, 1, 1, 1), coding=Coding(4, 32, l1=100))
OTHER = Layer("add", (5, 6, 4))


def test_codewords_stay_within_their_norm() -> None:
    for layer in (FC, CONVOLUTION):
        (encoding,) = measure_layers.graph_of([layer]).encodings.values()
        assert isinstance(encoding, ProductQuantized)
        norms = np.abs(encoding.codebook.astype(int)).sum(axis=1)
        assert 0.7 * layer.coding.l1 < norms.max() <= layer.coding.l1


def test_a_layer_is_the_same_whatever_is_beside_it() -> None:
    alone = measure_layers.graph_of([FC]).encodings["layer0.weight"]
    beside = measure_layers.graph_of([CONVOLUTION, FC]).encodings["layer1.weight"]
    np.testing.assert_array_equal(alone.indices, beside.indices)


def test_random_layers_differ_and_are_no_larger_than_asked_for() -> None:
    layers = measure_layers.random_layers(seed=1, count=100, macs=50_000)
    assert len(set(layers)) == 100
    assert {layer.op for layer in layers} == {"conv2d", "linear"}
    assert measure_layers.random_layers(seed=1, count=100, macs=50_000) == layers


@pytest.mark.board
@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_every_kernel_of_a_layer_is_measured(target: str, tmp_path: Path) -> None:
    results = measure_layers.measure(target, [FC, CONVOLUTION, OTHER], measure_layers.every_candidate, tmp_path)
    kernels = [m.kernel for m in results]
    assert {"linear_lut", "linear_decode", "linear_dense", "conv2d_lut", "conv2d_decode", "conv2d_dense", "add_int8"} <= set(kernels)
    for m in results:
        assert 0 < m.instructions < m.cycles * 2
        assert m.flash_reads > 0
        assert m.ram_reads > 0
        assert m.stores >= (1 if m.layer is OTHER else m.layer.out)
    assert all(m.macs == 6 * 7 * 12 * 9 * 16 for m in results if m.layer == CONVOLUTION)


def test_layers_are_read_back(tmp_path: Path) -> None:
    plain = [{"layer": asdict(layer), "cycles": 1.0} for layer in (FC, CONVOLUTION, OTHER, FC)]
    (tmp_path / "layers.json").write_text(json.dumps(plain))
    assert measure_layers.read_layers(tmp_path / "layers.json") == [FC, CONVOLUTION, OTHER]


ROW = kernels.Row(
    target="cortex-m4", layer="fc_784_300", kernel="lut", d=8, K=16, macs=235200, instructions_per_mac=0.5, cycles_per_mac=0.7,
    ratio_cmsis_nn=3.6, ratio_dense=2.1, flash_reads_per_mac=0.1, ram_reads_per_mac=0.2, stores_per_mac=0.01, unaligned_per_mac=0.0,
    cycles_per_lookup=3.5, scratch_bytes=1456, model_bytes=16058, kernel_flash_bytes=700,
)  # fmt: skip


def test_rows_that_changed_are_told_and_other_targets_left_alone() -> None:
    other, slower = replace(ROW, target="cortex-m3"), replace(ROW, cycles_per_mac=0.8)
    recorded = json.loads(kernels.document([ROW, other]))
    assert kernels.stale([ROW], recorded) == []
    assert [line[:2] for line in kernels.stale([slower], recorded)] == ["- ", "+ "]
    assert len(kernels.stale([ROW, replace(ROW, d=4)], recorded)) == 1


@pytest.mark.board
@pytest.mark.slow
def test_tables_of_kernels_are_up_to_date() -> None:
    if f"arm-none-eabi-gcc {sizes.compiler_version()} at" not in kernels.REPORT.read_text():
        pytest.skip("the tables were made by another version of the compiler")
    check = [sys.executable, str(ROOT / "benchmarks/kernels.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_what_a_benchmark_imports_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setitem(sys.modules, "faiss", sys)  # no dependency: one benchmark compares with it
    assert load(name).__doc__
