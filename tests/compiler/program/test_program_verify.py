"""Every rule of the seam, broken once."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lutra_compiler.errors import ProgramError
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    Binary,
    Clamp,
    Concat,
    Conv2d,
    Elementwise,
    Gather,
    Gru,
    Linear,
    Lstm,
    MaxPool,
    Normalise,
    Op,
    Slice,
    Softmax,
    Step,
)
from lutra_compiler.program.choose_kernel import Candidate
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program, Role, Storage
from lutra_compiler.program.tables import descriptor_bytes
from lutra_compiler.program.verify import verify
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, dense, graph
from random_programs import random_program

Change = Callable[[Program], Program]


def base() -> Program:
    """Calls 0 and 1: convolution by tables and by decoding; 2 and 3: concat; 4: pool; 5: add; 6: slice; 7: clamp."""
    ops: list[Op] = [
        Conv2d(name="lut", inputs=("x",), output="lut", weight="lut"),
        Conv2d(name="decode", inputs=("x",), output="decode", weight="decode"),
        Concat(name="concat", inputs=("lut", "decode"), output="concat"),
        AveragePool(name="pool", inputs=("concat",), output="pool", kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1)),
        Add(name="add", inputs=("pool", "concat"), output="add"),
        Slice(name="slice", inputs=("add",), output="slice", start=(1, 0, 0), stop=(6, 6, 18), step=(2, 1, 1)),
        Activation(name="clamp", inputs=("slice",), output="clamp", clamp=Clamp(0.0)),
    ]
    weights = {"lut": coded((16, 3, 3, 4), codewords=4), "decode": coded((2, 3, 3, 4), codewords=64, index_bits=8)}
    return lower(graph(ops, {"x": (8, 8, 4)}, weights), target_by_name("generic"), choose=by_name)


def by_name(candidates: Sequence[Candidate]) -> Candidate:
    """The first candidate of the kernel that a layer with few or many codewords is to have here."""
    coding = [candidate.fields.get("log2_codewords", 0) for candidate in candidates]
    form = {2: "lut", 6: "decode", 4: "pairs"}.get(max(coding))
    return kernel(form, candidates) if form else candidates[0]


def pairs() -> Program:
    """One fully connected layer by tables of pairs."""
    layer = Linear(name="l", inputs=("x",), output="l", weight="w")
    return lower(graph([layer], {"x": (64,)}, {"w": coded((20, 64), largest=15)}), target_by_name("generic"), choose=by_name)


def in_place() -> Program:
    """A padded convolution by tables of 9 subvectors, 1 channel each, over its input; its output is one row."""
    conv = Conv2d(name="c", inputs=("x",), output="c", weight="w", padding=(1, 1, 1, 1))
    weight = coded((9, 3, 3, 9), codewords=4, subvector=1)
    return lower(graph([conv], {"x": (8, 8, 9)}, {"w": weight}), target_by_name("generic"), choose=by_name)


def vector() -> Program:
    """Call 0: dense fully connected layer; call 1: softmax."""
    ops = [Linear(name="l", inputs=("x",), output="l", weight="w"), Softmax(name="s", inputs=("l",), output="s")]
    return lower(graph(ops, {"x": (6,)}, {"w": dense((5, 6))}), target_by_name("generic"))


def large_window() -> Program:
    """One average pooling over 256 positions."""
    pool = AveragePool(name="pool", inputs=("x",), output="y", kernel=(16, 16), stride=(1, 1))
    return lower(graph([pool], {"x": (16, 16, 1)}), target_by_name("generic"))


def depthwise() -> Program:
    """Call 0: depthwise convolution; call 1: max pooling."""
    ops = [
        Conv2d(name="c", inputs=("x",), output="c", weight="w", groups=4),
        MaxPool(name="p", inputs=("c",), output="p", kernel=(3, 3), stride=(1, 1)),
    ]
    return lower(graph(ops, {"x": (8, 8, 4)}, {"w": dense((4, 3, 3, 1))}), target_by_name("generic"))


def operators() -> Program:
    """Call 0: table; 1: product with a value a channel, over its input; 2, 3: copies; 4: normalisation."""
    ops: list[Op] = [
        Elementwise(name="e", inputs=("x",), output="e", steps=(Step("tanh", (0,)),)),
        Binary(name="b", inputs=("e", "z"), output="b", function="multiply"),
        Gather(name="g", inputs=("b",), output="g", axis=0, indices=(3, 0, 1, 2)),
        Normalise(name="n", inputs=("g",), output="n", axes=(2,)),
    ]
    return lower(graph(ops, {"x": (4, 5, 6), "z": (1, 1, 6)}), target_by_name("generic"))


def recurrent() -> Program:
    """Call 0: a GRU by tables, all its hidden states over its input; call 1: an LSTM of one unit that puts out the last one."""
    ops: list[Op] = [
        Gru(name="g", inputs=("x",), output="g", weight="g"),
        Lstm(name="l", inputs=("g",), output="l", weight="l", initial="s", sequence=False),
    ]
    source = graph(ops, {"x": (1, 5, 12)}, {"g": coded((12, 4), codewords=4), "l": dense((4, 1))})
    return lower(source.with_parameters({"s": np.ones((2, 1), np.float32)}), target_by_name("generic"), choose=by_name)


def unpacked() -> Program:
    """Call 0: indices of the fully connected layer 1; call 2: those of 3."""
    ops: list[Op] = [Linear(name=name, inputs=(x,), output=name, weight=name) for name, x in (("a", "x"), ("b", "a"))]
    weights = {"a": replace(coded((16, 64), codewords=4), coded=True), "b": replace(coded((16, 16), codewords=4), coded=True)}
    return lower(graph(ops, {"x": (64,)}, weights), target_by_name("generic"), choose=by_name)


def growing() -> Program:
    """A convolution by tables whose rows are longer than its input's, as close to its input as can be."""
    conv = Conv2d(name="c", inputs=("x",), output="c", weight="w", padding=(1, 1, 1, 1))
    return lower(graph([conv], {"x": (8, 8, 4)}, {"w": coded((12, 3, 3, 4), codewords=4)}), target_by_name("generic"), choose=by_name)


