"""PREFIX.json: everything about a bundle that C does not need. The only file that holds strings from the model."""

import json
from collections.abc import Mapping
from typing import Any

from lutra_compiler import __version__
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.program import ABI_VERSION, Call, Port, Program, Table, TableObject

FORMAT = "lutra-bundle"
FORMAT_VERSION = 2


def manifest(
    program: Program,
    prefix: str,
    hashes: Mapping[str, str],
    metadata: Mapping[str, Any],
) -> str:
    """The manifest as JSON text in ASCII (docs/bundle.md)."""
    objects = named_objects(program, prefix)
    places = {table.index: (name, offset) for name, content in objects.items() for table, offset in content.places()}
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "abi": ABI_VERSION,
        "compiler": __version__,
        "prefix": prefix,
        "target": program.target,
        "files": dict(hashes),
        "model_bytes": program.model_bytes,
        "arena_bytes": program.arena_bytes,
        "inputs": [_port(program, port) for port in program.inputs],
        "outputs": [_port(program, port) for port in program.outputs],
        "layers": [_layer(program, index, call) for index, call in enumerate(program.calls)],
        "objects": [
            {"name": name, "bytes": content.size_bytes, "crc32": f"{content.checksum:08x}"} for name, content in objects.items()
        ],
        "tables": [
            {
                "index": table.index,
                "object": places[table.index][0],
                "name": table_name(program, table),
                "role": table.role.value,
                "layers": list(table.calls),
                "offset": places[table.index][1],
                "bytes": table.size_bytes,
            }
            for table in program.tables
        ],
        "buffers": [
            {
                "index": buffer.index,
                "storage": buffer.storage.value,
                "offset": buffer.offset,
                "bytes": buffer.size_bytes,
                "first": buffer.first,
                "last": buffer.last,
            }
            for buffer in program.buffers
        ],
        "model": dict(metadata),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def named_objects(program: Program, prefix: str) -> dict[str, TableObject]:
    """The constant objects of a bundle by their names in C; one without tables is none."""
    return {f"{prefix}_{name}": content for name, content in zip(("layers", "tables"), program.objects, strict=True) if content.tables}


def table_name(program: Program, table: Table) -> str:
    """The name in C of a member of a constant object."""
    return f"t{table.index}_{KERNELS[program.calls[table.calls[0]].kernel].name.removeprefix('lutra_')}_{table.role.value}"


def _port(program: Program, port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "shape": list(port.shape),
        "layout": port.layout,
        "scale": port.quantization.scale,
        "zero_point": port.quantization.zero_point,
        "offset": program.buffers[port.buffer].offset,
    }


def _layer(program: Program, index: int, call: Call) -> dict[str, Any]:
    return {
        "index": index,
        "kernel": call.kernel,
        "kind": call.layer.kind,
        "source_names": list(call.layer.source_names),
        "output": call.layer.output_value,
        "output_shape": list(call.layer.output_shape),
        "output_buffer": call.output,
        "macs": call.layer.macs,
        "parameters": call.layer.parameters,
        "bytes": program.bytes_of(index),
        "scratch_bytes": 0 if call.scratch is None else program.buffers[call.scratch].size_bytes,
    }
