from dataclasses import replace

import numpy as np
import pytest

from lutra_compiler.errors import ConfigurationError, LoweringError
from lutra_compiler.ir.encoding import Quantization
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Clamp,
    Concat,
    Conv2d,
    Flatten,
    Gru,
    Linear,
    Lstm,
    MaxPool,
    Normalise,
    Pad,
    Slice,
    Softmax,
)
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.kernels import least_epsilon
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Call, Program, Role, Storage
from lutra_compiler.target import TARGETS, target_by_name
from quantized_graphs import EVERYWHERE, coded, dense, graph

GENERIC = target_by_name("generic")
IMAGE = {"x": (8, 6, 4)}


def conv(name: str, source: str, weight: str = "w", **settings) -> Conv2d:
    return Conv2d(name=name, inputs=(source,), output=f"{name}.y", weight=weight, **settings)


def linear(name: str, source: str, weight: str = "w", **settings) -> Linear:
    return Linear(name=name, inputs=(source,), output=f"{name}.y", weight=weight, **settings)


def one(kind: type, *sources: str, name: str = "op", **settings):
    return kind(name=name, inputs=sources, output=f"{name}.y", **settings)


def only_call(source: Graph) -> Call:
    (call,) = lower(source, GENERIC).calls
    return call


def run(program: Program, *inputs: np.ndarray) -> list[np.ndarray]:
    return list(interpret(program, inputs).outputs)


# Kernels


@pytest.mark.parametrize(
    ("weight", "groups", "kernel"),
    [
        (coded((64, 3, 3, 32), subvector=8, largest=7), 1, "lutra_conv2d_lut"),
        (coded((16, 3, 3, 4), codewords=4, largest=127), 1, "lutra_conv2d_decode"),
        (coded((2, 3, 3, 4), codewords=256, index_bits=8), 1, "lutra_conv2d_dense"),
        (dense((8, 3, 3, 4)), 1, "lutra_conv2d_dense"),
        (dense((8, 3, 3, 2)), 2, "lutra_conv2d_dense"),
        (dense((8, 3, 3, 1)), 4, "lutra_conv2d_dense"),
        (dense((4, 3, 3, 1)), 4, "lutra_conv2d_depthwise"),
    ],
    ids=["cheap tables", "codewords too large for tables", "large codebook", "dense", "grouped", "channel multiplier", "depthwise"],
)
def test_the_encoding_and_the_sizes_choose_the_convolution_kernel(weight, groups: int, kernel: str):
    image = {"x": (8, 6, weight.shape[-1] * groups)}
    assert only_call(graph([conv("c", "x", groups=groups)], image, {"w": weight})).kernel == kernel


@pytest.mark.parametrize(
    ("weight", "kernel"),
    [
        (coded((64, 12), codewords=4), "lutra_linear_lut"),
        (coded((64, 12), codewords=4, largest=127), "lutra_linear_decode"),
        (coded((2, 12), codewords=256, index_bits=8), "lutra_linear_dense"),
        (dense((10, 12)), "lutra_linear_dense"),
    ],
)
def test_the_encoding_and_the_sizes_choose_the_kernel_of_a_fully_connected_layer(weight, kernel: str):
    assert only_call(graph([linear("l", "x")], {"x": (12,)}, {"w": weight})).kernel == kernel


