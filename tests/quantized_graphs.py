"""Small graphs, already encoded and calibrated, for tests of everything from lowering on."""

from collections.abc import Mapping, Sequence

import numpy as np

from lutra_compiler.ir.encoding import HIDDEN_STATE, ProductQuantized, Quantization, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph, Input, Shape
from lutra_compiler.ir.ops import Op, Recurrent, Softmax

EVERYWHERE = Quantization(0.05, -5)
SOFTMAX = Quantization(1 / 256, -128)


def dense(shape: Shape, seed: int = 0) -> ScalarQuantized:
    """A random int8 weight whose layer keeps the size of values."""
    values = np.random.default_rng(seed).integers(-127, 128, shape, np.int8)
    return ScalarQuantized(values, _scale(shape))


def coded(shape: Shape, codewords: int = 16, subvector: int = 4, index_bits: int = 4, largest: int = 40) -> ProductQuantized:
    """A random product-quantized weight; codeword entries are at most `largest`."""
    rng = np.random.default_rng(1)
    taps, subvectors = int(np.prod(shape[1:-1])), -(-shape[-1] // subvector)
    return ProductQuantized(
        codebook=rng.integers(-largest, largest + 1, (codewords, subvector), np.int8),
        indices=rng.integers(0, codewords, (shape[0], taps, subvectors), np.uint8),
        scale=_scale(shape),
        shape=shape,
        index_bits=index_bits,
    )


def graph(
    ops: Sequence[Op],
    inputs: Mapping[str, Shape],
    weights: Mapping[str, WeightEncoding] | None = None,
    outputs: Sequence[str] | None = None,
    quantization: Mapping[str, Quantization] | None = None,
) -> Graph:
    """A graph whose values all have one quantization unless told otherwise; its output is the last op's."""
    values = [*inputs, *(op.output for op in ops)]
    fixed = {op.output: SOFTMAX if isinstance(op, Softmax) else HIDDEN_STATE for op in ops if isinstance(op, Softmax | Recurrent)}
    return Graph(
        inputs=tuple(Input(name, shape, "NCHW" if len(shape) == 3 else "NF") for name, shape in inputs.items()),
        ops=tuple(ops),
        outputs=tuple(outputs or [ops[-1].output]),
        parameters={},
        encodings=weights or {},
        quantization={**dict.fromkeys(values, EVERYWHERE), **fixed, **(quantization or {})},
    )


def _scale(shape: Shape) -> np.ndarray:
    return np.full(shape[0], 1 / 64 / np.sqrt(np.prod(shape[1:])), np.float32)
