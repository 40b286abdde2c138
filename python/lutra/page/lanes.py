"""A network as rows with lanes beside them, one a value, as version control draws history: readable on any width."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """An input or an operator: it reads the values `inputs` and makes the value `output`."""

    title: str
    detail: str
    shape: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Edge:
    """A value on its way from one row to another; `turn` is the row where it leaves its lane for that of the node which reads it."""

    lane: int
    first: int
    turn: int
    last: int
    end: int  # lane of the reading node


@dataclass(frozen=True)
class Lanes:
    """Where nodes and edges are: `lane[i]` is that of the node in row i."""

    nodes: tuple[Node, ...]
    lane: tuple[int, ...]
    edges: tuple[Edge, ...]

    @property
    def width(self) -> int:
        """Number of lanes."""
        return 1 + max((*self.lane, *(edge.lane for edge in self.edges)), default=0)


def lanes_of(nodes: Sequence[Node]) -> Lanes:
    """Nodes in the order in which they run, each in a row; a value keeps its lane until it was read for the last time."""
    last_use = {value: row for row, node in enumerate(nodes) for value in node.inputs}
    made: dict[str, tuple[int, int]] = {}  # value -> row, lane
    taken: dict[int, str] = {}  # lane -> value
    lanes, edges = [], []
    for row, node in enumerate(nodes):
        read = [(value, *made[value]) for value in dict.fromkeys(node.inputs) if value in made]
        for value, _, lane in read:
            if last_use[value] == row:
                taken.pop(lane, None)
        own = next(lane for lane in range(len(taken) + 1) if lane not in taken)
        edges += [Edge(lane, first, row - 1, row, own) for _, first, lane in read]
        lanes.append(own)
        made[node.output] = (row, own)
        if last_use.get(node.output, row) > row:
            taken[own] = node.output
    return Lanes(tuple(nodes), tuple(lanes), tuple(edges))
