"""compression.search: what each layer gets under a budget, and the parts that it is found with."""

import itertools
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_compress import bars, small_network
from torch import nn

from lutra_compiler import driver
from lutra_compiler.budget import Budget
from lutra_compiler.compression.allocate import Layer, Level, Option, Way, allocations
from lutra_compiler.compression.compress import compress
from lutra_compiler.compression.prune import loss_changes, prune, weighted_layers
from lutra_compiler.compression.search import Plan, Search
from lutra_compiler.compression.sensitivity import encode, loss_against, second_moments, settings_of
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Samples, fit
from lutra_compiler.compression.widths import cost, narrower
from lutra_compiler.config import (
    CompressionConfig,
    LayerConfig,
    PruningConfig,
    ReconstructionConfig,
    SearchConfig,
    StageConfig,
    TrainingConfig,
)
from lutra_compiler.errors import BudgetError, CompressionError, ConfigurationError, LutraError
from lutra_compiler.frontends.torch_export import graph_from_module
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import Flatten, Softmax
from lutra_compiler.passes import canonicalise
from lutra_compiler.program.choose_kernel import NETWORK_TIE, TIE, Choose, Limits, fastest
from lutra_compiler.program.cost_model import program_cycles
from lutra_compiler.program.footprint import footprint
from lutra_compiler.program.program import Program
from lutra_compiler.target import target_by_name

STAGE = StageConfig(1, 2e-3)
CONFIG = CompressionConfig(
    method="train",
    training=TrainingConfig(STAGE, STAGE, STAGE, STAGE, batch_size=64),
    search=SearchConfig(samples=512, validation=128, levels=4, recovery=STAGE, trials=2, trial_epochs=0.5, swaps=4),
)


@pytest.fixture(scope="module")
def trained() -> Graph:
    torch.manual_seed(0)
    module = TorchGraph(small_network())
    fit(module, bars(1000, 1), StageConfig(6, 3e-3), TrainingConfig(batch_size=50), name="float", seed=0)
    return module.to_graph()


def tiny_network() -> Graph:
    """Whose layers have too few weights for codebooks."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    return canonicalise(graph_from_module(module, (torch.zeros(1, 1, 4, 4),)))


def tiny_samples() -> Samples:
    generator = torch.Generator().manual_seed(0)
    return Samples(torch.randn(100, 1, 4, 4, generator=generator), torch.randint(0, 3, (100,), generator=generator))


@pytest.fixture(scope="module")
def levels(trained: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is known of the levels of the trained network, whatever its flash."""
    folder = tmp_path_factory.mktemp("levels")
    replace(search(trained, Budget(target="cortex-m4")), directory=folder).curve()
    return folder


def search(
    graph: Graph, budget: Budget, config: CompressionConfig = CONFIG, samples: Samples | None = None, levels: Path | None = None
) -> Search:
    """`levels`: a folder of records to begin with."""
    target = target_by_name(budget.target)

    def build(graph: Graph, limits: Limits | None, choose: Choose) -> Program:
        return driver.build_program(graph, target, limits, choose)

    folder = None
    if levels is not None:
        folder = Path(tempfile.mkdtemp(dir=levels.parent))
        for path in levels.iterdir():
            shutil.copy(path, folder)
    return Search(graph, samples or bars(600, 2), config, budget, build, directory=folder)


def best(
    graph: Graph, budget: Budget, config: CompressionConfig = CONFIG, samples: Samples | None = None, levels: Path | None = None
) -> Plan:
    return search(graph, budget, config, samples, levels).best()[0]


# Allocations


@pytest.mark.parametrize("number", [0, 1])
def test_bytes_of_the_options_add_up_to_the_model(trained: Graph, levels: Path, number: int) -> None:
    found = search(trained, Budget(target="cortex-m4"), levels=levels)
    level, rng = found._level(number), np.random.default_rng(0)
    for _ in range(10):
        options = [layer.options[rng.integers(len(layer.options))] for layer in level.layers]
        program = found._lowered(found._encoded(number, [o.setting for o in options]), None, fastest)
        assert 0 <= level.model_bytes + sum(option.model_bytes for option in options) - program.model_bytes < 4 * len(options)


def test_expected_flash_and_cycles_are_those_of_the_lowering(trained: Graph, levels: Path) -> None:
    found = search(trained, Budget(flash=8000, target="cortex-m4"), levels=levels)
    for allocation in allocations(found._level(0), Budget(target="cortex-m4"))[::8]:
        limits = Limits(flash=allocation.flash)
        encoded = found._encoded(0, found._settings(0, allocation))
        fast, taken = (found._lowered(encoded, limits, choose) for choose in (fastest, None))
        assert footprint(fast).flash <= allocation.flash <= 1.01 * footprint(fast).flash
        assert footprint(taken).flash <= allocation.flash
        assert program_cycles(fast) <= 1.03 * allocation.cycles
        assert program_cycles(taken) <= TIE * NETWORK_TIE * allocation.cycles


