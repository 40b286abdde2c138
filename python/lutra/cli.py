"""The command line: results on stdout (one JSON object with --json), everything else on stderr.

Exit codes: 0 done, 1 the question was answered with no, 2 bad input or usage, 130 interrupted.
"""

import contextlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from lutra import api, doctor, page, report, runtime, zoo
from lutra.boards import board_by_name, boards
from lutra.curve import CURVE_FILES, curve_records, plot_curve, write_curve
from lutra.dataset import Dataset, read_dataset
from lutra.errors import BudgetError, DataError, LoweringError, LutraError, OutputError, ToolError, UnsupportedModelError, one_family
from lutra.exports import KINDS
from lutra.images import ImageFormat, Values, is_image_folder, read_images
from lutra.metrics import METRICS
from lutra.report import printable
from lutra.report_files import check_report, checks_of, write_report
from lutra.validation import DEVIATION, accuracy_of, run_float
from lutra.zoo import data as zoo_data
from lutra_compiler import __version__, driver
from lutra_compiler.budget import Budget
from lutra_compiler.config import CompressionConfig, Method, load_config
from lutra_compiler.files import write_atomically
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.records import nearest, to_plain
from lutra_compiler.target import DEFAULT_TARGET, TARGETS

if TYPE_CHECKING:
    from lutra_compiler.compression.training import Progress as TrainingProgress

NO, BAD, INTERRUPTED = 1, 2, 130

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
zoo_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="Networks with trained weights and released artefacts.")
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Data sets, fetched once and checked.")
app.add_typer(zoo_app, name="zoo")
app.add_typer(data_app, name="data")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx or .lutra file, or zoo:NETWORK[/POINT].")]
Bundle = Annotated[str, typer.Argument(metavar="MODEL", help="A folder that `generate` wrote, a .lutra file, or zoo:NETWORK[/POINT].")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]


def _targets() -> list[str]:
    return [target.name for target in TARGETS]


def _boards() -> list[str]:
    return [board.name for board in boards()]


def _data_sets() -> list[str]:
    return list(zoo_data.NAMES)


DataName = Annotated[str, typer.Argument(help=" or ".join(zoo_data.NAMES), autocompletion=_data_sets)]
Target = Annotated[str, typer.Option(help=f"The processor: {', '.join(t.name for t in TARGETS)} (any other).", autocompletion=_targets)]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="[INPUT=]1,C,H,W", help="An ONNX model's input shape, where the file leaves it open (may be repeated)."
    ),
]


def _size(text: str) -> int:
    """Bytes: "6144", or "6K", "6KB", "6KiB" in units of 1024, "1M" of 1024 times that."""
    found = re.fullmatch(r"([0-9]+)(?:([km])(?:i?b)?)?", text, re.IGNORECASE)
    if found is None or not int(found[1]):
        raise typer.BadParameter(f"{text!r} is not a number of bytes such as 6144, 6K or 1M")
    return int(found[1]) << {"": 0, "k": 10, "m": 20}[(found[2] or "").lower()]


