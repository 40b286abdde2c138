from itertools import pairwise

import numpy as np
import pytest

from lutra_compiler.ir.ops import Activation, Add, Clamp, Concat, Conv2d, Linear
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program, Storage
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph


def chain(*features: int) -> Program:
    """Fully connected layers of these sizes, from the input on."""
    layers = list(enumerate(pairwise(features)))
    ops = [Linear(name=f"l{i}", inputs=(f"v{i}",), output=f"v{i + 1}", weight=f"w{i}") for i, _ in layers]
    weights = {f"w{i}": dense((out, fan_in)) for i, (fan_in, out) in layers}
    return lower(graph(ops, {"v0": features[:1]}, weights), target_by_name("generic"))


def program_of(ops: list, inputs: dict, **arguments) -> Program:
    return lower(graph(ops, inputs, **arguments), target_by_name("generic"))


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
    program = program_of([conv, rectify("r", "y")], {"x": (8, 8, 4)}, weights={"w": coded((16, 3, 3, 4), codewords=4)})
    (scratch,) = [buffer for buffer in program.buffers if buffer.storage is Storage.SCRATCH]
    assert scratch.size_bytes == 8 * 4 + 4 * 3 * 6 * 16
    assert (scratch.first, scratch.last) == (0, 0)


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
