"""Weights as torch modules: float, int8 with one scale a row, or codewords of a codebook.

Each module's forward gives the float weight that the integer network will have, in the Graph's shape, with gradients through the
rounding (straight-through estimator, Bengio 2013). `encoding()` gives the integers. What is trained of an encoded weight is of ordinary
size whatever the size of the weight, so that one learning rate suits all layers.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from lutra_compiler.ir.encoding import ProductQuantized, ScalarQuantized, WeightEncoding
from lutra_compiler.numerics.k_means import CODEWORD_L1_LIMIT, CODEWORD_LIMIT
from lutra_compiler.numerics.product_quantization import ROW_SIZE_FLOOR


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
    """A weight rounded to int8 -127..127, scale max |row| / 127; the ratio of the rows' scales is bounded as by `row_sizes`.

    Trained in units of its rows' RMS.
    """

    base: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("base", _row_rms(weight))
        self.weight = nn.Parameter(weight / _per_row(self.base, weight.ndim))

    def _weight(self) -> Tensor:
        return self.weight * _per_row(self.base, self.weight.ndim)

    def _scale(self, weight: Tensor) -> Tensor:
        peak = weight.detach().abs().flatten(1).amax(1)
        largest = peak.amax()
        return torch.where(largest > 0, torch.maximum(peak, largest * ROW_SIZE_FLOOR), torch.ones_like(peak)) / CODEWORD_LIMIT

    def forward(self) -> Tensor:
        """The rounded weight."""
        weight = self._weight()
        scale = _per_row(self._scale(weight), weight.ndim)
        return round_straight_through(weight / scale) * scale

    def encoding(self) -> ScalarQuantized:
        """The int8 values and row scales."""
        weight = self._weight().detach()
        scale = self._scale(weight)
        values = (weight / _per_row(scale, weight.ndim)).round().to(torch.int8)
        return ScalarQuantized(values.numpy(force=True), scale.numpy(force=True))


class CodebookWeight(nn.Module):
    """A product-quantized weight with trainable codewords and row scales.

    With a latent float weight the subvectors are reassigned to their nearest codewords (`reassign`), and the latent weight learns through
    the quantization; without one the indices are frozen. The L1 norm of int8 codewords is at most `norm`. Codewords are trained in units of
    their RMS (int8 / `units`), row scales as gains on the scales at the start, the latent weight in units of its rows' RMS.
    """

    base: Tensor
    latent_base: Tensor
    indices: Tensor

    def __init__(
        self, encoding: ProductQuantized, latent: Tensor | None = None, *, pin_zero: bool = True, norm: int = CODEWORD_L1_LIMIT
    ) -> None:
        super().__init__()
        self.shape, self.index_bits, self.coded = encoding.shape, encoding.index_bits, encoding.coded
        self.pin_zero, self.norm = pin_zero, norm
        self.units = float(np.sqrt(np.mean(np.square(encoding.codebook.astype(np.float64))))) or 1.0
        self.codebook = nn.Parameter(torch.from_numpy(encoding.codebook.astype(np.float32) / self.units))
        self.register_buffer("base", torch.from_numpy(encoding.scale * self.units))
        self.gain = nn.Parameter(torch.ones_like(self.base))
        self.register_buffer("indices", torch.from_numpy(encoding.indices.astype(np.int64)))
        self.latent: nn.Parameter | None = None
        if latent is not None:
            self.register_buffer("latent_base", _row_rms(latent))
            self.latent = nn.Parameter(latent / _per_row(self.latent_base, latent.ndim))
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
        decoded = subvectors * _per_row(self.base * self.gain, len(self.shape))
        if self.latent is None:
            return decoded
        latent = self.latent * _per_row(self.latent_base, len(self.shape))
        if self.training and self._float_share > 0:
            drawn = torch.rand(self.indices.shape, generator=torch.Generator().manual_seed(self._noise_seed)).to(decoded.device)
            quantized = (drawn >= self._float_share).repeat_interleave(self.codebook.shape[1], 2)[:, :, :channels].reshape(self.shape)
            return torch.where(quantized, decoded + (latent - latent.detach()), latent)
        return decoded + (latent - latent.detach())

    @torch.no_grad()
    def reassign(self, rate: float = 0.0) -> None:
        """Give every latent subvector the codeword of least squared distance + `rate` x the bits of its index; frozen indices stay.

        The distance is in units of the rows' mean square at the start; an index of probability p takes -log2 p bits, p as of the indices
        so far (entropy-constrained vector quantization, Chou 1989).
        """
        if self.latent is None:
            return
        scale = self.base * self.gain / self.latent_base
        subvectors = subvectors_of(self.latent / _per_row(scale, len(self.shape)), self.codebook.shape[1])
        bits = None
        if rate > 0:
            count = torch.bincount(self.indices.flatten(), minlength=len(self.codebook)) + 1.0
            bits = _per_row(rate / scale.square().clamp_min(1e-12), 4) * (count.sum() / count).log2()
        codewords, last = self._codewords(), self.shape[-1] % self.codebook.shape[1]
        self.indices.copy_(nearest_codewords(subvectors, codewords, bits))
        if last:  # of the last subvector's entries the others are not used
            self.indices[:, :, -1:] = nearest_codewords(subvectors[:, :, -1:, :last], codewords[:, :last], bits)

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
        self.gain.clamp_min_(1e-3)

    def encoding(self) -> ProductQuantized:
        """Codebook, indices and row scales as integers."""
        codebook = (self.codebook.detach() * self.units).round().to(torch.int8)
        return ProductQuantized(
            codebook.numpy(force=True),
            self.indices.to(torch.uint8).numpy(force=True),
            (self.base * self.gain.detach() / self.units).numpy(force=True),
            self.shape,
            self.index_bits,
            self.coded,
        )


WeightModule = FloatWeight | ScalarWeight | CodebookWeight


def share_codebooks(weights: Iterable[nn.Module]) -> None:
    """Let weights that have the same codebook train one, so that they keep the same bytes."""
    shared: dict[tuple[float, bytes, tuple[int, ...]], nn.Parameter] = {}
    for weight in weights:
        if isinstance(weight, CodebookWeight):
            integers = weight.encoding().codebook
            weight.codebook = shared.setdefault((weight.units, integers.tobytes(), integers.shape), weight.codebook)


def subvectors_of(weight: Tensor, subvector: int) -> Tensor:
    """[out, ..., channels] -> [out, taps, ceil(channels / d), d], the last subvector of a tap filled with zeros."""
    out, channels = weight.shape[0], weight.shape[-1]
    taps = weight.reshape(out, -1, channels)
    padded = nn.functional.pad(taps, (0, -channels % subvector))
    return padded.reshape(out, taps.shape[1], -1, subvector)


def nearest_codewords(subvectors: Tensor, codebook: Tensor, penalty: Tensor | None = None) -> Tensor:
    """Index of the codeword of least squared distance, plus `penalty` [.., K], to each of [out, taps, m, d] subvectors."""
    points = subvectors.reshape(-1, subvectors.shape[-1])
    # Half of |x - c|^2 less the constant |x|^2.
    distance = torch.addmm(codebook.square().sum(1), points, codebook.T, beta=0.5, alpha=-1.0).reshape(*subvectors.shape[:-1], -1)
    return (distance if penalty is None else distance + penalty / 2).argmin(-1)


def _row_rms(weight: Tensor) -> Tensor:
    """RMS of each row [out]; 1 for a row of zeros."""
    rms = weight.detach().square().flatten(1).mean(1).sqrt()
    return torch.where(rms > 0, rms, torch.ones_like(rms))


def _per_row(values: Tensor, dimensions: int) -> Tensor:
    return values.reshape(-1, *([1] * (dimensions - 1)))
