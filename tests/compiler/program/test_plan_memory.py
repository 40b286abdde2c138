from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from lutra_compiler.ir.ops import Activation, Add, Clamp, Concat, Conv2d, Linear, MaxPool
from lutra_compiler.program.choose_kernel import Candidate
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Buffer, Program, Storage
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph


def chain(*features: int) -> Program:
    """Fully connected layers of these sizes, from the input on."""
    layers = list(enumerate(pairwise(features)))
    ops = [Linear(name=f"l{i}", inputs=(f"v{i}",), output=f"v{i + 1}", weight=f"w{i}") for i, _ in layers]
    weights = {f"w{i}": dense((out, fan_in)) for i, (fan_in, out) in layers}
    return lower(graph(ops, {"v0": features[:1]}, weights), target_by_name("generic"))


def program_of(ops: list, inputs: dict, **arguments) -> Program:
    return lower(graph(ops, inputs, **arguments), target_by_name("generic"), choose=lookup_tables_if_possible)


def lookup_tables_if_possible(candidates: Sequence[Candidate]) -> Candidate:
    return next((candidate for candidate in candidates if candidate.kernel == "lutra_conv2d_lut"), candidates[0])


def rectify(name: str, source: str) -> Activation:
    return Activation(name=name, inputs=(source,), output=name, clamp=Clamp(0.0))


