"""README.md: its examples do what it says."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lutra
from cli_models import FEATURES, clusters, compressed_graph
from lutra_compiler.config import parse_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
pytestmark = pytest.mark.usefixtures("host_cache")


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("compiler", [("gcc", "-std=c11"), ("arm-none-eabi-gcc", "-mcpu=cortex-m0", "-std=c11"), ("g++", "-std=c++17")])
def test_the_firmware_compiles(compiler: tuple[str, ...], tmp_path: Path) -> None:
    lutra.generate(lutra.Model(compressed_graph()), tmp_path / "model")
    (example,) = examples("c")
    (tmp_path / "classify.c").write_text(example)
    language = ("-x", "c++") if compiler[0] == "g++" else ()
    warnings = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
    folders = (f"-I{ROOT}/runtime_c/include", f"-I{tmp_path}/model")
    subprocess.run([*compiler, *warnings, *folders, *language, "-c", "classify.c", "-o", "classify.o"], cwd=tmp_path, check=True)


def test_python_runs_in_the_order_in_which_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = clusters(200, 1)
    names = {
        "torch": torch, "module": nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, 4)),
        "images": images, "labels": labels, "test_images": images, "test_labels": labels,
    }  # fmt: skip
    for example in examples("python"):
        exec(example.replace("zeros(1, 1, 28, 28)", f"zeros(1, {FEATURES})"), names)
    assert (tmp_path / "firmware/model/model.h").is_file()
    assert isinstance(small := names["small"], lutra.Model)
    assert lutra.validate(small, lutra.make_dataset(images, np.asarray(labels))).bit_exact


@pytest.mark.parametrize("verb", ["analyze", "compress", "generate", "validate", "export", "report", "doctor"])
def test_every_verb_is_shown(verb: str) -> None:
    assert re.search(rf"^    lutra {verb}\b", README, re.MULTILINE)


def test_the_configuration_document_shows_the_defaults() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/configuration.md").read_text(), re.DOTALL)
    config = parse_config(shown)
    assert config.training == lutra.TrainingConfig()
    assert config == replace(lutra.CompressionConfig(), layers=config.layers, pruning=config.pruning)
    assert replace(config.pruning, widths={}, features={}) == lutra.PruningConfig()
    assert config.layers[1] == lutra.LayerConfig("*")
