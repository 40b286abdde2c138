"""Documents that are written from the frontends' own checks are up to date."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "benchmarks"))

import supported_operators  # noqa: E402
from lutra_compiler.frontends import onnx_reader, torch_export  # noqa: E402


def test_the_document_of_supported_operators_is_up_to_date() -> None:
    assert supported_operators.DOCUMENT.read_text() == supported_operators.document(), "make documents"


def test_every_operator_has_a_row() -> None:
    text = supported_operators.document()
    for module in (onnx_reader, torch_export):
        assert all(f"\n| {operator} | " in text for operator in module._HANDLERS)


def test_checks_are_found_through_helpers_and_the_builder() -> None:
    checks = supported_operators.Checks(onnx_reader)
    reasons = [check.reason for check in checks.of(checks.handlers()["Conv"])]
    assert "its weight has shape ..." in reasons  # in the handler
    assert "its pads are ..." in reasons  # in a helper
    assert "its input of shape ... is no image" in reasons  # in the builder
    assert "a softmax over axis ..." not in reasons
