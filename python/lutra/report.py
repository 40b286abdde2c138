"""Results as JSON records and as tables for people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lutra.benchmark import Benchmark
from lutra.boards import Board, Firmware
from lutra.doctor import Finding
from lutra.exports import Export
from lutra.validation import Validation
from lutra.zoo.data import dataset_of
from lutra_compiler.driver import Analysis, Cost, Model, Outlook
from lutra_compiler.errors import LutraError, UnsupportedLayersError, UnsupportedModelError
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.program.program import Considered
from lutra_compiler.records import to_plain

Record = dict[str, Any]


def printable(text: object) -> str:
    """`text` with everything that could steer a terminal shown as an escape: names in models come from anywhere."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))


def analysis_record(model: str, analysis: Analysis) -> Record:
    """What `lutra analyze --json` prints."""
    record: Record = to_plain(analysis)
    layers = [
        {"index": index, **plain, "model_bytes": layer.model_bytes}
        for index, (plain, layer) in enumerate(zip(record.pop("layers"), analysis.layers, strict=True))
    ]
    ratios = {"ratio": _rounded(analysis.ratio), "int8_ratio": _rounded(analysis.int8_ratio)}
    sums = {"flash_bytes": analysis.flash_bytes, "ram_bytes": analysis.ram_bytes}
    return {"model": model, "compilable": True, **record, **sums, **ratios, "layers": layers}


def problem_records(error: LutraError) -> list[Record]:
    """All places in a model that cannot be compiled, as `lutra analyze --json` lists them."""
    if isinstance(error, UnsupportedModelError):
        return [vars(problem) for problem in error.problems]
    if isinstance(error, UnsupportedLayersError):
        return [{"node": name, "operator": "", "reason": str(problem), "remedy": ""} for name, problem in error.problems]
    return []


def outlook_record(analysis: Analysis, outlook: Outlook) -> Record:
    """What a model costs on every target, and what compression could bring."""

    def record(cost: Cost) -> Record:
        return {**to_plain(cost), "cycles": round(cost.cycles)}

    compressed = [{**record(c), "ratio": _ratio(analysis.float_parameter_bytes, c.model_bytes)} for c in outlook.compressed]
    refused = outlook.refused or None
    return {"targets": [record(cost) for cost in outlook.targets], "compressed_estimates": compressed, "compression_refused": refused}


def fit_record(limits: Limits, why_not: str) -> Record:
    """Whether a model fits; null where there are no limits."""
    limited = limits.flash is not None or limits.ram is not None
    return {"flash_limit": limits.flash, "ram_limit": limits.ram, "fits": not why_not if limited else None, "why_not": why_not or None}


def validation_record(validation: Validation) -> Record:
    """What `lutra validate --json` prints."""
    record: Record = to_plain(validation)
    known = ("rmse", "mae", "l2r", "cos", "agreement", "worst_sample", "worst_l2r")
    difference = record.pop("difference") or dict.fromkeys(known)
    comparison, first, metric = record.pop("comparison"), validation.first_deviating, record.pop("metric")
    return {
        **record,
        "metric": None if metric is None else metric["name"],
        "metric_value": None if metric is None else metric["value"],
        "float_metric_value": None if metric is None else metric["float_value"],
        "drop_pp": None if validation.drop is None else round(validation.drop, 4),
        "first_deviating": None if first is None else first.name,
        "ratio": _rounded(validation.ratio),
        "int8_ratio": _rounded(validation.int8_ratio),
        **difference,
        "bit_exact": validation.bit_exact,
        "compared": comparison,
    }


def bench_record(benchmark: Benchmark) -> Record:
    """What `lutra bench --json` prints."""
    return {**to_plain(benchmark), "host_microseconds": round(benchmark.host_microseconds, 3)}


def export_record(export: Export) -> Record:
    """What `lutra export --json` prints."""
    return {"prefix": export.prefix, "for": export.kind, "directory": str(export.directory), "files": list(export.files)}


def export_table(export: Export) -> RenderableType:
    """What was written, and what to read."""
    return f"{export.directory}: {export.prefix} for {export.kind}, {len(export.files)} files; README.md says how to go on"


