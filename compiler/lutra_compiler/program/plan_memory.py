"""Offline placement of every buffer in one arena."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.program import ARENA_ALIGN, Buffer, Call, Storage


@dataclass(frozen=True)
class Request:
    """Memory that calls refer to by its place in the list of requests."""

    storage: Storage
    size_bytes: int


@dataclass(frozen=True)
class _Slot:
    """Buffers that share one place because a kernel works in place, and the calls from `first` to `last` that need it."""

    buffers: tuple[int, ...]
    size: int
    first: int
    last: int

    def meets(self, other: "_Slot") -> bool:
        return self.first <= other.last and other.first <= self.last


_ORDERS: tuple[Callable[[_Slot], tuple[int, ...]], ...] = (
    lambda slot: (-slot.size, slot.first),
    lambda slot: (-slot.size * (slot.last - slot.first + 1), slot.first),
    lambda slot: (slot.first - slot.last, -slot.size),
    lambda slot: (slot.first, -slot.size),
    lambda slot: (-slot.last, -slot.size),
)


def plan_memory(requests: Sequence[Request], calls: Sequence[Call]) -> tuple[tuple[Buffer, ...], int]:
    """Place every request; returns the buffers, in order, and the size of the arena.

    Greedy best fit in several orders, with and without sharing memory where a kernel may work in place; the smallest arena wins.
    """
    lives = [_life(index, request, calls) for index, request in enumerate(requests)]
    alone = [_Slot((i,), _aligned(r.size_bytes), *life) for i, (r, life) in enumerate(zip(requests, lives, strict=True))]
    places = min(
        (_place(sorted(slots, key=order)) for slots in (_share_in_place(alone, requests, calls), alone) for order in _ORDERS),
        key=lambda places: _end(places),
    )
    offsets = {index: offset for slot, offset in places.items() for index in slot.buffers}
    buffers = tuple(
        Buffer(index, request.storage, request.size_bytes, offsets[index], *lives[index]) for index, request in enumerate(requests)
    )
    return buffers, _end(places)


def may_run_in_place(call: Call) -> bool:
    """Whether the call's output may lie exactly where an input of the same size does."""
    channels = call.fields.get("channels")
    return KERNELS[call.kernel].in_place and call.fields.get("output_stride", channels) == channels


def _life(index: int, request: Request, calls: Sequence[Call]) -> tuple[int, int]:
    used = [i for i, call in enumerate(calls) if index in (*call.inputs, call.output, call.scratch)]
    first = 0 if request.storage is Storage.INPUT or not used else used[0]
    last = len(calls) - 1 if request.storage is Storage.OUTPUT else (used or [0])[-1]
    return first, last


def _share_in_place(alone: Sequence[_Slot], requests: Sequence[Request], calls: Sequence[Call]) -> list[_Slot]:
    slot_of = dict(enumerate(alone))
    for i, call in enumerate(calls):
        if not may_run_in_place(call) or slot_of[call.output].first != i:
            continue
        output = slot_of[call.output]
        for source in call.inputs:
            slot = slot_of[source]
            dies = slot.last == i and requests[slot.buffers[-1]].storage is not Storage.OUTPUT
            if dies and requests[source].size_bytes == requests[call.output].size_bytes:
                merged = _Slot((*slot.buffers, *output.buffers), slot.size, slot.first, output.last)
                slot_of.update(dict.fromkeys(merged.buffers, merged))
                break
    return list(dict.fromkeys(slot_of.values()))


def _place(slots: Sequence[_Slot]) -> dict[_Slot, int]:
    places: dict[_Slot, int] = {}
    for slot in slots:
        taken = sorted((offset, offset + other.size) for other, offset in places.items() if other.meets(slot))
        gaps, free = [], 0
        for start, end in taken:
            if start - free >= slot.size:
                gaps.append((start - free, free))
            free = max(free, end)
        places[slot] = min(gaps)[1] if gaps else free
    return places


def _end(places: dict[_Slot, int]) -> int:
    return max(offset + slot.size for slot, offset in places.items())


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ARENA_ALIGN) * ARENA_ALIGN
