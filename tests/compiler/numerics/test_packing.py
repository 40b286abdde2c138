import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lutra_compiler.numerics.packing import index_bytes, pack_indices, unpack_indices


def numbered(out: int, taps: int, subvectors: int) -> np.ndarray:
    """Index 16 * (row + 2 * tap) + subvector, so that a byte tells where it came from."""
    row, tap, m = np.indices((out, taps, subvectors))
    return (16 * (row + 2 * tap) + m).astype(np.uint8)


def test_bytes_lie_by_tap_then_group_of_eight_then_row():
    packed = pack_indices(numbered(out=2, taps=2, subvectors=9), bits=8)
    tap_0 = [*range(0x08), *range(0x10, 0x18), 0x08, 0x18]
    assert packed.tolist() == tap_0 + [byte + 0x20 for byte in tap_0]


def test_nibbles_lie_low_first_and_an_unused_one_is_zero():
    indices = np.array([[[1, 2, 3, 4, 5, 6, 7, 8, 9]], [[8, 7, 6, 5, 4, 3, 2, 1, 10]]], np.uint8)
    assert pack_indices(indices, bits=4).tolist() == [0x21, 0x43, 0x65, 0x87, 0x78, 0x56, 0x34, 0x12, 0x09, 0x0A]


def test_a_whole_group_of_nibbles_is_a_word_a_row():
    assert index_bytes(out=3, taps=1, subvectors=8, bits=4) == 3 * 4


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 19), st.sampled_from([4, 8]), st.integers(0, 2**32))
def test_unpacking_inverts_packing(out: int, taps: int, subvectors: int, bits: int, seed: int):
    indices = np.random.default_rng(seed).integers(0, 1 << bits, (out, taps, subvectors), np.uint8)
    packed = pack_indices(indices, bits)
    assert packed.shape == (index_bytes(out, taps, subvectors, bits),)
    np.testing.assert_array_equal(unpack_indices(packed, out, taps, subvectors, bits), indices)
