"""ONNX's own node tests of the operators that the reader knows: writes docs/onnx-node-tests.md (`make documents`).

    python benchmarks/onnx_node_tests.py

The tests are those of the installed onnx package, made by it with its seeds. Every test of one node whose operator is in the reader's table
of handlers is in scope or excluded with a reason, which is a property of the test or what the reader says. A test of tests/ runs all in
scope and fails when the document is stale.
"""

import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from lutra_compiler.compression.calibrate import quantization_of_range
from lutra_compiler.compression.product_quantize import scalar_quantize
from lutra_compiler.compression.prune import weighted_layers
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.driver import build_program
from lutra_compiler.errors import LutraError, UnsupportedModelError
from lutra_compiler.frontends import onnx_reader
from lutra_compiler.ir.graph import Graph
from lutra_compiler.passes import canonicalise
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.target import target_by_name

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/onnx-node-tests.md"
STEPS = 1.5  # of the output, that integers may be away
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A test as a network: `inputs` are float32 [samples, ...] in the order of the Graph's, `expected` [samples, ...].

    `how` says what was done to make it one: "" if nothing.
    """

    name: str
    operator: str
    graph: Graph
    inputs: tuple[Array, ...]
    expected: Array
    tolerance: tuple[float, float]  # relative, absolute
    how: str


@dataclass(frozen=True)
class Excluded:
    """A test that is not run, and why."""

    name: str
    operator: str
    reason: str


@dataclass(frozen=True)
class Suite:
    """All tests of one node: of operators that the reader knows, and the number of those that it does not, by operator."""

    cases: tuple[Case, ...]
    excluded: tuple[Excluded, ...]
    unsupported: Counter[str]


@cache
def suite() -> Suite:
    """The tests of the installed onnx package, sorted into what is in scope and what is not."""
    cases: list[Case] = []
    excluded: list[Excluded] = []
    unsupported: Counter[str] = Counter()
    for test in _tests():
        nodes = test.model.graph.node
        if len(nodes) != 1:
            continue  # the expansion of a function, whose nodes have tests of their own
        operator = nodes[0].op_type
        if nodes[0].domain not in ("", "ai.onnx") or operator not in onnx_reader._HANDLERS:
            unsupported[operator] += 1
            continue
        found = _case(test, operator)
        if isinstance(found, Case):
            cases.append(found)
        else:
            excluded.append(Excluded(test.name, operator, found))
    return Suite(tuple(cases), tuple(excluded), unsupported)


def _tests() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # onnx's own, about itself
        return sorted(collect_testcases(None), key=lambda test: str(test.name))


def _case(test: Any, operator: str) -> Case | str:
    """The test as a network that the reader takes, else the reason why there is none."""
    node, (inputs, outputs) = test.model.graph.node[0], test.data_sets[0]
    feeds = dict(zip([port.name for port in test.model.graph.input], inputs, strict=True))
    if (reason := _out_of_scope(test.model.graph, feeds, outputs)) is not None:
        return reason
    floats = [name for name in dict.fromkeys(node.input) if name in feeds and feeds[name].dtype == np.float32]
    alike = [name for name in floats if feeds[name].shape == feeds[floats[0]].shape]
    reasons: list[str] = []
    for data in dict.fromkeys((tuple(floats[:1]), tuple(alike))):
        for form in _forms(node, feeds, data, outputs[0]):
            for end in _ENDS:
                model, expected = _network(test.model, form, end)
                try:
                    graph = canonicalise(onnx_reader.read_onnx(model.SerializeToString()))
                    _integer_program(graph, form.samples)
                except UnsupportedModelError as error:
                    reasons.append(error.problems[0].reason)
                    break
                except LutraError as error:
                    reasons.append(str(error))
                    continue
                how = ", ".join(filter(None, (form.how, end)))
                return Case(test.name, operator, graph, form.samples, expected, (test.rtol, max(test.atol, 1e-6)), how)
    return _telling(reasons)


def _telling(reasons: Sequence[str]) -> str:
    """Of what the reader said to all forms of a test, what is not about the form itself, where there is such."""
    about_form = ("has shape", "has batch", "is an input of the network", "flatten '")
    others = [reason for reason in reasons if not any(text in reason for text in about_form)]
    return (others or reasons or ["its first axis is no batch: its result has another"])[-1]


def _out_of_scope(graph: onnx.GraphProto, feeds: dict[str, Any], outputs: Sequence[Any]) -> str | None:
    node, ports = graph.node[0], [*graph.input[:1], *graph.output]
    if not all(port.type.HasField("tensor_type") for port in ports):
        return "a value is no tensor"
    if node.op_type in ("Shape", "Size"):
        return "it computes a constant"
    if any(port.type.tensor_type.elem_type != TensorProto.FLOAT for port in ports[:2]):
        return "its data are not float32"
    arrays, first = [*feeds.values(), *outputs], feeds.get(node.input[0])
    if first is None or not all(isinstance(array, np.ndarray | np.generic) for array in arrays):
        return "an input is left out, or of a type that NumPy lacks"
    if max(array.ndim for array in arrays) > 4:
        return f"its rank is {max(array.ndim for array in arrays)}; 4 at most"
    if 0 in (*outputs[0].shape, *first.shape):
        return "it computes nothing: a size is 0"
    return None


@dataclass(frozen=True)
class _Form:
    """A way to see a test's tensors: which are data, `samples` [n, ...], and which are `constants`; and what `node` makes of them."""

    node: onnx.NodeProto
    data: tuple[str, ...]
    samples: tuple[Array, ...]
    constants: dict[str, Array]
    expected: Array  # [n, ...]
    how: str
    transposed: tuple[tuple[int, ...], int] | None = None  # how the first input is, and the rank of the result, which is transposed back


