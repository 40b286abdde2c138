"""Which layers store their indices entropy-coded."""

from dataclasses import replace

import numpy as np
import pytest

from lutra_compiler.compression.code_indices import DECODER_BYTES, code_indices, saved_bytes
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.driver import build_program
from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Linear
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph


def weight(out: int, features: int, zeros: float) -> ProductQuantized:
    """A weight of which the share `zeros` of the subvectors is the codeword 0."""
    encoding, rng = coded((out, features), subvector=8, largest=20), np.random.default_rng(3)
    return replace(encoding, indices=np.where(rng.random(encoding.indices.shape) < zeros, 0, encoding.indices).astype(np.uint8))


def network(*zeros: float, size: int = 256) -> Graph:
    """Layers of size x size weights, and an int8 one."""
    names = [f"v{i}" for i in range(len(zeros) + 2)]
    ops = [Linear(name=f"l{i}", inputs=(names[i],), output=names[i + 1], weight=f"w{i}") for i in range(len(zeros) + 1)]
    weights = {f"w{i}": weight(size, size, share) for i, share in enumerate(zeros)}
    return graph(ops, {"v0": (size,)}, {**weights, f"w{len(zeros)}": dense((10, size))})


def marks(source: Graph) -> list[bool]:
    return [encoding.coded for encoding in source.encodings.values() if isinstance(encoding, ProductQuantized)]


def test_layers_of_many_zeros_are_coded_and_others_are_not() -> None:
    assert marks(code_indices(network(0.9, 0.0, 0.8))) == [True, False, True]


def test_what_a_layer_saves_is_what_its_bundle_is_smaller() -> None:
    source = network(0.9)
    before, after = (build_program(g, target_by_name("cortex-m4")).model_bytes for g in (source, code_indices(source)))
    assert before - after == saved_bytes(source.encodings["w0"]) > DECODER_BYTES


def test_a_coded_layer_that_should_not_be_is_marked_so() -> None:
    source = network(0.0)
    wrong = source.with_encodings({"w0": replace(source.encodings["w0"], coded=True)})
    assert marks(code_indices(wrong)) == [False]


def test_nothing_is_coded_where_the_decoder_costs_more_than_all_save() -> None:
    single, several = network(0.9, size=64), network(*[0.9] * 4, size=64)
    assert 0 < saved_bytes(single.encodings["w0"]) < DECODER_BYTES
    assert marks(code_indices(single)) == [False]
    assert marks(code_indices(several)) == [True] * 4


def test_the_graph_is_otherwise_as_it_was() -> None:
    source = network(0.9, 0.0)
    result = code_indices(source)
    assert (result.ops, result.quantization, list(result.encodings)) == (source.ops, source.quantization, list(source.encodings))
    np.testing.assert_array_equal(result.encodings["w0"].integers(), source.encodings["w0"].integers())
    assert code_indices(Graph((), (), (), {})) == Graph((), (), (), {})


@pytest.mark.parametrize("flag", [False, True])
def test_training_leaves_the_mark_as_it_is(flag: bool) -> None:
    source = network(0.5)
    marked = source.with_encodings({"w0": replace(source.encodings["w0"], coded=flag)})
    assert marks(TorchGraph(marked).to_graph()) == [flag]
