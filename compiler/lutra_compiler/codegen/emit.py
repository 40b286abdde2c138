"""Program -> C text: arranges the Program's numbers for the templates and nothing else."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from lutra_compiler.codegen.identifiers import check_prefix
from lutra_compiler.codegen.literals import c_type, check_table, element_count, float_literal, table_lines
from lutra_compiler.codegen.manifest import manifest
from lutra_compiler.program.kernels import KERNELS, Descriptor
from lutra_compiler.program.program import ABI_VERSION, Call, Port, Program, Role, Storage, Table
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
    tables = [_TableView.of(program, table, prefix) for table in program.tables]
    checked = sorted(tables, key=lambda table: not table.is_descriptor)
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
        "tables": tables,
        "checked": checked,
        "descriptors": sum(table.is_descriptor for table in tables),
        "extent": "uint16_t" if all(max(table.halfwords, table.octets) <= 0xFFFF for table in tables) else "uint32_t",
        "calls": [_call(program, index, call, tables) for index, call in enumerate(program.calls)],
        "scratch_sizes": sorted({_scratch_size(program, call) for call in program.calls if call.scratch is not None}),
        "descriptor_sizes": sorted({(d.c_type, d.size_bytes) for d in (KERNELS[call.kernel].descriptor for call in program.calls)}),
    }
    files = {
        f"{prefix}{suffix}": _TEMPLATES.get_template(f"model{suffix}.j2").render(view) for suffix in (".h", ".c", "_data.h")
    }
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    names_and_crcs = [(table.name, table.crc) for table in tables]
    return {**files, f"{prefix}.json": manifest(program, prefix, names_and_crcs, hashes, metadata)}


@dataclass(frozen=True)
class _TableView:
    """A table as C sees it; lutra_crc32 takes its `halfwords` and then its `octets`. Kernels read aligned ones as words."""

    name: str
    index: int
    is_descriptor: bool
    is_aligned: bool
    c_type: str
    count: int
    halfwords: int
    octets: int
    crc: int
    table: Table
    descriptor: Descriptor

    @classmethod
    def of(cls, program: Program, table: Table, prefix: str) -> "_TableView":
        kernel = KERNELS[program.calls[table.calls[0]].kernel]
        descriptor = kernel.descriptor
        check_table(table, descriptor)
        if table.role is Role.DESCRIPTOR:
            halfwords, octets = len(descriptor.halfwords), len(descriptor.bytes_)
        else:
            halfwords, octets = (table.data.size, 0) if table.data.dtype.itemsize == 2 else (0, table.data.size)
        return cls(
            name=f"{prefix}_t{table.index}_{kernel.name.removeprefix('lutra_')}_{table.role.value}",
            index=table.index,
            is_descriptor=table.role is Role.DESCRIPTOR,
            is_aligned=table.role in (Role.CODEBOOK, Role.INDICES, Role.WEIGHTS, Role.CHANNELS),
            c_type=c_type(table, descriptor),
            count=element_count(table),
            halfwords=halfwords,
            octets=octets,
            crc=zlib.crc32(table.data.astype(table.data.dtype.newbyteorder("<")).tobytes()),
            table=table,
            descriptor=descriptor,
        )

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


def _call(program: Program, index: int, call: Call, tables: list[_TableView]) -> dict[str, Any]:
    places = {port.buffer: f"inputs[{i}]" for i, port in enumerate(program.inputs)}
    places |= {port.buffer: f"outputs[{i}]" for i, port in enumerate(program.outputs)}

    def place(buffer: int) -> str:
        pointer = "(uint8_t *)memory" if program.buffers[buffer].storage is Storage.INDICES else "memory"
        return places.get(buffer, f"{pointer} + {program.buffers[buffer].offset}")

    constant = {name: tables[table].name for name, table in tables_of(call).items()}
    if call.indices is not None:
        constant["indices"] = place(call.indices)
    pointers = [*call.inputs, call.output] + ([] if call.scratch is None else [call.scratch])
    return {
        "index": index,
        "kernel": KERNELS[call.kernel].name,
        "arguments": [
            tables[call.descriptor].name,
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
