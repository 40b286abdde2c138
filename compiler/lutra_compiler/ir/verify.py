"""The rules of a Graph, checked between every two passes."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lutra_compiler.errors import GraphError
from lutra_compiler.ir.encoding import ProductQuantized, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.functions import problem_of
from lutra_compiler.ir.graph import Graph, Shape
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Binary,
    Clamp,
    Concat,
    Conv2d,
    Elementwise,
    Linear,
    MaxPool,
    Normalise,
    Op,
    Pad,
    Recurrent,
    Weighted,
)
from lutra_compiler.ir.shapes import infer_shapes

SUBVECTORS = (1, 2, 4, 8, 16)
BINARY_FUNCTIONS = ("add", "subtract", "multiply", "minimum", "maximum")  # of two values
MAX_STEPS = 256  # of an Elementwise
# Far beyond any microcontroller, and what a workstation can still handle in all that is done to a network.
MAX_ELEMENTS = 1 << 27  # of all parameters together: 512 MiB of float32
MAX_VALUE_ELEMENTS = 1 << 24  # of one value: 16 MiB of RAM


def verify(graph: Graph) -> None:
    """Check every rule of the intermediate representation; raises GraphError that names the op and what is wrong with it.

    Values have unique names, are computed before they are read, and are read or are outputs; shapes fit; a parameter belongs
    to one op, has its role's rank, and holds finite float32 numbers or a consistent encoding.
    """
    _check_names(graph)
    for op in graph.ops:
        _check_arity(op)
        for name in op.parameter_names:
            _check_parameter(graph, op, name)
        _check_op(graph, op)
    shapes = infer_shapes(graph)
    for name, shape in shapes.items():
        if min(shape) < 1:
            raise GraphError(f"value '{name}' is empty (shape {shape})")
        if math.prod(shape) > MAX_VALUE_ELEMENTS:
            raise GraphError(f"value '{name}' has {math.prod(shape)} elements (shape {shape}); the limit is {MAX_VALUE_ELEMENTS}")
    _check_uses(graph, shapes)
    for name, quantization in graph.quantization.items():
        if name not in shapes:
            raise GraphError(f"there is a quantization for '{name}', which the network does not compute")
        if not (math.isfinite(quantization.scale) and quantization.scale > 0 and -128 <= quantization.zero_point <= 127):
            raise GraphError(f"value '{name}': {quantization} is not a positive scale with a zero point in -128..127")


def _check_names(graph: Graph) -> None:
    if not graph.inputs or not graph.outputs:
        raise GraphError("a network needs at least one input and one output")
    for port in graph.inputs:
        if (port.layout, len(port.shape)) not in (("NCHW", 3), ("NHWC", 3), ("NCL", 3), ("NF", 1)) or (
            port.layout == "NCL" and port.shape[0] != 1
        ):
            raise GraphError(f"input '{port.name}': layout {port.layout} does not fit shape {port.shape}")
    values = Counter([port.name for port in graph.inputs] + [op.output for op in graph.ops])
    parameters = Counter(name for op in graph.ops for name in op.parameter_names)
    for kind, names in (("value", values), ("output", Counter(graph.outputs)), ("parameter", parameters)):
        for name, count in names.items():
            if count > 1:
                raise GraphError(f"{kind} '{name}' appears {count} times; names must be unique")


def _check_uses(graph: Graph, shapes: dict[str, Shape]) -> None:
    computed = {op.output for op in graph.ops}
    for name in graph.outputs:
        if name not in computed:
            raise GraphError(f"output '{name}' is {'an input' if name in shapes else 'not computed by any op'}")
    used = {name for op in graph.ops for name in op.inputs} | set(graph.outputs)
    for op in graph.ops:
        if op.output not in used:
            raise GraphError(f"op '{op.name}': nothing uses its output '{op.output}'")


def _check_arity(op: Op) -> None:
    least, most = {Add: (2, 2), Binary: (2, 2), Concat: (2, None)}.get(type(op), (1, 1))
    if len(op.inputs) < least or (most is not None and len(op.inputs) > most):
        raise GraphError(f"{op.kind} '{op.name}' cannot have {len(op.inputs)} input(s)")


def _check_parameter(graph: Graph, op: Op, name: str) -> None:
    array, encoding = graph.parameters.get(name), graph.encodings.get(name)
    if (array is None) == (encoding is None):
        raise GraphError(f"op '{op.name}': parameter '{name}' must be in either parameters or encodings")
    if encoding is not None:
        if not isinstance(op, Weighted) or name != op.weight:
            raise GraphError(f"op '{op.name}': only weights are encoded, not '{name}'")
        _check_encoding(op, name, encoding)
    if array is not None:
        if array.dtype != np.float32:
            raise GraphError(f"op '{op.name}': parameter '{name}' is {array.dtype}, not float32")
        wrong = int(array.size - np.isfinite(array).sum())
        if wrong:
            raise GraphError(
                f"op '{op.name}': parameter '{name}' has {wrong} of {array.size} values that are NaN or infinite; train or export it again"
            )


def _check_op(graph: Graph, op: Op) -> None:
    match op:
        case Conv2d() | Linear():
            shape, rank = graph.weight_shape(op.weight), 4 if isinstance(op, Conv2d) else 2
            if len(shape) != rank or min(shape) < 1:
                raise GraphError(f"op '{op.name}': a weight of {op.kind} has {rank} dimensions from 1, not {shape}")
            if op.bias is not None:
                _check_shape(graph, op, op.bias, shape[:1])
        case Recurrent():
            shape = graph.weight_shape(op.weight)
            if len(shape) != 2 or min(shape) < 1 or shape[0] != op.gates * shape[1]:
                raise GraphError(f"op '{op.name}': a weight of {op.kind} has the shape ({op.gates} * units, units), not {shape}")
            if op.bias is not None:
                _check_shape(graph, op, op.bias, shape[:1])
            if op.initial is not None:
                _check_shape(graph, op, op.initial, (op.states, shape[1]))
        case BatchNorm():
            for name in op.parameter_names:
                _check_shape(graph, op, name, (graph.parameters[op.scale].size,))
            if not (graph.parameters[op.variance] + op.epsilon > 0).all():
                raise GraphError(f"batch norm '{op.name}': variance + epsilon must be positive")
        case MaxPool() | AveragePool():
            top, left, bottom, right = op.padding
            if max(top, bottom) >= op.kernel[0] or max(left, right) >= op.kernel[1]:
                raise GraphError(f"{op.kind} '{op.name}': padding {op.padding} must be smaller than the kernel {op.kernel}")
        case Elementwise():
            problem = f"it has {len(op.steps)} steps, the limit is {MAX_STEPS}" if len(op.steps) > MAX_STEPS else problem_of(op.steps)
            if problem:
                raise GraphError(f"elementwise '{op.name}': {problem}")
        case Binary() if op.function not in BINARY_FUNCTIONS:
            raise GraphError(f"binary '{op.name}': its function '{op.function:.40}' must be one of {', '.join(BINARY_FUNCTIONS)}")
        case Normalise() if not (math.isfinite(op.epsilon) and op.epsilon >= 0):
            raise GraphError(f"normalise '{op.name}': its epsilon {op.epsilon} must be a number from 0")
        case Pad() if not math.isfinite(op.value):
            raise GraphError(f"pad '{op.name}': its value {op.value} must be finite")
        case _:
            pass
    clamp = op.clamp if isinstance(op, Activation) else getattr(op, "activation", None)
    if clamp is not None:
        _check_clamp(op, clamp)


def _check_shape(graph: Graph, op: Op, name: str, shape: Shape) -> None:
    if graph.weight_shape(name) != shape:
        raise GraphError(f"op '{op.name}': parameter '{name}' must have shape {shape}, not {graph.weight_shape(name)}")


def _check_clamp(op: Op, clamp: Clamp) -> None:
    bounds = [bound for bound in (clamp.minimum, clamp.maximum) if bound is not None]
    if not all(math.isfinite(bound) for bound in bounds) or bounds != sorted(bounds):
        raise GraphError(f"op '{op.name}': {clamp} needs finite bounds in order")


def _check_encoding(op: Op, name: str, encoding: WeightEncoding) -> None:
    def require(condition: object, rule: str) -> None:
        if not condition:
            raise GraphError(f"op '{op.name}': the encoding of '{name}' is wrong: {rule}")

    shape = encoding.shape
    require(len(shape) > 1 and min(shape) > 0, f"a weight has at least two dimensions from 1, not {shape}")
    scale = encoding.scale
    require(scale.dtype == np.float32 and scale.shape == shape[:1], f"one float32 row scale an output, not {_form(scale)}")
    require(np.isfinite(scale).all() and (scale > 0).all(), "row scales must be positive and finite")
    if isinstance(encoding, ScalarQuantized):
        require(encoding.values.dtype == np.int8, f"values are int8, not {encoding.values.dtype}")
        require((encoding.values >= -127).all(), "values must be in -127..127")
        return
    _check_codebook(encoding, require)


def _check_codebook(encoding: ProductQuantized, require: Callable[[object, str], None]) -> None:
    codebook, indices, shape = encoding.codebook, encoding.indices, encoding.shape
    require(codebook.dtype == np.int8 and codebook.ndim == 2, f"a codebook is int8 [K, d], not {_form(codebook)}")
    codewords, subvector = codebook.shape
    require(codewords in (2, 4, 8, 16, 32, 64, 128, 256), f"K must be a power of two from 2 to 256, not {codewords}")
    require(subvector in SUBVECTORS, f"d must be one of {SUBVECTORS}, not {subvector}")
    expected = (shape[0], math.prod(shape[1:-1]), -(-shape[-1] // subvector))
    require(indices.dtype == np.uint8 and indices.shape == expected, f"indices must be uint8 {expected}, not {_form(indices)}")
    require(indices.max() < codewords, f"index {indices.max()} with {codewords} codewords")
    bits = encoding.index_bits
    require(bits == 8 or (bits == 4 and codewords <= 16), f"{bits}-bit indices with {codewords} codewords")


def _form(array: npt.NDArray[np.generic]) -> str:
    return f"{array.dtype} {array.shape}"
