"""Are small things found as well as large ones? IoU by the size of the true regions.

A region is a 4-connected area of one class in the target. Its prediction is every predicted region of the
class that touches it, without the parts that lie on other true regions of the class (they are judged
there) or on ignored pixels. The IoU of a size is the mean over its regions, so that a class of many small
things counts by things and not by pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from pixelwise.errors import DataError, UsageError

COCO_SIZES = (32 * 32, 96 * 96)
"""Areas in pixels where small ends and large begins, as in COCO."""


class SizeIoU:
    """Sums of region IoUs by class and size, added up over a whole data set.

    Parameters
    ----------
    num_classes
        K; ids are 0..K-1.
    limits
        L increasing areas in pixels between the L+1 sizes: a region of ``limits[0]`` pixels or more is
        no longer of the first size.
    ignore_index
        The target id of the pixels that do not count.

    Attributes
    ----------
    regions
        K×(L+1) int64 true regions.
    sums
        K×(L+1) float64 sums of their IoUs.

    Raises
    ------
    UsageError
        The limits do not increase.

    Examples
    --------
    >>> sizes = SizeIoU(2, limits=(3,))
    >>> sizes.update([[1, 1, 0, 0, 0, 1]], [[1, 1, 0, 1, 1, 1]])
    >>> sizes.iou()[1]
    array([1.        , 0.33333333])
    """

    def __init__(self, num_classes: int, limits: Sequence[int] = COCO_SIZES, ignore_index: int = 255) -> None:
        if list(limits) != sorted(set(limits)):
            raise UsageError(f"sizes need increasing limits, found {list(limits)}")
        self.limits = tuple(limits)
        self.ignore_index = ignore_index
        self.regions = np.zeros((num_classes, len(self.limits) + 1), np.int64)
        self.sums = np.zeros(self.regions.shape)

    def update(self, prediction: Any, target: Any) -> None:
        """Add the regions of one image; H×W class ids each, else DataError."""
        predicted, true = np.asarray(prediction), np.asarray(target)
        if predicted.shape != true.shape or true.ndim != 2:
            shapes = "x".join(map(str, predicted.shape)), "x".join(map(str, true.shape))
            raise DataError(
                f"prediction and target must be HxW of one size, found {shapes[0]} and {shapes[1]}"
            )
        known = true != self.ignore_index
        for class_id in np.unique(true[known]):
            if not 0 <= class_id < len(self.regions):
                raise DataError(f"the target holds id {class_id}, expected 0..{len(self.regions) - 1}")
            areas, ious = _region_ious((predicted == class_id) & known, true == class_id)
            size = np.searchsorted(self.limits, areas, side="right")
            np.add.at(self.regions[class_id], size, 1)
            np.add.at(self.sums[class_id], size, ious)

    def merge(self, other: SizeIoU) -> None:
        """Add the sums of another one; other classes or limits raise DataError."""
        if other.limits != self.limits or len(other.regions) != len(self.regions):
            raise DataError("cannot merge IoUs of other sizes or another number of classes")
        self.regions += other.regions
        self.sums += other.sums

    def iou(self) -> np.ndarray:
        """K×(L+1) mean IoUs of the regions of each class and size, nan where there is none."""
        return self.sums / np.where(self.regions > 0, self.regions, np.nan)

    def mean_iou(self) -> np.ndarray:
        """L+1 means of :meth:`iou` over the classes that have regions of the size, nan where none has."""
        present = self.regions > 0
        sums = np.where(present, np.nan_to_num(self.iou()), 0).sum(axis=0)
        return sums / np.where(present.any(axis=0), present.sum(axis=0), np.nan)


def _region_ious(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area and IoU of every true region of one class."""
    count, regions = cv2.connectedComponents(true.astype(np.uint8), connectivity=4)
    found, parts = cv2.connectedComponents(predicted.astype(np.uint8), connectivity=4)
    areas = np.bincount(regions.ravel(), minlength=count)
    both = predicted & true
    pairs = np.unique(regions[both].astype(np.int64) * found + parts[both])
    touching, part = pairs // found, pairs % found
    hits = np.bincount(regions[both], minlength=count)
    # What a predicted region has outside of all true ones counts against each region that it touches.
    outside = np.bincount(parts[predicted & ~true], minlength=found)
    extra = np.bincount(touching, outside[part], minlength=count)
    return areas[1:], hits[1:] / (areas[1:] + extra[1:])