def live_bytes(program: Program) -> int:
    """The most bytes alive during any call: no arena can be smaller unless kernels work in place."""
    return max(
        sum(-(-b.size_bytes // 4) * 4 for b in program.buffers if b.first <= call <= b.last) for call in range(len(program.calls))
    )


@pytest.mark.parametrize("features", [(100, 60, 30, 10), (8, 200, 8), (16, 64, 64, 16), (40, 12, 100, 4, 72)])
def test_a_chain_needs_the_largest_two_neighbours(features: tuple[int, ...]):
    assert chain(*features).arena_bytes == max(a + b for a, b in pairwise(features))


def test_offsets_are_aligned():
    program = chain(7, 5, 3, 9)
    assert all(buffer.offset % 4 == 0 for buffer in program.buffers)
    assert program.arena_bytes % 4 == 0


def test_elementwise_layers_work_in_place():
    assert program_of([rectify("a", "x"), rectify("b", "a"), rectify("c", "b")], {"x": (100,)}).arena_bytes == 100


def test_an_add_works_in_the_memory_of_the_operand_that_dies():
    ops = [rectify("a", "x"), Add(name="s", inputs=("x", "a"), output="s"), Add(name="t", inputs=("s", "a"), output="t")]
    assert program_of(ops, {"x": (100,)}).arena_bytes == 200


def test_nothing_works_in_the_memory_of_an_output():
    program = program_of([rectify("a", "x"), rectify("b", "a")], {"x": (100,)}, outputs=["a", "b"])
    a, b = (program.buffers[port.buffer].offset for port in program.outputs)
    assert a != b


def test_the_parts_of_a_concat_do_not_work_in_place():
    program = program_of([Concat(name="c", inputs=("x", "y"), output="c")], {"x": (8,), "y": (8,)})
    assert program.arena_bytes == 32


def test_lookup_tables_have_scratch_memory_for_one_call():
    conv = Conv2d(name="c", inputs=("x",), output="y", weight="w")
    program = program_of([conv, rectify("r", "y")], {"x": (8, 8, 32)}, weights={"w": coded((64, 3, 3, 32), subvector=8, largest=7)})
    (scratch,) = [buffer for buffer in program.buffers if buffer.storage is Storage.SCRATCH]
    tables, ring, spare_pixel, offsets = 4 * 4 * 16, 4 * 3 * 6 * 64, 4 * 64, 1 * 9 * 64 * 4  # tables of 256 bytes: offsets of one
    assert scratch.size_bytes == tables + ring + spare_pixel + offsets
    assert (scratch.first, scratch.last) == (0, 0)


# Convolutions by lookup tables write over input rows that they have read


def activations(program: Program) -> list[Buffer]:
    return [buffer for buffer in program.buffers if buffer.storage is not Storage.SCRATCH]


def convolutions(*channels: int, size: int = 8, **settings) -> list[Buffer]:
    """The places of the values of a chain of 3 x 3 convolutions of these channels, from the input on."""
    layers = list(enumerate(pairwise(channels)))
    ops = [Conv2d(name=f"c{i}", inputs=(f"v{i}",), output=f"v{i + 1}", weight=f"w{i}", **settings) for i, _ in layers]
    weights = {f"w{i}": coded((out, 3, 3, fan_in), codewords=4) for i, (fan_in, out) in layers}
    program = program_of(ops, {"v0": (size, size, channels[0])}, weights=weights)
    assert {call.kernel for call in program.calls} == {"lutra_conv2d_lut"}
    return activations(program)


def test_a_convolution_of_equal_rows_works_in_place():
    first, second = convolutions(16, 16, padding=(1, 1, 1, 1))
    assert (first.size_bytes, second.size_bytes) == (1024, 1024)
    assert first.offset == second.offset


def test_a_smaller_output_lies_at_the_beginning_of_its_input():
    first, second = convolutions(16, 8)
    assert first.size_bytes > second.size_bytes
    assert first.offset == second.offset


def test_a_larger_output_begins_before_its_input():
    first, second = convolutions(16, 32, padding=(1, 1, 1, 1))
    assert second.size_bytes == 2 * first.size_bytes
    assert first.offset - second.offset == 6 * 256 - 7 * 128  # six rows are written when one of eight is still to be read


def test_a_pooled_row_is_written_when_the_first_of_its_rows_is_known():
    ops = [
        Conv2d(name="c", inputs=("x",), output="c", weight="w"),
        MaxPool(name="p", inputs=("c",), output="p", kernel=(4, 1), stride=(4, 1)),
    ]
    program = program_of(ops, {"x": (8, 4, 4)}, weights={"w": coded((20, 1, 1, 4), codewords=4)})
    source, result = activations(program)
    assert program.calls[0].kernel == "lutra_conv2d_lut"
    assert source.offset - result.offset == 2 * 80 - 5 * 16  # the second row is written when rows 0 to 4 have been read


def test_a_convolution_of_eight_pixels_at_once_stays_behind_them():
    conv = Conv2d(name="c", inputs=("x",), output="c", weight="w")
    source = graph([conv], {"x": (3, 7, 4)}, {"w": coded((12, 1, 1, 4), codewords=4)})
    program = lower(source, target_by_name("cortex-m55"), choose=lambda found: next(c for c in found if c.kernel == "lutra_conv2d_lut8"))
    before, after = activations(program)
    assert before.offset - after.offset == 16 * 12 - 16 * 4  # of 21 pixels 16 are written when 5 are still to be read


def test_what_dies_later_is_not_overwritten():
    conv = Conv2d(name="c", inputs=("x",), output="c", weight="w", padding=(1, 1, 1, 1))
    add = Add(name="a", inputs=("x", "c"), output="a")
    program = program_of([conv, add], {"x": (8, 8, 16)}, weights={"w": coded((16, 3, 3, 16), codewords=4)})
    x, c, a = activations(program)
    assert abs(x.offset - c.offset) >= 1024
    assert a.offset in (x.offset, c.offset)


def test_a_residual_block_needs_two_values_and_the_scratch_memory():
    """Of a ResNet: value, first and second convolution, and sum take the memory of two."""
    ops = [
        Conv2d(name="c1", inputs=("x",), output="c1", weight="w1", padding=(1, 1, 1, 1)),
        Conv2d(name="c2", inputs=("c1",), output="c2", weight="w2", padding=(1, 1, 1, 1)),
        Add(name="a", inputs=("x", "c2"), output="a"),
    ]
    weights = {"w1": coded((16, 3, 3, 16), codewords=4), "w2": coded((16, 3, 3, 16), codewords=4)}
    program = program_of(ops, {"x": (16, 16, 16)}, weights=weights)
    scratch = max(buffer.size_bytes for buffer in program.buffers if buffer.storage is Storage.SCRATCH)
    assert program.arena_bytes == 2 * 4096 + scratch


def test_inputs_are_alive_from_the_first_call_and_outputs_to_the_last():
    ops = [rectify("a", "x"), rectify("b", "y"), Add(name="c", inputs=("b", "b"), output="c")]
    program = program_of(ops, {"x": (4,), "y": (4,)}, outputs=["a", "c"])
    lives = [(program.buffers[port.buffer].first, program.buffers[port.buffer].last) for port in (*program.inputs, *program.outputs)]
    assert lives == [(0, 0), (0, 1), (0, 2), (2, 2)]


@pytest.mark.parametrize("seed", range(20))
def test_random_residual_networks_come_close_to_the_bytes_alive(seed: int):
    rng = np.random.default_rng(seed)
    values, ops, weights = {"v0": 40}, [], {}
    for i in range(1, 12):
        same = [name for name, size in values.items() if size == list(values.values())[-1]]
        previous = list(values)[-1]
        if len(same) > 1 and rng.random() < 0.4:
            ops.append(Add(name=f"v{i}", inputs=(previous, str(rng.choice(same))), output=f"v{i}"))
            values[f"v{i}"] = values[previous]
        else:
            size = int(rng.choice([20, 40, 80, 100]))
            weights[f"w{i}"] = dense((size, values[previous]))
            ops.append(Linear(name=f"v{i}", inputs=(previous,), output=f"v{i}", weight=f"w{i}"))
            values[f"v{i}"] = size
    program = program_of(ops, {"v0": (40,)}, weights=weights)
    assert program.arena_bytes <= 1.15 * live_bytes(program)
