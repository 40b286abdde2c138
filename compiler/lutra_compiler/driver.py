"""Joins the stages; nothing else does."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.compression.default_setting import default_setting
from lutra_compiler.config import LayerConfig
from lutra_compiler.errors import LoweringError, ModelError
from lutra_compiler.frontends.onnx_reader import read_onnx
from lutra_compiler.ir.encoding import ProductQuantized, Quantization, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph, Shape
from lutra_compiler.ir.ops import BatchNorm, Weighted
from lutra_compiler.model_file import load_model
from lutra_compiler.passes import canonicalise, prepare_for_lowering
from lutra_compiler.program.choose_kernel import Choose, Limits, bytes_alive
from lutra_compiler.program.cost_model import call_cycles, program_cycles
from lutra_compiler.program.footprint import footprint
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Call, Considered, Program, Role
from lutra_compiler.program.verify import verify
from lutra_compiler.target import TARGETS, Target


@dataclass(frozen=True)
class Model:
    """A network and what is known of it; `metadata` as in model_file."""

    graph: Graph
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_model(path: Path, shapes: Mapping[str, Shape] | None = None) -> Model:
    """A model from an ONNX or .lutra file; `shapes` of an ONNX model's inputs as in `read_onnx`. Raises ModelError."""
    if path.suffix.lower() == ".lutra":
        if shapes:
            raise ModelError(f"{path} has fixed shapes; give shapes for ONNX files only")
        return Model(*load_model(path))
    graph = canonicalise(read_onnx(path, shapes))
    with path.open("rb") as stream:
        return Model(graph, float_metadata(graph, path.stem, hashlib.file_digest(stream, "sha256").hexdigest()))


def float_metadata(graph: Graph, network: str, source_sha256: str | None = None) -> dict[str, Any]:
    """What later stages need to know of the float network that they start from."""
    return {
        "network": network,
        "source_sha256": source_sha256,
        "float_sha256": weights_sha256(graph),
        "float_parameter_bytes": 4 * graph.trainable_parameters(),
    }


def weights_sha256(graph: Graph) -> str:
    """SHA-256 of all float parameters, in the order in which ops use them, whatever they are called."""
    digest = hashlib.sha256()
    for op in graph.ops:
        for name in op.parameter_names:
            digest.update(np.ascontiguousarray(graph.weight(name)).data)
    return digest.hexdigest()


def is_calibrated(graph: Graph) -> bool:
    """Whether the graph has been through calibration, the last thing before lowering: every value has its quantization."""
    return bool(graph.quantization) and all(value in graph.quantization for value in graph.materialised_values())


def build_program(graph: Graph, target: Target, limits: Limits | None = None, choose: Choose | None = None) -> Program:
    """Lower an encoded and calibrated graph; `choose` picks the kernel of each layer (lower.py). Raises LoweringError."""
    if not is_calibrated(graph):
        raise LoweringError("the model has float weights, which firmware cannot run; compress it first (lutra compress)")
    program = lower(prepare_for_lowering(graph), target, limits, choose)
    verify(program)
    return program


def generate_bundle(model: Model, directory: Path, prefix: str, target: Target, limits: Limits | None = None) -> Program:
    """Write the four-file bundle of an encoded and calibrated model to `directory`, all or nothing."""
    program = build_program(model.graph, target, limits)
    write_bundle(emit(program, prefix, model.metadata), directory)
    return program


@dataclass(frozen=True)
class LayerAnalysis:
    """A kernel call: what it computes and what it costs. Of shared tables the first layer bears the bytes."""

    names: tuple[str, ...]
    kind: str
    output_shape: Shape
    parameters: int
    macs: int
    kernel: str
    codewords: int | None
    subvector: int | None
    index_bytes: int
    codebook_bytes: int
    weight_bytes: int
    channel_bytes: int
    other_bytes: int  # descriptor, small tables, padding; of the first layer the CRC-32s as well
    scratch_bytes: int
    ram_bytes: int  # of the arena that are in use during the call
    cycles: float  # estimated
    candidates: tuple[Considered, ...]  # what the kernel was chosen from; their costs include the call that decodes coded indices

    @property
    def model_bytes(self) -> int:
        """All bytes of the layer in flash."""
        return self.index_bytes + self.codebook_bytes + self.weight_bytes + self.channel_bytes + self.other_bytes