def full_analysis(model: str, analysis: Analysis, outlook: Outlook, limits: Limits, why_not: str) -> RenderableType:
    """The analysis, what the model costs elsewhere, what compression could bring, and whether it fits."""
    columns = ("model", "flash", "RAM", "cycles")

    def costs(first: str, named: Iterable[Cost], title: str) -> RenderableType:
        table = _table((first, *columns), columns)
        for cost in named:
            table.add_row(_text(cost.name), *(f"{size:,}" for size in (cost.model_bytes, cost.flash_bytes, cost.ram_bytes)),
                          _short(round(cost.cycles)))  # fmt: skip
        return Group(Text(f"\n{title}"), table)

    parts = [analysis_tables(model, analysis, candidates=True)]
    if outlook.compressed:
        named = [_with_ratio(cost, analysis) for cost in outlook.compressed]
        parts.append(costs("compressed", named, f"what default settings of `lutra compress` would make of it on {analysis.target}; bytes"))
    if outlook.refused:
        parts.append(Text(f"\n{outlook.refused}"))
    parts.append(costs("target", outlook.targets, "on every target; bytes, estimated cycles"))
    if why_not:
        parts.append(Text(f"\ndoes not fit: {printable(why_not)}"))
    elif limits.flash is not None or limits.ram is not None:
        parts.append(Text(f"\nfits: {_of(analysis.flash_bytes, limits.flash)} of flash, {_of(analysis.ram_bytes, limits.ram)} of RAM"))
    return Group(*parts)


def _with_ratio(cost: Cost, analysis: Analysis) -> Cost:
    ratio = _ratio(analysis.float_parameter_bytes, cost.model_bytes)
    return cost if ratio is None else replace(cost, name=f"{cost.name}, {ratio:.1f}x smaller than float")


def _of(size: int, limit: int | None) -> str:
    return f"{size:,} B" if limit is None else f"{size:,} of {limit:,} B"


def _ratio(float_bytes: int | None, model_bytes: int) -> float | None:
    return None if float_bytes is None else _rounded(float_bytes / model_bytes)


def analysis_tables(model: str, analysis: Analysis, candidates: bool = False) -> RenderableType:
    """A row a layer, and the totals; with `candidates` also what kernels were chosen from."""
    columns = ("layer", "output", "params", "MACs", "kernel", "K x d", "flash", "RAM", "cycles")
    rows = [
        (
            layer.names[0] if layer.names else layer.kind,
            "x".join(map(str, layer.output_shape)),
            _short(layer.parameters) if layer.parameters else "",
            _short(layer.macs) if layer.macs else "",
            _kernel(layer.kernel),
            "" if layer.codewords is None else f"{layer.codewords} x {layer.subvector}",
            *map(_bytes, (layer.model_bytes, layer.ram_bytes)),
            _short(round(layer.cycles)),
        )
        for layer in analysis.layers
    ]
    shown = [number for number, cells in enumerate(zip(*rows, strict=True)) if any(cells)]  # room for names
    numbers = ("params", "MACs", "flash", "RAM", "cycles")
    table = _table(tuple(columns[number] for number in shown), numbers, gap=0 if len(shown) == len(columns) else 1)
    for row in rows:
        table.add_row(*(_text(row[number]) for number in shown))
    kind = "compressed" if analysis.compressed else "float; sizes are those of plain int8"
    return Group(
        Text(f"{printable(model)} ({kind}), for {analysis.target}; bytes"),
        table,
        *([_candidates(analysis)] if candidates and any(len(layer.candidates) > 1 for layer in analysis.layers) else []),
        _facts({
            "parameters": f"{analysis.parameters:,}",
            "multiply-adds": f"{analysis.macs:,}",
            "float parameters": _size(analysis.float_parameter_bytes),
            "plain int8 model": _size(analysis.int8_model_bytes),
            "model": _size(analysis.model_bytes) + _ratios(analysis.ratio, analysis.int8_ratio if analysis.compressed else None),
            "flash": f"{_size(analysis.flash_bytes)} = model + at most {_size(analysis.code_bytes)} of code",
            "RAM": f"{_size(analysis.ram_bytes)} = arena {_size(analysis.arena_bytes)}, inputs and outputs included, "
            f"+ at most {_size(analysis.stack_bytes)} of stack",
            "cycles": f"{_short(round(analysis.cycles))}, estimated",
        }),
    )


def _candidates(analysis: Analysis) -> RenderableType:
    """For every layer that there are several kernels for: the best way to use each, the chosen one first."""
    columns = ("layer", "kernel", "cycles", "flash", "scratch", "why not")
    table = _table(columns, numbers=("cycles", "flash", "scratch"), wrapped=("layer", "why not"))
    for layer in analysis.layers:
        best: dict[str, Considered] = {}
        for candidate in sorted(layer.candidates, key=lambda c: bool(c.why_not)):  # else fastest first
            best.setdefault(candidate.kernel, candidate)
        for candidate in best.values() if len(layer.candidates) > 1 else ():
            table.add_row(
                _text("" if candidate.why_not else layer.names[0] if layer.names else layer.kind),
                _text(_kernel(candidate.kernel)),
                "" if candidate.cycles is None else _short(round(candidate.cycles)),
                "" if candidate.flash_bytes is None else str(candidate.flash_bytes),
                _bytes(candidate.scratch_bytes or 0),
                _text(candidate.why_not),
            )
    return table