def _count(text: str) -> float:
    """Cycles: "5000000", or "5M" in units of 1000."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kKmM]?)", text)
    if found is None or not float(found[1]):
        raise typer.BadParameter(f"{text!r} is not a number of cycles such as 5000000 or 5M")
    return float(found[1]) * {"": 1, "k": 1e3, "m": 1e6}[found[2].lower()]


Flash = Annotated[
    int | None, typer.Option(parser=_size, help="Most bytes of flash for model and code, as 32768 or 32K.", metavar="BYTES")
]
Ram = Annotated[int | None, typer.Option(parser=_size, help="Most bytes of RAM for arena and stack, as 6144 or 6K.", metavar="BYTES")]
def _shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes by input: "input=1,3,32,32", or "1x3x32x32" for the only one."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or []:
        name, _, sizes = text.rpartition("=")
        if name in shapes or re.fullmatch(r"[0-9]{1,9}([,x][0-9]{1,9}){0,7}", sizes) is None:
            raise typer.BadParameter(f"{text!r} is not one more shape such as 1,3,32,32 or input=1,3,32,32", param_hint="--shape")
        shapes[name] = tuple(int(size) for size in re.split("[,x]", sizes))
    return shapes


ImageValues = Annotated[
    str | None, typer.Option(help="What pixels of image files become: unit (0..1, the default), signed (-1..1) or bytes.")
]
ImageMean = Annotated[str | None, typer.Option(help="Then taken from them, one number or one a channel, as 0.485,0.456,0.406.")]
ImageStd = Annotated[str | None, typer.Option(help="Then divided by, likewise.")]
SampleCount = Annotated[
    int | None, typer.Option(min=1, help="Only N of the samples, at random; of a data set of the zoo its first.", metavar="N")
]
ImageResize = Annotated[bool, typer.Option("--image-resize", help="Resize image files to the network's input.")]
Board = Annotated[
    str | None, typer.Option(help="Also run it as firmware on this board in QEMU, such as microbit.", autocompletion=_boards)
]


def main() -> None:
    """The `lutra` command, and the one place that turns errors into messages; typer does so for wrong usage."""
    logger, handler = logging.getLogger("lutra"), logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with one_family():
            app(prog_name="lutra")
    except LutraError as error:
        if "--json" in sys.argv:
            _print_json({"error": str(error)})
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(NO if isinstance(error, BudgetError) else BAD)
    except OSError as error:  # such as a full disk under stdout
        if "--json" in sys.argv:
            with contextlib.suppress(OSError):
                _print_json({"error": str(error)})
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  where Python writes at its end what could not be written
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(BAD)
    finally:
        logger.removeHandler(handler)


def _fact(name: str, text: Callable[[], object], about: str) -> Any:
    """An option that prints one line, never wrapped, and is done."""

    def show(wanted: bool) -> None:
        if wanted:
            print(text())
            raise typer.Exit

    return typer.Option(name, callback=show, is_eager=True, help=about)


@app.callback()
def _root(
    version: Annotated[bool, _fact("--version", lambda: f"lutra {__version__}", "Print the version.")] = False,
    include: Annotated[bool, _fact("--print-include", runtime.get_include, "Print the runtime's folder for -I.")] = False,
    cmake: Annotated[bool, _fact("--cmake-dir", runtime.cmake_directory, "Print the folder for -Dlutra_DIR= of CMake.")] = False,
) -> None:
    """Trained neural networks, pruned and product-quantized, as C for microcontrollers."""


@app.command()
def analyze(
    model: Model,
    target: Annotated[
        str | None, typer.Option(help=f"The processor; else the board's, else {DEFAULT_TARGET}.", autocompletion=_targets)
    ] = None,
    board: Annotated[
        str | None, typer.Option(help="Take processor, flash and RAM from a board, such as microbit.", autocompletion=_boards)
    ] = None,
    flash: Flash = None,
    ram: Ram = None,
    shape: Shapes = None,
    as_json: Json = False,
) -> None:
    """What is in a model, whether it can be compiled, what each layer costs, what its kernel was chosen from, and what compression
    could bring.

    Every unsupported operator is listed, with the rewrite that helps. A float model is shown as plain int8 makes it. Cycles are
    estimates. Exit code 1 if it cannot be compiled, or not within --flash and --ram.

    \b
    Examples:
      lutra analyze network.onnx
      lutra analyze network.onnx --shape input=1,3,32,32 --board microbit
      lutra analyze zoo:lenet5 --target cortex-m4 --flash 16K --ram 6K
      lutra analyze zoo:lenet5 --json
    """
    on_board = None if board is None else board_by_name(board, target)
    target = target or (on_board.cpu if on_board else DEFAULT_TARGET)
    limits = Limits(ram=ram or (on_board.ram_bytes if on_board else None), flash=flash or (on_board.flash_bytes if on_board else None))
    try:
        source = api.load(model, shapes=_shapes(shape))
        fits, analysis = _fitting(source, target, limits)
    except (UnsupportedModelError, LoweringError) as error:
        if as_json:
            _print_json({"model": model, "compilable": False, "reason": str(error), "problems": report.problem_records(error)})
        else:
            print(f"error: {printable(error)}", file=sys.stderr)
        raise typer.Exit(NO) from error
    outlook = api.outlook(source, target)
    _print(
        as_json,
        {**report.analysis_record(model, analysis), **report.outlook_record(analysis, outlook), **report.fit_record(limits, fits)},
        report.full_analysis(model, analysis, outlook, limits, fits),
    )
    if fits:
        raise typer.Exit(NO)


def _fitting(source: driver.Model, target: str, limits: Limits) -> tuple[str, driver.Analysis]:
    """Why the model does not fit, empty if it does, and its analysis: if it does not, without limits."""
    try:
        return "", api.analyze(source, target, flash=limits.flash, ram=limits.ram)
    except BudgetError as error:
        return str(error), api.analyze(source, target)


@app.command()
def compress(
    model: Model,
    data: Annotated[str, typer.Option(help="Training samples: .npz, .npy, a folder of .npy files or images, mnist, cifar10(-centred).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .lutra file to write.")],
    config: Annotated[str | None, typer.Option(help="Settings: a TOML file, or zoo:NETWORK for the zoo's recipe.")] = None,
    validation: Annotated[str | None, typer.Option(help="Samples to measure on; else, in training, a tenth of --data at random.")] = None,
    method: Annotated[Method | None, typer.Option(help="Train, reconstruct without training data, or let the samples decide.")] = None,
    epochs: Annotated[float, typer.Option(help="Scale of the epochs of every stage.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random, instead of the settings'.")] = None,
    flash: Flash = None,
    ram: Ram = None,
    cycles: Annotated[float | None, typer.Option(parser=_count, help="Most cycles of an inference, as 5M.", metavar="CYCLES")] = None,
    max_drop: Annotated[float | None, typer.Option(min=0, max=100, help="Most percentage points of accuracy to lose.")] = None,
    target: Target = DEFAULT_TARGET,
    save_config: Annotated[Path | None, typer.Option(help="Write the settings that were found to this TOML file.")] = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="Instead of a model, write the curve of flash against loss.")] = False,
    train_points: Annotated[int, typer.Option(min=0, help="Points of the curve to train for a short while.", metavar="N")] = 0,
    checkpoint: Annotated[Path | None, typer.Option(help="Folder for an interrupted run; else OUTPUT.checkpoint.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    shape: Shapes = None,
    image_values: ImageValues = None,
    image_mean: ImageMean = None,
    image_std: ImageStd = None,
    image_resize: ImageResize = False,
    as_json: Json = False,
) -> None:
    """Prune, product-quantize and fine-tune a float model, or reconstruct it without training data. Needs PyTorch.

    Samples are float32 [n, *input shape], preprocessed as for the float network, in the arrays "images" and "labels" (class numbers;
    without labels the float network alone teaches), in any order. From fewer than 2,000 without labels it is reconstructed, block by
    block, in minutes; some hundreds are enough. Ctrl-C keeps the last checkpoint.

    With --flash, --ram or --cycles Lutra finds the channels and settings of each layer that keep the accuracy best within the limits,
    with --max-drop those that take the least flash. Exit code 1 if that cannot be done; the nearest point is named. --pareto writes
    OUTPUT.pareto.json, .csv and .png.

    \b
    Examples:
      lutra compress network.onnx --data train.npz -o network.lutra --flash 32K --ram 16K --target cortex-m4
      lutra compress network.onnx --data train.npz -o network.lutra --max-drop 0.5 --save-config network.toml
      lutra compress network.onnx --data train.npz -o network.lutra --pareto --train-points 5
      lutra compress network.onnx --data train.npz -o network.lutra
      lutra compress network.onnx --data samples.npy -o network.lutra
      lutra compress zoo:lenet5/float --data mnist --config zoo:lenet5 -o lenet5.lutra
      lutra compress network.onnx --data train.npz -o network.lutra --resume
      torchrun --nproc-per-node 2 -m lutra compress network.onnx --data train.npz -o network.lutra
    """
    started = time.monotonic()
    api.check_output(output)
    written = [output.with_suffix(suffix) for suffix in CURVE_FILES] if pareto else [output]
    for path in written + ([save_config] if save_config else []):
        api.check_writable(path)
        _leaves_alone(path, model, data, config, validation)
    if save_config is not None and save_config.resolve() == output.resolve():
        raise typer.BadParameter(f"{save_config} is where the model goes; name another file", param_hint="--save-config")
    folder = _checkpoint(checkpoint, output, save_config)
    if train_points and not pareto:
        raise typer.BadParameter("points of a curve are trained for --pareto alone", param_hint="--train-points")
    for option, value, why in (
        ("--save-config", save_config, "the curve's .pareto.json holds the settings of every point"),
        ("--validation", validation, "points are measured on a cut of --data"),
        ("--max-drop", max_drop, "the curve shows what every size loses"),
    ):
        if pareto and value is not None:
            raise typer.BadParameter(f"not for --pareto: {why}; leave it out", param_hint=option)
    settings = _settings(config, epochs, seed, method)
    source = api.load(model, shapes=_shapes(shape))
    images = _image_format(image_values, image_mean, image_std, image_resize, data, validation)
    budget = Budget(flash, ram, cycles, max_drop, target)
    port = partial(api.input_port, source)
    training, held_out = _data(data, "train", port, images), None
    settings = api.for_samples(settings, training)
    if validation is not None or (zoo_data.is_prepared(data) and not pareto):
        held_out = _data(validation or data, "validation", port, images)
    elif not pareto and (settings.method == "train" or max_drop is not None):  # reconstruction spares no samples that it need not
        training, held_out = training.hold_out()
    try:
        with _interruptible(folder), _progress() as show:
            if pareto:
                plans = api.pareto(
                    source, training, settings, budget,
                    train_points=train_points, report=show, notify=_say, checkpoint=folder, resume=resume,
                )  # fmt: skip
            else:
                small, taken = api.fit(
                    source, training, settings, budget, validation=held_out, report=show, notify=_say, checkpoint=folder, resume=resume
                )
        if not api.is_main_process():
            return
    except BudgetError as error:
        if as_json:
            _print_json({"model": model, "fits": False, "reason": str(error), "nearest": error.nearest})
        print(f"error: {printable(error)}", file=sys.stderr)
        raise typer.Exit(NO) from error
    if pareto:
        _write_curve(model, output, target, curve_records(plans), as_json)
        api.discard_checkpoint(folder)
        return
    if taken is not None and taken.flash_limit is None:  # the fastest kernels were measured to fit, bounds may not
        flash = ram = None
    elif taken is not None:
        flash = taken.flash_limit
    try:
        analysis = api.analyze(small, target, flash=flash, ram=ram)  # nothing is written that cannot be lowered
    except LoweringError:
        _say(f"what was trained is kept in {folder}; remove it to start anew")
        raise
    api.save(small, output)
    if save_config is not None:
        write_atomically(save_config, str(small.metadata["configuration"]).encode())
    api.discard_checkpoint(folder)
    record = {
        **report.analysis_record(model, analysis),
        "output": str(output),
        "fit": None if taken is None else to_plain(taken),
        "generate_options": f"--target {target}" + (f" --flash {flash}" if flash else "") + (f" --ram {ram}" if ram else ""),
        "validation_samples": len(held_out) if held_out else 0,
        "float_validation_accuracy": accuracy_of(run_float(source, held_out), held_out) if held_out else None,
        "validation_accuracy": accuracy_of(run_float(small, held_out), held_out) if held_out else None,
        "seconds": round(time.monotonic() - started, 1),
    }
    _print(as_json, record, report.compression_tables(record, analysis))


def _write_curve(model: str, output: Path, target: str, records: list[dict[str, Any]], as_json: bool) -> None:
    title = f"{model} for {target}"
    written = write_curve(records, output, title)
    try:
        written.append(plot_curve(records, output.with_suffix(CURVE_FILES[2]), title))
    except ToolError as error:
        print(f"no plot: {printable(error)}", file=sys.stderr)
    files = [str(path) for path in written]
    _print(as_json, {"model": model, "target": target, "files": files, "points": records}, report.curve_tables(records, files))


@app.command()
def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A .lutra file or zoo:NETWORK[/POINT].")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write: new, empty, or of an earlier bundle.")],
    prefix: Annotated[str, typer.Option(help="The beginning of all file and C names.")] = "model",
    target: Target = DEFAULT_TARGET,
    flash: Flash = None,
    ram: Ram = None,
    as_json: Json = False,
) -> None:
    """Write the C bundle of a compressed model: PREFIX.h, PREFIX.c, PREFIX_data.h, PREFIX.json.

    Kernels are the fastest that fit --flash and --ram, up to 2 % slower in all
    where that saves memory. Exit code 1, and nothing is written, if none fit.

    \b
    Examples:
      lutra generate zoo:lenet5 -o lenet5 --prefix lenet5
      lutra generate network.lutra -o bundle --prefix network --target cortex-m4 --flash 32K --ram 16K
    """
    source = api.load(model)
    api.generate(source, output, prefix=prefix, target=target, flash=flash, ram=ram)
    analysis = api.analyze(source, target, flash=flash, ram=ram)
    sizes = {path.name: path.stat().st_size for path in sorted(output.iterdir())}
    record = {
        "model": model,
        "directory": str(output),
        "prefix": prefix,
        "target": target,
        "files": list(sizes),
        "model_bytes": analysis.model_bytes,
        "arena_bytes": analysis.arena_bytes,
        "flash_bytes": analysis.flash_bytes,
        "ram_bytes": analysis.ram_bytes,
    }
    _print(as_json, record, report.generation_tables(record, sizes))


@app.command()
def export(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `generate` wrote.")],
    kind: Annotated[str, typer.Option("--for", metavar="NAME", help=f"{', '.join(KINDS[:-1])} or {KINDS[-1]}.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write: new or empty.")],
    data: Annotated[str | None, typer.Option(help="A .npz or .npy file, or mnist: its first sample is the example's; else noise.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files of the same names; others stay.")] = False,
    as_json: Json = False,
) -> None:
    """Write a bundle as a project: with the runtime files that it needs, and an example that checks one inference.

    The example's output is compared with what the C gives here. Everything is written or nothing.

    \b
    Examples:
      lutra export bundle --for cmake -o digits
      lutra export bundle --for arduino -o ~/Arduino/libraries/digits --data test.npz
      lutra export bundle --for zephyr -o digits --force --json
    """
    if data is not None and not zoo_data.is_prepared(data) and Path(data).is_dir():
        raise typer.BadParameter(f"{data} is a folder; an export takes arrays: a .npz or .npy file", param_hint="--data")
    samples = None if data is None else zoo_data.load(data, "test") if zoo_data.is_prepared(data) else read_dataset(_existing(data))
    written = api.export(bundle, output, kind=kind, data=samples, force=force)
    _print(as_json, report.export_record(written), report.export_table(written))


@app.command()
def validate(
    model: Bundle,
    data: Annotated[str | None, typer.Option(help="Test samples, as for compress; for the zoo its own test set.")] = None,
    reference: Annotated[str | None, typer.Option(help="The float network to compare with; for the zoo its own.")] = None,
    board: Board = None,
    port: Annotated[str | None, typer.Option(help="Also run it on the board at this serial port, such as /dev/ttyACM0.")] = None,
    samples: SampleCount = None,
    metric: Annotated[str | None, typer.Option(help=f"The task's own: {', '.join(METRICS)}.")] = None,
    max_drop: Annotated[float | None, typer.Option(min=0, max=100, help="Most percentage points below the float network.")] = None,
    deviation: Annotated[float | None, typer.Option(min=0, help="Most relative L2 error of a layer; by default 0.5 is named only.")] = None,
    report_file: Annotated[
        list[Path] | None, typer.Option("--report", help="Also write this .json file, or .xml for JUnit (may be repeated).", metavar="FILE")
    ] = None,
    image_values: ImageValues = None,
    image_mean: ImageMean = None,
    image_std: ImageStd = None,
    image_resize: ImageResize = False,
    as_json: Json = False,
) -> None:
    """Run the C on samples: accuracy, distance to the float network, layer by layer too, and whether all targets give the same bytes.

    The interpreter, the board and the comparison of layers take 100 of the samples. Exit code 1 if the bytes differ, a table is
    damaged, more than --max-drop is lost, or a layer's error is above --deviation. --data may be a folder of images, with a folder a
    class if there are labels.

    \b
    Examples:
      lutra validate zoo:lenet5
      lutra validate zoo:lenet5 --board microbit --json
      lutra validate network.lutra --data test.npz --reference network.onnx --max-drop 1 --report junit.xml
      lutra validate network.lutra --data photos --image-values signed --image-resize
      lutra validate bundle --data test.npz
      lutra validate bundle --data test.npz --port /dev/ttyACM0
    """
    for path in report_file or []:
        check_report(path)
        _leaves_alone(path, model, data, reference)
    if data is None:
        if not model.startswith(zoo.PREFIX):
            raise typer.BadParameter("only models of the zoo bring their own samples; name some", param_hint="--data")
        data = zoo_data.dataset_of(api.load(model))
    images = _image_format(image_values, image_mean, image_std, image_resize, data)
    test = _data(data, "test", partial(api.input_port, model), images).head(samples)
    limit = DEVIATION if deviation is None else deviation
    found = api.validate(model, test, reference=reference, board=board, port=port, metric=metric, deviation=limit)
    if max_drop is not None and found.drop is None:
        raise DataError("--max-drop needs labels or a --metric, and a float --reference")
    if deviation is not None and not found.layers:
        raise DataError("--deviation compares layers, which needs a model, not a bundle, and PyTorch")
    if deviation is not None and reference is not None and all(layer.l2r is None for layer in found.layers):
        raise DataError(f"--deviation compares layers, but no layer of {reference} has the name and shape of one of {model}")
    _print(as_json, report.validation_record(found), report.validation_table(found))
    checks = checks_of(found, max_drop, deviation)
    for path in report_file or []:
        write_report(path, found, checks)
    if any(check.wrong for check in checks):
        raise typer.Exit(NO)


@app.command()
def firmware(
    model: Bundle,
    board: Annotated[str, typer.Option(help="A board of `lutra boards`.", autocompletion=_boards)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ELF file to write.")],
    as_json: Json = False,
) -> None:
    """Build firmware that runs a bundle on what its host sends over the serial port: for `validate --port`, and MLPerf Tiny's runner.

    Only the firmware of a bundle's folder can be validated: what `generate` wrote.

    \b
    Example:
      lutra firmware bundle --board nucleo-f446re -o firmware.elf
    """
    _leaves_alone(output, model)
    built = api.firmware(model, board, output)
    made_for, cpu = built.manifest.content.get("target"), built.board.cpu
    if made_for not in (cpu, cpu.removesuffix("plus"), "generic"):
        _say(f"the bundle was generated for {made_for}, {board} has a {cpu}: right, but perhaps slower or larger than with --target {cpu}")
    record = report.firmware_record(built)
    _print(as_json, record, report.listing(tuple(record), [tuple(record.values())]))


@app.command("boards")
def list_boards(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Say on which boards this model fits, with its code.")] = None,
    as_json: Json = False,
) -> None:
    """The boards that firmware can be built for: CPU, flash, RAM, and whether QEMU has them.

    \b
    Examples:
      lutra boards
      lutra boards zoo:lenet5
    """
    loaded = None if model is None else api.load(model)
    records = []
    for board in boards():
        record = report.board_record(board)
        if loaded is not None:
            why_not, found = _fitting(loaded, board.cpu, Limits(flash=board.flash_bytes, ram=board.ram_bytes))
            record |= {"fits": not why_not, "needs_flash": found.flash_bytes, "needs_ram": found.ram_bytes, "cycles": round(found.cycles)}
        records.append(record)
    _print(as_json, {"boards": records}, report.board_table(records))


@app.command()
def bench(model: Bundle, board: Board = None, as_json: Json = False) -> None:
    """Executed instructions a layer, flash and RAM on a board; time on this machine.

    QEMU is not cycle accurate: instructions are exact, cycles are not known.

    \b
    Examples:
      lutra bench zoo:lenet5 --board microbit
      lutra bench bundle --json
    """
    found = api.bench(model, board=board)
    _print(as_json, report.bench_record(found), report.bench_tables(found))


@app.command("report")
def report_page(
    model: Bundle,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .html file to write.")],
    data: Annotated[str | None, typer.Option(help="Test samples, as for validate; with labels also what goes wrong.")] = None,
    reference: Annotated[str | None, typer.Option(help="The float network to compare with; else the zoo's, if it is of it.")] = None,
    target: Annotated[str | None, typer.Option(help="The processor, if not the board's.", autocompletion=_targets)] = None,
    board: Annotated[str | None, typer.Option(help="The board that it is to fit.", autocompletion=_boards)] = None,
    flash: Flash = None,
    ram: Ram = None,
    cycles: Annotated[float | None, typer.Option(parser=_count, help="Most cycles of an inference, as 5M.", metavar="CYCLES")] = None,
    curve: Annotated[Path | None, typer.Option(help="A .pareto.json of `compress --pareto` to draw.")] = None,
    samples: SampleCount = None,
    image_values: ImageValues = None,
    image_mean: ImageMean = None,
    image_std: ImageStd = None,
    image_resize: ImageResize = False,
    as_json: Json = False,
) -> None:
    """Write all that is known of a compressed model as one HTML page that needs no network and no JavaScript.

    The page is written whatever the answer is. Exit code 1 if the model does not fit --board, --flash, --ram and --cycles, or if
    targets give different bytes.

    \b
    Examples:
      lutra report zoo:lenet5 -o lenet5.html --board microbit --data mnist
      lutra report network.lutra -o report.html --flash 32K --ram 16K --data test.npz --reference network.onnx
      lutra report bundle -o report.html
    """
    page.check_output(output)
    _leaves_alone(output, model, data, reference, curve)
    images = _image_format(image_values, image_mean, image_std, image_resize, data)
    test = None if data is None else _data(data, "test", partial(api.input_port, model), images).head(samples)
    question = page.Question(target, board, flash, ram, cycles)
    facts = page.gather(model, question, data=test, reference=reference, curve=curve, notify=_say)
    if test is not None and facts.answers is not None:
        worst = tuple(replace(sample, number=test.number_of(sample.number)) for sample in facts.answers.worst)
        facts = replace(facts, answers=replace(facts.answers, worst=worst))
    record = page.page_record(facts, output, page.write_page(facts, output))
    _print(as_json, record, report.page_table(record))
    if facts.wrong or facts.fits is False:
        raise typer.Exit(NO)


@app.command("doctor")
def examine(as_json: Json = False) -> None:
    """What Lutra needs of this machine, whether it is there, and how to mend what is not.

    Exit code 1 if something is missing without which nothing works.

    \b
    Example:
      lutra doctor
    """
    found = doctor.examine()
    _print(as_json, report.doctor_record(found), report.doctor_table(found))
    if not all(finding.is_well for finding in found):
        raise typer.Exit(NO)


@zoo_app.callback()
def zoo_root(context: typer.Context, as_json: Json = False) -> None:
    """Networks with trained weights and released artefacts; without a verb, what there is.

    \b
    Examples:
      lutra zoo
      lutra zoo --json
    """
    if context.invoked_subcommand is None:
        zoo_list(as_json)
    elif as_json:
        raise typer.BadParameter(f"it goes after the verb: lutra zoo {context.invoked_subcommand} --json", param_hint="--json")


@zoo_app.command("list")
def zoo_list(as_json: Json = False) -> None:
    """What there is: sizes of each point, and its accuracy on the test set as its file records it.

    \b
    Example:
      lutra zoo list
    """
    records = [report.zoo_record(name, model, api.analyze(model)) for name in zoo.names() for model in (zoo.load(name),)]
    _print(as_json, {"models": records}, report.zoo_table(records))


@zoo_app.command("train")
def zoo_train(
    network: Annotated[str, typer.Argument(help="A network of the zoo, such as lenet5.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .lutra file to write.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Folder for an interrupted run; else OUTPUT.checkpoint.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    as_json: Json = False,
) -> None:
    """Train a float network of the zoo from scratch by its published recipe. Needs PyTorch. Ctrl-C keeps the last checkpoint.

    \b
    Examples:
      lutra zoo train lenet5 -o lenet5-float.lutra
      lutra zoo train resnet20 -o resnet20-float.lutra --resume
    """
    api.check_output(output)
    folder = _checkpoint(checkpoint, output)
    with _interruptible(folder), _progress() as show:
        model = api.train(network, report=show, checkpoint=folder, resume=resume)
    if not api.is_main_process():
        return
    api.save(model, output)
    api.discard_checkpoint(folder)
    validation = zoo_data.load(zoo_data.dataset_of(model), "validation")
    accuracy = accuracy_of(run_float(model, validation), validation)
    record = {"network": network, "output": str(output), "validation_accuracy": accuracy}
    _print(as_json, record, report.listing(tuple(record), [tuple(record.values())]))


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """The data sets there are, and whether they are here already."""
    records = [{"name": name, "fetched": zoo_data.is_fetched(name), "path": str(zoo_data.directory_of(name))} for name in zoo_data.NAMES]
    _print(as_json, {"data": records}, report.listing(("name", "fetched", "path"), (tuple(r.values()) for r in records)))


@data_app.command("fetch")
def data_fetch(name: DataName, as_json: Json = False) -> None:
    """Fetch a data set into the cache ($LUTRA_CACHE, else ~/.cache/lutra) and check its SHA-256.

    \b
    Example:
      lutra data fetch cifar10
    """
    path = str(zoo_data.fetch(_known(name)))
    _print(as_json, {"name": name, "path": path}, path)


@data_app.command("path")
def data_path(name: DataName, as_json: Json = False) -> None:
    """The folder where a data set is, or will be: files placed there by hand are used."""
    path = str(zoo_data.directory_of(_known(name)))
    _print(as_json, {"name": name, "path": path}, path)


def _known(name: str) -> zoo_data.Name:
    if not zoo_data.is_name(name):
        raise typer.BadParameter(f"there is no data set '{name}'; {nearest(name, zoo_data.NAMES)}", param_hint="NAME")
    return name


def _settings(config: str | None, epochs: float, seed: int | None, method: Method | None) -> CompressionConfig:
    path = None if config is None else zoo.recipe(config.removeprefix(zoo.PREFIX)) if config.startswith(zoo.PREFIX) else Path(config)
    settings = (CompressionConfig() if path is None else load_config(path)).with_epochs_scaled(epochs)
    settings = settings if seed is None else settings.with_seed(seed)
    return settings if method is None else replace(settings, method=method)


def _leaves_alone(output: Path, model: str, *others: str | Path | None) -> None:
    """Refuse to write over a file that is read: the model, a file of a bundle, or one of the others. Raises OutputError."""
    written, read = output.resolve(), {Path(name).resolve() for name in others if name is not None}
    if written in read or (output.exists() and written.is_relative_to(Path(model).resolve())):
        raise OutputError(f"{output} is read by this command, and would be lost; choose another file to write")


def _checkpoint(chosen: Path | None, output: Path, *others: Path | None) -> Path:
    """The folder for an interrupted run. Raises OutputError if something is to be written into it, which is removed at the end."""
    folder = chosen or output.with_name(f"{output.name}.checkpoint")
    for path in (output, *others):
        if path is not None and path.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{path} is in the checkpoint folder {folder}, which is removed at the end; choose another folder for one")
    return folder


def _image_format(values: str | None, mean: str | None, std: str | None, resize: bool, *data: str | None) -> ImageFormat:
    """What options say of image files, of which there must be some in `data` if there are options."""

    def numbers(text: str | None, option: str) -> tuple[float, ...]:
        try:
            return () if text is None else tuple(float(number) for number in text.split(","))
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not numbers such as 0.5 or 0.485,0.456,0.406", param_hint=option) from None

    given = {"--image-values": values, "--image-mean": mean, "--image-std": std, "--image-resize": resize or None}
    option = next((name for name, value in given.items() if value is not None), None)
    if option and not any(name and not zoo_data.is_prepared(name) and is_image_folder(Path(name)) for name in data):
        raise typer.BadParameter("the samples are no folder of images; arrays are taken as they are", param_hint=option)
    values = "unit" if values is None else values
    if values not in get_args(Values):
        raise typer.BadParameter(f"{values!r} is none of {', '.join(get_args(Values))}", param_hint="--image-values")
    return ImageFormat(cast(Values, values), numbers(mean, "--image-mean"), numbers(std, "--image-std"), resize)


def _data(name: str, split: zoo_data.Split, port: Callable[[], tuple[tuple[int, ...], str]], images: ImageFormat) -> Dataset:
    """Samples of the zoo, from files, or from images, which become what the input `port` takes; mixed, but for the zoo's."""
    if zoo_data.is_prepared(name):
        return zoo_data.load(name, split)
    path = _existing(name)
    return read_images(path, *port(), images) if is_image_folder(path) else read_dataset(path).mixed()


