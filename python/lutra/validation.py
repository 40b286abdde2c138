"""The C of a model against labels, its float network, the interpreter and a board."""

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lutra.boards import board_by_name, build_firmware, emulated_port, open_port, run_firmware, run_on_line
from lutra.dataset import Dataset
from lutra.host import Bundle, open_bundle
from lutra.host.bundle import dequantize, quantize
from lutra.host.manifest import Port, read_manifest
from lutra.metrics import Metric, metric_by_name
from lutra_compiler.driver import Model, generate_bundle, weights_sha256
from lutra_compiler.errors import BundleError, DataError
from lutra_compiler.ir.graph import Graph
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.program import Program
from lutra_compiler.target import DEFAULT_TARGET, target_by_name

_LOG = logging.getLogger(__name__)

COMPARED_SAMPLES = 100
_FEW_OUTSIDE = 0.05  # of the values of samples: calibration leaves outliers outside what int8 holds
DEVIATION = 0.5  # relative L2 error from which on a layer counts as deviating


@dataclass(frozen=True)
class Comparison:
    """Which targets gave the same bytes on `samples` samples, or did not; of each that did not, `differing` samples of the host's."""

    samples: int
    targets: tuple[str, ...]
    differing: Mapping[str, int]

    @property
    def bit_exact(self) -> bool:
        """Whether all gave the same bytes."""
        return not self.differing


@dataclass(frozen=True)
class Difference:
    """Outputs of the C against those of the float network: root mean square, mean absolute and relative L2 error, cosine similarity.

    `agreement` is the part of the samples where both have their highest score at the same class; `worst_sample` is the number, from 0, of
    the one with the largest relative L2 error, `worst_l2r`.
    """

    rmse: float
    mae: float
    l2r: float
    cos: float
    agreement: float
    worst_sample: int
    worst_l2r: float


@dataclass(frozen=True)
class LayerDifference:
    """What a layer computes in integers against the value of the same name in the float network: `l2r` and `cos` as in Difference, None
    where that has no such value, as after pruning. Against the same weights in float arithmetic: `rounding`, a relative L2 error, and
    `steps`, the root mean square error in steps of the layer's output. `bit_exact`: whether C and interpreter gave the same bytes here.
    """

    name: str
    output_shape: tuple[int, ...]
    l2r: float | None
    cos: float | None
    rounding: float
    steps: float
    bit_exact: bool

    @property
    def error(self) -> float:
        """The relative L2 error against the float network where that is known, else against the same weights in float arithmetic."""
        return self.rounding if self.l2r is None else self.l2r


@dataclass(frozen=True)
class MetricValue:
    """A task's own metric of the C, and of the float network where it ran."""

    name: str
    value: float
    float_value: float | None


@dataclass(frozen=True)
class Timing:
    """What a board on a serial port counted: the median of its samples' cycles, in all and by layer, of `hz` a second."""

    hz: int
    cycles: int
    layer_cycles: tuple[int, ...]
    stack_bytes: int

    @property
    def seconds(self) -> float:
        """Of a run."""
        return self.cycles / self.hz


@dataclass(frozen=True)
class Validation:
    """What `validate` found; None is what could not be known. Accuracies are parts of 1, sizes bytes.

    `float_accuracy_source` is "measured" if the float network ran on the same samples, "recorded" if the file says it; `float_sha256` is
    of that network's weights.
    """

    model: str
    samples: int
    float_parameter_bytes: int | None
    int8_model_bytes: int | None
    model_bytes: int
    arena_bytes: int
    accuracy: float | None
    float_accuracy: float | None
    float_accuracy_source: str | None
    float_sha256: str | None
    difference: Difference | None
    tables_intact: bool
    comparison: Comparison | None
    layers: tuple[LayerDifference, ...] = ()
    metric: MetricValue | None = None
    deviation: float = DEVIATION
    timing: Timing | None = None

    @property
    def first_deviating(self) -> LayerDifference | None:
        """The first layer whose bytes differ, or whose error is above `deviation`."""
        return next((layer for layer in self.layers if not layer.bit_exact or layer.error > self.deviation), None)

    @property
    def drop(self) -> float | None:
        """Percentage points by which the metric, else the accuracy, is below the float network's; None if one is not known."""
        pair = (self.accuracy, self.float_accuracy) if self.metric is None else (self.metric.value, self.metric.float_value)
        return None if pair[0] is None or pair[1] is None else 100 * (pair[1] - pair[0])

    @property
    def ratio(self) -> float | None:
        """Float parameter bytes a model byte."""
        return None if self.float_parameter_bytes is None else self.float_parameter_bytes / self.model_bytes

    @property
    def int8_ratio(self) -> float | None:
        """Plain int8 model bytes a model byte."""
        return None if self.int8_model_bytes is None else self.int8_model_bytes / self.model_bytes

    @property
    def bit_exact(self) -> bool | None:
        """Whether all that was compared gave the same bytes; None if nothing was compared."""
        return None if self.comparison is None else self.comparison.bit_exact


