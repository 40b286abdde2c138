import time
from dataclasses import replace

import numpy as np
import pytest

from float_layers import bound_of, layers_of
from lutra_compiler.errors import DataError
from lutra_compiler.ir.ops import Add, Conv2d, Flatten, Linear, MaxPool, Softmax
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program, Role
from lutra_compiler.target import target_by_name
from operator_programs import operator_network
from quantized_graphs import coded, dense, graph
from random_programs import ARENA_LIMIT, TABLES_LIMIT, random_inputs, random_network, random_program
from recurrent_programs import recurrent_network

GENERIC = target_by_name("generic")


def single(kernel_fields: dict, tables: dict[Role, list], x: list) -> list:
    """Runs a fully connected dense layer of one input with other fields and tables."""
    program = lower(graph([Linear(name="l", inputs=("x",), output="y", weight="w")], {"x": (1,)}, {"w": dense((1, 1))}), GENERIC)
    (call,) = program.calls
    changed = tuple(
        replace(table, data=np.array(tables[table.role]).astype(table.data.dtype)) if table.role in tables else table
        for table in program.tables
    )
    program = replace(program, calls=(replace(call, fields={**call.fields, **kernel_fields}),), tables=changed)
    return interpret(program, [np.array(x, np.int8).reshape(-1, 1)]).outputs[0].ravel().tolist()


# Section 2 of SPEC.md by hand


def requantized(x: list, **fields: int) -> list:
    """Of the sums 100 * x with multiplier 3 * 2^-3, s = 1 + 2."""
    usual = {"acc_shift": 0, "output_shift": 1, "bias_shift": 0, "output_zero_point": 0, "output_min": -128, "output_max": 127}
    return single(usual | fields, {Role.WEIGHTS: [100], Role.CHANNELS: [0, 3 + (2 << 12)]}, x)


def test_halves_round_up():
    assert requantized([-1, 0, 1]) == [-37, 0, 38]  # -37.5, 0, 37.5


def test_the_accumulator_shift_rounds_down():
    assert requantized([-1, 1], acc_shift=3) == [-5, 5]  # (-13 * 3 + 4) >> 3, (12 * 3 + 4) >> 3


def test_the_zero_point_is_added_before_the_clamp():
    assert requantized([-1, 0, 1], output_zero_point=-9, output_min=-20, output_max=20) == [-20, -9, 20]


def test_a_bias_counts_in_units_of_its_shift():
    tables = {Role.WEIGHTS: [100], Role.CHANNELS: [0xFFFF, 1]}
    fields = {"acc_shift": 0, "output_shift": 1, "output_zero_point": 0, "output_min": -128, "output_max": 127}
    assert single(fields | {"bias_shift": 4}, tables, [1]) == [42]  # (100 - 16 + 1) >> 1


def test_products_of_corrupted_tables_wrap():
    tables = {Role.WEIGHTS: [127], Role.CHANNELS: [0x7FFF, 0x0FFF]}
    fields = {"acc_shift": 0, "output_shift": 15, "bias_shift": 15, "output_zero_point": 0, "output_min": -128, "output_max": 127}
    total = (0x7FFF << 15) + 127 * 127
    wrapped = (total * 0x0FFF + (1 << 14) + 2**31) % 2**32 - 2**31
    assert single(fields, tables, [127]) == [max(-128, min(127, wrapped >> 15))]


def test_a_softmax_of_corrupted_zeros_divides_by_one():
    program = lower(graph([Softmax(name="s", inputs=("x",), output="y")], {"x": (3,)}), GENERIC)
    zeroed = tuple(
        replace(table, data=np.zeros(256, np.uint16)) if table.role is Role.EXPONENTIALS else table for table in program.tables
    )
    (y,) = interpret(replace(program, tables=zeroed), [np.zeros((1, 3), np.int8)]).outputs
    assert y.tolist() == [[-128, -128, -128]]


# Every layer of random networks against its float definition


@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(0, 200, 25)], ids=str)
def test_every_layer_is_within_its_bound_of_the_float_layer(seeds: range):
    for seed in seeds:
        for call, integers, real in layers_of(*random_network(seed), seed):
            assert np.abs(integers - real).max() <= bound_of(call), f"seed {seed}, {call.kernel}"


def test_rounding_favours_no_side():
    errors = [(i - r)[(r > -128) & (r < 127)] for seed in range(100) for _, i, r in layers_of(*random_network(seed), seed)]
    assert abs(np.concatenate(errors).mean()) < 0.01


