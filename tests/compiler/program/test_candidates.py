"""Which kernels can compute a layer, and that all of them compute the same."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lutra_compiler.ir.encoding import ProductQuantized, Quantization
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d, Linear
from lutra_compiler.program.choose_kernel import Candidate, Limits
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import CRC_BYTES, Considered
from lutra_compiler.target import TARGETS, target_by_name
from quantized_graphs import coded, dense, graph

GENERIC = target_by_name("generic")


def convolution(weight, size: int = 6, zero_point: int = -5, **settings) -> Graph:
    op = Conv2d(name="c", inputs=("x",), output="y", weight="w", **settings)
    channels = weight.shape[-1] * settings.get("groups", 1)
    return graph([op], {"x": (size, size, channels)}, {"w": weight}, quantization={"x": Quantization(0.05, zero_point)})


def linear(weight) -> Graph:
    op = Linear(name="l", inputs=("x",), output="y", weight="w")
    return graph([op], {"x": weight.shape[1:]}, {"w": weight})


def candidates_of(source: Graph, target: str = "generic", limits: Limits | None = None) -> list[Candidate]:
    """The candidates for the one layer of a graph."""
    seen: list[Candidate] = []

    def choose(candidates: Sequence[Candidate]) -> Candidate:
        seen.extend(candidates)
        return candidates[0]

    lower(source, target_by_name(target), limits, choose)
    return seen


def considered(source: Graph) -> tuple[Considered, ...]:
    (call,) = lower(source, GENERIC).calls
    return call.layer.candidates


def forms(source: Graph) -> set[str]:
    return {candidate.kernel.rpartition("_")[2] for candidate in candidates_of(source)}


def norm(weight: ProductQuantized, largest: int) -> ProductQuantized:
    """`weight` with codewords whose largest L1 norm is `largest`; d is 4."""
    codebook = np.zeros_like(weight.codebook)
    codebook[0] = [largest // 3, -(largest // 3), largest - 2 * (largest // 3), 0]
    return ProductQuantized(codebook, weight.indices, weight.scale, weight.shape, weight.index_bits)


# What is possible


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (dense((8, 3, 3, 4)), {"dense"}),
        (norm(coded((8, 3, 3, 4)), 254), {"lut", "decode", "dense"}),
        (norm(coded((8, 3, 3, 4)), 255 + 1), {"decode", "dense"}),
    ],
)
def test_lookup_tables_of_a_convolution_take_codewords_up_to_a_norm(weight, expected: set[str]):
    assert forms(convolution(weight)) - {"lut8"} == expected


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (dense((8, 12)), {"dense"}),
        (norm(coded((8, 12)), 127), {"lut", "pairs", "decode", "dense"}),
        (norm(coded((8, 12)), 128), {"lut", "decode", "dense"}),
        (norm(coded((8, 12), codewords=8), 100), {"lut", "decode", "dense"}),
        (norm(coded((8, 12), index_bits=8), 100), {"lut", "decode", "dense"}),
        (norm(coded((8, 12)), 254), {"lut", "decode", "dense"}),
    ],
)
def test_tables_of_pairs_take_sixteen_codewords_of_half_the_norm(weight, expected: set[str]):
    assert forms(linear(weight)) == expected


def test_a_kernel_that_is_impossible_is_listed_with_the_reason():
    last = considered(convolution(norm(coded((8, 3, 3, 4)), 254 + 2)))[-1]
    assert (last.kernel, last.cycles, last.scratch_bytes) == ("lutra_conv2d_lut", None, None)
    assert last.why_not == "codeword norm 256, limit 255"
    assert "limit 127" in considered(linear(norm(coded((8, 12)), 128)))[-1].why_not


@pytest.mark.parametrize(("largest", "packed"), [(63, 1), (64, 0)])
def test_sums_are_packed_where_four_table_entries_fit_int16(largest: int, packed: int):
    tables = [c for c in candidates_of(convolution(norm(coded((8, 3, 3, 4)), largest))) if c.kernel == "lutra_conv2d_lut"]
    assert {candidate.fields["packed_sums"] for candidate in tables} == {packed}
    assert (4 * 128 * largest < 1 << 15) == packed


@pytest.mark.parametrize(
    ("settings", "padded"),
    [
        ({"padding": (1, 0, 0, 0)}, 1),
        ({"padding": (0, 1, 0, 0)}, 1),
        ({"padding": (0, 0, 1, 0)}, 1),
        ({"padding": (0, 0, 0, 1)}, 1),
        ({"padding": (0, 0, 1, 1), "stride": (2, 2)}, 1),
        ({"padding": (0, 0, 0, 0)}, 0),
        ({"padding": (1, 1, 1, 1), "zero_point": 0}, 0),
    ],
)
def test_a_layer_is_padded_if_a_window_leaves_the_image_and_padding_is_not_zero(settings: dict, padded: int):
    for candidate in candidates_of(convolution(coded((8, 3, 3, 4)), **settings)):
        assert candidate.fields["padded"] == padded


def test_tables_exist_for_all_subvectors_or_for_groups_of_eight():
    tables = [c for c in candidates_of(convolution(coded((8, 3, 3, 80)))) if c.kernel == "lutra_conv2d_lut"]
    assert {(c.fields["block"], c.fields["keep_offsets"]) for c in tables} == {(block, keep) for block in (20, 16, 8) for keep in (0, 1)}


def test_tables_never_reach_beyond_16_bit_offsets():
    weight = coded((4, 1, 1, 100), codewords=256, subvector=1, index_bits=8)
    blocks = {c.fields["block"] for c in candidates_of(convolution(weight)) if c.kernel == "lutra_conv2d_lut"}
    assert blocks == {64, 32, 16, 8}  # 64 tables of 256 words are 65536 bytes


def test_filters_are_decoded_all_at_once_or_some_at_a_time():
    weight = coded((40, 3, 3, 4))
    blocks = [c.fields["block"] for c in candidates_of(convolution(weight)) if c.kernel == "lutra_conv2d_decode"]
    assert sorted(blocks) == [8, 16, 32, 40]


# What it costs


def test_flash_bytes_are_those_of_the_bundle():
    entropy_coded = (convolution(replace(coded((8, 3, 3, 4)), coded=True)), linear(replace(coded((8, 12)), coded=True)))
    for source in (convolution(coded((8, 3, 3, 4))), linear(coded((8, 12))), convolution(dense((8, 3, 3, 4))), *entropy_coded):
        for candidate in candidates_of(source):
            program = lower(source, GENERIC, choose=lambda all_, wanted=candidate: matching(all_, wanted))
            _, tables = program.objects
            assert program.model_bytes == candidate.flash_bytes + sum(tables.padding) + 2 * CRC_BYTES


def matching(candidates: Sequence[Candidate], wanted: Candidate) -> Candidate:
    (found,) = (c for c in candidates if (c.kernel, c.fields) == (wanted.kernel, wanted.fields))
    return found


def test_coded_indices_cost_the_time_and_the_memory_of_decoding_them():
    weight = norm(coded((64, 128)), 100)
    packed, unpacked = ({c.kernel: c for c in candidates_of(linear(replace(weight, coded=flag)), "cortex-m4")} for flag in (False, True))
    for kernel in ("lutra_linear_lut", "lutra_linear_pairs", "lutra_linear_decode"):
        assert unpacked[kernel].cycles > packed[kernel].cycles + 10 * weight.indices.size
        assert unpacked[kernel].scratch_bytes == weight.indices.size // 2 + max(packed[kernel].scratch_bytes, 64 + 2 * 16 + 4)
    assert unpacked["lutra_linear_dense"].cycles == packed["lutra_linear_dense"].cycles


def test_layers_that_share_a_codebook_bear_a_part_of_it_each():
    weight = coded((8, 8))  # 64 bytes of codebook, 8 of indices
    alone = linear(weight)
    ops = [Linear(name=name, inputs=(x,), output=y, weight=name) for name, x, y in (("a", "x", "y"), ("b", "y", "z"), ("c", "z", "w"))]
    shared = graph(ops, {"x": (8,)}, dict.fromkeys("abc", weight))
    (before,) = (c for c in candidates_of(alone) if c.kernel == "lutra_linear_lut")
    for candidate in candidates_of(shared):
        if candidate.kernel == "lutra_linear_lut":
            assert candidate.flash_bytes == before.flash_bytes - 64 + 22
    assert {c.objection for c in candidates_of(alone) if c.kernel == "lutra_linear_dense"} == {""}
    assert {c.objection for c in candidates_of(shared) if c.kernel == "lutra_linear_dense"} == {"34 bytes of flash more"}


def test_more_flash_is_an_objection_unless_it_is_allowed():
    source = linear(coded((64, 64)))
    (costly,) = (c for c in candidates_of(source) if c.kernel == "lutra_linear_dense")
    cheap = next(c for c in candidates_of(source) if c.kernel == "lutra_linear_lut")
    assert costly.objection == f"{costly.flash_bytes - cheap.flash_bytes} bytes of flash more"
    assert not any(c.objection for c in candidates_of(source, limits=Limits(expand_weights=True)))


def test_weights_smaller_than_their_codebook_may_be_expanded():
    (plain,) = (c for c in candidates_of(linear(coded((2, 12), codewords=256, index_bits=8))) if c.kernel == "lutra_linear_dense")
    assert not plain.objection


# All compute the same


LAYERS: list[Callable[[], Graph]] = [
    lambda: convolution(coded((20, 3, 3, 20), subvector=2, largest=30), padding=(1, 1, 1, 1)),
    lambda: convolution(coded((10, 5, 5, 3), subvector=4, codewords=256, index_bits=8), padding=(2, 0, 1, 2), stride=(2, 1)),
    lambda: linear(coded((30, 50), subvector=4, largest=30)),
]


@pytest.mark.parametrize("source", LAYERS)
def test_every_candidate_computes_the_same(source: Callable[[], Graph]):
    layer = source()
    (port,) = layer.inputs
    x = np.random.default_rng(0).integers(-128, 128, (4, *port.shape), np.int8)
    results = []
    for wanted in candidates_of(layer):
        program = lower(layer, GENERIC, choose=lambda all_, wanted=wanted: matching(all_, wanted))
        (call,) = program.calls
        assert call.kernel == wanted.kernel
        results.append(interpret(program, [x]).outputs[0])
    assert len(results) >= 4
    assert len(np.unique(results[0])) > 20
    for result in results:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("target", [target.name for target in TARGETS if target.name != "generic"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("subvector", [1, 2, 3, 5, 6])
def test_shorter_subvectors_are_not_estimated_to_take_less_time(subvector: int, bits: int, target: str):
    """As they would be if the cost model knew no cycles for some of their work."""
    short, long = (
        {
            (c.kernel, c.fields["block"], c.fields["keep_offsets"]): c.cycles
            for c in candidates_of(convolution(coded((24, 1, 1, 35), subvector=length, index_bits=bits, largest=8)), target)
            if not c.kernel.endswith("dense")
        }
        for length in (subvector, 8)
    )
    common = [key for key in short.keys() & long.keys() if "_decode" in key[0]]
    assert common
    assert all(short[key] >= 0.9 * long[key] for key in common)
    tables = min(time for (kernel, *_), time in short.items() if kernel == "lutra_conv2d_lut")
    assert tables >= 0.9 * min(time for (kernel, *_), time in long.items() if kernel == "lutra_conv2d_lut")
