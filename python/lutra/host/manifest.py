"""PREFIX.json, read and checked against the files beside it (docs/bundle.md)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from lutra.host.errors import BundleError

_FORMAT, _FORMAT_VERSION = "lutra-bundle", 2


@dataclass(frozen=True)
class Port:
    """An input or an output. `shape` is that of the int8 array: (height, width, channels) or (features,).

    `layout` is how the source model has it: "NCHW", "NHWC", "NCL" (of height 1) or "NF". An int8 q stands for scale * (q - zero_point).
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    scale: float
    zero_point: int

    @property
    def size_bytes(self) -> int:
        """Bytes of one sample."""
        return prod(self.shape)

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Per-sample shape in the source's layout."""
        if self.layout == "NCHW":
            return (self.shape[2], self.shape[0], self.shape[1])
        return self.shape[:0:-1] if self.layout == "NCL" else self.shape


@dataclass(frozen=True)
class Manifest:
    """What the simulator needs of PREFIX.json (all of it is in `content`), and the C files as they were when checked."""

    content: Mapping[str, Any]
    prefix: str
    abi: int
    sources: Mapping[str, bytes]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layer_shapes: tuple[tuple[int, ...], ...]


def read_manifest(directory: Path) -> Manifest:
    """Reads the one bundle in `directory`. Raises BundleError for a missing, damaged or foreign one."""
    if not directory.is_dir():
        raise BundleError(f"{directory} is not a folder: give the folder that `lutra generate` wrote")
    found = sorted(path for path in directory.glob("*.json") if path.with_suffix(".c").exists())
    if len(found) != 1:
        raise BundleError(f"{directory} holds {len(found)} bundles (PREFIX.json beside PREFIX.c); it must hold one: generate it again")
    path = found[0]
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != _FORMAT or content["format_version"] != _FORMAT_VERSION:
            raise BundleError(
                f"{path} is of format {content['format']!r} {content['format_version']!r}; this version of Lutra reads "
                f"{_FORMAT!r} {_FORMAT_VERSION}: generate the bundle again"
            )
        if content["prefix"] != path.stem or not re.fullmatch("[a-z][a-z0-9_]{0,31}", path.stem):
            raise BundleError(f"{path} is the manifest of {content['prefix']!r}: a bundle's files are not to be renamed, generate it again")
        if not (content["inputs"] and content["outputs"]):
            raise ValueError("no inputs or outputs")
        return Manifest(
            content=content,
            prefix=path.stem,
            abi=content["abi"],
            sources=_sources(path, content["files"]),
            inputs=tuple(map(_port, content["inputs"])),
            outputs=tuple(map(_port, content["outputs"])),
            layer_shapes=tuple(tuple(map(int, layer["output_shape"])) for layer in content["layers"]),
        )
    except OSError as error:
        raise BundleError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path} is not the manifest of a bundle ({error!r}): generate the bundle again") from error


def _sources(path: Path, hashes: Mapping[str, str]) -> dict[str, bytes]:
    sources = {}
    for name in (f"{path.stem}.h", f"{path.stem}.c", f"{path.stem}_data.h"):
        sources[name] = path.with_name(name).read_bytes()
        if hashlib.sha256(sources[name]).hexdigest() != hashes[name]:
            raise BundleError(f"{path.with_name(name)} is not as it was generated (its SHA-256 is not the manifest's): generate it again")
    return sources


def _port(fields: Mapping[str, Any]) -> Port:
    return Port(
        name=str(fields["name"]),
        shape=tuple(map(int, fields["shape"])),
        layout=str(fields["layout"]),
        scale=float(fields["scale"]),
        zero_point=int(fields["zero_point"]),
    )
