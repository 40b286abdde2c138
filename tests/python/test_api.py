"""lutra: the functions that people import."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import lutra
from cli_models import CLASSES, FEATURES, METADATA, compressed_graph, float_onnx, write_data
from graphs import assert_equal_up_to_names
from lutra import api, zoo
from lutra.zoo import train as zoo_train
from lutra.zoo.networks import INPUT_SHAPES, NETWORKS
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.config import StageConfig, load_config
from lutra_compiler.errors import ConfigurationError, OutputError

pytestmark = pytest.mark.usefixtures("host_cache")


@pytest.fixture
def float_model(tmp_path: Path) -> lutra.Model:
    onnx.save(float_onnx(), tmp_path / "float.onnx")
    return lutra.load(tmp_path / "float.onnx")


def test_everything_that_is_promised_is_there() -> None:
    assert sorted(dir(lutra)) == sorted(lutra.__all__)
    assert all(getattr(lutra, name) is not None for name in lutra.__all__)
    with pytest.raises(AttributeError, match="nosuch"):
        lutra.nosuch  # noqa: B018


def test_a_module_and_its_onnx_file_are_the_same_model(float_model: lutra.Model) -> None:
    weights = {name: torch.tensor(float_model.graph.parameters[op_parameter]) for name, op_parameter in zip(
        ("0.weight", "0.bias", "2.weight", "2.bias"), [n for op in float_model.graph.ops for n in op.parameter_names], strict=True
    )}  # fmt: skip
    module = nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    module.load_state_dict(weights)
    model = lutra.load(module, torch.zeros(1, FEATURES))
    assert_equal_up_to_names(model.graph, float_model.graph)
    for key in ("float_parameter_bytes", "float_sha256"):
        assert model.metadata[key] == float_model.metadata[key]


def test_a_graph_runs_and_trains_as_a_module(float_model: lutra.Model) -> None:
    module = lutra.TorchGraph(float_model.graph)
    module(torch.ones(2, FEATURES)).square().sum().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    changed, original = module.to_graph(), float_model.graph
    assert all((changed.parameters[name] != original.parameters[name]).any() for name in original.parameters)


def test_a_graph_is_a_source_as_well(float_model: lutra.Model, tmp_path: Path) -> None:
    assert lutra.analyze(float_model.graph).ratio == lutra.analyze(float_model).ratio
    lutra.generate(compressed_graph(), tmp_path / "out")
    assert (tmp_path / "out/model.h").is_file()


def test_labels_are_for_vectors_of_scores(tmp_path: Path) -> None:
    model = lutra.load(nn.Conv2d(3, 4, 5), torch.zeros(1, 3, 5, 5))
    images = np.zeros((9, 3, 5, 5), np.float32)
    with pytest.raises(lutra.LutraError, match=r"output is a vector; this has \(1, 1, 4\): flatten it"):
        lutra.compress(model, lutra.make_dataset(images, np.zeros(9, int)))


def test_a_module_needs_example_inputs() -> None:
    with pytest.raises(lutra.LutraError, match="needs example inputs"):
        lutra.load(nn.Linear(2, 2))


def test_a_saved_model_is_loaded_and_generated(tmp_path: Path) -> None:
    model = lutra.Model(compressed_graph(), METADATA)
    lutra.save(model, tmp_path / "x.lutra")
    for name, source in (("a", model), ("b", tmp_path / "x.lutra"), ("c", str(tmp_path / "x.lutra"))):
        lutra.generate(source, tmp_path / name, prefix="net")
    assert len({(tmp_path / name / "net_data.h").read_bytes() for name in "abc"}) == 1


def test_errors_of_the_host_are_of_the_one_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "nosuchcc")
    with pytest.raises(lutra.LutraError, match="nosuchcc"):
        lutra.bench(lutra.Model(compressed_graph()))


def test_validation_against_its_own_weights_finds_only_rounding(tmp_path: Path) -> None:
    graph = compressed_graph()
    weights = {name: encoding.dense() for name, encoding in graph.encodings.items()}
    own = replace(graph, parameters={**graph.parameters, **weights}, encodings={}, quantization={})
    found = lutra.validate(lutra.Model(graph), lutra.read_dataset(write_data(tmp_path / "d.npz")), reference=own)
    difference = found.difference
    assert difference is not None
    assert difference.rmse < 0.05  # one step of the output
    assert difference.mae <= difference.rmse
    assert difference.cos > 0.99
    assert difference.l2r == pytest.approx(np.sqrt(2 - 2 * difference.cos), rel=0.2)
    assert difference.agreement > 0.9
    assert found.float_accuracy_source == "measured"


def test_without_labels_there_is_no_accuracy(tmp_path: Path) -> None:
    data = lutra.Dataset(lutra.read_dataset(write_data(tmp_path / "d.npz")).images)
    found = lutra.validate(lutra.Model(compressed_graph()), data)
    assert (found.accuracy, found.float_accuracy, found.bit_exact) == (None, None, True)


@pytest.mark.parametrize(
    "call",
    [
        lambda model, data: lutra.compress(model, data),
        lambda model, data: lutra.validate(lutra.Model(compressed_graph()), data, reference=model),
        lambda model, data: lutra.load(nn.Linear(2, 2), torch.zeros(1, 2)),
    ],
    ids=["compress", "validate with a reference", "load a module"],
)
def test_what_needs_torch_says_so(
    float_model: lutra.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Any, Any], object]
) -> None:
    data = lutra.read_dataset(write_data(tmp_path / "d.npz"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(lutra.LutraError, match=r"needs PyTorch.*pip install 'lutra-mcu\[train\]'"):
        call(float_model, data)


def test_the_networks_of_the_zoo_have_their_published_sizes() -> None:
    sizes = {name: sum(p.numel() for p in build().parameters()) for name, build in NETWORKS.items()}
    published = {"lenet5": 431_080, "lenet300": 266_610, "alexnet": 23_273_418, "vgg16": 14_724_042, "resnet20": 269_722}
    # ResNet-8 of MLPerf Tiny has 78,666 with the biases of convolutions that batch norms make idle.
    assert sizes == published | {"resnet8": 78_042, "resnet18": 11_173_962}


@pytest.mark.parametrize("network", ["alexnet", "resnet8", "resnet20"])
def test_networks_of_the_zoo_are_read_as_they_compute(network: str) -> None:
    torch.manual_seed(3)
    module = NETWORKS[network]().eval()
    images = torch.randn(2, *INPUT_SHAPES[network])
    graph = lutra.load(module, (images[:1],)).graph
    with torch.no_grad():
        torch.testing.assert_close(TorchGraph(graph).eval()(images), module(images), rtol=1e-3, atol=1e-4)


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Float networks of the zoo are trained for two epochs on 64 random samples; gives the splits that were asked for."""
    asked = []

    def few(name: str, split: str) -> lutra.Dataset:
        asked.append((name, split))
        rng = np.random.default_rng(4)
        shape = INPUT_SHAPES["lenet300" if name == "mnist" else "resnet8"]
        return lutra.make_dataset(rng.normal(size=(64, *shape)).astype(np.float32), rng.integers(10, size=64))

    short = {name: replace(recipe, stage=StageConfig(2, 1e-3)) for name, recipe in zoo_train.FLOAT_RECIPES.items()}
    monkeypatch.setattr(zoo_train, "load", few)
    monkeypatch.setattr(zoo_train, "FLOAT_RECIPES", short)
    return asked


