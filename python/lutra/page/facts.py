"""What the page tells, and what cannot be known, and how it could be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutra.boards import Board
from lutra.page.charts import Buffer, Point
from lutra.page.lanes import Node
from lutra.page.samples import Answers
from lutra.validation import Validation

TIMES = "\N{MULTIPLICATION SIGN}"
KINDS = ("indices", "codebooks", "int8 weights", "biases and scales", "other")


@dataclass(frozen=True)
class Question:
    """What a network is to fit: a board, limits, or both (bytes, and cycles of an inference); `target` is a processor without a board."""

    target: str | None = None
    board: str | None = None
    flash: int | None = None
    ram: int | None = None
    cycles: float | None = None


@dataclass(frozen=True)
class Gauge:
    """Something that is limited; `taken` is None where it is not known."""

    name: str
    taken: float | None
    limit: float

    @property
    def fits(self) -> bool | None:
        """Whether the limit is kept."""
        return None if self.taken is None else self.taken <= self.limit


@dataclass(frozen=True)
class Rival:
    """A row of the comparison: bytes, estimated cycles, accuracy as a part of 1; None where not known."""

    name: str
    model_bytes: int | None
    flash_bytes: int | None
    ram_bytes: int | None
    cycles: float | None
    accuracy: float | None


@dataclass(frozen=True)
class BoardFit:
    """What the network takes of a board: bytes are upper bounds for a model, measured for a bundle."""

    board: Board
    flash_bytes: int
    ram_bytes: int
    cycles: float | None

    @property
    def fits(self) -> bool:
        """Whether the board has that much, with nothing else in it."""
        return self.flash_bytes <= self.board.flash_bytes and self.ram_bytes <= self.board.ram_bytes


@dataclass(frozen=True)
class Layer:
    """A kernel call. `sizes`: bytes of its tables by place in KINDS; of tables that layers share the first bears them."""

    name: str
    kernel: str
    output_shape: str
    macs: int
    sizes: tuple[int, ...]
    scratch_bytes: int
    stored: str
    cycles: float | None


@dataclass(frozen=True)
class Cell:
    """A layer on a target."""

    kernel: str
    cycles: float


@dataclass(frozen=True)
class Codebook:
    """The codewords of a layer as a picture, [d, K], and how often each is used."""

    name: str
    codewords: int
    subvector: int
    index_bits: int
    coded: bool
    indices: int
    entropy_bits: float
    unused: int
    picture: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Facts:
    """All that the page tells. Sizes are bytes, cycles estimates of one inference, accuracies parts of 1; None is what is not known."""

    source: str
    network: str
    target: str
    board: Board | None
    gauges: tuple[Gauge, ...]
    not_within: str
    model_bytes: int
    arena_bytes: int
    flash_bytes: int | None
    ram_bytes: int | None
    measured: bool  # sizes were read from an ELF; else they are upper bounds
    cycles: float | None
    validation: Validation | None
    recorded_accuracy: float | None
    recorded_float_accuracy: float | None
    rivals: tuple[Rival, ...]  # this model, plain int8, float
    boards: tuple[BoardFit, ...]
    nodes: tuple[Node, ...]
    has_graph: bool
    layers: tuple[Layer, ...]
    buffers: tuple[Buffer, ...]
    targets: tuple[str, ...]
    cells: tuple[tuple[Cell | None, ...], ...]  # a row a layer
    totals: tuple[float, ...]  # cycles of all layers, on each target
    points: tuple[Point, ...]
    curve: tuple[Point, ...]  # of a .pareto.json
    codebooks: tuple[Codebook, ...]
    answers: Answers | None
    manifest: tuple[tuple[str, str], ...]  # what the bundle is, in words
    metadata: tuple[tuple[str, Any], ...]  # what its file says of the model
    unknown: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """Whether everything that was asked for fits; None if nothing was, or something is not known."""
        answers = [gauge.fits for gauge in self.gauges]
        return False if self.not_within or False in answers else None if None in answers or not answers else True

    @property
    def wrong(self) -> str:
        """Why nothing here is to be trusted; empty if nothing is known to be wrong."""
        found = self.validation
        if found is not None and not found.tables_intact:
            return "a table is damaged: its CRC-32 is wrong"
        same = found is None or (found.bit_exact is not False and all(layer.bit_exact for layer in found.layers))
        return "" if same else "targets give different bytes"

    @property
    def accuracy(self) -> float | None:
        """As measured, else as the file records it."""
        measured = None if self.validation is None else self.validation.accuracy
        return self.recorded_accuracy if measured is None else measured

    @property
    def accuracy_source(self) -> str:
        """Where `accuracy` is from."""
        if self.validation is not None and self.validation.accuracy is not None:
            return f"measured, of the C on {self.validation.samples:,} samples"
        return "no labelled samples were given" if self.accuracy is None else "as recorded in the file"

    @property
    def drop(self) -> float | None:
        """Percentage points lost against the float network, where both accuracies are of the same samples."""
        found = self.validation
        if found is None or found.accuracy is None:
            ours, floats = self.recorded_accuracy, self.recorded_float_accuracy
        else:
            ours, floats = found.accuracy, found.float_accuracy if found.float_accuracy_source == "measured" else None
        return None if ours is None or floats is None else 100 * (floats - ours)

    @property
    def float_accuracy(self) -> float | None:
        """Of the float network."""
        return self.rivals[-1].accuracy

    @property
    def ratio(self) -> float | None:
        """Float parameter bytes a model byte."""
        return None if self.rivals[-1].model_bytes is None else self.rivals[-1].model_bytes / self.model_bytes

    @property
    def int8_ratio(self) -> float | None:
        """Plain int8 model bytes a model byte."""
        return None if self.rivals[1].model_bytes is None else self.rivals[1].model_bytes / self.model_bytes


def page_record(facts: Facts, output: Path, page_bytes: int) -> dict[str, Any]:
    """What `lutra report --json` prints."""
    return {
        "model": facts.source,
        "output": str(output),
        "page_bytes": page_bytes,
        "target": facts.target,
        "board": None if facts.board is None else facts.board.name,
        "fits": facts.fits,
        "wrong": facts.wrong,
        "limits": [[gauge.name, gauge.taken, gauge.limit] for gauge in facts.gauges],
        "model_bytes": facts.model_bytes,
        "arena_bytes": facts.arena_bytes,
        "flash_bytes": facts.flash_bytes,
        "ram_bytes": facts.ram_bytes,
        "measured": facts.measured,
        "cycles": facts.cycles,
        "accuracy": facts.accuracy,
        "float_accuracy": facts.float_accuracy,
        "ratio": None if facts.ratio is None else round(facts.ratio, 2),
        "int8_ratio": None if facts.int8_ratio is None else round(facts.int8_ratio, 2),
        "samples": None if facts.validation is None else facts.validation.samples,
        "unknown": list(facts.unknown),
    }