@dataclass(frozen=True)
class Question:
    """What to find out: `board` also runs the C in QEMU, and the board on the serial port `port` does; `metric` is the name of the task's
    own, `layers`: compare layer by layer, with torch.
    """

    board: str | None = None
    port: str | None = None
    metric: str | None = None
    metric_function: Metric | None = None
    deviation: float = DEVIATION
    layers: bool = True


def validate_model(name: str, model: Model, data: Dataset, reference: Model | None, question: Question) -> Validation:
    """Validate an encoded and calibrated model through the bundle that `generate` makes of it."""
    data.check(model.graph)
    target = target_by_name(DEFAULT_TARGET if question.board is None else board_by_name(question.board).cpu)
    with tempfile.TemporaryDirectory() as folder:
        program = generate_bundle(model, Path(folder, "bundle"), "model", target)
        found = _validate(name, Path(folder, "bundle"), data, reference, question, program)
        if not question.layers:
            return found
        bundle = open_bundle(Path(folder, "bundle"))
        return replace(found, layers=_layers(bundle, program, model, reference, data.head(COMPARED_SAMPLES)))


def validate_bundle(directory: Path, data: Dataset, reference: Model | None, question: Question) -> Validation:
    """Validate a bundle as it is; without its Graph there is no interpreter to compare with."""
    return _validate(str(directory), directory, data, reference, question, None)


def _layers(bundle: Bundle, program: Program, model: Model, reference: Model | None, data: Dataset) -> tuple[LayerDifference, ...]:
    """Every layer with a value of its own; parts of a concatenation count as one layer, when the last of them has run."""
    inputs = [quantize(data.images, bundle.inputs[0])]
    computed, traced = bundle.run_layers(inputs), interpret(program, inputs, trace=True).layers
    same_weights = float_values(replace(model.graph, quantization={}), data)
    original = {} if reference is None else float_values(reference.graph, data)
    found: dict[str, LayerDifference] = {}
    for call, ours, interpreted in zip(program.calls, computed, traced, strict=True):
        value, layer = call.layer.output_value, call.layer
        quantization = model.graph.quantization.get(value)
        if quantization is None:
            continue
        a = (ours.reshape(len(ours), -1).astype(np.float64) - quantization.zero_point) * quantization.scale
        rounded = same_weights[value].reshape(a.shape).astype(np.float64)
        l2r = cos = None
        if value in original and original[value].shape == ours.shape:
            b = original[value].reshape(a.shape).astype(np.float64)
            l2r, cos = _relative(a, b), _cosine(a, b)
        steps = float(np.sqrt(np.square(a - rounded).mean()) / quantization.scale)
        exact, name = np.array_equal(ours, interpreted), layer.source_names[0]
        found.pop(value, None)  # what parts of a concatenation before this one left open
        found[value] = LayerDifference(name, layer.output_shape, l2r, cos, _relative(a, rounded), steps, exact)
    return tuple(found.values())


def float_values(graph: Graph, data: Dataset) -> dict[str, npt.NDArray[np.float32]]:
    """Every value of a network, float32 [n, *shape] in the Graph's NHWC shape. Needs torch."""
    import torch

    from lutra_compiler.compression.torch_graph import TorchGraph

    with torch.no_grad():
        values = TorchGraph(graph).eval().run(torch.from_numpy(data.images))
    return {name: (v.permute(0, 2, 3, 1) if v.ndim == 4 else v).numpy() for name, v in values.items()}


def _validate(
    name: str, directory: Path, data: Dataset, reference: Model | None, question: Question, program: Program | None
) -> Validation:
    bundle = open_bundle(directory)
    if len(bundle.inputs) != 1 or len(bundle.outputs) != 1:
        raise DataError(f"samples are for one input and one output; {name} has {len(bundle.inputs)} and {len(bundle.outputs)}")
    _warn_of_other_values(data, bundle.inputs[0])
    (integers,) = bundle.run_int8([quantize(data.images, bundle.inputs[0])], threads=os.cpu_count() or 1)
    scores = dequantize(integers, bundle.outputs[0])
    float_scores = None if reference is None else run_float(reference, data)
    recorded = bundle.manifest.get("model")
    comparison, timing = _compare(bundle, directory, data.head(COMPARED_SAMPLES), program, question)
    made_of = _text(recorded, "float_sha256")
    if reference is not None and made_of not in (None, weights_sha256(reference.graph)):
        _LOG.warning("the reference has other weights than the network that the model was made of")
    float_accuracy = _number(recorded, "float_accuracy") if float_scores is None else accuracy_of(float_scores, data)
    return Validation(
        model=name,
        samples=len(data),
        float_parameter_bytes=_number(recorded, "float_parameter_bytes"),
        int8_model_bytes=_number(recorded, "int8_model_bytes"),
        model_bytes=_required(bundle, "model_bytes"),
        arena_bytes=_required(bundle, "arena_bytes"),
        accuracy=accuracy_of(scores, data),
        float_accuracy=float_accuracy,
        float_accuracy_source=None if float_accuracy is None else "recorded" if float_scores is None else "measured",
        float_sha256=made_of if reference is None else weights_sha256(reference.graph),
        difference=None if float_scores is None else _difference(scores, float_scores),
        tables_intact=bundle.check(),
        comparison=comparison,
        timing=timing,
        metric=_metric(question, scores, float_scores, data),
        deviation=question.deviation,
    )


