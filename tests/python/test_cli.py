"""The command line: results, exit codes, and errors without tracebacks. Real processes where that matters, else main() itself."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper

from cli_models import CLASSES, FEATURES, HIDDEN, METADATA, clusters, compressed_graph, float_onnx, onnx_model, write_data
from lutra import analyze, api, cli, validation
from lutra.dataset import Dataset
from lutra.errors import BudgetError
from lutra.zoo import data as zoo_data
from lutra_compiler.budget import Budget
from lutra_compiler.model_file import load_model, save_model

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("host_cache")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def lutra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Result]:
    """Runs the command in this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["lutra", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return run


def process(*arguments: object, **environment: str) -> Result:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("compiler", "python"))
    done = subprocess.run(
        [sys.executable, "-m", "lutra.cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "small.lutra", compressed_graph(), METADATA)
    return tmp_path / "small.lutra"


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    onnx.save(float_onnx(), tmp_path / "float.onnx")
    return tmp_path / "float.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data.npz")


# A process of its own: what the shell sees.


def test_stdout_is_one_json_object_and_nothing_else(model: Path, data: Path) -> None:
    result = process("validate", model, "--data", data, "--json")
    assert result.code == 0, result.err
    assert isinstance(json.loads(result.out), dict)


def test_an_error_is_one_message_on_stderr(tmp_path: Path) -> None:
    result = process("generate", tmp_path / "nosuch.lutra", "-o", tmp_path / "out", FORCE_COLOR="", TERM="xterm-256color")
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {tmp_path}/nosuch.lutra cannot be read: No such file or directory\n"


def test_an_output_that_cannot_be_written_is_one_message(model: Path) -> None:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("compiler", "python"))
    for options in ((), ("--json",)):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "lutra.cli", "analyze", model, *options],
                env={**os.environ, "PYTHONPATH": path}, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (2, "error: [Errno 28] No space left on device\n")


def test_a_table_off_a_terminal_is_plain_and_80_columns_wide(model: Path) -> None:
    result = process("analyze", model, TERM="xterm-256color", COLUMNS="")
    assert result.code == 0
    assert "\x1b" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert "linear lut" in result.out
    assert "16 x 4" in result.out


def test_a_narrow_table_cuts_no_number_and_no_layer_off() -> None:
    out = process("analyze", "zoo:lenet5", "--target", "cortex-m4", COLUMNS="").out
    assert max(map(len, out.splitlines())) <= 80
    _, rows = out.split("why not", 1)
    dense = [
        (layer.names[0], candidate.flash_bytes)
        for layer in analyze("zoo:lenet5", "cortex-m4").layers
        for candidate in layer.candidates
        if candidate.kernel.endswith("_dense")
    ]
    assert len(dense) == 4
    for name, size in dense:
        assert re.search(rf"^{re.escape(name)} ", rows, re.MULTILINE)
        assert f" {size} " in rows


@pytest.mark.parametrize(("text", "size"), [("6144", 6144), ("6K", 6144), ("6kb", 6144), ("6KiB", 6144), ("1M", 1 << 20), ("2MB", 2 << 20)])
def test_sizes_may_have_units(text: str, size: int) -> None:
    assert cli._size(text) == size


