"""Budgets from end to end: what fits is written, what does not is refused with the nearest point, and an ELF says the same."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import Result, compress, data, float_model, model, refused  # noqa: F401
from test_cli import lutra as command  # noqa: F401

import lutra
from cli_models import METADATA, compressed_graph, float_onnx, write_data
from lutra import budgets as measuring
from lutra.boards import board_by_name, build_firmware, measure_footprint, run_firmware
from lutra.boards.stack import worst_stack_bytes
from lutra.budgets import Fit, fit_of
from lutra.dataset import read_dataset
from lutra_compiler import config
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.program.footprint import footprint
from random_programs import random_program

STAGE = "{ epochs = 1, learning_rate = 1e-3 }"
SETTINGS = f"""
[pruning]
rounds = 1
[training]
batch_size = 64
recovery = {STAGE}
assignment = {STAGE}
codewords = {STAGE}
[search]
samples = 256
validation = 64
levels = 4
recovery = {STAGE}
trials = 2
swaps = 4
"""
pytestmark = pytest.mark.usefixtures("host_cache")


@pytest.fixture
def network(tmp_path: Path) -> lutra.Model:
    (tmp_path / "float.onnx").write_bytes(float_onnx().SerializeToString())
    return lutra.load(tmp_path / "float.onnx")


@pytest.fixture
def samples(tmp_path: Path) -> lutra.Dataset:
    return read_dataset(write_data(tmp_path / "train.npz", 300))


@pytest.fixture
def run(command: Callable[..., Result], network: lutra.Model, samples: lutra.Dataset, tmp_path: Path) -> Callable[..., Result]:  # noqa: F811
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return lambda output, *more: command("compress", "float.onnx", "--data", "train.npz", "-o", output, "--config", "settings.toml", *more)


@pytest.fixture
def no_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "can_measure", lambda: False)


# The command


@pytest.mark.usefixtures("no_toolchain")
def test_what_fits_is_written_with_what_it_takes(run: Callable[..., Result], command: Callable[..., Result], tmp_path: Path) -> None:  # noqa: F811
    record = run("out.lutra", "--flash", "2900", "--ram", "1K", "--target", "cortex-m4", "--json").json()
    fit = record["fit"]
    assert (fit["flash_bytes"] <= 2900, fit["ram_bytes"] <= 1024, fit["measured"]) == (True, True, False)
    assert fit["model_bytes"] == record["model_bytes"]
    assert record["generate_options"] == "--target cortex-m4 --flash 2900 --ram 1024"
    bundle = command("generate", "out.lutra", "-o", "bundle", *record["generate_options"].split(), "--json").json()
    assert (bundle["flash_bytes"], bundle["ram_bytes"]) == (fit["flash_bytes"], fit["ram_bytes"])
    assert not (tmp_path / "out.lutra.checkpoint").exists()


@pytest.mark.usefixtures("no_toolchain")
def test_the_settings_that_were_found_give_the_same_file_again(run: Callable[..., Result], tmp_path: Path) -> None:
    assert run("out.lutra", "--flash", "2900", "--target", "cortex-m4", "--save-config", "found.toml").code == 0
    assert config.load_config(tmp_path / "found.toml").layers
    assert run("again.lutra", "--config", "found.toml").code == 0
    assert (tmp_path / "again.lutra").read_bytes() == (tmp_path / "out.lutra").read_bytes()


@pytest.mark.usefixtures("no_toolchain")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--save-config", "nosuch/found.toml"), "nosuch/found.toml cannot be written"),
        (("--save-config", "."), ". cannot be written"),
        (("--save-config", "out.lutra"), "is where the model goes"),
        (("--pareto",), "out.pareto.csv cannot be written"),
    ],
)
def test_what_could_not_be_written_is_refused_before_the_work(
    run: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "out.pareto.csv").mkdir()
    refused = run("out.lutra", *options)
    assert (refused.code, reason in refused.err) == (2, True)
    assert not list(tmp_path.glob("out.lutra*"))


def test_what_cannot_fit_is_refused_with_the_nearest_point_and_leaves_nothing(run: Callable[..., Result], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = run("out.lutra", "--flash", "600", "--target", "cortex-m4", "--json")
    record = result.json()
    assert (result.code, record["fits"]) == (1, False)
    assert "too much flash" in record["reason"]
    assert sorted(tmp_path.iterdir()) == before
    nearest = record["nearest"]
    fits = run("out.lutra", "--flash", nearest["flash_bytes"], "--target", "cortex-m4", "--json")
    assert fits.json()["fit"]["flash_bytes"] <= nearest["flash_bytes"]


@pytest.mark.usefixtures("no_toolchain")
def test_a_drop_that_training_does_not_keep_is_told_and_the_checkpoint_stays(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lutra.api._drop", lambda *_: 7.5)
    (tmp_path / "settings.toml").write_text(SETTINGS.replace("levels = 4", "levels = 1"))
    result = run("out.lutra", "--max-drop", "0.5", "--json")
    assert result.code == 1
    assert "loses 7.50 percentage points of validation accuracy" in result.json()["reason"]
    assert result.json()["nearest"]["drop_pp"] == 7.5
    assert not (tmp_path / "out.lutra").exists()
    assert (tmp_path / "out.lutra.checkpoint/search").is_dir()


@pytest.mark.usefixtures("no_toolchain")
def test_a_drop_that_is_kept_gives_the_smallest_network(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(SETTINGS.replace("levels = 4", "levels = 1"))
    record = run("out.lutra", "--max-drop", "10", "--json").json()
    assert 100 * (record["float_validation_accuracy"] - record["validation_accuracy"]) <= 10
    assert record["fit"]["flash_limit"] >= record["fit"]["flash_bytes"]


@pytest.mark.usefixtures("no_toolchain")
def test_a_reconstruction_is_measured_for_a_drop_as_well(run: Callable[..., Result], network: lutra.Model, samples: lutra.Dataset) -> None:
    record = run("out.lutra", "--max-drop", "100", "--method", "reconstruct", "--json").json()
    assert record["validation_samples"] == 30
    assert record["validation_accuracy"] is not None


@pytest.mark.usefixtures("no_toolchain")
def test_a_drop_is_measured_without_validation_samples(
    network: lutra.Model, samples: lutra.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    monkeypatch.setattr("lutra.api._drop", lambda before, after, labelled: measured.append(len(labelled)) or 101.0)
    settings = config.parse_config(SETTINGS.replace("levels = 4", "levels = 1"))
    with pytest.raises(lutra.BudgetError, match=r"loses 101\.00 percentage points"):
        lutra.compress(network, samples, replace(settings, method="reconstruct"), budget=lutra.Budget(max_drop=100))
    assert set(measured) == {30}


@pytest.mark.usefixtures("no_toolchain")
def test_what_was_measured_to_fit_is_written_though_bounds_do_not(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ELF may keep limits that no upper bound does."""
    small = lutra.Model(compressed_graph(), METADATA)

    def fit(*arguments: object, checkpoint: Path, **options: object) -> tuple[lutra.Model, Fit]:
        checkpoint.mkdir()
        return small, Fit(700, 900, 500, 1e4, measured=True, flash_limit=None)

    monkeypatch.setattr("lutra.api.fit", fit)
    with pytest.raises(lutra.BudgetError):
        lutra.analyze(small, "cortex-m4", flash=1000, ram=600)
    result = run("out.lutra", "--flash", "1000", "--ram", "600", "--target", "cortex-m4", "--json")
    assert result.json()["generate_options"] == "--target cortex-m4"
    assert (tmp_path / "out.lutra").is_file()


