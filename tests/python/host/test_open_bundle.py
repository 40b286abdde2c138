import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lutra.host import BundleError, HostError, ToolError, open_bundle, runtime_directory
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.program.program import ABI_VERSION
from tiny_program import tiny_program

pytestmark = pytest.mark.usefixtures("host_cache")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_bundle(emit(tiny_program(), "tiny", {"title": "a test"}), tmp_path / "tiny")
    return tmp_path / "tiny"


def change_manifest(directory: Path, **changes: Any) -> None:
    path = directory / "tiny.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bundle_opens_with_the_runtime_of_the_tree(directory: Path):
    bundle = open_bundle(directory)
    assert bundle.check()
    assert bundle.manifest["model"] == {"title": "a test"}
    assert [(port.name, port.shape, port.source_shape) for port in bundle.inputs] == [("image", (4, 4, 2), (2, 4, 4))]
    assert runtime_directory() == Path(__file__).parents[3] / "runtime_c"


# What is refused


def test_a_missing_folder(tmp_path: Path):
    with pytest.raises(BundleError, match="nowhere is not a folder"):
        open_bundle(tmp_path / "nowhere")


def test_a_folder_without_a_bundle(tmp_path: Path):
    with pytest.raises(BundleError, match="holds 0 bundles"):
        open_bundle(tmp_path)


def test_a_folder_with_two_bundles(directory: Path):
    for name, text in emit(tiny_program(), "other", {}).items():
        (directory / name).write_text(text)
    with pytest.raises(BundleError, match="holds 2 bundles"):
        open_bundle(directory)


def test_an_edited_file(directory: Path):
    (directory / "tiny_data.h").write_text((directory / "tiny_data.h").read_text() + "\n")
    with pytest.raises(BundleError, match=r"tiny_data\.h is not as it was generated"):
        open_bundle(directory)


def test_a_missing_file(directory: Path):
    (directory / "tiny_data.h").unlink()
    with pytest.raises(BundleError, match=r"tiny_data\.h cannot be read: No such file"):
        open_bundle(directory)


def test_renamed_files(directory: Path):
    for path in list(directory.iterdir()):
        path.rename(path.with_name(path.name.replace("tiny", "huge")))
    with pytest.raises(BundleError, match="is the manifest of 'tiny'"):
        open_bundle(directory)


@pytest.mark.parametrize("changes", [{"format": "other"}, {"format_version": 1}])
def test_another_format(directory: Path, changes: dict[str, Any]):
    change_manifest(directory, **changes)
    with pytest.raises(BundleError, match="this version of Lutra reads 'lutra-bundle' 2"):
        open_bundle(directory)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": "lutra-bundle"}', "[" * 100_000, "\udcff"], ids=lambda text: repr(text[:8])
)
def test_no_manifest(directory: Path, text: str):
    (directory / "tiny.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BundleError, match="is not the manifest of a bundle"):
        open_bundle(directory)


@pytest.mark.parametrize("key", ["prefix", "abi", "files", "inputs", "outputs", "layers"])
@pytest.mark.parametrize("value", [None, 7, "x", [None], {"x": 1}])
def test_a_manifest_with_a_wrong_entry(directory: Path, key: str, value: object):
    change_manifest(directory, **{key: value})
    with pytest.raises(BundleError):
        open_bundle(directory)


def test_a_manifest_with_other_sizes_than_the_code(directory: Path):
    port = json.loads((directory / "tiny.json").read_text())["inputs"][0]
    change_manifest(directory, inputs=[port | {"shape": [4, 4, 3]}])
    with pytest.raises(BundleError, match=r"tiny\.json gives 'image' 48 bytes, tiny\.h 32"):
        open_bundle(directory)


def change_runtime(tmp_path: Path, pattern: str, replacement: str) -> Path:
    runtime = Path(shutil.copytree(runtime_directory(), tmp_path / "runtime"))
    header = runtime / "include/lutra/lutra.h"
    text = header.read_text()
    assert pattern in text
    header.write_text(text.replace(pattern, replacement))
    return runtime


def test_a_runtime_of_another_abi(directory: Path, tmp_path: Path):
    newer = ABI_VERSION + 1
    with pytest.raises(BundleError, match=f"is for ABI {ABI_VERSION} of the runtime, .* has ABI {newer}: generate the bundle again"):
        open_bundle(directory, runtime=change_runtime(tmp_path, f"ABI_VERSION {ABI_VERSION}", f"ABI_VERSION {newer}"))


def test_a_folder_that_is_no_runtime(directory: Path, tmp_path: Path):
    with pytest.raises(BundleError, match="is no Lutra runtime"):
        open_bundle(directory, runtime=tmp_path)


def test_a_missing_compiler(directory: Path):
    with pytest.raises(ToolError, match="'no-such-cc' was not found: install gcc or clang"):
        open_bundle(directory, compiler="no-such-cc")


def test_a_compiler_that_fails(directory: Path):
    with pytest.raises(ToolError, match=r"the C compiler failed:\n.*no-such-file"):
        open_bundle(directory, compiler="cc -include no-such-file")


def test_a_cache_that_cannot_be_written(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LUTRA_CACHE", str(tmp_path / "file"))
    with pytest.raises(ToolError, match="set LUTRA_CACHE"):
        open_bundle(directory)


def test_every_error_is_a_host_error():
    assert issubclass(BundleError, HostError)
    assert issubclass(ToolError, HostError)


# The cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", "cc -O0")
    return tmp_path / "cache/host"


def test_the_compiler_runs_once_for_a_bundle(directory: Path, cache: Path):
    open_bundle(directory)
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    open_bundle(directory)
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    assert sorted(Path(name).suffix for name in before) == [".o", ".so"]


def add_a_comment(directory: Path, _: Path) -> dict[str, Any]:
    text = (directory / "tiny.c").read_text() + "/* another */\n"
    (directory / "tiny.c").write_text(text)
    files = json.loads((directory / "tiny.json").read_text())["files"]
    change_manifest(directory, files=files | {"tiny.c": hashlib.sha256(text.encode()).hexdigest()})
    return {}


def another_option(_: Path, __: Path) -> dict[str, Any]:
    return {"compiler": "cc -O1"}


def another_runtime(_: Path, tmp_path: Path) -> dict[str, Any]:
    return {"runtime": change_runtime(tmp_path, "/* Types,", "/* Kinds,")}


@pytest.mark.parametrize("change", [add_a_comment, another_option, another_runtime])
def test_whatever_changes_is_compiled_again(directory: Path, tmp_path: Path, cache: Path, change: Callable[[Path, Path], dict[str, Any]]):
    open_bundle(directory)
    before = len(list(cache.glob("*.so")))
    open_bundle(directory, **change(directory, tmp_path))
    assert len(list(cache.glob("*.so"))) == before + 1


def _check(directory: Path) -> bool:
    return open_bundle(directory).check()


def test_several_processes_may_fill_the_cache_at_once(directory: Path, cache: Path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(_check, [directory] * 3) == [True] * 3
    assert len(os.listdir(cache)) == 2