def _warn_of_other_values(data: Dataset, port: Port) -> None:
    """Tells of samples that are preprocessed in another way than those that the input was calibrated with."""
    low, high = ((limit - port.zero_point) * port.scale for limit in (-128.5, 127.5))
    outside = float(((data.images < low) | (data.images > high)).mean())
    if outside > _FEW_OUTSIDE:
        _LOG.warning(
            f"{100 * outside:.0f} % of the samples' values are outside {low:.3g} .. {high:.3g}, all that the int8 input '{port.name}' can "
            "hold: preprocess them as for the float network"
        )


def _metric(
    question: Question, scores: npt.NDArray[np.float32], float_scores: npt.NDArray[np.float32] | None, data: Dataset
) -> MetricValue | None:
    if question.metric is None:
        return None
    function = question.metric_function or metric_by_name(question.metric)
    return MetricValue(question.metric, function(scores, data), None if float_scores is None else function(float_scores, data))


def _number(content: Any, key: str) -> Any:
    """A number of a manifest, None if it is not there: whoever made the bundle, what is in it is not trusted."""
    value = content.get(key) if isinstance(content, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(content: Any, key: str) -> str | None:
    value = content.get(key) if isinstance(content, Mapping) else None
    return value if isinstance(value, str) else None


def _required(bundle: Bundle, key: str) -> int:
    value = _number(bundle.manifest, key)
    if not isinstance(value, int) or value < 1:
        raise BundleError(f"the bundle's manifest has no {key}; generate the bundle again")
    return value


def run_float(model: Model, data: Dataset) -> npt.NDArray[np.float32]:
    """Outputs of a float network, in its source's layout [n, ...]. Needs torch."""
    import torch

    from lutra_compiler.compression.torch_graph import TorchGraph

    data.check(model.graph)
    module = TorchGraph(model.graph).eval()
    with torch.no_grad():
        parts: list[npt.NDArray[np.float32]] = [module(batch).numpy() for batch in torch.from_numpy(data.images).split(500)]
    return np.concatenate(parts)


def accuracy_of(scores: npt.NDArray[np.float32], data: Dataset) -> float | None:
    """Part of the samples whose highest score is at their label; None without labels."""
    if data.labels is None:
        return None
    scores = scores.reshape(len(scores), -1)
    if int(data.labels.max()) >= scores.shape[1]:
        raise DataError(f"there is a label {int(data.labels.max())}, but the network has {scores.shape[1]} outputs")
    return float((scores.argmax(1) == data.labels).mean())


def _compare(
    bundle: Bundle, directory: Path, data: Dataset, program: Program | None, question: Question
) -> tuple[Comparison | None, Timing | None]:
    inputs = [quantize(data.images, bundle.inputs[0])]
    results, timing = {"host": bundle.run_int8(inputs)[0]}, None
    if program is not None:
        results["interpreter"] = interpret(program, inputs).outputs[0]
    if question.board is not None:
        results[question.board] = _emulated(directory, question.board, inputs)
    if question.port is not None:
        with open_port(question.port) as line:
            run = run_on_line(line, read_manifest(directory), inputs)
        results[question.port] = run.outputs[0]
        layers = tuple(int(cycles) for cycles in np.median(run.layer_cycles, axis=0))
        timing = Timing(run.hz, int(np.median(run.cycles)), layers, run.stack_bytes)
    if len(results) == 1:
        return None, timing
    differing = {name: int((other != results["host"]).reshape(len(other), -1).any(1).sum()) for name, other in results.items()}
    return Comparison(len(data), tuple(results), {name: count for name, count in differing.items() if count}), timing


def _emulated(directory: Path, board_name: str, inputs: list[npt.NDArray[np.int8]]) -> npt.NDArray[np.int8]:
    """What a board in QEMU computes."""
    with tempfile.TemporaryDirectory() as folder:
        firmware = build_firmware(directory, board_by_name(board_name), Path(folder))
        if firmware.markers is not None:
            return run_firmware(firmware, inputs).outputs[0]
        with emulated_port(firmware) as port, open_port(port) as line:
            return run_on_line(line, firmware.manifest, inputs).outputs[0]


def _difference(scores: npt.NDArray[np.float32], float_scores: npt.NDArray[np.float32]) -> Difference:
    if scores.shape != float_scores.shape:
        raise DataError(f"the float network's outputs are {float_scores.shape[1:]}, the model's {scores.shape[1:]}; are they one network?")
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (scores, float_scores))
    each = np.linalg.norm(a - b, axis=1) / np.maximum(np.linalg.norm(b, axis=1), 1e-30)
    return Difference(
        rmse=float(np.sqrt(np.square(a - b).mean())),
        mae=float(np.abs(a - b).mean()),
        l2r=_relative(a, b),
        cos=_cosine(a, b),
        agreement=float((a.argmax(1) == b.argmax(1)).mean()),
        worst_sample=int(each.argmax()),
        worst_l2r=float(each.max()),
    )


def _relative(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))


def _cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float((a * b).sum()) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30)
