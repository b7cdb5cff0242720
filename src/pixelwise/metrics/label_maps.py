"""Label maps as boundary and surface metrics take them: checked, of one type, ignored pixels marked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pixelwise.errors import DataError, UsageError, shape_text
from pixelwise.metrics.confusion import as_ids, check_same_shape

_MOST_CLASSES = 65535  # OpenCV filters 16 bits at most, and one id marks ignored pixels


class LabelMaps(NamedTuple):
    """A prediction and a target of one shape, C order, uint8 or uint16.

    Both hold 0..K-1, and K where the target is ignored. ``present`` are K booleans: the class occurs in one
    of them.
    """

    prediction: np.ndarray
    target: np.ndarray
    present: np.ndarray


def check_classes(num_classes: int) -> None:
    """Raise UsageError unless there are 1 to 65,535 classes."""
    if not 1 <= num_classes <= _MOST_CLASSES:
        raise UsageError(f"these metrics take 1 to {_MOST_CLASSES} classes, got num_classes={num_classes}")


def as_label_maps(
    prediction: Any, target: Any, num_classes: int, ignore_index: int, dims: tuple[int, ...]
) -> LabelMaps:
    """Check two maps of class ids and bring them into one form.

    Raises
    ------
    DataError
        The shapes differ or have other than ``dims`` dimensions, the values are no integers, or an id is out
        of range where the target is not ignored.
    """
    from pixelwise.kernels.counts import confusion_counts

    predicted, true = as_pair(as_ids(prediction, "prediction"), as_ids(target, "target"), dims)
    counts = confusion_counts(predicted, true, num_classes, ignore_index)
    dtype = np.uint8 if num_classes < 256 else np.uint16
    ignored = true == ignore_index
    maps = [np.where(ignored, dtype(num_classes), labels) for labels in (predicted, true)]
    maps = [labels.astype(dtype, order="C", copy=False) for labels in maps]
    return LabelMaps(maps[0], maps[1], counts.sum(axis=0) + counts.sum(axis=1) > 0)


def as_pair(prediction: Any, target: Any, dims: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of one shape with one of so many dimensions, else DataError."""
    predicted, true = np.asarray(prediction), np.asarray(target)
    check_same_shape(predicted, true)
    if predicted.ndim not in dims:
        expected = " or ".join(map(str, dims))
        raise DataError(
            f"prediction and target are {shape_text(predicted.shape)}, expected {expected} dimensions"
        )
    return predicted, true


def mark_class(labels: np.ndarray, number: int, ignored: np.ndarray) -> np.ndarray:
    """One class of a label map as the surface kernels take it: 0 outside, 1 inside, 2 ignored, uint8.

    >>> mark_class(np.array([0, 1, 2]), 1, np.array([False, False, True])).tolist()
    [0, 1, 2]
    """
    marked: np.ndarray = (labels == number).view(np.uint8) | (ignored.view(np.uint8) << 1)
    return marked
