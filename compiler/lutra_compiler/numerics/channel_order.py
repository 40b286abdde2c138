"""An order of input channels in which subvectors are alike, so that a codebook serves them better (Martinez 2021)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lutra_compiler.numerics.k_means import FloatArray, IndexArray

_PROPOSALS = 64  # swaps looked at together


def channel_order(weights: Sequence[FloatArray], subvector: int, rng: np.random.Generator, *, rounds: int = 400) -> IndexArray:
    """The order in which layers that read the same channels should have them: old channel at each new place, [channels].

    `weights`: [out, ..., channels] of each layer. The bound of distortion at a given rate falls with the determinant of the covariance of
    subvectors, so that is what falls: channels of like variance first go to the same entry of a subvector, which spreads the variances of
    entries most; then the best of some random swaps is made in each of `rounds`.
    """
    channels = weights[0].shape[-1]
    if min(channels, subvector) == 1:
        return np.arange(channels)
    moment = _moment(weights)
    padded = np.pad(moment, (0, 1))  # one more channel stands for the zeros that fill the last subvector
    places = np.full(-(-channels // subvector) * subvector, channels)
    strongest = np.argsort(-np.diagonal(moment), kind="stable")
    entries = np.argsort(np.arange(channels) % subvector, kind="stable")  # places by their entry of a subvector
    places[entries] = strongest
    groups = places.reshape(-1, subvector)
    covariance = _within(padded, groups).sum(0)
    ridge = (1e-6 * float(np.trace(moment)) / subvector + 1e-30) * np.eye(subvector)  # keeps determinants of idle channels above zero
    reached = float(np.linalg.slogdet(covariance + ridge)[1])
    for _ in range(rounds):
        first, second = rng.integers(channels, size=(2, _PROPOSALS))
        swapped = np.tile(groups.ravel(), (_PROPOSALS, 1))
        each = np.arange(_PROPOSALS)
        swapped[each, first], swapped[each, second] = groups.ravel()[second], groups.ravel()[first]
        cut = swapped.reshape(_PROPOSALS, *groups.shape)
        one, other = first // subvector, second // subvector
        change = _within(padded, cut[each, one]) - _within(padded, groups[one])
        apart = (one != other)[:, None, None]
        change += apart * (_within(padded, cut[each, other]) - _within(padded, groups[other]))
        determinants = np.linalg.slogdet(covariance + change + ridge)[1]
        best = int(determinants.argmin())
        if determinants[best] < reached - 1e-9:
            groups, covariance, reached = cut[best], covariance + change[best], float(determinants[best])
    return groups.ravel()[:channels].astype(np.int64)


def _moment(weights: Sequence[FloatArray]) -> npt.NDArray[np.float64]:
    """Second moment [channels, channels] of the weights, every row normalised."""
    total = np.zeros((weights[0].shape[-1],) * 2)
    for weight in weights:
        rows = weight.reshape(len(weight), -1, weight.shape[-1]).astype(np.float64)
        rows = rows / np.maximum(np.sqrt(np.square(rows).mean((1, 2), keepdims=True)), 1e-30)
        flat = rows.reshape(-1, rows.shape[-1])
        total += flat.T @ flat
    return total


def _within(moment: npt.NDArray[np.float64], groups: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """[..., d, d] second moments of the channels of groups [..., d]."""
    found: npt.NDArray[np.float64] = moment[groups[..., :, None], groups[..., None, :]]
    return found
