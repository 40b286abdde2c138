"""Random small networks of the operators that random_programs.py has not: tables, binary operators, copies. One seed, one Program."""

from functools import cache

import numpy as np

from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Binary, Concat, Elementwise, Flatten, Gather, Normalise, Pad, Rearrange, Step, Upsample
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program
from lutra_compiler.target import target_by_name
from random_programs import ARENA_LIMIT, RandomBuilder

CHAINS = (
    (Step("sigmoid", (0,)),),
    (Step("multiply", (0,), (1.702,)), Step("sigmoid", (1,)), Step("multiply", (0, 2))),
    (Step("tanh", (0,)), Step("multiply", (1,), (-1.5,))),
    (Step("abs", (0,)), Step("sqrt", (1,)), Step("sin", (2,))),
    (Step("minimum", (0,), (0.0,)), Step("exp", (1,)), Step("subtract", (2,), (1.0,)), Step("maximum", (0,), (0.0,)), Step("add", (3, 4))),
    (Step("multiply", (0, 0)), Step("add", (1,), (0.1,)), Step("log", (2,)), Step("greater", (0,), (0.5,)), Step("subtract", (3, 4))),
)
FUNCTIONS = ("add", "subtract", "multiply", "minimum", "maximum")


@cache
def operator_network(seed: int) -> tuple[Graph, Program]:
    """A network of one to five of these operators, whose arena stays below 8 KB, with its Program."""
    for attempt in range(100):
        builder = _OperatorBuilder(np.random.default_rng([seed, attempt, 3]), np.random.default_rng([seed, attempt, 4]))
        graph = builder.graph()
        if not builder.is_lively(graph.outputs[0]):
            continue
        try:
            program = lower(graph, target_by_name("generic"))
        except LoweringError:  # integers too coarse for the layer
            continue
        if program.arena_bytes < ARENA_LIMIT:
            return graph, program
    raise AssertionError(f"seed {seed} gives no network within the limits")


class _OperatorBuilder(RandomBuilder):
    def graph(self) -> Graph:
        size = self.integer(2, 9)
        x = self.input((size, self.integer(1, 9), self.pick(1, 2, 3, 4, 6, 8)))
        for _ in range(self.integer(1, 5)):
            x = self.operator(x)
        if self.chance(0.3):
            x = self.vector_operator(self.shared(Flatten, x))
        if isinstance(self.network.ops[-1], Rearrange):  # it may move nothing, and then the output would be an input
            x = self.rectify(x)
        return self.finished(x)

    def operator(self, x: str) -> str:
        height, width, channels = self.shape(x)
        match self.integer(0, 10):
            case 0 | 1:
                return self.append(Elementwise(**self.names("elementwise", x), steps=CHAINS[self.integer(0, len(CHAINS) - 1)]))
            case 2:
                y = self.convolution(x, coded=False, same_shape=True)
                return self.binary(*self.shuffled(x, y))
            case 3:  # one value a channel, or a pixel, or for all
                pixel, channel = self.pick(0, 1, 1), self.pick(0, 1)
                shape = (height if not pixel else 1, width if not pixel else 1, channels if channel else 1)
                return self.binary(*self.shuffled(x, self.input(shape)))
            case 4:
                view = (height, width, channels)
                order = tuple(int(axis) for axis in self.rng.permutation(3))
                return self.shared(Rearrange, x, view=view, order=order, shape=tuple(view[axis] for axis in order))
            case 5:
                return self.shuffle(x)
            case 6:
                axis = self.integer(0, 2)
                size = self.shape(x)[axis]
                indices = tuple(int(i) for i in self.rng.integers(0, size, self.integer(1, size + 2)))
                return self.shared(Gather, x, axis=axis, indices=tuple(sorted(indices)) if self.chance(0.5) else indices)
            case 7 if height * width * channels < 300:
                return self.shared(Upsample, x, factors=(self.integer(1, 3), self.integer(1, 2)))
            case 10:
                axes = ((0, 1), (2,), (1, 2), (0, 1, 2), (1,))[self.integer(0, 4)]
                if np.prod([self.shape(x)[axis] for axis in axes]) < 2:
                    return self.rectify(x)
                return self.append(Normalise(**self.names("normalise", x), axes=axes, epsilon=10.0 ** -self.pick(2, 3, 5)))
            case 8:
                axis = self.integer(-3, -1)
                y = self.append(Elementwise(**self.names("elementwise", x), steps=CHAINS[0]))
                return self.append(Concat(**self.names("concat", *self.shuffled(x, y)), axis=axis))
            case _:
                spatial = tuple(self.integer(0, 1) for _ in range(4))
                pad = Pad(**self.names("pad", x), spatial=spatial, channels=(0, self.integer(0, 1)), value=float(self.values[x].max()))
                return self.append(pad, self.network.quantization[x])

    def shuffle(self, x: str) -> str:
        """Blocks of pixels to channels, or groups of channels shuffled."""
        height, width, channels = self.shape(x)
        if height % 2 == 0 and width % 2 == 0:
            view, order = (height // 2, 2, width // 2, 2, channels), (0, 2, 1, 3, 4)
            return self.shared(Rearrange, x, view=view, order=order, shape=(height // 2, width // 2, 4 * channels))
        groups = 2 if channels % 2 == 0 else channels
        view = (height * width, groups, channels // groups)
        return self.shared(Rearrange, x, view=view, order=(0, 2, 1), shape=(height, width, channels))

    def vector_operator(self, x: str) -> str:
        (features,) = self.shape(x)
        if self.chance(0.5):
            return self.binary(*self.shuffled(x, self.input((self.pick(1, features),))))
        return self.shared(Gather, x, axis=0, indices=tuple(int(i) for i in self.rng.integers(0, features, self.integer(1, 9))))

    def binary(self, a: str, b: str) -> str:
        function = FUNCTIONS[self.integer(0, len(FUNCTIONS) - 1)]
        return self.append(Binary(**self.names("binary", a, b), function=function, activation=self.clamp()))
