"""ONNX files, from opset 7 to the newest, to Graphs. The bytes are untrusted: whatever they hold, a Graph or a LutraError comes out."""

import graphlib
import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.checker
import onnx.defs
import onnx.helper
import onnx.numpy_helper
import onnx.reference
import onnx.shape_inference

from lutra_compiler.errors import GraphError, ModelError, UnsupportedModelError, UnsupportedNode
from lutra_compiler.frontends.builder import MAX_RANK, GraphBuilder, Unbatched, Unsupported, unknown_operator
from lutra_compiler.frontends.external_data import take_in
from lutra_compiler.frontends.onnx_operators import OPERATORS
from lutra_compiler.frontends.operators import Direction, OperatorBuilder
from lutra_compiler.ir.graph import FloatArray, Graph, Shape
from lutra_compiler.ir.ops import Gru, Lstm, Pair, Recurrent
from lutra_compiler.ir.verify import MAX_ELEMENTS, MAX_VALUE_ELEMENTS

# Together these keep reading below 2 GiB of memory.
MAX_FILE_BYTES = 384 << 20
MAX_NODES = 20_000  # nodes and what they read
MAX_PORTS = 1024  # inputs and outputs of the network
MAX_FOLDED = 1 << 26  # elements of 4 bytes of all constants that nodes compute, fewer where the file holds many
OPSETS = range(7, onnx.defs.onnx_opset_version() + 1)
_CHECKED_FROM = {"GroupNormalization": 21}  # before, it was "deprecated" from the day it came; its form is the same

Array = npt.NDArray[Any]

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".zip")
_ARRAYS = (".npz", ".npy")
_ZIP_MAGIC, _PICKLE_MAGIC = b"PK\x03\x04", b"\x80"
_PICKLE_REMEDY = (
    "Lutra never opens pickles, they can run code: in Python, export with torch.onnx.export(module, example_inputs, 'model.onnx') "
    "or call lutra.load(module, example_inputs)"
)
_EXPORT_FLOAT32 = "export the model in float32"

# What is evaluated when all inputs are constant: exporters compute shapes and axes with these. Results stay small
# (see _folded_elements), whatever the file says.
_ELEMENTWISE = frozenset({
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Or", "Pow", "Sub",
    "Where",
})  # fmt: skip
_SHRINKING = frozenset({
    "Abs", "Cast", "CastLike", "Ceil", "Concat", "Constant", "Exp", "Flatten", "Floor", "Identity", "Log", "Neg", "Not", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Shape", "Size", "Slice", "Sqrt", "Squeeze",
    "Transpose", "Unsqueeze",
})  # fmt: skip
_FOLDED = _ELEMENTWISE | _SHRINKING | {"ConstantOfShape", "Expand", "Gather", "Range"}
# What leaves the axes of an image where they are: an input that only these read before a Transpose to NCHW is NHWC.
_KEEPS_AXES = frozenset({
    "Add", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Identity", "Max", "Min", "Mul", "Pad", "QuantizeLinear", "Relu", "Sub",
})  # fmt: skip
# What takes values whose first axis is not the batch: recurrent layers, and what exporters put around them.
_WITHOUT_BATCH = frozenset({
    "Cast", "Concat", "Dropout", "Flatten", "GRU", "Gather", "Identity", "LSTM", "Reshape", "Shape", "Slice", "Squeeze", "Transpose",
    "Unsqueeze",
})  # fmt: skip
# What only moves or selects the numbers of its first input, of Concat of all: it may stand between QuantizeLinear and DequantizeLinear.
_MOVES = frozenset({
    "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool", "ReduceMax", "ReduceMin",
    "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze", "Upsample",
})  # fmt: skip
_TO_NCHW = [0, 3, 1, 2]


def read_onnx(source: Path | bytes, shapes: Mapping[str, Shape] | None = None) -> Graph:
    """The network in an ONNX file, with the weights that it keeps in files beside it, or in its bytes.

    `shapes`: whole shapes of inputs, by name, instead of those that the file declares; "" names the only input. Else a symbolic batch is 1.
    Raises UnsupportedModelError with every unsupported node, ModelError for anything else that is wrong with the file.
    """
    with np.errstate(all="ignore"):  # what overflows here is found by `verify`
        name = f"'{source}'" if isinstance(source, Path) else "the model"
        content = _read(source, name)
        model = _parse(content, name)
        if isinstance(source, Path):
            take_in(model, source.parent, MAX_FILE_BYTES - len(content))
        return _Reader(model, shapes or {}).graph()


