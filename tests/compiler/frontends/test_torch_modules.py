"""Modules as people have them: pruned, parametrized, trained with fake quantization, or exported already."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

import lutra
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.errors import ModelError, UnsupportedModelError
from lutra_compiler.frontends.torch_export import graph_from_module, graph_from_program
from lutra_compiler.ir.graph import Graph
from lutra_compiler.passes import canonicalise, prepare_for_lowering

# torch.ao tells of its own deprecation
pytestmark = pytest.mark.filterwarnings("ignore")


class Network(nn.Module):
    """Batch norms, a residual, functional operators, adaptive pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.second_norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.scores, self.scores_norm = nn.Linear(8, 5), nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        y = F.relu(self.second_norm(self.second(y)) + y)
        y = F.dropout(torch.flatten(F.adaptive_avg_pool2d(y, (1, 1)), 1), 0.5, self.training)
        return self.scores_norm(self.scores(y))


X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def trained(module: nn.Module) -> nn.Module:
    """With statistics that are not the initial ones, in evaluation mode."""
    module.train()
    for seed in range(3):
        module(torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed)))
    return module.eval()


def output(graph: Graph) -> np.ndarray:
    with torch.no_grad():
        return TorchGraph(graph).eval()(X).numpy()


def expected(module: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(X).numpy()


class Doubled(nn.Module):
    """A parametrization of one's own."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight.clamp(-0.1, 0.1)


def pruned() -> nn.Module:
    module = Network()
    prune.l1_unstructured(module.first, "weight", 0.5)
    prune.ln_structured(module.second, "weight", 0.5, 2, 0)
    prune.random_unstructured(module.scores, "bias", 0.4)
    return trained(module)


def parametrized() -> nn.Module:
    module = Network()
    parametrizations.weight_norm(module.first)
    parametrizations.spectral_norm(module.second)
    parametrizations.orthogonal(module.scores)
    parametrize.register_parametrization(module.scores, "bias", Doubled())
    return trained(module)


def old_weight_norm() -> nn.Module:
    module = Network()
    nn.utils.weight_norm(module.first)
    return trained(module)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "trained": lambda: trained(Network()), "pruned": pruned, "parametrized": parametrized, "old weight norm": old_weight_norm,
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_read_as_it_computes(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]()
    graph = graph_from_module(module, (X,))
    np.testing.assert_allclose(output(graph), expected(module), atol=1e-5)
    np.testing.assert_allclose(output(prepare_for_lowering(canonicalise(graph))), expected(module), atol=1e-5)
    assert not any(op.kind == "activation" and op.name.startswith("clamp") for op in graph.ops)  # parametrizations are constants


def test_what_pruning_removed_is_zero_in_the_graph() -> None:
    graph = graph_from_module(pruned(), (X,))
    weight = next(graph.weight(op.weight) for op in graph.ops if op.name == "first")
    assert np.mean(weight == 0) == pytest.approx(0.5, abs=0.01)


def exported(module: nn.Module, batch: int = 1, open_batch: bool = False) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("n")},) if open_batch else None
    return torch.export.export(module, (X.repeat(batch, 1, 1, 1),), dynamic_shapes=shapes)


@pytest.mark.parametrize("open_batch", [False, True])
def test_an_exported_program_is_the_same_network(open_batch: bool) -> None:
    module = trained(Network())
    graph = graph_from_program(exported(module, 4 if open_batch else 1, open_batch))
    np.testing.assert_allclose(output(graph), expected(module), atol=1e-5)
    loaded = lutra.load(exported(module, 4 if open_batch else 1, open_batch))
    np.testing.assert_allclose(output(loaded.graph), expected(module), atol=1e-5)


def test_an_open_batch_goes_through_computed_shapes() -> None:
    class Reshapes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu().reshape(x.shape[0], -1).clamp(max=1)

    graph = graph_from_program(exported(Reshapes(), 4, open_batch=True))
    np.testing.assert_allclose(output(graph), expected(Reshapes()), atol=1e-6)


def test_programs_that_are_no_network_of_one_sample_are_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \[4, 3, 8, 8\].* batch 1"):
        graph_from_program(exported(trained(Network()), batch=4))
    open_height = torch.export.export(nn.Conv2d(3, 3, 3), (X,), dynamic_shapes=({2: torch.export.Dim("h", min=4)},))
    with pytest.raises(ModelError, match="only the batch may be open"):
        graph_from_program(open_height)


def test_a_program_that_was_exported_in_training_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    with pytest.raises(UnsupportedModelError) as caught:
        graph_from_program(exported(module))
    operators = {problem.operator.split(".")[1] for problem in caught.value.problems}
    assert operators == {"_native_batch_norm_legit_functional", "native_dropout"}
    assert all("evaluation mode" in problem.remedy for problem in caught.value.problems)


def fake_quantized(observe: bool) -> nn.Module:
    module = nn.Sequential(
        quantization.QuantStub(), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5),
        quantization.DeQuantStub(),
    )  # fmt: skip
    module.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    module = trained(quantization.prepare_qat(module.train()))
    if not observe:
        module.apply(quantization.disable_observer)
    return module


@pytest.mark.parametrize("observe", [False, True])
def test_fake_quantized_weights_are_those_of_the_integers_and_values_are_left_to_lutra(observe: bool) -> None:
    torch.manual_seed(0)
    module = fake_quantized(observe)
    graph = graph_from_module(module, (X,))
    assert [op.kind for op in graph.ops] == ["conv2d", "batch_norm", "activation", "flatten", "linear"]
    weight = next(graph.weight(op.weight) for op in graph.ops if op.kind == "linear")
    assert all(len(np.unique(row)) <= 256 for row in weight)
    if not observe:
        with torch.no_grad():
            np.testing.assert_array_equal(weight, module[5].weight_fake_quant(module[5].weight).numpy())
    module.apply(quantization.disable_fake_quant)
    np.testing.assert_allclose(output(graph), expected(module), atol=0.05)  # what rounding of values and weights makes


def test_reading_a_module_changes_nothing_in_it() -> None:
    module = fake_quantized(observe=True)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    graph_from_module(module, (X,))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_module_prepared_by_fx_tells_what_it_needs() -> None:
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    mapping = quantization.get_default_qat_qconfig_mapping("qnnpack")
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    module = trained(prepare_qat_fx(module.train(), mapping, (X,)))
    module.apply(quantization.disable_observer)
    graph = graph_from_module(module, (X,))
    module.apply(quantization.disable_fake_quant)
    np.testing.assert_allclose(output(graph), expected(module), atol=0.1)


def test_a_converted_module_is_refused_with_the_remedy() -> None:
    module = quantization.convert(fake_quantized(observe=False))
    with pytest.raises(ModelError, match=r"layer '0' of Sequential computes in integers already; hand over the module as it was before"):
        graph_from_module(module, (X,))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.embed = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 16)
        self.attention, self.norm = nn.MultiheadAttention(16, 2, batch_first=True), nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(self.patches(x).flatten(2).transpose(1, 2))
        return self.norm(tokens + self.attention(tokens, tokens, tokens)[0]).mean(1)


def test_of_a_transformer_all_that_is_unsupported_is_listed() -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        graph_from_module(Transformer(), (X,))
    assert "bmm" in {problem.operator.split(".")[1] for problem in caught.value.problems}
    assert all(problem.reason and problem.remedy for problem in caught.value.problems)


def test_a_layer_that_is_wrong_does_not_hide_the_others() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1).half()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.half()).float() + torch.special.erf(x)

    with pytest.raises(UnsupportedModelError) as caught:
        graph_from_module(Half(), (X,))
    listed = {problem.node: problem.reason for problem in caught.value.problems}
    assert "its weight is torch.float16" in listed["layer"]
    assert "special_erf" in listed


@pytest.mark.parametrize("function", [lambda x: x.permute(0, 2, 3, 1).flatten(1), lambda x: x.transpose(1, 2).transpose(2, 3).flatten(1)])
def test_channels_last_is_flattened_in_its_order(function: Callable[[Tensor], Tensor]) -> None:
    class Function(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    np.testing.assert_array_equal(output(graph_from_module(Function(), (X,))), function(X).numpy())
