"""What is seen at a terminal: nothing wider than it, plain lines elsewhere, JSON everywhere, and completion in every shell."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import typer

from cli_models import METADATA, compressed_graph, float_onnx, write_data
from lutra import cli
from lutra_compiler.model_file import save_model
from lutra_compiler.target import TARGETS

ROOT = Path(__file__).parents[2]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
pytestmark = pytest.mark.usefixtures("host_cache")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and data, and the command `lutra` on the PATH."""
    onnx.save(float_onnx(), tmp_path / "float.onnx")
    save_model(tmp_path / "small.lutra", compressed_graph(), METADATA)
    write_data(tmp_path / "train.npz", 200)
    command = tmp_path / "bin/lutra"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m lutra "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / folder) for folder in ("compiler", "python")))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def at_a_terminal(*command: str, columns: int = 80) -> tuple[int, str]:
    """The exit code of a command, and everything that it wrote to a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm-256color"}) as running:
        os.close(slave)
        written = b""
        while part := _read(master):
            written += part
    os.close(master)
    return running.returncode, written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the last process has let go of the terminal
        return b""


COMMANDS = (
    "analyze zoo:lenet300 --target cortex-m4", "analyze float.onnx", "zoo list", "data list", "doctor", "bench small.lutra",
    "generate zoo:lenet5 -o bundle", "validate small.lutra --data train.npz --reference float.onnx",
    "report small.lutra -o report.html --flash 32K --ram 1K", "compress float.onnx --data train.npz -o trained.lutra --epochs 0.05",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_wider_than_the_terminal(shell: Path, command: str) -> None:
    code, written = at_a_terminal("lutra", *command.split())
    assert code == 0, written
    lines = re.split(r"[\r\n]+", ESCAPES.sub("", written))
    assert len(lines) > 2
    assert max(map(len, lines)) <= 80, lines
    if command.startswith("compress"):
        assert "━" in written  # a bar
        assert " left" in written


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith(("report", "compress"))])
def test_off_a_terminal_there_are_plain_lines(shell: Path, command: str) -> None:
    environment = {**os.environ, "TERM": "xterm-256color"}
    done = subprocess.run(["lutra", *command.split()], capture_output=True, text=True, env=environment, check=True)
    assert not {"\x1b", "\r", "━"} & set(done.stdout + done.stderr)
    assert max(map(len, done.stdout.splitlines())) <= 80


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below `group`, with the words that name it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_speaks_json() -> None:
    found = dict(commands(typer.main.get_command(cli.app)))
    assert len(found) > 10
    assert [path for path, command in found.items() if not any("--json" in option.opts for option in command.params)] == []


# Completion. The scripts are those that --show-completion prints; each is run by its own shell.

SCRIPTS = {
    "bash": (
        'eval "$(_LUTRA_COMPLETE=source_bash lutra)"; COMP_WORDS=(%s); COMP_CWORD=%d; _lutra_completion lutra; '
        'printf "%%s\\n" "${COMPREPLY[@]}"'
    ),
    "zsh": (
        'compdef() { }; _arguments() { print -rl -- "$@" }; _files() { }; eval "$(_LUTRA_COMPLETE=source_zsh lutra)"; '
        "words=(%s); CURRENT=%d+1; _lutra_completion"
    ),
    "fish": "_LUTRA_COMPLETE=source_fish lutra | source; complete --do-complete '%s' # %d",
}


def complete(shell: str, line: str) -> str:
    """What a shell offers at the end of a line."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here; install it (Debian: apt-get install {shell}) to test completion in it")
    script = SCRIPTS[shell] % (line, len(line.split()) - 1)
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    return subprocess.run([shell, *options, "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_commands_and_values_are_completed(shell: Path, name: str) -> None:
    offered = complete(name, "lutra re")
    assert "report" in offered
    assert "analyze" not in offered
    assert {target.name for target in TARGETS} <= set(re.findall(r"[\w-]+", complete(name, "lutra analyze x --target c"))) | {"generic"}
    assert "microbit" in complete(name, "lutra report x --board mi")
    assert "--resume" in complete(name, "lutra compress --res")


@pytest.mark.parametrize("name", SCRIPTS)
def test_completion_is_printed_for_the_shell_that_asks(shell: Path, name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not here")
    printed = subprocess.run([name, "-c", "lutra --show-completion; true"], capture_output=True, text=True, check=True).stdout
    assert f"complete_{name}" in printed