def test_larger_allocations_lose_less(trained: Graph, levels: Path) -> None:
    found = allocations(search(trained, Budget(target="cortex-m4"), levels=levels)._level(0), Budget(target="cortex-m4"))
    assert len(found) > 10
    assert all(a.flash < b.flash and a.loss > b.loss for a, b in itertools.pairwise(found))


def test_limits_of_ram_and_cycles_leave_fewer_options(trained: Graph, levels: Path) -> None:
    level = search(trained, Budget(), levels=levels)._level(0)
    free = allocations(level, Budget())
    limit = float(np.median([a.cycles for a in free]))
    fast = allocations(level, Budget(cycles=limit))
    assert fast
    assert max(a.cycles for a in fast) <= limit < max(a.cycles for a in free)
    assert allocations(level, Budget(ram=100)) == []


def test_networks_of_many_kinds_of_layers_have_allocations() -> None:
    def layer(name: str, *kernels: str) -> Layer:
        return Layer(name, 0, (Option(LayerConfig(name), 100, 100.0, tuple(Way(f"lutra_{k}", 10.0, 0) for k in kernels), loss=0.1),))

    kinds = ("conv2d_dense", "conv2d_depthwise"), ("linear_lut", "linear_dense"), ("lstm_lut", "lstm_dense"), ("gru_lut", "gru_dense")
    layers = (layer("only", "conv2d_lut"), layer("depthwise", "conv2d_depthwise"), *(layer(names[0], *names) for names in kinds))
    assert allocations(Level({}, 0.0, layers, 0, 0.0, (), 0.0, 0, {}), Budget(target="cortex-m4"))


