"""Modules through torch.export: every supported operator computes what torch computes; everything else is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.errors import ModelError, UnsupportedModelError
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.ir.ops import BatchNorm
from lutra_compiler.passes import canonicalise, prepare_for_lowering

IMAGE, VECTOR = (1, 4, 7, 8), (1, 6)


class Module(nn.Module):
    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)
        self.matrix, self.vector = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(3))
        self.register_buffer("limit", torch.tensor(0.5))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


def relu_in_place(_: nn.Module, x: Tensor) -> Tensor:
    y = x + x
    F.relu_(y)
    return y + x


CASES: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], list[nn.Module]]] = {
    "conv same": (lambda m, x: m.layers[0](x), IMAGE, [nn.Conv2d(4, 3, (2, 5), padding="same")]),
    "conv groups": (lambda m, x: m.layers[0](x), IMAGE, [nn.Conv2d(4, 6, 3, (1, 2), (2, 0), groups=2, bias=False)]),
    "conv and bias": (lambda m, x: 0 + m.layers[0](x) + m.limit, IMAGE, [nn.Conv2d(4, 6, 3)]),
    "linear": (lambda m, x: m.layers[0](x), VECTOR, [nn.Linear(6, 3, bias=False)]),
    "matmul": (lambda m, x: x @ m.matrix + m.vector, VECTOR, []),
    "mm": (lambda m, x: torch.mm(x, m.matrix), VECTOR, []),
    "addmm": (lambda m, x: torch.addmm(m.vector, x, m.matrix, beta=2, alpha=0.5), VECTOR, []),
    "batch norm without affine": (lambda m, x: m.layers[0](x), IMAGE, [nn.BatchNorm2d(4, eps=0.1, affine=False)]),
    "relu in place": (relu_in_place, IMAGE, []),
    "relu6": (lambda m, x: F.relu6(x), IMAGE, []),
    "hardtanh": (lambda m, x: F.hardtanh(x, -0.5, 0.25), IMAGE, []),
    "clamp": (lambda m, x: torch.clamp_min(x, -0.5).clamp(max=m.limit).clamp_max(0.25), IMAGE, []),
    "max pool": (lambda m, x: F.max_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True), IMAGE, []),
    "max pool with no window beyond the image": (lambda m, x: F.max_pool2d(x, 2, 3, 1, ceil_mode=True), IMAGE, []),
    "max pool by default stride": (lambda m, x: F.max_pool2d(x, 2), IMAGE, []),
    "average pool": (lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), IMAGE, []),
    "average pool with pads": (lambda m, x: F.avg_pool2d(x, (2, 3), padding=(0, 1)), IMAGE, []),
    "average pool ceil": (lambda m, x: F.avg_pool2d(x, 2, ceil_mode=True), IMAGE, []),
    "adaptive average pool": (lambda m, x: F.adaptive_avg_pool2d(x, (7, 2)), IMAGE, []),
    "adaptive max pool": (lambda m, x: F.adaptive_max_pool2d(x, 1), IMAGE, []),
    "mean": (lambda m, x: x.mean((-1, -2), keepdim=True), IMAGE, []),
    "add": (lambda m, x: x + x.detach(), IMAGE, []),
    "concat": (lambda m, x: torch.concat([x, torch.cat([x, x], -3)], 1), IMAGE, []),
    "pad": (lambda m, x: torch.constant_pad_nd(F.pad(x, (1, 2, 0, 3)), (0, 0, 0, 0, 2, 1)), IMAGE, []),
    "pad nothing": (lambda m, x: F.relu(F.pad(x, (0, 0))), IMAGE, []),
    "slice": (lambda m, x: x[:, 1:, ::2, -5:7][:, :, 1:], IMAGE, []),
    "slice of all": (lambda m, x: F.relu(x[:, :4])[:, :, :7], IMAGE, []),
    "flatten": (lambda m, x: m.layers[0](x.flatten(1)), IMAGE, [nn.Linear(224, 3)]),
    "squeeze": (lambda m, x: F.adaptive_avg_pool2d(x, 1).squeeze((2, 3)), IMAGE, []),
    "softmax": (lambda m, x: x.softmax(1), VECTOR, []),
    "nothing": (lambda m, x: F.relu(m.layers[0](x.float().contiguous())), IMAGE, [nn.Dropout()]),
}


def module_of(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    function, shape, layers = CASES[name]
    return Module(function, *layers).eval(), torch.randn(shape)


@pytest.mark.parametrize("name", CASES)
def test_operator_computes_what_torch_does(name: str) -> None:
    module, x = module_of(name)
    graph = graph_from_module(module, (x,))
    with torch.no_grad():
        expected = module(x).numpy()
        np.testing.assert_allclose(TorchGraph(graph).eval()(x).numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(TorchGraph(prepare_for_lowering(canonicalise(graph))).eval()(x).numpy(), expected, atol=1e-5)


def test_a_weight_computed_from_parameters_is_one_constant() -> None:
    module = nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)).eval()
    x = torch.randn(VECTOR)
    with torch.no_grad():
        np.testing.assert_allclose(TorchGraph(graph_from_module(module, (x,)))(x).numpy(), module(x).numpy(), atol=1e-5)


def test_ops_carry_the_module_path_and_any_batch_will_do() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.Linear(4, 3)))
    graph = graph_from_module(module, (torch.zeros(8, 6),))
    assert [op.name for op in graph.ops] == ["0", "1.0"]
    assert graph.inputs[0].shape == (6,)


def test_training_mode_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.Dropout(), nn.BatchNorm1d(4))
    module[2].eval()
    graph_from_module(module, (torch.zeros(2, 6),))
    assert [part.training for part in (module, *module)] == [True, True, True, False]


def test_several_inputs_and_outputs() -> None:
    module = Module(lambda m, x, y: (x + y, F.relu(x)))
    graph = graph_from_module(module, (torch.zeros(IMAGE), torch.zeros(IMAGE)))
    assert len(graph.inputs) == len(graph.outputs) == 2


def test_every_unsupported_node_is_listed_at_once() -> None:
    module = Module(lambda m, x: F.max_pool2d(torch.special.i0(x.chunk(2, 1)[1]), 2, dilation=2).cumsum(1) * 2)
    with pytest.raises(UnsupportedModelError) as caught:
        graph_from_module(module, (torch.zeros(IMAGE),))
    assert [p.operator for p in caught.value.problems] == [
        "aten.special_i0.default", "aten.max_pool2d.default", "aten.cumsum.default",
    ]  # fmt: skip
    assert "(aten.max_pool2d.default): its dilation is (2, 2); use windows without dilation" in str(caught.value)


UNSUPPORTED: dict[str, Callable[..., Tensor]] = {
    "its weight has shape": lambda m, x: x.mean((2, 3)) @ m.vector[:, None].expand(3, 4).reshape(1, 4, 3),
    "its dilation is": lambda m, x: F.max_pool2d(x, 2, dilation=2),
    "its divisor is 3": lambda m, x: F.avg_pool2d(x, 2, divisor_override=3),
    "pools 7x8 to 2x2": lambda m, x: F.adaptive_avg_pool2d(x, 2),
    "second result": lambda m, x: F.adaptive_max_pool2d(x, 1, return_indices=True)[1] + x,
    "its rounding mode is floor": lambda m, x: torch.div(x, 2, rounding_mode="floor"),
    "computes with a constant": lambda m, x: torch.cat([x, torch.zeros(1, 1, 7, 8)], 1),
    "'weight' is computed by the network": lambda m, x: F.conv2d(x, x),
    "'max' is not one constant number": lambda m, x: torch.clamp(x, max=m.vector.mean(0, keepdim=True).expand(8)),
    "it is over the batch": lambda m, x: F.relu(x).softmax(0),
    r"of shape \[1, 8, 28\] is no image": lambda m, x: F.adaptive_avg_pool2d(x.reshape(1, 8, 28), 1),
    "reduces the batch": lambda m, x: F.relu(x).mean(0),
    "nn.Dropout": lambda m, x: F.dropout(x),
    "running statistics": lambda m, x: F.batch_norm(x, None, None, training=True),
    "the operator is not supported": lambda m, x: x + torch.rand(1),
}


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_what_a_graph_cannot_express_is_refused(reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        graph_from_module(Module(UNSUPPORTED[reason]), (torch.zeros(IMAGE),))


def test_control_flow_over_values_is_refused() -> None:
    with pytest.raises(ModelError, match=r"torch\.export cannot follow Module: .* keep `forward` free of Python control flow"):
        graph_from_module(Module(lambda m, x: x if x.sum() > 0 else -x), (torch.zeros(IMAGE),))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(IMAGE, dtype=torch.float16), r"example input 0 is torch.float16 \[1, 4, 7, 8\]; give float32 tensors"),
        (torch.zeros(4), r"example input 0 is torch.float32 \[4\]"),
        ([1.0], "example input 0 is list"),
    ],
)
def test_wrong_example_inputs_are_refused(example: Tensor, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        graph_from_module(nn.ReLU(), (example,))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: m.layers[0](x.half()).float(), "layer 'layers.0': its weight is torch.float16"),
        (lambda m, x: (F.relu(x), m.vector), "does not depend on its inputs"),
        (lambda m, x: (y := F.relu(x), y + 0), "the same value as another output"),
    ],
)
def test_modules_that_are_no_network_are_refused(function: Callable[..., Tensor], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        graph_from_module(Module(function, nn.Conv2d(4, 2, 1).half()), (torch.zeros(IMAGE),))


class Twice(nn.Module):
    """Runs a convolution with its batch norm twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(self.norm(self.conv(x))))
        return y


def test_layers_of_a_module_that_runs_twice_have_names_and_statistics_of_their_own() -> None:
    torch.manual_seed(0)
    graph = graph_from_module(Twice().eval(), (torch.zeros(IMAGE),))
    assert [op.name for op in graph.ops] == ["conv", "norm", "conv_1", "norm_1"]
    twice = TorchGraph(replace(graph, ops=tuple(replace(op, name="same") for op in graph.ops))).eval()
    x = 3 + torch.randn(64, *IMAGE[1:])
    twice.reestimate_batch_norms(x.split(32))
    inputs = twice.run(x)
    for norm in (op for op in graph.ops if isinstance(op, BatchNorm)):
        mean = inputs[norm.inputs[0]].mean((0, 2, 3)).detach()
        np.testing.assert_allclose(twice.to_graph().parameters[norm.mean], mean, atol=1e-4)