def _forms(node: onnx.NodeProto, feeds: dict[str, Array], data: tuple[str, ...], expected: Array) -> Iterator[_Form]:
    constants = {name: array for name, array in feeds.items() if name not in data}
    arrays = tuple(feeds[name] for name in data)
    rank = arrays[0].ndim
    if node.op_type in ("GRU", "LSTM") and not any(attribute.name == "layout" and attribute.i for attribute in node.attribute):
        # The batch is the second axis, of the result the last but one.
        moved, results = tuple(array.swapaxes(0, 1) for array in arrays), np.moveaxis(expected, -2, 0)
        how = f"{len(results)} samples, transposed before and after"
        yield _Form(node, data, moved, constants, results, how, ((1, 0, 2), results.ndim))
        return
    if rank and arrays[0].shape[0] == 1:
        yield _Form(node, data, arrays, constants, expected, "")
    elif rank > 1 and expected.ndim and expected.shape[0] == arrays[0].shape[0]:
        yield _Form(node, data, arrays, constants, expected, f"{len(expected)} samples")
    for ones in range(1, 5 - max(rank, expected.ndim)):
        if (moved := _with_ones_before(node, constants, rank, ones)) is not None:
            samples = tuple(a.reshape((1,) * ones + a.shape) for a in arrays)
            whole = expected.reshape((1,) * ones + expected.shape)
            yield _Form(moved[0], data, samples, moved[1], whole, f"{'1x' * ones} before its shape")


