"""Random small networks with random encodings, lowered: food for the parity tests. The same seed gives the same Program."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from float_layers import float_layer
from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.encoding import SOFTMAX_OUTPUT, ProductQuantized, Quantization, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph, Input, Shape
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    Clamp,
    Concat,
    Conv2d,
    Flatten,
    Linear,
    MaxPool,
    Op,
    Pad,
    Select,
    Slice,
    Softmax,
)
from lutra_compiler.program.choose_kernel import Candidate, Choose
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program
from lutra_compiler.target import target_by_name

ARENA_LIMIT = 8 * 1024
TABLES_LIMIT = 24 * 1024
_SAMPLES = 32

Samples = npt.NDArray[np.float64]


def random_program(seed: int) -> Program:
    """A Program of one to five layers whose arena stays below 8 KB and whose tables stay below 24 KB."""
    return random_network(seed)[1]


@cache
def random_network(seed: int) -> tuple[Graph, Program]:
    """The same with the graph it was lowered from."""
    for attempt in range(100):
        builder = RandomBuilder(np.random.default_rng([seed, attempt]), np.random.default_rng([seed, attempt, 2]))
        graph = builder.graph()
        if not builder.is_lively(graph.outputs[0]):
            continue
        try:
            program = lower(graph, target_by_name("generic"), choose=any_kernel(np.random.default_rng([seed, attempt, 1])))
        except LoweringError:  # integers too coarse for the layer, as random codebooks happen to be now and then
            continue
        if program.arena_bytes < ARENA_LIMIT and program.model_bytes < TABLES_LIMIT:
            return graph, program
    raise AssertionError(f"seed {seed} gives no network within the limits")


def any_kernel(rng: np.random.Generator) -> Choose:
    """Chooses at random: first a kernel, the rarest twice as often, and then one of its candidates."""

    def choose(candidates: Sequence[Candidate]) -> Candidate:
        kernels = [candidate.kernel for candidate in candidates if "flash" not in candidate.objection or rng.random() < 0.1]
        names = sorted(set(kernels)) + ["lutra_linear_pairs"] * kernels.count("lutra_linear_pairs")
        kernel = rng.choice(names)
        of_kernel = [candidate for candidate in candidates if candidate.kernel == kernel]
        return of_kernel[rng.integers(len(of_kernel))]

    return choose


def random_inputs(program: Program, samples: int, seed: int) -> list[npt.NDArray[np.int8]]:
    """int8 [samples, *shape] for every input, spread over the whole range."""
    rng = np.random.default_rng([seed, 1])
    return [_integers(rng, (samples, *port.shape)) for port in program.inputs]


def _integers(rng: np.random.Generator, shape: Shape) -> npt.NDArray[np.int8]:
    return np.clip(np.rint(rng.normal(0, 50, shape)), -128, 127).astype(np.int8)


class RandomBuilder:
    """Adds one op after the other and calibrates each on samples as soon as it is there."""

    def __init__(self, rng: np.random.Generator, coding_rng: np.random.Generator) -> None:
        self.rng, self.coding_rng = rng, coding_rng
        self.values: dict[str, Samples] = {}
        self.network = Graph(inputs=(), ops=(), outputs=(), parameters={})

    def graph(self) -> Graph:
        if self.chance(0.25):
            current = self.vector_layers(self.input((self.pick(1, 2, 3, 7, 16, 40, 100),)), self.integer(1, 4))
        else:
            size = self.integer(4, 13)
            current = self.input((size, max(1, size + self.integer(-2, 3)), self.pick(1, 2, 3, 4, 5, 8, 12, 20, 20)))
            for _ in range(self.integer(1, 5)):
                current = self.image_layer(current)
            if self.chance(0.5):
                current = self.vector_layers(self.shared(Flatten, current), self.integer(1, 2))
        return self.finished(current)

    def finished(self, value: str) -> Graph:
        """The network that ends with `value`."""
        if not self.network.ops:
            value = self.rectify(value)
        return replace(self.network, outputs=(value,))

    def is_lively(self, value: str) -> bool:
        """Whether the int8 samples of `value` take many values and are seldom the most frequent one."""
        quantization = self.network.quantization[value]
        _, counts = np.unique(np.rint(self.values[value] / quantization.scale), return_counts=True)
        return len(counts) >= 12 and counts.max() < 0.7 * counts.sum()

    # Choices

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pick(self, *choices: int) -> int:
        return int(self.rng.choice(choices))

    def margins(self) -> tuple[float, float]:
        """Room below and above a value's range, in ranges: with none, saturation does the work of a clamp."""
        return (float(self.rng.uniform(0, 0.3)), float(self.rng.uniform(0, 0.3))) if self.chance(0.4) else (0.0, 0.0)

    def clamp(self) -> Clamp | None:
        kind = self.integer(0, 3)
        return (None, Clamp(0.0, None), Clamp(0.0, 6.0), Clamp(-2.0, 4.0))[kind]

    # Values

    def input(self, shape: Shape) -> str:
        name = f"input{len(self.network.inputs)}"
        quantization = Quantization(float(np.float32(self.rng.uniform(0.01, 0.05))), self.pick(-128, -100, 0, 9))
        self.network = replace(
            self.network,
            inputs=(*self.network.inputs, Input(name, shape, "NHWC" if len(shape) == 3 else "NF")),
            quantization={**self.network.quantization, name: quantization},
        )
        integers = _integers(self.rng, (_SAMPLES, *shape))
        self.values[name] = quantization.scale * (integers.astype(np.float64) - quantization.zero_point)
        return name

    def shape(self, value: str) -> Shape:
        return self.values[value].shape[1:]

    def append(self, op: Op, quantization: Quantization | None = None) -> str:
        """Add an op; its output's quantization is that of its range on the samples, or somewhat wider, unless given."""
        y = float_layer(self.network, op, [self.values[name] for name in op.inputs])
        if quantization is None:
            below, above = self.margins()
            low, high = min(float(y.min()), 0.0) - below * np.ptp(y), max(float(y.max()), 0.0) + above * np.ptp(y)
            scale = float(np.float32((high - low) / 255 or 1 / 128))
            quantization = Quantization(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))
        self.values[op.output] = y
        self.network = replace(
            self.network, ops=(*self.network.ops, op), quantization={**self.network.quantization, op.output: quantization}
        )
        return op.output

    def names(self, kind: str, *inputs: str) -> dict[str, object]:
        name = f"{kind}{len(self.network.ops)}"
        return {"name": name, "inputs": inputs, "output": f"{name}.output"}

    def shared(self, kind: type[Op], value: str, **settings: object) -> str:
        """An op whose output has its input's quantization."""
        return self.append(kind(**self.names(kind.kind, value), **settings), self.network.quantization[value])

    # Layers

    def image_layer(self, x: str) -> str:
        height, width, channels = self.shape(x)
        kind = self.integer(0, 18)
        if kind <= 9:
            y = self.convolution(x, coded=kind <= 6)
            window = (self.integer(1, 3), self.integer(1, 3))
            if self.chance(0.4) and window != (1, 1) and all(a <= b for a, b in zip(window, self.shape(y), strict=False)):
                return self.shared(MaxPool, y, kernel=window, stride=window)
            return y
        if kind <= 12:
            return self.pool(x)
        if kind <= 14:
            y = self.convolution(x, coded=self.chance(0.5), same_shape=True)
            return self.append(Add(**self.names("add", *self.shuffled(x, y)), activation=self.clamp()))
        if kind == 15:
            y = self.convolution(x, coded=self.chance(0.5), same_size=True)
            return self.append(Concat(**self.names("concat", *self.shuffled(x, y))))
        if kind == 16:
            spatial = tuple(self.integer(0, 1) for _ in range(4))
            return self.shared(Pad, x, spatial=spatial, channels=(self.integer(0, 2), self.integer(0, 2)))
        if kind == 17:
            start = tuple(self.integer(0, (size - 1) // 2) for size in (height, width, channels))
            return self.shared(Slice, x, start=start, stop=(height, width, channels), step=(self.integer(1, 2), self.integer(1, 3), 1))
        return self.rectify(x)

    def shuffled(self, *values: str) -> list[str]:
        return [str(value) for value in self.rng.permutation(values)]

    def sharpened(self, x: str) -> str:
        return self.append(Add(**self.names("add", x, x)))

    def rectify(self, x: str) -> str:
        return self.append(Activation(**self.names("activation", x), clamp=Clamp(0.0, self.pick(1, 6))))

    def pool(self, x: str) -> str:
        height, width, _ = self.shape(x)
        kernel = (min(self.integer(1, 4), height), min(self.integer(1, 4), width))
        settings = {
            "kernel": kernel,
            "stride": (self.integer(1, 3), self.integer(1, 3)),
            "padding": tuple(self.integer(0, size - 1) for size in kernel * 2),
        }
        if self.chance(0.5):
            return self.shared(MaxPool, x, **settings)
        if self.chance(0.3):
            settings = {"kernel": (height, width), "stride": (1, 1)}
        return self.append(AveragePool(**self.names("pool", x), **settings, count_include_pad=self.chance(0.5)))

    def convolution(self, x: str, coded: bool, same_shape: bool = False, same_size: bool = False) -> str:
        height, width, channels = self.shape(x)
        groups = 1 if coded else self.pick(1, channels, *(g for g in (2, 3, 4) if channels % g == 0))
        kernel = (self.integer(1, 5), self.integer(1, 5))
        stride, padding = (self.integer(1, 3), self.integer(1, 3)), tuple(self.integer(0, size - 1) for size in kernel * 2)
        if same_shape or same_size:
            top, left = self.integer(0, kernel[0] - 1), self.integer(0, kernel[1] - 1)
            stride, padding = (1, 1), (top, left, kernel[0] - 1 - top, kernel[1] - 1 - left)
        elif height + padding[0] + padding[2] < kernel[0] or width + padding[1] + padding[3] < kernel[1]:
            kernel, stride, padding = (1, 1), (1, 1), (1, 0, 0, 1)  # some windows see nothing but padding
        out = channels if same_shape or groups == channels > 1 else groups * self.pick(1, 2, 3, 5, 8, 18)
        names = self.names("conv", x)
        self.weight(str(names["name"]), (out, *kernel, channels // groups), coded)
        op = Conv2d(
            **names, weight=f"{names['name']}.weight", bias=f"{names['name']}.bias", stride=stride, padding=padding, groups=groups,
            activation=self.clamp(),
        )
        return self.weighted(op)

    def vector_layers(self, x: str, count: int) -> str:
        for _ in range(count):
            if self.chance(0.1):
                x = self.append(Concat(**self.names("concat", x, x)))
            if self.chance(0.4):
                kept = [i for i in range(self.shape(x)[0]) if self.chance(0.6)]
                x = self.append(Select(**self.names("select", x), indices=tuple(kept or [0])))
            names = self.names("linear", x)
            self.weight(str(names["name"]), (self.pick(1, 2, 5, 10, 24, 33), *self.shape(x)), coded=self.chance(0.8))
            x = self.weighted(
                Linear(**names, weight=f"{names['name']}.weight", bias=f"{names['name']}.bias", activation=self.clamp())
            )
        if self.chance(0.3) and self.shape(x)[0] > 1:
            x = self.sharpened(self.sharpened(x)) if self.chance(0.5) else x
            x = self.append(Softmax(**self.names("softmax", x)), SOFTMAX_OUTPUT)
        return x

    def weight(self, name: str, shape: Shape, coded: bool) -> None:
        self.network = replace(self.network, encodings={**self.network.encodings, f"{name}.weight": self.encoding(shape, coded)})

    def encoding(self, shape: Shape, coded: bool) -> WeightEncoding:
        rng, out, channels = self.rng, shape[0], shape[-1]
        scale = rng.uniform(0.2, 1.0, out).astype(np.float32) / 127 / np.float32(np.sqrt(np.prod(shape[1:])))
        if not coded:
            return ScalarQuantized(rng.integers(-127, 128, shape, np.int8), scale)
        subvector = self.pick(1, 1, 2, 2, 3, 4, 5, 8, 16)
        codewords = self.pick(2, 4, 8, 16, 16, 16, 16, 16, 32, 64, 128, 256)
        codebook = rng.normal(0, 40, (codewords, subvector))
        limit = self.pick(63, 127, 127, 255, 1 << 15)  # of packed sums, of tables of pairs, of lookup tables, of none
        codebook *= np.minimum(1, (limit - subvector / 2) / np.abs(codebook).sum(axis=1, keepdims=True))
        return self.perhaps_coded(ProductQuantized(
            codebook=np.clip(np.rint(codebook), -128, 127).astype(np.int8),
            indices=rng.integers(0, codewords, (out, int(np.prod(shape[1:-1])), -(-channels // subvector)), np.uint8, endpoint=False),
            scale=scale,
            shape=shape,
            index_bits=4 if codewords <= 16 and self.chance(0.7) else 8,
        ))

    def perhaps_coded(self, encoding: ProductQuantized) -> ProductQuantized:
        """Every third encoding with coded indices, of which some are more frequent than others."""
        rng = self.coding_rng
        if rng.random() < 2 / 3:
            return encoding
        shares = rng.dirichlet(np.full(encoding.codewords, rng.choice([0.2, 1, 5])))
        return replace(encoding, indices=rng.choice(encoding.codewords, encoding.indices.shape, p=shares).astype(np.uint8), coded=True)

    def weighted(self, op: Conv2d | Linear) -> str:
        """Add a layer with weights; its row scales and biases give each channel a deviation around one and a mean around zero."""
        unbounded = replace(op, bias=None, activation=None)
        encoding = self.network.encodings[op.weight]
        y = float_layer(self.network, unbounded, [self.values[op.inputs[0]]]).reshape(-1, encoding.shape[0])
        gain = self.rng.uniform(0.5, 2.0, y.shape[1]) / np.maximum(y.std(axis=0), 1e-3 * y.std() + 1e-12)
        bias = self.rng.normal(0, 0.5, y.shape[1]) - gain * y.mean(axis=0)
        self.network = replace(
            self.network,
            encodings={**self.network.encodings, op.weight: replace(encoding, scale=(encoding.scale * gain).astype(np.float32))},
            parameters={**self.network.parameters, str(op.bias): bias.astype(np.float32)},
        )
        return self.append(op)
