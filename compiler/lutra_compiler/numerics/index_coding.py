"""Entropy coding of indices: range asymmetric numeral systems (rANS, Duda 2013) with static frequencies, as SPEC.md, section 4, fixes it.

A coded table is K frequency codes, as wide as an index and packed like indices, and a stream of bytes. Code 0 holds the most frequent
index z; symbol s stands for index s ^ z; symbol 0 has the frequency that the others, each the cube of its code, leave of 2^12.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lutra_compiler.numerics.packing import Bytes, join_indices, split_indices

Counts = npt.NDArray[np.int64]

FREQUENCY_BITS = 12
TOTAL = 1 << FREQUENCY_BITS  # of all frequencies
BUCKET_BITS = 6  # a bucket is 2^6 slots; the decoder begins to search at the first symbol of one
LOWEST = 1 << 23  # below it, a state takes another byte


def encode_indices(indices: Bytes, codewords: int, index_bits: int) -> Bytes:
    """The coded table of `indices`, uint8 of any shape in the order in which they are decoded, each below `codewords` (K)."""
    codes, starts = _choose(np.bincount(indices.ravel(), minlength=codewords), index_bits)
    frequencies, begins = np.diff(starts).tolist(), starts.tolist()
    stream = bytearray()
    state = 0  # so that the first symbols cost next to nothing
    for symbol in (indices.ravel()[::-1] ^ codes[0]).tolist():
        frequency = frequencies[symbol]
        while state >= frequency << 19:  # 2^19 = LOWEST * 2^8 / TOTAL
            stream.append(state & 0xFF)
            state >>= 8
        high, low = divmod(state, frequency)
        state = (high << FREQUENCY_BITS) + low + begins[symbol]
    while state:
        stream.append(state & 0xFF)
        state >>= 8
    return np.concatenate([join_indices(codes, index_bits), np.frombuffer(bytes(stream), np.uint8)[::-1]])


def decode_indices(coded: Bytes, count: int, codewords: int, index_bits: int) -> Bytes:
    """The first `count` indices, uint8, of a coded table: the inverse of encode_indices. Any bytes give some."""
    return _decoded(coded.tobytes(), count, codewords, index_bits)


@lru_cache(maxsize=64)  # a program's tables are decoded by its verifier and by every run
def _decoded(coded: bytes, count: int, codewords: int, index_bits: int) -> Bytes:
    first = table_bytes(codewords, index_bits)
    codes = split_indices(np.frombuffer(coded[:first], np.uint8), index_bits)
    starts = _starts(codes, index_bits)
    slots, symbols = np.arange(TOTAL), _symbols(starts)
    symbol_of = symbols.tolist()
    frequency_of = np.diff(starts)[symbols].tolist()
    offset_of = (slots - starts[symbols]).tolist()
    stream = iter(coded[first:])
    state, decoded = 0, bytearray(count)
    for i in range(count):
        while state < LOWEST and (byte := next(stream, None)) is not None:
            state = state << 8 | byte
        slot = state & TOTAL - 1
        decoded[i] = symbol_of[slot]
        state = frequency_of[slot] * (state >> FREQUENCY_BITS) + offset_of[slot] & 0xFFFFFFFF
    indices: Bytes = np.frombuffer(bytes(decoded), np.uint8) ^ codes[0]
    indices.flags.writeable = False
    return indices


class Search(NamedTuple):
    """What a decoder has to search for: how many indices, all but those of symbol 0, and in how many steps, as to be expected."""

    searched: int
    search_steps: int


def search(indices: Bytes, coded: Bytes, codewords: int, index_bits: int) -> Search:
    """What decoding `coded`, the coded table of `indices`, has to search for."""
    codes = split_indices(coded[: table_bytes(codewords, index_bits)], index_bits)
    starts = _starts(codes, index_bits)
    symbols = _symbols(starts)
    steps = symbols - symbols[np.arange(TOTAL) >> BUCKET_BITS << BUCKET_BITS]
    mean = np.bincount(symbols, steps, codewords) / np.maximum(np.bincount(symbols, minlength=codewords), 1)
    counts = np.bincount(indices.ravel() ^ codes[0], minlength=codewords)[1:]
    return Search(int(counts.sum()), round(float(counts @ mean[1:])))


def table_bytes(codewords: int, index_bits: int) -> int:
    """Bytes of the frequency codes at the start of a coded table."""
    return -(-codewords * index_bits // 8)


def symbol_bits(counts: Counts, index_bits: int) -> npt.NDArray[np.float64]:
    """Bits that each index costs, float64 [K], in a stream of indices that appear `counts` times, int64 [K]; infinite for others."""
    codes, starts = _choose(counts, index_bits)
    with np.errstate(divide="ignore"):
        of_symbols = FREQUENCY_BITS - np.log2(np.diff(starts))
    bits: npt.NDArray[np.float64] = of_symbols[np.arange(len(counts)) ^ int(codes[0])]
    return bits


def coded_bytes(counts: Counts, index_bits: int) -> int:
    """Bytes of the coded table of indices that appear `counts` times, int64 [K], but for a byte or two of what `encode_indices` gives."""
    used = counts > 0
    return table_bytes(len(counts), index_bits) + int(np.ceil(counts[used] @ symbol_bits(counts, index_bits)[used] / 8))


def _levels(index_bits: int) -> Counts:
    """Frequencies by code, int64 [16 or 256]: cubes, which are close together where symbols are frequent."""
    codes = np.arange(1 << index_bits, dtype=np.int64) << 8 - index_bits
    return codes**3 >> 12


def _starts(codes: Bytes, index_bits: int) -> Counts:
    """Where the slots of each symbol begin, int64 [K + 1]. Modulo 2^16: codes of a damaged table may add up to more than there is."""
    starts = np.zeros(len(codes) + 1, np.int64)
    frequencies = _levels(index_bits)[codes[1:]]
    starts[1:] = TOTAL - np.append(np.cumsum(frequencies[::-1])[::-1], 0) & 0xFFFF
    return starts


def _symbols(starts: Counts) -> Counts:
    """The symbol of each slot, int64 [TOTAL]: the first one that ends behind it."""
    return np.searchsorted(np.maximum.accumulate(starts[1:]), np.arange(TOTAL), side="right")


def _choose(counts: Counts, index_bits: int) -> tuple[Bytes, Counts]:
    """Codes [K] and starts [K + 1] for indices that appear `counts` times: the cheapest that changes of single codes find."""
    common, levels = int(np.argmax(counts)), _levels(index_bits)
    wanted = counts[np.arange(len(counts)) ^ common].astype(np.float64)
    used = np.flatnonzero(wanted[1:]) + 1
    legal = np.unique(np.searchsorted(levels, levels[levels > 0]))  # one code a frequency
    frequencies = levels[legal]
    ideal = TOTAL * wanted[used] / max(wanted.sum(), 1)
    below = np.maximum(np.searchsorted(frequencies, ideal, side="right") - 1, 0)
    nearest = np.searchsorted((frequencies[1:] + frequencies[:-1]) / 2, ideal)
    at = next(start for start in (nearest, below, 0 * below) if frequencies[start].sum() < TOTAL)
    rest, gained = TOTAL - int(frequencies[at].sum()), np.inf
    while gained > 1:
        gained = 0.0
        for i, s in enumerate(used):
            room = rest + frequencies[at[i]] - frequencies
            room = room[room > 0]
            saved = wanted[s] * np.log2(frequencies[: room.size]) + wanted[0] * np.log2(room)
            best = int(np.argmax(saved))
            gained += saved[best] - saved[at[i]]
            at[i], rest = best, int(room[best])
    codes = np.zeros(len(counts), np.uint8)
    codes[0], codes[used] = common, legal[at]
    return codes, _starts(codes, index_bits)

