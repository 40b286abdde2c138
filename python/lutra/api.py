"""The Python API: one function a verb of the command line."""

import contextlib
import importlib.util
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lutra import zoo
from lutra.benchmark import Benchmark, bench_bundle
from lutra.boards import Firmware, board_by_name, build_firmware, require_board, require_counting_board
from lutra.budgets import Fit, fit_of
from lutra.dataset import Dataset
from lutra.errors import one_family
from lutra.exports import Export, export_bundle
from lutra.host.manifest import read_manifest
from lutra.metrics import Metric
from lutra.validation import DEVIATION, Question, Validation, accuracy_of, run_float, validate_bundle, validate_model
from lutra_compiler import __version__, driver
from lutra_compiler.budget import Budget
from lutra_compiler.config import CompressionConfig, format_config
from lutra_compiler.driver import Analysis, Model, Outlook
from lutra_compiler.errors import (
    BudgetError,
    CompressionError,
    ConfigurationError,
    DataError,
    LoweringError,
    LutraError,
    ModelError,
    OutputError,
    ToolError,
)
from lutra_compiler.files import write_atomically
from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.ir.graph import Graph
from lutra_compiler.model_file import save_model
from lutra_compiler.passes import canonicalise
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.records import nearest, to_plain
from lutra_compiler.target import DEFAULT_TARGET, target_by_name

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram
    from typing_extensions import TypeIs

    from lutra_compiler.compression.search import Plan, Search
    from lutra_compiler.compression.training import Progress, Samples

Source = str | Path | Model | Graph
_RUN = "run.json"
_LOG = logging.getLogger(__name__)
_PART = re.compile(r"search|attempt-\d+")  # folders in a checkpoint folder


def load(
    source: "str | Path | nn.Module | ExportedProgram",
    example_inputs: "Tensor | tuple[Tensor, ...] | None" = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Model:
    """A model from an .onnx or .lutra file, from the zoo ("zoo:NETWORK", "zoo:NETWORK/POINT"), from an nn.Module, or from what
    torch.export made of one.

    A module needs `example_inputs`: float32 tensors [n, channels, height, width] or [n, features], of which only the shapes matter.
    `shapes` are those of an ONNX model's inputs by name, such as {"input": (1, 3, 32, 32)}, where the file leaves them open.
    Raises ModelError; UnsupportedModelError lists every unsupported operator at once.
    """
    if isinstance(source, str | Path) and not str(source).startswith(zoo.PREFIX):
        return driver.read_model(Path(source), shapes)
    if shapes:
        name = source if isinstance(source, str | Path) else type(source).__name__
        raise ModelError(f"shapes are given to ONNX models alone; {name} has its own")
    if isinstance(source, str | Path):
        return zoo.load(str(source).removeprefix(zoo.PREFIX))
    if _is_exported(source):
        from lutra_compiler.frontends.torch_export import graph_from_program

        graph = canonicalise(graph_from_program(source))
        return Model(graph, driver.float_metadata(graph, "model"))
    if example_inputs is None:
        raise ModelError(f"{type(source).__name__} needs example inputs: lutra.load(module, torch.zeros(1, channels, height, width))")
    _require_torch("modules")
    from lutra_compiler.frontends.torch_export import graph_from_module

    graph = canonicalise(graph_from_module(source, example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)))
    return Model(graph, driver.float_metadata(graph, type(source).__name__))


def _is_exported(source: object) -> "TypeIs[ExportedProgram]":
    if not _has_torch():
        return False
    from torch.export import ExportedProgram

    return isinstance(source, ExportedProgram)


def save(model: Model, path: str | Path) -> None:
    """Write a model, float or compressed, to a .lutra file, whole or not at all."""
    check_output(path)
    save_model(Path(path), model.graph, model.metadata)


def check_output(path: str | Path) -> None:
    """Refuse a file that `save` could not write, before the work is done. Raises OutputError."""
    if Path(path).suffix != ".lutra":
        raise OutputError(f"{path} must end in .lutra, so that it is known for what it is")
    check_writable(path)


def check_writable(path: str | Path) -> None:
    """Refuse a file that could not be written, before the work is done. Raises OutputError."""
    if not os.access(Path(path).parent, os.W_OK) or Path(path).is_dir():
        raise OutputError(f"{path} cannot be written; choose a file in a folder that exists and is writable")


