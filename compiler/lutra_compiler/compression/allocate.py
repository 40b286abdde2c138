"""Which setting each layer gets: bytes, cycles and RAM of every option as lowering has them, its loss as measured, and the knapsack."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from lutra_compiler.budget import Budget
from lutra_compiler.compression.prune import weighted_layers
from lutra_compiler.config import LayerConfig
from lutra_compiler.ir.graph import Graph
from lutra_compiler.numerics.knapsack import best_choices
from lutra_compiler.program.choose_kernel import Candidate, Choose, Limits, fastest
from lutra_compiler.program.footprint import code_bytes, schedule_bytes, stack_bytes
from lutra_compiler.program.program import CRC_BYTES, Buffer, Program, Role, Storage

Build = Callable[[Graph, Limits | None, Choose | None], Program]

_FRAME = 2 * CRC_BYTES + 1  # what a network takes beside its tables: CRC-32s, and a byte at the end
_KERNELS_TOGETHER = 4  # kinds of kernels for layers with weights that an allocation uses, or one more than it has to, at most
_PRICES = tuple(2.0**power for power in range(-8, 7))  # of a cycle, where cycles are limited


@dataclass(frozen=True)
class Way:
    """A kernel that computes an option: estimated cycles and bytes of scratch memory."""

    kernel: str
    cycles: float
    scratch: int


@dataclass(frozen=True)
class Option:
    """A setting of a layer. `model_bytes`: its tables, but no codebook that it shares; `flash`: with its part of the
    schedule; `loss`: of the network in which only this layer is stored so, None if it was not measured since others are better."""

    setting: LayerConfig
    model_bytes: int
    flash: float
    ways: tuple[Way, ...]
    loss: float | None = None


@dataclass(frozen=True)
class Layer:
    """A layer with weights. `alive`: bytes of the arena that hold values while it runs, at the least."""

    name: str
    alive: int
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Level:
    """A network of certain widths. `widths`: channels by a layer's number; `loss`: of the float network of these widths. The calls of
    layers without weights take `model_bytes`, `flash` (with their part of the schedule), `kernels`, `cycles` and `alive` bytes of arena
    at the most. `codebooks`: bytes of those that layers may share, by name; where layers may choose, they share one at most."""

    widths: Mapping[str, int]
    loss: float
    layers: tuple[Layer, ...]
    model_bytes: int
    flash: float
    kernels: tuple[str, ...]
    cycles: float
    alive: int
    codebooks: Mapping[str, int]


@dataclass(frozen=True)
class Allocation:
    """One option a layer, by number, and what is expected of it: bytes of flash, estimated cycles, loss."""

    options: tuple[int, ...]
    kernels: tuple[str, ...]
    flash: int
    cycles: float
    loss: float


def measure_costs(settings: Sequence[Sequence[LayerConfig]], encoded: Callable[[Sequence[LayerConfig]], Graph], build: Build) -> Level:
    """The Level of a network for whose layers there are `settings`, a sequence a layer; losses are not known yet.

    `encoded` gives the network stored in one setting a layer. A lowering tells what the next setting of every layer costs.
    """
    graph = encoded([ways[0] for ways in settings])
    names = [op.name for op in weighted_layers(graph)]
    options: dict[str, list[Option]] = {name: [] for name in names}
    alive: dict[str, int] = {}
    codebooks: dict[str, int] = {}
    for turn in range(max(map(len, settings))):
        chosen = [ways[min(turn, len(ways) - 1)] for ways in settings]
        program, candidates = _lowered(encoded(chosen), build)
        others = []
        for index, (call, ways) in enumerate(zip(program.calls, candidates, strict=True)):
            name = call.layer.source_names[0]
            if name not in options:
                others.append(index)
                continue
            alive[name] = min(alive.get(name, _alive(program.buffers, index)), _alive(program.buffers, index))
            place = names.index(name)
            choices = settings[place]
            if turn < len(choices):
                setting, shared = chosen[place], chosen[place].codebook
                size, schedule = _bytes_of(program, [index]), _schedule(program, [index])
                if shared is not None:
                    codebook = next((program.tables[t] for t in call.tables if program.tables[t].role is Role.CODEBOOK), None)
                    if codebook is None:  # so small that its weights are stored as int8 instead
                        if len(choices) > 1:
                            continue
                        setting = replace(setting, codebook=None)
                    else:
                        codebooks[shared] = codebook.size_bytes
                        size -= codebooks[shared] if codebook.calls[0] == index else 0
                options[name].append(Option(setting, size, size + schedule, _ways(ways)))
    size = _bytes_of(program, others) + _FRAME
    return Level(
        widths={},
        loss=0.0,
        layers=tuple(Layer(name, alive[name], tuple(options[name])) for name in names),
        model_bytes=size,
        flash=size + _schedule(program, others),
        kernels=tuple(sorted({program.calls[index].kernel for index in others})),
        cycles=sum(min(c.cycles for c in candidates[index]) for index in others),
        alive=max((_alive(program.buffers, index) for index in others), default=0),
        codebooks=codebooks,
    )


def _lowered(graph: Graph, build: Build) -> tuple[Program, list[Sequence[Candidate]]]:
    seen: list[Sequence[Candidate]] = []

    def choose(candidates: Sequence[Candidate]) -> Candidate:
        seen.append(candidates)
        return fastest(candidates)

    return build(graph, None, choose), seen


def _bytes_of(program: Program, calls: Iterable[int]) -> int:
    """Model bytes of some calls at the most, all tables padded; of shared tables the first call bears them."""
    wanted = set(calls)
    return sum(-(-table.size_bytes // table.alignment) * table.alignment for table in program.tables if table.calls[0] in wanted)


def _schedule(program: Program, calls: Iterable[int]) -> float:
    """Flash of some calls in the schedule."""
    used = [program.calls[index] for index in calls]
    arguments = sum(3 + len(call.tables) + len(call.inputs) for call in used)
    return schedule_bytes(arguments, program.target)


def _alive(buffers: Sequence[Buffer], call: int) -> int:
    """Bytes of arena in use during a call, scratch memory aside."""
    used = [b for b in buffers if b.first <= call <= b.last and b.storage is not Storage.SCRATCH]
    return len({byte for b in used for byte in range(b.offset // 4, -(-(b.offset + b.size_bytes) // 4))}) * 4


def _ways(candidates: Sequence[Candidate]) -> tuple[Way, ...]:
    """Of each kernel the ways that are not beaten in both cycles and scratch memory."""
    ways: list[Way] = []
    for c in sorted(candidates, key=lambda c: (c.kernel, c.scratch_bytes, c.cycles)):
        if not c.objection and math.isfinite(c.cycles) and (not ways or ways[-1].kernel != c.kernel or c.cycles < ways[-1].cycles):
            ways.append(Way(c.kernel, c.cycles, c.scratch_bytes))
    return tuple(ways)


def allocations(level: Level, budget: Budget) -> list[Allocation]:
    """The best allocations within the budget's RAM and cycles, the smallest first: each larger one has less loss. Flash is not limited."""
    if budget.ram is not None and level.alive + stack_bytes(level.kernels, budget.target) > budget.ram:
        return []
    given = given_codebooks(level)
    sharings = [given, *(given | {name} for name in level.codebooks if name not in given)]
    found = [found for kernels in _kernel_sets(level) for shared in sharings for found in _with_kernels(level, kernels, shared, budget)]
    front: list[Allocation] = []
    for allocation in sorted(found, key=lambda a: (a.flash, a.loss, a.cycles)):
        if not front or allocation.loss < front[-1].loss:
            front.append(allocation)
    return front