@dataclass(frozen=True)
class Analysis:
    """What is in a model and what it costs on a target.

    A float model is shown as plain int8 makes it (`compressed` is False). `float_parameter_bytes` and `int8_model_bytes` are of the
    unpruned float network, None if the file does not say.
    """

    target: str
    compressed: bool
    parameters: int
    macs: int
    float_parameter_bytes: int | None
    int8_model_bytes: int | None
    model_bytes: int
    arena_bytes: int
    code_bytes: int  # kernels and schedule in flash, an upper bound
    stack_bytes: int  # an upper bound
    cycles: float  # estimated, of one inference
    layers: tuple[LayerAnalysis, ...]

    @property
    def flash_bytes(self) -> int:
        """What --flash limits: model and code."""
        return self.model_bytes + self.code_bytes

    @property
    def ram_bytes(self) -> int:
        """What --ram limits: arena and stack."""
        return self.arena_bytes + self.stack_bytes

    @property
    def ratio(self) -> float | None:
        """Float parameter bytes a model byte."""
        return None if self.float_parameter_bytes is None else self.float_parameter_bytes / self.model_bytes

    @property
    def int8_ratio(self) -> float | None:
        """Plain int8 model bytes a model byte."""
        return None if self.int8_model_bytes is None else self.int8_model_bytes / self.model_bytes


def analyze(model: Model, target: Target, limits: Limits | None = None) -> Analysis:
    """Sizes, operations and kernels of a float or compressed model. Raises LutraError if it cannot be compiled for the target."""
    compressed = bool(model.graph.encodings)
    program = build_program(model.graph if compressed else _int8_stand_in(model.graph), target, limits)
    layers = tuple(_analyze_call(program, index, call) for index, call in enumerate(program.calls))
    needed = footprint(program)
    return Analysis(
        target=target.name,
        compressed=compressed,
        parameters=model.graph.trainable_parameters(),
        macs=sum(layer.macs for layer in layers),
        float_parameter_bytes=model.metadata.get("float_parameter_bytes"),
        int8_model_bytes=model.metadata.get("int8_model_bytes") if compressed else program.model_bytes,
        model_bytes=program.model_bytes,
        arena_bytes=program.arena_bytes,
        code_bytes=needed.code,
        stack_bytes=needed.stack,
        cycles=sum(layer.cycles for layer in layers),
        layers=layers,
    )


@dataclass(frozen=True)
class Cost:
    """What a network takes: `name` is a target, or a way to compress it. Bytes as in Analysis, `cycles` estimated."""

    name: str
    model_bytes: int
    flash_bytes: int
    ram_bytes: int
    cycles: float


@dataclass(frozen=True)
class Outlook:
    """What a model would cost elsewhere: on every target; and, of a float model, what compression with default settings could bring.

    `compressed`: "trained" and "reconstructed" without training data, in bytes that do not depend on what is learned; none, and
    `refused` says why, of a float model that cannot be compressed.
    """

    targets: tuple[Cost, ...]
    compressed: tuple[Cost, ...]
    refused: str = ""


def outlook(model: Model, target: Target) -> Outlook:
    """The model on all targets, and a float one compressed on `target`. Raises LoweringError."""
    graph, ways, refused = model.graph, [], ""
    if not graph.encodings:
        ports = len(graph.inputs), len(graph.outputs)
        if ports != (1, 1):
            refused = f"compression is for networks of one input and one output; this has {ports[0]} and {ports[1]}"
        for name, trained in (("trained", True), ("reconstructed", False)) if not refused else ():
            ways.append(_cost(name, _stand_in(graph, partial(default_setting, graph, trained=trained)), target))
        graph = _int8_stand_in(graph)
    return Outlook(tuple(_cost(each.name, graph, each) for each in TARGETS), tuple(ways), refused)