@pytest.mark.parametrize("text", ["", "0", "K", "6G", "6 K", "-1", "1.5M", "6B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="6144, 6K or 1M"):
        cli._size(text)


def test_samples_of_other_values_than_those_calibrated_with_are_told(lutra: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (20, FEATURES)).astype(np.float32)
    np.savez(tmp_path / "raw.npz", images=images, labels=np.zeros(20, np.int64))
    result = lutra("validate", model, "--data", "raw.npz")
    assert result.code == 0
    assert re.search(r"9\d % of the samples' values are outside .* preprocess them as for the float network", result.err)


def test_samples_as_calibrated_with_are_passed_in_silence(lutra: Callable[..., Result], model: Path, data: Path) -> None:
    assert "are outside" not in lutra("validate", model, "--data", data).err


def test_importing_lutra_and_analyzing_need_no_torch(model: Path) -> None:
    code = "import sys, lutra; lutra.analyze(sys.argv[1]); sys.exit('torch' in sys.modules)"
    path = os.pathsep.join(str(ROOT / folder) for folder in ("compiler", "python"))
    assert subprocess.run([sys.executable, "-c", code, model], env={**os.environ, "PYTHONPATH": path}, check=False).returncode == 0


# What the verbs print.


def test_analyze_gives_a_row_a_layer_and_totals(lutra: Callable[..., Result], model: Path) -> None:
    record = lutra("analyze", model, "--json").json()
    assert [layer["kernel"] for layer in record["layers"]] == ["lutra_linear_lut", "lutra_linear_dense"]
    assert record["model_bytes"] == sum(layer["model_bytes"] for layer in record["layers"])
    assert (record["compilable"], record["compressed"], record["target"]) == (True, True, "cortex-m0")
    assert (record["parameters"], record["macs"]) == (FEATURES * HIDDEN + HIDDEN * CLASSES,) * 2
    assert record["ratio"] == round(METADATA["float_parameter_bytes"] / record["model_bytes"], 4)


def test_analyze_tells_what_a_kernel_was_chosen_from(lutra: Callable[..., Result], model: Path) -> None:
    layer = lutra("analyze", model, "--target", "cortex-m4", "--json").json()["layers"][0]
    (chosen,) = (candidate for candidate in layer["candidates"] if not candidate["why_not"])
    assert (chosen["kernel"], chosen["cycles"], chosen["scratch_bytes"]) == (layer["kernel"], layer["cycles"], layer["scratch_bytes"])
    expanded = next(candidate for candidate in layer["candidates"] if candidate["kernel"] == "lutra_linear_dense")
    out = lutra("analyze", model, "--target", "cortex-m4").out
    assert expanded["why_not"] in out
    assert "linear decode" in out


def test_a_limit_of_ram_chooses_smaller_kernels_or_says_what_is_too_large(lutra: Callable[..., Result], model: Path) -> None:
    free = lutra("analyze", model, "--json").json()
    limit = free["ram_bytes"] - 4
    tight = lutra("generate", model, "-o", "tight", "--ram", limit, "--json").json()
    assert tight["ram_bytes"] <= limit
    assert tight["model_bytes"] == free["model_bytes"]
    result = lutra("generate", model, "-o", "none", "--ram", 30)
    assert (result.code, result.out) == (1, "")
    assert "bytes of RAM" in result.err
    assert "limit is 30" in result.err


def test_analyze_shows_a_float_model_as_plain_int8(lutra: Callable[..., Result], float_model: Path) -> None:
    record = lutra("analyze", float_model, "--json").json()
    assert (record["compressed"], record["int8_ratio"]) == (False, 1.0)
    assert record["float_parameter_bytes"] == METADATA["float_parameter_bytes"]
    assert "plain int8" in lutra("analyze", float_model).out


def test_validate_tells_all_that_is_known(lutra: Callable[..., Result], model: Path, data: Path) -> None:
    result = lutra("validate", model, "--data", data, "--samples", 50, "--json")
    record = result.json()
    assert result.code == 0
    assert {"model": str(model), "samples": 50, "bit_exact": True, "tables_intact": True}.items() <= record.items()
    assert record["compared"] == {"samples": 50, "targets": ["host", "interpreter"], "differing": {}}
    assert {key: record[key] for key in ("float_parameter_bytes", "float_accuracy", "float_accuracy_source")} == {
        "float_parameter_bytes": METADATA["float_parameter_bytes"], "float_accuracy": 0.75, "float_accuracy_source": "recorded",
    }  # fmt: skip
    assert record["ratio"] > record["int8_ratio"] > 0
    assert record["model_bytes"] > 0
    assert record["arena_bytes"] > 0
    assert 0 <= record["accuracy"] <= 1
    assert record["rmse"] is None


def test_validate_measures_against_a_float_network(lutra: Callable[..., Result], model: Path, float_model: Path, data: Path) -> None:
    record = lutra("validate", model, "--data", data, "--reference", float_model, "--json").json()
    assert record["float_accuracy_source"] == "measured"
    assert record["float_accuracy"] > 0.9
    assert len(record["float_sha256"]) == 64
    assert record["rmse"] >= record["mae"] > 0
    assert -1 <= record["cos"] <= 1


def test_a_bundle_is_validated_without_what_only_the_model_knows(lutra: Callable[..., Result], model: Path, data: Path) -> None:
    assert lutra("generate", model, "-o", "out", "--prefix", "net").code == 0
    record = lutra("validate", "out", "--data", data, "--json").json()
    assert (record["bit_exact"], record["compared"]) == (None, None)
    assert record["accuracy"] == lutra("validate", model, "--data", data, "--json").json()["accuracy"]


def test_different_bytes_are_the_answer_no(
    lutra: Callable[..., Result], model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = validation.interpret

    def wrong(program: Any, inputs: Any, trace: bool = False) -> Any:
        run = right(program, inputs, trace)
        run.outputs[0][-1, -1] ^= 1
        return run

    monkeypatch.setattr(validation, "interpret", wrong)
    result = lutra("validate", model, "--data", data, "--json")
    assert (result.code, result.json()["bit_exact"]) == (1, False)
    assert "DIFFERENT" in lutra("validate", model, "--data", data).out


def test_generate_names_the_files(lutra: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    record = lutra("generate", model, "-o", "out", "--prefix", "net", "--target", "cortex-m4", "--json").json()
    assert sorted(record["files"]) == ["net.c", "net.h", "net.json", "net_data.h"] == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert record["target"] == "cortex-m4"


def test_bench_times_the_host(lutra: Callable[..., Result], model: Path) -> None:
    record = lutra("bench", model, "--json").json()
    assert record["host_microseconds"] > 0
    assert [(layer["names"], layer["macs"], layer["instructions"]) for layer in record["layers"]] == [
        (["hidden"], FEATURES * HIDDEN, None),
        (["scores"], HIDDEN * CLASSES, None),
    ]
    assert record["board"] is None


def test_report_writes_a_page_and_says_whether_it_fits(lutra: Callable[..., Result], model: Path, data: Path, tmp_path: Path) -> None:
    result = lutra("report", model, "-o", "a.html", "--data", data, "--samples", 50, "--flash", "16K", "--json")
    record = result.json()
    assert (result.code, record["fits"], record["samples"]) == (0, True, 50)
    assert record["page_bytes"] == (tmp_path / "a.html").stat().st_size
    assert record["limits"] == [["flash", record["flash_bytes"], 16384]]
    assert record["accuracy"] == lutra("validate", model, "--data", data, "--samples", 50, "--json").json()["accuracy"]
    result = lutra("report", model, "-o", "b.html", "--cycles", 10)
    assert (result.code, "NO (cycles" in result.out, (tmp_path / "b.html").is_file()) == (1, True, True)


def test_a_report_that_cannot_be_written_is_refused_first(lutra: Callable[..., Result], tmp_path: Path) -> None:
    refused(lutra("report", "nosuch.lutra", "-o", "a.txt"), "must end in .html")
    refused(lutra("report", "nosuch.lutra", "-o", "nosuch/a.html"), "folder that exists")
    refused(lutra("report", "nosuch.lutra", "-o", "a.html"), "cannot be read")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.board
def test_validate_and_bench_run_a_board(lutra: Callable[..., Result], model: Path, data: Path) -> None:
    record = lutra("validate", model, "--data", data, "--samples", 5, "--board", "microbit", "--json").json()
    assert (record["bit_exact"], record["compared"]) == (
        True, {"samples": 5, "targets": ["host", "interpreter", "microbit"], "differing": {}},
    )  # fmt: skip
    board = (bench := lutra("bench", model, "--board", "microbit", "--json").json())["board"]
    assert board["flash"]["model"] == record["model_bytes"]
    assert board["arena_bytes"] == record["arena_bytes"]
    assert board["instructions"] > sum(layer["instructions"] for layer in bench["layers"]) > 1000


def test_names_of_a_model_cannot_steer_the_terminal(lutra: Callable[..., Result], tmp_path: Path) -> None:
    network = compressed_graph()
    hostile = "\x1b]0;title\x07[red]\u202e\ud800"
    ops = (replace(network.ops[0], name=hostile), *network.ops[1:])
    save_model(tmp_path / "x.lutra", replace(network, ops=ops), {})
    out = lutra("analyze", "x.lutra").out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "x1b]" in out
    assert lutra("analyze", "x.lutra", "--json").json()["layers"][0]["names"] == [hostile]


# Compression.


SETTINGS = """
calibration_samples = 50
[pruning]
rate = 0.25
rounds = 1
[training]
recovery = { epochs = 2, learning_rate = 1e-3 }
assignment = { epochs = 3, learning_rate = 1e-3 }
codewords = { epochs = 2, learning_rate = 1e-3 }
[[layers]]
layer = "hidden"
"""


@pytest.fixture
def compress(lutra: Callable[..., Result], float_model: Path, tmp_path: Path) -> Callable[..., Result]:
    write_data(tmp_path / "train.npz", 400)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return lambda output, *more: lutra("compress", float_model, "--data", "train.npz", "-o", output, "--config", "settings.toml", *more)


def test_compress_writes_a_model_that_validates(compress: Callable[..., Result], lutra: Callable[..., Result], tmp_path: Path) -> None:
    result = compress("out.lutra", "--json")
    record = result.json()
    assert {"output": "out.lutra", "compressed": True, "validation_samples": 40}.items() <= record.items()
    assert record["float_validation_accuracy"] > 0.9
    assert record["validation_accuracy"] > 0.8
    assert "assignment 3/3 loss" in result.err
    graph, metadata = load_model(tmp_path / "out.lutra")
    assert graph.weight_shape(graph.ops[0].parameter_names[0]) == (24, FEATURES)
    assert metadata["float_parameter_bytes"] == METADATA["float_parameter_bytes"]
    assert record["int8_model_bytes"] == metadata["int8_model_bytes"] == lutra("analyze", "float.onnx", "--json").json()["model_bytes"]
    assert len(metadata["source_sha256"]) == 64
    write_data(tmp_path / "test.npz", 200, seed=2)
    found = lutra("validate", "out.lutra", "--data", "test.npz", "--reference", "float.onnx", "--json").json()
    assert found["accuracy"] > 0.8
    assert found["bit_exact"] is True
    assert sorted(p.name for p in tmp_path.iterdir()) == ["float.onnx", "out.lutra", "settings.toml", "test.npz", "train.npz"]


@pytest.fixture
def reconstruct(lutra: Callable[..., Result], float_model: Path, tmp_path: Path) -> Callable[..., Result]:
    """Compresses on samples alone."""
    np.save(tmp_path / "samples.npy", clusters(120, 1)[0])
    (tmp_path / "short.toml").write_text("[reconstruction]\nblocks = { epochs = 4, learning_rate = 1e-2 }\n[[layers]]\nlayer = 'hidden'\n")
    return lambda *more: lutra("compress", float_model, "--data", "samples.npy", "-o", "out.lutra", "--config", "short.toml", *more)


def test_a_few_samples_without_labels_are_enough(
    reconstruct: Callable[..., Result], lutra: Callable[..., Result], tmp_path: Path
) -> None:
    result = reconstruct("--json")
    assert "120 samples without labels: the method is reconstruction" in result.err
    assert "block-1 4/4 loss" in result.err
    unmeasured = {"validation_samples": 0, "validation_accuracy": None, "float_validation_accuracy": None}
    assert unmeasured.items() <= result.json().items()
    _, metadata = load_model(tmp_path / "out.lutra")
    assert 'method = "reconstruct"' in metadata["configuration"]
    write_data(tmp_path / "test.npz", 200, seed=2)
    found = lutra("validate", "out.lutra", "--data", "test.npz", "--reference", "float.onnx", "--json").json()
    assert found["agreement"] > 0.95
    assert found["bit_exact"] is True
    assert "not measured" in reconstruct().out


def test_an_interrupted_reconstruction_is_resumed_to_the_same_file(
    reconstruct: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reconstruct().code == 0
    whole = (tmp_path / "out.lutra").read_bytes()
    (tmp_path / "out.lutra").unlink()

    def interrupt(progress: Any) -> None:
        if progress.stage == "block-2":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cli, "_epoch_line", interrupt)
        assert reconstruct().code == 130
    resumed = reconstruct("--resume")
    assert resumed.code == 0
    assert "block-1" not in resumed.err
    assert (tmp_path / "out.lutra").read_bytes() == whole


def test_the_method_can_be_chosen(reconstruct: Callable[..., Result]) -> None:
    assert "assignment 1/1 loss" in reconstruct("--method", "train", "--epochs", "0.1").err
    assert reconstruct("--method", "guess").code == 2


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.full((40, FEATURES), np.nan, np.float32), ["sample 0 holds NaN", "remove it"]),
        (np.zeros((40, FEATURES + 1), np.float32), [f"the network takes ({FEATURES},)"]),
        (np.zeros((5, FEATURES), np.float32), ["at least 16 samples, got 5"]),
        (np.zeros((40, FEATURES), np.int64), ["must be float"]),
    ],
    ids=["NaN", "shape", "few", "integers"],
)
def test_samples_that_cannot_be_reconstructed_from_are_refused(
    reconstruct: Callable[..., Result], tmp_path: Path, samples: np.ndarray, words: list[str]
) -> None:
    np.save(tmp_path / "samples.npy", samples)
    refused(reconstruct("--method", "reconstruct"), *words)
    assert not list(tmp_path.glob("out.lutra*"))


def test_an_interrupted_run_is_resumed_to_the_same_file(
    compress: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compress("whole.lutra").code == 0

    def interrupt(progress: Any) -> None:
        if progress.stage == "assignment" and progress.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cli, "_epoch_line", interrupt)
        stopped = compress("out.lutra")
    assert stopped.code == 130
    assert "go on with --resume" in stopped.err
    assert not (tmp_path / "out.lutra").exists()
    anew = compress("out.lutra")
    assert (anew.code, "resume it (--resume)" in anew.err) == (2, True)
    other = compress("out.lutra", "--resume", "--seed", "7")
    assert (other.code, "another configuration" in other.err) == (2, True)
    resumed = compress("out.lutra", "--resume")
    assert resumed.code == 0
    assert "recovery" not in resumed.err
    assert (tmp_path / "out.lutra").read_bytes() == (tmp_path / "whole.lutra").read_bytes()
    assert not (tmp_path / "out.lutra.checkpoint").exists()


def test_what_fails_before_training_leaves_no_checkpoint(compress: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('[[layers]]\nlayer = "nosuch"\n')
    refused(compress("out.lutra", "--config", "wrong.toml"), "nosuch", "hidden")
    assert not (tmp_path / "out.lutra.checkpoint").exists()


def test_a_control_c_stops_the_process_and_resume_goes_on(compress: Callable[..., Result], tmp_path: Path, float_model: Path) -> None:
    assert compress("whole.lutra", "--epochs", "20").code == 0
    path = os.pathsep.join(str(ROOT / folder) for folder in ("compiler", "python"))
    arguments = ["compress", str(float_model), "--data", "train.npz", "-o", "out.lutra", "--config", "settings.toml", "--epochs", "20"]
    with subprocess.Popen(
        [sys.executable, "-m", "lutra.cli", *arguments], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True
    ) as running:  # fmt: skip
        assert running.stderr is not None
        next(line for line in running.stderr if line.startswith("assignment 2/60 "))
        running.send_signal(signal.SIGINT)
        assert "go on with --resume" in running.stderr.read()
    assert running.returncode == 130
    resumed = compress("out.lutra", "--epochs", "20", "--resume")
    assert resumed.code == 0
    assert "assignment 2/60 " not in resumed.err
    assert (tmp_path / "out.lutra").read_bytes() == (tmp_path / "whole.lutra").read_bytes()


def test_an_epoch_is_told_once(compress: Callable[..., Result]) -> None:
    stages = ("recovery", 2), ("assignment", 3), ("codewords", 2)
    lines = [line.partition(" loss ")[0] for line in compress("out.lutra").err.splitlines()]
    assert lines == [f"{stage} {epoch}/{epochs}" for stage, epochs in stages for epoch in range(1, epochs + 1)]


def test_there_must_be_a_run_to_resume(compress: Callable[..., Result]) -> None:
    result = compress("out.lutra", "--resume")
    assert (result.code, "holds no interrupted run" in result.err) == (2, True)


def test_a_checkpoint_folder_with_other_files_is_left_alone(compress: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    result = compress("out.lutra", "--checkpoint", "mine")
    assert (result.code, "holds other files" in result.err) == (2, True)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("folder", "output", "more"),
    [
        ("out", "out/net.lutra", ()), (".", "net.lutra", ()), ("out", "link/net.lutra", ()),
        ("out", "net.lutra", ("--save-config", "out/found.toml")),
    ],
)  # fmt: skip
def test_a_result_is_not_written_into_the_checkpoint_folder(
    compress: Callable[..., Result], tmp_path: Path, folder: str, output: str, more: tuple[str, ...]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    refused(compress(output, "--checkpoint", folder, *more), "is in the checkpoint folder", "choose another folder")
    assert not list((tmp_path / "out").iterdir())


def test_a_trained_network_is_not_written_into_the_checkpoint_folder(lutra: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    refused(lutra("zoo", "train", "lenet5", "-o", "out/net.lutra", "--checkpoint", "out"), "is in the checkpoint folder out")


def test_what_a_killed_run_left_goes_with_its_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "out.lutra.checkpoint"
    folder.mkdir()
    for name in ("run.json", "assignment.safetensors", "tmpab12cd.tmp", ".recovery.lutra.0123456789abcdef.tmp"):
        (folder / name).touch()
    api.discard_checkpoint(folder)
    assert not folder.exists()


def test_samples_sorted_by_class_are_trained_on_and_measured_on_in_all_classes(
    compress: Callable[..., Result], float_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = clusters(400, 1)
    order = np.argsort(labels)
    np.savez(tmp_path / "train.npz", images=images[order], labels=labels[order])
    seen: list[Dataset] = []

    def fit(source: object, data: Dataset, *arguments: object, validation: Dataset, **options: object) -> None:
        seen.extend([data, validation])
        raise BudgetError("enough")

    monkeypatch.setattr(api, "fit", fit)
    assert compress("out.lutra").code == 1
    assert [len(part) for part in seen] == [360, 40]
    for part in seen:
        assert part.labels is not None
        assert set(part.labels[:40]) == set(range(CLASSES))


@pytest.mark.parametrize("verb", ["compress", "pareto"])
def test_python_callers_may_sort_by_class_as_well(float_model: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    images, labels = clusters(400, 1)
    order = np.argsort(labels)
    seen: list[Dataset] = []

    def samples(data: Dataset) -> None:
        seen.append(data)
        raise BudgetError("enough")

    monkeypatch.setattr(api, "_samples", samples)
    data = Dataset(images[order], labels[order])
    with pytest.raises(BudgetError):
        api.compress(float_model, data) if verb == "compress" else api.pareto(float_model, data, None, Budget())
    assert seen[0].labels is not None
    assert set(seen[0].labels[:40]) == set(seen[0].labels[-40:]) == set(range(CLASSES))


def test_data_sets_of_the_zoo_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that released recipes give the released files."""
    labels = np.arange(200, dtype=np.uint8)
    monkeypatch.setattr("lutra.zoo.data.load_raw", lambda name, split: (np.zeros((200, 28, 28), np.uint8), labels))
    np.testing.assert_array_equal(zoo_data.load("mnist", "train").mixed().labels, labels)


# Bad input: exit code 2, a message that names the thing, nothing on stdout, nothing written.


def refused(result: Result, *words: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err


GEMM = helper.make_node("Gemm", ["x", "w"], ["y"], "fc", transB=1)
WEIGHT = np.ones((3, FEATURES), np.float32)


def external() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(WEIGHT, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (onnx_model([GEMM], [numpy_helper.from_array(WEIGHT, "w")], ("n", "features")), ["x"]),
        (onnx_model([GEMM], [numpy_helper.from_array(WEIGHT.astype(np.float16), "w")], kind=TensorProto.FLOAT16), ["FLOAT16", "float32"]),
        (onnx_model([GEMM], [numpy_helper.from_array(WEIGHT * np.nan, "w")]), ["fc", "NaN"]),
        (onnx_model([GEMM], [external()]), ["'w' is in another file"]),
    ],
    ids=["dynamic shapes", "float16", "NaN weights", "external data"],
)
def test_an_onnx_file_that_cannot_be_used_is_refused(lutra: Callable[..., Result], tmp_path: Path, broken: Any, words: list[str]) -> None:
    (tmp_path / "x.onnx").write_bytes(broken.SerializeToString())
    refused(lutra("analyze", "x.onnx"), *words)


def test_unsupported_operators_are_all_listed_and_the_answer_is_no(lutra: Callable[..., Result], tmp_path: Path, data: Path) -> None:
    einsum = helper.make_node("Einsum", ["a"], ["y"], "second", equation="ij->ji")
    nodes = [helper.make_node("Hardmax", ["x"], ["a"], "first\x1b"), einsum]
    (tmp_path / "x.onnx").write_bytes(onnx_model(nodes, []).SerializeToString())
    result = lutra("analyze", "x.onnx", "--json")
    assert (result.code, result.json()["compilable"]) == (1, False)
    assert [(p["node"], p["operator"]) for p in result.json()["problems"]] == [("first\x1b", "Hardmax"), ("second", "Einsum")]
    assert all(p["reason"] and p["remedy"] for p in result.json()["problems"])
    told = lutra("analyze", "x.onnx")
    assert (told.code, told.out) == (1, "")
    compressed = lutra("compress", "x.onnx", "--data", data, "-o", "y.lutra")
    refused(compressed, "2 unsupported node(s)", "first\\x1b (Hardmax)", "second (Einsum)")


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.pkl"])
def test_a_pickle_is_refused_unread(lutra: Callable[..., Result], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    refused(lutra("analyze", name), "pickle", "torch.onnx.export")
    assert not (tmp_path / "pwned").exists()


def test_truncated_models_are_refused(lutra: Callable[..., Result], model: Path, float_model: Path) -> None:
    for path in (model, float_model):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refused(lutra("analyze", path), "truncated")


def test_a_float_model_is_not_generated(lutra: Callable[..., Result], float_model: Path, tmp_path: Path) -> None:
    refused(lutra("generate", float_model, "-o", "out"), "compress it first")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_lowered_is_not_trained(lutra: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    norm = helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["n"], "norm")
    gemm = helper.make_node("Gemm", ["n", "w"], ["y"], "fc", transB=1)
    weights = {"s": np.ones(FEATURES, np.float32), "w": np.ones((CLASSES, FEATURES), np.float32)}
    model = onnx_model([norm, gemm], [numpy_helper.from_array(array, name) for name, array in weights.items()])
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    refused(lutra("compress", "x.onnx", "--data", data, "-o", "y.lutra"), "'norm'", "fold")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npz", "x.onnx"]


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ({"images": np.zeros((40, FEATURES), np.float32), "labels": np.full(40, 9)}, (), ["label 9", f"{CLASSES} outputs"]),
        ({"images": np.zeros((1, FEATURES), np.float32)}, ("--method", "train"), ["of 1 sample(s)", "--validation"]),
        (
            {"images": np.zeros((40, FEATURES), np.float32)},
            ("--config", "affine.toml", "--method", "train"),
            ["augmentation 'affine'", f"({FEATURES},)"],
        ),
    ],
    ids=["label", "one sample", "augmentation"],
)
def test_samples_that_cannot_be_trained_on_are_refused(
    lutra: Callable[..., Result],
    float_model: Path,
    tmp_path: Path,
    arrays: dict[str, np.ndarray],
    options: tuple[str, ...],
    words: list[str],
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    (tmp_path / "affine.toml").write_text('[training]\naugmentation = "affine"\n')
    refused(lutra("compress", float_model, "--data", "bad.npz", "-o", "y.lutra", *options), *words)
    assert not list(tmp_path.glob("y.lutra*"))


def test_nothing_that_is_read_is_written_over(lutra: Callable[..., Result], model: Path, float_model: Path, data: Path) -> None:
    save_model(model.with_name("float.lutra"), api.load(float_model).graph, {})
    assert lutra("generate", model, "-o", "out", "--prefix", "net").code == 0
    before = {path: path.read_bytes() for path in model.parent.rglob("*") if path.is_file()}
    for arguments in (
        ("compress", "float.lutra", "--data", data, "-o", "float.lutra"),
        ("compress", float_model, "--data", data, "-o", "new.lutra", "--save-config", float_model),
        ("compress", float_model, "--data", data, "-o", "new.lutra", "--save-config", data),
        ("firmware", model, "--board", "pico", "-o", model),
        ("validate", "out", "--data", data, "--report", "out/net.json"),
    ):
        refused(lutra(*arguments), "is read by this command", "choose another file to write")
    assert {path: path.read_bytes() for path in model.parent.rglob("*") if path.is_file()} == before


def test_a_refusal_is_one_json_object_too(lutra: Callable[..., Result], model: Path) -> None:
    for arguments, code in ((("analyze", "nosuch.onnx"), 2), (("generate", model, "-o", "out", "--ram", 30), 1)):
        result = lutra(*arguments, "--json")
        assert result.code == code
        assert result.err == f"error: {result.json()['error']}\n"


def test_a_compressed_model_is_not_compressed(lutra: Callable[..., Result], model: Path, data: Path) -> None:
    refused(lutra("compress", model, "--data", data, "-o", "out.lutra"), "compressed already")


def test_a_folder_with_foreign_files_is_left_alone(lutra: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("x")
    refused(lutra("generate", model, "-o", "out"), "thesis.txt")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("prefix", ["while", "int8_t", "Net", "9net", "lutra_net", "a\nb", ""])
def test_a_prefix_that_cannot_begin_c_names_is_refused(lutra: Callable[..., Result], model: Path, tmp_path: Path, prefix: str) -> None:
    refused(lutra("generate", model, "-o", "out", "--prefix", prefix), "prefix", "choose another name")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((3, 9), np.float32)}, ["(9,)", f"({FEATURES},)"]),
        ({"images": np.zeros((3, FEATURES), np.uint8)}, ["uint8", "preprocessed"]),
        ({"images": np.full((3, FEATURES), np.inf, np.float32)}, ["sample 0 holds NaN or infinity"]),
        ({"images": np.zeros((3, FEATURES), np.float32), "labels": np.array([0, 1, 9])}, ["label 9", f"{CLASSES} outputs"]),
        ({"images": np.zeros((3, FEATURES), np.float32), "labels": np.zeros(2, int)}, ["labels are int64 [2]"]),
    ],
    ids=["shape", "type", "infinity", "label", "number of labels"],
)
def test_samples_that_do_not_fit_are_refused(
    lutra: Callable[..., Result], model: Path, tmp_path: Path, arrays: dict[str, np.ndarray], words: list[str]
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    refused(lutra("validate", model, "--data", "bad.npz"), *words)


@pytest.mark.parametrize(("target", "told"), [("cortex-m4", True), ("cortex-m0", False), ("generic", False)])
def test_firmware_of_a_bundle_for_another_cpu_is_told(lutra: Callable[..., Result], model: Path, target: str, told: bool) -> None:
    assert lutra("generate", model, "-o", "out", "--target", target).code == 0
    result = lutra("firmware", "out", "--board", "microbit", "-o", "firmware.elf")
    assert result.code == 0
    assert ("generated for cortex-m4, microbit has a cortex-m0" in result.err) == told


def test_a_bundle_of_another_abi_or_changed_by_hand_is_refused(
    lutra: Callable[..., Result], model: Path, data: Path, tmp_path: Path
) -> None:
    assert lutra("generate", model, "-o", "out", "--prefix", "net").code == 0
    manifest = tmp_path / "out/net.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "abi": 99}))
    refused(lutra("validate", "out", "--data", data), "ABI 99", "generate")
    (tmp_path / "out/net.c").write_text("int x;")
    refused(lutra("validate", "out", "--data", data), "net.c", "generate")


@pytest.mark.parametrize(
    ("verb", "key", "value"),
    [
        ("validate", "model_bytes", "many"), ("validate", "model_bytes", 0), ("validate", "arena_bytes", None),
        ("bench", "layers", [{"output_shape": [4]}]), ("validate", "inputs", []), ("bench", "outputs", []),
    ],
)
def test_a_manifest_that_does_not_say_what_is_needed_is_refused(
    lutra: Callable[..., Result], model: Path, data: Path, tmp_path: Path, verb: str, key: str, value: object
) -> None:
    assert lutra("generate", model, "-o", "out", "--prefix", "net").code == 0
    manifest = tmp_path / "out/net.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), key: value}))
    refused(lutra(verb, "out", *(("--data", data) if verb == "validate" else ())), "manifest", "generate the bundle again")


def test_what_a_manifest_says_of_the_float_network_is_not_trusted(
    lutra: Callable[..., Result], model: Path, data: Path, tmp_path: Path
) -> None:
    assert lutra("generate", model, "-o", "out", "--prefix", "net").code == 0
    manifest = tmp_path / "out/net.json"
    for strange in (None, [], {"float_parameter_bytes": "x", "int8_model_bytes": True, "float_accuracy": [], "float_sha256": 7}):
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "model": strange}))
        record = lutra("validate", "out", "--data", data, "--json").json()
        assert [record[key] for key in ("ratio", "int8_ratio", "float_accuracy", "float_sha256")] == [None] * 4
        assert lutra("export", "out", "--for", "make", "-o", "project", "--force").code == 0


def test_a_folder_that_is_no_bundle_is_refused(lutra: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(lutra("validate", "empty", "--data", data), "holds 0 bundles")


def test_a_missing_compiler_is_told(
    lutra: Callable[..., Result], model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", "nosuchcc")
    refused(lutra("validate", model, "--data", data), "nosuchcc", "install gcc")


def test_a_missing_toolchain_is_told(
    lutra: Callable[..., Result], model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lutra("bench", model).code == 0  # the bundle is compiled for the host, and cached
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/cc").symlink_to(str(shutil.which("cc")))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    refused(lutra("bench", model, "--board", "microbit"), "cmake", "arm-none-eabi-gcc", "qemu-system-arm", "apt-get install")


@pytest.mark.parametrize("verb", ["validate", "bench"])
def test_a_missing_emulator_is_told_before_anything_is_built(
    lutra: Callable[..., Result], model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("cc", "cmake", "ninja", "arm-none-eabi-gcc"):
        (tmp_path / "bin" / tool).symlink_to("/bin/false")  # would fail if it ran
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    samples = ("--data", data) if verb == "validate" else ()
    refused(lutra(verb, model, *samples, "--board", "microbit"), "not on the PATH: qemu-system-arm;", "apt-get install")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("validate", "{model}", "--data", "{data}", "--board", "nosuch"), ["unknown board 'nosuch'", "microbit"]),
        (("generate", "{model}", "-o", "out", "--target", "cortex-a9"), ["unknown target 'cortex-a9'", "cortex-m0"]),
        (("validate", "zoo:lenet6", "--data", "{data}"), ["the zoo has no 'lenet6'"]),
        (("validate", "{model}", "--data", "nosuch.npz"), ["no file, folder or data set 'nosuch.npz'", "cifar10"]),
        (("validate", "{model}", "--data", "minst"), ["data set 'minst'", "did you mean 'mnist'?"]),
        (("compress", "{float}", "--data", "{data}", "-o", "out.lutra", "--config", "nosuch.toml"), ["nosuch.toml cannot be read"]),
        (("compress", "{float}", "--data", "{data}", "-o", "out.lutra", "--config", "zoo:lenet6"), ["no recipe 'lenet6'", "lenet5"]),
        (("compress", "{float}", "--data", "{data}", "-o", "out.lutra", "--epochs", "0"), ["scale of epochs is 0"]),
        (("compress", "{float}", "--data", "{data}", "-o", "out.lutra", "--seed", "-1"), ["seed is -1"]),
        (("compress", "{float}", "--data", "{data}", "-o", "out.onnx"), ["out.onnx must end in .lutra"]),
        (("compress", "{float}", "--data", "{data}", "-o", "nosuch/out.lutra"), ["nosuch/out.lutra cannot be written"]),
        (("zoo", "train", "lenet6", "-o", "out.lutra"), ["no network 'lenet6'", "lenet5"]),
    ],
)
def test_names_that_do_not_exist_are_told_with_those_that_do(
    lutra: Callable[..., Result], model: Path, float_model: Path, data: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    paths = {"model": model, "float": float_model, "data": data}
    refused(lutra(*(argument.format(**paths) for argument in arguments)), *words)


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("nosuch",), ("analyze",), ("analyze", "a", "b"), ("analyze", "a", "--nosuch"), ("validate", "x.lutra"),
        ("validate", "x.lutra", "--data", "d.npz", "--samples", "0"), ("compress", "x.onnx"), ("data", "fetch", "nosuch"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(lutra: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    result = lutra(*arguments)
    assert (result.code, result.out if arguments else "") == (2, "")
    assert "Usage: lutra" in result.err + result.out


@pytest.mark.parametrize(
    "verb", ["analyze", "compress", "generate", "validate", "bench", "report", "doctor", "zoo list", "zoo train", "data fetch"]
)
def test_help_shows_an_example(lutra: Callable[..., Result], verb: str) -> None:
    result = lutra(*verb.split(), "--help")
    assert result.code == 0
    assert f"\n    lutra {verb} " in result.out or f"\n    lutra {verb}\n" in result.out


def test_the_data_verbs_tell_where_the_files_are(
    lutra: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTRA_CACHE", str(tmp_path / "cache"))
    places = {name: str(tmp_path / "cache" / name) for name in ("mnist", "cifar10")}
    records = [{"name": name, "fetched": False, "path": place} for name, place in places.items()]
    assert lutra("data", "list", "--json").json() == {"data": records}
    assert lutra("data", "path", "cifar10").out == f"{places['cifar10']}\n"