def validation_table(validation: Validation) -> RenderableType:
    """All that is known, a line each."""
    facts = {
        "samples": f"{validation.samples:,}",
        "model": _size(validation.model_bytes) + _ratios(validation.ratio, validation.int8_ratio),
        "arena": _size(validation.arena_bytes),
        "accuracy (C)": _percent(validation.accuracy),
        "accuracy (float)": _percent(validation.float_accuracy)
        + ("" if validation.float_accuracy_source is None else f" ({validation.float_accuracy_source})"),
    }
    if difference := validation.difference:
        facts["against float"] = (
            f"rmse {difference.rmse:.4g}, mae {difference.mae:.4g}, l2r {difference.l2r:.4g}, cos {difference.cos:.6f}; "
            f"same class {_percent(difference.agreement)}"
        )
        facts["worst sample"] = f"number {difference.worst_sample}, l2r {difference.worst_l2r:.4g}"
    if metric := validation.metric:
        facts[metric.name] = f"{metric.value:.4f}" + ("" if metric.float_value is None else f", float {metric.float_value:.4f}")
    if comparison := validation.comparison:
        verdict = "the same bytes" if comparison.bit_exact else "DIFFERENT bytes"
        differing = "".join(f"; {name} differs in {count}" for name, count in comparison.differing.items())
        facts["parity"] = f"{verdict} on {comparison.samples} samples: {', '.join(comparison.targets)}{differing}"
    else:
        facts["parity"] = "not compared"
    if timing := validation.timing:
        facts["on the board"] = (
            f"{timing.cycles:,} cycles a sample, {1000 * timing.seconds:.3f} ms at {timing.hz / 1e6:g} MHz; "
            f"deepest stack {timing.stack_bytes:,} B; by layer: {', '.join(f'{cycles:,}' for cycles in timing.layer_cycles)}"
        )
    facts["tables"] = "intact" if validation.tables_intact else "DAMAGED: a CRC-32 is wrong"
    if not validation.layers:
        return Group(Text(printable(validation.model)), _facts(facts))
    first = validation.first_deviating
    above = f"above {validation.deviation:g}"
    facts["layers"] = f"none is {above}" if first is None else f"'{first.name}' is the first {above}" if first.bit_exact else (
        f"'{first.name}' is the first whose bytes differ"
    )  # fmt: skip
    table = _table(("layer", "output", "l2r", "cos", "rounding", "steps", "bytes"), numbers=("l2r", "cos", "rounding", "steps"))
    for layer in validation.layers:
        shown = ("" if value is None else f"{value:.4f}" for value in (layer.l2r, layer.cos, layer.rounding))
        shape = "x".join(map(str, layer.output_shape))
        table.add_row(_text(layer.name), shape, *shown, f"{layer.steps:.2f}", "same" if layer.bit_exact else "DIFFERENT")
    title = "integers a layer, against the float network (l2r, cos) and against the same weights in float (rounding, rms steps)"
    return Group(Text(printable(validation.model)), _facts(facts), Text(f"\n{title}"), table)


def bench_tables(benchmark: Benchmark) -> RenderableType:
    """A row a layer, and the totals."""
    table = _table(("layer", "kernel", "MACs", "instructions", "a MAC"), numbers=("MACs", "instructions", "a MAC"))
    for layer in benchmark.layers:
        executed = layer.instructions
        table.add_row(
            _text(layer.names[0] if layer.names else ""),
            _text(_kernel(layer.kernel)),
            f"{layer.macs:,}",
            "" if executed is None else f"{executed:,}",
            "" if executed is None or not layer.macs else f"{executed / layer.macs:.2f}",
        )
    facts = {"multiply-adds": f"{benchmark.macs:,}", "host": f"{benchmark.host_microseconds:,.1f} us a sample on one core"}
    if board := benchmark.board:
        flash = board.flash
        facts |= {
            board.board: f"{board.instructions:,} instructions a sample",
            "flash": f"{flash.total:,} B = model {flash.model:,} + kernels and schedule {flash.kernels:,} + board {flash.board:,}",
            "RAM": f"arena {board.arena_bytes:,} B + data {board.data_bytes:,} B + deepest stack {board.stack_bytes:,} B",
        }
    return Group(Text(printable(benchmark.model)), table, _facts(facts))