@pytest.mark.parametrize(
    ("op", "kernel"),
    [
        (one(MaxPool, "x", kernel=(2, 2), stride=(2, 2)), "lutra_max_pool"),
        (one(AveragePool, "x", kernel=(2, 2), stride=(2, 2)), "lutra_average_pool"),
        (one(Activation, "x", clamp=Clamp(0.0, 6.0)), "lutra_rescale_int8"),
        (one(Add, "x", "x"), "lutra_add_int8"),
        (one(Pad, "x", spatial=(1, 0, 2, 0), channels=(0, 3)), "lutra_slice_pad_int8"),
        (one(Slice, "x", start=(0, 1, 0), stop=(8, 6, 2), step=(2, 2, 1)), "lutra_slice_pad_int8"),
        (one(Softmax, "x"), "lutra_softmax_int8"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_every_other_op_has_one_kernel(op, kernel: str):
    assert only_call(graph([op], IMAGE)).kernel == kernel


@pytest.mark.parametrize(
    ("weight", "kernel"),
    [
        (coded((96, 24), codewords=4, subvector=8, largest=7), "lutra_lstm_lut"),
        (coded((96, 24), codewords=4, largest=127), "lutra_lstm_decode"),
        (coded((8, 2), codewords=256, index_bits=8), "lutra_lstm_dense"),
        (dense((20, 5)), "lutra_lstm_dense"),
    ],
)
def test_the_encoding_and_the_sizes_choose_the_kernel_of_a_recurrent_layer(weight, kernel: str):
    rows, units = weight.shape
    call = only_call(graph([one(Lstm, "x", weight="w")], {"x": (1, 9, rows)}, {"w": weight}))
    assert call.kernel == kernel
    assert (call.layer.macs, call.fields["steps"], call.layer.output_shape) == (9 * rows * units, 9, (1, 9, units))


def test_states_before_the_first_step_are_stored_in_the_units_of_the_kernel():
    lstm = one(Lstm, "x", weight="w", initial="s", sequence=False)
    states = np.array([[0.5, -1.0, 1.0], [-2.0, 16.0, -0.25]], np.float32)
    program = lower(graph([lstm], GATES, {"w": dense((12, 3))}).with_parameters({"s": states}), GENERIC)
    (table,) = (table for table in program.tables if table.role is Role.INITIAL)
    assert table.data.view(np.int16).tolist() == [16384, -32768, 32767, -4096, 32767, -512]
    assert program.calls[0].layer.output_shape == (3,)


def test_a_clamp_becomes_bounds_of_the_output():
    fields = only_call(graph([one(Activation, "x", clamp=Clamp(0.0, 6.0))], IMAGE)).fields
    assert (fields["output_min"], fields["output_max"]) == (-5, 115)


def test_an_average_pool_without_padding_has_one_multiplier():
    pool = one(AveragePool, "x", kernel=(2, 3), stride=(2, 3))
    tables = lower(graph([pool], IMAGE), GENERIC).tables
    assert [table.data.tolist() for table in tables if table.role is Role.MULTIPLIERS] == [[round(2**18 / 6)]]


@pytest.mark.parametrize(("size", "padding"), [(3, 1), (7, 3), (15, 7), (31, 15), (63, 31)])
def test_an_average_of_equal_values_is_that_value_however_large_the_window(size: int, padding: int):
    pool = one(AveragePool, "x", kernel=(size, size), stride=(1, 1), padding=(padding,) * 4)
    values = Quantization(1 / 16, -128)
    program = lower(graph([pool], {"x": (size, size, 1)}, quantization={"x": values, pool.output: values}), GENERIC)
    images = np.full((1, size, size, 1), 127, np.int8)
    assert interpret(program, [images]).outputs[0].min() == 127


def test_a_concat_is_one_rescale_a_part_into_one_buffer():
    program = lower(graph([one(Concat, "x", "y")], {"x": (2, 2, 3), "y": (2, 2, 5)}), GENERIC)
    assert [call.kernel for call in program.calls] == ["lutra_rescale_int8"] * 2
    assert [(call.fields["output_offset"], call.fields["channels"]) for call in program.calls] == [(0, 3), (3, 5)]
    assert {call.output for call in program.calls} == {program.outputs[0].buffer}


# Fused pooling


def pooled(pool_settings: dict, outputs=None, more=()) -> Program:
    ops = [conv("c", "x"), one(MaxPool, "c.y", name="p", **pool_settings), *more]
    return lower(graph(ops, IMAGE, {"w": dense((8, 1, 1, 4))}, outputs), GENERIC)


def test_a_pooling_that_tiles_joins_its_convolution():
    (call,) = pooled({"kernel": (2, 3), "stride": (2, 3)}).calls
    assert (call.fields["pool_h"], call.fields["pool_w"]) == (2, 3)
    assert call.layer.source_names == ("c", "p")
    assert call.layer.output_value == "p.y"


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel": (3, 3), "stride": (2, 2)},
        {"kernel": (2, 2), "stride": (2, 2), "padding": (1, 0, 0, 0)},
        {"kernel": (1, 1), "stride": (1, 1)},
    ],
    ids=["overlapping", "padded", "identity"],
)
def test_any_other_pooling_is_a_call_of_its_own(settings: dict):
    assert len(pooled(settings).calls) == 2


@pytest.mark.parametrize(
    "arguments",
    [{"outputs": ["c.y", "p.y"]}, {"more": [one(Activation, "c.y", name="other", clamp=Clamp(0.0))], "outputs": ["p.y", "other.y"]}],
    ids=["an output", "read twice"],
)
def test_a_convolution_that_others_need_keeps_its_whole_output(arguments: dict):
    assert len(pooled({"kernel": (2, 2), "stride": (2, 2)}, **arguments).calls) >= 2


# Values and memory


def test_flatten_moves_nothing():
    program = lower(graph([one(Flatten, "x", name="f"), linear("l", "f.y")], {"x": (2, 3, 4)}, {"w": dense((5, 24))}), GENERIC)
    (call,) = program.calls
    assert call.inputs == (program.inputs[0].buffer,)


def test_an_output_that_is_an_input_is_a_copy():
    program = lower(graph([one(Flatten, "x", name="f")], {"x": (2, 3, 4)}, outputs=["f.y", "x"]), GENERIC)
    x = np.random.default_rng(0).integers(-128, 128, (5, 2, 3, 4), np.int8)
    flat, same = run(program, x)
    np.testing.assert_array_equal(flat, x.reshape(5, 24))
    np.testing.assert_array_equal(same, x)
    assert [port.name for port in program.outputs] == ["f.y", "x"]


def test_one_value_may_be_two_outputs():
    program = lower(graph([one(Add, "x", "x", name="a")], {"x": (4,)}, outputs=["a.y", "a.y"]), GENERIC)
    first, second = run(program, np.arange(4, dtype=np.int8)[None])
    np.testing.assert_array_equal(first, second)


def test_an_output_may_be_read_on():
    ops = [one(Add, "x", "x", name="a"), one(Flatten, "a.y", name="f"), linear("l", "f.y")]
    program = lower(graph(ops, {"x": (2, 2, 2)}, {"w": dense((3, 8))}, outputs=["f.y", "l.y"]), GENERIC)
    assert [program.buffers[port.buffer].storage for port in program.outputs] == [Storage.OUTPUT] * 2
    assert [port.shape for port in program.outputs] == [(8,), (3,)]


def test_ports_keep_the_layout_of_the_source():
    program = lower(graph([conv("c", "x")], IMAGE, {"w": dense((8, 1, 1, 4))}), GENERIC)
    assert (program.inputs[0].layout, program.outputs[0].layout) == ("NCHW", "NCHW")


def test_rows_that_normalise_to_nothing_keep_shifts_within_range():
    op = Normalise(name="n", inputs=("x",), output="y", axes=(0, 1), epsilon=1e-12)
    source = replace(graph([op], {"x": (128, 128, 2)}, {}), quantization={"x": Quantization(0.2, 0), "y": Quantization(0.04, 0)})
    (call,) = lower(source, GENERIC).calls
    epsilon = call.fields["epsilon_low"] + (call.fields["epsilon_mid"] << 16)
    assert epsilon == least_epsilon(call.fields["gain_shift"], call.fields["value_shift"]) > round(256 * (128 * 128) ** 2 * 1e-12 / 0.04)


# Tables


def test_equal_tables_are_stored_once():
    weight = coded((16, 16), codewords=4)
    program = lower(graph([linear("a", "x"), linear("b", "a.y")], {"x": (16,)}, {"w": weight}), GENERIC)
    assert [(table.role, table.calls) for table in program.tables] == [
        (role, (0, 1)) for role in (Role.DESCRIPTOR, Role.CODEBOOK, Role.INDICES, Role.CHANNELS)
    ]


def test_coded_indices_are_decoded_into_memory_just_before_their_layer():
    weights = {"v": coded((16, 16)), "w": replace(coded((16, 16)), coded=True)}
    ops = [linear("a", "x"), replace(linear("b", "a.y"), weight="v")]
    program = lower(graph(ops, {"x": (16,)}, weights), GENERIC)
    unpack, a, b = program.calls
    assert (unpack.kernel, unpack.inputs, unpack.layer.source_names) == ("lutra_unpack_indices", (), ("a",))
    assert [program.tables[table].role for table in (*unpack.tables, *a.tables, *b.tables)] == [
        Role.CODED, Role.CODEBOOK, Role.CHANNELS, Role.CODEBOOK, Role.INDICES, Role.CHANNELS,
    ]
    assert (a.indices, b.indices) == (unpack.output, None)
    decoded = program.buffers[unpack.output]
    assert (decoded.storage, decoded.size_bytes, decoded.first, decoded.last) == (Storage.INDICES, 16 * 4 // 2, 0, 1)


def test_coding_changes_no_number():
    x = np.random.default_rng(0).integers(-128, 128, (20, 40), np.int8)
    weights = (replace(coded((16, 40)), coded=flag) for flag in (False, True))
    packed, unpacked = (run(lower(graph([linear("a", "x")], {"x": (40,)}, {"w": w}), GENERIC), x)[0] for w in weights)
    np.testing.assert_array_equal(unpacked, packed)


def test_a_layers_record_counts_what_it_computes():
    source = graph([conv("c", "x", bias="b", stride=(2, 2))], IMAGE, {"w": dense((8, 3, 3, 4))})
    record = only_call(replace(source, parameters={"b": np.zeros(8, np.float32)})).layer
    assert (record.kind, record.macs, record.parameters, record.output_shape) == ("conv2d", 3 * 2 * 8 * 36, 8 * 36 + 8, (3, 2, 8))


def test_the_target_changes_no_number():
    source = graph([conv("c", "x")], IMAGE, {"w": dense((8, 3, 3, 4))})
    for target in TARGETS:
        program = lower(source, target)
        assert program.target == target.name
        assert [table.data.tolist() for table in program.tables] == [table.data.tolist() for table in lower(source, GENERIC).tables]


def test_an_unknown_target_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError, match=r"unknown target 'm4'; choose one of cortex-m0, .*cortex-m55, generic"):
        target_by_name("m4")


# Refusals

OTHER = Quantization(0.04, 0)
GATES = {"x": (1, 5, 12)}
GRU = one(Gru, "x", weight="w")


def with_initial(state: float) -> Graph:
    return graph([replace(GRU, initial="h")], GATES, {"w": dense((12, 4))}).with_parameters({"h": np.full((1, 4), state, np.float32)})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (graph([conv("c", "x")], IMAGE).with_parameters({"w": np.zeros((8, 3, 3, 4), np.float32)}), "layer 'c': its weight 'w' is still"),
        (replace(graph([one(Add, "x", "x")], IMAGE), quantization={"x": EVERYWHERE}), "value 'op.y' has no int8 quantization"),
        (replace(graph([], IMAGE, outputs=["x"]), quantization={}), "value 'x, output 0' has no int8 quantization"),
        (graph([one(MaxPool, "x", kernel=(2, 2), stride=(1, 1))], IMAGE, quantization={"x": OTHER}), "max_pool 'op' does not rescale"),
        (graph([one(Flatten, "x")], IMAGE, quantization={"x": OTHER}), "its input 'x' has .*0.04.* its output 'op.y'"),
        (graph([one(Pad, "x", spatial=(1, 1, 1, 1))], IMAGE, quantization={"x": OTHER}), "pad 'op'"),
        (graph([one(Slice, "x", start=(0, 0, 0), stop=(2, 2, 2), step=(1, 1, 1))], IMAGE, quantization={"x": OTHER}), "slice 'op'"),
        (graph([one(Softmax, "x")], IMAGE, quantization={"op.y": OTHER}), "softmax 'op': its output 'op.y' has .* must have"),
        (graph([one(Softmax, "x")], {"x": (513,)}), "softmax 'op' has 513 channels, at most 512"),
        (graph([GRU], GATES, {"w": dense((12, 4))}, quantization={"op.y": OTHER}), "gru 'op': its output 'op.y' has .* must have"),
        (with_initial(1.5), "gru 'op' begins with a state of 1.5, at most 1 is possible"),
        (graph([GRU], GATES, {"w": dense((12, 4))}, quantization={"x": Quantization(17, 0)}), "'op': its input's scale is 6.96e"),
        (graph([one(Flatten, "x", order="CHW")], IMAGE), "flatten 'op' is in CHW order; run prepare_for_lowering"),
        (graph([conv("c", "x", groups=2)], IMAGE, {"w": coded((8, 3, 3, 2))}), "convolution 'c' has 2 groups .* store .* as int8"),
        (graph([one(AveragePool, "x", kernel=(2, 2), stride=(1, 1), padding=(2, 0, 0, 0))], IMAGE), "padding .* reaches the kernel"),
        (graph([one(Pad, "x", channels=(0, -1))], IMAGE), "pad 'op': negative padding"),
        (graph([one(Add, "x", "x")], {"x": (1, 1, 70000)}, outputs=["x"]), "activation 'x, output 0': channels is 70000.* 0..65535"),
        (graph([conv("c", "x", stride=(300, 1))], IMAGE, {"w": dense((8, 3, 3, 4))}), "conv2d 'c': stride_h is 300, .* 0..255"),
        (graph([one(Add, "x", "x")], IMAGE, quantization={"x": Quantization(1e4, 0)}), "'op': its input's scale is 2e\\+05 times"),
    ],
)
def test_what_cannot_be_lowered_is_refused_by_name(source: Graph, message: str):
    with pytest.raises(LoweringError, match=message):
        lower(source, GENERIC)


def test_what_follows_a_layer_that_cannot_be_lowered_is_looked_at_as_well():
    pool = one(MaxPool, "c.y", name="p", kernel=(1, 2), stride=(1, 2))
    source = graph([conv("c", "x", stride=(300, 1)), pool, one(Softmax, "p.y")], IMAGE, {"w": dense((8, 3, 3, 4))})
    with pytest.raises(LoweringError, match=r"conv2d 'c': stride_h is 300, .* 0\.\.255") as caught:
        lower(replace(source, quantization={**source.quantization, "op.y": OTHER}), GENERIC)
    assert "softmax 'op'" in str(caught.value)


def test_a_batch_norm_must_have_been_folded():
    norm = one(BatchNorm, "x", scale="s", offset="o", mean="m", variance="v")
    parameters = dict.fromkeys("somv", np.ones(4, np.float32))
    with pytest.raises(LoweringError, match="batch_norm 'op' has no kernel; run prepare_for_lowering"):
        lower(replace(graph([norm], IMAGE), parameters=parameters), GENERIC)