def test_a_trial_is_taken_from_a_checkpoint_of_the_same_settings_alone(
    trained: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lutra_compiler.compression.search.compress", lambda graph, *arguments, **settings: graph)
    plans = [Plan(replace(CONFIG, layers=(LayerConfig("*", codewords=k),)), 1, 1, 1, 1.0, 0.0) for k in (16, 64)]
    for plan in plans:
        assert replace(search(trained, Budget()), directory=tmp_path)._tried(plan).config == plan.config


# Plans


@pytest.mark.parametrize(
    "budget",
    [
        Budget(flash=5200, ram=2000, target="cortex-m4"), Budget(cycles=150_000, target="cortex-m4"), Budget(ram=1100),
        Budget(flash=6000, target="cortex-m55"),
    ],
    ids=str,
)  # fmt: skip
def test_a_plan_keeps_the_budget_before_and_after_training(trained: Graph, budget: Budget) -> None:
    plan = best(trained, budget)
    assert budget.admits(plan.flash, plan.ram, plan.cycles)
    small = compress(trained, bars(300, 1), plan.config)
    program = driver.build_program(small, target_by_name(budget.target), Limits(ram=budget.ram, flash=budget.flash))
    taken = program_cycles(program)
    assert program.model_bytes == plan.model_bytes
    assert budget.admits(footprint(program).flash, footprint(program).ram, taken)


def test_more_flash_is_never_worse(trained: Graph, levels: Path) -> None:
    untried = replace(CONFIG, search=replace(CONFIG.search, trials=1))
    losses = [best(trained, Budget(flash=flash, target="cortex-m4"), untried, levels=levels).loss for flash in (5600, 6600, 9000)]
    assert losses == sorted(losses, reverse=True)


def test_what_cannot_be_kept_names_the_nearest_point_which_can(trained: Graph, levels: Path) -> None:
    with pytest.raises(BudgetError, match=r"the nearest takes [\d,]+ bytes of flash .* too much flash [\d,]+ of 2,000") as caught:
        best(trained, Budget(flash=2000, target="cortex-m4"), levels=levels)
    nearest = caught.value.nearest
    plan = best(trained, Budget(flash=int(nearest["flash_bytes"]), target="cortex-m4"), levels=levels)
    assert plan.flash <= nearest["flash_bytes"] < 5600


@pytest.mark.parametrize("limit", ["cycles", "ram"])
def test_the_nearest_point_of_a_network_without_a_choice_is_what_it_takes(limit: str) -> None:
    graph = tiny_network()
    with pytest.raises(BudgetError, match=r"the nearest takes .* too much (RAM|cycles) [\d,]+ of 10$") as caught:
        best(graph, Budget(**{limit: 10}, target="cortex-m4"), samples=tiny_samples())
    needed = int(np.ceil(caught.value.nearest["cycles" if limit == "cycles" else "ram_bytes"]))
    assert best(graph, Budget(**{limit: needed}, target="cortex-m4"), samples=tiny_samples()).flash > 0
    with pytest.raises(BudgetError):
        best(graph, Budget(**{limit: needed - 1}, target="cortex-m4"), samples=tiny_samples())


def test_a_limit_of_the_drop_gives_the_smallest_that_keeps_it(trained: Graph, levels: Path) -> None:
    found = search(trained, Budget(max_drop=3.0, target="cortex-m4"), levels=levels)
    plans = found.best()
    assert 100 * (found._float_accuracy - plans[0].trial_accuracy) <= 3
    assert plans[0].flash < found._ladder(1.2)[-1].flash
    assert [plan.flash for plan in plans] == sorted(plan.flash for plan in plans)


def test_a_curve_gets_better_with_size_and_some_of_it_is_trained(trained: Graph, levels: Path) -> None:
    curve = search(trained, Budget(target="cortex-m4"), levels=levels).curve(2)
    assert len(curve) > 5
    assert all(a.flash < b.flash and a.loss > b.loss for a, b in itertools.pairwise(curve))
    assert [plan.trial_loss is not None for plan in curve] == [True, *[False] * (len(curve) - 2), True]
    assert curve[-1].trial_loss < curve[0].trial_loss


def test_configured_layers_and_widths_stay_as_they_are(trained: Graph) -> None:
    fixed = LayerConfig("hidden", codewords=16, subvector=8)
    plan = best(trained, Budget(flash=7000), replace(CONFIG, layers=(fixed,), pruning=PruningConfig(widths={"hidden": 24})))
    assert plan.config.layers[2] == replace(fixed, layer=2)
    assert plan.config.pruning.widths == {"hidden": 24}


def test_a_budget_counts_what_the_configuration_leaves_of_the_network() -> None:
    layers = torch.nn.Linear(144, 600), torch.nn.ReLU(), torch.nn.Linear(600, 600), torch.nn.ReLU(), torch.nn.Linear(600, 4)
    wide = canonicalise(graph_from_module(torch.nn.Sequential(torch.nn.Flatten(), *layers), (torch.zeros(1, 1, 12, 12),)))
    limit = Budget(flash=8000, target="cortex-m4")
    assert best(wide, limit, replace(CONFIG, pruning=PruningConfig(widths={"0": 16, "1": 16}))).flash <= 8000


def test_layers_that_the_network_does_not_have_are_refused_under_a_budget_too(trained: Graph) -> None:
    config = replace(CONFIG, layers=(LayerConfig("nosuch", "int8"),))
    for choose in (Search.best, Search.curve):
        with pytest.raises(CompressionError, match="layers names 'nosuch', but the layers with weights are"):
            choose(search(trained, Budget(flash=7000), config))


def test_a_layer_too_small_for_the_codebook_it_shares_goes_without(trained: Graph) -> None:
    shared = [LayerConfig(number, codewords=16, subvector=4, codebook="a") for number in (0, 1)]
    level = search(trained, Budget(target="cortex-m4"), replace(CONFIG, layers=tuple(shared)))._level(0)
    assert [option.setting.codebook for layer in level.layers[:2] for option in layer.options] == [None, "a"]


def test_convolutions_may_share_a_codebook_and_its_bytes_count_once(trained: Graph) -> None:
    third = replace(trained.ops[2], name="third", inputs=("conv2",), output="third", weight="third", bias=None)
    weight = np.random.default_rng(0).normal(scale=0.1, size=(16, 3, 3, 16)).astype(np.float32)
    fourth = replace(third, name="fourth", inputs=("third",), output="fourth", weight="fourth")
    ops = (*trained.ops[:3], third, fourth, replace(trained.ops[3], inputs=("fourth",)), *trained.ops[4:])
    deep = replace(trained, ops=ops).with_parameters({"third": weight, "fourth": -weight[::-1]})
    found = search(deep, Budget(target="cortex-m4"), replace(CONFIG, search=replace(CONFIG.search, levels=1)))
    level = found._level(0)
    name = next(name for name in level.codebooks if sum(any(o.setting.codebook == name for o in x.options) for x in level.layers) == 3)
    chosen = [next((o for o in layer.options if o.setting.codebook == name), layer.options[0]) for layer in level.layers]
    program = found._lowered(found._encoded(0, [option.setting for option in chosen]), None, fastest)
    counted = level.model_bytes + level.codebooks[name] + sum(option.model_bytes for option in chosen)
    assert 0 <= counted - program.model_bytes < 4 * len(chosen)
    sharing = [sum(layer.codebook is not None for layer in plan.config.layers) for plan in found.curve()]
    assert set(sharing) >= {0, 2} or set(sharing) >= {0, 3}
    assert 1 not in sharing


def test_every_point_of_a_curve_of_reconstructions_can_be_made() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)]
    graph = canonicalise(graph_from_module(nn.Sequential(*layers), (torch.zeros(1, 4, 8, 8),)))
    samples = Samples(torch.randn(40, 4, 8, 8))
    once = ReconstructionConfig(StageConfig(1, 1e-2), StageConfig(1, 1e-3))
    config = CompressionConfig(method="reconstruct", reconstruction=once, search=CONFIG.search)
    plans = search(graph, Budget(target="cortex-m4"), config, samples).curve()
    assert len(plans) > 1
    for plan in plans:
        assert compress(graph, samples, plan.config).encodings


