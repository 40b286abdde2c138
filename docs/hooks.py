"""Pages of the site that are made from the sources: commands, boards, errors, the arithmetic, the protocol. For mkdocs.yml."""

import ast
import html
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from lutra.boards import boards
from lutra_compiler import errors

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them."""
    pages = {
        "reference/commands.md": _commands(),
        "reference/boards.md": _boards(),
        "reference/errors.md": _errors(),
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


_ERRORS = """# Errors

Every error that Lutra raises on purpose is a `LutraError`. Its message names what is wrong, the value, the limit, and what to do. The
command prints it after `error:` and ends with exit code 2, or 1 where the answer to a question is no (a budget that cannot be kept, bytes
that differ). Anything else that comes out is a defect: please report it.

All messages, as they stand in the sources; "…" is filled in.
"""


def _errors() -> str:
    found: dict[str, set[str]] = {}
    for folder in ("compiler/lutra_compiler", "python/lutra"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for kind, message in _raised(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(kind, set()).add(message)
    sections = []
    for kind in sorted(found):
        described = getattr(errors, kind).__doc__ if hasattr(errors, kind) else "What a frontend cannot express, listed with all else."
        rows = "\n".join(f"<li>{html.escape(message)}</li>" for message in sorted(found[kind], key=str.lower))
        sections.append(f"## {kind}\n\n{' '.join(described.split())}\n\n<ul>\n{rows}\n</ul>\n")
    return "\n".join([_ERRORS, *sections])


def _raised(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            kind, arguments = node.exc.func.id, node.exc.args
            if (hasattr(errors, kind) or kind == "Unsupported") and arguments:
                message = "; ".join(filter(None, map(_text, arguments)))
                if any(character.isalpha() for character in message):
                    yield kind, message


def _text(node: ast.expr) -> str:
    """A string of the source, with … for what is computed."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(left=left, right=right):
            return _text(left) + _text(right)
    return ""