def compression_tables(record: Record, analysis: Analysis) -> RenderableType:
    """The analysis of what compression made, and what it cost."""
    measured = (
        f"{_percent(record['validation_accuracy'])}, float {_percent(record['float_validation_accuracy'])}, "
        f"on {record['validation_samples']:,} validation samples"
    )
    facts = {
        "accuracy": measured if record["validation_samples"] else "not measured: no samples were held out (--validation)",
        "written": f"{record['output']} in {record['seconds']:,} s",
    }
    if fit := record["fit"]:
        how = "measured in an ELF" if fit["measured"] else "estimated, at most"
        facts["takes"] = f"{_size(fit['flash_bytes'])} of flash, {_size(fit['ram_bytes'])} of RAM, {how}"
        facts["next"] = f"lutra generate {record['output']} {record['generate_options']} -o FOLDER"
    return Group(analysis_tables(record["model"], analysis), _facts(facts))


def generation_tables(record: Record, sizes: Mapping[str, int]) -> RenderableType:
    """The files of a bundle."""
    facts = {
        "model": _size(record["model_bytes"]),
        "arena": _size(record["arena_bytes"]),
        "flash": f"at most {_size(record['flash_bytes'])} with code",
        "RAM": f"at most {_size(record['ram_bytes'])} with stack",
        "folder": record["directory"],
    }
    return Group(listing(("file", "bytes of text"), sizes.items()), _facts(facts))


def curve_tables(records: list[Record], files: list[str]) -> RenderableType:
    """A row a point of the curve, the smallest first: the loss that is expected, and the accuracy after a short training."""
    columns = ("flash", "model", "RAM", "cycles", "loss", "accuracy", "channels", "layers")
    table = _table(columns, numbers=columns[:6])
    for r in records:
        accuracy = "" if r["trial_accuracy"] is None else _percent(r["trial_accuracy"])
        sizes = (f"{r['flash_bytes']:,}", f"{r['model_bytes']:,}", f"{r['ram_bytes']:,}", _short(round(r["cycles"])))
        table.add_row(*sizes, f"{r['expected_loss']:.2g}", accuracy, r["channels"], r["layers"])
    return Group(table, _facts({"written": ", ".join(files)}))


def page_table(record: Record) -> RenderableType:
    """What `lutra report` wrote, and the answer that the page begins with."""
    answer = {True: "yes", False: "NO", None: "not known" if record["limits"] else "no board and no limits were named"}[record["fits"]]
    taken = ("unknown" if value is None else f"{value:,.0f}" for _, value, _ in record["limits"])
    limits = ", ".join(f"{name} {value} of {limit:,.0f}" for (name, _, limit), value in zip(record["limits"], taken, strict=True))
    return _facts({
        **({"WRONG": record["wrong"]} if record["wrong"] else {}),
        "fits": answer + (f" ({limits})" if limits else ""),
        "accuracy": _percent(record["accuracy"]),
        "model": _size(record["model_bytes"]) + _ratios(record["ratio"], record["int8_ratio"]),
        "cycles": "unknown" if record["cycles"] is None else f"{_short(round(record['cycles']))}, estimated",
        "written": f"{record['output']}, {record['page_bytes']:,} B",
    })


def doctor_record(findings: Sequence[Finding]) -> Record:
    """What `lutra doctor --json` prints."""
    return {"well": all(finding.is_well for finding in findings), "findings": [to_plain(finding) for finding in findings]}


