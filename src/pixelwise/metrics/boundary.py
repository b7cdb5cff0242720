"""How well the outlines of classes fit: boundary F1, boundary IoU, and accuracy in a band around outlines.

Sources. Boundary F1: Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic
segmentation?", BMVC 2013: per image and class, then averaged over images. Its contours are matched by
distance, as DAVIS approximates by dilation (Perazzi et al., CVPR 2016). Boundary IoU: Cheng et al., CVPR
2021, arXiv 2103.16562. Bands ("trimaps"): Kohli, Ladický and Torr, IJCV 2009, around outlines; Chen et al.
(DeepLab), arXiv 1412.7062, around the ignored pixels, which PASCAL VOC draws along outlines.

Where this departs: a distance equal to the tolerance of the boundary F1 counts as within; boundary IoU adds
its pixels up over the data set, as :class:`~pixelwise.metrics.ConfusionMatrix` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.metrics.confusion import ConfusionMatrix, intersection_over_union, mean_of_present, ratios
from pixelwise.metrics.label_maps import LabelMaps, as_label_maps, check_classes, mark_class

Around = Literal["classes", "ignored"]
_AROUND = ("classes", "ignored")
_ROUNDING = 1e-9  # of a tolerance given as a share of the diagonal


class BoundaryF1:
    """F1 of the outlines of each class, added up over a data set.

    In each image, precision is the share of the predicted outline of a class within the tolerance of its
    true outline, recall the share of the true outline within the tolerance of the predicted one; F1 is
    their harmonic mean. An outline is the pixels of a class with one of their 4 neighbours in another class;
    the image's border and ignored pixels make no outline.

    **Rules.** A class that an image shows neither in the target nor in the prediction leaves the averages of
    this image. When it is in one only, its F1 is 0. When it is in both and neither has an outline (it fills
    the image), F1 is 1; when only one has, 0. A class that is in no image is nan and leaves the mean.

    Parameters
    ----------
    num_classes
        K; ids are 0..K-1.
    tolerance
        Below 1 a share of the image's diagonal (the paper's 0.75 % is 0.0075), otherwise pixels.
    ignore_index
        The target id of the pixels that do not count.

    Attributes
    ----------
    f1_sums, images
        By class: F1 summed over the images that have the class, float64, and their number, int64.
    image_sum, image_count
        F1 averaged over the classes of each image, summed over the images, and their number.
    matched_prediction, predicted, matched_target, true
        By class: pixels of predicted outlines within the tolerance, and all; the same of true outlines;
        int64.

    Raises
    ------
    UsageError
        There is not even one class, or the tolerance is negative or not finite.

    Examples
    --------
    >>> target = np.zeros((20, 20), np.uint8)
    >>> target[5:15, 5:15] = 1
    >>> score = BoundaryF1(3, tolerance=1)
    >>> score.update(np.roll(target, 1, axis=1), target)
    >>> score.f1()
    array([ 1.,  1., nan])
    >>> score.update(np.roll(target, 4, axis=1), target)
    >>> score.f1().round(2), round(score.mean_f1(), 2)
    (array([0.7 , 0.72,  nan]), 0.71)
    """

    def __init__(self, num_classes: int, tolerance: float = 0.0075, ignore_index: int = 255) -> None:
        check_classes(num_classes)
        _check_width("tolerance", tolerance)
        self.num_classes = num_classes
        self.tolerance = tolerance
        self.ignore_index = ignore_index
        self.f1_sums = np.zeros(num_classes)
        self.images = np.zeros(num_classes, np.int64)
        self.image_sum, self.image_count = 0.0, 0
        self.matched_prediction, self.predicted, self.matched_target, self.true = np.zeros(
            (4, num_classes), np.int64
        )

    def update(self, prediction: Any, target: Any) -> None:
        """Add an image (H×W) or a batch (B×H×W) of class ids; DataError as ConfusionMatrix raises it."""
        maps = as_label_maps(prediction, target, self.num_classes, self.ignore_index, (2, 3))
        for image in _images(maps, self.num_classes):
            self._add(image)

    def _add(self, maps: LabelMaps) -> None:
        from pixelwise.kernels.surface import edge_points, mask_distances

        outline = partial(edge_points, border=False)
        reach = _in_pixels(self.tolerance, maps.target.shape) * (1 + _ROUNDING)
        ignored = maps.target == self.num_classes
        scores = []
        for number in np.flatnonzero(maps.present).tolist():
            masks = [mark_class(labels, number, ignored) for labels in (maps.prediction, maps.target)]
            found = mask_distances(masks[0], masks[1], (1.0, 1.0), outline, reach)
            distances = (found.a_to_b, found.b_to_a)
            matched = np.array([np.count_nonzero(side <= reach) for side in distances])
            points = np.array([len(side) for side in distances])
            self.matched_prediction[number] += matched[0]
            self.matched_target[number] += matched[1]
            self.predicted[number] += points[0]
            self.true[number] += points[1]
            in_both = all((mask == 1).any() for mask in masks)
            scores.append(_f1(matched, points, in_both))
            self.f1_sums[number] += scores[-1]
            self.images[number] += 1
        if scores:
            self.image_sum += float(np.mean(scores))
            self.image_count += 1

    def merge(self, other: BoundaryF1) -> None:
        """Add the sums of another one; another number of classes or tolerance raises DataError."""
        _check_same(self, other, "num_classes", "tolerance")
        for name in ("f1_sums", "images", "matched_prediction", "predicted", "matched_target", "true"):
            getattr(self, name)[:] += getattr(other, name)
        self.image_sum += other.image_sum
        self.image_count += other.image_count

    def f1(self) -> np.ndarray:
        """K means of F1 over the images that have the class; nan for absent classes."""
        return ratios(self.f1_sums, self.images)

    def mean_f1(self) -> float:
        """The mean of :meth:`f1` over the classes that are not absent."""
        return mean_of_present(self.f1())

    def mean_image_f1(self) -> float:
        """The paper's score of a data set: F1 averaged over the classes of each image, then over images."""
        return self.image_sum / self.image_count if self.image_count else math.nan

    def precision(self) -> np.ndarray:
        """K shares of all predicted outline pixels that are within the tolerance; nan without any."""
        return ratios(self.matched_prediction, self.predicted)

    def recall(self) -> np.ndarray:
        """K shares of all true outline pixels that are within the tolerance; nan without any."""
        return ratios(self.matched_target, self.true)

    def __repr__(self) -> str:
        return f"<BoundaryF1 of {self.num_classes} classes, {self.image_count} images>"


