"""Of the ways to compute a layer the fastest, unless the memory of the target says otherwise."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lutra_compiler.errors import LoweringError
from lutra_compiler.program.program import Buffer, Considered, Role
from lutra_compiler.program.tables import TableData

TIE = 1.02  # candidates whose estimates differ by less are equally fast: the one of less scratch memory wins, unless int8 weights do


@dataclass(frozen=True)
class Limits:
    """What a program may need. `ram`: bytes of arena, None for any. `expand_weights`: flash for int8 weights in place of indices."""

    ram: int | None = None
    expand_weights: bool = False


@dataclass(frozen=True)
class Candidate:
    """A kernel call that computes a layer, and what it costs: `cycles` estimated for the target, `flash_bytes` of its tables,
    descriptor and their CRC-32s. `objection`: why it is not chosen, although it is right; else empty."""

    kernel: str
    fields: Mapping[str, int]
    tables: tuple[tuple[Role, TableData], ...]
    cycles: float
    flash_bytes: int
    scratch_bytes: int
    objection: str = ""


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


def with_less_ram(
    names: Sequence[str], candidates: Sequence[Sequence[Candidate]], chosen: Sequence[Candidate], buffers: Sequence[Buffer], limit: int
) -> list[Candidate]:
    """`chosen`, one a call, with a candidate of less scratch memory for the call that needs the most RAM and has one.

    `buffers` are placed for `chosen` and take more than `limit` bytes. Raises LoweringError if less is not possible.
    """
    needs = [_bytes_alive(call, buffers) for call in range(len(chosen))]
    for call in sorted(range(len(chosen)), key=lambda call: -needs[call]):
        less = [c for c in candidates[call] if c.scratch_bytes < chosen[call].scratch_bytes and not c.objection]
        if less:
            return [*chosen[:call], fastest(less), *chosen[call + 1 :]]
        if needs[call] > limit:
            raise LoweringError(
                f"layer '{names[call]}' needs {needs[call]} bytes of RAM with the smallest kernel, {chosen[call].kernel}, the limit is "
                f"{limit}; allow more, prune the layer, or give the network a smaller input"
            )
    arena = max(buffer.offset + buffer.size_bytes for buffer in buffers)
    raise LoweringError(f"the network's values need {arena} bytes of RAM with the smallest kernels, the limit is {limit}; allow more")


def _bytes_alive(call: int, buffers: Sequence[Buffer]) -> int:
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
    return "another was asked for"
