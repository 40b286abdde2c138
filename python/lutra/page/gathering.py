"""The facts of a model or a bundle, from the compiler, from running its C, and from linking it."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lutra import api, zoo
from lutra.boards import Board, board_by_name, boards, measure_footprint
from lutra.budgets import can_measure
from lutra.dataset import Dataset
from lutra.errors import BudgetError, BundleError, ConfigurationError, one_family
from lutra.host import open_bundle
from lutra.host.manifest import Manifest, read_manifest
from lutra.page.charts import Buffer, Point
from lutra.page.facts import KINDS, TIMES, BoardFit, Cell, Codebook, Facts, Gauge, Layer, Question, Rival
from lutra.page.lanes import Node
from lutra.page.pictures import data_address, signed_pixels
from lutra.page.samples import answers_of
from lutra_compiler import driver
from lutra_compiler.driver import Analysis, Model
from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Op
from lutra_compiler.ir.shapes import infer_shapes
from lutra_compiler.program.choose_kernel import Limits
from lutra_compiler.program.footprint import footprint
from lutra_compiler.target import CORTEX_M, DEFAULT_TARGET, target_by_name

_KIND_OF = {"indices": 0, "coded": 0, "codebook": 1, "weights": 2, "channels": 3}  # role of a table -> its place in KINDS


def gather(
    source: api.Source,
    question: Question,
    *,
    data: Dataset | None = None,
    reference: api.Source | None = None,
    curve: Path | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Facts:
    """The facts of a compressed model or a bundle. Raises LutraError.

    `data`: test samples, for accuracy and, with labels, what went wrong. `reference`: the float network, to measure against (which needs
    torch) and to say what plain int8 would take; else the zoo's float network if the model was made from that. `curve`: a .pareto.json
    of `lutra compress --pareto`. `notify` is told what takes a while.
    """
    with one_family(), tempfile.TemporaryDirectory() as folder:
        points = () if curve is None else read_curve(curve)
        subject = _subject(source, question, Path(folder, "bundle"))
        model, target, known = subject.model, subject.target, subject.known
        float_model = _float_network(known, reference)
        validation = answers = None
        if data is not None:
            notify(f"running {len(data):,} samples")
            validation = api.validate(source, data, reference=reference)
            bundle = open_bundle(subject.directory)
            answers = answers_of(bundle.run(data.images, threads=os.cpu_count() or 1), data, bundle.inputs[0].layout)
        flash, ram, measured = _takes(subject, notify)
        analyses = _analyses(subject)
        analysis = analyses.get(target)
        cycles = None if analysis is None else _finite(analysis.cycles)
        with _as_generated(subject.directory):
            content = subject.manifest.content
            model_bytes, arena_bytes = (_natural(content[key]) or 1 for key in ("model_bytes", "arena_bytes"))
            layers, buffers, manifest = _layers(content, analysis), _buffers(content), _described(subject.manifest)
            nodes = _nodes(content) if model is None else _graph_nodes(model.graph)
        facts = Facts(
            source=subject.name,
            network=_text(known.get("network")) or subject.name,
            target=target,
            board=subject.board,
            gauges=_gauges(subject, question, flash, ram, cycles),
            not_within=subject.not_within,
            model_bytes=model_bytes,
            arena_bytes=arena_bytes,
            flash_bytes=flash,
            ram_bytes=ram,
            measured=measured,
            cycles=cycles,
            validation=validation,
            recorded_accuracy=_part(known.get("accuracy")),
            recorded_float_accuracy=_part(known.get("float_accuracy")),
            rivals=(),
            boards=_board_fits(subject, flash, ram, cycles),
            nodes=nodes,
            has_graph=model is not None,
            layers=layers,
            buffers=buffers,
            targets=tuple(analyses),
            cells=_cells(len(layers), tuple(analyses.values())),
            totals=tuple(each.cycles for each in analyses.values()),
            points=(),
            curve=points,
            codebooks=() if model is None else _codebooks(model.graph),
            answers=answers,
            manifest=manifest,
            metadata=tuple(known.items()),
            unknown=(),
        )
        facts = replace(facts, rivals=_rivals(facts, known, float_model), points=_points(facts, known))
        return replace(facts, unknown=_unknown(facts, data is not None, float_model is not None))


@dataclass(frozen=True)
class _Subject:
    """What the page is about: a bundle, and the model that it was just generated from, if it was.

    `limits` are those of the kernel choice; `not_within` says why they could not be kept. `bounds`: of flash and RAM, of a model.
    """

    name: str
    directory: Path
    manifest: Manifest
    target: str
    known: Mapping[str, Any]
    model: Model | None
    board: Board | None
    limits: Limits
    not_within: str
    bounds: tuple[int, int] | None


def _subject(source: api.Source, question: Question, folder: Path) -> _Subject:
    """The bundle in the folder `source`, or that of the model `source`, generated into `folder` within the limits if they can be kept."""
    board = None if question.board is None else board_by_name(question.board, question.target)
    wanted = board.cpu if board else question.target
    limits = Limits(
        flash=question.flash or (board.flash_bytes if board else None), ram=question.ram or (board.ram_bytes if board else None)
    )  # fmt: skip
    name = str(source) if isinstance(source, str | Path) else "model"
    model, why, bounds, directory = None, "", None, folder
    if isinstance(source, str | Path) and Path(source).is_dir():
        directory = Path(source)
    else:
        model = _model(source)
        target = target_by_name(wanted or DEFAULT_TARGET)
        try:
            program = driver.generate_bundle(model, folder, "model", target, limits)
        except BudgetError as error:
            why, limits = str(error), Limits()
            program = driver.generate_bundle(model, folder, "model", target)
        needed = footprint(program)
        bounds = needed.flash, needed.ram
    with _as_generated(directory):
        manifest = read_manifest(directory)
        found, known = str(manifest.content["target"]), manifest.content.get("model")
    if wanted not in (None, found):
        raise ConfigurationError(f"{directory} was generated for {found}, not for {wanted}; generate it again for that")
    target_by_name(found)
    return _Subject(name, directory, manifest, found, known if isinstance(known, Mapping) else {}, model, board, limits, why, bounds)


def _model(source: api.Source) -> Model:
    return source if isinstance(source, Model) else Model(source) if isinstance(source, Graph) else api.load(source)


def _takes(subject: _Subject, notify: Callable[[str], None]) -> tuple[int | None, int | None, bool]:
    """Flash, RAM, and whether they were measured: as in budgets.py, an ELF tells where there are the tools for one."""
    cpu = target_by_name(subject.target).cpu
    if cpu is not None and can_measure():
        notify(f"linking for {cpu}")
        found = measure_footprint(subject.directory, cpu)
        return found.flash, found.ram, True
    return (*(subject.bounds or (None, None)), False)


def _analyses(subject: _Subject) -> dict[str, Analysis]:
    """The model on every Cortex-M and on its own target; of a bundle nothing is known elsewhere."""
    if subject.model is None:
        return {}
    found = {name: api.analyze(subject.model, name) for name in CORTEX_M}
    found[subject.target] = api.analyze(subject.model, subject.target, flash=subject.limits.flash, ram=subject.limits.ram)
    return found


def _gauges(subject: _Subject, question: Question, flash: int | None, ram: int | None, cycles: float | None) -> tuple[Gauge, ...]:
    board = subject.board
    limits = (
        Gauge("flash", flash, question.flash or (board.flash_bytes if board else 0)),
        Gauge("RAM", ram, question.ram or (board.ram_bytes if board else 0)),
        Gauge("cycles", cycles, question.cycles or 0),
    )
    return tuple(gauge for gauge in limits if gauge.limit)


def _float_network(known: Mapping[str, Any], reference: api.Source | None) -> Model | None:
    """The reference, else the zoo's float network if the model was made from that."""
    if reference is not None:
        return api.load_reference(reference)
    name = f"{known.get('network')}/float"
    if name not in zoo.names():
        return None
    model = zoo.load(name)
    return model if model.metadata.get("float_sha256") == known.get("float_sha256") else None


