"""Weights as torch modules: float, int8 with one scale a row, or codewords of a codebook.

Each module's forward gives the float weight that the integer network will have, in the Graph's shape, with gradients through the
rounding (straight-through estimator, Bengio 2013). `encoding()` gives the integers.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lutra_compiler.ir.encoding import ProductQuantized, ScalarQuantized, WeightEncoding
from lutra_compiler.numerics.k_means import CODEWORD_L1_LIMIT, CODEWORD_LIMIT
from lutra_compiler.numerics.product_quantization import row_sizes


def round_straight_through(x: Tensor) -> Tensor:
    """Round to nearest; the gradient is that of the identity."""
    return x + (x.round() - x).detach()


class FloatWeight(nn.Module):
    """A parameter as it is."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self) -> Tensor:
        """The weight."""
        return self.weight

    def encoding(self) -> WeightEncoding | None:
        """None: nothing is encoded."""
        return None


class ScalarWeight(nn.Module):
    """A weight rounded to int8 -127..127, scale max |row| / 127; `row_sizes` bounds the ratio of the scales."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def _scale(self) -> Tensor:
        peak = self.weight.detach().abs().flatten(1).amax(1)
        return torch.from_numpy(row_sizes(peak.numpy(force=True))).to(peak.device) / CODEWORD_LIMIT

    def forward(self) -> Tensor:
        """The rounded weight."""
        scale = self._scale().reshape(-1, *([1] * (self.weight.ndim - 1)))
        return round_straight_through(self.weight / scale) * scale

    def encoding(self) -> ScalarQuantized:
        """The int8 values and row scales."""
        scale = self._scale()
        values = (self.weight.detach() / scale.reshape(-1, *([1] * (self.weight.ndim - 1)))).round().to(torch.int8)
        return ScalarQuantized(values.numpy(force=True), scale.numpy(force=True))


class CodebookWeight(nn.Module):
    """A product-quantized weight with trainable codewords and row scales.

    With a latent float weight the subvectors are reassigned to their nearest codewords (`reassign`), and the latent weight learns through
    the quantization; without one the indices are frozen. Codewords are kept in units of int8 / `units`; their L1 norm is at most `norm`.
    """

    def __init__(
        self, encoding: ProductQuantized, latent: Tensor | None = None, *, pin_zero: bool = True, norm: int = CODEWORD_L1_LIMIT
    ) -> None:
        super().__init__()
        self.shape, self.index_bits, self.pin_zero, self.norm = encoding.shape, encoding.index_bits, pin_zero, norm
        # Working in units of the codebook's RMS gives codewords and row scales gradients of ordinary size.
        self.units = float(np.sqrt(np.mean(np.square(encoding.codebook.astype(np.float64))))) or 1.0
        self.codebook = nn.Parameter(torch.from_numpy(encoding.codebook.astype(np.float32) / self.units))
        self.row_scale = nn.Parameter(torch.from_numpy(encoding.scale * self.units))
        self.indices: Tensor
        self.register_buffer("indices", torch.from_numpy(encoding.indices.astype(np.int64)))
        self.latent = None if latent is None else nn.Parameter(latent.clone())
        self._float_share, self._noise_seed = 0.0, 0

    def leave_float(self, share: float, seed: int) -> None:
        """Quant-Noise (Fan 2021): in training, a random share of the subvectors, drawn by `seed`, stays float in the next passes."""
        self._float_share, self._noise_seed = share, seed

    def _codewords(self) -> Tensor:
        codewords = round_straight_through(self.codebook * self.units)
        return codewords / self.units

    def forward(self) -> Tensor:
        """The decoded weight; gradients reach codewords, row scales and, where there is one, the latent weight."""
        out, taps, _ = self.indices.shape
        channels = self.shape[-1]
        subvectors = self._codewords()[self.indices].reshape(out, taps, -1)[:, :, :channels].reshape(self.shape)
        decoded = subvectors * self.row_scale.reshape(-1, *([1] * (len(self.shape) - 1)))
        if self.latent is None:
            return decoded
        if self.training and self._float_share > 0:
            drawn = torch.rand(self.indices.shape, generator=torch.Generator().manual_seed(self._noise_seed)).to(decoded.device)
            quantized = (drawn >= self._float_share).repeat_interleave(self.codebook.shape[1], 2)[:, :, :channels].reshape(self.shape)
            return torch.where(quantized, decoded + (self.latent - self.latent.detach()), self.latent)
        return decoded + (self.latent - self.latent.detach())

    @torch.no_grad()
    def reassign(self) -> None:
        """Give every latent subvector its nearest codeword; frozen indices stay."""
        if self.latent is not None:
            subvectors = subvectors_of(self.latent / self._row_shape(), self.codebook.shape[1])
            self.indices.copy_(nearest_codewords(subvectors, self._codewords()))

    @torch.no_grad()
    def project(self) -> None:
        """Bring codewords back within int8 and the L1 bound, the zero codeword to zero, row scales above zero."""
        subvector = self.codebook.shape[1]
        self.codebook.clamp_(-CODEWORD_LIMIT / self.units, CODEWORD_LIMIT / self.units)
        # Rounding adds at most 1/2 an entry.
        limit = (self.norm - subvector / 2) / self.units
        self.codebook.mul_((limit / self.codebook.abs().sum(1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0))
        if self.pin_zero:
            self.codebook[0].zero_()
        self.row_scale.clamp_min_(1e-8)

    def _row_shape(self) -> Tensor:
        return self.row_scale.reshape(-1, *([1] * (len(self.shape) - 1)))

    def encoding(self) -> ProductQuantized:
        """Codebook, indices and row scales as integers."""
        codebook = (self.codebook.detach() * self.units).round().to(torch.int8)
        return ProductQuantized(
            codebook.numpy(force=True),
            self.indices.to(torch.uint8).numpy(force=True),
            (self.row_scale.detach() / self.units).numpy(force=True),
            self.shape,
            self.index_bits,
        )


WeightModule = FloatWeight | ScalarWeight | CodebookWeight


def subvectors_of(weight: Tensor, subvector: int) -> Tensor:
    """[out, ..., channels] -> [out, taps, ceil(channels / d), d], the last subvector of a tap filled with zeros."""
    out, channels = weight.shape[0], weight.shape[-1]
    taps = weight.reshape(out, -1, channels)
    padded = nn.functional.pad(taps, (0, -channels % subvector))
    return padded.reshape(out, taps.shape[1], -1, subvector)


def nearest_codewords(subvectors: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest codeword (Euclidean) of each of [..., d] subvectors."""
    points = subvectors.reshape(-1, subvectors.shape[-1])
    # |x - c|^2 less the constant |x|^2.
    distance = torch.addmm(codebook.square().sum(1), points, codebook.T, beta=0.5, alpha=-1.0)
    return distance.argmin(1).reshape(subvectors.shape[:-1])