def train(
    network: str,
    *,
    report: "Callable[[Progress], None] | None" = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> Model:
    """Train a float network of the zoo from scratch by its published recipe.

    With a `checkpoint` folder an interrupted run goes on after its last whole epoch if `resume` is set, and ends with the same weights.
    Raises ConfigurationError, DataError, OutputError.
    """
    _require_torch("training")
    from lutra.zoo.networks import NETWORKS
    from lutra.zoo.train import FLOAT_RECIPES, train_float
    from lutra_compiler.compression.training import Checkpoints, silent

    if network not in NETWORKS:
        raise ConfigurationError(f"the zoo has no network '{network}'; {nearest(network, NETWORKS)}")
    identity = {"network": network, "recipe": to_plain(FLOAT_RECIPES[network]), "lutra": __version__}
    with _opened(checkpoint, lambda: identity, resume) as folder:
        return train_float(network, report=report or silent, checkpoints=None if folder is None else Checkpoints(folder.directory))


def analyze(source: Source, target: str = DEFAULT_TARGET, *, flash: int | None = None, ram: int | None = None) -> Analysis:
    """Sizes, operations and kernels of a model, a float one as plain int8 makes it. Raises LutraError if it cannot be compiled.

    `flash`: bytes that tables and code may take, `ram`: that arena and stack may; kernels are the fastest that fit, up to 2 % slower
    in all where that saves memory. Raises BudgetError if none do.
    """
    return driver.analyze(_model(source), target_by_name(target), Limits(ram=ram, flash=flash))


def outlook(source: Source, target: str = DEFAULT_TARGET) -> Outlook:
    """What a model would cost on every target, and what compression with default settings could make of a float one on `target`."""
    return driver.outlook(_model(source), target_by_name(target))


def generate(
    source: Source,
    directory: str | Path,
    *,
    prefix: str = "model",
    target: str = DEFAULT_TARGET,
    flash: int | None = None,
    ram: int | None = None,
) -> Path:
    """Write the C bundle PREFIX.h, PREFIX.c, PREFIX_data.h and PREFIX.json of a compressed model; all of it or nothing.

    `flash` and `ram` as for `analyze`.
    """
    driver.generate_bundle(_model(source), Path(directory), prefix, target_by_name(target), Limits(ram=ram, flash=flash))
    return Path(directory)


def export(bundle: str | Path, directory: str | Path, *, kind: str, data: Dataset | None = None, force: bool = False) -> Export:
    """Write the bundle in the folder `bundle` as a project for `kind`, such as "cmake" or "zephyr"; all of it or nothing.

    Its example runs one inference, on the first sample of `data` or on noise, and compares the output with what the C gives here.
    `directory` is new or empty; with `force` files of the same names are replaced. Raises ConfigurationError, BundleError, OutputError,
    ToolError.
    """
    with one_family():
        return export_bundle(Path(bundle), kind, Path(directory), data, force)


def validate(
    source: Source,
    data: "Dataset | Callable[[], Dataset]",
    *,
    reference: Source | None = None,
    board: str | None = None,
    port: str | None = None,
    metric: "str | Metric | None" = None,
    deviation: float = DEVIATION,
    layers: bool = True,
) -> Validation:
    """Run the C of a bundle or a compressed model on samples, and compare it with labels, float network, interpreter and a board.

    `data` may be a function that makes the samples. The float network is `reference`, for models of the zoo the zoo's own. Without torch,
    only what the file records of it is known.
    `port`: a serial port such as /dev/ttyACM0 with a board that runs the firmware of the bundle `source`, a folder (see `firmware`).
    `metric`: a name in lutra.metrics, or a function of float32 scores [n, ...] and the Dataset. Of a model, not of a bundle, every layer is
    compared with the float network too, unless `layers` is False: the first whose relative L2 error is above `deviation` is named.
    """
    data = data() if callable(data) else data
    float_model = None if reference is None else load_reference(reference)
    if float_model is not None:
        _require_torch("a float reference")
    with one_family():
        if board is not None:
            require_board(board)
        metric_name = metric if isinstance(metric, str) or metric is None else getattr(metric, "__name__", "metric")
        function = metric if callable(metric) else None
        question = Question(board, port, metric_name, function, deviation, layers and _has_torch())
        if isinstance(source, str | Path) and Path(source).is_dir():
            return _numbered(validate_bundle(Path(source), data, float_model, question), data)
        if port is not None:
            raise ConfigurationError("a board on a serial port holds a bundle: give the folder that its firmware was built of")
        model = _model(source)
        name = _name(source, model)
        if float_model is None and name.startswith(zoo.PREFIX) and _has_torch():
            float_name = zoo.float_name(name.removeprefix(zoo.PREFIX))
            float_model = zoo.load(float_name) if float_name in zoo.names() else None
        return _numbered(validate_model(name, model, data, float_model, question), data)


def load_reference(source: Source) -> Model:
    """The float network that a compressed one is compared with. Raises ConfigurationError for one that is compressed itself."""
    model = _model(source)
    if model.graph.encodings or model.graph.quantization:
        raise ConfigurationError("the reference is compressed; give its float network")
    return model


def _numbered(found: Validation, data: Dataset) -> Validation:
    """With the worst sample's number in the source of the samples, not its place among them."""
    if found.difference is None:
        return found
    return replace(found, difference=replace(found.difference, worst_sample=data.number_of(found.difference.worst_sample)))


def input_port(source: Source) -> tuple[tuple[int, ...], str]:
    """Shape of a sample and layout, "NCHW", "NHWC" or "NF", of the only input of a model or a bundle. Raises DataError for several."""
    with one_family():
        if isinstance(source, str | Path) and Path(source).is_dir():
            ports = [(port.source_shape, port.layout) for port in read_manifest(Path(source)).inputs]
        else:
            ports = [(port.source_shape, port.layout) for port in _model(source).graph.inputs]
    if len(ports) != 1:
        raise DataError(f"samples are for networks of one input; this has {len(ports)}")
    return ports[0]


def bench(source: Source, *, board: str | None = None) -> Benchmark:
    """Executed instructions, flash and RAM of a bundle or a compressed model on a board, and its time on the host."""
    with one_family():
        target = target_by_name(DEFAULT_TARGET if board is None else require_counting_board(board).cpu)
        if isinstance(source, str | Path) and Path(source).is_dir():
            return bench_bundle(str(source), Path(source), board)
        with tempfile.TemporaryDirectory() as folder:
            model = _model(source)
            driver.generate_bundle(model, Path(folder, "bundle"), "model", target)
            return bench_bundle(_name(source, model), Path(folder, "bundle"), board)


def firmware(source: Source, board: str, output: str | Path) -> Firmware:
    """Write the ELF of a firmware for a board that runs a bundle or a compressed model on what its host sends: over a serial port, or for
    boards that only QEMU has, through semihosting. Raises OutputError, ToolError if a tool is missing or the board is too small."""
    chosen, output = board_by_name(board), Path(output)
    if not os.access(output.parent, os.W_OK) or output.is_dir():
        raise OutputError(f"{output} cannot be written; choose a file in a folder that exists and is writable")
    with one_family(), tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "bundle")
        if isinstance(source, str | Path) and Path(source).is_dir():
            bundle = Path(source)
        else:
            driver.generate_bundle(_model(source), bundle, "model", target_by_name(chosen.cpu))
        built = build_firmware(bundle, chosen, Path(folder, "build"))
        write_atomically(output, built.elf.read_bytes())
        return replace(built, elf=output)