def test_the_training_of_a_float_network_goes_on_where_it_was_interrupted(few_samples: list[tuple[str, str]], tmp_path: Path) -> None:
    def interrupt(progress: Any) -> None:
        if (progress.epoch, progress.step) == (1, progress.steps // 2):
            raise KeyboardInterrupt

    whole, stages = api.train("resnet8", checkpoint=tmp_path / "whole"), []
    with pytest.raises(KeyboardInterrupt):
        api.train("resnet8", report=interrupt, checkpoint=tmp_path / "run")
    with pytest.raises(OutputError, match="resume it"):
        api.train("resnet8", checkpoint=tmp_path / "run")
    with pytest.raises(ConfigurationError, match="another network and recipe"):
        api.train("lenet300", checkpoint=tmp_path / "run", resume=True)
    resumed = api.train("resnet8", report=lambda progress: stages.append(progress.epoch), checkpoint=tmp_path / "run", resume=True)
    assert stages == [2]
    assert few_samples
    for name, parameter in whole.graph.parameters.items():
        np.testing.assert_array_equal(parameter, resumed.graph.parameters[name])


@pytest.mark.parametrize("network", ["lenet300", "resnet8"])
def test_float_networks_are_trained_on_their_data_set(network: str, few_samples: list[tuple[str, str]]) -> None:
    model = api.train(network)
    dataset = "mnist" if network == "lenet300" else "cifar10-centred"
    assert few_samples == [(dataset, "train"), (dataset, "validation")]
    assert model.metadata["dataset"] == dataset
    assert model.graph.trainable_parameters() == sum(p.numel() for p in NETWORKS[network]().parameters())


@pytest.mark.parametrize("name", zoo.names())
def test_every_point_of_the_zoo_loads_and_knows_its_float_network(name: str) -> None:
    model = lutra.load(f"zoo:{name}")
    network = name.partition("/")[0]
    assert model.metadata["network"] == network
    if model.metadata["source_sha256"] is None:  # else it comes from somebody else's
        assert model.metadata["float_parameter_bytes"] == 4 * sum(p.numel() for p in NETWORKS[network]().parameters())
    else:
        assert f"{network}/float" not in zoo.names()
    assert bool(model.graph.encodings) == (name != f"{network}/float")


@pytest.mark.parametrize("name", ["lenet5", "lenet300", "lenet5/demo"])
def test_every_recipe_of_the_zoo_is_valid(name: str) -> None:
    assert load_config(zoo.recipe(name)).pruning.widths
