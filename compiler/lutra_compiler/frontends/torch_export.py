"""torch modules to Graphs, through torch.export."""

import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.export.graph_signature import OutputKind

from lutra_compiler.errors import GraphError, LutraError, ModelError, UnsupportedModelError, UnsupportedNode
from lutra_compiler.frontends.builder import MAX_RANK, GraphBuilder, Unbatched, Unsupported, unknown_operator
from lutra_compiler.frontends.operators import OperatorBuilder
from lutra_compiler.frontends.torch_operators import OPERATORS
from lutra_compiler.ir.graph import FloatArray, Graph, Shape
from lutra_compiler.ir.ops import Padding, Pair


def graph_from_module(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> Graph:
    """The network that a module computes in evaluation mode; the module is left as it was.

    `example_inputs`: float32, images [n, C, H, W] or vectors [n, F]; only their shapes matter, and n does not.
    Raises UnsupportedModelError with every unsupported node, ModelError if torch.export cannot follow the module.
    """
    for index, example in enumerate(example_inputs):
        if not isinstance(example, Tensor) or example.dtype != torch.float32 or example.ndim not in (2, 3, 4):
            form = f"{example.dtype} {list(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
            raise ModelError(
                f"example input {index} is {form}; give float32 tensors [n, channels, height, width], "
                "[n, channels, length] or [n, features]"
            )
    return _graph(_export(module, tuple(example[:1] for example in example_inputs)))


def graph_from_program(program: torch.export.ExportedProgram) -> Graph:
    """The network of an exported program, which must have been exported in evaluation mode; a batch that it fixes must be 1, one that it
    leaves open becomes 1.

    Raises as `graph_from_module`.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own, about itself
        try:
            return _graph(_functional(program))
        except LutraError:
            raise
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModelError(f"the exported program cannot be read: {reason}; export the module again, in evaluation mode") from error


def _graph(program: torch.export.ExportedProgram) -> Graph:
    tensors = _tensors(program)
    builder = OperatorBuilder()
    found: dict[str, Any] = {}  # what each fx node is: a value of the builder or a constant tensor
    owners = {name: _owner(parameter) for name, (parameter, _) in tensors.items()}  # of constants, the module's path
    problems: list[UnsupportedNode] = []
    invalid: list[ModelError | GraphError] = []
    returned = _returned(program)
    live = _live(returned)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            tensor = tensors.get(node.name)
            found[node.name] = builder.input(node.name, _input_shape(node)) if tensor is None else tensor[1]
        elif node.op == "call_function" and node in live:
            owner = next(filter(None, (owners.get(source.name) for source in node.all_input_nodes)), None)
            name = owner or node.name
            try:
                found[node.name] = _convert(builder, node, name, found)
                if owner and isinstance(found[node.name], Tensor):
                    owners[node.name] = owner
                continue
            except Unsupported as problem:
                problems.append(problem.at(name, str(node.target)))
            except (ModelError, GraphError) as error:
                invalid.append(error)
                problems.append(UnsupportedNode(name, str(node.target), str(error), ""))
            shape = _shape(node)
            if 2 <= len(shape) <= MAX_RANK and shape[0] == 1:
                found[node.name] = builder.placeholder(name, shape)
    if invalid and len(problems) == 1:
        raise invalid[0]
    if problems:
        raise UnsupportedModelError(problems)
    outputs = [found[node.name] if isinstance(node, fx.Node) else None for node in returned]
    values = [value for value in outputs if isinstance(value, str)]
    if any(isinstance(value, Unbatched) for value in values):
        raise UnsupportedModelError([_not_first().at(", ".join(values), "output")])
    if len(values) != len(outputs):
        raise ModelError("the module returns something that does not depend on its inputs; return tensors that it computes from them")
    try:
        return builder.build([(value, value) for value in values])
    except Unsupported as problem:
        raise UnsupportedModelError([problem.at(", ".join(values), "output")]) from None


def _returned(program: torch.export.ExportedProgram) -> list[Any]:
    """What `forward` returns, without the buffers that observers or statistics update on the way."""
    returned: Any = program.graph.output_node().args[0]
    pairs = zip(returned, program.graph_signature.output_specs, strict=True)
    return [node for node, spec in pairs if spec.kind == OutputKind.USER_OUTPUT]


def _live(returned: list[Any]) -> set[fx.Node]:
    """The nodes that what is returned depends on."""
    live: set[fx.Node] = set()
    waiting = [node for node in returned if isinstance(node, fx.Node)]
    while waiting:
        node = waiting.pop()
        if node not in live:
            live.add(node)
            waiting.extend(node.all_input_nodes)
    return live


def _input_shape(node: fx.Node) -> Shape:
    sizes = node.meta["val"].shape
    if any(isinstance(size, torch.SymInt) for size in sizes[1:]):
        raise ModelError(f"input '{node.name}' has shape {list(sizes)}; only the batch may be open: export the module with fixed shapes")
    return tuple(map(_size, sizes))


def _size(size: "int | torch.SymInt") -> int:
    """A size with batch 1."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def _export(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """The module as functional ATen operators, traced in evaluation mode."""
    quantized = next((name for name, part in module.named_modules() if ".quantized." in f"{type(part).__module__}."), None)
    if quantized is not None:
        raise ModelError(
            f"layer '{quantized}' of {type(module).__name__} computes in integers already; hand over the module as it was before "
            "torch.ao.quantization.convert: Lutra quantizes it"
        )
    training = {part: part.training for part in module.modules()}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's own, about itself
            return _functional(torch.export.export(module.eval(), inputs))
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"torch.export cannot follow {type(module).__name__}: {reason}; check that the example inputs fit it, "
            "and keep `forward` free of Python control flow over tensor values"
        ) from error
    finally:
        for part, mode in training.items():
            part.training = mode


def _functional(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with operators in place (relu_, add_) replaced by pure ones; no operator is taken apart."""
    try:
        pure: torch.export.ExportedProgram = program.run_decompositions({})
        return pure
    except AssertionError:  # torch 2.13 cannot for modules that torch.ao prepared for quantization-aware training
        return program


def _tensors(program: torch.export.ExportedProgram) -> dict[str, tuple[str, Tensor]]:
    """Copies of parameters, buffers and constants by the name of their placeholder, with their names in the module: observers may write."""
    stored = {**program.state_dict, **program.constants}
    specs = [spec for spec in program.graph_signature.input_specs if spec.target in stored]
    return {spec.arg.name: (spec.target, stored[spec.target].detach().clone()) for spec in specs}


def _owner(parameter: str) -> str:
    """The path of the module that a parameter belongs to; parametrizations are parts of theirs."""
    return parameter.partition(".parametrizations.")[0] if ".parametrizations." in parameter else parameter.rpartition(".")[0]


def _shape(node: fx.Node) -> Shape:
    """The static shape of a node's result, () if that is not one tensor."""
    return tuple(map(_size, getattr(node.meta.get("val"), "shape", ())))


@dataclass(frozen=True)
class _Call:
    """A node with its arguments by the names of the operator's schema."""

    name: str
    shape: Shape
    arguments: Mapping[str, Any]

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def get(self, argument: str) -> Any:
        """An argument that not every form of the operator has."""
        return self.arguments.get(argument)

    def value(self, argument: str) -> str:
        """An argument that the network computes."""
        found: str = self.arguments[argument]
        return _value(found)

    def tensor(self, argument: str) -> FloatArray | None:
        """A constant float32 argument, None if it was left out."""
        return None if self.arguments[argument] is None else self.required_tensor(argument)

    def required_tensor(self, argument: str) -> FloatArray:
        """A constant float32 argument."""
        found = self.arguments[argument]
        if not isinstance(found, Tensor):
            raise Unsupported(f"its '{argument}' is computed by the network or missing", "use a layer with its own parameters")
        if found.dtype != torch.float32:
            raise ModelError(f"layer '{self.name}': its {argument} is {found.dtype}, not torch.float32; convert the module with .float()")
        return found.detach().numpy(force=True)

    def number(self, argument: str) -> float | None:
        """A constant number, None if it was left out."""
        found = self.arguments[argument]
        if isinstance(found, str) or (isinstance(found, Tensor) and found.numel() != 1):
            raise Unsupported(f"its '{argument}' is not one constant number", "use one number")
        return None if found is None else float(found)

    def pair(self, argument: str) -> Pair:
        """One number for both axes, or two."""
        numbers = self.arguments[argument]
        numbers = [numbers] if isinstance(numbers, int) else numbers
        return int(numbers[0]), int(numbers[-1])


def _value(found: Any) -> str:
    if not isinstance(found, str):
        raise Unsupported("it computes with a constant where a Graph needs a value", "make it part of the layer before it")
    return found


def _convert(b: OperatorBuilder, node: fx.Node, name: str, found: Mapping[str, Any]) -> Any:
    """What a node's result is, None if that cannot be known."""
    sources = [found.get(source.name) for source in node.all_input_nodes]
    if node.target is operator.getitem:
        index = node.args[1]
        if isinstance(sources[0], tuple | list) and isinstance(index, int):
            if isinstance(sources[0][index], Unsupported):
                raise sources[0][index]
            return sources[0][index]  # of constants, or of several results
        if sources[0] is not None and index != 0:
            raise Unsupported("its second result is used", "use its first result only")
        return sources[0]
    operation = node.target if isinstance(node.target, OpOverload) else None
    random = operation is not None and torch.Tag.nondeterministic_seeded in operation.tags
    constant = not random and all(isinstance(source, Tensor) for source in sources)
    kind = str(node.target) if operation is None else operation._schema.name.removeprefix("aten::")
    handler = _HANDLERS.get(kind)
    if operation is None or (handler is None and not constant):
        raise unknown_operator(kind)
    if any(source is None for source in sources):
        return None
    positional, named = fx.node.map_arg((node.args, node.kwargs), lambda source: found[source.name])
    if handler is None or constant:
        return operation(*positional, **named)
    if kind not in _WITHOUT_BATCH and any(isinstance(source, Unbatched) for source in sources):
        raise _not_first()
    arguments = {argument.name: argument.default_value for argument in operation._schema.arguments}
    arguments.update(zip(arguments, positional, strict=False))
    try:
        return handler(b, _Call(name, _shape(node), arguments | named))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # a node as no handler expects it
        raise ModelError(f"node '{name}' ({kind}) has arguments that do not fit together ({error})") from error


# What takes values whose first axis is not the batch: recurrent layers, and what stands around them.
_WITHOUT_BATCH = frozenset({
    "_assert_tensor_metadata", "alias", "cat", "clone", "concat", "contiguous", "detach", "dropout", "flatten", "gru", "index_select",
    "lstm", "permute", "reshape", "select", "slice", "squeeze", "sym_size", "transpose", "unsqueeze", "view",
})  # fmt: skip


def _not_first() -> Unsupported:
    return Unsupported("the batch is not the first axis of its input", "keep it there, but around recurrent layers")


def _padding(numbers: Pair) -> Padding:
    return (*numbers, *numbers)


def _addmm(b: GraphBuilder, call: _Call) -> str:
    weight, bias = call.required_tensor("mat2").T * np.float32(call["alpha"]), call.required_tensor("self")
    bias = np.broadcast_to(bias, (1, len(weight)))[0] * np.float32(call["beta"])
    return b.linear(call.name, call.value("mat1"), weight, bias)


def _batch_norm(b: GraphBuilder, call: _Call) -> str:
    if call.get("training") or call.arguments.get("use_input_stats"):
        raise Unsupported("it normalizes by the batch's own statistics", "keep running ones, and export in evaluation mode: module.eval()")
    mean, variance = call.required_tensor("running_mean"), call.required_tensor("running_var")
    scale, offset = call.tensor("weight"), call.tensor("bias")
    scale = np.ones_like(mean) if scale is None else scale
    offset = np.zeros_like(mean) if offset is None else offset
    return b.batch_norm(call.name, call.value("input"), scale, offset, mean, variance, call["eps"])


def _dropout(_: GraphBuilder, call: _Call) -> str:
    if call["train"]:
        raise Unsupported("it is in training mode", "use nn.Dropout and export in evaluation mode: module.eval()")
    return call.value("input")


def _max_pool2d(b: GraphBuilder, call: _Call) -> str:
    if call.pair("dilation") != (1, 1):
        raise Unsupported(f"its dilation is {call.pair('dilation')}", "use windows without dilation")
    kernel = call.pair("kernel_size")
    stride = call.pair("stride") if call["stride"] else kernel
    return b.max_pool(call.name, call.value("self"), kernel, stride, _padding(call.pair("padding")), call["ceil_mode"])


def _avg_pool2d(b: GraphBuilder, call: _Call) -> str:
    if call["divisor_override"] is not None:
        raise Unsupported(f"its divisor is {call['divisor_override']}", "leave divisor_override out")
    kernel = call.pair("kernel_size")
    stride = call.pair("stride") if call["stride"] else kernel
    padding, include = _padding(call.pair("padding")), call["count_include_pad"]
    return b.average_pool(call.name, call.value("self"), kernel, stride, padding, call["ceil_mode"], include)


def _adaptive_window(b: GraphBuilder, call: _Call) -> Pair:
    """Kernel and stride of the pooling that gives the output size."""
    b.require_image(call.value("self"), ranks=(4,))
    (in_height, in_width), (height, width) = b.source_shape(call.value("self"))[2:], call.pair("output_size")
    if in_height % height or in_width % width:
        raise Unsupported(f"it pools {in_height}x{in_width} to {height}x{width}", "use an output size that divides the input's")
    return in_height // height, in_width // width


def _adaptive_avg_pool2d(b: GraphBuilder, call: _Call) -> str:
    window = _adaptive_window(b, call)
    return b.average_pool(call.name, call.value("self"), window, window, (0, 0, 0, 0), False, False)


def _adaptive_max_pool2d(b: GraphBuilder, call: _Call) -> str:
    window = _adaptive_window(b, call)
    return b.max_pool(call.name, call.value("self"), window, window, (0, 0, 0, 0), False)


def _fake_quantized(argument: str) -> Callable[[GraphBuilder, _Call], str]:
    """A handler for rounding in training: Lutra finds the ranges of values itself and rounds them when it lowers the network."""
    return lambda _, call: call.value(argument)


def _cat(b: GraphBuilder, call: _Call) -> str:
    return b.concat(call.name, [_value(found) for found in call["tensors"]], call["dim"])


def _same(b: GraphBuilder, call: _Call) -> str:
    return call.value("self")


def _reshape(b: GraphBuilder, call: _Call) -> str:
    return b.reshape(call.name, call.value("self"), call.shape)


def _matmul(argument: str) -> Callable[[GraphBuilder, _Call], str]:
    return lambda b, call: b.linear(call.name, call.value("self"), call.required_tensor(argument).T, None)


def _clamp(minimum: str | None, maximum: str | None) -> Callable[[GraphBuilder, _Call], str]:
    """A handler for clamps whose bounds are in the arguments of these names."""

    def handler(b: GraphBuilder, call: _Call) -> str:
        low, high = (None if argument is None else call.number(argument) for argument in (minimum, maximum))
        return b.clamp(call.name, call.value("self"), low, high)

    return handler


_HANDLERS: Mapping[str, Callable[[OperatorBuilder, _Call], str | int | list[str]]] = {
    **OPERATORS,
    "_assert_tensor_metadata": lambda _, call: call.value("a"),
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams": _fake_quantized("self"),
    "_fused_moving_avg_obs_fq_helper": _fake_quantized("self"),
    "_fused_moving_avg_obs_fq_helper_functional": _fake_quantized("self"),
    "_native_batch_norm_legit_no_training": _batch_norm,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "adaptive_max_pool2d": _adaptive_max_pool2d,
    "addmm": _addmm,
    "avg_pool2d": _avg_pool2d,
    "batch_norm": _batch_norm,
    "cat": _cat,
    "clamp": _clamp("min", "max"),
    "clamp_max": _clamp(None, "max"),
    "clamp_min": _clamp("min", None),
    "clone": _same,
    "concat": _cat,
    "contiguous": _same,
    "alias": _same,
    "detach": _same,
    "dropout": _dropout,
    "fake_quantize_per_tensor_affine": _fake_quantized("self"),
    "fake_quantize_per_tensor_affine_cachemask": _fake_quantized("self"),
    "flatten": _reshape,
    "fused_moving_avg_obs_fake_quant": _fake_quantized("self"),
    "hardtanh": _clamp("min_val", "max_val"),
    "linear": lambda b, call: b.linear(call.name, call.value("input"), call.required_tensor("weight"), call.tensor("bias")),
    "matmul": _matmul("other"),
    "max_pool2d": _max_pool2d,
    "mm": _matmul("mat2"),
    "quantized_decomposed::dequantize_per_tensor": _fake_quantized("input"),
    "quantized_decomposed::quantize_per_tensor": _fake_quantized("input"),
    "relu": lambda b, call: b.clamp(call.name, call.value("self"), 0.0, None),
    "relu6": lambda b, call: b.clamp(call.name, call.value("self"), 0.0, 6.0),
    "softmax": lambda b, call: b.softmax(call.name, call.value("self"), call["dim"]),
    "sym_size": lambda b, call: b.source_shape(call.value("self"))[call["dim"]],
}