def _read(source: Path | bytes, name: str) -> bytes:
    if isinstance(source, Path):
        if source.suffix.lower() in _PICKLES:
            raise ModelError(f"{name} is not ONNX but a PyTorch checkpoint, a pickle or an archive. {_PICKLE_REMEDY}")
        if source.suffix.lower() in _ARRAYS:
            raise ModelError(f"{name} holds samples, not a model; give it with --data")
        if not source.is_file():
            problem = "is not a file" if source.exists() or source.is_symlink() else "does not exist"
            raise ModelError(f"{name} {problem}; give the path of an .onnx or .lutra file, or a bundle's folder where one is taken")
        try:
            size, source = source.stat().st_size, source.read_bytes() if source.stat().st_size <= MAX_FILE_BYTES else b""
        except OSError as error:
            raise ModelError(f"{name} cannot be read: {error.strerror}") from error
    else:
        size = len(source)
    if size > MAX_FILE_BYTES:
        raise ModelError(f"{name} has {size} bytes; the limit is {MAX_FILE_BYTES}")
    if source.startswith((_ZIP_MAGIC, _PICKLE_MAGIC)):
        raise ModelError(f"{name} is not ONNX but a PyTorch checkpoint, a pickle or an archive. {_PICKLE_REMEDY}")
    return source


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # the type depends on protobuf's backend
        raise ModelError(f"{name} is not an ONNX file, or it is truncated; export it again") from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{name} has no operators or no outputs: it is not an ONNX file, or it is truncated; export it again")
    size = sum(1 + len(node.input) for node in model.graph.node)
    if size > MAX_NODES:
        raise ModelError(f"the model has {size} nodes and node inputs; the limit is {MAX_NODES}")
    ports = len(model.graph.input) - len(model.graph.initializer) + len(model.graph.output)
    if ports > MAX_PORTS:
        raise ModelError(f"the model has {ports} inputs and outputs; the limit is {MAX_PORTS}")
    if not all(isinstance(name, str) for name in _names(model.graph)):  # protobuf gives bytes for what is not UTF-8
        raise ModelError("a name in the model is not text: the file is damaged; export it again")
    return model


def _names(graph: onnx.GraphProto) -> Iterator[object]:
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info, *graph.node):
        yield named.name
    for node in graph.node:
        yield from (node.op_type, node.domain, *node.input, *node.output)


@dataclass(frozen=True)
class _Node:
    """A node with what its inputs are: the builder's value, a constant, or None where one was left out."""

    name: str
    operator: str
    opset: int
    inputs: tuple[str | Array | None, ...]
    input_names: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: onnx.NodeProto

    @property
    def outputs(self) -> int:
        """Number of its outputs."""
        return len(self.proto.output)

    def computed(self, inputs: Sequence[Array | None]) -> Array:
        """What ONNX's own evaluator makes of other inputs."""
        feeds = {name: array for name, array in zip(self.input_names, inputs, strict=True) if name and array is not None}
        try:
            (result,) = onnx.reference.ReferenceEvaluator(self.proto, opsets={"": self.opset}).run(None, feeds)
        except Exception as error:  # whatever the evaluator meets in a malformed node
            raise ModelError(f"node '{self.name}' ({self.operator}) cannot be computed: {error}") from error
        return np.asarray(result)

    def value(self, index: int) -> str:
        """An input that the network computes."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(found, str):
            raise Unsupported(f"its input {index} is a constant", "fold it into the operator before it, or leave it out")
        return found

    def constant(self, index: int) -> Array | None:
        """An input that must be constant, None if it was left out."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(found, str):
            raise Unsupported(f"its input {index} ('{self.input_names[index]}') is computed", "export the model with this input constant")
        return found

    def weight(self, index: int) -> FloatArray | None:
        """A constant float32 input, None if it was left out."""
        found = self.constant(index)
        if found is not None and found.dtype != np.float32:
            raise ModelError(f"layer '{self.name}': tensor '{self.input_names[index]}' is {found.dtype}, not float32; {_EXPORT_FLOAT32}")
        return found

    def required_weight(self, index: int) -> FloatArray:
        """A constant float32 input that must be there."""
        found = self.weight(index)
        if found is None:
            raise ModelError(f"node '{self.name}' ({self.operator}) has no input {index}")
        return found

    def required(self, index: int) -> Array:
        """A constant input that must be there."""
        found = self.constant(index)
        if found is None:
            raise ModelError(f"node '{self.name}' ({self.operator}) has no input {index}")
        return found

    def integers(self, index: int) -> list[int] | None:
        """A constant input of integers, None if it was left out."""
        found = self.constant(index)
        if found is None:
            return None
        if found.dtype.kind != "i" or found.ndim > 1 or found.size > 16:
            raise ModelError(f"node '{self.name}': its input '{self.input_names[index]}' must be a short list of integers")
        return [int(number) for number in found.reshape(-1)]

    def scalar(self, index: int) -> float | None:
        """A constant number, None if it was left out."""
        found = self.weight(index)
        if found is None:
            return None
        if found.size != 1:
            raise ModelError(f"node '{self.name}': its input '{self.input_names[index]}' must be one number, not {found.size}")
        return float(found.reshape(-1)[0])

    def pair(self, attribute: str) -> Pair:
        """A two-dimensional attribute, (1, 1) if it was left out."""
        numbers = self.attributes.get(attribute, [1, 1])
        if len(numbers) != 2 or min(numbers) < 1:
            raise Unsupported(f"its {attribute} is {numbers}", "use two-dimensional layers with numbers from 1")
        return int(numbers[0]), int(numbers[1])

    def text(self, attribute: str, default: str) -> str:
        """A text attribute."""
        found: str | bytes = self.attributes.get(attribute, default)
        return found.decode("ascii", "replace") if isinstance(found, bytes) else found

    def forbid(self, attribute: str, allowed: object, remedy: str) -> None:
        """Refuse any value of an attribute but the one that a Graph can express."""
        found = self.attributes.get(attribute, allowed)
        if found != allowed:
            raise Unsupported(f"its {attribute} is {found}", remedy)