def doctor_table(findings: Sequence[Finding]) -> RenderableType:
    """A row for what is there, and how to mend what is not."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        state = "ok" if finding.found is not None else "MISSING" if finding.required else "without"
        text = finding.found if finding.found is not None else f"for {finding.purpose}\nto mend: {finding.remedy}"
        grid.add_row(Text(state), _text(finding.name), _text(text))
    well = all(finding.is_well for finding in findings)
    missing = sum(finding.found is None for finding in findings)
    end = "all is here" if not missing else "what is required is here" if well else "something that is required is missing"
    return Group(grid, Text(f"\n{end}"))


def board_record(board: Board) -> Record:
    """What `lutra boards --json` tells of a board. `firmware`: how it gets samples."""
    return {
        "name": board.name,
        "cpu": board.cpu,
        "flash": board.flash_bytes,
        "ram": board.ram_bytes,
        "firmware": board.link,
        "qemu": board.machine is not None,
    }


def board_table(records: list[Record]) -> RenderableType:
    """A row a board; where a model was given, what it needs of it."""
    needs = ("fits", "of flash", "of RAM", "cycles") if "fits" in records[0] else ()
    table = _table(("board", "CPU", "flash", "RAM", "QEMU", *needs), numbers=("flash", "RAM", *needs[1:]))
    for r in records:
        row = [r["name"], r["cpu"].removeprefix("cortex-"), f"{r['flash'] >> 10} K", f"{r['ram'] >> 10} K", "yes" if r["qemu"] else ""]
        if needs:
            row += ["yes" if r["fits"] else "NO", f"{r['needs_flash']:,}", f"{r['needs_ram']:,}", _short(r["cycles"])]
        table.add_row(*row)
    return table


def firmware_record(firmware: Firmware) -> Record:
    """What `lutra firmware --json` prints: bytes of the whole firmware, what serves the host included."""
    return {
        "output": str(firmware.elf),
        "board": firmware.board.name,
        "flash": firmware.flash.total,
        "of": firmware.board.flash_bytes,
        "ram": firmware.ram.total,
        "of_ram": firmware.board.ram_bytes,
    }


def zoo_record(name: str, model: Model, analysis: Analysis) -> Record:
    """What `lutra zoo --json` tells of a point. Accuracies are those recorded in its file, on the test set; null where it does not say."""
    compressed = analysis.compressed
    accuracy, float_accuracy = (_recorded(model, key) for key in ("accuracy", "float_accuracy"))
    known = compressed and accuracy is not None and float_accuracy is not None
    return {
        "name": f"zoo:{name}",
        "network": name.partition("/")[0],
        "dataset": dataset_of(model),
        "compressed": compressed,
        "parameters": model.graph.trainable_parameters(),
        "model_bytes": analysis.model_bytes if compressed else 4 * model.graph.trainable_parameters(),
        "ratio": _rounded(analysis.ratio) if compressed else None,
        "int8_ratio": _rounded(analysis.int8_ratio) if compressed else None,
        "accuracy": accuracy if compressed else float_accuracy,
        "float_accuracy": float_accuracy,
        "drop_pp": round(100 * (float_accuracy - accuracy), 4) if known else None,
    }


def zoo_table(records: list[Record]) -> RenderableType:
    """A row a point."""
    columns = ("name", "model bytes", "vs float", "vs int8", "accuracy", "float", "drop")
    table = _table(columns, numbers=columns[1:])
    for r in records:
        ratios = ("" if r[key] is None else f"{r[key]:.1f}x" for key in ("ratio", "int8_ratio"))
        accuracies = ("" if r[key] is None else _percent(r[key]) for key in ("accuracy", "float_accuracy"))
        drop = "" if r["drop_pp"] is None else f"{r['drop_pp']:.2f} pp"
        table.add_row(_text(r["name"]), f"{r['model_bytes']:,}", *ratios, *accuracies, drop)
    return Group(table, Text(f"accuracies as recorded, on the test set of {', '.join(sorted({r['dataset'] for r in records}))}"))


def _recorded(model: Model, key: str, kind: type = float) -> Any:
    value = model.metadata.get(key)
    return value if isinstance(value, kind) else None


def listing(columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> RenderableType:
    """A plain table."""
    table = _table(columns, numbers=())
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _table(columns: tuple[str, ...], numbers: tuple[str, ...], gap: int = 1, wrapped: tuple[str, ...] = ()) -> Table:
    """An empty table. Where a line is too narrow, the `wrapped` columns give way; without any the first."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        no_wrap = column not in (wrapped or columns[:1])
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold", no_wrap=no_wrap)
    return table


def _facts(facts: Mapping[str, str]) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts.items():
        grid.add_row(Text(name), _text(value))
    return grid


def _text(value: object) -> Text:
    return Text(printable(value))  # a Text is never read as markup


def _kernel(name: str) -> str:
    return name.removeprefix("lutra_").removesuffix("_int8").replace("_", " ")


def _short(number: int) -> str:
    for limit, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)


def _bytes(number: int) -> str:
    return str(number) if number else ""


def _size(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,} B"


def _ratios(ratio: float | None, int8_ratio: float | None) -> str:
    parts = [f"{value:.1f}x smaller than {what}" for value, what in ((ratio, "float"), (int8_ratio, "int8")) if value is not None]
    return f" ({', '.join(parts)})" if parts else ""


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.2f} %"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
