"""Layers at the edges of what kernels distinguish, and programs that compute one in every way there is."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from lutra_compiler.ir.encoding import ProductQuantized, Quantization, WeightEncoding
from lutra_compiler.ir.graph import Shape
from lutra_compiler.ir.ops import Activation, Clamp, Conv2d, Linear, MaxPool, Op
from lutra_compiler.ir.shapes import infer_shapes
from lutra_compiler.program.choose_kernel import Candidate
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Call, Program
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph

SAME = {"padding": (1, 1, 1, 1)}
CONVOLUTIONS = {
    # name: shape of the input, weight, largest norm of a codeword, settings
    "same size": ((7, 7, 20), coded((12, 3, 3, 20), subvector=2), 63, SAME),
    "wide": ((6, 9, 32), coded((33, 3, 3, 32), subvector=8), 255, SAME),
    "many codewords": ((5, 6, 3), coded((10, 5, 5, 3), subvector=4, codewords=256, index_bits=8), 255, {"padding": (2, 0, 1, 2)}),
    "one tap, odd everything": ((3, 5, 33), coded((9, 1, 1, 33), subvector=3, codewords=32, index_bits=8), 127, {}),
    "two codewords, many subvectors": ((4, 4, 25), coded((5, 2, 2, 25), codewords=2, subvector=1), 63, SAME),
    "subvectors of 16": ((5, 5, 16), coded((6, 3, 3, 16), subvector=16), 255, SAME),
    "subvectors of 5": ((5, 5, 12), coded((6, 3, 3, 12), subvector=5, codewords=64, index_bits=8), 255, SAME),
    "bytes for few codewords": ((5, 5, 8), coded((6, 3, 3, 8), subvector=4, codewords=8, index_bits=8), 127, SAME),
    "strides that skip": ((11, 13, 4), coded((7, 2, 2, 4), subvector=2), 63, {"stride": (3, 4)}),
    "strides that overlap": ((11, 12, 4), coded((7, 5, 4, 4), subvector=2), 63, {"stride": (2, 3), "padding": (1, 3, 2, 0)}),
    "one column": ((9, 1, 6), coded((4, 3, 3, 6), subvector=2), 63, SAME),
    "one row": ((1, 9, 6), coded((4, 3, 3, 6), subvector=2), 63, SAME),
    "padding beyond the kernel": ((2, 3, 4), coded((4, 2, 2, 4), subvector=4), 63, {"padding": (1, 1, 1, 1), "stride": (2, 1)}),
    "pixel by pixel": ((3, 7, 12), coded((20, 1, 1, 12), subvector=4), 63, {}),
    "pixel by pixel, fewer channels": ((3, 7, 40), coded((12, 1, 1, 40), subvector=4), 255, {}),
    "windows far outside": ((2, 3, 4), coded((5, 1, 2, 4), subvector=4), 63, {"padding": (2, 4, 3, 5)}),
    "depthwise far outside": ((2, 3, 4), dense((4, 1, 2, 1)), 0, {"padding": (2, 4, 3, 5), "groups": 4}),
    "padded at the right": ((4, 8, 4), coded((5, 3, 4, 4), subvector=4), 63, {"padding": (1, 0, 1, 3)}),
    "beyond eight pixels": ((3, 21, 6), coded((5, 3, 5, 6), subvector=2), 63, {"padding": (1, 4, 0, 1)}),
    "int8": ((6, 7, 5), dense((6, 3, 3, 5)), 0, SAME),
    "int8, one channel": ((9, 8, 1), dense((7, 5, 5, 1)), 0, SAME),
    "int8, three channels": ((9, 8, 3), dense((6, 3, 3, 3)), 0, SAME | {"stride": (2, 2)}),
    "int8, groups": ((6, 7, 6), dense((9, 3, 3, 2)), 0, SAME | {"groups": 3}),
    "depthwise": ((6, 7, 13), dense((13, 3, 3, 1)), 0, SAME | {"groups": 13}),
}
VECTORS = {
    "subvectors of 8": (coded((30, 128), subvector=8), 127),
    "a part of a group": (coded((30, 44), subvector=4), 127),
    "a part of a subvector": (coded((9, 70), subvector=4), 127),
    "one output": (coded((1, 64), subvector=2), 63),
    "features by 16": (coded((17, 129), subvector=16), 255),
    "three channels": (coded((17, 50), subvector=3, codewords=8), 255),
    "single channels": (coded((17, 19), subvector=1, codewords=4), 63),
    "many codewords for features": (coded((20, 68), subvector=4, codewords=256, index_bits=8), 255),
    "bytes": (coded((20, 68), subvector=4, codewords=64, index_bits=8), 255),
    "int8 features": (dense((13, 37)), 0),
}


def bounded(weight: WeightEncoding, norm: int) -> WeightEncoding:
    """`weight` with codewords of many sizes up to `norm`, and two of exactly that."""
    if not isinstance(weight, ProductQuantized):
        return weight
    rng = np.random.default_rng(2)
    limit = min(norm, 127 * weight.subvector)
    shares = rng.dirichlet(np.ones(weight.subvector), weight.codewords) * limit * rng.uniform(0.2, 1, (weight.codewords, 1))
    codebook = np.minimum(shares, 127).astype(np.int8) * rng.choice(np.array([-1, 1], np.int8), weight.codebook.shape)
    codebook[:2] = np.outer([1, -1], np.minimum(limit - 127 * np.arange(weight.subvector), 127).clip(0)).astype(np.int8)
    return replace(weight, codebook=codebook)


def convolution(name: str, pool: tuple[int, int] = (1, 1), zero_point: int = -5) -> tuple[Program, list[Call]]:
    """`program_of_all` for one of CONVOLUTIONS, with a fused pooling of this size or what there is room for."""
    shape, weight, norm, settings = CONVOLUTIONS[name]
    ops: list[Op] = [Conv2d(name="c", inputs=("x",), output="y", weight="w", **settings)]
    height, width, _ = infer_shapes(graph(ops, {"x": shape}, {"w": weight}))["y"]
    window = (min(pool[0], height), min(pool[1], width))
    if window != (1, 1):
        ops.append(MaxPool(name="p", inputs=("y",), output="z", kernel=window, stride=window))
    return program_of_all(ops, shape, bounded(weight, norm), zero_point)


def fully_connected(name: str) -> tuple[Program, list[Call]]:
    """`program_of_all` for one of VECTORS."""
    weight, norm = VECTORS[name]
    return program_of_all([Linear(name="l", inputs=("x",), output="y", weight="w")], weight.shape[1:], bounded(weight, norm), -5)


def extreme_inputs(program: Program) -> np.ndarray:
    """int8 samples of the one input: random ones, and ones at the ends of the range."""
    shape = program.inputs[0].shape
    rng = np.random.default_rng(1)
    ends = np.array([-128, 127], np.int8)
    samples = [rng.integers(-128, 128, (4, *shape), np.int8), *(np.full((1, *shape), end) for end in ends), rng.choice(ends, (2, *shape))]
    return np.concatenate(samples)


def program_of_all(ops: Sequence[Op], shape: Shape, weight: WeightEncoding, zero_point: int) -> tuple[Program, list[Call]]:
    """A program with a branch for each candidate for the first of `ops`, whose input dies with it; and its calls."""
    found: list[Candidate] = []

    def first(candidates: Sequence[Candidate]) -> Candidate:
        found[:] = candidates
        return candidates[0]

    inputs, weights, quantization = {"x": shape}, {"w": weight}, {"x": Quantization(0.05, zero_point)}
    lower(graph(ops, inputs, weights, quantization=quantization), target_by_name("generic"), choose=first)
    branches: list[Op] = []
    for i in range(len(found)):
        branches.append(Activation(name=f"copy{i}", inputs=("x",), output=f"x{i}", clamp=Clamp()))
        quantization[f"x{i}"] = quantization["x"]
        branches += [
            replace(op, name=f"{op.name}{i}", inputs=(f"{op.inputs[0]}{i}",), output=f"{op.output}{i}") for op in ops
        ]
    numbers = count()
    program = lower(
        graph(branches, inputs, weights, [f"{ops[-1].output}{i}" for i in range(len(found))], quantization),
        target_by_name("generic"),
        choose=lambda candidates: candidates[next(numbers)] if len(candidates) == len(found) > 1 else candidates[0],
    )
    calls = [call for call in program.calls if call.kernel != "lutra_rescale_int8"]
    assert [call.kernel for call in calls] == [candidate.kernel for candidate in found]
    return program, calls
