"""Samples as a firmware takes them: the inputs of each one after the other."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lutra.host import DataError
from lutra.host.manifest import Manifest

Int8Array = npt.NDArray[np.int8]


def packed(manifest: Manifest, inputs: Sequence[Int8Array]) -> Int8Array:
    """int8 [n, bytes of all inputs] of int8 [n, *shape] for each input (NHWC), n >= 1. Raises DataError for other shapes or types."""
    ports = manifest.inputs
    if len(inputs) != len(ports):
        raise DataError(f"got {len(inputs)} inputs, the network has {len(ports)}: {', '.join(port.name for port in ports)}")
    for array, port in zip(inputs, ports, strict=True):
        if array.dtype != np.int8 or array.shape[1:] != port.shape or len(array) != len(inputs[0]) or not len(array):
            expected = f"int8 [n, {', '.join(map(str, port.shape))}], the same n >= 1 for every input"
            raise DataError(f"input '{port.name}' must be {expected}; got {array.dtype} {list(array.shape)}")
    return np.concatenate([array.reshape(len(array), -1) for array in inputs], axis=1)


def unpacked(manifest: Manifest, outputs: Int8Array) -> tuple[Int8Array, ...]:
    """int8 [n, *shape] for each output, of int8 [n, bytes of all outputs]."""
    ports = manifest.outputs
    parts = np.split(outputs, np.cumsum([port.size_bytes for port in ports])[:-1], axis=1)
    return tuple(part.reshape(-1, *port.shape) for part, port in zip(parts, ports, strict=True))
