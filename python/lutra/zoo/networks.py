"""The zoo's networks as torch modules; samples enter as [n, 1, 28, 28]."""

from torch import nn


def lenet5() -> nn.Module:
    """LeNet-5 as distributed with Caffe (20-50-500-10), 431,080 parameters. [LeCun 1998; BVLC Caffe]"""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500), nn.ReLU(),
        nn.Linear(500, 10),
    )


def lenet300() -> nn.Module:
    """LeNet-300-100, fully connected (784-300-100-10), 266,610 parameters. [LeCun 1998]"""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 300), nn.ReLU(),
        nn.Linear(300, 100), nn.ReLU(),
        nn.Linear(100, 10),
    )


NETWORKS = {"lenet5": lenet5, "lenet300": lenet300}
