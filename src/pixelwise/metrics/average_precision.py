"""Average precision: of scores for every pixel, and the one function for pixels and instances alike.

The area under the precision-recall curve of a class is the sum of ``(R_n - R_{n-1}) P_n`` over its distinct
scores from the highest down, where P_n and R_n are precision and recall of all that scores at least as high.
Nothing is interpolated, and pixels of equal score are one step, so that their order cannot matter.

Source: as in scikit-learn's ``average_precision_score``
(https://scikit-learn.org/stable/modules/model_evaluation.html), which it equals; the detections of
:mod:`pixelwise.metrics.instance_precision` follow COCO's protocol, which interpolates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pixelwise.errors import DataError, UsageError
from pixelwise.metrics.instance_precision import InstanceAveragePrecision
from pixelwise.metrics.instances import Instances, Kind


def average_precision(
    prediction: Any,
    target: Any,
    *,
    iou: float | Sequence[float] | str | None = None,
    num_classes: int | None = None,
    kind: Kind = "mask",
    ignore_index: int = 255,
    bins: int | None = None,
) -> np.ndarray:
    """Average precision of each class, of pixels or of instances; ``np.nanmean`` of it is the mean AP.

    Parameters
    ----------
    prediction, target
        For pixels (``iou=None``) K×H×W scores, higher is surer, and H×W class ids; for instances two
        :class:`Instances`. Of several images, lists of these.
    iou
        None judges pixels. A number judges instances, which are found when they overlap by so much;
        ``"coco"`` averages over .50, .55, ... .95, and so do several numbers over theirs.
    num_classes
        K, of instances; None takes the highest label there is.
    kind
        Of instances: ``"mask"``, ``"box"`` or ``"boundary"``.
    ignore_index
        Of pixels: the target id of those that do not count.
    bins
        Of pixels: see :class:`PixelAveragePrecision`.

    Returns
    -------
    K float64, nan for classes that are never true.

    Raises
    ------
    DataError
        Shapes, types or values are not as said.
    UsageError
        Options contradict each other.

    Examples
    --------
    >>> scores = np.array([[[0.9, 0.6, 0.2]], [[0.1, 0.4, 0.8]]])
    >>> average_precision(scores, np.array([[0, 1, 0]])).round(3)
    array([0.833, 0.5  ])
    >>> true = Instances([0], masks=np.ones((1, 4, 4), bool))
    >>> found = Instances([0], masks=np.ones((1, 4, 4), bool), scores=[0.7])
    >>> average_precision(found, true, iou=0.5).round(6)
    array([1.])
    """
    several = isinstance(prediction, list | tuple)
    predictions = list(prediction) if several else [prediction]
    targets = list(target) if several else [target]
    if len(predictions) != len(targets):
        raise DataError(f"{len(predictions)} predictions but {len(targets)} targets: give one for each image")
    if iou is None:
        if num_classes is not None or kind != "mask":
            raise UsageError(
                "num_classes and kind are for instances: give iou, such as iou=0.5 or iou='coco'"
            )
        return _of_pixels(predictions, targets, ignore_index, bins)
    if bins is not None or ignore_index != 255:
        raise UsageError("bins and ignore_index are for pixels, so leave iou out or these")
    return _of_instances(predictions, targets, iou, num_classes, kind)


def _of_pixels(predictions: list[Any], targets: list[Any], ignore_index: int, bins: int | None) -> np.ndarray:
    if not predictions:
        raise DataError("there is no image to judge")
    metric = PixelAveragePrecision(max(1, len(np.atleast_1d(predictions[0]))), ignore_index, bins)
    for scores, ids in zip(predictions, targets, strict=True):
        metric.update(scores, ids)
    return metric.average_precision()


def _of_instances(
    predictions: list[Any], targets: list[Any], iou: Any, num_classes: int | None, kind: Kind
) -> np.ndarray:
    for instances in (*predictions, *targets):
        if not isinstance(instances, Instances):
            raise UsageError(f"with iou give Instances(labels, ...), found {type(instances).__name__}")
    if num_classes is None:
        rows = [np.asarray(instances.labels).ravel() for instances in (*predictions, *targets)]
        num_classes = 1 + max((int(row.max()) for row in rows if row.size), default=0)
    areas = {"all": (0.0, float(10**10))}
    metric = InstanceAveragePrecision(max(1, num_classes), kind, iou=iou, areas=areas, max_detections=[100])
    for found, true in zip(predictions, targets, strict=True):
        metric.update(found, true)
    return metric.compute().average_precision()


class Curve(NamedTuple):
    """A precision-recall curve.

    Attributes
    ----------
    precision, recall
        N float64, of everything that scores at least ``thresholds``.
    thresholds
        N, falling.
    """

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray


class PixelAveragePrecision:
    """Average precision of scores for every pixel, each class against the rest, over a whole data set.

    **Absent classes.** A class that is never true is nan and leaves the mean, whatever its scores.
    Ignored pixels count nowhere.

    Parameters
    ----------
    num_classes
        K, the number of classes. With one class the target is 0 or 1, and 1 is what the scores are for.
    ignore_index
        The target id of the pixels that do not count.
    bins
        None keeps every score, and the result is exact: 4 bytes for each pixel and class. A number B counts
        scores from 0 to 1 into B bins of equal width instead, in 16 B K bytes however many pixels come, and
        the scores of a bin are taken for equal; the last bin includes 1.

    Raises
    ------
    UsageError
        There is not even one class, or one bin.

    Examples
    --------
    >>> metric = PixelAveragePrecision(2)
    >>> metric.update(np.array([[0.9, 0.6, 0.2], [0.1, 0.4, 0.8]]), np.array([0, 1, 255]))
    >>> metric.average_precision()
    array([1., 1.])
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, bins: int | None = None) -> None:
        if num_classes < 1:
            raise UsageError(f"average precision needs at least one class, got num_classes={num_classes}")
        if bins is not None and bins < 1:
            raise UsageError(f"scores need at least one bin, got bins={bins}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.bins = bins
        self._counts = np.zeros((num_classes, 2, bins or 0), np.int64)  # by class, false or true, and bin
        self._scores: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []

    def update(self, scores: Any, target: Any) -> None:
        """Add the pixels of an image or a batch.

        Parameters
        ----------
        scores
            K×H×W or K×N real numbers, higher is surer; probabilities where bins are counted. They may be
            anything where the target is ignored.
        target
            H×W or N integer class ids.

        Raises
        ------
        DataError
            The shapes differ, ids are no integers or out of range, or a score is not finite (or, for bins,
            not in 0..1); nothing is added.
        """
        values, ids = _real(scores), np.asarray(target)
        if ids.dtype.kind not in "uib":
            raise DataError(f"the target must hold integer class ids but is {ids.dtype}")
        if values.ndim < 1 or values.shape[1:] != ids.shape or values.shape[0] != self.num_classes:
            raise DataError(
                f"the scores have the shape {values.shape} and the target {ids.shape}: expected "
                f"{(self.num_classes, *ids.shape)}, a score of each class for each pixel"
            )
        counted = ids != self.ignore_index
        values, ids = values[:, counted], ids[counted].astype(np.int64)
        highest = max(self.num_classes - 1, 1)
        if ids.size and not 0 <= ids.min() <= ids.max() <= highest:
            wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise DataError(
                f"the target holds class id {wrong}, expected 0..{highest} (or {self.ignore_index} where "
                "there is no label)"
            )
        if not np.isfinite(values).all():
            bad = values[~np.isfinite(values)][0]
            raise DataError(f"the scores hold {bad} where the target has a label, expected finite numbers")
        if self.bins is None:
            self._scores.append(values)
            self._targets.append(ids.astype(np.int32))
        elif values.size:
            self._count(values, ids, self.bins)

    def merge(self, other: PixelAveragePrecision) -> None:
        """Add the pixels of another one; DataError when its classes or bins are others."""
        if (other.num_classes, other.bins) != (self.num_classes, self.bins):
            raise DataError(
                f"cannot merge {other.num_classes} classes and bins={other.bins} into {self.num_classes} "
                f"classes and bins={self.bins}"
            )
        self._counts += other._counts
        self._scores += other._scores
        self._targets += other._targets

    def average_precision(self) -> np.ndarray:
        """K areas under the precision-recall curves, nan for classes that are never true."""
        areas = np.full(self.num_classes, np.nan)
        for k in range(self.num_classes):
            true, total, _ = self._steps(k)
            if true.sum():
                precision = np.cumsum(true) / np.cumsum(total)
                areas[k] = float((true * precision).sum() / true.sum())
        return areas

    def mean_average_precision(self) -> float:
        """The mean of :meth:`average_precision` over the classes that are not absent."""
        areas = self.average_precision()
        return float(np.nanmean(areas)) if not np.isnan(areas).all() else float("nan")

    def curve(self, label: int) -> Curve:
        """The precision-recall curve of a class id; recall is nan throughout where it is never true.

        Of bins, the thresholds are their lower ends.
        """
        if not 0 <= label < self.num_classes:
            raise UsageError(f"no class {label}: there are 0..{self.num_classes - 1}")
        true, total, thresholds = self._steps(label)
        found = np.cumsum(true)
        recall = found / found[-1] if found.size and found[-1] else np.full(found.size, np.nan)
        return Curve(found / np.cumsum(total), recall, thresholds)

    def _count(self, values: np.ndarray, ids: np.ndarray, bins: int) -> None:
        if values.min() < 0 or values.max() > 1:
            bad = values.min() if values.min() < 0 else values.max()
            raise DataError(f"scores in bins must lie in 0..1, found {bad}: apply softmax or sigmoid first")
        for k, own in enumerate(values):
            place = np.minimum((own * np.float64(bins)).astype(np.int64), bins - 1)
            found = np.bincount(place + bins * self._is_true(ids, k), minlength=2 * bins)
            self._counts[k] += found.reshape(2, bins)

    def _is_true(self, ids: np.ndarray, k: int) -> np.ndarray:
        return ids == (k if self.num_classes > 1 else 1)

    def _steps(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True pixels, all pixels and the score of each step of a class, from the highest score down."""
        if self.bins is not None:
            false, true = self._counts[k, :, ::-1]
            used = (false + true) > 0
            lower = np.arange(self.bins)[::-1] / self.bins
            return true[used], (false + true)[used], lower[used]
        if not self._scores:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        scores = np.concatenate([values[k] for values in self._scores])
        order = np.argsort(scores)[::-1]
        scores = scores[order]
        true = self._is_true(np.concatenate(self._targets), k)[order]
        ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: scores.size])
        found = np.append(0, np.cumsum(true)[ends])
        return np.diff(found), np.diff(np.append(-1, ends)), scores[ends]

    def __repr__(self) -> str:
        pixels = int(self._counts[0].sum()) if self.bins else sum(ids.size for ids in self._targets)
        return f"PixelAveragePrecision({self.num_classes} classes, {pixels:,} pixels)"


def _real(scores: Any) -> np.ndarray:
    values = np.asarray(scores)
    if values.dtype.kind not in "fui":
        raise DataError(f"the scores must be real numbers but are {values.dtype}")
    single = np.float32 if values.dtype.itemsize <= (4 if values.dtype.kind == "f" else 2) else np.float64
    return values.astype(single, copy=False)
