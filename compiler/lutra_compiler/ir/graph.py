"""Graph: the one representation of a network, whatever file or module it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.encoding import HIDDEN_STATE, SOFTMAX_OUTPUT, Quantization, WeightEncoding
from lutra_compiler.ir.ops import BatchNorm, Flatten, Gather, MaxPool, Op, Pad, Rearrange, Recurrent, Select, Slice, Softmax, Upsample

FloatArray = npt.NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Input:
    """An input of the network. `shape` is the Graph's: (height, width, channels) or (features,).

    `layout` is how the source model's users hand samples over: "NCHW", "NHWC", "NCL" (of height 1) or "NF".
    """

    name: str
    shape: Shape
    layout: str

    @property
    def source_shape(self) -> Shape:
        """Per-sample shape in the source's layout."""
        if self.layout == "NCHW":
            height, width, channels = self.shape
            return (channels, height, width)
        return self.shape[:0:-1] if self.layout == "NCL" else self.shape


@dataclass(frozen=True)
class Graph:
    """A network as values, operators in topological order, and parameters.

    `parameters` holds float32 arrays by name. A weight that was compressed lives in `encodings` instead of `parameters`.
    `quantization` gives the int8 scale and zero point of every materialised value once the network was calibrated.
    """

    inputs: tuple[Input, ...]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, FloatArray]
    encodings: Mapping[str, WeightEncoding] = field(default_factory=dict)
    quantization: Mapping[str, Quantization] = field(default_factory=dict)

    def fixed_quantization(self) -> dict[str, Quantization]:
        """That of values whose range is known: what softmaxes and recurrent layers put out."""
        fixed = {op.output: SOFTMAX_OUTPUT for op in self.ops if isinstance(op, Softmax)}
        return fixed | {op.output: HIDDEN_STATE for op in self.ops if isinstance(op, Recurrent)}

    def output_layout(self, shape: Shape) -> str:
        """How the source model hands back an output of this shape: images as those that enter, or, where none do, as PyTorch and ONNX
        have them."""
        if len(shape) != 3:
            return "NF"
        layout = next((port.layout for port in self.inputs if len(port.shape) == 3), "NCHW")
        return "NCHW" if layout == "NCL" and shape[0] != 1 else layout

    def weight(self, name: str) -> FloatArray:
        """A parameter in float32, decoded if it is stored compressed."""
        encoding = self.encodings.get(name)
        return self.parameters[name] if encoding is None else encoding.dense()

    def weight_shape(self, name: str) -> Shape:
        """Shape of a parameter, compressed or not."""
        encoding = self.encodings.get(name)
        return self.parameters[name].shape if encoding is None else encoding.shape

    def producer(self, value: str) -> Op | None:
        """The op that computes `value`, or None for an input."""
        return next((op for op in self.ops if op.output == value), None)

    def consumers(self, value: str) -> tuple[Op, ...]:
        """The ops that read `value`, in order."""
        return tuple(op for op in self.ops if value in op.inputs)

    def trainable_parameters(self) -> int:
        """Number of trainable scalars: everything but the running statistics of batch norms."""
        statistics = {name for op in self.ops if isinstance(op, BatchNorm) for name in (op.mean, op.variance)}
        names = {name for op in self.ops for name in op.parameter_names} - statistics
        return sum(int(np.prod(self.weight_shape(name))) for name in names)

    def materialised_values(self) -> tuple[str, ...]:
        """Values that exist as int8 arrays on the target: all but those that only feed a batch norm that folds away."""
        values = [i.name for i in self.inputs] + [op.output for op in self.ops]
        return tuple(value for value in values if not self.folds_into_batch_norm(value))

    def quantization_roots(self) -> dict[str, str]:
        """Every materialised value -> the value whose quantization it shares, since no kernel rescales on the way; mostly itself."""
        roots = {name: name for name in self.materialised_values()}
        for op in self.ops:
            if isinstance(op, MaxPool | Pad | Slice | Select | Gather | Flatten | Rearrange | Upsample):
                roots[op.output] = roots[op.inputs[0]]
        return roots

    def folds_into_batch_norm(self, value: str) -> bool:
        """Whether `value` is a convolution's or fully connected layer's output that one batch norm alone consumes."""
        producer, consumers = self.producer(value), self.consumers(value)
        return (
            producer is not None
            and producer.kind in ("conv2d", "linear")
            and getattr(producer, "activation", None) is None
            and value not in self.outputs
            and len(consumers) == 1
            and isinstance(consumers[0], BatchNorm)
        )

    def with_ops(self, ops: "list[Op] | tuple[Op, ...]") -> "Graph":
        """This graph with other ops; parameters and quantization of what is gone are dropped."""
        used = {name for op in ops for name in op.parameter_names}
        values = {port.name for port in self.inputs} | {op.output for op in ops}
        return replace(
            self,
            ops=tuple(ops),
            parameters={name: array for name, array in self.parameters.items() if name in used},
            encodings={name: encoding for name, encoding in self.encodings.items() if name in used},
            quantization={name: quantization for name, quantization in self.quantization.items() if name in values},
        )

    def with_parameters(self, changed: Mapping[str, FloatArray]) -> "Graph":
        """This graph with some parameters replaced (their encodings, if any, are dropped)."""
        return replace(
            self,
            parameters={**self.parameters, **changed},
            encodings={name: e for name, e in self.encodings.items() if name not in changed},
        )

    def with_encodings(self, changed: Mapping[str, WeightEncoding]) -> "Graph":
        """This graph with some weights stored compressed instead of in float."""
        return replace(
            self,
            parameters={name: array for name, array in self.parameters.items() if name not in changed},
            encodings={**self.encodings, **changed},
        )
