"""Example networks in the shapes that users bring, small, with random weights and batch-norm statistics of both signs."""

import io
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5), nn.Conv2d(4, 6, 5)
        self.fc1, self.fc2 = nn.Linear(6 * 4 * 4, 20), nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = x.view(x.size(0), -1)
        return self.fc2(functional.dropout(functional.relu(self.fc1(x)), training=self.training))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU6(), nn.Linear(12, 5), nn.Softmax(1))


def alexnet() -> nn.Module:
    features = [nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)]
    features += [nn.Conv2d(8, 12, 3, padding="same"), nn.ReLU(inplace=True)]
    classifier = [nn.Flatten(), nn.Dropout(), nn.Linear(12 * 3 * 2, 16), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(16, 7)]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d((3, 2)), *classifier)


def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 6), (6, 6), (6, 10)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(10 * 3 * 2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


class ResidualBlock(nn.Module):
    """With the parameter-free shortcut (strided slice, channel pad) or with a 1x1 projection."""

    def __init__(self, before: int, after: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.projection = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)) if projection else None
        self.extra = after - before

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.projection is not None:
            shortcut = self.projection(x)
        elif self.extra:
            shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        else:
            shortcut = x
        y += shortcut
        return functional.relu(y)


class ResNet(nn.Module):
    def __init__(self, projection: bool) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(ResidualBlock(4, 4, 1, False), ResidualBlock(4, 8, 2, projection), ResidualBlock(8, 8, 1, False))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(functional.relu(self.bn(self.stem(x))))
        return self.fc(x.mean([2, 3]))


def mobilenet() -> nn.Module:
    layers: list[nn.Module] = [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 6, 3, 2, bias=False), nn.BatchNorm2d(6), nn.ReLU6()]
    for before, after in ((6, 8), (8, 12)):
        layers += [nn.Conv2d(before, before, 3, 1, 1, groups=before, bias=False), nn.BatchNorm2d(before), nn.ReLU6()]
        layers += [nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3))


class Inception(nn.Module):
    """Branches joined by a concat, and a batch norm that follows no convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.bn, self.fc = nn.BatchNorm2d(12), nn.Linear(12 * 4 * 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.avg_pool2d(x, 3, 1, 1)
        x = torch.cat([functional.relu(self.narrow(x)), functional.relu(self.wide(x)), pooled], 1)
        x = functional.relu(self.bn(x))
        return self.fc(torch.flatten(functional.avg_pool2d(x, 2), 1))


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet": (LeNet, (1, 28, 28)),
    "mlp": (mlp, (20,)),
    "alexnet": (alexnet, (3, 26, 18)),
    "vgg": (vgg, (3, 20, 13)),
    "resnet_identity": (lambda: ResNet(projection=False), (3, 12, 12)),
    "resnet_projection": (lambda: ResNet(projection=True), (3, 12, 12)),
    "mobilenet": (mobilenet, (3, 16, 16)),
    "inception": (Inception, (3, 8, 8)),
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network of `NETWORKS` in evaluation mode, and a batch of one for it; the same at every call."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    module = make()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, low, high in ((part.weight, -1.5, 1.5), (part.bias, -1, 1), (part.running_mean, -1, 1), (part.running_var, 0.3, 2)):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)
    return module.eval(), torch.randn(1, *shape)


def onnx_bytes(module: nn.Module, *inputs: Tensor, optimize: bool = False) -> bytes:
    """The module exported by torch; with `optimize`, batch norms are folded by the exporter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.onnx.export(module, inputs, dynamo=True, opset_version=18, optimize=optimize, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    return file.getvalue()