def flat() -> Program:
    """A 1 x 1 convolution of eight pixels at a time, as close to its input as can be."""
    conv = Conv2d(name="c", inputs=("x",), output="c", weight="w")
    weights = {"w": coded((12, 1, 1, 4), codewords=4)}
    return lower(graph([conv], {"x": (5, 5, 4)}, weights), target_by_name("generic"), choose=lambda found: kernel("lut8", found))


def kernel(form: str, candidates: Sequence[Candidate]) -> Candidate:
    """The first candidate of this kernel."""
    return next(candidate for candidate in candidates if candidate.kernel.endswith(f"_{form}"))


def call(place: int, **changes: object) -> Change:
    return lambda p: replace(p, calls=(*p.calls[:place], replace(p.calls[place], **changes), *p.calls[place + 1 :]))


def fields(index: int, **changes: int) -> Change:
    """Other descriptor fields, with the bytes of the descriptor to match."""

    def change(p: Program) -> Program:
        changed = {**p.calls[index].fields, **changes}
        data = descriptor_bytes(KERNELS[p.calls[index].kernel].descriptor, changed)
        return table(p.calls[index].descriptor, data=data)(call(index, fields=changed)(p))

    return change


def table(place: int, **changes: object) -> Change:
    return lambda p: replace(p, tables=(*p.tables[:place], replace(p.tables[place], **changes), *p.tables[place + 1 :]))


def table_of(index: int, role: Role, **changes: object) -> Change:
    """A change of the table that call `index` reads as `role`."""

    def change(p: Program) -> Program:
        (found,) = [i for i in p.calls[index].tables if p.tables[i].role is role]
        return table(found, **changes)(p)

    return change


def buffer(call_index: int, which: str, **changes: object) -> Change:
    """A change of the buffer that a call uses as its "output", "scratch" or first "input"."""

    def change(p: Program) -> Program:
        used = p.calls[call_index]
        index = used.inputs[0] if which == "input" else {"output": used.output, "scratch": used.scratch}[which]
        assert index is not None
        return replace(p, buffers=(*p.buffers[:index], replace(p.buffers[index], **changes), *p.buffers[index + 1 :]))

    return change