def _with_ones_before(
    node: onnx.NodeProto, constants: dict[str, Array], rank: int, ones: int
) -> tuple[onnx.NodeProto, dict[str, Array]] | None:
    """The node and its constants for data of `rank` with `ones` more axes of length 1 in front; None if that is another function."""
    moved, constants = onnx.NodeProto(), dict(constants)
    moved.CopyFrom(node)
    schema = onnx.defs.get_schema(node.op_type)
    names = [schema.inputs[min(index, len(schema.inputs) - 1)].name for index in range(len(node.input))]
    given = {role: name for role, name in zip(names, node.input, strict=True) if name in constants}
    attributes = {attribute.name: attribute for attribute in moved.attribute}
    if node.op_type in ("Flatten", "DepthToSpace", "SpaceToDepth"):
        return None
    if "axis" in attributes:
        attributes["axis"].i += ones if attributes["axis"].i >= 0 else 0
    elif "axis" in schema.attributes and (default := schema.attributes["axis"].default_value.i) >= 0:
        moved.attribute.append(helper.make_attribute("axis", default + ones))
    if node.op_type == "Transpose":
        permutation = list(attributes["perm"].ints) if "perm" in attributes else list(range(rank))[::-1]
        del moved.attribute[:]
        moved.attribute.append(helper.make_attribute("perm", [*range(ones), *(axis + ones for axis in permutation)]))
    if "axes" in given:
        axes = constants[given["axes"]]
        constants[given["axes"]] = np.where(axes < 0, axes, axes + ones)
    elif "axes" in (parameter.name for parameter in schema.inputs) and node.op_type not in ("Pad", "Slice"):
        return None
    elif node.op_type in ("Pad", "Slice"):
        for role in ("pads", "starts", "ends", "steps"):
            if role in given:
                first = {"ends": np.iinfo(np.int64).max, "steps": 1}.get(role, 0)
                parts = np.split(constants[given[role]], 2 if role == "pads" else 1)
                constants[given[role]] = np.concatenate([np.append(np.full(ones, first, part.dtype), part) for part in parts])
    for role in ("shape", "repeats"):
        if role in given:
            constants[given[role]] = np.append(np.ones(ones, np.int64), constants[given[role]])
    return moved, constants


# What makes a whole network of a node that computes nothing, or only the order of a vector.
_ENDS = ("", "then added to itself", "then times the identity matrix")