def _rivals(facts: Facts, known: Mapping[str, Any], float_model: Model | None) -> tuple[Rival, ...]:
    """What plain int8 and the float network take beside this model."""
    int8 = None if float_model is None else api.analyze(float_model, facts.target)
    int8_bytes = int8.model_bytes if int8 else _bytes(known.get("int8_model_bytes"))
    float_bytes = 4 * float_model.graph.trainable_parameters() if float_model else _bytes(known.get("float_parameter_bytes"))
    measured = None if facts.validation is None else facts.validation.float_accuracy
    float_accuracy = measured if measured is not None else facts.recorded_float_accuracy
    return (
        Rival("this model", facts.model_bytes, facts.flash_bytes, facts.ram_bytes, facts.cycles, facts.accuracy),
        Rival("plain int8", int8_bytes, int8.flash_bytes, int8.ram_bytes, _finite(int8.cycles), None)
        if int8
        else Rival("plain int8", int8_bytes, None, None, None, None),
        Rival("float32", float_bytes, None, None, None, float_accuracy),
    )


def _board_fits(subject: _Subject, flash: int | None, ram: int | None, cycles: float | None) -> tuple[BoardFit, ...]:
    """On every board; of a bundle on those that it was generated for."""
    fits = []
    for board in boards():
        if subject.model is not None:
            found = _on_board(subject.model, board)
            fits.append(BoardFit(board, found.flash_bytes, found.ram_bytes, _finite(found.cycles)))
        elif board.cpu == subject.target and flash is not None and ram is not None:
            fits.append(BoardFit(board, flash, ram, cycles))
    return tuple(sorted(fits, key=lambda fit: (fit.board.flash_bytes + fit.board.ram_bytes, fit.board.name)))


