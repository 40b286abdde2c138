"""Rearrange ops in their simplest form, and two of them as one."""

from math import gcd

from lutra_compiler.ir.ops import Rearrange

Sizes = tuple[int, ...]
MAX_AXES = 5  # of the simplest form, as a kernel can move at once


def simplified(view: Sizes, order: Sizes) -> tuple[Sizes, Sizes]:
    """The same move with as few axes as it takes: none of length 1, and no two that stay together."""
    order = tuple(axis for axis in order if view[axis] > 1)
    groups: list[list[int]] = []
    for axis in order:
        between = range(groups[-1][-1] + 1, axis) if groups and groups[-1][-1] < axis else None
        if between is not None and all(view[skipped] == 1 for skipped in between):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    sizes = {group[0]: _product(view, group) for group in groups}
    first = sorted(sizes)
    return tuple(sizes[axis] for axis in first), tuple(first.index(group[0]) for group in groups)


def moves_nothing(op: Rearrange) -> bool:
    """Whether memory stays as it is, and only its shape changes."""
    return len(simplified(op.view, op.order)[0]) < 2


def composed(first: Rearrange, second: Rearrange) -> tuple[Sizes, Sizes] | None:
    """View and order of `second` after `first`; None if their views cut the memory between them where the other has none."""
    (view, order), (view2, order2) = simplified(first.view, first.order), simplified(second.view, second.order)
    factors: list[tuple[int, int, int]] = []  # size, axis of `view`, axis of `view2`; of the memory between, the last one first
    middle, then = [(view[axis], axis) for axis in order], list(enumerate(view2))
    left, right = middle.pop() if middle else (1, 0), then.pop()[::-1] if then else (1, 0)
    while left[0] > 1 or right[0] > 1:
        size = gcd(left[0], right[0])
        if size != min(left[0], right[0]):
            return None
        factors.append((size, left[1], right[1]))
        left, right = (left[0] // size, left[1]), (right[0] // size, right[1])
        if left[0] == 1 and middle:
            left = middle.pop()
        if right[0] == 1 and then:
            right = then.pop()[::-1]
    factors.reverse()
    before = sorted(range(len(factors)), key=lambda i: (factors[i][1], i))
    after = sorted(range(len(factors)), key=lambda i: (order2.index(factors[i][2]), i))
    return simplified(tuple(factors[i][0] for i in before), tuple(before.index(i) for i in after))


def _product(view: Sizes, axes: list[int]) -> int:
    size = 1
    for axis in axes:
        size *= view[axis]
    return size