def _cost(name: str, graph: Graph, target: Target) -> Cost:
    program = build_program(graph, target)
    needed = footprint(program)
    estimate = program_cycles(program)
    return Cost(name, needed.model, needed.flash, needed.ram, estimate)


def _int8_stand_in(graph: Graph) -> Graph:
    return _stand_in(graph, lambda op: LayerConfig(kind="int8"))


def _stand_in(graph: Graph, setting: Callable[[Weighted], LayerConfig]) -> Graph:
    """`graph` with its weights stored as `setting` says and with made-up numbers, other ones for each layer: no size depends on them, but
    equal tables are stored once. Zero points are those of values after a ReLU, by which windows beyond the image cost the most."""
    rng = np.random.default_rng(0)

    def encoded(shape: Shape, chosen: LayerConfig) -> WeightEncoding:
        scale = (rng.uniform(0.5, 1, shape[0]) / (127 * np.prod(shape[1:]))).astype(np.float32)  # no row adds up to more than 1
        if chosen.kind == "int8":
            return ScalarQuantized(rng.integers(-127, 128, shape, np.int8), scale)
        largest = min(127, chosen.codeword_norm // chosen.subvector)
        codebook = rng.integers(-largest, largest + 1, (chosen.codewords, chosen.subvector), np.int8)
        places = (shape[0], math.prod(shape[1:-1]), -(-shape[-1] // chosen.subvector))
        return ProductQuantized(codebook, rng.integers(0, chosen.codewords, places, np.uint8), scale, shape, chosen.index_bits)

    norms = {name for op in graph.ops if isinstance(op, BatchNorm) for name in op.parameter_names}
    layers = {op.weight: op for op in graph.ops if isinstance(op, Weighted)}
    parameters = {name: np.full_like(array, name in norms) for name, array in graph.parameters.items()}
    encodings = {name: encoded(graph.weight_shape(name), setting(op)) for name, op in layers.items()}
    fixed = graph.fixed_quantization()
    quantization = {value: fixed.get(root, Quantization(1 / 16, -128)) for value, root in graph.quantization_roots().items()}
    return replace(graph.with_parameters(parameters).with_encodings(encodings), quantization=quantization)


_NAMED_ROLES = (Role.INDICES, Role.CODED, Role.CODEBOOK, Role.WEIGHTS, Role.CHANNELS)  # that an analysis has numbers of their own for


def _analyze_call(program: Program, index: int, call: Call) -> LayerAnalysis:
    sizes = program.bytes_of(index)
    indices, coded_indices, codebook, weights, channels = (sizes.get(role.value, 0) for role in _NAMED_ROLES)
    coded = "indices" in KERNELS[call.kernel].tables
    return LayerAnalysis(
        names=call.layer.source_names,
        kind=call.layer.kind,
        output_shape=call.layer.output_shape,
        parameters=call.layer.parameters,
        macs=call.layer.macs,
        kernel=call.kernel,
        codewords=1 << call.fields["log2_codewords"] if coded else None,
        subvector=call.fields["subvector"] if coded else None,
        index_bytes=indices + coded_indices,
        codebook_bytes=codebook,
        weight_bytes=weights,
        channel_bytes=channels,
        other_bytes=sum(sizes.values()) - indices - coded_indices - codebook - weights - channels,
        scratch_bytes=0 if call.scratch is None else program.buffers[call.scratch].size_bytes,
        ram_bytes=bytes_alive(index, program.buffers),
        cycles=call_cycles(call, program),
        candidates=call.layer.candidates,
    )