def test_a_drop_needs_labels(run: Callable[..., Result], tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", images=np.zeros((50, 16), np.float32))
    refused(run("out.lutra", "--max-drop", "1", "--method", "train"), "needs labels")


@pytest.mark.parametrize("verb", ["analyze", "generate"])
def test_a_model_that_does_not_fit_is_refused_by_other_verbs_as_well(command: Callable[..., Result], model: Path, verb: str) -> None:  # noqa: F811
    more = ("-o", "out") if verb == "generate" else ()
    result = command(verb, model, *more, "--flash", "1K")
    assert result.code == 1
    assert "bytes of flash with the smallest kernels" in " ".join((result.err or result.out).split())
    assert not Path("out").exists()
    assert command(verb, model, *more, "--flash", "8K").code == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [("--flash", "0"), ("--flash", "3.5K"), ("--ram", "x"), ("--cycles", "5G"), ("--max-drop", "-1"), ("--max-drop", "101")],
)
def test_limits_that_are_no_numbers_are_wrong_usage(run: Callable[..., Result], option: str, value: str) -> None:
    assert run("out.lutra", option, value).code == 2


def test_a_curve_is_written_as_data_and_as_a_picture(run: Callable[..., Result], tmp_path: Path) -> None:
    record = run("out.lutra", "--pareto", "--train-points", "2", "--json").json()
    points = json.loads((tmp_path / "out.pareto.json").read_text())["points"]
    assert record["points"] == points
    flash = [point["flash_bytes"] for point in points]
    assert flash == sorted(flash)
    assert sum(point["trial_accuracy"] is not None for point in points) == 2
    rows = (tmp_path / "out.pareto.csv").read_text().splitlines()
    assert len(rows) == 1 + len(points)
    assert rows[0].startswith("flash_bytes,model_bytes,ram_bytes,cycles")
    assert (tmp_path / "out.pareto.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(record["files"]) == ["out.pareto.csv", "out.pareto.json", "out.pareto.png"]
    assert not (tmp_path / "out.lutra").exists()


def test_the_zoo_tells_sizes_and_recorded_accuracies(command: Callable[..., Result]) -> None:  # noqa: F811
    models = {record["name"]: record for record in command("zoo", "--json").json()["models"]}
    lenet5 = models["zoo:lenet5"]
    assert (lenet5["network"], lenet5["dataset"], models["zoo:lenet5/float"]["compressed"]) == ("lenet5", "mnist", False)
    assert lenet5["drop_pp"] == pytest.approx(100 * (lenet5["float_accuracy"] - lenet5["accuracy"]))
    assert lenet5["ratio"] == pytest.approx(1_724_320 / lenet5["model_bytes"], abs=0.01)
    assert models["zoo:lenet5/float"]["drop_pp"] is None
    assert "zoo:lenet300/float" in command("zoo").out


# Interrupted


class Interrupted(Exception):
    pass


@pytest.mark.usefixtures("no_toolchain")
@pytest.mark.parametrize("seed", [1, 2])
def test_interrupted_at_ten_random_moments_it_ends_with_the_same_bytes(
    network: lutra.Model, samples: lutra.Dataset, tmp_path: Path, seed: int
) -> None:
    settings, budget = config.parse_config(SETTINGS), lutra.Budget(flash=2700, target="cortex-m4")
    steps = []
    lutra.save(lutra.compress(network, samples, settings, budget=budget, report=steps.append), tmp_path / "whole.lutra")
    rng = np.random.default_rng(seed)

    def interrupt_after(calls: int) -> Callable[[Any], None]:
        seen: list[Any] = []

        def report(progress: Any) -> None:
            seen.append(progress)
            if len(seen) > calls:
                raise Interrupted

        return report

    folder = tmp_path / "checkpoint"
    interruptions = 0
    for calls in rng.integers(1, len(steps) // 4, 10):
        try:
            lutra.compress(
                network, samples, settings, budget=budget, checkpoint=folder, resume=folder.exists(), report=interrupt_after(int(calls))
            )
        except Interrupted:
            interruptions += 1
    assert interruptions > 4
    lutra.save(lutra.compress(network, samples, settings, budget=budget, checkpoint=folder, resume=True), tmp_path / "resumed.lutra")
    assert (tmp_path / "resumed.lutra").read_bytes() == (tmp_path / "whole.lutra").read_bytes()
    lutra.discard_checkpoint(folder)
    assert not folder.exists()


def test_another_budget_is_another_run(network: lutra.Model, samples: lutra.Dataset, tmp_path: Path) -> None:
    settings = config.parse_config(SETTINGS)

    def stop(progress: object) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        lutra.compress(network, samples, settings, budget=lutra.Budget(flash=2700), checkpoint=tmp_path / "c", report=stop)
    with pytest.raises(lutra.LutraError, match="another budget"):
        lutra.compress(network, samples, settings, budget=lutra.Budget(flash=2701), checkpoint=tmp_path / "c", resume=True)


def test_a_curve_that_cannot_be_leaves_nothing(run: Callable[..., Result], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    for _ in range(2):
        result = run("out.lutra", "--pareto", "--flash", "600", "--target", "cortex-m4")
        assert (result.code, "too much flash" in result.err) == (1, True)
        assert sorted(tmp_path.iterdir()) == before


def test_settings_that_cannot_be_leave_nothing_under_a_budget(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(f"{SETTINGS}[pruning.widths]\nnosuch = 3\n")
    before = sorted(tmp_path.iterdir())
    result = run("out.lutra", "--flash", "20K", "--target", "cortex-m4")
    assert (result.code, "pruning.widths names 'nosuch'" in result.err) == (2, True)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--train-points", "2"), "--pareto alone"),
        (("--pareto", "--save-config", "found.toml"), ".pareto.json"),
        (("--pareto", "--validation", "train.npz"), "cut of"),
        (("--pareto", "--max-drop", "1"), "every size"),
    ],
)
def test_options_that_would_do_nothing_are_wrong_usage(
    run: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], word: str
) -> None:
    before = sorted(tmp_path.iterdir())
    result = run("out.lutra", *options)
    assert (result.code, result.out) == (2, "")
    assert word in " ".join(result.err.split())
    assert sorted(tmp_path.iterdir()) == before


def test_a_curve_has_no_limit_of_the_drop(network: lutra.Model, samples: lutra.Dataset) -> None:
    with pytest.raises(lutra.LutraError, match="chooses one network"):
        lutra.pareto(network, samples, None, lutra.Budget(max_drop=1))


# Against ELFs


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.mark.board
@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("seed", [3, 11])
def test_bounds_hold_and_are_near(seed: int, cpu: str, build_dir: Path, tmp_path: Path) -> None:
    program = replace(random_program(seed), target=cpu)
    bound = footprint(program)
    write_bundle(emit(program, f"net{seed}", {}), tmp_path / "bundle")
    found = measure_footprint(tmp_path / "bundle", cpu, build_dir)
    assert (found.model, found.arena, found.data) == (bound.model, bound.arena, 0)
    assert found.code <= bound.code <= 1.05 * found.code + 450  # of memcpy and memset, which count in any case
    assert found.stack <= bound.stack <= 1.15 * found.stack


@pytest.mark.board
def test_no_run_takes_more_stack_than_its_code_allows(build_dir: Path, tmp_path: Path) -> None:
    lutra.generate("zoo:lenet300", tmp_path / "bundle", prefix="lenet300", target="cortex-m0")
    firmware = build_firmware(tmp_path / "bundle", board_by_name("microbit"), build_dir)
    run = run_firmware(firmware, [np.zeros((1, 28, 28, 1), np.int8)])
    alone, with_caller = (worst_stack_bytes(firmware.elf, [name]) for name in ("lenet300_run", "reset"))
    assert alone < run.stack_bytes <= with_caller


@pytest.mark.board
def test_a_fit_is_measured_where_the_toolchain_is(tmp_path: Path) -> None:
    found = fit_of(lutra.load("zoo:lenet300"), lutra.Budget(flash=24 * 1024, target="cortex-m4"))
    assert found.measured
    assert found.flash_bytes < 24 * 1024
