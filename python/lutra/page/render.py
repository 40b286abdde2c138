"""Facts as HTML: drawings are laid out here, the template only places what it is given. All text is escaped, whoever wrote it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from lutra.page.charts import CURVE_HEIGHT, MEMORY_HEIGHT, Bar, Block, Curve, curve_of, memory_blocks, stacked_bar
from lutra.page.facts import KINDS, TIMES, Facts
from lutra.page.lanes import Edge, Lanes, lanes_of
from lutra.report import printable
from lutra_compiler import __version__
from lutra_compiler.errors import OutputError
from lutra_compiler.files import write_atomically

ROW, LANE = 44, 18  # pixels of a row and a lane of the network's drawing


@dataclass(frozen=True)
class Drawings:
    """What is drawn of the facts."""

    lanes: Lanes
    paths: tuple[str, ...]
    bytes_whole: Bar
    bytes_layers: tuple[Bar, ...]
    memory: tuple[Block, ...]
    ticks: tuple[tuple[float, str], ...]
    cycles: tuple[Bar, ...]
    accuracy: Curve | None
    loss: Curve | None
    histograms: tuple[str, ...]


def write_page(facts: Facts, path: Path) -> int:
    """Write the page, whole or not at all; returns its size in bytes. Raises OutputError."""
    check_output(path)
    content = render(facts).encode()
    write_atomically(path, content)
    return len(content)


def check_output(path: Path) -> None:
    """Refuse a file that `write_page` could not write, before the work is done. Raises OutputError."""
    if path.suffix not in (".html", ".htm"):
        raise OutputError(f"{path} must end in .html, so that browsers open it")
    if not path.parent.is_dir() or path.is_dir():
        raise OutputError(f"{path} cannot be written; choose a file in a folder that exists")


def render(facts: Facts) -> str:
    """The page. It depends on the facts alone: no time, no path of this machine."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lutra.page"), autoescape=True, undefined=jinja2.StrictUndefined, finalize=_shown, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(count=count, short=short, percent=percent, size=size, times=times, json=_json)
    style = Markup((Path(__file__).parent / "templates/style.css").read_text())  # ours
    return environment.get_template("report.html").render(
        f=facts, d=_drawings(facts), kinds=KINDS, style=style, version=__version__, row=ROW, lane=LANE, memory_height=MEMORY_HEIGHT,
        curve_height=CURVE_HEIGHT,
    )  # fmt: skip


def _drawings(facts: Facts) -> Drawings:
    lanes = lanes_of(facts.nodes)
    totals = [sum(layer.sizes[kind] for layer in facts.layers) for kind in range(len(KINDS))]
    largest = max((sum(layer.sizes) for layer in facts.layers), default=0)
    slowest = max((layer.cycles or 0 for layer in facts.layers), default=0)
    known = [*facts.points]
    of_points = facts.float_accuracy if facts.recorded_accuracy is None else facts.recorded_float_accuracy
    lines = {} if of_points is None else {f"float {percent(of_points)}": of_points}
    is_loss = bool(facts.curve) and facts.curve[0].series == "expected loss"
    known += () if is_loss else facts.curve
    return Drawings(
        lanes=lanes,
        paths=tuple(_path(edge) for edge in lanes.edges),
        bytes_whole=stacked_bar("all layers", size(sum(totals)), totals, sum(totals)),
        bytes_layers=tuple(
            stacked_bar(layer.name, size(sum(layer.sizes)), layer.sizes, largest) for layer in facts.layers if sum(layer.sizes)
        ),
        memory=memory_blocks(facts.buffers, len(facts.layers), facts.arena_bytes),
        ticks=_ticks(len(facts.layers)),
        cycles=tuple(
            stacked_bar(layer.name, f"{layer.kernel} · {short(layer.cycles)}", (layer.cycles,), slowest)
            for layer in facts.layers
            if layer.cycles is not None
        ),
        accuracy=curve_of(known, lines, True) if len(known) > 1 else None,
        loss=curve_of(facts.curve, {}, False) if is_loss else None,
        histograms=tuple(_histogram(book.counts) for book in facts.codebooks),
    )


def _path(edge: Edge) -> str:
    """Down its lane, and over to the node that reads it."""
    x, end = (LANE * (lane + 0.5) for lane in (edge.lane, edge.end))
    top, turn, bottom = (ROW * (row + 0.5) for row in (edge.first, edge.turn, edge.last))
    if x == end:
        return f"M{x:g} {top:g}V{bottom:g}"
    middle = (turn + bottom) / 2
    return f"M{x:g} {top:g}V{turn:g}C{x:g} {middle:g} {end:g} {middle:g} {end:g} {bottom:g}"


def _ticks(calls: int) -> tuple[tuple[float, str], ...]:
    """Numbers of calls below the memory plan, as many as are readable."""
    step = max(1, -(-calls // 12))
    return tuple((100 * (call + 0.5) / calls, str(call + 1)) for call in range(0, calls, step))


def _histogram(counts: Sequence[int]) -> str:
    """A bar a codeword, upright: a unit across each, 100 downwards."""
    most = max(counts)
    return "".join(f"M{number + 0.1:g} 100V{100 - 100 * used / most:.4g}h.8V100z" for number, used in enumerate(counts) if used)


def _shown(value: object) -> object:
    """Whatever is printed into the page: strings of a model without anything that could steer or reorder text."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def count(number: float | None) -> str:
    """A whole number."""
    return "unknown" if number is None else f"{round(number):,}"


def size(number: int | None) -> str:
    """Bytes, exactly."""
    return "unknown" if number is None else f"{number:,} B"


def short(number: float | None) -> str:
    """Three digits of a large number."""
    if number is None:
        return "unknown"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.0f}"


def percent(part: float | None) -> str:
    """A part of 1."""
    return "unknown" if part is None else f"{100 * part:.2f} %"


def times(ratio: float) -> str:
    """A ratio."""
    return f"{ratio:,.1f}{TIMES}" if ratio < 100 else f"{ratio:,.0f}{TIMES}"