def _on_board(model: Model, board: Board) -> Analysis:
    """With the fastest kernels that fit the board, or with the fastest ones if none do."""
    try:
        return api.analyze(model, board.cpu, flash=board.flash_bytes, ram=board.ram_bytes)
    except BudgetError:
        return api.analyze(model, board.cpu)


def _layers(content: Mapping[str, Any], analysis: Analysis | None) -> tuple[Layer, ...]:
    found: list[Layer] = []
    for index, entry in enumerate(content["layers"]):
        sizes = [0] * len(KINDS)
        for role, size in entry["bytes"].items():
            sizes[_KIND_OF.get(role, len(KINDS) - 1)] += _natural(size)
        of = None if analysis is None else analysis.layers[index]
        stored = "" if of is None or of.codewords is None else f"{of.codewords} codewords of {of.subvector}"
        found.append(
            Layer(
                name=", ".join(map(str, entry["source_names"])) or str(entry["kind"]),
                kernel=kernel_name(str(entry["kernel"])),
                output_shape=_shape(entry["output_shape"]),
                macs=_natural(entry["macs"]),
                sizes=tuple(sizes),
                scratch_bytes=_natural(entry["scratch_bytes"]),
                stored=stored or ("int8" if sizes[2] else ""),
                cycles=None if of is None else _finite(of.cycles),
            )
        )
    names = [layer.name for layer in found]  # of the calls of one operator the kernel tells which is which
    return tuple(layer if names.count(layer.name) == 1 else replace(layer, name=f"{layer.name}, {layer.kernel}") for layer in found)


def kernel_name(name: str) -> str:
    """A kernel's name for people."""
    return name.removeprefix("lutra_").removesuffix("_int8").replace("_", " ")


def _buffers(content: Mapping[str, Any]) -> tuple[Buffer, ...]:
    layers = content["layers"]
    names = {_natural(layer["output_buffer"]): str(layer["output"]) for layer in layers}
    calls, arena, found = len(layers), _natural(content["arena_bytes"]), []
    inputs = iter(str(port["name"]) for port in content["inputs"])
    for entry in content["buffers"]:
        index, storage, first, last = _natural(entry["index"]), str(entry["storage"]), _natural(entry["first"]), _natural(entry["last"])
        buffer = Buffer(
            name=next(inputs, "input") if storage == "input" else names.get(index, storage),
            storage=storage, offset=_natural(entry["offset"]), bytes=_natural(entry["bytes"]), first=first, last=last,
        )  # fmt: skip
        if not first <= last < calls or buffer.offset + buffer.bytes > arena:
            raise ValueError(f"buffer {index} is outside the arena or the schedule")
        found.append(buffer)
    return tuple(found)