def _existing(name: str) -> Path:
    """The path of samples. Raises DataError, since `name` may be a misspelt data set."""
    if not Path(name).exists():
        raise DataError(f"there is no file, folder or data set '{name}'; of data sets {nearest(name, zoo_data.PREPARED)}")
    return Path(name)


@contextmanager
def _interruptible(checkpoint: Path) -> "Iterator[None]":
    """Ctrl-C during a training ends the command, saying what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"the last checkpoint is in {printable(checkpoint)}, go on with --resume" if checkpoint.exists() else "nothing was written"
        print(f"interrupted; {kept}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _progress() -> "Iterator[Callable[[TrainingProgress], None]]":
    """Shows training on stderr: bars on a terminal, else a line an epoch; of several processes the main one's."""
    if not api.is_main_process():
        yield lambda progress: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _epoch_line
        return
    tasks: dict[str, TaskID] = {}
    state = TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True))
    with Progress(TextColumn("{task.description}"), BarColumn(bar_width=None), state, console=console, expand=True) as bars:

        def show(progress: "TrainingProgress") -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.steps, state="")
            bars.update(tasks[progress.stage], completed=progress.step, state=_state(progress))

        yield show


def _epoch_line(progress: "TrainingProgress") -> None:
    if progress.step * progress.epochs == progress.epoch * progress.steps:
        print(f"{progress.stage} {progress.epoch}/{progress.epochs} {_state(progress)}", file=sys.stderr)


def _state(progress: "TrainingProgress") -> str:
    accuracy = "" if progress.accuracy is None else f", accuracy {100 * progress.accuracy:.2f} %"
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"loss {progress.loss:.4f}{accuracy}, {minutes}:{seconds:02} left"


def _say(text: str) -> None:
    if api.is_main_process():
        print(printable(text), file=sys.stderr)


def _print(as_json: bool, record: dict[str, Any], table: RenderableType) -> None:
    if as_json:
        _print_json(record)
    elif isinstance(table, str):
        print(printable(table))  # never wrapped: for use in scripts
    else:
        Console(soft_wrap=False, highlight=False, markup=False, emoji=False).print(table)


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