def _kernel_sets(level: Level) -> Iterator[tuple[str, ...]]:
    """Kernels that may be used together so that every layer has one."""
    kernels = [{way.kernel for option in layer.options for way in option.ways} for layer in level.layers]
    every = sorted(set().union(*kernels))
    fewest = len(every)
    for count in range(1, len(every) + 1):
        if count > max(_KERNELS_TOGETHER, fewest + 1):
            return
        for together in combinations(every, count):
            if all(layer.intersection(together) for layer in kernels):
                fewest = min(fewest, count)
                yield together


def given_codebooks(level: Level) -> frozenset[str]:
    """Names of the shared codebooks that layers have no choice about."""
    only = (layer.options[0].setting.codebook for layer in level.layers if len(layer.options) == 1)
    return frozenset(name for name in only if name is not None)


def _with_kernels(level: Level, kernels: tuple[str, ...], shared: frozenset[str], budget: Budget) -> Iterator[Allocation]:
    """Pareto-optimal allocations that use `kernels` alone for layers with weights, and `shared` alone of the shared codebooks."""
    sizes, losses, cycles, numbers = [], [], [], []
    for layer in level.layers:
        usable = [
            (number, option, time)
            for number, option in enumerate(layer.options)
            if option.loss is not None and option.setting.codebook in (None, *shared)
            and (time := _fastest(layer, option, kernels, budget)) is not None
        ]  # fmt: skip
        if not usable:
            return
        sizes.append(np.array([option.flash for _, option, _ in usable]))
        losses.append(np.array([option.loss or 0.0 for _, option, _ in usable]))
        cycles.append(np.array([time for _, _, time in usable]))
        numbers.append([number for number, _, _ in usable])
    fixed = _fixed(level, kernels, shared, budget)
    scale = sum(float(loss.max()) for loss in losses) / max(budget.cycles or 1.0, 1.0)
    prices = (0.0, *(price * scale for price in _PRICES)) if budget.cycles is not None else (0.0,)
    for price in prices:
        choices = best_choices(sizes, [loss + price * time for loss, time in zip(losses, cycles, strict=True)])
        for size, items in zip(choices.size, choices.item, strict=True):
            time = level.cycles + sum(float(layer[item]) for layer, item in zip(cycles, items, strict=True))
            if budget.cycles is not None and time > budget.cycles:
                continue
            loss = level.loss + sum(float(layer[item]) for layer, item in zip(losses, items, strict=True))
            options = tuple(number[item] for number, item in zip(numbers, items, strict=True))
            yield Allocation(options, kernels, math.ceil(fixed + size), time, loss)


