"""docs/tutorial.md: its blocks are run one after the other, as a reader would."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LIGHTS = """
#include <stdint.h>
void read_sensor(int8_t *picture) { picture[0] = 1; }
void set_light(int number) { (void)number; }
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With `python` and `lutra` of this tree on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("python", ""), ("lutra", " -m lutra")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (programs / name).chmod(0o755 | stat.S_IEXEC)
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


@pytest.mark.board
@pytest.mark.usefixtures("host_cache")
def test_the_tutorial_leads_to_firmware(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    said = {}
    for kind, title, text in BLOCK.findall(TUTORIAL):
        if kind == "console":
            for line in text.splitlines():
                command = line.removeprefix("$ ")
                done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                said[command.split(" -")[0]] = done.stdout
        else:
            assert title, f"a {kind} block without a file"
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(text)
    accuracy = re.search(r"accuracy \(C\)\s+([\d.]+) %", said["lutra validate strokes.lutra"])
    assert accuracy is not None
    assert float(accuracy[1]) > 90
    assert "the same bytes" in said["lutra validate strokes.lutra"]

    (folder / "firmware/lights.c").write_text(LIGHTS)
    cmake = folder / "firmware/CMakeLists.txt"
    assert "add_library(firmware OBJECT" in cmake.read_text()
    cmake.write_text(cmake.read_text().replace("add_library(firmware OBJECT", "add_executable(firmware lights.c"))
    toolchain = ROOT / "boards/toolchains/arm-none-eabi.cmake"
    options = [f"-DLUTRA_RUNTIME={ROOT / 'runtime_c'}", f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DTARGET_CPU=cortex-m0"]
    options += ["-DCMAKE_C_FLAGS=-Wall -Wextra -Werror", "-DCMAKE_EXE_LINKER_FLAGS=--specs=nosys.specs"]
    subprocess.run(["cmake", "-S", cmake.parent, "-B", tmp_path / "build", "-G", "Ninja", *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "build/firmware").stat().st_size > 1000
