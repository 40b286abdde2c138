"""Finds widths and layer settings under a budget: narrower networks, what each layer loses in each setting, the knapsack, trial trainings.

Everything that takes time is kept in a folder as it is done; the same inputs find the same, interrupted or not.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lutra_compiler.budget import Budget
from lutra_compiler.compression.allocate import Allocation, Build, Level, allocations, exchanges, given_codebooks, measure_costs
from lutra_compiler.compression.calibrate import calibrate
from lutra_compiler.compression.compress import Stages, compress
from lutra_compiler.compression.post_training import require_reconstructible
from lutra_compiler.compression.product_quantize import layer_settings
from lutra_compiler.compression.prune import loss_changes, prune, target_widths, weighted_layers, widths_of, with_selects
from lutra_compiler.compression.sensitivity import MEASURED_OPTIONS, encode, loss_against, measure_losses, outputs_of, settings_of
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import (
    FEWEST_SAMPLES,
    Checkpoints,
    Progress,
    Report,
    Samples,
    fit,
    measure_accuracy,
    once,
    silent,
    training_device,
)
from lutra_compiler.compression.widths import narrower
from lutra_compiler.config import CompressionConfig, LayerConfig
from lutra_compiler.errors import BudgetError, CompressionError, DataError
from lutra_compiler.files import write_atomically
from lutra_compiler.ir.encoding import SOFTMAX_OUTPUT, WeightEncoding
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import BatchNorm, Softmax
from lutra_compiler.model_file import load_model, save_model
from lutra_compiler.program.choose_kernel import NETWORK_TIE, Choose, Limits
from lutra_compiler.program.cost_model import program_cycles
from lutra_compiler.program.footprint import footprint
from lutra_compiler.program.program import Program
from lutra_compiler.records import RecordError, from_plain, to_plain

_SCORE_SAMPLES = 1024
_CALIBRATION_SAMPLES = 256
_STEP, _RUNG = 1.03, 1.2  # between the sizes of two points of a curve, and of two that are told apart by training
_SLACK = 1.02  # between the flash that is expected of an allocation and what its lowering takes
_MOST_REPEATED = 16  # times that recovery goes through scarce samples
_FALLBACKS = 3  # networks that are trained for an accuracy, at most
_STRICT_NORM, _WIDE_NORM = 63, 255  # codeword norms: for speed, for accuracy

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A network to train: `config` says all of it. `model_bytes`, `flash`, `ram` and `cycles` are those of its lowering before training,
    `loss` is expected from its layers' losses. `trial_loss`, `trial_accuracy`: of a short training, on the validation cut; None without."""

    config: CompressionConfig
    model_bytes: int
    flash: int
    ram: int
    cycles: float
    loss: float
    trial_loss: float | None = None
    trial_accuracy: float | None = None


def stages_in(directory: Path) -> Stages:
    """Finished stages as .lutra files in a folder."""

    def finished(stage: str) -> Graph | None:
        path = directory / f"{stage}.lutra"
        return load_model(path)[0] if path.exists() else None

    return Stages(finished, lambda stage, graph: save_model(directory / f"{stage}.lutra", graph, {}))


