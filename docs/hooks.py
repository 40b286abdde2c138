"""Pages of the site that are made from the sources: commands, boards, the arithmetic, the protocol. For mkdocs.yml."""

import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from lutra.boards import boards

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them."""
    pages = {
        "reference/commands.md": _commands(),
        "reference/boards.md": _boards(),
        "reference/spec.md": (ROOT / "runtime_c/SPEC.md").read_text(),
        "reference/sizes.md": (ROOT / "runtime_c/SIZES.md").read_text(),
        "reference/protocol.md": (ROOT / "boards/PROTOCOL.md").read_text(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def _commands() -> str:
    command = [sys.executable, "-m", "typer", "lutra.cli", "utils", "docs", "--name", "lutra", "--title", "Commands"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _boards() -> str:
    rows = [
        f"| {board.name} | {board.description} | {board.flash_bytes >> 10:,} KB | {board.ram_bytes >> 10:,} KB | "
        f"{'serial port' if board.link == 'uart' else 'QEMU'} |"
        for board in boards()
    ]
    notes = [(ROOT / f"boards/{board.name}/README.md").read_text().replace("# ", "## ", 1) for board in boards()]
    header = ["| board | | flash | RAM | samples by |", "| --- | --- | ---: | ---: | --- |"]
    return "\n".join(["# Boards", "", "What `lutra boards` lists.", "", *header, *rows, "", *notes])
