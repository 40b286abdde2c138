import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra_compiler.codegen.emit import emit
from lutra_compiler.codegen.literals import descriptor_values, float_literal
from lutra_compiler.errors import ProgramError
from lutra_compiler.program.kernels import KERNELS, POOL
from lutra_compiler.program.program import Program
from random_programs import random_program
from tiny_program import descriptor_table, tiny_program, with_table


def parsed_tables(program: Program) -> list[np.ndarray]:
    """The values of every table as they stand in the C text."""
    text = emit(program, "net", {})["net_data.h"]
    bodies = re.findall(r"^  /\* t(\d+)_\w+ \*/\n  \{(.*?)\n  \},", text, re.DOTALL | re.MULTILINE)
    numbers = {int(index): re.findall(r"-?\d+", re.sub(r"/\*.*?\*/", "", body)) for index, body in bodies}
    return [np.array(list(map(int, found))) for _, found in sorted(numbers.items())]


@pytest.mark.parametrize("seed", range(20))
def test_tables_parse_back_equal(seed: int):
    program = random_program(seed)
    for table, parsed in zip(program.tables, parsed_tables(program), strict=True):
        if table.role.value == "descriptor":
            call = program.calls[table.calls[0]]
            np.testing.assert_array_equal(parsed, list(call.fields.values()))
        else:
            np.testing.assert_array_equal(parsed.astype(table.data.dtype), table.data)


def test_every_value_of_every_width_parses_back():
    extremes = {1: np.array([-128, 127], np.int8), 2: np.array([0, 255], np.uint8), 9: np.array([0, 65535], np.uint16)}
    for index, data in extremes.items():
        assert parsed_tables(with_table(tiny_program(), index, data))[index].tolist() == data.tolist()
    biases = parsed_tables(with_table(tiny_program(), 3, np.array([0x8000, 0xFFFF, 0x7FFF, 0], np.uint16)))[3]
    assert biases.tolist() == [-32768, 65535, 32767, 0]


@pytest.mark.parametrize(
    ("index", "data", "message"),
    [
        (1, np.zeros(32, np.int16), r"table 1 \(codebook\) is int16 \[32\]; it must be int8"),
        (2, np.zeros(27, np.int8), r"table 2 \(indices\) is int8"),
        (2, np.zeros((9, 3), np.uint8), "one dimension"),
        (9, np.zeros(256, np.int64), r"table 9 \(exponentials\) is int64"),
        (9, np.zeros(0, np.uint16), "not empty"),
        (0, np.zeros(31, np.uint8), "31 bytes for a lutra_conv2d of 38"),
        (3, np.zeros(5, np.uint16), "5 values are no"),
    ],
)
def test_a_table_of_another_width_or_form_is_refused(index: int, data: np.ndarray, message: str):
    with pytest.raises(ProgramError, match=message):
        emit(with_table(tiny_program(), index, data), "net", {})


@given(st.data())
def test_descriptors_keep_sign_and_width_of_every_member(data: st.DataObject):
    kernel = data.draw(st.sampled_from(sorted(KERNELS)))
    descriptor = KERNELS[kernel].descriptor
    fields = {name: data.draw(st.integers(*descriptor.range_of(name))) for name in descriptor.fields}
    assert descriptor_values(descriptor_table(0, kernel, fields, (0,)), descriptor) == list(fields.values())


def test_a_member_keeps_its_place():
    fields = dict.fromkeys(POOL.fields, 0) | {"in_w": 300, "shift": 200}
    values = descriptor_values(descriptor_table(0, "lutra_max_pool", fields, (0,)), POOL)
    assert [(name, value) for name, value in zip(POOL.fields, values, strict=True) if value] == [("in_w", 300), ("shift", 200)]


@given(st.floats(1.2e-38, 3.4e38))
def test_float_literals_are_the_shortest_of_their_float(value: float):
    literal = float_literal(value)
    assert re.fullmatch(r"\d\.\d+e[+-]\d{2}f", literal)
    assert np.float32(literal[:-1]) == np.float32(value)
    assert len(literal) <= len("1.23456789e-38f")


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-40, 1e39, float("inf"), float("nan")])
def test_a_scale_that_is_no_normal_float_is_refused(value: float):
    with pytest.raises(ProgramError, match="does not fit a float"):
        float_literal(value)
