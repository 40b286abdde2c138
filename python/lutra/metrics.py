"""How good scores are, by name; every metric is better the higher it is, and a part of 1."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from lutra.dataset import Dataset
from lutra_compiler.errors import ConfigurationError, DataError
from lutra_compiler.records import nearest

Metric = Callable[[npt.NDArray[np.float32], Dataset], float]


def accuracy(scores: npt.NDArray[np.float32], data: Dataset) -> float:
    """Part of the samples whose highest score is at their label."""
    return float((_rows(scores).argmax(1) == _labels(scores, data)).mean())


def top5(scores: npt.NDArray[np.float32], data: Dataset) -> float:
    """Part of the samples whose label is among the five highest scores."""
    highest = np.argsort(-_rows(scores), axis=1, kind="stable")[:, :5]
    return float((highest == _labels(scores, data)[:, None]).any(1).mean())


def auc(scores: npt.NDArray[np.float32], data: Dataset) -> float:
    """Area under the ROC curve of autoencoders that find anomalies, label 1, by the mean squared error of what they reconstruct.

    Mann and Whitney (1947): the part of the pairs of a normal and an anomalous sample that the error puts in order; ties count half.
    """
    if data.labels is None or set(np.unique(data.labels)) != {0, 1}:
        raise DataError("the metric auc needs samples with label 0, normal, and with label 1, anomalous")
    if scores.shape != data.images.shape:
        raise DataError(f"the metric auc is for networks that reconstruct their input {data.images.shape[1:]}, not for {scores.shape[1:]}")
    errors = np.square(_rows(scores).astype(np.float64) - _rows(data.images)).mean(1)
    _, positions, counts = np.unique(errors, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[positions]
    anomalous = data.labels == 1
    positive, negative = int(anomalous.sum()), int((~anomalous).sum())
    return float((ranks[anomalous].sum() - positive * (positive + 1) / 2) / (positive * negative))


METRICS: Mapping[str, Metric] = {"accuracy": accuracy, "auc": auc, "top5": top5}


def metric_by_name(name: str) -> Metric:
    """The metric called `name`. Raises ConfigurationError with the names there are."""
    if name not in METRICS:
        raise ConfigurationError(f"there is no metric '{name}'; {nearest(name, METRICS)}")
    return METRICS[name]


def _rows(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return scores.reshape(len(scores), -1)


def _labels(scores: npt.NDArray[np.float32], data: Dataset) -> npt.NDArray[np.int64]:
    if data.labels is None:
        raise DataError("the metric needs labels; give samples with them")
    outputs = _rows(scores).shape[1]
    if int(data.labels.max()) >= outputs:
        raise DataError(f"there is a label {int(data.labels.max())}, but the network has {outputs} outputs")
    return data.labels