def both(first: Change, second: Change) -> Change:
    return lambda p: second(first(p))


def larger_arena(p: Program) -> Program:
    return replace(p, arena_bytes=p.arena_bytes + 4096)


def at_the_place_of_its_input(p: Program) -> Program:
    return buffer(4, "output", offset=p.buffers[p.calls[4].inputs[0]].offset)(p)


def output_on_scratch(p: Program) -> Program:
    scratch = p.calls[0].scratch
    assert scratch is not None
    return buffer(0, "output", offset=p.buffers[scratch].offset)(p)


def unused_table(p: Program) -> Program:
    return replace(p, tables=(*p.tables, replace(p.tables[0], index=len(p.tables), calls=())))


def strange_order(p: Program) -> Program:
    return replace(p, calls=(p.calls[4], *p.calls[:4], *p.calls[5:]))


def reversed_fields(p: Program) -> Program:
    return call(0, fields=dict(reversed(p.calls[0].fields.items())))(p)


def written_input(p: Program) -> Program:
    return call(0, output=p.inputs[0].buffer)(p)


def foreign_ports(p: Program) -> Program:
    return replace(p, outputs=(replace(p.outputs[0], buffer=p.inputs[0].buffer),))


BROKEN: list[tuple[Callable[[], Program], Change, str]] = [
    # references
    (base, lambda p: replace(p, calls=()), "at least one call"),
    (unpacked, call(1, indices=None), "needs 3 tables, has 2"),
    (unpacked, lambda p: call(3, indices=p.calls[1].indices)(p), "the call before does not unpack its indices into buffer 3"),
    (unpacked, lambda p: replace(p, calls=p.calls[1:]), "the call before does not unpack its indices"),
    (unpacked, lambda p: call(1, inputs=(p.calls[0].output,))(p), "buffer 3 is for indices"),
    (unpacked, lambda p: call(1, output=p.calls[0].output)(p), "buffer 3 is for indices"),
    (unpacked, lambda p: call(0, output=p.calls[1].output)(p), "buffer 1 is no indices"),
    (vector, call(1, indices=0), "takes no indices"),
    (base, call(0, kernel="lutra_conv3d"), "call 0 .lutra_conv3d.: no such kernel"),
    (base, call(0, tables=()), "needs 3 tables, has 0"),
    (base, call(0, descriptor=99), "its descriptor is table 99"),
    (base, lambda p: call(0, tables=p.calls[0].tables[::-1])(p), "its codebook is a table of channels"),
    (base, call(5, inputs=(0,)), "needs 2 inputs, has 1"),
    (base, call(0, scratch=None), "scratch memory without a rule"),
    (base, call(0, output=99), "buffer 99 does not exist"),
    (base, lambda p: call(1, output=p.calls[0].scratch)(p), "is scratch memory"),
    (base, lambda p: call(0, scratch=p.calls[0].output)(p), "is no scratch memory"),
    (base, written_input, "writes to the input"),
    (base, table(0, index=1), "table 0 has index 1"),
    (base, buffer(0, "output", index=0), "buffer 1 has index 0"),
    (base, unused_table, "is read by no call"),
    (base, table(0, calls=(3,)), "is read by the calls .0,., but lists .3,."),
    # descriptors and tables
    (base, reversed_fields, "its fields are not those of lutra_conv2d"),
    (base, lambda p: call(0, fields={**p.calls[0].fields, "in_h": 7})(p), "in_h is 7, but 8 in its descriptor"),
    (base, table(0, data=np.zeros(31, np.uint8)), "its descriptor must be uint8 .38., not uint8 .31."),
    (base, fields(0, output_min=5, output_max=4), "output_min is above output_max"),
    (vector, fields(0, reserved=1), "reserved is not 0"),
    (base, table_of(0, Role.CODEBOOK, data=np.zeros(15, np.int8)), "its codebook must be int8 .16., not int8 .15."),
    (base, table_of(0, Role.CODEBOOK, data=np.zeros(16, np.uint8)), "its codebook must be int8"),
    (base, table_of(0, Role.INDICES, data=np.zeros(143, np.uint8)), "its indices must be uint8 .144."),
    (base, table_of(0, Role.CHANNELS, data=np.zeros(16, np.uint16)), "its channels must be uint16 .32."),
    (vector, table_of(0, Role.WEIGHTS, data=np.zeros(29, np.int8)), "its weights must be int8 .30."),
    (base, table_of(4, Role.MULTIPLIERS, data=np.zeros(1, np.uint16)), "its multipliers must be uint16 .9."),
    (vector, table_of(1, Role.EXPONENTIALS, data=np.zeros(255, np.uint16)), "its exponentials must be uint16 .256."),
    (operators, table_of(0, Role.LOOKUP, data=np.zeros(255, np.int8)), "its lookup must be int8 .256."),
    (recurrent, table_of(0, Role.TANGENTS, data=np.zeros(128, np.uint16)), "its tangents must be uint16 .129."),
    (recurrent, table_of(0, Role.INITIAL, data=np.zeros(4, np.uint16)), "its initial must be uint16 .1., not uint16 .4."),
    (recurrent, table_of(1, Role.INITIAL, data=np.zeros(1, np.uint16)), "its initial must be uint16 .2."),
    # ranges
    (recurrent, fields(0, steps=0), "steps is 0, allowed 1..65535"),
    (recurrent, fields(0, input_shift=31), "input_shift is 31, allowed 1..30"),
    (recurrent, fields(1, sequence=2), "sequence is 2, allowed 0..1"),
    (recurrent, fields(0, in_c=3), "3 units have 3 gates each, not 12 in all"),
    (recurrent, fields(1, subvector=4), "subvector is 4, allowed 0..0"),
    (operators, fields(1, function=4), "function is 4, allowed 0..3"),
    (operators, fields(1, steps_b=4), "steps_b is 4, allowed 0..3"),
    (operators, fields(1, multiplier_a=-32768, zero_point_a=127, zero_point_b=127, shift=30), "its products reach"),
    (operators, fields(2, count_3=0), "count_3 is 0, allowed 1..65535"),
    (operators, fields(2, in_start_low=91), "its input ends at 121, the buffer at 120"),
    (operators, fields(3, out_start_high=1), "its output ends at 65656, the buffer at 120"),
    (operators, fields(3, out_step_3=29), "the copies .2, 3. do not fill buffer . .activation. once"),
    (operators, fields(4, gain=1), "gain is 1, allowed 16384..32767"),
    (operators, fields(4, epsilon_low=0, epsilon_mid=0, epsilon_high=0), "epsilon is 0, it must be at least 1"),
    (operators, fields(4, value_shift=1), "value_shift is 1, for 6 values it is 0"),
    (base, fields(0, stride_h=0), "stride_h is 0, allowed 1..255"),
    (base, fields(0, acc_shift=17), "acc_shift is 17, allowed 0..16"),
    (base, fields(0, output_shift=0), "output_shift is 0, allowed 1..15"),
    (base, fields(0, output_shift=16), "output_shift is 16, allowed 1..15"),
    (base, fields(0, bias_shift=16), "bias_shift is 16, allowed 0..15"),
    (base, fields(0, log2_codewords=9), "log2_codewords is 9, allowed 1..8"),
    (base, fields(0, subvector=17), "subvector is 17, allowed 1..16"),
    (base, fields(0, index_bits=5), "index_bits is 5, allowed 4 or 8"),
    (base, fields(1, index_bits=4), "too few bits for its codebook"),
    (vector, fields(0, subvector=4), "subvector is 4, allowed 0..0"),
    (base, fields(0, groups=3), "3 groups do not divide the channels"),
    (base, fields(0, groups=2), "codebooks are for convolutions of one group"),
    (depthwise, fields(0, groups=2), "not depthwise"),
    (base, fields(0, pool_h=7), "the fused pooling is larger than the image"),
    (base, fields(4, shift=31), "shift is 31, allowed 1..30"),
    (base, fields(5, shift=0), "shift is 0, allowed 1..30"),
    (base, fields(4, count_include_pad=2), "count_include_pad is 2, allowed 0..1"),
    (base, fields(4, pad_top=3), "a window lies outside the image"),
    (base, fields(4, stride_h=2), "a window lies outside the image"),
    (vector, fields(1, pixels=0), "pixels is 0"),
    # sizes of buffers
    (base, fields(0, in_h=9), "its input takes 288 bytes, buffer 0 has 256"),
    (base, fields(0, out_h=5), "its output takes 480 bytes"),
    (base, buffer(0, "scratch", size_bytes=100), "its scratch memory takes 1376 bytes"),
    (vector, fields(0, in_c=7), "its input takes 7 bytes"),
    (operators, fields(0, size_low=121), "its input takes 121 bytes"),
    (operators, fields(1, steps_b=3), "its input takes 120 bytes, buffer . has 6"),
    (operators, fields(4, inner=2), "its input takes 240 bytes"),
    (operators, lambda p: call(1, inputs=p.calls[1].inputs[::-1])(p), "its input takes 120 bytes, buffer . has 6"),
    (recurrent, fields(0, steps=4), "its input takes 48 bytes"),
    (recurrent, fields(1, sequence=1), "its output takes 5 bytes"),
    (depthwise, fields(1, in_c=5), "its input takes 180 bytes"),
    (base, fields(5, size_low=647), "its input takes 647 bytes"),
    (base, fields(7, pixels_high=1), "its input takes 1179972 bytes"),
    (base, fields(6, out_c=19), "its output takes"),
    (vector, fields(1, channels=4), "its input takes 4 bytes"),
    (unpacked, fields(0, bytes_low=127), "its output takes 127 bytes, buffer 3 has 128"),
    (unpacked, both(fields(0, bytes_low=127), buffer(0, "output", size_bytes=127)), "its memory for indices takes 128 bytes, .* has 127"),
    (unpacked, fields(0, coded_bytes_low=1), "its table takes 1 bytes, its frequency codes alone 2"),
    (unpacked, fields(0, coded_bytes_high=1), "its coded must be uint8 .65"),
    (unpacked, fields(0, log2_codewords=0), "log2_codewords is 0, allowed 1..8"),
    (unpacked, fields(0, log2_codewords=5), "its indices have too few bits"),
    (unpacked, fields(0, index_bits=7), "index_bits is 7, allowed 4 or 8"),
    (base, fields(3, output_offset=17), "writes beyond the pixel"),
    (base, fields(6, start_h=2), "reads h = 6 of 6"),
    (base, fields(6, pad_w=1), "writes more w than there is"),
    # how weights are worked through
    (base, fields(0, padded=1), "padded is 1, its windows and zero point make it 0"),
    (in_place, fields(0, padded=0), "padded is 0, its windows and zero point make it 1"),
    (in_place, fields(0, input_zero_point=0), "padded is 1, its windows and zero point make it 0"),
    (in_place, fields(0, block=0), "block is 0, allowed 1..9"),
    (in_place, fields(0, block=10), "block is 10, allowed 1..9"),
    (in_place, fields(0, block=4), "block is 4, no whole groups of 8"),
    (in_place, fields(0, keep_offsets=2), "keep_offsets is 2, allowed 0..1"),
    (in_place, fields(0, packed_sums=2), "packed_sums is 2, allowed 0..1"),
    (base, both(fields(0, packed_sums=1), table_of(0, Role.CODEBOOK, data=np.full(16, 16, np.int8))), "four entries .* leave int16"),
    (base, fields(1, block=0), "block is 0, allowed 1..2"),
    (base, fields(1, block=3), "block is 3, allowed 1..2"),
    (base, fields(1, packed_sums=1), "packed_sums is 1, allowed 0..0"),
    (depthwise, fields(0, block=1), "block is 1, allowed 0..0"),
    (depthwise, fields(0, keep_offsets=1), "keep_offsets is 1, allowed 0..0"),
    (pairs, both(fields(0, log2_codewords=3), table_of(0, Role.CODEBOOK, data=np.zeros(32, np.int8))), "is 3, allowed 4..4"),
    (pairs, table_of(0, Role.CODEBOOK, data=np.full(64, 32, np.int8)), "an L1 norm of 128, lutra_linear_pairs takes 127"),
    # arithmetic
    (base, table_of(0, Role.CODEBOOK, data=np.full(16, 64, np.int8)), "a codeword has an L1 norm of 256, lutra_conv2d_lut takes 255"),
    (base, both(table_of(0, Role.CHANNELS, data=np.full(32, 0x7FFF, np.uint16)), fields(0, bias_shift=15)), "can leave int32"),
    (large_window, table_of(0, Role.MULTIPLIERS, data=np.array([0xFFFF], np.uint16)), "its products reach .* beyond int32"),
    # memory
    (base, buffer(0, "output", last=3), "lives from 0 to 2, not 0 to 3"),
    (base, buffer(0, "output", first=1), "lives from 0 to 2, not 1 to 2"),
    (base, buffer(7, "output", last=6), "lives from 7 to 7, not 7 to 6"),
    (base, buffer(0, "input", first=1), "buffer 0 .input. lives from 0 to 1, not 1 to 1"),
    (base, lambda p: replace(p, arena_bytes=p.arena_bytes - 1), "the arena at"),
    (base, buffer(0, "output", offset=-4), "the arena at"),
    (base, lambda p: buffer(0, "output", offset=p.arena_bytes + 2)(larger_arena(p)), "not aligned to 4"),
    (base, output_on_scratch, "overlap while both are alive"),
    (base, at_the_place_of_its_input, "overlap while both are alive"),
    (in_place, lambda p: buffer(0, "output", offset=p.buffers[0].offset + 4)(larger_arena(p)), "overlap while both are alive"),
    (growing, lambda p: buffer(0, "output", offset=p.buffers[1].offset + 4)(larger_arena(p)), "overlap while both are alive"),
    (flat, lambda p: buffer(0, "output", offset=p.buffers[1].offset + 4)(larger_arena(p)), "overlap while both are alive"),
    (base, strange_order, "is read before it is written"),
    (base, lambda p: call(3, inputs=p.calls[2].inputs, fields=p.calls[2].fields, descriptor=p.calls[2].descriptor)(p), "do not fill"),
    (base, fields(3, output_offset=15), "do not fill its 18 channels once"),
    (base, lambda p: replace(p, calls=(*p.calls[:3], p.calls[4], p.calls[3], *p.calls[5:])), "is read before it is complete"),
    (base, foreign_ports, "the output buffers are"),
    (base, lambda p: replace(p, outputs=(replace(p.outputs[0], shape=(3, 6, 17)),)), "output 'clamp' of shape .3, 6, 17. is in"),
    (base, buffer(0, "output", storage=Storage.OUTPUT), "the output buffers are"),
]


@pytest.mark.parametrize(("program", "change", "message"), BROKEN, ids=[f"{i}" for i in range(len(BROKEN))])
def test_a_broken_rule_is_found(program: Callable[[], Program], change: Change, message: str):
    with pytest.raises(ProgramError, match=message):
        verify(change(program()))


@pytest.mark.parametrize("program", [base, vector, depthwise, large_window, pairs, in_place, growing, flat, unpacked])
def test_the_unbroken_programs_pass(program: Callable[[], Program]):
    verify(larger_arena(program()))


@pytest.mark.parametrize("seed", range(40))
def test_any_two_buffers_alive_together_are_kept_apart(seed: int):
    """Every pair that the verifier must tell apart is moved onto one another; only working in place may share memory."""
    program = larger_arena(random_program(seed))
    for a in program.buffers:
        for b in program.buffers:
            apart = a.offset + a.size_bytes <= b.offset or b.offset + b.size_bytes <= a.offset
            if a.index < b.index and apart and a.first < b.last and b.first < a.last:
                moved = replace(program, buffers=tuple(replace(b, offset=a.offset) if c is b else c for c in program.buffers))
                with pytest.raises(ProgramError, match="overlap while both are alive"):
                    verify(moved)