@pytest.mark.parametrize(
    ("change", "samples", "message"),
    [
        ({"method": "reconstruct", "pruning": PruningConfig(rate=0.5)}, 600, "does not prune"),
        ({"method": "reconstruct", "layers": (LayerConfig(0, codebook="one"),)}, 600, "shares the codebook 'one'"),
        ({"method": "reconstruct"}, 12, "at least 16 samples"),
        ({}, 2, "2 are too few"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_search(
    trained: Graph, change: dict[str, Any], samples: int, message: str, tmp_path: Path
) -> None:
    refused = search(trained, Budget(flash=20_000), replace(CONFIG, **change), bars(600, 2).first(samples))
    with pytest.raises(LutraError, match=message):
        replace(refused, directory=tmp_path).best()
    assert not any(tmp_path.iterdir())


def test_a_network_without_weights_leaves_nothing_to_choose() -> None:
    graph = Graph((Input("x", (4, 4, 2), "NCHW"),), (Flatten(name="flat", inputs=("x",), output="y"),), ("y",), {})
    with pytest.raises(CompressionError, match="no layers with weights"):
        best(graph, Budget(flash=20_000), samples=Samples(torch.randn(40, 2, 4, 4)))


@pytest.mark.parametrize("method", ["train", "reconstruct"])
def test_the_time_that_is_told_goes_with_the_samples(trained: Graph, method: str) -> None:
    def told(config: CompressionConfig) -> list[int]:
        text = search(trained, Budget(flash=7000), config)._estimate()
        return [int(number) * (60 if unit == "min" else 1) for number, unit in re.findall(r"about (\d+) (s|min)", text)]

    config = replace(CONFIG, method=method)
    stage = StageConfig(20_000 // 2, 1e-3)
    longer = {"training": replace(CONFIG.training, assignment=stage)}
    if method == "reconstruct":
        longer = {"reconstruction": ReconstructionConfig(stage, STAGE)}
    short, long = told(config), told(replace(config, **longer))
    assert long[1] > 20 * max(short[1], 1)
    assert (long[0] > 20 * max(short[0], 1)) == (method == "train")  # whose search has trials
    if method == "train":
        scarce = replace(config, search=replace(config.search, samples=512 * 16, recovery=StageConfig(1000, 1e-3)))
        enough = replace(scarce, search=replace(scarce.search, samples=512))
        assert told(scarce)[0] > 5 * told(enough)[0]


def test_without_labels_the_outputs_decide(trained: Graph) -> None:
    unlabelled = search(trained, Budget(flash=7000), samples=Samples(bars(600, 2).inputs))
    plan = unlabelled.best()[0]
    assert plan.flash <= 7000
    small = compress(trained, unlabelled._training, plan.config.with_epochs_scaled(CONFIG.search.trial_epochs))
    scores = TorchGraph(small).eval()(unlabelled._held.inputs)
    assert plan.trial_loss == pytest.approx(loss_against(scores.detach(), unlabelled._wanted, classes=False), rel=1e-4)


def test_a_softmax_at_the_end_counts(trained: Graph, levels: Path) -> None:
    softmax = Softmax(name="softmax", inputs=("scores",), output="p")
    ending = replace(trained, ops=(*trained.ops, softmax), outputs=("p",))
    limit = Budget(flash=7000, target="cortex-m4")
    with_it, without = search(ending, limit), search(trained, limit, levels=levels)
    assert with_it._level(0).kernels == (*without._level(0).kernels, "lutra_softmax_int8")
    assert with_it._level(0).loss == without._level(0).loss == 0
    assert with_it.best()[0].flash <= 7000


def test_a_damaged_record_is_refused_by_name(trained: Graph, tmp_path: Path) -> None:
    (tmp_path / "level-0.json").write_text("{")
    with pytest.raises(CompressionError, match=r"level-0\.json is damaged"):
        replace(search(trained, Budget(flash=7000)), directory=tmp_path).best()


@pytest.mark.parametrize("limits", [{"flash": 0}, {"ram": -1}, {"cycles": 0.0}, {"max_drop": -1.0}, {"max_drop": 101.0}])
def test_a_budget_out_of_range_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=rf"Budget\.{next(iter(limits))} is"):
        Budget(**limits)


# Options and what they lose


def test_layers_have_int8_and_codebooks_that_their_weights_can_fill(trained: Graph) -> None:
    settings = settings_of(trained, CompressionConfig(), norm=255)
    assert [ways[0].kind for ways in settings] == ["int8"] * 4
    assert [len(ways) for ways in settings] == [*sorted(len(ways) for ways in settings[:3]), len(settings[3])]
    for op, ways in zip(weighted_layers(trained), settings, strict=True):
        for way in ways[1:]:
            (encoding,) = encode([trained.weight(op.weight)], way, seed=0)
            assert encoding.indices.size >= 4 * way.codewords


def test_more_bits_lose_less(trained: Graph, levels: Path) -> None:
    layer = search(trained, Budget(), levels=levels)._level(0).layers[2]
    losses = {(o.setting.kind, o.setting.codewords, o.setting.subvector): o.loss for o in layer.options if o.loss is not None}
    assert losses["int8", 16, 4] < losses["pq", 16, 1] < losses["pq", 16, 8]


def test_the_divergence_is_zero_for_the_same_answer_and_that_of_its_definition() -> None:
    a, b = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    p, q = a.double().softmax(1), b.double().softmax(1)
    assert loss_against(a, a, classes=True) == 0
    assert loss_against(b, a, classes=True) == pytest.approx(float((p * (p / q).log()).sum(1).mean()))
    assert loss_against(b, a, classes=False) == pytest.approx(float((a - b).square().mean() / a.var()))


def test_moments_are_those_of_the_inputs(trained: Graph) -> None:
    inputs = bars(300, 5).inputs
    moments, fisher = second_moments(trained, inputs, classes=True)
    np.testing.assert_allclose(moments["conv1"], inputs.square().mean(), rtol=1e-4)
    assert all((fisher[op.output] >= 0).all() and fisher[op.output].any() for op in weighted_layers(trained))


# Narrower networks


@pytest.mark.parametrize("part", [0.5, 0.2])
def test_a_narrower_network_has_the_part_of_the_weights_that_was_asked_for(trained: Graph, part: float) -> None:
    scores = loss_changes(trained, bars(200, 1), TorchGraph(trained).eval())
    smaller = prune(trained, narrower(trained, scores, part), scores)
    weights = [sum(np.prod(g.weight_shape(op.weight)) for op in weighted_layers(g)) for g in (smaller, trained)]
    assert part - 0.06 <= weights[0] / weights[1] <= part
    assert cost(trained, cycles_matter=True) == pytest.approx(2)


def test_channels_that_are_worth_nothing_go_first(trained: Graph) -> None:
    scores = {op.output: np.ones(trained.weight_shape(op.weight)[0]) for op in weighted_layers(trained)}
    scores["hidden"][10:] = 0
    widths = narrower(trained, scores, 0.4)
    assert widths["hidden"] == 10
    assert widths["conv1"] >= 7


def test_every_layer_keeps_two_channels_however_little_is_asked_for(trained: Graph) -> None:
    scores = loss_changes(trained, bars(200, 1), TorchGraph(trained).eval())
    assert set(narrower(trained, scores, 1e-6).values()) == {2}


def test_recurrent_layers_take_part() -> None:
    torch.manual_seed(0)
    rnn, head = torch.nn.GRU(4, 16, batch_first=True), torch.nn.Linear(16, 3)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = rnn, head

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(self.rnn(x)[0][:, -1])
            return scores

    x = torch.randn(400, 6, 4)
    graph = canonicalise(graph_from_module(Network(), (x[:1],)))
    samples = Samples(x, TorchGraph(graph).eval()(x).argmax(1))
    found = search(graph, Budget(flash=7400, target="cortex-m4"), samples=samples)
    plan = found.best()[0]
    assert plan.flash <= 7400
    assert [int(layer.layer) for layer in plan.config.layers] == [0, 1, 2]
    kinds = {option.setting.kind for option in found._level(0).layers[1].options if option.loss is not None}
    assert kinds == {"int8", "pq"}