def compress(
    source: Source,
    data: Dataset,
    config: CompressionConfig | None = None,
    *,
    budget: Budget | None = None,
    validation: Dataset | None = None,
    report: "Callable[[Progress], None] | None" = None,
    notify: Callable[[str], None] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> Model:
    """Prune, product-quantize and fine-tune a float model on samples, with or without labels; or reconstruct it from a few of them.

    `config.method` says which; "auto" takes reconstruction where there are fewer than 2,000 samples and no labels, and logs it.
    Under a `budget` widths and layer settings that `config` leaves open are found first, and BudgetError is raised if nothing fits.
    Samples may be in any order: they are mixed, the same way every time. `validation` samples are only measured on; for a limit of the
    drop in accuracy they are a tenth of `data` where none are given. `report` is called every few steps, `notify` with what was decided.
    With a `checkpoint` folder an interrupted run goes on where it was if `resume` is set; `discard_checkpoint` removes it. Processes that
    torchrun has started work together, and each returns the model; see `is_main_process`. Raises CompressionError, ConfigurationError,
    DataError.
    """
    return fit(
        source, data, config, budget or Budget(), validation=validation, report=report, notify=notify, checkpoint=checkpoint, resume=resume
    )[0]


def fit(
    source: Source,
    data: Dataset,
    config: CompressionConfig | None,
    budget: Budget,
    *,
    validation: Dataset | None = None,
    report: "Callable[[Progress], None] | None" = None,
    notify: Callable[[str], None] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> tuple[Model, Fit | None]:
    """The same as `compress`, with what the model takes on the budget's target; None without a budget.

    A budget that cannot be kept leaves nothing behind if that is known before training, else the checkpoint.
    """
    from lutra_compiler.compression.training import silent

    if budget.max_drop is not None and validation is None:
        data, validation = data.mixed().hold_out()
    with _run(source, data, config, budget, validation, checkpoint, resume) as run:
        if budget.is_empty:
            return run.trained(run.config, "", validation, report or silent), None
        try:
            plans = run.search(report or silent, notify or (lambda text: None)).best()
        except BudgetError:
            run.discard()
            raise
        missed: list[tuple[Fit, float | None]] = []
        for number, plan in enumerate(plans, 1):
            small = run.trained(plan.config, f"attempt-{number}", validation, report or silent)
            limits = budget if budget.flash is not None else replace(budget, flash=plan.flash)
            try:
                taken = _fit(small, limits)
            except LoweringError as error:
                if number < len(plans):
                    continue
                raise BudgetError(f"what fits the budget cannot be lowered after training: {error}") from error
            if not taken.keeps(budget) and plan.config.index_coding != "never":  # decoding takes RAM and time
                small = run.uncoded(small, plan.config)
                taken = _fit(small, limits)
            drop = None if budget.max_drop is None or validation is None else _drop(run.model, small, validation)
            if taken.keeps(budget) and (drop is None or budget.max_drop is None or drop <= budget.max_drop):
                return small, taken
            missed.append((taken, drop))
            if notify:
                notify(_told(taken, drop))
        raise _missed(missed, budget)


def pareto(
    source: Source,
    data: Dataset,
    config: CompressionConfig | None,
    budget: Budget,
    *,
    train_points: int = 0,
    report: "Callable[[Progress], None] | None" = None,
    notify: Callable[[str], None] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> "tuple[Plan, ...]":
    """Flash against loss, from the smallest network to the best, within the budget: what is expected of each, and of `train_points` of
    them the results of a short training. Samples as for `compress`. Raises BudgetError if nothing fits, and leaves nothing behind then."""
    from lutra_compiler.compression.training import silent

    if budget.max_drop is not None:
        raise ConfigurationError("a limit of the drop in accuracy chooses one network; leave it out for a curve, or ask for no curve")
    with _run(source, data, config, budget, None, checkpoint, resume) as run:
        try:
            return run.search(report or silent, notify or (lambda text: None)).curve(train_points)
        except BudgetError:
            run.discard()
            raise


@contextlib.contextmanager
def _run(
    source: Source,
    data: Dataset,
    config: CompressionConfig | None,
    budget: Budget,
    validation: Dataset | None,
    checkpoint: str | Path | None,
    resume: bool,
) -> "Iterator[_Run]":
    """A compression about to begin, or to go on: everything that can be refused before hours of training is."""
    _require_torch("compression")
    model, data, config = _model(source), data.mixed(), for_samples(config or CompressionConfig(), data)
    if model.graph.encodings:
        raise CompressionError("the model is compressed already; start from its float network")
    for samples in (data, validation):
        if samples is not None:
            samples.check(model.graph)
    if config.training.augmentation != "none" and data.images.ndim != 4:
        raise ConfigurationError(
            f"augmentation '{config.training.augmentation}' is for images, but samples have shape {data.images.shape[1:]}; use 'none'"
        )
    if budget.max_drop is not None and (data.labels is None or (validation is not None and validation.labels is None)):
        raise ConfigurationError("a limit of the drop in accuracy needs labels, in the training and the validation samples")
    target_by_name(budget.target)
    int8 = driver.analyze(model, target_by_name(DEFAULT_TARGET))
    with _opened(checkpoint, lambda: _identity(model.graph, data, config, budget), resume) as folder:
        yield _Run(model, data, config, budget, int8.model_bytes, folder)


@contextlib.contextmanager
def _opened(checkpoint: str | Path | None, identity: Callable[[], dict[str, Any]], resume: bool) -> "Iterator[_Checkpoint | None]":
    """The folder of a run that begins, or goes on; removed again if an error ends the run before anything is in it."""
    if checkpoint is None:
        yield None
        return
    from lutra_compiler.compression.training import main_process_first

    folder = _Checkpoint(Path(checkpoint))
    with main_process_first():
        folder.open(identity(), resume or not is_main_process())
    try:
        yield folder
    except LutraError:
        if is_main_process() and [path.name for path in folder.directory.rglob("*") if path.is_file()] == [_RUN]:
            discard_checkpoint(folder.directory)
        raise


@dataclass(frozen=True)
class _Run:
    """What the parts of a compression share."""

    model: Model
    data: Dataset
    config: CompressionConfig
    budget: Budget
    int8_model_bytes: int
    folder: "_Checkpoint | None"

    def trained(self, config: CompressionConfig, name: str, validation: Dataset | None, report: "Callable[[Progress], None]") -> Model:
        """The model that `config` says; its checkpoints are in the folder `name` of the run's."""
        from lutra_compiler.compression.compress import compress as run
        from lutra_compiler.compression.search import stages_in
        from lutra_compiler.compression.training import Checkpoints

        directory = self.folder.part(name) if self.folder else None
        graph = run(
            self.model.graph,
            _samples(self.data),
            config,
            validation=None if validation is None else _samples(validation),
            report=report,
            checkpoints=None if directory is None else Checkpoints(directory),
            stages=None if directory is None else stages_in(directory),
        )
        return Model(graph, _metadata(self.model, config, self.int8_model_bytes))

    def uncoded(self, small: Model, config: CompressionConfig) -> Model:
        """What was trained, without entropy-coded indices."""
        encodings = {
            name: replace(encoding, coded=False) if isinstance(encoding, ProductQuantized) else encoding
            for name, encoding in small.graph.encodings.items()
        }
        metadata = _metadata(self.model, replace(config, index_coding="never"), self.int8_model_bytes)
        return Model(small.graph.with_encodings(encodings), metadata)

    def search(self, report: "Callable[[Progress], None]", notify: Callable[[str], None]) -> "Search":
        """The search for what each layer gets."""
        from lutra_compiler.compression.search import Search

        target = target_by_name(self.budget.target)
        return Search(
            self.model.graph,
            _samples(self.data),
            self.config,
            self.budget,
            lambda graph, limits, choose: driver.build_program(graph, target, limits, choose),
            report,
            notify,
            self.folder.part("search") if self.folder else None,
        )

    def discard(self) -> None:
        """Leave nothing behind."""
        if self.folder and is_main_process():
            discard_checkpoint(self.folder.directory)


def _fit(model: Model, budget: Budget) -> Fit:
    """What a trained model takes, with kernels that fit if there are any."""
    try:
        return fit_of(model, budget)
    except BudgetError:
        return fit_of(model, budget, limited=False)


def _drop(float_model: Model, small: Model, data: Dataset) -> float:
    """Percentage points of accuracy that are lost on labelled samples."""
    before, after = (accuracy_of(run_float(model, data), data) for model in (float_model, small))
    assert before is not None
    assert after is not None
    return 100 * (before - after)


def _told(taken: Fit, drop: float | None) -> str:
    return f"trained: {taken}" + ("" if drop is None else f"; it loses {drop:.2f} percentage points of validation accuracy")


def _missed(missed: list[tuple[Fit, float | None]], budget: Budget) -> BudgetError:
    """The budget was not kept after training; names the nearest point."""

    def distance(found: tuple[Fit, float | None]) -> tuple[float, float]:
        taken, drop = found
        return max(1.0, budget.excess(taken.flash_bytes, taken.ram_bytes, taken.cycles)), drop or 0.0

    taken, drop = min(missed, key=distance)
    return BudgetError(
        f"the budget is not kept after training; nearest is {_told(taken, drop)}; allow more, or train longer (--epochs)",
        {
            "model_bytes": taken.model_bytes, "flash_bytes": taken.flash_bytes, "ram_bytes": taken.ram_bytes, "cycles": taken.cycles,
            **({} if drop is None else {"drop_pp": round(drop, 4)}),
        },
    )  # fmt: skip


def for_samples(config: CompressionConfig, data: Dataset) -> CompressionConfig:
    """The settings with their method chosen by the samples if they leave it open."""
    chosen = config.for_samples(len(data), data.labels is not None)
    if chosen.method != config.method and chosen.method == "reconstruct":
        _LOG.info("%d samples without labels: the method is reconstruction (--method train to train on them)", len(data))
    return chosen


def is_main_process() -> bool:
    """Whether this is the process that reports and writes files; true unless torchrun has started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return True
    from lutra_compiler.compression.training import is_main_process

    return is_main_process()


def discard_checkpoint(directory: str | Path) -> None:
    """Remove what `compress` keeps in a checkpoint folder, and the folder if nothing else is in it."""
    for path in Path(directory).iterdir():
        if path.suffix in (".lutra", ".safetensors", ".tmp") or path.name == _RUN:  # .tmp: what a killed process was writing
            path.unlink()
        elif path.is_dir() and _PART.fullmatch(path.name):
            shutil.rmtree(path)
    with contextlib.suppress(OSError):
        Path(directory).rmdir()


def _model(source: Source) -> Model:
    if isinstance(source, Graph):
        return Model(source, {} if source.encodings else driver.float_metadata(source, "model"))
    return source if isinstance(source, Model) else load(source)


def _name(source: Source, model: Model) -> str:
    return str(source) if isinstance(source, str | Path) else str(model.metadata.get("network") or "model")


def _samples(data: Dataset) -> "Samples":
    import torch

    from lutra_compiler.compression.training import Samples

    return Samples(torch.from_numpy(data.images), None if data.labels is None else torch.from_numpy(data.labels))


def _metadata(model: Model, config: CompressionConfig, int8_model_bytes: int) -> dict[str, Any]:
    import torch

    return {
        **model.metadata,
        "configuration": format_config(config),
        "versions": {"lutra": __version__, "numpy": np.__version__, "torch": str(torch.__version__)},
        "int8_model_bytes": int8_model_bytes,
    }


def _identity(graph: Graph, data: Dataset, config: CompressionConfig, budget: Budget) -> dict[str, Any]:
    """What must be the same for an interrupted run to go on."""
    samples = sha256(np.ascontiguousarray(data.images).data)
    samples.update(b"" if data.labels is None else np.ascontiguousarray(data.labels).data)
    model = sha256(repr(graph.ops).encode() + driver.weights_sha256(graph).encode())
    return {
        "model": model.hexdigest(), "data": samples.hexdigest(), "configuration": format_config(config), "budget": to_plain(budget),
        "lutra": __version__,
    }  # fmt: skip


@dataclass(frozen=True)
class _Checkpoint:
    """A folder that holds one interrupted compression: what it is of, its finished stages, and the state of the one under way."""

    directory: Path

    def open(self, identity: dict[str, Any], resume: bool) -> None:
        """Begin, or go on with, the run that `identity` describes."""
        file = self.directory / _RUN
        if resume:
            self._require_same(file, identity)
            return
        if self.directory.exists() and (not self.directory.is_dir() or any(self.directory.iterdir())):
            what = "an interrupted run; resume it (--resume)" if file.is_file() else "other files; choose another folder"
            raise OutputError(f"{self.directory} holds {what}, or remove the folder")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the checkpoint folder {self.directory} cannot be made: {error.strerror}") from error
        write_atomically(file, json.dumps(identity, indent=1).encode())

    def _require_same(self, file: Path, identity: dict[str, Any]) -> None:
        try:
            found = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self.directory} holds no interrupted run; start one without --resume") from error
        different = [key for key, value in identity.items() if not isinstance(found, dict) or found.get(key) != value]
        if different:
            raise ConfigurationError(
                f"{self.directory} holds a run with another {' and '.join(different)}; give the same again, or start anew in another folder"
            )

    def part(self, name: str) -> Path:
        """The folder of a part of the run; the run's own for no name."""
        (self.directory / name).mkdir(exist_ok=True)
        return self.directory / name


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _require_torch(what: str) -> None:
    if not _has_torch():
        raise ToolError(f"{what} needs PyTorch, which is not installed; run: pip install 'lutra-mcu[train]'")
