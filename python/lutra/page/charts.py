"""Where the parts of the page's drawings are. Across, places are percent of the width, so that text keeps its size on every screen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NARROW = 320  # pixels that a drawing is wide at least: a label is drawn only where it fits then
_LETTER = 7  # pixels of a letter of a label
MEMORY_HEIGHT = 320
CURVE_HEIGHT = 260
_MARGIN = 6.0  # percent left free beside the outermost points of a curve


@dataclass(frozen=True)
class Segment:
    """A part of a bar: `part` is the place of its kind in the legend, `start` and `width` are percent."""

    part: int
    start: float
    width: float


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart."""

    label: str
    value: str
    segments: tuple[Segment, ...]


def stacked_bar(label: str, value: str, parts: Sequence[float], whole: float) -> Bar:
    """A bar of `parts`, as long as their sum is of `whole`."""
    segments, start = [], 0.0
    for part, size in enumerate(parts):
        width = 100 * size / whole if whole else 0.0
        if size > 0:
            segments.append(Segment(part, start, width))
        start += width
    return Bar(label, value, tuple(segments))


@dataclass(frozen=True)
class Block:
    """A buffer in the memory plan: `x` and `width` percent, `y` and `height` pixels; no label where there is no room for it."""

    storage: str
    label: str
    title: str
    x: float
    width: float
    y: float
    height: float


def memory_blocks(buffers: Sequence["Buffer"], calls: int, arena_bytes: int) -> tuple[Block, ...]:
    """Buffers by the calls that need them, across, and their place in the arena, downwards."""
    blocks = []
    for buffer in buffers:
        x, width = 100 * buffer.first / calls, 100 * (buffer.last - buffer.first + 1) / calls
        y, height = (MEMORY_HEIGHT * size / arena_bytes for size in (buffer.offset, buffer.bytes))
        free = min((other.first for other in buffers if other.first > buffer.first and other.overlaps(buffer)), default=buffer.last + 1)
        fits = height >= 14 and _LETTER * len(buffer.name) + 8 <= NARROW * (free - buffer.first) / calls
        blocks.append(Block(buffer.storage, buffer.name if fits else "", buffer.title, x, width, y, height))
    return tuple(blocks)


@dataclass(frozen=True)
class Buffer:
    """A buffer of the arena, needed from call `first` to call `last`; `name` says whose it is."""

    name: str
    storage: str
    offset: int
    bytes: int
    first: int
    last: int

    def overlaps(self, other: "Buffer") -> bool:
        """Whether both are needed at once and share memory, as where a kernel writes over its input."""
        in_time = self.first <= other.last and other.first <= self.last
        return in_time and self.offset < other.offset + other.bytes and other.offset < self.offset + self.bytes

    @property
    def title(self) -> str:
        """All of it in words."""
        return (
            f"{self.name}, {self.storage}: {self.bytes:,} bytes at {self.offset:,}, needed by calls {self.first + 1} to {self.last + 1}"
        )


@dataclass(frozen=True)
class Point:
    """A network on the curve of size against how good it is: `value` is a part of 1, or a loss; `series` says where it is from."""

    name: str
    bytes: int
    value: float
    series: str
    here: bool = False


@dataclass(frozen=True)
class Mark:
    """A point or a tick of a curve: `x` percent, `y` pixels; its label is `below` it by so many pixels, on the side that `anchor` says."""

    label: str
    x: float
    y: float
    anchor: str = "middle"
    below: float = 0
    point: Point | None = None


@dataclass(frozen=True)
class Curve:
    """A drawing of points: sizes across, on a logarithmic axis."""

    points: tuple[Mark, ...]
    sizes: tuple[Mark, ...]
    values: tuple[Mark, ...]
    is_accuracy: bool


def curve_of(points: Sequence[Point], lines: Mapping[str, float], is_accuracy: bool) -> Curve:
    """Points, this network's with its name, in a drawing `CURVE_HEIGHT` high; `lines` are values to be seen for comparison, by name."""
    sizes = [math.log(point.bytes) for point in points]
    values = [*(point.value for point in points), *lines.values()]
    left, right = min(sizes), max(sizes)
    ticks = _ticks(min(values), max(values))
    low, high = min(*values, *ticks), max(*values, *ticks)

    def x(size: float) -> float:
        place = (size - left) / (right - left) if right > left else 0.5
        return _MARGIN + (100 - 2 * _MARGIN) * place

    def y(value: float) -> float:
        place = (value - low) / (high - low) if high > low else 0.5
        return 24 + (CURVE_HEIGHT - 60) * (1 - place)

    marks = []
    for point, size in zip(points, sizes, strict=True):
        place = x(size)
        anchor = "start" if place < 25 else "end" if place > 75 else "middle"
        label = point.name if point.here or len(points) <= 6 else ""
        below = 20 if y(point.value) < CURVE_HEIGHT / 2 else -12
        if any(-6 < y(value) - y(point.value) - below < 30 for value in lines.values()):  # would meet the name of a line
            below = 8 - below
        marks.append(Mark(label, place, y(point.value), anchor, below, point))
    decimals = max(0, -math.floor(math.log10(100 * (ticks[1] - ticks[0])) + 1e-9)) if len(ticks) > 1 else 2
    shown = [Mark(f"{100 * value:.{decimals}f} %" if is_accuracy else f"{value:.2g}", 0, y(value)) for value in ticks]
    shown += [Mark(name, 100, y(value), "end") for name, value in lines.items()]
    axis = tuple(Mark(_size(size), x(math.log(size)), CURVE_HEIGHT - 10) for size in _sizes(points))
    return Curve(tuple(marks), axis, tuple(shown), is_accuracy)


def _ticks(low: float, high: float) -> list[float]:
    """About four round numbers from `low` to `high`."""
    span = max(high - low, 1e-4)
    step: float = 10 ** math.floor(math.log10(span / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 4)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)] or [low]


def _sizes(points: Sequence[Point]) -> list[int]:
    """Round sizes within the points, far enough from each other for their labels."""
    low, high = min(point.bytes for point in points), max(point.bytes for point in points)
    found = [factor * 10**power for power in range(12) for factor in (1, 2, 5) if low <= factor * 10**power <= high]
    return found[:: max(1, -(-len(found) // 6))] or [low]


def _size(number: int) -> str:
    return f"{number / 1e6:g} MB" if number >= 10**6 else f"{number / 1000:g} KB" if number >= 1000 else f"{number} B"
