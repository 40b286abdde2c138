"""Weights that an ONNX file keeps in a file beside it, as PyTorch's exporter does by default. Untrusted like the file itself."""

import math
import os
import stat
from pathlib import Path

import onnx
import onnx.helper

from lutra_compiler.errors import ModelError

_REMEDY = "keep it beside the model as it was exported, or store both in one file: onnx.save(onnx.load('model.onnx'), 'one_file.onnx')"
# Never through a link, and without waiting for a pipe's other end; names that Windows does not have are 0 there.
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def take_in(model: onnx.ModelProto, folder: Path, most_bytes: int) -> None:
    """Give the initializers of `model` the bytes that they keep in other files of `folder`, at most `most_bytes` in all.

    Only files of that very folder are opened, by their names, never through links. Raises ModelError.
    """
    left = most_bytes
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            content = _content(tensor, folder, left)
            left -= len(content)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = content


def _content(tensor: onnx.TensorProto, folder: Path, most_bytes: int) -> bytes:
    where = {entry.key: entry.value for entry in tensor.external_data}
    name = where.get("location", "")
    tale = f"tensor '{tensor.name}' is in another file, '{name}'"
    if name in ("", ".", "..") or any(character in name for character in "/\\\0:"):
        raise ModelError(f"{tale}: only a file beside the model is read; {_REMEDY}")
    size = _bytes_of(tensor)
    offset, length = (_number(where.get(key, str(otherwise)), tale) for key, otherwise in (("offset", 0), ("length", size)))
    if length != size:
        raise ModelError(f"{tale}, {length} bytes of it, but has {size}; export the model again")
    if size > most_bytes:
        raise ModelError(f"{tale}: the model's weights take more bytes than the limit allows, {size} where {most_bytes} are left")
    try:
        handle = os.open(folder / name, _OPEN)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or offset + size > status.st_size:
                raise ModelError(f"{tale}, at {offset} to {offset + size}, which has {status.st_size} bytes; {_REMEDY}")
            file.seek(offset)
            content = file.read(size)
    except (OSError, ValueError) as error:
        raise ModelError(f"{tale}, which cannot be read ({getattr(error, 'strerror', None) or error}); {_REMEDY}") from error
    if len(content) != size:
        raise ModelError(f"{tale}, which ended early; {_REMEDY}")
    return content


def _bytes_of(tensor: onnx.TensorProto) -> int:
    try:
        item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError) as error:
        raise ModelError(f"tensor '{tensor.name}' has the unknown type {tensor.data_type}; export the model again") from error
    if any(dimension < 0 for dimension in tensor.dims):
        raise ModelError(f"tensor '{tensor.name}' has the shape {list(tensor.dims)}; export the model again")
    return int(item) * math.prod(int(dimension) for dimension in tensor.dims)


def _number(text: str, tale: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ModelError(f"{tale}, at {text!r}, which is no number of bytes; export the model again")
    return int(text)
