"""Offline placement of every buffer in one arena."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.program import ARENA_ALIGN, Buffer, Call, Storage


@dataclass(frozen=True)
class Request:
    """Memory that calls refer to by its place in the list of requests."""

    storage: Storage
    size_bytes: int


@dataclass(frozen=True)
class _Part:
    """A buffer in a slot: `start` bytes after the slot's beginning, needed by the calls `first` to `last`."""

    buffer: int
    start: int
    size: int
    first: int
    last: int

    def meets(self, other: "_Part") -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class _Slot:
    """Buffers whose places are tied to each other because kernels work in place, by when they are needed; mostly only one."""

    parts: tuple[_Part, ...]

    @property
    def size(self) -> int:
        return max(part.start + part.size for part in self.parts)

    @property
    def first(self) -> int:
        return self.parts[0].first

    @property
    def last(self) -> int:
        return self.parts[-1].last

    def then(self, part: _Part, lead: int) -> "_Slot":
        """With `part` at the end, which begins `lead` bytes before the one that was last."""
        start = self.parts[-1].start - lead
        down = max(0, -start)
        moved = [replace(old, start=old.start + down) for old in self.parts]
        return _Slot((*moved, replace(part, start=start + down)))


_ORDERS: tuple[Callable[[_Slot], tuple[int, ...]], ...] = (
    lambda slot: (-slot.size, slot.first),
    lambda slot: (-slot.size * (slot.last - slot.first + 1), slot.first),
    lambda slot: (slot.first - slot.last, -slot.size),
    lambda slot: (slot.first, -slot.size),
    lambda slot: (-slot.last, -slot.size),
)


def plan_memory(requests: Sequence[Request], calls: Sequence[Call]) -> tuple[tuple[Buffer, ...], int]:
    """Place every request; returns the buffers, in order, and the size of the arena.

    Greedy best fit in several orders, with and without sharing memory where a kernel may write over its input; the smallest arena wins.
    """
    lives = [_life(index, request, calls) for index, request in enumerate(requests)]
    alone = [_Slot((_Part(i, 0, _aligned(r.size_bytes), *life),)) for i, (r, life) in enumerate(zip(requests, lives, strict=True))]
    places = min(
        (_place(sorted(slots, key=order)) for slots in (_share(alone, requests, calls), alone) for order in _ORDERS),
        key=lambda places: _end(places),
    )
    offsets = {part.buffer: offset + part.start for slot, offset in places.items() for part in slot.parts}
    buffers = tuple(
        Buffer(index, request.storage, request.size_bytes, offsets[index], *lives[index]) for index, request in enumerate(requests)
    )
    return buffers, _end(places)


def _life(index: int, request: Request, calls: Sequence[Call]) -> tuple[int, int]:
    used = [i for i, call in enumerate(calls) if index in (*call.inputs, call.output, call.scratch, call.indices)]
    first = 0 if request.storage is Storage.INPUT or not used else used[0]
    last = len(calls) - 1 if request.storage is Storage.OUTPUT else (used or [0])[-1]
    return first, last


def _share(alone: Sequence[_Slot], requests: Sequence[Request], calls: Sequence[Call]) -> list[_Slot]:
    """Slots in which each call's output is tied to an input that dies with it, where that saves memory."""
    slot_of = dict(enumerate(alone))
    for i, call in enumerate(calls):
        lead = KERNELS[call.kernel].lead(call.fields)
        output = slot_of[call.output].parts[0]
        if lead is None or output.first != i:
            continue
        lead = _aligned(lead)
        for source in call.inputs[: KERNELS[call.kernel].overwrites]:
            slot = slot_of[source]
            ends = slot.parts[-1].buffer == source and slot.last == i and requests[source].storage is not Storage.OUTPUT
            if ends and lead < output.size:
                joined = slot.then(output, lead)
                slot_of.update({part.buffer: joined for part in joined.parts})
                break
    return list(dict.fromkeys(slot_of.values()))


def _place(slots: Sequence[_Slot]) -> dict[_Slot, int]:
    places: dict[_Slot, int] = {}
    for slot in slots:
        # Where the slot must not begin, between two offsets each, so that no two parts that meet overlap.
        forbidden = sorted(
            (offset + other.start - part.start - part.size, offset + other.start + other.size - part.start)
            for placed, offset in places.items()
            for other in placed.parts
            for part in slot.parts
            if other.meets(part)
        )
        gaps, free = [], 0
        for start, end in forbidden:
            if start >= free:
                gaps.append((start - free, free))
            free = max(free, end)
        places[slot] = min(gaps)[1] if gaps else free
    return places


def _end(places: dict[_Slot, int]) -> int:
    return max(offset + slot.size for slot, offset in places.items())


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ARENA_ALIGN) * ARENA_ALIGN
