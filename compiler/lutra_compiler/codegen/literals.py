"""Numbers as C text. Every value is an integer of a checked width; the text parses back to the same value in C99 and C++17."""

from collections.abc import Iterator

import numpy as np

from lutra_compiler.errors import ProgramError
from lutra_compiler.program.kernels import Descriptor
from lutra_compiler.program.program import Role, Table

_LINE = 32  # values a line

_FORMS: dict[Role, tuple[str, str]] = {  # element type in NumPy and in C
    Role.DESCRIPTOR: ("uint8", ""),
    Role.CODEBOOK: ("int8", "int8_t"),
    Role.INDICES: ("uint8", "uint8_t"),
    Role.CODED: ("uint8", "uint8_t"),
    Role.WEIGHTS: ("int8", "int8_t"),
    Role.CHANNELS: ("uint16", "lutra_channel"),
    Role.MULTIPLIERS: ("uint16", "uint16_t"),
    Role.EXPONENTIALS: ("uint16", "uint16_t"),
    Role.LOOKUP: ("int8", "int8_t"),
    Role.TANGENTS: ("uint16", "uint16_t"),
    Role.INITIAL: ("uint16", "uint16_t"),
    Role.MASK: ("uint8", "uint8_t"),
}


def check_table(table: Table, descriptor: Descriptor) -> None:
    """Raises ProgramError unless the table's array has the type and the form of its role."""
    expected = _FORMS[table.role][0]
    if table.data.dtype != expected or table.data.ndim != 1 or not table.data.size:
        form = f"{table.data.dtype} {list(table.data.shape)}"
        raise ProgramError(f"table {table.index} ({table.role.value}) is {form}; it must be {expected} with one dimension, not empty")
    if table.role is Role.DESCRIPTOR and table.data.size != descriptor.size_bytes:
        raise ProgramError(f"table {table.index}: {table.data.size} bytes for a {descriptor.c_type} of {descriptor.size_bytes}")
    if table.role is Role.CHANNELS and table.data.size % 2:
        raise ProgramError(f"table {table.index}: {table.data.size} values are no (bias, multiplier) pairs")


def c_type(table: Table, descriptor: Descriptor) -> str:
    """The C type of the table's elements."""
    return descriptor.c_type if table.role is Role.DESCRIPTOR else _FORMS[table.role][1]


def element_count(table: Table) -> int:
    """Number of elements of `c_type`."""
    return {Role.DESCRIPTOR: 1, Role.CHANNELS: table.data.size // 2}.get(table.role, table.data.size)


def table_lines(table: Table, descriptor: Descriptor) -> Iterator[str]:
    """The initialiser of the table, line by line, without the outer braces."""
    if table.role is Role.DESCRIPTOR:
        values = zip(descriptor.fields, descriptor_values(table, descriptor), strict=True)
        yield from (f"{value}, /* {field} */" for field, value in values)
    elif table.role is Role.CHANNELS:
        pairs = zip(table.data[0::2].view(np.int16).tolist(), table.data[1::2].tolist(), strict=True)
        yield from _wrapped([f"{{{bias},{multiplier}}}" for bias, multiplier in pairs], _LINE // 4)
    else:
        yield from _wrapped(table.data.tolist(), _LINE)


def descriptor_values(table: Table, descriptor: Descriptor) -> list[int]:
    """The members of a descriptor in C order, read from the bytes that its CRC-32 covers."""
    halfwords = len(descriptor.halfwords)
    raw = table.data[: 2 * halfwords].view("<u2").tolist() + table.data[2 * halfwords :].tolist()
    return [_as_signed(value, *descriptor.range_of(field)) for field, value in zip(descriptor.fields, raw, strict=True)]


def float_literal(value: float) -> str:
    """The shortest literal of the nearest float. Raises ProgramError for a scale that no positive normal float stands for."""
    limits = np.finfo(np.float32)
    if not float(limits.tiny) <= value <= float(limits.max):
        raise ProgramError(f"the scale {value} of an input or output does not fit a float; scale the network's data")
    return f"{np.format_float_scientific(np.float32(value), unique=True, trim='0')}f"


def _as_signed(value: int, low: int, high: int) -> int:
    return value if value <= high else value - (high - low + 1)


def _wrapped(values: list[int] | list[str], count: int) -> Iterator[str]:
    for start in range(0, len(values), count):
        yield ",".join(map(str, values[start : start + count])) + ","