class _Reader:
    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
        self._source = model.graph
        self._opset = _opset(model)
        self._ir_version = max(3, min(model.ir_version, onnx.IR_VERSION))  # whatever the file says, an int of C
        self._builder = OperatorBuilder()
        self._tensors = {tensor.name: tensor for tensor in self._source.initializer}
        self._found: dict[str, str | Array] = {}  # what each ONNX value is
        self._unknown: set[str] = set()  # values behind an unsupported node
        self._placeholders: set[str] = set()  # those of them whose shape is known
        self._integers: dict[str, tuple[float, int]] = {}  # scale and zero point of values that are integers in the file
        self._problems: list[UnsupportedNode] = []
        self._invalid: list[ModelError | GraphError] = []
        self._folded = 0  # elements of 4 bytes of constants computed so far
        stored = sum(math.prod(tensor.dims) for tensor in self._source.initializer if min(tensor.dims, default=0) >= 0)
        self._may_fold = max(0, min(MAX_FOLDED, MAX_ELEMENTS - stored))
        self._given = dict(shapes)

    def graph(self) -> Graph:
        """The Graph of the whole model. What is wrong with a node does not keep those after it from being looked at."""
        nodes = self._live_nodes()
        self._read_inputs(nodes)
        declared = {value.name: value for value in [*self._source.value_info, *self._source.output]}
        read = {name for node in nodes for name in node.input} | {value.name for value in self._source.output}
        for node in nodes:
            name, result = node.name or _first_output(node), None
            try:
                result = self._convert(node, name, read)
            except Unsupported as problem:
                self._problems.append(problem.at(name, node.op_type))
            except (ModelError, GraphError) as error:
                self._reject(name, node.op_type, error)
            if result is not None:
                self._found.update(zip(node.output, result if isinstance(result, list) else [result], strict=False))
                continue
            inferred = self._inferred(node)
            for output in filter(None, node.output):
                self._stand_in(output, _static_shape(declared.get(output)) or inferred.get(output))
        if self._invalid and len(self._problems) == 1:
            raise self._invalid[0]
        if self._problems:
            raise UnsupportedModelError(self._problems)
        try:
            return self._builder.build(self._outputs())
        except Unsupported as problem:
            raise UnsupportedModelError([problem.at(", ".join(value.name for value in self._source.output), "output")]) from None

    def _reject(self, name: str, operator: str, error: ModelError | GraphError) -> None:
        self._invalid.append(error)
        self._problems.append(UnsupportedNode(name, operator, str(error), ""))

    def _read_inputs(self, nodes: Sequence[onnx.NodeProto]) -> None:
        inputs = [value for value in self._source.input if value.name not in self._tensors]
        for name in [name for name in self._given if name not in {value.name for value in inputs}]:
            if name or len(inputs) != 1:
                known = ", ".join(f"'{value.name}'" for value in inputs) or "none"
                raise ModelError(f"a shape is given for the input '{name}'; the inputs of the model are {known}")
            self._given[inputs[0].name] = self._given.pop(name)
        for value in inputs:
            try:
                shape = _input_shape(value, self._given.get(value.name))
                self._found[value.name] = self._builder.input(value.name, shape, _is_nhwc(value.name, len(shape), nodes))
            except ModelError as error:
                self._reject(value.name, "input", error)
                self._unknown.add(value.name)

    def _stand_in(self, output: str, shape: Shape | None) -> None:
        """For what could not be computed: a value of its shape, if that is known and possible, to check the nodes after it with."""
        try:
            self._found[output] = self._builder.placeholder(output, shape or ())
            self._placeholders.add(output)
        except ModelError:
            self._unknown.add(output)

    def _inferred(self, node: onnx.NodeProto) -> dict[str, Shape]:
        """Shapes of a node's outputs by ONNX's own rules, as far as they are known."""
        nested = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        unsafe = node.op_type == "Split"  # whose rule believes any number of parts
        if nested or unsafe or any(value in self._unknown for value in node.input):
            return {}
        types, data = {}, {}
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opset, node.domain)
            for name in filter(None, node.input):
                found = self._value(name)
                if isinstance(found, str):
                    types[name] = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, self._builder.source_shape(found))
                else:
                    types[name] = onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(found.dtype), found.shape)
                    if found.size <= 16:
                        data[name] = onnx.numpy_helper.from_array(found, name)
            rank = max((len(kind.tensor_type.shape.dim) for kind in types.values()), default=0)
            if not all(-rank <= attribute.i <= rank for attribute in node.attribute if attribute.name == "axis"):
                return {}  # some rules write there
            opsets = [onnx.helper.make_opsetid(node.domain, self._opset)]
            results = onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=opsets, ir_version=8)
        except Exception:  # whatever ONNX meets in a malformed or foreign node: then its shapes stay unknown
            return {}
        shapes = {name: _static_shape(onnx.helper.make_value_info(name, kind)) for name, kind in results.items()}
        return {name: shape for name, shape in shapes.items() if shape is not None}

    def _outputs(self) -> list[tuple[str, str]]:
        outputs: list[tuple[str, str]] = []
        for name in (value.name for value in self._source.output):
            found = self._found.get(name)
            if not isinstance(found, str):
                raise ModelError(f"output '{name}' does not depend on the network's inputs; remove it")
            if isinstance(found, Unbatched):
                raise _not_first()
            outputs.append((found, name))
        return outputs

    def _check(self, node: onnx.NodeProto) -> None:
        context = onnx.checker.C.CheckerContext()
        context.ir_version = self._ir_version
        context.opset_imports = {"": max(self._opset, _CHECKED_FROM.get(node.op_type, 0))}
        onnx.checker.check_node(node, context)

    def _convert(self, node: onnx.NodeProto, name: str, read: set[str]) -> str | Array | list[str] | None:
        """What the node's first output is, or all of them; None if that cannot be known."""
        handler = _HANDLERS.get(node.op_type)
        if node.domain not in ("", "ai.onnx"):
            raise Unsupported(f"its domain '{node.domain}' is not ONNX's own", "export the model without custom operators")
        if handler is None and node.op_type not in _FOLDED:
            raise unknown_operator(node.op_type)
        if any(value in self._unknown for value in node.input):
            return None
        try:
            self._check(node)
        except (onnx.checker.ValidationError, ValueError) as error:
            what = [*str(error).splitlines(), "it holds text that is not UTF-8"][0]
            raise ModelError(f"node '{name}' ({node.op_type}) is not valid ONNX: {what}") from error
        inputs = tuple(self._value(value) if value else None for value in node.input)
        if node.op_type in _FOLDED and not any(isinstance(value, str) for value in inputs):
            return self._fold(node, name, inputs)
        if handler is None:
            raise unknown_operator(node.op_type)
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type not in _WITHOUT_BATCH and any(isinstance(value, Unbatched) for value in inputs):
            raise _not_first()
        try:
            self._follow_integers(node, inputs)
            result = handler(self._builder, _Node(name, node.op_type, self._opset, inputs, tuple(node.input), attributes, node))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # a node as no handler expects it
            raise ModelError(f"node '{name}' ({node.op_type}) has inputs or attributes that do not fit together ({error})") from error
        known = len(result) if isinstance(result, list) else 1
        for number, output in enumerate(node.output[known:], known + 1):
            if output in read:
                place = {2: "second", 3: "third"}.get(number, f"{number}th")
                raise Unsupported(f"its {place} output is used", f"use its first output{'s' if known > 1 else ''} only")
        return result

    def _follow_integers(self, node: onnx.NodeProto, inputs: Sequence[str | Array | None]) -> None:
        """Integers are real numbers here, so they may only be moved until a DequantizeLinear takes them as they are. Raises Unsupported."""
        first = node.input[0] if node.input else ""
        if node.op_type == "QuantizeLinear":
            if (grid := _grid(inputs)) is not None:
                self._integers[node.output[0]] = grid
        elif node.op_type == "DequantizeLinear":
            if isinstance(inputs[0], str) and first not in self._placeholders and self._integers.get(first, ()) != _grid(inputs):
                raise Unsupported(
                    f"its scale and zero point are not those that '{first}' was quantized with",
                    "give a DequantizeLinear those of the QuantizeLinear before it",
                )
        elif found := {name: self._integers[name] for name in node.input if name in self._integers}:
            data = node.input if node.op_type == "Concat" else [first]
            if node.op_type not in _MOVES or first not in found or len({self._integers.get(name) for name in data}) > 1:
                raise Unsupported(
                    "it computes with integers, between QuantizeLinear and DequantizeLinear", "put it behind the DequantizeLinear"
                )
            self._integers.update(dict.fromkeys(node.output, found[first]))

    def _value(self, name: str) -> str | Array:
        if name not in self._found:
            self._found[name] = _array(self._tensors[name])
        return self._found[name]

    def _fold(self, node: onnx.NodeProto, name: str, inputs: Sequence[Any]) -> Array:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _array(attribute.t)  # the same checks as for initializers
        feeds = {value: array for value, array in zip(node.input, inputs, strict=True) if value}
        try:
            wide = max((array.itemsize for array in feeds.values()), default=4)
            self._folded += _folded_elements(node.op_type, list(feeds.values())) * max(1, wide // 4)
            if self._folded > self._may_fold:
                raise ModelError(f"node '{name}' ({node.op_type}): constants computed by nodes exceed {self._may_fold} elements")
            (result,) = onnx.reference.ReferenceEvaluator(node, opsets={"": self._opset}).run(None, feeds)
        except ModelError:
            raise
        except Exception as error:  # whatever the evaluator meets in a malformed node
            raise ModelError(f"node '{name}' ({node.op_type}) cannot be computed from its constant inputs: {error}") from error
        return _real(np.asarray(result), f"the result of node '{name}' ({node.op_type})")

    def _live_nodes(self) -> list[onnx.NodeProto]:
        """The nodes that outputs depend on, every one after those it reads, else in the order of the file."""
        nodes = self._source.node
        producer = self._producers()
        sources: dict[int, set[int]] = {}  # of every live node, the nodes that it reads
        wanted = [value.name for value in self._source.output]
        while wanted:
            index = producer.get(wanted.pop())
            if index is not None and index not in sources:
                reads = [value for value in nodes[index].input if value in producer]
                sources[index] = {producer[value] for value in reads}
                wanted.extend(reads)
        sorter = graphlib.TopologicalSorter(sources)
        try:
            sorter.prepare()
        except graphlib.CycleError as error:
            node = nodes[error.args[1][0]]
            raise ModelError(f"node '{node.name}' ({node.op_type}) is on a cycle; export the model again") from error
        order, ready = [], list[int]()
        while sorter.is_active():
            for index in sorter.get_ready():
                heapq.heappush(ready, index)
            order.append(nodes[heapq.heappop(ready)])
            sorter.done(producer[_first_output(order[-1])])
        return order

    def _producers(self) -> dict[str, int]:
        """The node that computes each value; names are checked: unique, and none read that is not there."""
        if self._source.sparse_initializer:
            raise ModelError("the model has sparse weights; export it again with dense weights")
        given = [tensor.name for tensor in self._source.initializer]
        given += [value.name for value in self._source.input if value.name not in self._tensors]
        producer: dict[str, int] = {}
        for index, node in enumerate(self._source.node):
            if not any(node.output):
                raise ModelError(f"node '{node.name}' ({node.op_type}) has no output; export the model again")
            producer.update({output: index for output in node.output if output})
        names = Counter([*given, *(output for node in self._source.node for output in node.output if output)])
        for name, count in names.items():
            if count > 1:
                raise ModelError(f"value '{name}' is defined {count} times; export the model again")
        for name in (*(value for node in self._source.node for value in node.input if value), *(v.name for v in self._source.output)):
            if name not in names:
                raise ModelError(f"value '{name}' is read but never defined; the file is damaged, export the model again")
        return producer


def _grid(inputs: Sequence[str | Array | None]) -> tuple[float, int] | None:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear with one of each."""
    scale, zero = inputs[1], inputs[2] if len(inputs) > 2 else None
    if not isinstance(scale, np.ndarray) or isinstance(zero, str) or scale.size != 1 or (zero is not None and zero.size != 1):
        return None
    return float(scale.reshape(-1)[0]), 0 if zero is None else int(zero.reshape(-1)[0])


def _first_output(node: onnx.NodeProto) -> str:
    """The first output that is not left out."""
    return str(next(filter(None, node.output)))


def _not_first() -> Unsupported:
    return Unsupported("the batch is not the first axis of its input", "keep it there, but around recurrent layers")


def _opset(model: onnx.ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in OPSETS:
        found = ", ".join(map(str, versions)) or "none"
        raise ModelError(
            f"the model's ONNX opset is {found}; Lutra reads {OPSETS[0]} to {OPSETS[-1]}: export it with opset_version=18, "
            "or use onnx.version_converter"
        )
    return int(versions[0])


def _input_shape(value: onnx.ValueInfoProto, given: Shape | None) -> Shape:
    """An input's shape with batch 1, or the `given` one. Raises ModelError if it is not a static float32 one."""
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type) if tensor.elem_type in onnx.TensorProto.DataType.values() else "?"
        raise ModelError(f"input '{value.name}' is {kind}, not FLOAT; {_EXPORT_FLOAT32}")
    if given is not None:
        fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        fits = all(size in (None, told) for size, told in zip(fixed[1:], given[1:], strict=False))
        if tensor.HasField("shape") and (len(fixed) != len(given) or not fits):
            shown = [dim.dim_param if size is None else size for dim, size in zip(tensor.shape.dim, fixed, strict=True)]
            raise ModelError(f"input '{value.name}' has shape {shown} in the file; {list(given)} does not fit it")
        if not given or given[0] != 1:
            raise ModelError(f"input '{value.name}': the given shape {list(given)} does not begin with 1; Lutra runs one sample at a time")
        return given
    shape = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            shape.append(dim.dim_value)
        elif axis == 0:
            shape.append(1)
        else:
            raise ModelError(
                f"input '{value.name}': dimension {axis} ('{dim.dim_param}') is not fixed; export the model with static shapes, "
                f"or give them: --shape {value.name}=1,..."
            )
    if shape and shape[0] != 1:
        raise ModelError(f"input '{value.name}' has batch {shape[0]}; export the model with batch 1 or a symbolic batch")
    return tuple(shape)


