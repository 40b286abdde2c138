"""The zoo's networks as torch modules; samples enter as [n, *INPUT_SHAPES[network]]."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10


def lenet5() -> nn.Module:
    """LeNet-5 as distributed with Caffe (20-50-500-10), 431,080 parameters. [LeCun 1998; BVLC Caffe]"""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500), nn.ReLU(),
        nn.Linear(500, CLASSES),
    )  # fmt: skip


def lenet300() -> nn.Module:
    """LeNet-300-100, fully connected (784-300-100-10), 266,610 parameters. [LeCun 1998]"""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 300), nn.ReLU(),
        nn.Linear(300, 100), nn.ReLU(),
        nn.Linear(100, CLASSES),
    )  # fmt: skip


def alexnet() -> nn.Module:
    """AlexNet for 32 x 32 images, with batch norm: 3x3 convolutions 64 (stride 2)-192-384-256-256, FC 1024-4096-4096-10; 23.3 M parameters.

    [Krizhevsky 2012, whose dropout it has; the shape that the founding paper's line of work compresses]
    """
    return nn.Sequential(
        *_convolution(3, 64, stride=2), nn.MaxPool2d(2),
        *_convolution(64, 192), nn.MaxPool2d(2),
        *_convolution(192, 384),
        *_convolution(384, 256),
        *_convolution(256, 256), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(), nn.Linear(1024, 4096), nn.ReLU(),
        nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, CLASSES),
    )  # fmt: skip


def vgg16() -> nn.Module:
    """VGG-16 with batch norm for 32 x 32 images, one fully connected layer, 14.7 M parameters. [Simonyan 2015]"""
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += _convolution(channels, width)
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, CLASSES))


class ResNet(nn.Module):
    """Stages of residual blocks of two 3x3 convolutions, each stage but the first at half the resolution. [He 2016]

    `parameter_free`: shortcuts into a stage take every other pixel and fill up with zero channels (option A); else 1x1 convolutions.
    """

    def __init__(self, widths: tuple[int, ...], blocks: int, *, parameter_free: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, widths[0]))
        channels = widths[0]
        stages: list[nn.Module] = []
        for index, width in enumerate(widths):
            for block in range(blocks):
                stages.append(_Block(channels, width, 2 if index > 0 and block == 0 else 1, parameter_free))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """[n, 3, 32, 32] -> scores [n, 10]."""
        scores: Tensor = self.classifier(self.pool(self.blocks(self.stem(images))).flatten(1))
        return scores


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, parameter_free: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(*_convolution(channels, width, stride), *_convolution(width, width)[:-1])
        self.stride, self.padding = stride, (width - channels) // 2
        self.projection: nn.Module | None = None
        if channels != width and not parameter_free:
            self.projection = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, images: Tensor) -> Tensor:
        if self.projection is not None:
            shortcut = self.projection(images)
        elif self.padding:
            shortcut = functional.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        else:
            shortcut = images
        return functional.relu(self.residual(images) + shortcut)


def _convolution(channels: int, width: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def resnet8() -> nn.Module:
    """ResNet-8 in MLPerf Tiny's shape (16-32-64, 1x1 shortcuts), 78 k parameters. [Banbury 2021]"""
    return ResNet((16, 32, 64), 1, parameter_free=False)


def resnet20() -> nn.Module:
    """ResNet-20 with parameter-free shortcuts, 270 k parameters. [He 2016, section 4.2]"""
    return ResNet((16, 32, 64), 3, parameter_free=True)


def resnet18() -> nn.Module:
    """ResNet-18 for 32 x 32 images (3x3 stem, no pooling), 11.2 M parameters. [He 2016]"""
    return ResNet((64, 128, 256, 512), 2, parameter_free=False)


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    build.__name__: build for build in (lenet5, lenet300, alexnet, vgg16, resnet8, resnet20, resnet18)
}
INPUT_SHAPES: Mapping[str, tuple[int, ...]] = {name: (1, 28, 28) if name.startswith("lenet") else (3, 32, 32) for name in NETWORKS}
