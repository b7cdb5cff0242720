"""The confusion matrix and every number that the field reads from it.

Sources: intersection over union as PASCAL VOC defines it (Everingham et al., IJCV 2015); pixel accuracy,
mean accuracy, mean and frequency-weighted IoU as in Long, Shelhamer and Darrell (CVPR 2015); kappa
after Cohen (1960).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from pixelwise.errors import DataError, UsageError, shape_text, unknown_name

Absent = Literal["leave", "zero", "one"]
_ABSENT: dict[str, float] = {"leave": float("nan"), "zero": 0.0, "one": 1.0}


class ConfusionMatrix:
    """Integer counts of (true class, predicted class), added up over a whole data set.

    All numbers come from the summed counts, never from an average over images, so they depend neither on
    the batch size nor on the order. Ignored pixels leave numerator and denominator alike.

    **Absent classes.** A ratio without any pixel in its denominator is nan and leaves the mean. For IoU and
    F1 this means that a class is absent when it occurs neither in the target nor in the prediction; a
    class that is predicted somewhere but never true scores 0 and counts. Recall is nan for classes that
    are never true, precision for classes that are never predicted. Without any pixel everything is nan.

    Parameters
    ----------
    num_classes
        K, the number of classes; ids are 0..K-1.
    ignore_index
        The target id of the pixels that do not count.

    Attributes
    ----------
    counts
        K×K int64 pixels, rows by target and columns by prediction.

    Raises
    ------
    UsageError
        There is not even one class, or no such rule.

    Examples
    --------
    >>> matrix = ConfusionMatrix(3)
    >>> matrix.update(prediction=[[0, 0, 1]], target=[[0, 1, 255]])
    >>> matrix.iou()
    array([0.5, 0. , nan])
    >>> matrix.mean_iou(), matrix.pixel_accuracy()
    (0.25, 0.5)

    Nine tenths background, and a model that has learnt nothing else:

    >>> matrix = ConfusionMatrix(2)
    >>> matrix.update(np.zeros(100, np.uint8), np.arange(100) >= 90)
    >>> matrix.pixel_accuracy(), matrix.mean_iou()
    (0.9, 0.45)
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, absent: Absent = "leave") -> None:
        if num_classes < 1:
            raise UsageError(f"a confusion matrix needs at least one class, got num_classes={num_classes}")
        if absent not in _ABSENT:
            raise unknown_name("rule for absent classes", absent, _ABSENT)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.absent = absent
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    @classmethod
    def from_counts(cls, counts: Any, ignore_index: int = 255, absent: Absent = "leave") -> ConfusionMatrix:
        """A matrix that starts with K×K integer ``counts``, rows by target; else DataError."""
        array = np.asarray(counts)
        if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype.kind not in "ui":
            raise DataError(
                "confusion counts must be KxK integers, "
                f"found {array.dtype} of shape {shape_text(array.shape)}"
            )
        matrix = cls(len(array), ignore_index, absent)
        matrix.counts += array.astype(np.int64)
        return matrix

    def update(self, prediction: Any, target: Any) -> None:
        """Count the pixels of an image or a batch.

        Parameters
        ----------
        prediction, target
            Class ids of one shape (H×W, B×H×W, N, ...), integers of any width or booleans: arrays, or
            whatever ``np.asarray`` takes. The prediction may be anything where the target is ignored.

        Raises
        ------
        DataError
            The shapes differ, the values are no integers, or an id is out of range; nothing is counted.
        """
        # numba takes a third of a second to import, and reading an old result does not need it
        from pixelwise.kernels.counts import confusion_counts

        predicted, true = as_ids(prediction, "prediction"), as_ids(target, "target")
        check_same_shape(predicted, true)
        self.counts += confusion_counts(predicted, true, self.num_classes, self.ignore_index)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix; another number of classes raises DataError."""
        if other.num_classes != self.num_classes:
            raise DataError(
                f"cannot merge counts of {other.num_classes} classes into counts of {self.num_classes}"
            )
        self.counts += other.counts

    def pixel_accuracy(self) -> float:
        """The share of pixels that are right."""
        return _ratio(self._correct.sum(), self.counts.sum())

    def class_accuracy(self) -> np.ndarray:
        """K shares of each true class that are right; another name for :meth:`recall`."""
        return self.recall()

    def mean_class_accuracy(self) -> float:
        """The mean of :meth:`class_accuracy` over the classes that occur in the target."""
        return mean_of_present(self.class_accuracy())

    def iou(self) -> np.ndarray:
        """K intersections over unions, nan for absent classes."""
        return self._ruled(intersection_over_union(self._correct, self._true, self._predicted))

    def mean_iou(self) -> float:
        """The mean of :meth:`iou` over the classes that are not absent."""
        return mean_of_present(self.iou())

    def frequency_weighted_iou(self) -> float:
        """The mean of :meth:`iou` weighted by how often each class occurs in the target."""
        return _ratio(np.nansum(self.iou() * self._true), self._true.sum())

    def f1(self) -> np.ndarray:
        """K F1 scores (the Dice coefficients), nan for absent classes."""
        return self._ruled(ratios(2 * self._correct, self._true + self._predicted))

    def mean_f1(self) -> float:
        """The mean of :meth:`f1` over the classes that are not absent."""
        return mean_of_present(self.f1())

    def precision(self) -> np.ndarray:
        """K shares of each predicted class that are right, nan for classes never predicted."""
        return self._ruled(ratios(self._correct, self._predicted))

    def recall(self) -> np.ndarray:
        """K shares of each true class that are found, nan for classes that do not occur in the target."""
        return self._ruled(ratios(self._correct, self._true))

    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance, 1 at best, 0 for chance; nan when chance is certain."""
        total = float(self.counts.sum())
        chance = _ratio(float(self._true @ self._predicted.astype(np.float64)), total * total)
        return _ratio(self.pixel_accuracy() - chance, 1 - chance)

    def _ruled(self, values: np.ndarray) -> np.ndarray:
        """Ratios without a denominator by the rule for absent classes."""
        return np.where(np.isnan(values), _ABSENT[self.absent], values)

    @property
    def _correct(self) -> np.ndarray:
        return self.counts.diagonal()

    @property
    def _true(self) -> np.ndarray:
        return self.counts.sum(axis=1)

    @property
    def _predicted(self) -> np.ndarray:
        return self.counts.sum(axis=0)

    def __repr__(self) -> str:
        return f"ConfusionMatrix({self.num_classes} classes, {self.counts.sum():,} pixels)"


def intersection_over_union(correct: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """IoU from pixel counts of any (common) shape: right ones, true ones and predicted ones; nan for 0/0.

    >>> intersection_over_union(np.array([1, 0]), np.array([2, 0]), np.array([3, 0]))
    array([0.25,  nan])
    """
    return ratios(correct, true + predicted - correct)


def ratios(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotients, nan where the denominator is 0."""
    empty = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=empty, where=np.asarray(denominator) != 0)


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else float("nan")


def mean_of_present(values: np.ndarray) -> float:
    """The mean of what is not nan; nan when nothing is left."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def as_ids(values: Any, what: str) -> np.ndarray:
    """An array of integers or booleans; DataError for anything else, such as scores."""
    array = np.asarray(values)
    if array.dtype.kind not in "uib":
        raise DataError(
            f"the {what} must hold integer class ids but is {array.dtype}; of scores, take the argmax first"
        )
    return array


def check_same_shape(prediction: np.ndarray, target: np.ndarray) -> None:
    """DataError unless both have one shape."""
    if prediction.shape != target.shape:
        shapes = shape_text(prediction.shape), shape_text(target.shape)
        raise DataError(f"the prediction is {shapes[0]} but the target is {shapes[1]}: give both one size")
