"""How the zoo's float networks are trained. The recipes of what is made of them are the TOML files in recipes/."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lutra.zoo.data import Split, load_mnist
from lutra.zoo.networks import NETWORKS
from lutra_compiler.compression.training import Checkpoints, Report, Samples, fit, silent
from lutra_compiler.config import StageConfig, TrainingConfig
from lutra_compiler.driver import Model, float_metadata
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.passes import canonicalise


@dataclass(frozen=True)
class FloatRecipe:
    """How a float network is trained: its one stage, the settings of the loop, and the seed of weights and order."""

    stage: StageConfig
    training: TrainingConfig
    seed: int


FLOAT_RECIPES: Mapping[str, FloatRecipe] = {
    "lenet5": FloatRecipe(StageConfig(25, 2e-3), TrainingConfig(weight_decay=0.01, augmentation="affine"), seed=1),
    "lenet300": FloatRecipe(StageConfig(40, 2e-3), TrainingConfig(weight_decay=0.01, augmentation="affine"), seed=1),
}


def samples_of(split: Split) -> Samples:
    """A split of MNIST as tensors."""
    data = load_mnist(split)
    return Samples(torch.from_numpy(data.images), torch.from_numpy(data.labels))


def train_float(network: str, *, report: Report = silent, checkpoints: Checkpoints | None = None) -> Model:
    """Train a network of the zoo from scratch on the training split, without a look at validation or test images."""
    recipe = FLOAT_RECIPES[network]
    torch.manual_seed(recipe.seed)
    module = NETWORKS[network]()
    fit(
        module,
        samples_of("train"),
        recipe.stage,
        recipe.training,
        name="float",
        seed=recipe.seed,
        validation=samples_of("validation"),
        report=report,
        checkpoints=checkpoints,
    )
    graph = canonicalise(graph_from_module(module, (torch.zeros(1, 1, 28, 28),)))
    return Model(graph, float_metadata(graph, network) | {"seeds": {"float": recipe.seed}})
