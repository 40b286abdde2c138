"""Random small networks, as users bring them: convolutions, perhaps with batch norms or a residual, pooling, fully connected layers."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

import lutra
from lutra.dataset import Dataset
from lutra_compiler.ir.graph import Graph

_NO_TRAINING = lutra.StageConfig(0, 0.0)


class Residual(nn.Module):
    """x + a 3x3 convolution of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, height, width] -> the same."""
        return torch.relu(x + self.conv(x))


def random_network(seed: int, shape: tuple[int, int, int] = (1, 12, 12), classes: int = 4) -> nn.Module:
    """An untrained network from images [n, *shape] to scores [n, classes]; the same seed gives the same one."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    channels, height, width = shape
    layers: list[nn.Module] = []
    for _ in range(rng.integers(1, 4)):
        out = int(rng.choice([6, 8, 12, 16, 24, 32]))
        norm = rng.random() < 0.4
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=not norm), *([nn.BatchNorm2d(out)] if norm else []), nn.ReLU()]
        channels = out
        if rng.random() < 0.3:
            layers.append(Residual(channels))
        if min(height, width) >= 4 and rng.random() < 0.7:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    if rng.random() < 0.3:
        layers.append(nn.AdaptiveAvgPool2d(1))
        height = width = 1
    layers.append(nn.Flatten())
    features = channels * height * width
    for _ in range(rng.integers(0, 3)):
        out = int(rng.choice([16, 24, 32, 48, 64, 96]))
        layers += [nn.Linear(features, out), nn.ReLU()]
        features = out
    return nn.Sequential(*layers, nn.Linear(features, classes)).eval()


@cache
def coded_network(seed: int) -> Graph:
    """A random network, its layers int8 or product-quantized at random, ready to be lowered."""
    rng = np.random.default_rng(seed)
    model = lutra.load(random_network(seed), torch.zeros(1, 1, 12, 12))
    layers = [op.name for op in model.graph.ops if op.kind in ("conv2d", "linear")]
    kinds = [
        lutra.LayerConfig(name, "pq" if rng.random() < 0.6 else "int8", int(rng.choice([16, 64])), int(rng.choice([1, 2, 4, 8])))
        for name in layers
    ]
    training = lutra.TrainingConfig(_NO_TRAINING, _NO_TRAINING, _NO_TRAINING, _NO_TRAINING)
    noise = rng.normal(size=(64, 1, 12, 12)).astype(np.float32)
    return lutra.compress(model, Dataset(noise), lutra.CompressionConfig(tuple(kinds), training=training, calibration_samples=64)).graph
