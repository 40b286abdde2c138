"""`lutra doctor`: what is here, what is not, and how to mend it."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from lutra import cli, doctor
from lutra.doctor import Finding, examine
from lutra_compiler.errors import ToolError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LUTRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def finding(name: str) -> Finding:
    (found,) = (each for each in examine() if each.name == name)
    return found


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Puts a script on the PATH, on which there is nothing else."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CC", raising=False)

    def add(name: str, script: str) -> None:
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return add


def test_everything_that_is_missing_has_a_remedy(tools: Callable[[str, str], None]) -> None:
    missing = [each for each in examine() if each.found is None]
    assert {"cc", "cmake", "ninja", "arm-none-eabi-gcc", "qemu-system-arm", "mnist", "cifar10"} <= {each.name for each in missing}
    assert all(each.remedy and each.purpose for each in missing)
    assert [each.name for each in missing if each.required] == ["cc"]


def test_tools_tell_their_versions(tools: Callable[[str, str], None]) -> None:
    tools("qemu-system-arm", "echo QEMU emulator version 7.2\necho more")
    tools("cmake", "exit 3")
    assert finding("qemu-system-arm").found == "QEMU emulator version 7.2"
    assert finding("cmake").found is None


def test_a_compiler_without_its_library_is_found_out(tools: Callable[[str, str], None]) -> None:
    tools("arm-none-eabi-gcc", "echo libc.a")  # what GCC says of a file that it does not have
    assert (finding("arm-none-eabi-gcc").found, finding("newlib").found) == ("libc.a", None)
    assert "libnewlib-arm-none-eabi" in finding("newlib").remedy
    tools("arm-none-eabi-gcc", "echo /usr/lib/libc.a")
    assert finding("newlib").found == "/usr/lib/libc.a"


def test_every_package_that_is_optional_is_in_the_extra_it_names() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, (extra, _) in doctor._EXTRAS.items():
        assert any(need.startswith(name) for need in extras[extra]), name


def test_the_compiler_is_the_one_that_will_be_used(tools: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "my-cc -O1")
    assert finding("my-cc").found is None
    tools("my-cc", "echo mine 1.0")
    assert finding("my-cc").found == "mine 1.0"


def test_a_cache_that_cannot_be_written_is_required(cache: Path) -> None:
    assert finding("cache").found == str(cache)
    cache.rmdir()
    cache.write_text("in the way")
    found = finding("cache")
    assert (found.found, found.required) == (None, True)
    assert "LUTRA_CACHE" in found.remedy


def test_a_runtime_of_another_abi_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "runtime_abi", lambda directory: 1)
    assert "has ABI 1" in finding("C runtime").remedy

    def lost() -> Path:
        raise ToolError("it is gone")

    monkeypatch.setattr(doctor, "runtime_directory", lost)
    assert finding("C runtime").remedy.startswith("it is gone; pip install")


def test_a_data_set_is_here_only_if_it_is_whole(cache: Path) -> None:
    (cache / "mnist").mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (cache / "mnist" / name).write_bytes(b"not this")
    assert (finding("mnist").found, finding("mnist").remedy) == (None, "lutra data fetch mnist")


@pytest.mark.parametrize(("requirement", "problem"), [
    ("numpy>=1.0", ""), ("numpy", ""), ("numpy<9,>=1.0", ""), ("numpy>=1.0; python_version > '3'", ""),
    ("no-such-package>=1", "no-such-package"),
])  # fmt: skip
def test_packages_are_as_new_as_needed(requirement: str, problem: str) -> None:
    assert doctor._problem(requirement) == problem


def test_an_old_package_is_named_with_what_is_needed() -> None:
    assert doctor._problem("numpy>=999.1").endswith(", 999.1 is needed")


def test_the_exit_code_says_whether_what_is_required_is_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, without, gone = Finding("a", "x", True, "1"), Finding("b", "x", False, None, "get b"), Finding("c", "x", True, None, "get c")
    for found, code, end in (((here, without), 0, "what is required is here"), ((here, gone), 1, "something that is required is missing")):
        monkeypatch.setattr(doctor, "examine", lambda found=found: found)
        monkeypatch.setattr("sys.argv", ["lutra", "doctor"])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert int(stopped.value.code or 0) == code
        out = capsys.readouterr().out
        assert end in out
        assert "to mend: get" in out


def test_a_remedy_of_a_tool_is_its_package() -> None:
    for name in ("cmake", "ninja", "arm-none-eabi-gcc", "qemu-system-arm"):
        assert doctor.PACKAGES[name] in finding(name).remedy


def test_it_runs_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemError('imported')")
    path = os.pathsep.join([str(tmp_path), str(ROOT / "compiler"), str(ROOT / "python")])
    code = "import lutra.doctor; lutra.doctor.examine()"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False).returncode == 0
