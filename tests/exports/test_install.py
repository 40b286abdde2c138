"""What a wheel brings to a virtual environment without this repository and without torch, and the runtime in other people's CMake."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
import onnx
import pytest
from packaging.requirements import Requirement

import lutra
from cli_models import FEATURES, METADATA, clusters, compressed_graph, float_onnx, write_data
from lutra import host
from lutra.exports import KINDS
from lutra_compiler.model_file import save_model

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.usefixtures("host_cache"), pytest.mark.slow, pytest.mark.xdist_group("wheel")]
MAIN = """
#include <stdio.h>

#include "digits.h"

int main(void) {
  static uint32_t arena[(DIGITS_ARENA_BYTES + 3u) / 4u];
  static const int8_t input[DIGITS_INPUT_0_SIZE] = {1, -2, 3, -4, 5};
  int8_t output[DIGITS_OUTPUT_0_SIZE];
  const int status = digits_run1(arena, sizeof arena, input, output);
  for (size_t i = 0; i < sizeof output; i++) {
    printf("%d ", output[i]);
  }
  return status;
}
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, and of other packages only what the wheel requires."""
    pytest.importorskip("scikit_build_core", reason="scikit-build-core is not installed (pip install lutra-mcu[test])")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("lutra_mcu-*-py3-none-any.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    (metadata,) = site.glob("lutra_mcu-*.dist-info")
    for name in required(Distribution.at(metadata)):
        for file in distribution(name).files or ():
            top = file.parts[0]
            if top != ".." and not (site / top).exists():
                (site / top).symlink_to(distribution(name).locate_file(top))
    return folder / "venv"


def required(package: Distribution) -> set[str]:
    """The names of all packages that `package` needs, and those need."""
    names: set[str] = set()
    pending = list(package.requires or ())
    while pending:
        requirement = Requirement(pending.pop())
        if requirement.name not in names and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            names.add(requirement.name)
            pending += distribution(requirement.name).requires or ()
    return names


def inside(environment: Path, folder: Path, *command: object) -> str:
    """What a command of the environment prints, run away from the repository."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables |= {"LUTRA_CACHE": str(folder / "cache"), "PATH": f"{environment}/bin:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run([*map(str, command)], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# The wheel.


def test_it_needs_neither_the_repository_nor_torch(environment: Path, tmp_path: Path) -> None:
    code = "import importlib.util as u, lutra; print(u.find_spec('torch'), lutra.__file__, lutra.get_include(), *lutra.get_sources())"
    torch, *paths = inside(environment, tmp_path, "python", "-c", code).split()
    assert torch == "None"
    assert all(Path(path).is_relative_to(environment) and Path(path).exists() for path in paths)
    assert len(paths) == 2 + len(lutra.get_sources())


def test_from_the_zoo_to_a_validated_bundle(environment: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", np.random.default_rng(0).normal(size=(20, 1, 28, 28)).astype(np.float32))
    inside(environment, tmp_path, "lutra", "generate", "zoo:lenet5", "-o", "lenet5", "--prefix", "lenet5")
    record = json.loads(inside(environment, tmp_path, "lutra", "validate", "lenet5", "--data", "samples.npy", "--json"))
    assert (record["samples"], record["tables_intact"]) == (20, True)
    record = json.loads(inside(environment, tmp_path, "lutra", "validate", "zoo:lenet5", "--data", "samples.npy", "--json"))
    assert record["bit_exact"] is True


def test_it_exports_to_every_build_system(environment: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "small.lutra", compressed_graph(), METADATA)
    inside(environment, tmp_path, "lutra", "generate", "small.lutra", "-o", "digits", "--prefix", "digits")
    for kind in KINDS:
        record = json.loads(inside(environment, tmp_path, "lutra", "export", "digits", "--for", kind, "-o", kind, "--json"))
        assert all((tmp_path / kind / file).is_file() for file in record["files"])
    assert "digits: the golden output" in inside(environment, tmp_path, "make", "-s", "-C", "make")


def test_it_brings_the_boards(environment: Path, tmp_path: Path) -> None:
    code = "from lutra.boards import boards; print(*(board.name for board in boards()))"
    assert "microbit" in inside(environment, tmp_path, "python", "-c", code).split()


# The runtime in other people's CMake.


@pytest.fixture(params=["find_package", "add_subdirectory"])
def project(request: pytest.FixtureRequest, environment: Path, tmp_path: Path) -> Path:
    """A project that turns small.lutra into a library when it is built."""
    include = Path(inside(environment, tmp_path, "lutra", "--print-include").strip())
    if request.param == "find_package":
        cmake = Path(inside(environment, tmp_path, "lutra", "--cmake-dir").strip())
        locate = f"set(lutra_DIR {cmake})\nfind_package(lutra 0.1 REQUIRED)\nfind_package(lutra REQUIRED) # again: no harm"
    else:
        locate = f"add_subdirectory({include.parent} runtime)"
    write_project(tmp_path, locate, "lutra_add_model(digits small.lutra TARGET generic FLASH 64K RAM 16K)")
    return tmp_path


def write_project(folder: Path, locate: str, add: str) -> None:
    save_model(folder / "small.lutra", compressed_graph(), METADATA)
    (folder / "main.c").write_text(MAIN)
    lines = ["cmake_minimum_required(VERSION 3.20)", "project(consumer LANGUAGES C)", locate, add]
    lines += ["add_executable(consumer main.c)", "target_link_libraries(consumer digits)"]
    (folder / "CMakeLists.txt").write_text("\n".join(lines) + "\n")


def test_a_model_becomes_a_library_when_the_project_is_built(project: Path, environment: Path) -> None:
    inside(environment, project, "cmake", "-S", ".", "-B", "build", "-G", "Ninja")
    assert not list(project.rglob("digits.c"))
    inside(environment, project, "cmake", "--build", "build")
    printed = inside(environment, project, "build/consumer")
    assert printed == expected(project / "reference")
    assert "no work to do" in inside(environment, project, "cmake", "--build", "build")
    os.utime(project / "small.lutra")
    assert "digits.c" in inside(environment, project, "cmake", "--build", "build", "--verbose")


def expected(folder: Path) -> str:
    """What MAIN prints."""
    bundle = host.open_bundle(lutra.generate(compressed_graph(), folder / "digits", prefix="digits", target="generic"))
    sample = np.zeros((1, FEATURES), np.int8)
    sample[0, :5] = 1, -2, 3, -4, 5
    return "".join(f"{value} " for value in bundle.run_int8([sample])[0][0])


def test_cmake_and_python_name_the_same_sources(project: Path, environment: Path) -> None:
    inside(environment, project, "cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    commands = json.loads((project / "build/compile_commands.json").read_text())
    compiled = {os.path.realpath(command["file"]) for command in commands if "/runtime_c/" in os.path.realpath(command["file"])}
    sources = inside(environment, project, "python", "-c", "import lutra; print(*lutra.get_sources())").split()
    assert compiled == {os.path.realpath(path) for path in sources}
    assert compiled


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Path]:
    """The command of this tree."""
    script = tmp_path / "lutra-here"
    script.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT}/compiler:{ROOT}/python exec {sys.executable} -m lutra \"$@\"\n")
    script.chmod(0o755)
    return script


