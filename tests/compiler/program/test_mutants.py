"""The tests are not blind: every seeded fault of the lowering or the interpreter is seen on random networks."""

import importlib
from types import ModuleType

import numpy as np
import pytest

from float_layers import bound_of, layers_of
from lutra_compiler.errors import LutraError
from lutra_compiler.program import candidates, interpreter, lower, tables
from lutra_compiler.target import target_by_name
from random_programs import any_kernel, random_inputs, random_network

SEEDS = range(120)


def mutant(module_name: str, sound: str, faulty: str) -> ModuleType:
    """The module with one piece of its source replaced."""
    module = importlib.import_module(f"lutra_compiler.{module_name}")
    assert module.__file__
    with open(module.__file__, encoding="utf-8") as file:
        source = file.read()
    assert source.count(sound) >= 1, f"{module_name} has no {sound!r} any more"
    changed = ModuleType(module.__name__)
    changed.__dict__.update({"__file__": module.__file__})
    exec(compile(source.replace(sound, faulty), module.__file__, "exec"), changed.__dict__)
    return changed


INTERPRETER = [
    ("& 0x0FFF", "& 0x07FF"),
    ("multipliers >> 12", "multipliers >> 13"),
    ("rounding = np.int32(1) << (shift - 1)", "rounding = 0"),
    ('acc >> f["acc_shift"]', "acc"),
    ('y + f["output_zero_point"], f["output_min"]', 'y + f["output_zero_point"], -128'),
    ('f["output_max"]).astype', "127).astype"),
    ('constant_values=f["input_zero_point"]', "constant_values=0"),
    ('f["in_c"]),\n        ((0, 0), (f["pad_top"], bottom)', 'f["in_c"]),\n        ((0, 0), (bottom, f["pad_top"])'),
    ('ky :: f["stride_h"], kx :: f["stride_w"]', 'ky :: f["stride_w"], kx :: f["stride_h"]'),
    ("<< call.fields", "* call.fields"),
    ("windows.max(axis=(2, 4))", "windows.min(axis=(2, 4))"),
    ("outside=-128", "outside=0"),
    ('_image(inputs[0], f) - f["input_zero_point"], f', "_image(inputs[0], f), f"),
    ("multipliers[counts - 1]", "multipliers[-1]"),
    ('multipliers[0] if f["count_include_pad"]', "multipliers[-1] if True"),
    ('(b - f["zero_point_b"]) * f["multiplier_b"]', '(b - f["zero_point_a"]) * f["multiplier_b"]'),
    ('(np.int32(1) << np.int32(f["shift"] - 1))', "0"),
    ('f["output_offset"] : f["output_offset"] +', ": "),
    ('y[:] = f["zero_point"]', "y[:] = 0"),
    ("total // 2", "0"),
    ("- 128, 127)", "- 128, 126)"),
]

LOWERING = [
    ("program.lower", 'bias / result.scale, source', "bias, source"),
    ("program.lower", "source.scale * encoding.scale", "encoding.scale"),
    ("program.lower", 'bound(clamp.maximum, 127)', "127"),
    ("program.lower", 'bound(clamp.minimum, -128)', "-128"),
    ("program.lower", '"pad_top": op.padding[0], "pad_left": op.padding[1]', '"pad_top": op.padding[1], "pad_left": op.padding[0]'),
    ("program.lower", "pool_h, pool_w = pool.kernel", "pool_w, pool_h = pool.kernel"),
    ("program.lower", "[a.scale / scale, b.scale / scale]", "[b.scale / scale, a.scale / scale]"),
    ("program.lower", "offset += prod(self.shapes[value][op.axis :])", "pass"),
    ("program.lower", "start=op.start", "start=(0, 0, 0)"),
    ("program.lower", "step=op.step", "step=(1, 1, 1)"),
    ("program.lower", "before = (op.spatial[0], op.spatial[1]", "before = (op.spatial[2], op.spatial[3]"),
    ("program.candidates", "encoding.values.reshape(out_c, -1).T.ravel()", "encoding.values.ravel()"),
    ("program.lower", "whole = op.count_include_pad or not any(op.padding)", "whole = True"),
    ("numerics.fixed_point", "- input_zero_point * multipliers", "+ input_zero_point * multipliers"),
    ("numerics.fixed_point", "choice.stays_in_int32(bounds)", "True"),
    ("numerics.fixed_point", "MANTISSA_BITS - np.frexp", "4 - np.frexp"),
    ("numerics.fixed_point", "(np.abs(np.rint(wanted / 2**shift)) < 1 << 15)", "(np.abs(np.rint(wanted / 2**shift)) < 1 << 9)"),
    ("numerics.packing", "odd << 4", "odd << 3"),
    ("numerics.index_coding", "bytes(decoded), np.uint8) ^ codes[0]", "bytes(decoded), np.uint8)"),
    ("numerics.index_coding", "frequency << 19", "frequency << 18"),
    ("numerics.index_coding", "+ low + begins[symbol]", "+ begins[symbol]"),
    ("numerics.packing", "indices[:, :, m : m + GROUP].transpose(1, 0, 2)", "indices[:, :, m : m + GROUP]"),
    ("program.candidates", "encoding.codewords.bit_length() - 1", "encoding.codewords.bit_length()"),
    ("program.candidates", "encoding.integers().ravel()", "encoding.integers().ravel()[::-1]"),
    ("program.tables", "-np.arange(256) * input_scale", "-np.arange(256) * 0.9 * input_scale"),
]


@pytest.mark.parametrize(("sound", "faulty"), INTERPRETER, ids=range(len(INTERPRETER)))
def test_a_fault_of_the_interpreter_changes_an_output(sound: str, faulty: str):
    faulty_interpret = mutant("program.interpreter", sound, faulty).interpret
    for seed in SEEDS:
        _, program = random_network(seed)
        inputs = random_inputs(program, 8, seed)
        try:
            results = faulty_interpret(program, inputs).outputs
        except ValueError:
            return
        if any((a != b).any() for a, b in zip(interpreter.interpret(program, inputs).outputs, results, strict=True)):
            return
    pytest.fail(f"nothing notices {faulty!r} for {sound!r}")


def is_wrong(seed: int) -> bool:
    graph, _ = random_network(seed)
    try:
        program = lower.lower(graph, target_by_name("generic"), choose=any_kernel(np.random.default_rng(seed)))
    except (LutraError, ValueError):
        return True
    return any(np.abs(integers - real).max() > bound_of(call) for call, integers, real in layers_of(graph, program, seed))


@pytest.mark.parametrize(("module_name", "sound", "faulty"), LOWERING, ids=range(len(LOWERING)))
def test_a_fault_of_the_lowering_breaks_a_bound(module_name: str, sound: str, faulty: str, monkeypatch: pytest.MonkeyPatch):
    for seed in SEEDS:
        random_network(seed)  # from the sound lowering
    changed = mutant(module_name, sound, faulty)
    for user in (lower, candidates, tables):
        for name in vars(user).keys() & vars(changed).keys():
            if getattr(vars(changed)[name], "__module__", None) == changed.__name__:
                monkeypatch.setattr(user, name, vars(changed)[name])
    assert any(is_wrong(seed) for seed in SEEDS), f"nothing notices {faulty!r} for {sound!r}"