def _network(source: onnx.ModelProto, form: _Form, end: str) -> tuple[onnx.ModelProto, Array]:
    """The node as a network with batch 1, and what that gives."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    graph, output = model.graph, source.graph.output[0].name
    graph.node[0].CopyFrom(form.node)
    if form.transposed:
        (order, rank), node = form.transposed, graph.node[0]
        graph.node.append(helper.make_node("Transpose", [node.input[0]], ["steps"], perm=order))
        graph.node.append(helper.make_node("Transpose", ["states"], [output], perm=[rank - 2, *range(rank - 2), rank - 1]))
        node.input[0], node.output[list(node.output).index(output)] = "steps", "states"
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *a.shape[1:])) for name, a in zip(form.data, form.samples, strict=True)
    ]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(ports)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in form.constants.items())
    expected, result = form.expected, output
    if end:
        result = f"{output}, then"
        if end == _ENDS[1]:
            graph.node.append(helper.make_node("Add", [output, output], [result]))
            expected = expected * 2
        else:
            size = expected.shape[-1] if expected.ndim else 1
            graph.initializer.append(numpy_helper.from_array(np.eye(size, dtype=np.float32), "identity matrix"))
            graph.node.append(helper.make_node("MatMul", [output, "identity matrix"], [result]))
    graph.output.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, None))
    return model, expected


def float_error(case: Case) -> float:
    """How far the Graph is away from ONNX's numbers, in units of the test's own tolerance."""
    result = _output(case.graph, case.inputs)
    relative, absolute = case.tolerance
    return float(np.max(np.abs(result.reshape(case.expected.shape) - case.expected) / (absolute + relative * np.abs(case.expected))))


def _output(graph: Graph, inputs: Sequence[Array]) -> Array:
    """The float network's only output, in the source's layout."""
    with torch.no_grad():
        result: Array = TorchGraph(graph).eval()(*map(torch.from_numpy, inputs)).numpy()
    return result


def integer_error(case: Case) -> float:
    """How far the interpreter is away, in output steps, from the float network with the same rounded inputs and weights."""
    encoded, program = _integer_program(case.graph, case.inputs)
    codes, rounded = [], []
    for port, array in zip(program.inputs, case.inputs, strict=True):
        q = port.quantization
        integers = np.clip(np.rint(array / q.scale) + q.zero_point, -128, 127).astype(np.int8)
        rounded.append(((integers - np.float32(q.zero_point)) * np.float32(q.scale)).astype(np.float32))
        ordered = np.moveaxis(integers, 1, -1) if port.layout in ("NCHW", "NCL") else integers
        codes.append(np.ascontiguousarray(ordered).reshape(-1, *port.shape))
    expected = _output(replace(encoded, quantization={}), rounded)
    found, (port,) = interpret(program, codes).outputs[0], program.outputs
    real = (found.astype(np.float64) - port.quantization.zero_point) * port.quantization.scale
    expected = np.moveaxis(expected, 1, -1).reshape(real.shape) if port.layout in ("NCHW", "NCL") else expected
    low, high = ((end - port.quantization.zero_point) * port.quantization.scale for end in (-128, 127))
    expected = np.clip(expected, low, high)  # rounded inputs may lead beyond the range that the network was calibrated for
    return float(np.max(np.abs(real - expected)) / port.quantization.scale)


def _integer_program(graph: Graph, inputs: Sequence[Array]) -> tuple[Graph, Any]:
    """The graph as plain int8, each value over its whole range, and its Program."""
    encoded = graph.with_encodings({op.weight: scalar_quantize(graph.weight(op.weight)) for op in weighted_layers(graph)})
    with torch.no_grad():
        values = TorchGraph(replace(encoded, quantization={})).eval().run(*map(torch.from_numpy, inputs))
    roots = encoded.quantization_roots()
    ranges: dict[str, tuple[float, float]] = {}
    for name, root in roots.items():
        low, high = ranges.get(root, (0.0, 0.0))
        ranges[root] = min(low, float(values[name].min())), max(high, float(values[name].max()))
    fixed = graph.fixed_quantization()
    quantization = {name: fixed.get(root) or quantization_of_range(*ranges[root]) for name, root in roots.items()}
    encoded = replace(encoded, encodings=encoded.encodings, quantization=quantization)
    return encoded, build_program(encoded, target_by_name("generic"))


def document() -> str:
    """The text of onnx-node-tests.md."""
    found = suite()
    operators = Counter(case.operator for case in found.cases)
    lines = [
        "# ONNX's node tests",
        "",
        *textwrap.wrap(
            f"Written by `make documents` (benchmarks/onnx_node_tests.py) from the tests that onnx {onnx.__version__} makes. "
            "A test of one node is a network here: its first input is data (or all inputs of one shape are), the others are constants. "
            "Where the first axis is not 1 it holds so many samples, or the shape gets ones in front and axes are counted on. Of several "
            "outputs the first is taken. A node that computes nothing, or only the order of a vector, gets one more after it. `make test` "
            "runs every test in scope: in float it must keep ONNX's own tolerance, and through the integer interpreter (plain int8, every "
            f"value over its whole range) stay within {STEPS} steps of its output from the float network with the same rounded inputs and "
            "weights.",
            140,
            break_on_hyphens=False,
        ),
        "",
        f"## In scope: {len(found.cases)} tests of {len(operators)} operators",
        "",
        "| operator | tests |",
        "| --- | --- |",
        *(
            f"| {operator} | {', '.join(_shown(case) for case in found.cases if case.operator == operator)} |"
            for operator in sorted(operators)
        ),
        "",
        f"## Excluded: {len(found.excluded)} tests of operators that are supported",
        "",
        "| operator | reason | tests |",
        "| --- | --- | --- |",
    ]
    groups: dict[tuple[str, str], list[str]] = {}
    for excluded in found.excluded:
        groups.setdefault((excluded.operator, excluded.reason), []).append(excluded.name.removeprefix("test_"))
    lines += [
        f"| {operator} | {reason.splitlines()[0].replace('|', chr(92) + '|')} | {', '.join(names)} |"
        for (operator, reason), names in sorted(groups.items())
    ]
    lines += [
        "",
        f"## Not supported: {sum(found.unsupported.values())} tests of {len(found.unsupported)} operators",
        "",
        ", ".join(f"{operator} {count}" for operator, count in sorted(found.unsupported.items())),
        "",
    ]
    return "\n".join(lines)


def _shown(case: Case) -> str:
    return case.name.removeprefix("test_") + (f" ({case.how})" if case.how else "")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
