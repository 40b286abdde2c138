"""What an export holds: the bundle and the runtime files that it needs, the same for all, and the files of a build system around them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from lutra.dataset import Dataset
from lutra.exports.golden import VALUES_A_LINE, Golden, golden_vector
from lutra.exports.write import write_project
from lutra.host import runtime_directory
from lutra.host.manifest import Manifest, read_manifest
from lutra.runtime import license_text, needed_files, without_comments
from lutra_compiler import __version__
from lutra_compiler.codegen.identifiers import check_prefix
from lutra_compiler.errors import ConfigurationError
from lutra_compiler.records import nearest
from lutra_compiler.target import Target, target_by_name

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Kind:
    """A build system. Its files are those of templates/NAME, where a PREFIX in a path stands for the bundle's.

    `library`: the folder of the export that holds src/ with bundle and runtime; `example`: the one of the program that runs them;
    `headers`: a pattern of names .h that the SDK has on the include path, in small letters: some file systems know no others.
    """

    name: str
    library: str
    example: str
    headers: str = ""


_ARDUINO = "arduino|binary|client|print(able)?|server|spi|stream|udp|wire|wstring"
_KINDS = (
    Kind("cmake", ".", "example"),
    Kind("make", ".", "example"),
    Kind("arduino", ".", "examples/inference", _ARDUINO),
    Kind("platformio", "lib/lutra-PREFIX", "src", _ARDUINO),
    Kind("zephyr", ".", "samples/inference/src", "autoconf"),
    Kind("esp-idf", "components/lutra-PREFIX", "main", "sdkconfig|esp_.*"),
    Kind("cmsis-pack", ".", "examples/inference", "cmsis_.*|rte_components"),
    Kind("pico-sdk", ".", "example", "pico"),
)
KINDS = tuple(kind.name for kind in _KINDS)


@dataclass(frozen=True)
class Export:
    """What was written: `files`, paths relative to `directory`."""

    prefix: str
    kind: str
    directory: Path
    files: tuple[str, ...]


def export_bundle(bundle: Path, kind: str, directory: Path, data: Dataset | None = None, force: bool = False) -> Export:
    """Write the bundle in the folder `bundle` as a project for `kind`, one of KINDS, to `directory`; all of it or nothing.

    The example runs on the first sample of `data`, without on noise. `directory` is new or empty; with `force` files of the same names are
    replaced, and what an earlier export wrote and this one does not is removed. Raises ConfigurationError, BundleError, OutputError,
    ToolError without a C compiler, DataError.
    """
    chosen = next((known for known in _KINDS if known.name == kind), None)
    if chosen is None:
        raise ConfigurationError(f"there is no export for '{kind}'; {nearest(kind, KINDS)}")
    manifest = read_manifest(bundle)
    check_prefix(manifest.prefix)
    if re.fullmatch(chosen.headers, manifest.prefix):
        raise ConfigurationError(f"{kind} has a header {manifest.prefix}.h of its own; generate the bundle again with another --prefix")
    files = _project(chosen, manifest, golden_vector(bundle, data))
    write_project(files, directory, force)
    return Export(manifest.prefix, kind, directory, tuple(sorted(files)))


def _project(kind: Kind, manifest: Manifest, golden: Golden) -> dict[str, bytes]:
    """The content of every file, by its path."""
    prefix, target = manifest.prefix, target_by_name(str(manifest.content.get("target")))
    library, example = (PurePosixPath(path.replace("PREFIX", prefix)) for path in (kind.library, kind.example))
    code = {**_runtime(manifest, target.cpu), **manifest.sources}
    sources = sorted(f"src/{path}" for path in code if path.endswith(".c"))
    view = _view(manifest, target, golden, sources)
    files = {str(library / "src" / path): content for path, content in code.items()}
    files[str(library / f"src/{prefix}.json")] = _manifest_text(manifest)
    files[str(library / "LICENSE")] = license_text().encode("ascii")
    files[str(example / f"{prefix}_golden.h")] = _render("golden.h.j2", view)
    root = _TEMPLATES / kind.name
    for path in sorted(root.rglob("*.j2")):
        name = str(PurePosixPath(path.relative_to(root)).with_suffix("")).replace("PREFIX", prefix)
        files[name] = _render(f"{kind.name}/{path.relative_to(root).as_posix()}", view)
    return files


def _manifest_text(manifest: Manifest) -> bytes:
    """The manifest, without what tells of the training: firmware has no use for it."""
    known = manifest.content.get("model")
    told = known if isinstance(known, dict) else {}
    model = {key: value for key, value in told.items() if key not in ("configuration", "seeds", "versions")}
    return (json.dumps({**manifest.content, "model": model}, allow_nan=False) + "\n").encode("ascii")


def _runtime(manifest: Manifest, cpu: str | None) -> dict[str, bytes]:
    """The needed files of the runtime: public headers in lutra/, as they are included, the rest in runtime/.

    What is not for its users, nothing that PREFIX.h includes, loses its comments.
    """
    root = runtime_directory()
    interface, schedule = (manifest.sources[f"{manifest.prefix}{suffix}"].decode("ascii") for suffix in (".h", ".c"))
    public = needed_files(interface, cpu)
    files = {}
    for path in needed_files(interface + schedule, cpu):
        is_header = path.is_relative_to(root / "include")
        place = path.relative_to(root / "include") if is_header else Path("runtime", path.relative_to(root / "src"))
        files[place.as_posix()] = path.read_bytes() if path in public else without_comments(path).encode("ascii")
    return files


def _view(manifest: Manifest, target: Target, golden: Golden, sources: list[str]) -> dict[str, Any]:
    """What templates may use. Of the strings none is the model's."""
    return {
        "prefix": manifest.prefix,
        "macro": manifest.prefix.upper(),
        "name": f"lutra-{manifest.prefix}",
        "version": __version__,
        "target": target.name,
        "sources": sources,
        "inputs": [list(_rows(values)) for values in golden.inputs],
        "outputs": [list(_rows(values)) for values in golden.outputs],
        "is_simple": len(golden.inputs) == len(golden.outputs) == 1,
    }


def _rows(values: Any) -> Iterator[str]:
    """The numbers as C, line by line."""
    for start in range(0, len(values), VALUES_A_LINE):
        yield ", ".join(str(int(value)) for value in values[start : start + VALUES_A_LINE])


def _render(template: str, view: dict[str, Any]) -> bytes:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(view).encode("ascii")
