"""Every node test of ONNX in scope passes: in float within ONNX's tolerance, in integers within 1.5 steps of the output."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "benchmarks"))

import onnx_node_tests  # noqa: E402
from lutra_compiler.frontends import onnx_reader  # noqa: E402
from onnx_node_tests import STEPS, Case, Suite  # noqa: E402


@pytest.fixture(scope="module")
def suite() -> Suite:
    return onnx_node_tests.suite()


def test_float_graphs_keep_the_tolerance_of_onnx(suite: Suite) -> None:
    errors = {case.name: onnx_node_tests.float_error(case) for case in suite.cases}
    assert {name: error for name, error in errors.items() if not error <= 1} == {}


def test_integers_stay_within_one_and_a_half_steps(suite: Suite) -> None:
    errors = {case.name: onnx_node_tests.integer_error(case) for case in suite.cases}
    assert {name: error for name, error in errors.items() if not error <= STEPS} == {}
    assert max(errors.values()) > 0.25  # they are rounded, so what is compared are the integers


def test_every_test_of_a_supported_operator_is_in_scope_or_excluded_with_a_reason(suite: Suite) -> None:
    known = [*suite.cases, *suite.excluded]
    assert len({test.name for test in known}) == len(known)
    assert all(excluded.reason for excluded in suite.excluded)
    assert {test.operator for test in known} <= set(onnx_reader._HANDLERS)
    assert not set(suite.unsupported) & set(onnx_reader._HANDLERS)


@pytest.mark.parametrize("operator", ["Conv", "MaxPool", "AveragePool", "Gemm", "Clip", "Concat", "Slice", "BatchNormalization"])
def test_what_the_project_is_about_is_in_scope(suite: Suite, operator: str) -> None:
    assert sum(case.operator == operator for case in suite.cases) >= 2


def test_a_wrong_graph_is_found(suite: Suite) -> None:
    """The comparison itself: a network whose numbers are another's."""
    conv, *others = (case for case in suite.cases if case.operator == "Conv")
    wrong = Case(**{**vars(conv), "expected": conv.expected * np.float32(1.01)})
    assert onnx_node_tests.float_error(wrong) > 1
    assert others


def test_ones_before_a_shape_leave_the_function_as_it_is() -> None:
    node = helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["y"])
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    constants = {"starts": np.array([1, 0]), "ends": np.array([2, 3]), "axes": np.array([0, -1])}

    def run(node: onnx.NodeProto, x: np.ndarray, constants: dict[str, np.ndarray]) -> np.ndarray:
        graph = helper.make_graph(
            [node], "g", [helper.make_tensor_value_info("x", 1, x.shape)], [helper.make_tensor_value_info("y", 1, None)],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        return onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]

    moved, shifted = onnx_node_tests._with_ones_before(node, constants, rank=3, ones=1)
    np.testing.assert_array_equal(run(moved, x[None], shifted)[0], run(node, x, constants))


def test_the_document_is_up_to_date() -> None:
    text = onnx_node_tests.DOCUMENT.read_text()
    if f"the tests that onnx {onnx.__version__} makes" not in " ".join(text.split()):
        pytest.skip(f"docs/onnx-node-tests.md was written with another version of onnx than {onnx.__version__}")
    assert text == onnx_node_tests.document(), "make documents"
