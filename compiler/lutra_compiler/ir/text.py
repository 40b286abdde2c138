"""A Graph as text, an op a line."""

from dataclasses import fields

from lutra_compiler.ir.encoding import ProductQuantized, ScalarQuantized
from lutra_compiler.ir.graph import Graph, Shape
from lutra_compiler.ir.ops import Clamp, Elementwise, Op, Step
from lutra_compiler.ir.shapes import infer_shapes


def to_text(graph: Graph) -> str:
    """Inputs, ops with their shapes, parameters and other than default attributes, and outputs, for people."""
    shapes = infer_shapes(graph)
    lines = [f"input {port.name}: {_shape(port.shape)} {port.layout}" for port in graph.inputs]
    for op in graph.ops:
        attributes = [text for text in (_attribute(graph, op, field.name, field.default) for field in fields(op)) if text]
        arguments = ", ".join([*op.inputs, *attributes])
        lines.append(f"{op.output}: {_shape(shapes[op.output])} = {op.kind}({arguments})")
    return "\n".join([*lines, *(f"output {name}" for name in graph.outputs)]) + "\n"


def _attribute(graph: Graph, op: Op, field: str, default: object) -> str:
    value = getattr(op, field)
    if field in ("name", "inputs", "output") or value == default:
        return ""
    if isinstance(op, Elementwise) and field == "steps":
        return "; ".join(map(_step, op.steps))
    if field in op.parameter_fields:
        return f"{field}={_parameter(graph, value)}"
    if isinstance(value, Clamp):
        return f"{field}={'-inf' if value.minimum is None else value.minimum}..{'inf' if value.maximum is None else value.maximum}"
    return f"{field}={value}"


def _step(step: Step) -> str:
    """Result 0 is x, the others are called by their numbers."""
    operands = [*("x" if index == 0 else f"#{index}" for index in step.inputs), *(f"{constant:g}" for constant in step.constants)]
    return f"{step.function}({', '.join(operands)})"


def _parameter(graph: Graph, name: str) -> str:
    shape = _shape(graph.weight_shape(name))
    match graph.encodings.get(name):
        case ProductQuantized() as encoding:
            return f"{shape} K={encoding.codewords} d={encoding.subvector} {encoding.index_bits}-bit{' coded' if encoding.coded else ''}"
        case ScalarQuantized():
            return f"{shape} int8"
        case _:
            return shape


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))
