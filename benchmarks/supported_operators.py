"""What the ONNX reader and the torch frontend read, from their own code: writes docs/supported-operators.md (`make documents`).

    python benchmarks/supported_operators.py

Every limit is the text of a check: what a frontend or the builder refuses with `Unsupported(reason, remedy)` on the way of an operator, and
so what `lutra analyze` says. A new operator or check is in the document when it is written again; a test fails when it is stale.
"""

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lutra_compiler.frontends import builder, onnx_operators, onnx_reader, operators, torch_export, torch_operators

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/supported-operators.md"
_TABLES = {onnx_reader: onnx_operators, torch_export: torch_operators}  # frontends, and where they have most operators from
_PLACEHOLDER = "..."
_RECEIVERS = ("b", "n", "call", "self")  # what handlers call builder and node, and their methods themselves


@dataclass(frozen=True)
class Check:
    """A reason to refuse a node, and what helps."""

    reason: str
    remedy: str


class Checks:
    """The checks on the way of an expression through a frontend's functions, its nodes' methods and the builder's."""

    def __init__(self, module: ModuleType) -> None:
        self.operators = tuple(module._HANDLERS)
        self.trees = [ast.parse(inspect.getsource(part)) for part in (_TABLES[module], module)]
        self.functions: dict[str, ast.AST] = {}  # by name, methods with a dot before it
        for tree in (*(ast.parse(inspect.getsource(part)) for part in (builder, operators)), *self.trees):
            self.functions |= {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
            methods = [node for owner in tree.body if isinstance(owner, ast.ClassDef) for node in owner.body]
            self.functions |= {f".{node.name}": node for node in methods if isinstance(node, ast.FunctionDef)}

    def handlers(self) -> dict[str, ast.expr]:
        """The table of handlers: an expression by operator."""
        found: dict[str, ast.expr] = {}
        for node in (node for tree in self.trees for node in tree.body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in ("_HANDLERS", "OPERATORS"):
                assert isinstance(node.value, ast.Dict)
                pairs = zip(node.value.keys, node.value.values, strict=True)
                found |= {key.value: value for key, value in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str)}
        return {operator: found.get(operator, ast.Constant(None)) for operator in self.operators}

    def of(self, expression: ast.AST) -> list[Check]:
        """All of them, in the order of the code, each once."""
        found: dict[Check, None] = {}
        self._walk(expression, found, set())
        return list(found)

    def _walk(self, node: ast.AST, found: dict[Check, None], seen: set[str]) -> None:
        for part in ast.walk(node):
            for name in _called(part):
                if name == "Unsupported":
                    assert isinstance(part, ast.Call)
                    found[Check(_text(part.args[0]), _text(part.args[1]))] = None
                elif name == ".forbid":  # n.forbid(attribute, allowed, remedy)
                    assert isinstance(part, ast.Call)
                    found[Check(f"its {_text(part.args[0])} is not {ast.unparse(part.args[1])}", _text(part.args[2]))] = None
                elif name in self.functions and name not in seen:
                    seen.add(name)
                    self._walk(self.functions[name], found, seen)


def _called(node: ast.AST) -> Iterator[str]:
    """The function that a call or a mention of a handler is of; a method where it is a builder's or a node's."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield node.func.id
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if isinstance(node.func.value, ast.Name) and node.func.value.id in _RECEIVERS:
            yield f".{node.func.attr}"
    elif isinstance(node, ast.Name) and node.id.startswith("_"):
        yield node.id


def _text(expression: ast.expr) -> str:
    """A message with what it fills in left out."""
    if isinstance(expression, ast.Constant):
        return str(expression.value)
    if isinstance(expression, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else _PLACEHOLDER for part in expression.values)
    if isinstance(expression, ast.Name) and hasattr(onnx_reader, expression.id):
        return str(getattr(onnx_reader, expression.id))
    return _PLACEHOLDER


def document() -> str:
    """The text of supported-operators.md."""
    onnx, torch = Checks(onnx_reader), Checks(torch_export)
    opsets = f"{onnx_reader.OPSETS[0]} and later"
    return "\n".join([
        "# Supported operators",
        "",
        "Written by `make documents` (benchmarks/supported_operators.py) from the checks that `lutra analyze` makes, in its words.",
        "An operator computes what ONNX or PyTorch says it does, or is refused: on the left the reason, on the right what helps.",
        "[onnx-node-tests.md](onnx-node-tests.md) lists ONNX's own tests of them.",
        "",
        "Networks take float32 images [1, channels, height, width] (or [1, height, width, channels], where a Transpose to NCHW",
        "follows), signals [1, channels, length], sequences [1, steps, features] and vectors [1, features]. Any node whose inputs are",
        "constants is computed when the model is read, if it is one",
        *textwrap.wrap(f"of {', '.join(sorted(onnx_reader._FOLDED))}.", 138),
        "Between a QuantizeLinear and a DequantizeLinear, which must have the same scale and zero point, may stand what moves or selects",
        *textwrap.wrap(f"numbers: {', '.join(sorted(onnx_reader._MOVES))}.", 138),
        "",
        f"## ONNX, opset {opsets}",
        "",
        *_table(onnx),
        "",
        "## torch.export, ATen",
        "",
        *_table(torch),
        "",
        "## Not supported, with the rewrite that helps",
        "",
        "In lower case and without underscores, as both frontends look them up.",
        "",
        "| operator | rewrite |",
        "| --- | --- |",
        *(f"| {operator} | {remedy} |" for operator, remedy in sorted(_remedies().items())),
        "| any other | leave it out or replace it by supported operators |",
        "",
    ])  # fmt: skip


def _table(checks: Checks) -> list[str]:
    """A row an operator, and what most operators have in common."""
    found = {operator: checks.of(handler) for operator, handler in checks.handlers().items()}
    counts = Counter(check for of_operator in found.values() for check in of_operator)
    common = [check for check, count in counts.items() if 2 * count > len(found)]
    rows = ["| operator | refused if | what helps |", "| --- | --- | --- |"]
    for operator, of_operator in sorted(found.items(), key=lambda item: item[0].lower()):
        limits = [check for check in of_operator if check not in common]
        rows.append(f"| {operator} | {_cell(check.reason for check in limits)} | {_cell(check.remedy for check in limits)} |")
    return [*rows, "", "Most of them also, if", *(f"- {check.reason}: {check.remedy}" for check in common)]


def _cell(texts: Iterator[str]) -> str:
    return "<br>".join(text.replace("|", "\\|") for text in texts)


def _remedies() -> Mapping[str, str]:
    supported = {name.replace("_", "").lower() for module in (onnx_reader, torch_export) for name in module._HANDLERS}
    return {name: remedy for name, remedy in builder._REMEDIES.items() if name not in supported}


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
