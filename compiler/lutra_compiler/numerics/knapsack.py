"""The multiple-choice knapsack: of every class one item, so that the sum of sizes and the sum of losses are both small."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choices:
    """Pareto-optimal choices, the smallest first. `size` [n] ascends, `loss` [n] descends, `item` [n, classes]: one of each class."""

    size: Numbers
    loss: Numbers
    item: npt.NDArray[np.int64]


def best_choices(sizes: Sequence[Numbers], losses: Sequence[Numbers], resolution: float = 0.002) -> Choices:
    """Dynamic programming over the classes; `sizes[c]`, `losses[c]`: [items of class c], sizes at least 0.

    Of partial choices whose sizes are within a factor of 1 + `resolution` only the smallest and the best are followed, which bounds the
    work; 0 follows all. Raises ValueError for a class without items.
    """
    if any(not len(size) for size in sizes):
        raise ValueError("every class must have an item")
    size, loss = np.zeros(1), np.zeros(1)
    item = np.zeros((1, 0), np.int64)
    for class_size, class_loss in zip(sizes, losses, strict=True):
        grown, worse = (size[:, None] + class_size).ravel(), (loss[:, None] + class_loss).ravel()
        kept = _front(grown, worse, resolution)
        before, chosen = np.divmod(kept, len(class_size))
        size, loss = grown[kept], worse[kept]
        item = np.concatenate([item[before], chosen[:, None]], axis=1)
    return Choices(size, loss, item)


def _front(size: Numbers, loss: Numbers, resolution: float) -> npt.NDArray[np.int64]:
    """Indices of the points that no other beats in both, thinned out, by size."""
    order = np.lexsort((loss, size))
    ordered = loss[order]
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(ordered)[:-1]])
    front: npt.NDArray[np.int64] = order[ordered < best_before]
    if not resolution:
        return front
    bucket = np.floor(np.log(np.maximum(size[front], 1.0)) / np.log1p(resolution))
    changes = bucket[1:] != bucket[:-1]
    ends: npt.NDArray[np.bool_] = np.concatenate([[True], changes]) | np.concatenate([changes, [True]])
    return front[ends]
