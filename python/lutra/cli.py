"""The command line: results on stdout (one JSON object with --json), everything else on stderr.

Exit codes: 0 done, 1 the question was answered with no, 2 bad input or usage, 130 interrupted.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lutra import api, report, runtime, zoo
from lutra.curve import curve_records, plot_curve, write_curve
from lutra.dataset import Dataset, read_dataset
from lutra.errors import BudgetError, LoweringError, LutraError, ToolError, UnsupportedModelError, one_family
from lutra.exports import KINDS
from lutra.report import printable
from lutra.validation import accuracy_of, run_float
from lutra.zoo import data as zoo_data
from lutra_compiler import __version__
from lutra_compiler.budget import Budget
from lutra_compiler.config import CompressionConfig, Method, load_config
from lutra_compiler.files import write_atomically
from lutra_compiler.records import nearest, to_plain
from lutra_compiler.target import DEFAULT_TARGET

if TYPE_CHECKING:
    from lutra_compiler.compression.training import Progress as TrainingProgress

NO, BAD, INTERRUPTED = 1, 2, 130
_HELD_OUT = 5000  # validation samples at most, where none are given

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
zoo_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="Networks with trained weights and released artefacts.")
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Data sets, fetched once and checked.")
app.add_typer(zoo_app, name="zoo")
app.add_typer(data_app, name="data")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx or .lutra file, or zoo:NETWORK[/POINT].")]
Bundle = Annotated[str, typer.Argument(metavar="MODEL", help="A folder that `generate` wrote, a .lutra file, or zoo:NETWORK[/POINT].")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
DataName = Annotated[str, typer.Argument(help=" or ".join(zoo_data.NAMES))]
Target = Annotated[str, typer.Option(help="The processor.")]


def _size(text: str) -> int:
    """Bytes: "6144", or "6K" in units of 1024."""
    found = re.fullmatch(r"([0-9]+)([kK]?)", text)
    if found is None or not int(found[1]):
        raise typer.BadParameter(f"{text!r} is not a number of bytes such as 6144 or 6K")
    return int(found[1]) * (1024 if found[2] else 1)


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
Board = Annotated[str | None, typer.Option(help="Also run it as firmware on this board in QEMU, such as microbit.")]


def main() -> None:
    """The `lutra` command, and the one place that turns errors into messages; typer does so for wrong usage."""
    logger, handler = logging.getLogger("lutra"), logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with one_family():
            app(prog_name="lutra")
    except LutraError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(NO if isinstance(error, BudgetError) else BAD)
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
def analyze(model: Model, target: Target = DEFAULT_TARGET, flash: Flash = None, ram: Ram = None, as_json: Json = False) -> None:
    """What is in a model, whether it can be compiled, what each layer costs, and what its kernel was chosen from.

    A float model is shown as plain int8 makes it. Cycles are estimates. Exit code 1 if it cannot be compiled, or not within --flash
    and --ram.

    \b
    Examples:
      lutra analyze network.onnx
      lutra analyze zoo:lenet5 --target cortex-m4 --flash 16K --ram 6K
      lutra analyze zoo:lenet5 --json
    """
    try:
        analysis = api.analyze(model, target, flash=flash, ram=ram)
    except (UnsupportedModelError, LoweringError) as error:
        problems = [vars(problem) for problem in error.problems] if isinstance(error, UnsupportedModelError) else []
        if as_json:
            _print_json({"model": model, "compilable": False, "reason": str(error), "problems": problems})
        else:
            print(f"error: {printable(error)}", file=sys.stderr)
        raise typer.Exit(NO) from error
    _print(as_json, report.analysis_record(model, analysis), report.analysis_tables(model, analysis, candidates=True))


@app.command()
def compress(
    model: Model,
    data: Annotated[str, typer.Option(help="Training samples: a .npz or .npy file, a folder of .npy files, mnist, cifar10(-centred).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .lutra file to write.")],
    config: Annotated[str | None, typer.Option(help="Settings: a TOML file, or zoo:NETWORK for the zoo's recipe.")] = None,
    validation: Annotated[str | None, typer.Option(help="Samples to measure on; else, in training, the last tenth of --data.")] = None,
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
    as_json: Json = False,
) -> None:
    """Prune, product-quantize and fine-tune a float model, or reconstruct it without training data. Needs PyTorch.

    Samples are float32 [n, *input shape], preprocessed as for the float network, in the arrays "images" and "labels" (class numbers;
    without labels the float network alone teaches). From fewer than 2,000 without labels it is reconstructed, block by block, in minutes;
    some hundreds are enough. Ctrl-C keeps the last checkpoint.

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
    settings = _settings(config, epochs, seed, method)
    source = api.load(model)
    training, held_out, settings = _training_data(data, validation, settings)
    folder = checkpoint or output.with_name(f"{output.name}.checkpoint")
    budget = Budget(flash, ram, cycles, max_drop, target)
    try:
        with _progress() as show:
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
    except KeyboardInterrupt:
        kept = f"the last checkpoint is in {printable(folder)}, go on with --resume" if folder.exists() else "nothing was written"
        print(f"interrupted; {kept}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except BudgetError as error:
        if as_json:
            _print_json({"model": model, "fits": False, "reason": str(error), "nearest": error.nearest})
        print(f"error: {printable(error)}", file=sys.stderr)
        raise typer.Exit(NO) from error
    if pareto:
        _write_curve(model, output, target, curve_records(plans), as_json)
        api.discard_checkpoint(folder)
        return
    if taken is not None and flash is None:
        flash = taken.flash_limit
    analysis = api.analyze(small, target, flash=flash, ram=ram)  # nothing is written that cannot be lowered
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
        written.append(plot_curve(records, output.with_suffix(".pareto.png"), title))
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

    Kernels are the fastest that fit --flash and --ram. Exit code 1, and nothing is written, if none do.

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
    data: Annotated[str | None, typer.Option(help="Samples, as for compress, whose first the example runs on; else noise.")] = None,
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
    written = api.export(bundle, output, kind=kind, data=None if data is None else _data(data, "test"), force=force)
    _print(as_json, report.export_record(written), report.export_table(written))


@app.command()
def validate(
    model: Bundle,
    data: Annotated[str | None, typer.Option(help="Test samples, as for compress; for the zoo its own test set.")] = None,
    reference: Annotated[str | None, typer.Option(help="The float network to compare with; for the zoo its own.")] = None,
    board: Board = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Only the first N samples.", metavar="N")] = None,
    as_json: Json = False,
) -> None:
    """Run the C on samples: accuracy, distance to the float network, and whether all targets give the same bytes.

    The interpreter and the board run the first 100 samples. Exit code 1 if the bytes differ or a table is damaged.

    \b
    Examples:
      lutra validate zoo:lenet5
      lutra validate zoo:lenet5 --board microbit --json
      lutra validate network.lutra --data test.npz --reference network.onnx
      lutra validate bundle --data test.npz
    """
    if data is None:
        if not model.startswith(zoo.PREFIX):
            raise typer.BadParameter("only models of the zoo bring their own samples; name some", param_hint="--data")
        data = "mnist"
    test = _data(data, "test").head(samples)
    found = api.validate(model, test, reference=reference, board=board)
    _print(as_json, report.validation_record(found), report.validation_table(found))
    if found.bit_exact is False or not found.tables_intact:
        raise typer.Exit(NO)


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
    as_json: Json = False,
) -> None:
    """Train a float network of the zoo from scratch by its published recipe. Needs PyTorch.

    \b
    Example:
      lutra zoo train lenet5 -o lenet5-float.lutra
    """
    api.check_output(output)
    with _progress() as show:
        model = api.train(network, report=show)
    api.save(model, output)
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


def _data(name: str, split: zoo_data.Split) -> Dataset:
    return zoo_data.load(name, split) if zoo_data.is_prepared(name) else read_dataset(Path(name))


def _training_data(data: str, validation: str | None, settings: CompressionConfig) -> tuple[Dataset, Dataset | None, CompressionConfig]:
    """What to compress on, what to measure on, for which reconstruction spares no samples, and the settings with their method chosen."""
    training = _data(data, "train")
    settings = api.for_samples(settings, training)
    if validation is not None or zoo_data.is_prepared(data):
        return training, _data(validation or data, "validation"), settings
    if settings.method == "reconstruct":
        return training, None, settings
    return *training.hold_out(max(1, min(len(training) // 10, _HELD_OUT))), settings


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
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=console) as bars:

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