class BoundaryIoU:
    """IoU of the bands inside the outlines of each class, added up over a data set.

    The band of a class is its pixels from which another class, or the end of the image, is at most ``width``
    steps away; diagonal steps count as one, as in the authors' code. Ignored pixels are in no band and end
    no class. A class that occurs neither in the target nor in the prediction is nan and leaves the mean.

    Parameters
    ----------
    num_classes
        K; ids are 0..K-1.
    width
        Below 1 a share of the image's diagonal (0.02 in the paper), otherwise pixels; rounded, at least 1.
    ignore_index
        The target id of the pixels that do not count.

    Attributes
    ----------
    counts
        (K+1)×(K+1) int64 pixels by target and prediction; the last row and column are pixels that are in
        no band of the target or the prediction.

    Raises
    ------
    UsageError
        There is not even one class, or the width is not above 0 or not finite.

    Examples
    --------
    >>> prediction, target = np.zeros((2, 40, 40), np.uint8)
    >>> prediction[10:30, 10:30] = 1
    >>> target[10:30, 11:31] = 1
    >>> score = BoundaryIoU(2, width=2)
    >>> score.update(prediction, target)
    >>> score.iou().round(2)
    array([0.83, 0.6 ])
    """

    def __init__(self, num_classes: int, width: float = 0.02, ignore_index: int = 255) -> None:
        check_classes(num_classes)
        _check_width("width", width, zero=False)
        self.num_classes = num_classes
        self.width = width
        self.ignore_index = ignore_index
        self.counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)

    def update(self, prediction: Any, target: Any) -> None:
        """Add an image (H×W) or a batch (B×H×W) of class ids; DataError as ConfusionMatrix raises it."""
        from pixelwise.kernels.counts import confusion_counts

        maps = as_label_maps(prediction, target, self.num_classes, self.ignore_index, (2, 3))
        for image in _images(maps, self.num_classes):
            steps = max(1, round(_in_pixels(self.width, image.target.shape)))
            ignored = image.target == self.num_classes
            bands = [_band(labels, ignored, steps, self.num_classes) for labels in image[:2]]
            self.counts += confusion_counts(bands[0], bands[1], self.num_classes + 1, -1)

    def merge(self, other: BoundaryIoU) -> None:
        """Add the counts of another one; another number of classes or width raises DataError."""
        _check_same(self, other, "num_classes", "width")
        self.counts += other.counts

    def iou(self) -> np.ndarray:
        """K intersections over unions of the bands; nan for absent classes."""
        correct = self.counts.diagonal()[:-1]
        true, predicted = self.counts.sum(axis=1)[:-1], self.counts.sum(axis=0)[:-1]
        return intersection_over_union(correct, true, predicted)

    def mean_iou(self) -> float:
        """The mean of :meth:`iou` over the classes that are not absent."""
        return mean_of_present(self.iou())

    def __repr__(self) -> str:
        return f"<BoundaryIoU of {self.num_classes} classes, width {self.width:g}>"


