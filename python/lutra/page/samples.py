"""What labelled samples tell: which classes are taken for which others, and the samples that went wrong most clearly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutra.dataset import Dataset
from lutra.page.pictures import data_address, sample_pixels

MOST_CLASSES = 20  # of a confusion matrix that is shown as a table
_WORST = 16
_CONFUSIONS = 10


@dataclass(frozen=True)
class Sample:
    """A sample that was taken for `taken_for` instead of `label`. `margin`: how much higher that score was, in units of the output.

    `picture` is the address of a picture, None where samples are no images.
    """

    number: int
    label: int
    taken_for: int
    margin: float
    picture: str | None


@dataclass(frozen=True)
class Confusion:
    """`count` samples of the class `label` were taken for `taken_for`."""

    label: int
    taken_for: int
    count: int


@dataclass(frozen=True)
class Answers:
    """Of `samples` labelled samples: `matrix[label][answer]` for few classes, else None; frequent confusions and the worst samples."""

    samples: int
    classes: int
    wrong: int
    matrix: tuple[tuple[int, ...], ...] | None
    confusions: tuple[Confusion, ...]
    worst: tuple[Sample, ...]


def answers_of(scores: npt.NDArray[np.float32], data: Dataset, layout: str) -> Answers | None:
    """What float32 scores [n, ...] say of samples in `layout`; None without labels, or where the output is a single number."""
    scores = scores.reshape(len(scores), -1)
    classes = scores.shape[1]
    if data.labels is None or classes < 2:
        return None
    labels, given, rows = data.labels, scores.argmax(1), np.arange(len(scores))
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, given), 1)
    margins = scores[rows, given] - scores[rows, labels]
    wrong = np.flatnonzero(given != labels)
    worst = wrong[np.argsort(-margins[wrong], kind="stable")[:_WORST]]
    low, high = float(data.images.min()), float(data.images.max())
    off = counts * (1 - np.eye(classes, dtype=np.int64))
    most = [divmod(int(place), classes) for place in np.argsort(-off, axis=None, kind="stable")[:_CONFUSIONS]]
    return Answers(
        samples=len(scores),
        classes=classes,
        wrong=len(wrong),
        matrix=tuple(tuple(map(int, row)) for row in counts) if classes <= MOST_CLASSES else None,
        confusions=tuple(Confusion(label, answer, int(off[label, answer])) for label, answer in most if off[label, answer]),
        worst=tuple(
            Sample(int(i), int(labels[i]), int(given[i]), float(margins[i]), _picture(data.images[i], layout, low, high)) for i in worst
        ),
    )


def _picture(sample: npt.NDArray[np.float32], layout: str, low: float, high: float) -> str | None:
    pixels = sample_pixels(sample, layout, low, high)
    return None if pixels is None else data_address(pixels)