@dataclass(frozen=True)
class Search:
    """A search for networks from the float `graph`. `build` lowers an encoded and calibrated graph for the budget's target; `directory`
    keeps what was found, None keeps nothing; `notify` is told of decisions, `report` of progress."""

    graph: Graph
    samples: Samples
    config: CompressionConfig
    budget: Budget
    build: Build
    report: Report = silent
    notify: Notify = lambda text: None
    directory: Path | None = None

    def best(self) -> tuple[Plan, ...]:
        """The plan to train, and those to fall back to if its accuracy does not do. Raises BudgetError with the nearest point."""
        self._require_possible()
        self.notify(self._estimate())
        plans = self._most_accurate() if self.budget.max_drop is None else self._smallest()
        self.notify(f"chosen: {_described(plans[0])}")
        return plans

    def curve(self, trained_points: int = 0) -> tuple[Plan, ...]:
        """Plans from the smallest to the best, each better than the one before; `trained_points` of them, evenly spread, with trials."""
        self._require_possible()
        self.notify(self._estimate())
        plans = self._ladder(_STEP)
        spread = {round(i * (len(plans) - 1) / max(1, trained_points - 1)) for i in range(trained_points)}
        return tuple(self._tried(plan) if number in spread else plan for number, plan in enumerate(plans))

    def _require_possible(self) -> None:
        """Refuse at once what cannot be: settings, networks, too few samples. Raises CompressionError, DataError."""
        layer_settings(self._core, self.config)
        if not weighted_layers(self._core):
            raise CompressionError("the network has no layers with weights, so there is nothing to choose: compress it without limits")
        if self.config.method == "reconstruct":
            trials = self.budget.max_drop is not None
            require_reconstructible(self._core, len(self._training if trials else self.samples), self.config)
        elif len(self._training) < FEWEST_SAMPLES:
            raise DataError(
                f"a search trains on some samples and compares by others: {len(self.samples)} are too few; give some thousands"
            )

    # Choosing

    def _most_accurate(self) -> tuple[Plan, ...]:
        found: list[tuple[Plan, int, Allocation]] = []
        for number in range(self._levels):
            if not self._may_fit(number, self.budget):
                continue
            choice = self._choice(number, self.budget)
            if choice is None:
                continue
            found.append((*choice[:1], number, choice[1]))
            worse = len(found) > 2 and found[-1][0].loss > found[-2][0].loss > found[-3][0].loss
            if worse or choice[1] == self._allocations(number, self.budget)[-1]:
                break  # the narrower ones can only be worse
        if not found:
            raise self._nothing_fits()
        found.sort(key=lambda choice: choice[0].loss)
        refined = [self._refined(number, allocation, plan) for plan, number, allocation in found[: self.config.search.trials]]
        if len(refined) == 1:
            return tuple(refined)
        tried = [self._tried(plan) for plan in refined]
        return (min(tried, key=lambda plan: plan.trial_loss or 0.0),)

    def _smallest(self) -> tuple[Plan, ...]:
        """The smallest whose trial keeps the accuracy, by bisection."""
        plans = self._ladder(_RUNG)
        assert self.budget.max_drop is not None
        low, high = 0, len(plans) - 1  # plans[high] is hoped to do
        while low < high:
            middle = (low + high) // 2
            plans[middle] = self._tried(plans[middle])
            drop = 100 * (self._float_accuracy - (plans[middle].trial_accuracy or 0.0))
            self.notify(f"{_described(plans[middle])}: a short training loses {drop:.2f} points")
            low, high = (low, middle) if drop <= self.budget.max_drop else (middle + 1, high)
        return tuple(plans[high : high + _FALLBACKS])

    def _ladder(self, step: float) -> list[Plan]:
        """Plans within the budget from small to large, a factor of `step` between their sizes, each better than all before."""
        points = [
            (allocation, number)
            for number in range(self._levels)
            if self._may_fit(number, self.budget)
            for allocation in self._allocations(number, self.budget)
            if self.budget.flash is None or allocation.flash <= self.budget.flash
        ]
        size, loss = 0.0, float("inf")
        rungs: list[tuple[Allocation, int]] = []
        for allocation, number in sorted(points, key=lambda point: (point[0].flash, point[0].loss)):
            if allocation.loss >= loss:
                continue
            loss = allocation.loss
            if allocation.flash < step * size:
                rungs[-1] = (allocation, number)
            else:
                rungs.append((allocation, number))
                size = allocation.flash
        found = [self._realised(number, allocation, replace(self.budget, flash=allocation.flash)) for allocation, number in rungs]
        if not (plans := [plan for plan in found if plan is not None]):
            raise self._nothing_fits()
        return plans

    def _choice(self, number: int, budget: Budget) -> tuple[Plan, Allocation] | None:
        """The best allocation of a level that fits as lowered."""
        limit = None if budget.flash is None else budget.flash * _SLACK
        for allocation in reversed(self._allocations(number, budget)):
            if limit is not None and allocation.flash > limit:
                continue
            plan = self._realised(number, allocation, budget)
            if plan is not None:
                return plan, allocation
            if limit is None or budget.flash is None or allocation.flash <= budget.flash:
                limit = allocation.flash / _SLACK  # what the memory plan loses is not foreseen: try clearly smaller ones
        return None

    def _refined(self, number: int, allocation: Allocation, plan: Plan) -> Plan:
        """The best of the allocations near by, all layers replaced at once."""
        best, best_plan, left = allocation, plan, self.config.search.swaps
        loss, seen = self._joint_loss(number, allocation), {allocation.options}
        level, going = self._level(number), True
        while going and left > 0:
            going = False
            for other in exchanges(level, best, self.budget):
                if left <= 0:
                    break
                if other.options in seen:
                    continue
                seen.add(other.options)
                left -= 1
                if (joint := self._joint_loss(number, other)) < loss and (fits := self._realised(number, other, self.budget)):
                    best, best_plan, loss, going = other, fits, joint, True
                    break
        return replace(best_plan, loss=loss)

    def _nothing_fits(self) -> BudgetError:
        """Names the nearest point: the limits grow together until something fits."""
        nearest: Plan | None = None
        for power in range(1, 120):
            for plan in self._plans_within(self.budget.scaled(1.08**power)):
                if self._plans_within(self.budget.just(plan.flash, plan.ram, plan.cycles)):  # who asks for it will get it
                    return infeasible(plan, self.budget)
                nearest = nearest or plan
        if nearest is not None:
            return infeasible(nearest, self.budget)
        return BudgetError("no network within reach fits the budget; allow more, or start from a smaller network")

    def _plans_within(self, budget: Budget) -> list[Plan]:
        """The best plan of every level, the nearest to the limits first."""
        plans = [choice[0] for number in range(self._levels) if self._may_fit(number, budget) and (choice := self._choice(number, budget))]
        return sorted(plans, key=lambda plan: (self.budget.excess(plan.flash, plan.ram, plan.cycles), plan.loss))

    # Levels: networks of certain widths

    @cached_property
    def _levels(self) -> int:
        """How many there are; one alone where the configuration says the widths, nothing can be narrowed, or nothing is trained."""
        pruning = self.config.pruning
        if self.config.method == "reconstruct":
            return 1
        return 1 if pruning.removes or not target_widths(self._core, pruning) else self.config.search.levels

    def _level_graph(self, number: int) -> Graph:
        """The float network of a level, trained for a short while."""
        if number in self._graphs:
            return self._graphs[number]
        name = f"level-{number}"
        stages = Stages(lambda stage: None, lambda stage, graph: None) if self.directory is None else stages_in(self.directory)

        def keep(graph: Graph) -> None:
            stages.save(name, graph)
            if self._checkpoints is not None:
                self._checkpoints.discard(name)

        graph = once(lambda: stages.load(name), lambda: self._narrowed(number, name), keep)
        self._graphs[number] = graph
        return graph

    def _narrowed(self, number: int, name: str) -> Graph:
        search, whole = self.config.search, with_selects(self._core, self.config.pruning)
        widest = number == 0
        if widest:
            widths = target_widths(whole, self.config.pruning)
            if all(widths_of(whole)[value] == width for value, width in widths.items()):
                return whole
        source = whole if widest else self._level_graph(number - 1)
        scores = loss_changes(source, self._training.first(_SCORE_SAMPLES), self._teacher)
        if not widest:
            cycles_matter = self.budget.cycles is not None or self.budget.ram is not None
            widths = narrower(source, scores, search.shrink, cycles_matter)
        smaller = prune(source, widths, scores)
        stage = replace(search.recovery, epochs=round(search.recovery.epochs * min(self._scarcity, _MOST_REPEATED)))
        module = TorchGraph(smaller)
        fit(
            module, self._training, stage, self.config.training, name=name, seed=self.config.seed, teacher=self._teacher,
            after_step=module.project, report=self.report, checkpoints=self._checkpoints,
        )  # fmt: skip
        return module.to_graph()

    def _level(self, number: int) -> Level:
        """The options of a level's layers and what they cost."""
        if number not in self._known_levels:
            self._known_levels[number] = self._record(f"level-{number}", Level, lambda: self._measured_level(number))
        return self._known_levels[number]

    def _measured_level(self, number: int) -> Level:
        graph = self._level_graph(number)
        level = measure_costs(self._options(number), lambda chosen: self._encoded(number, chosen), self._lowered)
        own = target_widths(self._core, replace(self.config.pruning, rate=0.0, widths={}))
        layers = weighted_layers(graph)
        level = replace(
            level,
            widths={str(place): graph.weight_shape(op.weight)[0] for place, op in enumerate(layers) if op.output in own},
            loss=loss_against(outputs_of(graph, self._held.inputs), self._wanted, self._classes),
        )
        started = time.monotonic()

        def told(done: int, of: int) -> None:
            left = (time.monotonic() - started) / done * (of - done)
            self.report(Progress(f"options-{number}", int(done == of), 1, done, of, level.loss, None, left))

        return measure_losses(level, graph, self._held.inputs, self._classes, lambda s: self._encoding(number, s), told)

    def _allocations(self, number: int, budget: Budget) -> list[Allocation]:
        """The level's best allocations within the RAM and cycles of a budget, the smallest first."""
        ram = None if budget.ram is None else int(budget.ram * _SLACK)
        limits = replace(budget, flash=None, ram=ram, max_drop=None)
        key = number, limits
        if key not in self._known_allocations:
            careful = None if budget.cycles is None else budget.cycles / NETWORK_TIE  # what lowering may give for memory
            found = allocations(self._level(number), replace(limits, cycles=careful))
            self._known_allocations[key] = found or allocations(self._level(number), limits)
        return self._known_allocations[key]

    def _may_fit(self, number: int, budget: Budget) -> bool:
        """Whether the level is worth a look: a quarter of a bit a weight is the least that any option takes."""
        if budget.flash is None or self.config.pruning.removes:
            return True
        sizes = (self._core.weight_shape(op.weight) for op in weighted_layers(self._core))
        weights = sum(int(torch.Size(shape).numel()) for shape in sizes) * self.config.search.shrink**number
        return weights / 32 <= budget.flash

    # A plan from an allocation

    def _realised(self, number: int, allocation: Allocation, budget: Budget) -> Plan | None:
        """The plan, its sizes as lowered; None if it exceeds the budget."""
        level, chosen = self._level(number), self._settings(number, allocation)
        try:
            program = self._lowered(self._encoded(number, chosen), Limits(ram=budget.ram, flash=budget.flash), None)
        except BudgetError:
            return None
        needed = footprint(program)
        taken = program_cycles(program)
        if not budget.admits(needed.flash, needed.ram, taken):
            return None
        pruning = self.config.pruning
        if number:
            pruning = replace(pruning, rate=0.0, widths=level.widths)
        coding = self.config.index_coding if self.budget.max_drop is None else "auto"  # the smallest is wanted
        given = given_codebooks(level)
        sharing = Counter(setting.codebook for setting in chosen)
        layers = tuple(s if sharing[s.codebook] > 1 or s.codebook in given else replace(s, codebook=None) for s in chosen)
        config = replace(self.config, layers=layers, pruning=pruning, index_coding=coding)
        return Plan(config, program.model_bytes, needed.flash, needed.ram, taken, allocation.loss)

    def _settings(self, number: int, allocation: Allocation) -> list[LayerConfig]:
        layers = self._level(number).layers
        return [layer.options[option].setting for layer, option in zip(layers, allocation.options, strict=True)]

    def _joint_loss(self, number: int, allocation: Allocation) -> float:
        graph = self._encoded(number, self._settings(number, allocation))
        return loss_against(outputs_of(graph, self._held.inputs), self._wanted, self._classes)

    def _tried(self, plan: Plan) -> Plan:
        """The plan with the results of a short training."""
        text = json.dumps(to_plain(plan.config), sort_keys=True)
        number = self._trials.setdefault(text, len(self._trials) + 1)
        name = f"trial-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

        def train() -> Plan:
            self.notify(f"trial {number}: {_described(plan)}")
            folder = None if self.directory is None else self.directory / name
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
            small = compress(
                self._core,
                self._training,
                plan.config.with_epochs_scaled(min(1.0, self.config.search.trial_epochs * self._scarcity)),
                report=lambda progress: self.report(replace(progress, stage=f"trial-{number} {progress.stage}")),
                checkpoints=None if folder is None else Checkpoints(folder),
                stages=None if folder is None else stages_in(folder),
            )
            loss = loss_against(outputs_of(small, self._held.inputs), self._wanted, self._classes)
            accuracy = None if self._held.labels is None else measure_accuracy(TorchGraph(small), self._held)
            return replace(plan, trial_loss=loss, trial_accuracy=accuracy)

        tried: Plan = self._record(name, Plan, train)
        return tried

    # What all share

    def _record(self, name: str, kind: Any, work: Callable[[], Any]) -> Any:
        """What `work` gives, kept as JSON once it is done."""
        path = None if self.directory is None else self.directory / f"{name}.json"

        def load() -> Any:
            if path is None or not path.exists():
                return None
            try:
                return from_plain(kind, json.loads(path.read_bytes()), path.name)
            except (RecordError, ValueError) as error:
                raise CompressionError(f"the checkpoint {path} is damaged ({error}); remove it to repeat its step") from error

        def save(result: Any) -> None:
            if path:
                write_atomically(path, json.dumps(to_plain(result)).encode())

        return once(load, work, save)

    def _lowered(self, graph: Graph, limits: Limits | None, choose: Choose | None) -> Program:
        if self._softmax is not None:
            quantization = {**graph.quantization, self._softmax.output: SOFTMAX_OUTPUT}
            graph = replace(graph, ops=(*graph.ops, self._softmax), outputs=(self._softmax.output,), quantization=quantization)
        return self.build(_tame(graph), limits, choose)

    def _encoded(self, number: int, settings: Sequence[LayerConfig]) -> Graph:
        graph = self._level_graph(number)
        if number not in self._quantizations:
            inputs = self._training.first(_CALIBRATION_SAMPLES).inputs
            self._quantizations[number] = calibrate(graph, inputs.split(_CALIBRATION_SAMPLES)).quantization
        encodings = {op.weight: self._encoding(number, setting) for op, setting in zip(weighted_layers(graph), settings, strict=True)}
        return replace(graph.with_encodings(encodings), quantization=self._quantizations[number])

    def _encoding(self, number: int, setting: LayerConfig) -> WeightEncoding:
        key = number, setting
        if key not in self._encodings:
            graph = self._level_graph(number)
            layers, places = weighted_layers(graph), [setting]
            if setting.codebook is not None:
                places = [way for ways in self._options(number) for way in ways if way.codebook == setting.codebook] or places
            weights = [graph.weight(layers[int(place.layer)].weight) for place in places]
            for place, encoding in zip(places, encode(weights, setting, self.config.seed), strict=True):
                self._encodings[number, place] = encoding
        return self._encodings[key]

    def _options(self, number: int) -> list[list[LayerConfig]]:
        """The settings that there are for each layer of a level."""
        norm = _WIDE_NORM if self.budget.cycles is None else _STRICT_NORM
        return settings_of(self._level_graph(number), self.config, norm)

    @cached_property
    def _softmax(self) -> Softmax | None:
        last = self.graph.producer(self.graph.outputs[0])
        return last if isinstance(last, Softmax) else None

    @cached_property
    def _core(self) -> Graph:
        """The network before its softmax."""
        softmax = self._softmax
        if softmax is None:
            return self.graph
        return replace(self.graph, ops=tuple(op for op in self.graph.ops if op is not softmax), outputs=softmax.inputs)

    @cached_property
    def _teacher(self) -> TorchGraph:
        return TorchGraph(self._core).eval()

    @cached_property
    def _checkpoints(self) -> Checkpoints | None:
        return None if self.directory is None else Checkpoints(self.directory)

    @cached_property
    def _held(self) -> Samples:
        """The validation cut: the last training samples."""
        count = max(1, min(self.config.search.validation, len(self.samples) // 4))
        return Samples(self.samples.inputs[-count:], None if self.samples.labels is None else self.samples.labels[-count:])

    @cached_property
    def _training(self) -> Samples:
        rest = max(1, len(self.samples) - len(self._held))
        return self.samples.first(min(rest, self.config.search.samples))

    @property
    def _scarcity(self) -> float:
        """How many times the trial samples must be gone through to be as many as wanted."""
        return max(1.0, self.config.search.samples / len(self._training))

    @cached_property
    def _wanted(self) -> Tensor:
        return outputs_of(self._core, self._held.inputs)

    @cached_property
    def _float_accuracy(self) -> float:
        return measure_accuracy(self._teacher, self._held)

    @property
    def _classes(self) -> bool:
        return self.samples.labels is not None

    @cached_property
    def _graphs(self) -> dict[int, Graph]:
        return {}

    @cached_property
    def _known_levels(self) -> dict[int, Level]:
        return {}

    @cached_property
    def _known_allocations(self) -> dict[tuple[int, Budget], list[Allocation]]:
        return {}

    @cached_property
    def _quantizations(self) -> dict[int, Mapping[str, Any]]:
        return {}

    @cached_property
    def _encodings(self) -> dict[tuple[int, LayerConfig], WeightEncoding]:
        return {}

    @cached_property
    def _trials(self) -> dict[str, int]:
        return {}

    def _estimate(self) -> str:
        """How long it may take, from the time of a training step."""
        search, training = self.config.search, self.config.training
        if self.config.method == "reconstruct":
            stages = [self.config.reconstruction.blocks, self.config.reconstruction.network]
            samples = min(len(self.samples), self.config.calibration_samples)
        else:
            stages = [training.pruning] * (self.config.pruning.rounds - 1) + [training.recovery, training.assignment, training.codewords]
            samples = len(self.samples)
        batch = self._training.first(training.batch_size).inputs.to(training_device())
        module = TorchGraph(self._core).to(training_device())
        seconds = []
        for _ in range(2):
            start = time.monotonic()
            module(batch).square().mean().backward()
            outputs_of(self._core, batch)
            seconds.append(time.monotonic() - start)
        of_a_sample = min(seconds) / len(batch)
        epochs = sum(stage.epochs for stage in stages)
        # Of networks narrower and narrower, half of the widest's time is the average.
        narrower, once_through = (self._levels - 1) / 2, len(self._training)
        recovered = once_through * min(self._scarcity, _MOST_REPEATED) * search.recovery.epochs * narrower
        trials = search.trials if self._levels > 1 or self.budget.max_drop is not None else 0
        tried = once_through * min(1.0, search.trial_epochs * self._scarcity) * epochs * trials
        measured = len(weighted_layers(self._core)) * MEASURED_OPTIONS * len(self._held) * (1 + narrower) / 4  # outputs alone
        looking, training_time = of_a_sample * (recovered + tried + measured), of_a_sample * samples * epochs
        return f"searching for about {_minutes(looking)}, then training for about {_minutes(training_time)}, at most"


def _tame(graph: Graph) -> Graph:
    """`graph` with row scales that are alike, and neither biases nor batch norms that do anything: what an untrained network may be too
    coarse for in integers, and no size depends on. The scales differ a little, since equal tables are stored once."""
    ones = {name for op in graph.ops if isinstance(op, BatchNorm) for name in (op.scale, op.variance)}
    parameters = {name: np.full_like(array, name in ones) for name, array in graph.parameters.items()}
    encodings = {}
    for number, (name, encoding) in enumerate(graph.encodings.items()):
        jitter = np.random.default_rng(number).uniform(0.9, 1.1, len(encoding.scale))
        encodings[name] = replace(encoding, scale=(np.median(encoding.scale) * jitter).astype(np.float32))
    return graph.with_parameters(parameters).with_encodings(encodings)


def infeasible(nearest: Plan, budget: Budget) -> BudgetError:
    """Nothing fits; `nearest` would."""
    parts = (("flash", nearest.flash, budget.flash), ("RAM", nearest.ram, budget.ram), ("cycles", nearest.cycles, budget.cycles))
    over = [f"{name} {amount:,.0f} of {limit:,.0f}" for name, amount, limit in parts if limit is not None and amount > limit]
    return BudgetError(
        f"no network within reach fits the budget; the nearest takes {nearest.flash:,} bytes of flash ({nearest.model_bytes:,} of them "
        f"model), {nearest.ram:,} bytes of RAM and {nearest.cycles:,.0f} cycles for {budget.target}: too much {', '.join(over)}",
        {"model_bytes": nearest.model_bytes, "flash_bytes": nearest.flash, "ram_bytes": nearest.ram, "cycles": nearest.cycles},
    )


def _described(plan: Plan) -> str:
    layers = ", ".join(layer.kind if layer.kind == "int8" else f"{layer.codewords}x{layer.subvector}" for layer in plan.config.layers)
    widths = "-".join(str(width) for width in plan.config.pruning.widths.values()) or "all"
    return f"{plan.flash:,} B of flash ({plan.model_bytes:,} model), {plan.ram:,} B of RAM; channels {widths}; layers {layers}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
