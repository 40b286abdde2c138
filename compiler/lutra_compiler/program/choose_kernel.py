"""Of the ways to compute a layer the fastest, or another where that saves memory."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from lutra_compiler.numerics.index_coding import Search
from lutra_compiler.program.program import Buffer, Considered, Role
from lutra_compiler.program.tables import TableData

TIE = 1.02  # candidates whose estimates differ by less are equally fast: the one of less scratch memory wins, unless int8 weights do
NETWORK_TIE = 1.02  # so are whole programs: lower.py


@dataclass(frozen=True)
class Limits:
    """What a program may need; None for any. `ram`: bytes of arena and stack; `flash`: bytes of tables and code, as in footprint.py.
    `expand_weights`: flash for int8 weights in place of indices."""

    ram: int | None = None
    flash: int | None = None
    expand_weights: bool = False


@dataclass(frozen=True)
class Unpacking:
    """A call of lutra_unpack_indices that decodes a layer's indices: its descriptor's members, its table, bytes that it writes, and
    what it has to search for."""

    fields: Mapping[str, int]
    coded: TableData
    index_bytes: int
    search: Search


@dataclass(frozen=True)
class Candidate:
    """A kernel call that computes a layer, perhaps with an `unpacking` before it, and what both cost: `cycles` estimated for the target,
    `flash_bytes` of tables and descriptors, of a shared codebook this layer's part; `scratch_bytes` of memory for the layer alone, decoded
    indices included.
    `objection`: why it is not chosen, although it is right; else empty."""

    kernel: str
    fields: Mapping[str, int]
    tables: tuple[tuple[Role, TableData], ...]
    cycles: float
    flash_bytes: int
    scratch_bytes: int
    objection: str = ""
    unpacking: Unpacking | None = None


Choose = Callable[[Sequence[Candidate]], Candidate]


@dataclass(frozen=True)
class Impossible:
    """A kernel that cannot compute a layer, and why."""

    kernel: str
    reason: str


def fastest(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate to take if there is memory enough; never one that is slower than int8 weights would be."""
    welcome = [candidate for candidate in candidates if not candidate.objection]
    int8 = [candidate.cycles for candidate in welcome if candidate.kernel.endswith("_dense")]
    limit = min(TIE * min(candidate.cycles for candidate in welcome), *int8, math.inf)
    return min((c for c in welcome if c.cycles <= limit), key=lambda c: (c.scratch_bytes, c.cycles))


def with_fewer_kernels(candidates: Sequence[Sequence[Candidate]]) -> Iterator[Sequence[Sequence[Candidate]]]:
    """`candidates`, one sequence a call, restricted to some of the kernels in all ways that leave each call one, the fastest first."""
    welcome = [[c for c in ways if not c.objection] for ways in candidates]
    kernels = [{c.kernel for c in ways} for ways in welcome]
    needed = {kernel for ways in kernels if len(ways) == 1 for kernel in ways}
    others = sorted({kernel for ways in kernels for kernel in ways} - needed)
    subsets = [needed.union(chosen) for count in range(len(others) + 1) for chosen in combinations(others, count)]
    restricted = [[[c for c in ways if c.kernel in subset] for ways in welcome] for subset in subsets]
    whole = [ways for ways in restricted if all(ways)]
    yield from sorted(whole, key=lambda ways: sum(min(c.cycles for c in call) for call in ways))


def bytes_alive(call: int, buffers: Sequence[Buffer]) -> int:
    """Bytes of the arena in use during a call; those that buffers share count once."""
    spans = sorted((b.offset, b.offset + b.size_bytes) for b in buffers if b.first <= call <= b.last)
    total = end = 0
    for start, stop in spans:
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


def considered(candidates: Sequence[Candidate], impossible: Sequence[Impossible], chosen: Candidate) -> tuple[Considered, ...]:
    """The candidates for a layer as reports show them, fastest first, with the reason why each was not `chosen`."""
    return (
        *(
            Considered(c.kernel, _settings(c, candidates), _measured(c.cycles), c.flash_bytes, c.scratch_bytes, _why_not(c, chosen))
            for c in sorted(candidates, key=lambda c: c.cycles)
        ),
        *(Considered(i.kernel, {}, None, None, None, i.reason) for i in impossible),
    )


def _measured(cycles: float) -> float | None:
    return cycles if math.isfinite(cycles) else None


def _settings(candidate: Candidate, candidates: Sequence[Candidate]) -> Mapping[str, int]:
    same = [other.fields for other in candidates if other.kernel == candidate.kernel]
    return {name: value for name, value in candidate.fields.items() if any(fields[name] != value for fields in same)}


def _why_not(candidate: Candidate, chosen: Candidate) -> str:
    if candidate is chosen:
        return ""
    if candidate.objection:
        return candidate.objection
    if candidate.cycles > chosen.cycles:
        return "not measured on this target" if math.isinf(candidate.cycles) else f"{candidate.cycles / chosen.cycles:.3g} times the cycles"
    if candidate.scratch_bytes > chosen.scratch_bytes:
        return f"{candidate.scratch_bytes - chosen.scratch_bytes} bytes of RAM more"
    return "another was asked for" if candidate.kernel == chosen.kernel else "left out to save flash, or another was asked for"
