"""How the zoo's float networks are trained. The recipes of what is made of them are the TOML files in recipes/."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from lutra.zoo.data import Prepared, Split, load
from lutra.zoo.networks import INPUT_SHAPES, NETWORKS
from lutra_compiler.compression.training import Checkpoints, Report, Samples, fit, silent
from lutra_compiler.config import StageConfig, TrainingConfig
from lutra_compiler.driver import Model, float_metadata
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.passes import canonicalise


@dataclass(frozen=True)
class FloatRecipe:
    """How a float network is trained: on what, its one stage, the settings of the loop, and the seed of weights and order."""

    dataset: Prepared
    stage: StageConfig
    training: TrainingConfig
    seed: int = 1


_MNIST = TrainingConfig(weight_decay=0.01, augmentation="affine")
_CIFAR10 = TrainingConfig(weight_decay=5e-4, augmentation="crop_flip", optimizer="sgd", precision="bfloat16")

FLOAT_RECIPES: Mapping[str, FloatRecipe] = {
    "lenet5": FloatRecipe("mnist", StageConfig(25, 2e-3), _MNIST),
    "lenet300": FloatRecipe("mnist", StageConfig(40, 2e-3), _MNIST),
    "alexnet": FloatRecipe(
        "cifar10-centred", StageConfig(44, 0.1, warmup=2), replace(_CIFAR10, batch_size=256, augmentation="crop_flip_cutout")
    ),
    "vgg16": FloatRecipe("cifar10-centred", StageConfig(20, 0.05, warmup=2), _CIFAR10),
    "resnet8": FloatRecipe("cifar10-centred", StageConfig(200, 0.1), _CIFAR10),
    "resnet20": FloatRecipe("cifar10-centred", StageConfig(80, 0.1), _CIFAR10),
    "resnet18": FloatRecipe("cifar10-centred", StageConfig(10, 0.1, warmup=1), _CIFAR10),
}


def samples_of(dataset: Prepared, split: Split) -> Samples:
    """A split of a data set as tensors."""
    data = load(dataset, split)
    return Samples(torch.from_numpy(data.images), torch.from_numpy(data.labels))


def train_float(network: str, *, report: Report = silent, checkpoints: Checkpoints | None = None) -> Model:
    """Train a network of the zoo from scratch on the training split, without a look at validation or test images."""
    recipe = FLOAT_RECIPES[network]
    torch.manual_seed(recipe.seed)
    module = NETWORKS[network]()
    fit(
        module,
        samples_of(recipe.dataset, "train"),
        recipe.stage,
        recipe.training,
        name="float",
        seed=recipe.seed,
        validation=samples_of(recipe.dataset, "validation"),
        report=report,
        checkpoints=checkpoints,
    )
    graph = canonicalise(graph_from_module(module.cpu(), (torch.zeros(1, *INPUT_SHAPES[network]),)))
    return Model(graph, float_metadata(graph, network) | {"dataset": recipe.dataset, "seeds": {"float": recipe.seed}})
