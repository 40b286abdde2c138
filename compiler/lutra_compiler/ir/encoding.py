"""How a weight or an activation is stored in integers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ScalarQuantized:
    """A weight as int8 values with one scale an output row: w[o, ...] = scale[o] * values[o, ...].

    `values`: int8, the weight's shape; `scale`: float32 [out], positive.
    """

    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return self.values.shape

    def integers(self) -> npt.NDArray[np.int8]:
        """The weight in units of its row scales, int8, the weight's shape."""
        return self.values

    def dense(self) -> npt.NDArray[np.float32]:
        """The weight in float32."""
        return dense(self.values, self.scale)


@dataclass(frozen=True)
class ProductQuantized:
    """A weight as indices into one codebook: the subvector m at tap t of row o is scale[o] * codebook[indices[o, t, m]].

    A tap is one kernel position (a fully connected layer has one tap). Its input channels are cut into
    ceil(channels / d) subvectors; entries of the last one beyond `channels` are not used.

    `codebook`: int8 [K, d], K a power of two from 2 to 256; `indices`: uint8 [out, taps, subvectors], each < K;
    `scale`: float32 [out], positive; `shape`: of the weight; `index_bits`: 4 (K <= 16) or 8, as stored on the target;
    `coded`: whether the target stores the indices entropy-coded, and decodes them before each use.
    """

    codebook: npt.NDArray[np.int8]
    indices: npt.NDArray[np.uint8]
    scale: npt.NDArray[np.float32]
    shape: tuple[int, ...]
    index_bits: int
    coded: bool = False

    @property
    def codewords(self) -> int:
        """K, the number of codewords."""
        return int(self.codebook.shape[0])

    @property
    def subvector(self) -> int:
        """d, the length of a subvector."""
        return int(self.codebook.shape[1])

    @property
    def largest_norm(self) -> int:
        """The largest L1 norm of a codeword."""
        return int(np.abs(self.codebook.astype(np.int64)).sum(axis=1).max())

    def integers(self) -> npt.NDArray[np.int8]:
        """The weight in units of its row scales, int8, the weight's shape."""
        out, taps, _ = self.indices.shape
        channels = self.shape[-1]
        gathered = self.codebook[self.indices].reshape(out, taps, -1)[:, :, :channels]
        return np.ascontiguousarray(gathered).reshape(self.shape)

    def dense(self) -> npt.NDArray[np.float32]:
        """The weight in float32."""
        return dense(self.integers(), self.scale)


WeightEncoding = ScalarQuantized | ProductQuantized


def dense(integers: npt.NDArray[np.int8], scale: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """scale[o] * integers[o, ...] in float32."""
    return integers.astype(np.float32) * scale.reshape(-1, *([1] * (integers.ndim - 1)))


@dataclass(frozen=True)
class Quantization:
    """An int8 value q stands for scale * (q - zero_point); `scale` > 0, `zero_point` in -128..127."""

    scale: float
    zero_point: int


HIDDEN_STATE = Quantization(1 / 128, 0)  # of every recurrent layer's output: it is between -1 and 1
SOFTMAX_OUTPUT = Quantization(1 / 256, -128)  # of every softmax's output: it is between 0 and 1