def _described(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """The manifest but for what the rest of the page shows."""
    keys = ("format", "format_version", "abi", "compiler", "prefix", "target", "model_bytes", "arena_bytes")
    rows = [(key, str(manifest.content[key])) for key in keys]
    rows += [(f"SHA-256 of {name}", str(manifest.content["files"][name])) for name in manifest.sources]
    for kind, ports in (("input", manifest.inputs), ("output", manifest.outputs)):
        for port in ports:
            meaning = f"an integer q stands for {port.scale:.6g} {TIMES} (q {'-' if port.zero_point >= 0 else '+'} {abs(port.zero_point)})"
            rows.append((f"{kind} {port.name}", f"int8 {_shape(port.shape)}, {port.layout} in the source; {meaning}"))
    return tuple(rows)


def _nodes(content: Mapping[str, Any]) -> tuple[Node, ...]:
    """Calls one after the other: which of them reads what is not in a manifest."""
    nodes = [Node(str(p["name"]), "input", _shape(p["shape"]), (), f"input {number}") for number, p in enumerate(content["inputs"])]
    before = tuple(node.output for node in nodes)
    for number, entry in enumerate(content["layers"]):
        title = ", ".join(map(str, entry["source_names"])) or str(entry["kind"])
        nodes.append(Node(title, kernel_name(str(entry["kernel"])), _shape(entry["output_shape"]), before, f"call {number}"))
        before = (nodes[-1].output,)
    return tuple(nodes)


def _graph_nodes(graph: Graph) -> tuple[Node, ...]:
    shapes = infer_shapes(graph)
    inputs = [Node(port.name, "input", _shape(port.shape), (), port.name) for port in graph.inputs]
    return (*inputs, *(Node(op.name or op.kind, _detail(graph, op), _shape(shapes[op.output]), op.inputs, op.output) for op in graph.ops))


def _detail(graph: Graph, op: Op) -> str:
    kind = op.kind.replace("_", " ")
    weight = op.parameter_names[0] if op.parameter_names else ""
    if not weight or op.kind == "batch_norm":
        return kind
    encoding = graph.encodings.get(weight)
    _, *kernel, _ = graph.weight_shape(weight)
    size = f" {TIMES.join(map(str, kernel))}" if kernel else ""
    if isinstance(encoding, ProductQuantized):
        return f"{kind}{size}, {encoding.codewords} codewords of {encoding.subvector}"
    return f"{kind}{size}, {'float' if encoding is None else 'int8'}"


def _cells(layers: int, analyses: Sequence[Analysis]) -> tuple[tuple[Cell | None, ...], ...]:
    """Of each of `layers` layers what it is on each target; None where that has another schedule."""

    def cell(analysis: Analysis, index: int) -> Cell | None:
        if len(analysis.layers) != layers:
            return None
        return Cell(kernel_name(analysis.layers[index].kernel), analysis.layers[index].cycles)

    return tuple(tuple(cell(analysis, index) for analysis in analyses) for index in range(layers))


def _codebooks(graph: Graph) -> tuple[Codebook, ...]:
    found = []
    for op in graph.ops:
        for name in op.parameter_names:
            encoding = graph.encodings.get(name)
            if not isinstance(encoding, ProductQuantized):
                continue
            counts = np.bincount(encoding.indices.ravel(), minlength=encoding.codewords)
            used = counts[counts > 0] / counts.sum()
            found.append(
                Codebook(
                    name=op.name or op.kind,
                    codewords=encoding.codewords,
                    subvector=encoding.subvector,
                    index_bits=encoding.index_bits,
                    coded=encoding.coded,
                    indices=encoding.indices.size,
                    entropy_bits=abs(float(-(used * np.log2(used)).sum())),
                    unused=int((counts == 0).sum()),
                    picture=data_address(signed_pixels(encoding.codebook.T)),
                    counts=tuple(map(int, counts)),
                )
            )
    return tuple(found)


def _points(facts: Facts, known: Mapping[str, Any]) -> tuple[Point, ...]:
    """This network, and the zoo's points that come from the same float network."""
    ours = facts.accuracy if facts.recorded_accuracy is None else facts.recorded_accuracy  # others' are recorded too
    found = [] if ours is None else [Point("this model", facts.model_bytes, ours, "this model", here=True)]
    network, same = known.get("network"), known.get("float_sha256")
    for name in zoo.names() if isinstance(network, str) and isinstance(same, str) else ():
        if name.partition("/")[0] != network or name == zoo.float_name(name):
            continue
        other = zoo.load(name)
        accuracy = _part(other.metadata.get("accuracy"))
        if accuracy is None or other.metadata.get("float_sha256") != same:
            continue
        size = api.analyze(other, facts.target).model_bytes
        if (size, accuracy) != (facts.model_bytes, _part(known.get("accuracy"))):
            found.append(Point(f"{zoo.PREFIX}{name}", size, accuracy, "zoo"))
    return tuple(found)


def read_curve(path: Path) -> tuple[Point, ...]:
    """The points of a .pareto.json: trial accuracies where there are some, else the expected losses. Raises ConfigurationError."""
    try:
        points = json.loads(path.read_bytes())["points"]
        trained = [point for point in points if point["trial_accuracy"] is not None]
        key, of = ("trial_accuracy", trained) if trained else ("expected_loss", points)
        found = tuple(
            Point(str(p["layers"]), _natural(p["model_bytes"]), _required(p[key]), "short training" if trained else "expected loss")
            for p in of
        )
        if not found or min(point.bytes for point in found) < 1:
            raise ValueError("it has no points")
    except OSError as error:
        raise ConfigurationError(f"the curve {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no curve that `lutra compress --pareto` wrote: it has no points that can be read") from error
    return found


def _unknown(facts: Facts, has_data: bool, has_float: bool) -> tuple[str, ...]:
    lines = []
    if not facts.has_graph:
        lines.append(
            "A bundle does not say which layer reads which, what is in its codebooks and what its layers would take elsewhere; the .lutra "
            "file that it was generated from does."
        )
    if facts.flash_bytes is None:
        lines.append("What code and stack take: install the Arm toolchain (lutra doctor), and the bundle is linked and measured.")
    if facts.accuracy is None:
        lines.append("Accuracy: no labelled samples were given (--data), and the file records none.")
    elif not has_data:
        lines.append("Which samples go wrong: no samples were given (--data).")
    elif facts.answers is None:
        lines.append("Which samples go wrong: the samples have no labels, or the network's output is a single number.")
    if facts.float_accuracy is None:
        lines.append("The float network's accuracy: give the float network (--reference) and labelled samples (--data).")
    if not has_float:
        lines.append("RAM and cycles of plain int8: give the float network (--reference).")
    lines.append("The accuracy of plain int8: it is not measured here.")
    if len(facts.points) < 2 and not facts.curve:
        lines.append("Accuracy at other sizes: give a curve of `lutra compress --pareto` (--curve).")
    return tuple(lines)


@contextmanager
def _as_generated(directory: Path) -> Iterator[None]:
    """Whoever made the bundle, what is in its manifest is not trusted."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise BundleError(f"the manifest in {directory} is not as it was generated ({error!r}); generate the bundle again") from error


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _natural(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32:
        return value
    raise ValueError(f"{value!r:.40} is no number of bytes or the like")


def _part(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 else None


def _required(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"{value!r:.40} is not a finite number")


def _bytes(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 48 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shape(sides: Sequence[Any]) -> str:
    return TIMES.join(str(_natural(side)) for side in sides)
