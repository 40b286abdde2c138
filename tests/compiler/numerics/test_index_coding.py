"""Entropy-coded indices: exact, as small as their entropy says, and safe whatever the bytes are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutra_compiler.numerics.index_coding import coded_bytes, decode_indices, encode_indices, search, symbol_bits, table_bytes

CODINGS = [(1 << log2, bits) for bits in (4, 8) for log2 in range(1, bits + 1)]  # K, index_bits


def entropy_bytes(indices: np.ndarray) -> float:
    _, counts = np.unique(indices, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def skewed(codewords: int, count: int, concentration: float, seed: int = 0) -> np.ndarray:
    """Indices of which some are more frequent than others, the more so the lower `concentration` is."""
    rng = np.random.default_rng(seed)
    return rng.choice(codewords, count, p=rng.dirichlet(np.full(codewords, concentration))).astype(np.uint8)


@st.composite
def indices(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    codewords, bits = draw(st.sampled_from(CODINGS))
    count, concentration = draw(st.integers(1, 3000)), draw(st.sampled_from([0.01, 0.1, 1, 100]))
    return skewed(codewords, count, concentration, draw(st.integers(0, 2**32))), codewords, bits


@settings(deadline=None)
@given(indices())
def test_any_indices_come_back(case: tuple[np.ndarray, int, int]):
    symbols, codewords, bits = case
    decoded = decode_indices(encode_indices(symbols, codewords, bits), symbols.size, codewords, bits)
    np.testing.assert_array_equal(decoded, symbols)


@given(st.sampled_from(CODINGS), st.lists(st.integers(0, 255), min_size=1, max_size=20))
def test_any_short_list_comes_back(coding: tuple[int, int], values: list[int]):
    codewords, bits = coding
    symbols = np.array(values, np.uint8) & codewords - 1
    np.testing.assert_array_equal(decode_indices(encode_indices(symbols, *coding), symbols.size, codewords, bits), symbols)


@pytest.mark.parametrize(("codewords", "bits"), CODINGS)
@pytest.mark.parametrize("value", [0, -1])
def test_equal_indices_cost_no_more_than_the_table(codewords: int, bits: int, value: int):
    symbols = np.full(1000, value % codewords, np.uint8)
    coded = encode_indices(symbols, codewords, bits)
    assert coded.size == table_bytes(codewords, bits)
    np.testing.assert_array_equal(decode_indices(coded, 1000, codewords, bits), symbols)


def test_the_table_of_sixteen_codewords_takes_eight_bytes():
    assert table_bytes(16, 4) == 8


@settings(deadline=None)
@given(indices())
def test_the_stream_is_as_long_as_the_entropy_says(case: tuple[np.ndarray, int, int]):
    symbols, codewords, bits = case
    stream = encode_indices(symbols, codewords, bits).size - table_bytes(codewords, bits)
    assert stream <= 1.012 * entropy_bytes(symbols) + 0.02 / 8 * symbols.size + 3


@pytest.mark.parametrize("zeros", [0.8, 0.9])
def test_many_zeros_cost_a_hundredth_more_than_their_entropy(zeros: float):
    rng = np.random.default_rng(0)
    symbols = np.where(rng.random(10_000) < zeros, 0, rng.integers(1, 16, 10_000)).astype(np.uint8)
    stream = encode_indices(symbols, 16, 4).size - table_bytes(16, 4)
    assert stream <= 1.01 * entropy_bytes(symbols) + 1


@settings(deadline=None)
@given(indices())
def test_the_estimate_is_that_of_the_encoder(case: tuple[np.ndarray, int, int]):
    symbols, codewords, bits = case
    estimate = coded_bytes(np.bincount(symbols, minlength=codewords), bits)
    assert abs(encode_indices(symbols, codewords, bits).size - estimate) <= 2


def test_the_cost_of_an_index_is_about_its_information():
    counts = np.array([800, 100, 50, 0, 50, *[0] * 11])
    bits = symbol_bits(counts, 4)
    np.testing.assert_allclose(bits[[0, 1, 2, 4]], -np.log2(counts[[0, 1, 2, 4]] / 1000), atol=0.3)
    assert np.isinf(bits[3])


@given(st.sampled_from(CODINGS), st.binary(min_size=256, max_size=400), st.integers(1, 500))
def test_any_bytes_decode_to_as_many_indices_as_are_wanted(coding: tuple[int, int], content: bytes, count: int):
    codewords, bits = coding
    decoded = decode_indices(np.frombuffer(content, np.uint8), count, codewords, bits)
    assert decoded.size == count
    assert decoded.max() < 1 << bits


def test_a_stream_may_end_at_any_byte():
    symbols = skewed(16, 500, 1.0)
    coded = encode_indices(symbols, 16, 4)
    for end in range(table_bytes(16, 4), coded.size + 1):
        decoded = decode_indices(coded[:end], 500, 16, 4)
        assert decoded.max() < 16
    np.testing.assert_array_equal(decoded, symbols)


@pytest.mark.parametrize(("codewords", "steps"), [(64, 0.0), (128, 0.5), (256, 1.5)])
def test_searches_begin_at_one_of_64_buckets(codewords: int, steps: float):
    symbols = np.arange(20 * codewords, dtype=np.int64).astype(np.uint8) & codewords - 1  # equally frequent: 64, 32, 16 slots each
    found = search(symbols, encode_indices(symbols, codewords, 8), codewords, 8)
    assert found.searched == symbols.size - 20
    assert abs(found.search_steps / found.searched - steps) < 0.3


def by_hand(coded: list[int], count: int) -> list[int]:
    """SPEC.md, section 4, of 4-bit indices of 4 codewords, symbol by symbol."""
    codes = [coded[0] & 15, coded[0] >> 4, coded[1] & 15, coded[1] >> 4]
    frequency = [0, *(code**3 for code in codes[1:])]
    frequency[0] = 4096 - sum(frequency)
    start = [sum(frequency[:s]) for s in range(5)]
    stream, x, values = coded[2:], 0, []
    for _ in range(count):
        while x < 1 << 23 and stream:
            x = x * 256 + stream.pop(0)
        slot = x % 4096
        (s,) = (s for s in range(4) if start[s] <= slot < start[s + 1])
        x = frequency[s] * (x // 4096) + slot - start[s]
        values.append(s ^ codes[0])
    return values


def test_a_stream_read_by_hand():
    symbols = skewed(4, 200, 1.0, seed=5)
    assert by_hand(encode_indices(symbols, 4, 4).tolist(), 200) == symbols.tolist()
