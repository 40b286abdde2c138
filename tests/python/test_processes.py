"""`lutra compress` in two processes that torchrun starts: they train as one and write one result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from cli_models import float_onnx, write_data
from lutra_compiler.model_file import load_model

ROOT = Path(__file__).parents[2]
# Subvectors move once, at the first step: later moves would turn noise into other codewords.
SETTINGS = """
seed = 3
[training]
batch_size = 25
reassign_every = 1000
assignment = { epochs = 3, learning_rate = 2e-3 }
codewords = { epochs = 2, learning_rate = 1e-3 }
[[layers]]
layer = "hidden"
kind = "pq"
"""


def compress(folder: Path, output: str, *launcher: str) -> dict[str, float]:
    path = os.pathsep.join(str(ROOT / source) for source in ("compiler", "python"))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = ["compress", "net.onnx", "--data", "train.npz", "-o", output, "--config", "settings.toml", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "lutra", *command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record: dict[str, float] = json.loads(done.stdout)  # one object: of two processes one prints
    return record


@pytest.mark.slow
def test_two_processes_train_what_one_does_up_to_noise(tmp_path: Path) -> None:
    onnx.save(float_onnx(), tmp_path / "net.onnx")
    write_data(tmp_path / "train.npz", 400)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    one = compress(tmp_path, "one.lutra")
    two = compress(tmp_path, "two.lutra", "torch.distributed.run", "--nproc-per-node=2", "-m")
    assert sorted(path.name for path in tmp_path.glob("*.lutra*")) == ["one.lutra", "two.lutra"]  # checkpoints are gone
    assert two["validation_accuracy"] == pytest.approx(one["validation_accuracy"], abs=0.05)
    a, b = (load_model(tmp_path / name)[0] for name in ("one.lutra", "two.lutra"))
    for name in a.encodings:
        dense_a, dense_b = a.encodings[name].dense(), b.encodings[name].dense()
        assert np.square(dense_a - dense_b).mean() < 1e-4 * np.square(dense_a).mean()
