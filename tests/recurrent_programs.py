"""Random small networks of recurrent layers: both cells, both directions, all ways to store a weight. One seed, one Program."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.encoding import HIDDEN_STATE
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Concat, Conv2d, Flatten, Gru, Lstm, Recurrent
from lutra_compiler.program.choose_kernel import Candidate, Choose
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program
from lutra_compiler.target import target_by_name
from random_programs import ARENA_LIMIT, TABLES_LIMIT, RandomBuilder, any_kernel


@cache
def recurrent_network(seed: int) -> tuple[Graph, Program]:
    """A network of one or two recurrent layers and what is around them, whose arena stays below 8 KB, with its Program."""
    for attempt in range(100):
        builder = _RecurrentBuilder(np.random.default_rng([seed, attempt, 5]), np.random.default_rng([seed, attempt, 6]))
        graph = builder.graph()
        if not builder.is_lively(graph.outputs[0]):
            continue
        try:
            program = lower(graph, target_by_name("generic"), choose=_often_pairs(np.random.default_rng([seed, attempt, 7])))
        except LoweringError:  # integers too coarse for the layer
            continue
        if program.arena_bytes < ARENA_LIMIT and program.model_bytes < TABLES_LIMIT:
            return graph, program
    raise AssertionError(f"seed {seed} gives no network within the limits")


def _often_pairs(rng: np.random.Generator) -> Choose:
    """Chooses at random, tables of pairs every other time that they are possible."""
    choose = any_kernel(rng)

    def often(candidates: Sequence[Candidate]) -> Candidate:
        pairs = [candidate for candidate in candidates if candidate.kernel.endswith("_pairs")]
        return pairs[0] if pairs and rng.random() < 0.5 else choose(candidates)

    return often


class _RecurrentBuilder(RandomBuilder):
    def graph(self) -> Graph:
        x = self.input((self.pick(1, 1, 1, 2), self.integer(1, 12), self.pick(1, 2, 5, 8, 12)))
        if self.chance(0.3):
            x = self.layer(x, sequence=True)
        if self.chance(0.3):
            sequence, units = self.chance(0.5), self.pick(1, 3, 8, 16)
            parts = [self.layer(x, sequence, reverse, units) for reverse in (False, True)]
            x = self.append(Concat(**self.names("concat", *parts)))
        else:
            x = self.layer(x, self.chance(0.5))
        if self.chance(0.3):
            x = self.vector_layers(self.shared(Flatten, x) if len(self.shape(x)) == 3 else x, 1)
        return self.finished(x)

    def layer(self, x: str, sequence: bool, reverse: bool | None = None, units: int | None = None) -> str:
        """A projection of the input, not always followed by a recurrent layer alone, and the recurrent layer."""
        kind: type[Recurrent] = Lstm if self.chance(0.5) else Gru
        units = units or self.pick(1, 2, 3, 5, 8, 16, 24, 33)
        names = self.names("project", x)
        self.weight(str(names["name"]), (kind.gates * units, 1, 1, self.shape(x)[-1]), coded=self.chance(0.5))
        y = self.weighted(Conv2d(**names, weight=f"{names['name']}.weight", bias=f"{names['name']}.bias"))
        names = self.names(kind.kind, y)
        op = kind(
            **names, weight=f"{names['name']}.weight", bias=f"{names['name']}.bias" if self.chance(0.5) else None,
            initial=f"{names['name']}.initial" if self.chance(0.3) else None, reverse=self.chance(0.5) if reverse is None else reverse,
            sequence=sequence,
        )  # fmt: skip
        weight = self.encoding((kind.gates * units, units), coded=self.chance(0.75))
        weight = replace(weight, scale=weight.scale * np.float32(self.pick(1, 4, 12)))
        parameters = {}
        if op.bias is not None:
            parameters[op.bias] = self.rng.normal(0, 0.5, kind.gates * units).astype(np.float32)
        if op.initial is not None:
            initial = self.rng.uniform(-1, 1, (kind.states, units))
            initial[1:] *= 5
            parameters[op.initial] = initial.astype(np.float32)
        self.network = replace(
            self.network,
            encodings={**self.network.encodings, op.weight: weight},
            parameters={**self.network.parameters, **parameters},
        )
        return self.append(op, HIDDEN_STATE)
