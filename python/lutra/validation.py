"""The C of a model against labels, its float network, the interpreter and a board."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lutra.boards import board_by_name, build_firmware, run_firmware
from lutra.dataset import Dataset
from lutra.host import Bundle, open_bundle
from lutra.host.bundle import dequantize, quantize
from lutra_compiler.driver import Model, generate_bundle, weights_sha256
from lutra_compiler.errors import BundleError, DataError
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.program import Program
from lutra_compiler.target import DEFAULT_TARGET, target_by_name

COMPARED_SAMPLES = 100


@dataclass(frozen=True)
class Comparison:
    """Which targets gave the same bytes on `samples` samples, or did not."""

    samples: int
    targets: tuple[str, ...]
    bit_exact: bool


@dataclass(frozen=True)
class Difference:
    """Outputs of the C against those of the float network: root mean square, mean absolute and relative L2 error, cosine similarity.

    `agreement` is the part of the samples where both have their highest score at the same class.
    """

    rmse: float
    mae: float
    l2r: float
    cos: float
    agreement: float


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


def validate_model(name: str, model: Model, data: Dataset, reference: Model | None, board: str | None) -> Validation:
    """Validate an encoded and calibrated model through the bundle that `generate` makes of it."""
    data.check(model.graph)
    target = target_by_name(DEFAULT_TARGET if board is None else board_by_name(board).cpu)
    with tempfile.TemporaryDirectory() as folder:
        program = generate_bundle(model, Path(folder, "bundle"), "model", target)
        return _validate(name, Path(folder, "bundle"), data, reference, board, program)


def validate_bundle(directory: Path, data: Dataset, reference: Model | None, board: str | None) -> Validation:
    """Validate a bundle as it is; without its Graph there is no interpreter to compare with."""
    return _validate(str(directory), directory, data, reference, board, None)


def _validate(
    name: str, directory: Path, data: Dataset, reference: Model | None, board: str | None, program: Program | None
) -> Validation:
    bundle = open_bundle(directory)
    if len(bundle.inputs) != 1 or len(bundle.outputs) != 1:
        raise DataError(f"samples are for one input and one output; {name} has {len(bundle.inputs)} and {len(bundle.outputs)}")
    (integers,) = bundle.run_int8([quantize(data.images, bundle.inputs[0])], threads=os.cpu_count() or 1)
    scores = dequantize(integers, bundle.outputs[0])
    float_scores = None if reference is None else run_float(reference, data)
    recorded = bundle.manifest.get("model")
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
        float_sha256=_text(recorded, "float_sha256") if reference is None else weights_sha256(reference.graph),
        difference=None if float_scores is None else _difference(scores, float_scores),
        tables_intact=bundle.check(),
        comparison=_compare(bundle, directory, data.head(COMPARED_SAMPLES), program, board),
    )


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


def _compare(bundle: Bundle, directory: Path, data: Dataset, program: Program | None, board: str | None) -> Comparison | None:
    inputs = [quantize(data.images, bundle.inputs[0])]
    results = {"host": bundle.run_int8(inputs)[0]}
    if program is not None:
        results["interpreter"] = interpret(program, inputs).outputs[0]
    if board is not None:
        with tempfile.TemporaryDirectory() as folder:
            results[board] = run_firmware(build_firmware(directory, board_by_name(board), Path(folder)), inputs).outputs[0]
    if len(results) == 1:
        return None
    return Comparison(len(data), tuple(results), all(np.array_equal(results["host"], other) for other in results.values()))


def _difference(scores: npt.NDArray[np.float32], float_scores: npt.NDArray[np.float32]) -> Difference:
    if scores.shape != float_scores.shape:
        raise DataError(f"the float network's outputs are {float_scores.shape[1:]}, the model's {scores.shape[1:]}; are they one network?")
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (scores, float_scores))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return Difference(
        rmse=float(np.sqrt(np.square(a - b).mean())),
        mae=float(np.abs(a - b).mean()),
        l2r=float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30)),
        cos=float((a * b).sum()) / max(norms, 1e-30),
        agreement=float((a.argmax(1) == b.argmax(1)).mean()),
    )