def _is_nhwc(name: str, rank: int, nodes: Sequence[onnx.NodeProto]) -> bool:
    """Whether an input is an image in NHWC: through nodes that keep its axes, it only comes to transpositions to NCHW.

    `nodes` are in topological order.
    """
    same, transposed = {name}, False
    for node in nodes if rank == 4 else ():
        if same.isdisjoint(node.input):
            continue
        if node.op_type == "Transpose":
            if [list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"] != [_TO_NCHW]:
                return False
            transposed = True
        elif node.op_type in _KEEPS_AXES:
            same.update(node.output)
        else:
            return False
    return transposed


def _static_shape(value: onnx.ValueInfoProto | None) -> Shape | None:
    """The declared shape of a value if a placeholder can have it."""
    if value is None:
        return None
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    shape[:1] = [1]
    return tuple(shape) if 2 <= len(shape) <= MAX_RANK and 0 < math.prod(shape) <= MAX_VALUE_ELEMENTS and min(shape) > 0 else None


def _array(tensor: onnx.TensorProto) -> Array:
    """A constant; its declared size is checked before anything is allocated."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"tensor '{tensor.name}' is in another file, which only initializers of a model read from its own file may be; "
            "store the model in one file: onnx.save(onnx.load('model.onnx'), 'one_file.onnx')"
        )
    if min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) > MAX_ELEMENTS:
        raise ModelError(f"tensor '{tensor.name}' has shape {list(tensor.dims)}; the limit is {MAX_ELEMENTS} elements")
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # data and declared shape or type do not fit
        raise ModelError(f"tensor '{tensor.name}' is damaged ({error}); export the model again") from error
    return _real(array, f"tensor '{tensor.name}'")


def _real(array: Array, name: str) -> Array:
    """The constant itself, which no text and no complex numbers may be."""
    if array.dtype.kind in "cOSU":
        raise ModelError(f"{name} is {array.dtype}; constants are real numbers: {_EXPORT_FLOAT32}")
    return array


def _folded_elements(operator: str, inputs: Sequence[Array]) -> int:
    """An upper bound on the size of what a foldable operator computes."""
    if operator in _ELEMENTWISE:
        return math.prod(np.broadcast_shapes(*(array.shape for array in inputs)))
    if operator == "ConstantOfShape":
        return math.prod(abs(int(size)) for size in inputs[0].reshape(-1))
    if operator == "Expand":
        return inputs[0].size * math.prod(abs(int(size)) for size in inputs[1].reshape(-1))
    if operator == "Gather":
        return inputs[0].size * inputs[1].size
    if operator == "Range":
        start, limit, delta = (float(array.reshape(-1)[0]) for array in inputs)
        return max(0, math.ceil((limit - start) / delta)) if delta else MAX_FOLDED + 1
    return sum(array.size for array in inputs)


def _gemm(b: GraphBuilder, n: _Node) -> str:
    n.forbid("transA", 0, "multiply the activation from the left, untransposed")
    weight, bias = _matrix(n), n.weight(2)
    weight = np.float32(n.attributes.get("alpha", 1.0)) * (weight if n.attributes.get("transB", 0) else weight.T)
    if bias is not None:
        try:
            bias = np.broadcast_to(bias, (1, len(weight)))[0] * np.float32(n.attributes.get("beta", 1.0))
        except ValueError:
            raise Unsupported(f"its C has shape {list(bias.shape)}", f"use one bias for each of the {len(weight)} outputs") from None
    return b.linear(n.name, n.value(0), weight, bias)


def _mat_mul(b: GraphBuilder, n: _Node) -> str:
    return b.linear(n.name, n.value(0), _matrix(n).T, None)


def _matrix(n: _Node) -> FloatArray:
    matrix = n.required_weight(1)
    if matrix.ndim != 2:
        raise Unsupported(f"its weight has shape {list(matrix.shape)}", "use a weight of two dimensions")
    return matrix


def _batch_norm(b: GraphBuilder, n: _Node) -> str:
    n.forbid("spatial", 1, "normalize a channel at a time")  # opset 7 and 8
    n.forbid("training_mode", 0, "export the model in evaluation mode: module.eval()")
    scale, offset, mean, variance = (n.required_weight(index) for index in range(1, 5))
    return b.batch_norm(n.name, n.value(0), scale, offset, mean, variance, n.attributes.get("epsilon", 1e-5))


def _add(b: OperatorBuilder, n: _Node) -> str:
    for constant, value in ((0, 1), (1, 0)):
        if not isinstance(n.inputs[constant], str):
            return b.arithmetic(n.name, "add", n.value(value), n.required_weight(constant))
    return b.add(n.name, n.value(0), n.value(1))


def _slice(b: GraphBuilder, n: _Node) -> str:
    if n.opset < 10:
        starts, ends, axes, steps = n.attributes["starts"], n.attributes["ends"], n.attributes.get("axes"), None
    else:
        starts, ends, axes, steps = n.integers(1) or [], n.integers(2) or [], n.integers(3), n.integers(4)
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ModelError(f"slice '{n.name}': its starts, ends, axes and steps differ in number")
    shape = b.source_shape(n.value(0))
    cuts = zip(_axes(n, axes, len(shape)), starts, ends, steps, strict=True)
    return b.slice(n.name, n.value(0), {axis: slice(start, end, step) for axis, start, end, step in cuts})


def _flatten(b: GraphBuilder, n: _Node) -> str:
    shape = b.source_shape(n.value(0))
    axis = n.attributes.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return b.reshape(n.name, n.value(0), (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _reshape(b: GraphBuilder, n: _Node) -> str:
    before, target = b.source_shape(n.value(0)), n.integers(1) or []
    if not n.attributes.get("allowzero", 0):
        target = [before[axis] if size == 0 and axis < len(before) else size for axis, size in enumerate(target)]
    if target.count(-1) == 1:
        rest = math.prod(size for size in target if size != -1)
        target = [math.prod(before) // max(rest, 1) if size == -1 else size for size in target]
    return b.reshape(n.name, n.value(0), tuple(target))


def _squeeze(b: GraphBuilder, n: _Node) -> str:
    shape = b.source_shape(n.value(0))
    axes = n.integers(1) if n.opset >= 13 else n.attributes.get("axes")
    dropped = [axis for axis, size in enumerate(shape) if size == 1] if axes is None else _axes(n, axes, len(shape))
    return b.reshape(n.name, n.value(0), tuple(size for axis, size in enumerate(shape) if axis not in dropped))


def _unsqueeze(b: GraphBuilder, n: _Node) -> str:
    shape = b.source_shape(n.value(0))
    axes = (n.integers(1) if n.opset >= 13 else n.attributes.get("axes")) or []
    rank = len(shape) + len(axes)
    added, sizes = _axes(n, axes, rank), iter(shape)
    return b.reshape(n.name, n.value(0), tuple(1 if axis in added else next(sizes) for axis in range(rank)))


def _axes(n: _Node, axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from 0, each at most once."""
    counted = [axis + rank if axis < 0 else axis for axis in axes]
    if len(set(counted)) != len(counted) or not all(0 <= axis < rank for axis in counted):
        raise ModelError(f"node '{n.name}': axes {list(axes)} of a tensor of rank {rank}")
    return counted


def _softmax(b: GraphBuilder, n: _Node) -> str:
    shape = b.source_shape(n.value(0))
    if n.opset >= 13:
        return b.softmax(n.name, n.value(0), n.attributes.get("axis", -1))
    axis = n.attributes.get("axis", 1)  # over this axis and all after it
    if math.prod(shape[axis + 1 :]) != 1 and axis != -1:
        raise Unsupported("its softmax joins several axes (opset below 13)", "export the model with opset 13 or later")
    return b.softmax(n.name, n.value(0), axis)


def _dropout(b: GraphBuilder, n: _Node) -> str:
    training = n.constant(2)
    if training is not None and training.any():
        raise Unsupported("it is in training mode", "export the model in evaluation mode: module.eval()")
    return n.value(0)


def _cast(_: GraphBuilder, n: _Node) -> str | Array:
    if n.operator == "Cast":
        n.forbid("to", onnx.TensorProto.FLOAT, _EXPORT_FLOAT32)
        return n.value(0)
    found = n.inputs[0]  # CastLike: every value that the network computes is float32
    return found.astype(np.float32) if isinstance(found, np.ndarray) else n.value(0)


def _clip(b: GraphBuilder, n: _Node) -> str:
    bounds = (n.attributes.get("min"), n.attributes.get("max")) if n.opset < 11 else (n.scalar(1), n.scalar(2))
    return b.clamp(n.name, n.value(0), *bounds)


def _transpose(b: GraphBuilder, n: _Node) -> str:
    rank = len(b.source_shape(n.value(0)))
    permutation = n.attributes.get("perm", list(range(rank))[::-1])
    if sorted(permutation) != list(range(rank)):
        raise ModelError(f"transpose '{n.name}': perm {list(permutation)} of a tensor of rank {rank}")
    return b.transpose(n.name, n.value(0), permutation)


_CELLS: Mapping[str, tuple[type[Recurrent], list[int], list[str]]] = {  # the op, which gate of ONNX each of its gates is, functions
    "LSTM": (Lstm, [0, 2, 3, 1], ["sigmoid", "tanh", "tanh"]),
    "GRU": (Gru, [1, 0, 2], ["sigmoid", "tanh"]),
}


def _recurrent(b: OperatorBuilder, n: _Node) -> list[str]:
    kind, order, functions = _CELLS[n.operator]
    direction = n.text("direction", "forward")
    reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(direction)
    if reverse is None:
        raise ModelError(f"layer '{n.name}': its direction is '{direction}'")
    found = [bytes(name).decode("ascii", "replace").lower() for name in n.attributes.get("activations", [])]
    if found and found != functions * len(reverse):
        raise Unsupported(f"its activations are {', '.join(found)}", "use the default ones: sigmoid and tanh")
    n.forbid("input_forget", 0, "use a forget gate of its own")
    if "clip" in n.attributes:
        raise Unsupported(f"its clip is {n.attributes['clip']}", "leave it out")
    if kind is Gru and n.attributes.get("linear_before_reset", 0) != 1:
        remedy = "reset after it, as PyTorch does, and Keras with reset_after=True"
        raise Unsupported("it resets before the product (linear_before_reset 0)", remedy)
    x = n.value(0)
    shape = b.source_shape(x)
    if len(shape) != 3:
        raise ModelError(f"layer '{n.name}': its input has shape {list(shape)}; it must have three axes")
    batch_first = bool(n.attributes.get("layout", 0))
    steps, batch = shape[1 if batch_first else 0], shape[0 if batch_first else 1]
    if batch != 1:
        raise Unsupported(f"its batch is {batch}", "run one sequence at a time: export with [1, steps, features] and batch first")
    lengths = n.integers(4)
    if lengths is not None and set(lengths) != {steps}:
        raise Unsupported(f"its sequence_lens are {lengths} of {steps}", "give it sequences of one length")
    if n.weight(7) is not None and n.required_weight(7).any():
        raise Unsupported("it has peepholes (P)", "use a layer without them")
    x = x if batch_first else b.transpose(n.name, x, (1, 0, 2))
    weights, recurrent, biases = n.required_weight(1), n.required_weight(2), n.weight(3)
    units = recurrent.shape[-1]
    initial = [n.weight(5 + index) for index in range(kind.states)]

    def gates(rows: FloatArray) -> FloatArray:
        parts = np.split(rows, kind.gates)
        return np.concatenate([parts[gate] for gate in order])

    directions = []
    for index, backwards in enumerate(reverse):
        both = [None, None] if biases is None else [gates(part) for part in np.split(biases[index], 2)]
        states = [np.zeros(units, np.float32) if array is None else array.reshape(len(reverse), units)[index] for array in initial]
        directions.append(Direction(gates(weights[index]), gates(recurrent[index]), both[0], both[1], np.stack(states), backwards))
    sequence, last = b.recurrent(n.name, kind, x, directions)
    count = len(reverse)
    if batch_first:
        together = b.reshape(n.name, b.concat(n.name, last, 1), (1, count, units))
        return [b.reshape(n.name, sequence, (1, steps, count, units)), together]
    whole = b.reshape(n.name, sequence, (1, steps, count, 1, units))
    return [b.unbatched(n.name, whole), b.stacked(n.name, last)]


def _shape(b: GraphBuilder, n: _Node) -> Array:
    return np.array(b.source_shape(n.value(0))[slice(n.attributes.get("start", 0), n.attributes.get("end"))], np.int64)


_HANDLERS: Mapping[str, Callable[[OperatorBuilder, _Node], str | Array | list[str]]] = {
    **OPERATORS,
    "Add": _add,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "CastLike": _cast,
    "Clip": _clip,
    "Concat": lambda b, n: b.concat(n.name, [n.value(index) for index in range(len(n.inputs))], n.attributes["axis"]),
    "Dropout": _dropout,
    "Flatten": _flatten,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda b, n: b.mean(n.name, n.value(0), (2, 3), True),
    "GlobalMaxPool": lambda b, n: b.global_max_pool(n.name, n.value(0)),
    "Identity": lambda _, n: n.value(0),
    "LSTM": _recurrent,
    "MatMul": _mat_mul,
    "Relu": lambda b, n: b.clamp(n.name, n.value(0), 0.0, None),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
