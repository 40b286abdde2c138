"""Program -> C text: arranges the Program's numbers for the templates and nothing else."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from lutra_compiler.codegen.identifiers import check_prefix
from lutra_compiler.codegen.literals import c_type, check_table, element_count, float_literal, table_lines
from lutra_compiler.codegen.manifest import manifest, named_objects, table_name
from lutra_compiler.program.kernels import KERNELS, Descriptor
from lutra_compiler.program.program import ABI_VERSION, Call, Port, Program, Role, Storage, Table, TableObject
from lutra_compiler.program.tables import tables_of

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("lutra_compiler.codegen"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def emit(program: Program, prefix: str, metadata: Mapping[str, Any]) -> dict[str, str]:
    """The texts of PREFIX.h, PREFIX.c, PREFIX_data.h and PREFIX.json by file name; `metadata` (JSON values) goes to the manifest.

    The C depends on the program's numbers and on `prefix` alone. Raises ConfigurationError for an unusable prefix.
    """
    check_prefix(prefix)
    objects = [_ObjectView.of(program, name, content) for name, content in named_objects(program, prefix).items()]
    expressions = {table.index: table.expression for view in objects for table in view.tables}
    view = {
        "prefix": prefix,
        "macro": prefix.upper(),
        "abi": ABI_VERSION,
        "arena_bytes": program.arena_bytes,
        "model_bytes": program.model_bytes,
        "inputs": [_port(program, index, port) for index, port in enumerate(program.inputs)],
        "outputs": [_port(program, index, port) for index, port in enumerate(program.outputs)],
        "pointers": [f"inputs[{i}]" for i in range(len(program.inputs))] + [f"outputs[{i}]" for i in range(len(program.outputs))],
        "headers": sorted({KERNELS[call.kernel].descriptor.header for call in program.calls} | {"lutra/lutra_kernels.h"}),
        "objects": objects,
        "calls": [_call(program, index, call, expressions) for index, call in enumerate(program.calls)],
        "scratch_sizes": sorted({_scratch_size(program, call) for call in program.calls if call.scratch is not None}),
        "descriptor_sizes": sorted({(d.c_type, d.size_bytes) for d in (KERNELS[call.kernel].descriptor for call in program.calls)}),
    }
    files = {
        f"{prefix}{suffix}": _TEMPLATES.get_template(f"model{suffix}.j2").render(view) for suffix in (".h", ".c", "_data.h")
    }
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    return {**files, f"{prefix}.json": manifest(program, prefix, hashes, metadata)}


@dataclass(frozen=True)
class _ObjectView:
    """A constant object as C sees it: a struct of tables."""

    name: str
    size: int
    checksum: int
    tables: tuple["_TableView", ...]

    @classmethod
    def of(cls, program: Program, name: str, content: TableObject) -> "_ObjectView":
        views = (_TableView.of(program, table, pad, name) for table, pad in zip(content.tables, content.padding, strict=True))
        return cls(name, content.size_bytes, content.checksum, tuple(views))


@dataclass(frozen=True)
class _TableView:
    """A table as C sees it: a member of `owner`. `count`: its length if it is an array; `padding`: bytes behind it."""

    name: str
    owner: str
    c_type: str
    count: int | None
    padding: int
    table: Table
    descriptor: Descriptor

    @classmethod
    def of(cls, program: Program, table: Table, padding: int, owner: str) -> "_TableView":
        descriptor = KERNELS[program.calls[table.calls[0]].kernel].descriptor
        check_table(table, descriptor)
        count = None if table.role is Role.DESCRIPTOR else element_count(table)
        return cls(table_name(program, table), owner, c_type(table, descriptor), count, padding, table, descriptor)

    @property
    def index(self) -> int:
        return self.table.index

    @property
    def expression(self) -> str:
        """A pointer to it in C."""
        return f"{'&' if self.count is None else ''}{self.owner}.{self.name}"

    def lines(self) -> Iterator[str]:
        return table_lines(self.table, self.descriptor)


def _port(program: Program, index: int, port: Port) -> dict[str, Any]:
    height, width, channels = port.shape if len(port.shape) == 3 else (1, 1, port.shape[0])
    return {
        "index": index,
        "size": height * width * channels,
        "height": height,
        "width": width,
        "channels": channels,
        "offset": program.buffers[port.buffer].offset,
        "scale": float_literal(port.quantization.scale),
        "zero_point": port.quantization.zero_point,
    }


def _call(program: Program, index: int, call: Call, expressions: Mapping[int, str]) -> dict[str, Any]:
    places = {port.buffer: f"inputs[{i}]" for i, port in enumerate(program.inputs)}
    places |= {port.buffer: f"outputs[{i}]" for i, port in enumerate(program.outputs)}

    def place(buffer: int) -> str:
        pointer = "(uint8_t *)memory" if program.buffers[buffer].storage is Storage.INDICES else "memory"
        return places.get(buffer, f"{pointer} + {program.buffers[buffer].offset}")

    constant = {name: expressions[table] for name, table in tables_of(call).items()}
    if call.indices is not None:
        constant["indices"] = place(call.indices)
    pointers = [*call.inputs, call.output] + ([] if call.scratch is None else [call.scratch])
    return {
        "index": index,
        "kernel": KERNELS[call.kernel].name,
        "arguments": [
            expressions[call.descriptor],
            *(constant[name] for name in KERNELS[call.kernel].tables),
            *(place(buffer) for buffer in pointers),
        ],
        "output": place(call.output),
        "output_bytes": program.buffers[call.output].size_bytes,
    }


def _scratch_size(program: Program, call: Call) -> tuple[str, tuple[int, ...], int]:
    rule = KERNELS[call.kernel].scratch
    assert rule is not None
    assert call.scratch is not None
    return rule.macro, rule.values(call.fields), program.buffers[call.scratch].size_bytes
