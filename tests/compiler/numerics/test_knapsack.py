"""numerics.knapsack against all choices there are."""

from itertools import product

import numpy as np
import pytest

from lutra_compiler.numerics.knapsack import best_choices


def classes(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, rng.integers(1, 6))
    return [rng.integers(0, 40, n).astype(float) for n in counts], [rng.integers(0, 20, n).astype(float) for n in counts]


@pytest.mark.parametrize("seed", range(20))
def test_every_pareto_optimal_choice_is_found(seed: int) -> None:
    sizes, losses = classes(seed)
    points = {
        (sum(s[i] for s, i in zip(sizes, items, strict=True)), sum(v[i] for v, i in zip(losses, items, strict=True)))
        for items in product(*(range(len(s)) for s in sizes))
    }
    best = sorted((s, v) for s, v in points if not any(a <= s and b <= v and (a, b) != (s, v) for a, b in points))
    found = best_choices(sizes, losses, resolution=0)
    assert list(zip(found.size, found.loss, strict=True)) == best


def test_items_are_those_that_size_and_loss_are_of() -> None:
    sizes, losses = classes(3)
    found = best_choices(sizes, losses)
    for size, loss, items in zip(found.size, found.loss, found.item, strict=True):
        assert size == sum(s[i] for s, i in zip(sizes, items, strict=True))
        assert loss == sum(v[i] for v, i in zip(losses, items, strict=True))


def test_thinned_out_the_best_choice_is_missed_by_little_and_the_ends_are_kept() -> None:
    rng = np.random.default_rng(0)
    sizes = [np.exp(rng.uniform(3, 9, 12)) for _ in range(12)]
    losses = [1e4 / size**0.7 for size in sizes]
    exact, found = best_choices(sizes, losses, resolution=1e-4), best_choices(sizes, losses)
    assert len(found.size) < len(exact.size)
    assert (found.size[0], found.loss[-1]) == pytest.approx((exact.size[0], exact.loss[-1]))
    for limit in np.geomspace(found.size[0] * 1.1, found.size[-1], 20):
        best, thinned = (choices.loss[choices.size <= limit].min() for choices in (exact, found))
        assert thinned <= 1.05 * best


def test_a_class_without_items_is_refused() -> None:
    with pytest.raises(ValueError, match="must have an item"):
        best_choices([np.zeros(0)], [np.zeros(0)])