def test_an_onnx_file_is_compressed_when_the_project_is_built(command: Path, tmp_path: Path) -> None:
    onnx.save(float_onnx(), tmp_path / "float.onnx")
    write_data(tmp_path / "train.npz", 200)
    (tmp_path / "settings.toml").write_text("seed = 1\n")
    add = "lutra_add_model(digits float.onnx DATA train.npz CONFIG settings.toml COMPRESS_OPTIONS --epochs 0.05)"
    write_project(tmp_path, f"set(LUTRA_COMMAND {command})\nadd_subdirectory({ROOT}/runtime_c runtime)", add)
    for arguments in (["-S", ".", "-B", "build", "-G", "Ninja"], ["--build", "build"]):
        done = subprocess.run(["cmake", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    printed = subprocess.run([tmp_path / "build/consumer"], capture_output=True, text=True, check=True).stdout
    assert len(printed.split()) == 4
    (model,) = (tmp_path / "build").rglob("*.lutra")
    images, labels = clusters(200, 3)
    assert lutra.validate(model, lutra.make_dataset(images, labels)).bit_exact


def test_an_onnx_file_without_samples_is_refused_with_the_remedy(command: Path, tmp_path: Path) -> None:
    onnx.save(float_onnx(), tmp_path / "float.onnx")
    locate = f"set(LUTRA_COMMAND {command})\nadd_subdirectory({ROOT}/runtime_c runtime)"
    write_project(tmp_path, locate, "lutra_add_model(digits float.onnx)")
    subprocess.run(["cmake", "-S", ".", "-B", "build", "-G", "Ninja"], cwd=tmp_path, capture_output=True, check=True)
    done = subprocess.run(["cmake", "--build", "build"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "compress it first (lutra compress)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("digits small.lutra CPU cortex-m4", "unknown or without a value: CPU;cortex-m4"),
        ("digits small.lutra TARGET", "unknown or without a value: TARGET"),
        ("digits float.onnx CONFIG settings.toml", "which needs DATA"),
    ],
)
def test_wrong_arguments_are_refused(arguments: str, message: str, command: Path, tmp_path: Path) -> None:
    locate = f"set(LUTRA_COMMAND {command})\nadd_subdirectory({ROOT}/runtime_c runtime)"
    write_project(tmp_path, locate, f"lutra_add_model({arguments})")
    done = subprocess.run(["cmake", "-S", ".", "-B", "build"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


def test_a_project_of_c_plus_plus_alone_is_told_to_enable_c(tmp_path: Path) -> None:
    write_project(tmp_path, f"add_subdirectory({ROOT}/runtime_c runtime)", "lutra_add_model(digits small.lutra)")
    project = tmp_path / "CMakeLists.txt"
    project.write_text(project.read_text().replace("LANGUAGES C)", "LANGUAGES CXX)"))
    done = subprocess.run(["cmake", "-S", ".", "-B", "build"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "project(... LANGUAGES C CXX)" in " ".join(done.stderr.split())


def test_another_version_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(consumer LANGUAGES C)\n"
        f"set(lutra_DIR {ROOT}/runtime_c/cmake)\nfind_package(lutra 99.0 REQUIRED)\n"
    )
    done = subprocess.run(["cmake", "-S", ".", "-B", "build"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "requested version" in done.stderr


def test_two_exports_and_the_runtime_live_in_one_project(tmp_path: Path) -> None:
    for prefix in ("one", "two"):
        lutra.generate(compressed_graph(), tmp_path / f"{prefix}-bundle", prefix=prefix)
        lutra.export(tmp_path / f"{prefix}-bundle", tmp_path / prefix, kind="cmake")
    shutil.copy(tmp_path / "one/example/one_golden.h", tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "one.h"\n#include "two.h"\n#include "one_golden.h"\nstatic uint32_t arena[4096];\nint main(void) {\n'
        "int8_t a[ONE_OUTPUT_0_SIZE], b[TWO_OUTPUT_0_SIZE];\n"
        "int status = one_run1(arena, sizeof arena, one_golden_input_0, a) | two_run1(arena, sizeof arena, one_golden_input_0, b);\n"
        "for (unsigned i = 0; i < sizeof a; i++) { status |= a[i] != b[i]; }\nreturn status; }\n"
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(consumer LANGUAGES C)\n"
        f"add_subdirectory({ROOT}/runtime_c runtime)\nadd_subdirectory(one)\nadd_subdirectory(two)\n"
        "add_executable(consumer main.c)\ntarget_link_libraries(consumer lutra-one lutra-two lutra::runtime)\n"
    )
    for arguments in (["-S", ".", "-B", "build", "-G", "Ninja"], ["--build", "build"]):
        done = subprocess.run(["cmake", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert subprocess.run([tmp_path / "build/consumer"], check=False).returncode == 0