def exchanges(level: Level, allocation: Allocation, budget: Budget) -> list[Allocation]:
    """Allocations within the budget that differ from `allocation` in one or two layers, those of the least expected loss first."""
    shared = (None, *_shared(level, allocation.options))
    allowed = [
        [
            n for n, o in enumerate(layer.options)
            if o.loss is not None and o.setting.codebook in shared and _fastest(layer, o, allocation.kernels, budget) is not None
        ]
        for layer in level.layers
    ]  # fmt: skip
    singles = [(place, n) for place, numbers in enumerate(allowed) for n in numbers if n != allocation.options[place]]
    pairs = [(a, b) for a, b in combinations(singles, 2) if a[0] != b[0]]
    found = []
    for changes in [(single,) for single in singles] + pairs:
        options = list(allocation.options)
        for place, number in changes:
            options[place] = number
        changed = _expected(level, tuple(options), allocation.kernels, budget)
        if budget.admits(changed.flash, 0, changed.cycles):
            found.append(changed)
    return sorted(found, key=lambda a: (a.loss, a.flash, a.options))


def _expected(level: Level, options: tuple[int, ...], kernels: tuple[str, ...], budget: Budget) -> Allocation:
    chosen = [layer.options[number] for layer, number in zip(level.layers, options, strict=True)]
    times = [_fastest(layer, option, kernels, budget) for layer, option in zip(level.layers, chosen, strict=True)]
    flash = _fixed(level, kernels, _shared(level, options), budget) + sum(option.flash for option in chosen)
    loss = level.loss + sum(option.loss or 0.0 for option in chosen)
    return Allocation(options, kernels, math.ceil(flash), level.cycles + sum(time or 0.0 for time in times), loss)


def _fixed(level: Level, kernels: tuple[str, ...], shared: frozenset[str], budget: Budget) -> float:
    """Flash whatever the options: code, calls without weights, and codebooks that are shared."""
    codebooks = sum(level.codebooks[name] for name in shared)
    return code_bytes((*kernels, *level.kernels), 0, budget.target) + level.flash + codebooks


def _shared(level: Level, options: Sequence[int]) -> frozenset[str]:
    """The codebooks that layers share."""
    chosen = (layer.options[number].setting.codebook for layer, number in zip(level.layers, options, strict=True))
    return frozenset(name for name in chosen if name is not None)


def _fastest(layer: Layer, option: Option, kernels: tuple[str, ...], budget: Budget) -> float | None:
    """Cycles of the fastest of `kernels` for an option within the budget's RAM; None if there is none."""
    ways = (way for way in option.ways if way.kernel in kernels)
    if budget.ram is not None:
        ways = (way for way in ways if layer.alive + way.scratch + stack_bytes([way.kernel], budget.target) <= budget.ram)
    return min((way.cycles for way in ways), default=None)
