"""numerics/channel_order.py: channels in an order that suits subvectors."""

import numpy as np
import pytest

from lutra_compiler.numerics.channel_order import channel_order
from lutra_compiler.numerics.product_quantization import quantize_rows


def structured(out: int, taps: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """Channels of different strength, some of which go together."""
    causes = rng.normal(size=(channels // 4, channels)) * (rng.random((channels // 4, channels)) < 0.2)
    weight = rng.normal(size=(out, taps, channels // 4)) @ causes + 0.5 * rng.normal(size=(out, taps, channels))
    return (weight * np.exp(0.8 * rng.normal(size=channels))).astype(np.float32)


def distortion(weight: np.ndarray, subvector: int) -> float:
    rows = quantize_rows(weight, 16, subvector, np.random.default_rng(1))
    return float(np.square(rows.dense(weight.shape[-1]) - weight.reshape(len(weight), -1)).sum())


@pytest.mark.parametrize("channels", [1, 3, 16, 30])
@pytest.mark.parametrize("subvector", [1, 4, 16])
def test_it_is_a_permutation(channels: int, subvector: int) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(8, taps, channels)).astype(np.float32) for taps in (1, 9)]
    assert sorted(channel_order(weights, subvector, rng)) == list(range(channels))


@pytest.mark.parametrize("subvector", [4, 8])
def test_buckets_lower_the_distortion_and_swaps_lower_it_again(subvector: int) -> None:
    given, buckets, swapped = [], [], []
    for seed in range(3):
        weight = structured(64, 9, 32, np.random.default_rng(seed))
        given.append(distortion(weight, subvector))
        for rounds, found in ((0, buckets), (400, swapped)):
            order = channel_order([weight], subvector, np.random.default_rng(seed), rounds=rounds)
            found.append(distortion(weight[..., order], subvector))
    assert np.mean(buckets) < 0.8 * np.mean(given)
    assert np.mean(swapped) < 0.97 * np.mean(buckets)


def test_layers_that_read_the_same_channels_both_gain() -> None:
    rng = np.random.default_rng(4)
    weight = structured(64, 1, 32, rng)
    both = [weight[:32], 100 * weight[32:]]  # rows are normalised: the size of a layer does not drown the other
    order = channel_order(both, 4, rng)
    for each in both:
        assert distortion(each[..., order], 4) < 0.8 * distortion(each, 4)
