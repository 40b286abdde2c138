"""The `.lutra` file: a Graph and what is known of it, as one safetensors file with JSON in its header. No pickle.

Tensors are named ROLE/PARAMETER; 4-bit indices are stored two a byte. The header holds one JSON document, with a SHA-256 over the rest of
it and all tensors. Files come from anywhere: whatever is wrong with one ends in a ModelError.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from lutra_compiler.errors import GraphError, ModelError
from lutra_compiler.files import write_atomically
from lutra_compiler.ir.encoding import ProductQuantized, Quantization, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import OP_KINDS, Op
from lutra_compiler.ir.verify import verify
from lutra_compiler.records import RecordError, from_plain, nearest, to_plain

FORMAT_VERSION = 1
MAX_FILE_BYTES = 384 << 20
MAX_HEADER_BYTES = 16 << 20  # as Python values JSON takes up to fifty times its size
_DTYPES: Mapping[str, Any] = {"F32": np.float32, "I8": np.int8, "U8": np.uint8}
_OPS = {op.kind: op for op in OP_KINDS}
_METADATA: Mapping[str, Any] = {  # what Lutra itself writes and reads; other keys are kept as they are
    "network": str | None,
    "dataset": str | None,
    "versions": Mapping[str, str],
    "source_sha256": str | None,
    "float_sha256": str | None,
    "configuration": str | None,
    "float_parameter_bytes": int | None,
    "int8_model_bytes": int | None,
    "float_accuracy": float | None,
    "accuracy": float | None,
}
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Encoding:
    kind: Literal["scalar", "product"]
    shape: tuple[int, ...] = ()
    index_bits: Literal[4, 8] = 8
    coded: bool = False


@dataclass(frozen=True)
class _Document:
    format_version: int
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    encodings: Mapping[str, _Encoding]
    quantization: Mapping[str, Quantization]
    ops: list[Any] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


def save_model(path: Path, graph: Graph, metadata: Mapping[str, Any]) -> None:
    """Write a verified graph and JSON-able metadata, whole or not at all. The same content gives the same bytes."""
    verify(graph)
    tensors: dict[str, Array] = {f"parameter/{name}": array for name, array in graph.parameters.items()}
    encodings = {}
    for name, encoding in graph.encodings.items():
        tensors[f"scale/{name}"] = encoding.scale
        if isinstance(encoding, ScalarQuantized):
            encodings[name] = _Encoding("scalar")
            tensors[f"values/{name}"] = encoding.values
        else:
            bits: Literal[4, 8] = 4 if encoding.index_bits == 4 else 8
            encodings[name] = _Encoding("product", encoding.shape, bits, encoding.coded)
            tensors[f"codebook/{name}"] = encoding.codebook
            tensors[f"indices/{name}"] = _pack_nibbles(encoding.indices) if bits == 4 else encoding.indices
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    document = to_plain(
        _Document(
            format_version=FORMAT_VERSION,
            inputs=graph.inputs,
            outputs=graph.outputs,
            parameters=tuple(graph.parameters),
            encodings=encodings,
            quantization=graph.quantization,
            ops=[{"kind": op.kind, **to_plain(op)} for op in graph.ops],
            metadata=dict(metadata),
        )
    )
    document["sha256"] = _digest(document, tensors)
    # One metadata entry alone: safetensors writes several in no fixed order.
    content = safetensors.numpy.save(tensors, {"lutra": _json(document)})
    if len(content) > MAX_FILE_BYTES:
        raise ModelError(f"{path} would have {len(content)} bytes; the limit is {MAX_FILE_BYTES}")
    write_atomically(path, content)


def load_model(path: Path) -> tuple[Graph, dict[str, Any]]:
    """The graph and the metadata of a `.lutra` file. Raises ModelError for anything but a file that `save_model` could have written."""
    try:
        if path.exists() and not path.is_file():
            raise ModelError(f"{path} is not a file; give the path of an .onnx or .lutra file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path} has {path.stat().st_size} bytes; the limit is {MAX_FILE_BYTES}")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return parse_model(content)
    except (ModelError, GraphError, RecordError) as error:
        raise ModelError(f"{path} is not a valid .lutra file: {error}") from error


def parse_model(content: bytes) -> tuple[Graph, dict[str, Any]]:
    """The graph and the metadata in the bytes of a `.lutra` file. Raises ModelError, GraphError or RecordError."""
    tensors = _tensors(content)
    plain = _document(content)
    if (version := plain.get("format_version")) != FORMAT_VERSION:
        raise ModelError(f"its format version is {version!r:.20}, this Lutra reads {FORMAT_VERSION}; compress the model again")
    if plain.get("sha256") != _digest(plain, tensors):
        raise ModelError("its SHA-256 does not match its content; the file is damaged, fetch or compress it again")
    metadata = from_plain(dict, plain.pop("metadata", None), "metadata")
    for key, kind in _METADATA.items():
        if key in metadata:
            from_plain(kind, metadata[key], f"metadata.{key}")
    ops = [_op(op, f"ops[{i}]") for i, op in enumerate(from_plain(list, plain.pop("ops", None), "ops"))]
    document: _Document = from_plain(_Document, plain, "document")
    graph = Graph(
        inputs=document.inputs,
        ops=tuple(ops),
        outputs=document.outputs,
        parameters={name: _take(tensors, f"parameter/{name}", np.float32) for name in document.parameters},
        encodings={name: _encoding(tensors, name, entry) for name, entry in document.encodings.items()},
        quantization=document.quantization,
    )
    if tensors:
        raise ModelError(f"tensor '{next(iter(tensors))}' belongs to nothing")
    verify(graph)
    return graph, metadata


def _tensors(content: bytes) -> dict[str, Array]:
    header = int.from_bytes(content[:8], "little")
    if MAX_HEADER_BYTES < header <= len(content):
        raise ModelError(f"its header has {header} bytes; the limit is {MAX_HEADER_BYTES}")
    try:
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ModelError(f"it is truncated or no safetensors file ({error})") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise ModelError(f"tensor '{name}' has type {entry['dtype']}; allowed: {', '.join(_DTYPES)}")
        if 0 in entry["shape"]:
            raise ModelError(f"tensor '{name}' is empty")
        arrays[name] = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def _document(content: bytes) -> dict[str, Any]:
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # deserialize has checked this length
        document = json.loads(header["__metadata__"]["lutra"], parse_float=_finite, parse_constant=_finite)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"its header holds no Lutra document ({type(error).__name__})") from error
    return dict(from_plain(dict, document, "document"))


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(text)
    return value


def _op(plain: object, where: str) -> Op:
    fields = dict(from_plain(dict, plain, where))
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in _OPS:
        raise ModelError(f"{where} has the unknown kind {kind!r:.40}; {nearest(str(kind), _OPS)}")
    op: Op = from_plain(_OPS[kind], fields, where)
    return op


def _encoding(tensors: dict[str, Array], name: str, entry: _Encoding) -> WeightEncoding:
    scale = _take(tensors, f"scale/{name}", np.float32)
    if entry.kind == "scalar":
        return ScalarQuantized(_take(tensors, f"values/{name}", np.int8), scale)
    codebook = _take(tensors, f"codebook/{name}", np.int8)
    indices = _take(tensors, f"indices/{name}", np.uint8)
    if codebook.ndim != 2 or codebook.size == 0 or len(entry.shape) < 2 or min(entry.shape) < 1:
        raise ModelError(f"encoding '{name}': a codebook of shape {codebook.shape} and a weight of shape {entry.shape} do not fit")
    out, *kernel, channels = entry.shape
    shape = (out, math.prod(kernel), -(-channels // codebook.shape[1]))
    count = shape[0] * shape[1] * shape[2]
    if indices.size != (-(-count // 2) if entry.index_bits == 4 else count):
        raise ModelError(f"encoding '{name}': {indices.size} bytes of {entry.index_bits}-bit indices do not fit the shape {entry.shape}")
    if entry.index_bits == 4:
        indices = _unpack_nibbles(indices, count)
    return ProductQuantized(codebook, indices.reshape(shape), scale, entry.shape, entry.index_bits, entry.coded)


def _take(tensors: dict[str, Array], name: str, dtype: Any) -> Array:
    array = tensors.pop(name, None)
    if array is None:
        raise ModelError(f"tensor '{name}' is missing")
    if array.dtype != dtype:
        raise ModelError(f"tensor '{name}' has type {array.dtype}; it must be {np.dtype(dtype)}")
    if not np.isfinite(array).all():
        raise ModelError(f"tensor '{name}' holds NaN or infinity")
    return array


def _pack_nibbles(indices: Array) -> Array:
    flat = np.append(indices.ravel(), np.zeros(indices.size % 2, np.uint8))
    packed: Array = flat[0::2] | (flat[1::2] << 4)
    return packed


def _unpack_nibbles(packed: Array, count: int) -> Array:
    nibbles: Array = np.stack([packed & 15, packed >> 4], -1).ravel()
    return nibbles[:count]


def _digest(document: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(_json({key: value for key, value in document.items() if key != "sha256"}).encode())
    for name, array in sorted(tensors.items()):
        digest.update(_json([name, str(array.dtype), list(array.shape)]).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _json(value: Mapping[str, Any] | Iterable[Any]) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