class Trimap:
    """Accuracy and IoU in bands of several widths around the true outlines, added up over a data set.

    A band of width w are the valid pixels at most w pixels from an outline of the target. With ``around
    ="classes"`` an outline runs between 4-neighbours of different classes, both of which lie in the band of
    width 1. With ``"ignored"`` it is the region of ignored pixels, and their neighbours lie in the band of
    width 1. Distances are Euclidean. Absent classes leave the mean, as in ConfusionMatrix.

    Parameters
    ----------
    num_classes
        K; ids are 0..K-1.
    widths
        Ascending widths in pixels, at least 1.
    ignore_index
        The target id of the pixels that do not count.
    around
        ``"classes"`` (Kohli et al.) or ``"ignored"`` (DeepLab on PASCAL VOC).

    Attributes
    ----------
    counts
        W×K×K int64 pixels by target and prediction: those in the band of each width and in no narrower one.

    Raises
    ------
    UsageError
        There is not even one class, the widths do not ascend from 1 or more, or ``around`` is unknown.

    Examples
    --------
    >>> target = np.zeros((20, 20), np.uint8)
    >>> target[:, 10:] = 1
    >>> trimap = Trimap(2, widths=(1, 2, 4))
    >>> trimap.update(np.roll(target, 1, axis=1), target)
    >>> trimap.accuracy()
    array([0.5  , 0.75 , 0.875])
    >>> trimap.at(4).mean_iou()
    0.775
    """

    def __init__(
        self,
        num_classes: int,
        widths: Sequence[float] = (1, 2, 3, 5, 10, 20, 40),
        ignore_index: int = 255,
        around: Around = "classes",
    ) -> None:
        check_classes(num_classes)
        if around not in _AROUND:
            raise unknown_name("outline of a trimap", around, _AROUND)
        self.widths = np.asarray(widths, np.float64)
        ascending = self.widths.ndim == 1 and len(self.widths) > 0 and bool((np.diff(self.widths) > 0).all())
        if not ascending or not 1 <= self.widths[0] <= self.widths[-1] < math.inf:
            raise UsageError(f"the widths of a trimap ascend from 1 pixel or more, got {list(widths)}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.around = around
        self.counts = np.zeros((len(self.widths), num_classes, num_classes), np.int64)

    def update(self, prediction: Any, target: Any) -> None:
        """Add an image (H×W) or a batch (B×H×W) of class ids; DataError as ConfusionMatrix raises it."""
        from pixelwise.kernels.counts import confusion_counts
        from pixelwise.kernels.distance import distance_to

        maps = as_label_maps(prediction, target, self.num_classes, self.ignore_index, (2, 3))
        for image in _images(maps, self.num_classes):
            ignored = image.target == self.num_classes
            if self.around == "ignored":
                distances = distance_to(ignored)
            else:
                distances = distance_to(_beside_another_class(image.target, ignored)) + 1
            narrowest = np.searchsorted(self.widths, distances)
            for number in range(len(self.widths)):
                here = (narrowest == number) & ~ignored
                self.counts[number] += confusion_counts(
                    image.prediction[here], image.target[here], self.num_classes, self.num_classes
                )

    def merge(self, other: Trimap) -> None:
        """Add the counts of another one; other classes, widths or outlines raise DataError."""
        _check_same(self, other, "num_classes", "around")
        if not np.array_equal(self.widths, other.widths):
            raise DataError(f"cannot merge trimaps of widths {other.widths} into widths {self.widths}")
        self.counts += other.counts

    def at(self, width: float) -> ConfusionMatrix:
        """The confusion matrix of the band of one of the widths; UsageError for any other."""
        places = np.flatnonzero(self.widths == width)
        if not len(places):
            raise UsageError(f"this trimap has no width {width}, only {self.widths.tolist()}")
        return ConfusionMatrix.from_counts(self.counts[: places[0] + 1].sum(axis=0), self.ignore_index)

    def accuracy(self) -> np.ndarray:
        """The share of right pixels for each width; nan without any pixel."""
        return np.array([self.at(width).pixel_accuracy() for width in self.widths])

    def iou(self) -> np.ndarray:
        """W×K intersections over unions by width and class; nan for absent classes."""
        return np.array([self.at(width).iou() for width in self.widths])

    def mean_iou(self) -> np.ndarray:
        """The mean IoU for each width over the classes that are not absent in its band."""
        return np.array([self.at(width).mean_iou() for width in self.widths])

    def __repr__(self) -> str:
        return f"<Trimap of {self.num_classes} classes around {self.around}, widths {self.widths.tolist()}>"


def boundary_f1(
    prediction: Any, target: Any, num_classes: int, tolerance: float = 0.0075, ignore_index: int = 255
) -> np.ndarray:
    """K boundary F1 scores of an image or a batch; arguments, rules and errors: :class:`BoundaryF1`.

    >>> boundary_f1([[0, 0, 1, 1]], [[0, 1, 1, 1]], num_classes=2, tolerance=0)
    array([0., 0.])
    """
    score = BoundaryF1(num_classes, tolerance, ignore_index)
    score.update(prediction, target)
    return score.f1()


def boundary_iou(
    prediction: Any, target: Any, num_classes: int, width: float = 0.02, ignore_index: int = 255
) -> np.ndarray:
    """K boundary IoUs of an image or a batch; arguments, rules and errors: :class:`BoundaryIoU`.

    >>> boundary_iou([[0, 0, 1, 1]], [[0, 1, 1, 1]], num_classes=2).round(2)
    array([0.5 , 0.67])
    """
    score = BoundaryIoU(num_classes, width, ignore_index)
    score.update(prediction, target)
    return score.iou()


def _images(maps: LabelMaps, num_classes: int) -> Iterator[LabelMaps]:
    """Every image of a batch, with the classes that it has."""
    if maps.target.ndim == 2:
        yield maps
        return
    for prediction, target in zip(maps.prediction, maps.target, strict=True):
        counts = [np.bincount(labels.ravel(), minlength=num_classes + 1) for labels in (prediction, target)]
        yield LabelMaps(prediction, target, (counts[0] + counts[1])[:num_classes] > 0)


def _f1(matched: np.ndarray, points: np.ndarray, in_both: bool) -> float:
    """F1 of one class in one image, from the pixels of both outlines; see :class:`BoundaryF1`."""
    if not points.any():
        return float(in_both)
    if not matched.all():
        return 0.0
    precision, recall = matched / points
    return float(2 * precision * recall / (precision + recall))


def _band(labels: np.ndarray, ignored: np.ndarray, steps: int, num_classes: int) -> np.ndarray:
    """Labels where another class or the image's end is within ``steps``, else K.

    A minimum and a maximum over a square show for all classes at once whether there is another one. In the
    minimum an ignored pixel is K, in the maximum 0: so it is never the one that differs.
    """
    import cv2  # not needed to read scores

    square = np.ones((3, 3), np.uint8)
    least = cv2.erode(labels, square, iterations=steps)
    most = cv2.dilate(np.where(ignored, 0, labels).astype(labels.dtype), square, iterations=steps)
    near = least != most
    near[:steps] = near[-steps:] = near[:, :steps] = near[:, -steps:] = True
    return np.where(near, labels, num_classes).astype(labels.dtype)


def _beside_another_class(labels: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Whether one of a pixel's 4 neighbours has another class, both not ignored."""
    beside = np.zeros(labels.shape, bool)
    for here, there in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        differ = (labels[here] != labels[there]) & ~ignored[here] & ~ignored[there]
        beside[here] |= differ
        beside[there] |= differ
    return beside


def _in_pixels(width: float, shape: tuple[int, ...]) -> float:
    """Pixels, from pixels or a share of the diagonal."""
    return width if width >= 1 else width * math.hypot(*shape)


def _check_width(name: str, width: float, zero: bool = True) -> None:
    if not 0 <= width < math.inf or (width == 0 and not zero):  # also nan
        least = "at least 0" if zero else "above 0"
        raise UsageError(
            f"{name} is a share of the diagonal below 1, or pixels, {least} and finite, got {width!r}"
        )


def _check_same(one: Any, other: Any, *names: str) -> None:
    for name in names:
        if getattr(one, name) != getattr(other, name):
            raise DataError(
                f"cannot merge a {type(one).__name__} of {name} {getattr(other, name)} "
                f"into one of {name} {getattr(one, name)}"
            )