def test_random_programs_are_small_and_lively():
    distinct, still, saturated = [], [], []
    for seed in range(200):
        program = random_program(seed)
        assert program.arena_bytes < ARENA_LIMIT
        assert program.model_bytes < TABLES_LIMIT
        (y,) = interpret(program, random_inputs(program, 32, seed)).outputs
        distinct.append(len(np.unique(y)))
        still.append((y == program.outputs[0].quantization.zero_point).mean())
        saturated.append(((y == 127) | (y == -128)).mean())
    assert min(distinct) >= 4
    assert max(still) < 0.9
    assert np.mean(still) < 0.25
    assert np.mean(saturated) < 0.25


def test_random_programs_call_every_kernel():
    counts: dict[str, int] = {}
    for seed in range(200):
        others = operator_network(seed)[1].calls if seed < 60 else ()
        for call in (*random_program(seed).calls, *others, *recurrent_network(seed)[1].calls):
            counts[call.kernel] = counts.get(call.kernel, 0) + 1
    assert counts.keys() == KERNELS.keys()
    assert min(counts.values()) >= 12


def test_a_seed_gives_the_same_program_and_inputs():
    first, second = random_program(7), random_network.__wrapped__(7)[1]
    assert [table.data.tolist() for table in first.tables] == [table.data.tolist() for table in second.tables]
    assert first.calls == second.calls
    np.testing.assert_array_equal(random_inputs(first, 4, 1)[0], random_inputs(second, 4, 1)[0])


# Running


def adder() -> Program:
    return lower(graph([Add(name="a", inputs=("x", "y"), output="z")], {"x": (2, 2, 3), "y": (2, 2, 3)}), GENERIC)


def test_samples_are_independent_and_may_be_many():
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-128, 128, (300, 2, 2, 3), np.int8) for _ in range(2))
    (together,) = interpret(adder(), [x, y]).outputs
    alone = [interpret(adder(), [x[i : i + 1], y[i : i + 1]]).outputs[0] for i in range(300)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_no_samples_give_no_outputs():
    empty = np.zeros((0, 2, 2, 3), np.int8)
    assert interpret(adder(), [empty, empty]).outputs[0].shape == (0, 2, 2, 3)


def test_inputs_are_left_as_they_are():
    x = np.random.default_rng(0).integers(-128, 128, (3, 2, 2, 3), np.int8)
    before = x.copy()
    interpret(adder(), [x, x])
    np.testing.assert_array_equal(x, before)


def test_only_a_trace_keeps_the_layers():
    x = np.zeros((3, 2, 2, 3), np.int8)
    assert interpret(adder(), [x, x]).layers == ()
    (layer,) = interpret(adder(), [x, x], trace=True).layers
    assert layer.shape == (3, 2, 2, 3)


ZEROS = np.zeros((1, 2, 2, 3), np.int8)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([ZEROS], "has 2 input.s., got 1"),
        ([ZEROS, ZEROS.astype(np.float32)], "input 'y' must be int8 .samples, 2, 2, 3. .* got float32"),
        ([ZEROS.reshape(1, 12), ZEROS], "input 'x' .* got int8 .1, 12."),
        ([ZEROS, np.concatenate([ZEROS, ZEROS])], "input 'y' .* as many samples .* got int8 .2, 2, 2, 3."),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(inputs: list, message: str):
    with pytest.raises(DataError, match=message):
        interpret(adder(), inputs)


def test_a_hundred_images_through_lenet_take_about_a_second():
    ops = [
        Conv2d(name="c1", inputs=("x",), output="c1.y", weight="c1.w"),
        MaxPool(name="p1", inputs=("c1.y",), output="p1.y", kernel=(2, 2), stride=(2, 2)),
        Conv2d(name="c2", inputs=("p1.y",), output="c2.y", weight="c2.w"),
        MaxPool(name="p2", inputs=("c2.y",), output="p2.y", kernel=(2, 2), stride=(2, 2)),
        Flatten(name="f", inputs=("p2.y",), output="f.y"),
        Linear(name="l1", inputs=("f.y",), output="l1.y", weight="l1.w"),
        Linear(name="l2", inputs=("l1.y",), output="l2.y", weight="l2.w"),
    ]
    weights = {
        "c1.w": coded((20, 5, 5, 1), subvector=1), "c2.w": coded((50, 5, 5, 20)), "l1.w": coded((500, 800)), "l2.w": dense((10, 500)),
    }
    program = lower(graph(ops, {"x": (28, 28, 1)}, weights), GENERIC)
    start = time.perf_counter()
    interpret(program, [np.random.default_rng(0).integers(-128, 128, (100, 28, 28, 1), np.int8)])
    assert time.perf_counter() - start < 5  # on a busy machine
