"""How indices lie in flash: SPEC.md, section 3."""

import numpy as np
import numpy.typing as npt

GROUP = 8  # subvectors whose indices are adjacent in a row

Bytes = npt.NDArray[np.uint8]


def pack_indices(indices: Bytes, bits: int) -> Bytes:
    """uint8 [out, taps, subvectors], each below 2^bits, to bytes in the order [tap][group][out][subvector of the group]."""
    _, taps, subvectors = indices.shape
    groups = [indices[:, :, m : m + GROUP].transpose(1, 0, 2) for m in range(0, subvectors, GROUP)]
    if bits == 4:
        groups = [_to_nibbles(group) for group in groups]
    return np.concatenate([group.reshape(taps, -1) for group in groups], axis=1).ravel()


def unpack_indices(packed: Bytes, out: int, taps: int, subvectors: int, bits: int) -> Bytes:
    """The inverse of pack_indices: uint8 [out, taps, subvectors]."""
    rows = packed.reshape(taps, -1)
    indices = np.empty((out, taps, subvectors), np.uint8)
    start = 0
    for m in range(0, subvectors, GROUP):
        length = min(GROUP, subvectors - m)
        width = _row_bytes(length, bits)
        group = rows[:, start : start + out * width].reshape(taps, out, width)
        start += out * width
        if bits == 4:
            group = np.stack([group & 15, group >> 4], axis=-1).reshape(taps, out, -1)[:, :, :length]
        indices[:, :, m : m + length] = group.transpose(1, 0, 2)
    return indices


def split_indices(packed: Bytes, bits: int) -> Bytes:
    """All values of packed indices, uint8 [bytes * 8 / bits], unused ones too."""
    return packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1).ravel()


def join_indices(values: Bytes, bits: int) -> Bytes:
    """The inverse of split_indices."""
    return values if bits == 8 else _to_nibbles(values[None, None])[0, 0]


def index_bytes(out: int, taps: int, subvectors: int, bits: int) -> int:
    """Bytes of packed indices."""
    return taps * out * sum(_row_bytes(min(GROUP, subvectors - m), bits) for m in range(0, subvectors, GROUP))


def _row_bytes(length: int, bits: int) -> int:
    return -(-length * bits // 8)


def _to_nibbles(group: Bytes) -> Bytes:
    even, odd = group[:, :, 0::2], group[:, :, 1::2]
    packed = even.copy()
    packed[:, :, : odd.shape[2]] |= odd << 4
    return packed
