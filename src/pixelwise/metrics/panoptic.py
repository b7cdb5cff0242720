"""Panoptic quality: how well segments are found (RQ) and how well they are drawn (SQ), in one number.

Source: Kirillov, He, Girshick, Rother and Dollár, "Panoptic Segmentation", CVPR 2019
(https://arxiv.org/abs/1801.00868); void and crowds as in its reference, github.com/cocodataset/panopticapi.

A segment is all pixels of one instance of a thing, or all pixels of a stuff class. A found and a true segment
of one class match when their IoU is above one half, which no second one can then have. With TP matches, FP
other found and FN other true segments of a class

    PQ = sum of the IoU of the matches / (TP + FP/2 + FN/2) = SQ * RQ
    SQ = sum of the IoU of the matches / TP            RQ = TP / (TP + FP/2 + FN/2)

Departures: a class that is neither true nor found is nan (there: 0) and leaves the means, as there. All
crowds of a class in an image are one region; there, only the last one of them is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import numpy as np

from pixelwise.errors import DataError, UsageError, unknown_name

Of = Literal["all", "things", "stuff"]
_LARGEST = 2**31 - 1


def panoptic_quality(
    prediction: tuple[Any, Any],
    target: tuple[Any, Any],
    num_classes: int,
    things: Collection[int],
    ignore_index: int = 255,
) -> PanopticQuality:
    """Panoptic quality of an image, or of several of one size.

    Parameters
    ----------
    prediction, target
        (class ids, instance ids), both H×W or B×H×W integers, as :meth:`PanopticQuality.update` explains.
    num_classes, things, ignore_index
        As for :class:`PanopticQuality`, which also adds up images of any size.

    Examples
    --------
    >>> classes, instances = np.array([[0, 1, 1, 1]]), np.array([[0, 1, 2, 2]])
    >>> quality = panoptic_quality((classes, np.array([[0, 1, 2, 0]])), (classes, instances), 2, things=[1])
    >>> quality.pq(), quality.mean_pq("things")
    (array([1. , 0.5]), 0.5)
    """
    quality = PanopticQuality(num_classes, things, ignore_index)
    quality.update(prediction, target)
    return quality


class PanopticQuality:
    """Matches of segments, added up over a data set.

    **Absent classes.** A class without any segment, true or found, is nan and leaves the means. One that is
    there and never matched has PQ, SQ and RQ 0 and counts.

    Parameters
    ----------
    num_classes
        K, the number of classes; ids are 0..K-1.
    things
        The ids of the classes that come in instances; the others are stuff.
    ignore_index
        The class id of void: in the target unlabelled pixels, in the prediction pixels without a segment.

    Attributes
    ----------
    true_positives, false_positives, false_negatives
        K int64 segments.
    iou_sum
        K float64, the IoU of the true positives added up.

    Raises
    ------
    UsageError
        There is not even one class, or a thing is none of them.
    """

    def __init__(self, num_classes: int, things: Collection[int], ignore_index: int = 255) -> None:
        if num_classes < 1:
            raise UsageError(f"panoptic quality needs at least one class, got num_classes={num_classes}")
        for thing in things:
            if not 0 <= thing < num_classes:
                raise UsageError(f"things holds class id {thing}, expected 0..{num_classes - 1}")
        self.num_classes = num_classes
        self.is_thing = np.isin(np.arange(num_classes), list(things))
        self.ignore_index = ignore_index
        self.true_positives = np.zeros(num_classes, np.int64)
        self.false_positives = np.zeros(num_classes, np.int64)
        self.false_negatives = np.zeros(num_classes, np.int64)
        self.iou_sum = np.zeros(num_classes)

    def update(self, prediction: tuple[Any, Any], target: tuple[Any, Any]) -> None:
        """Add an image, or several of one size.

        Parameters
        ----------
        prediction, target
            (class ids, instance ids), both H×W or B×H×W integers. Instance ids tell the segments of one thing
            class apart, from 1 up; 0 means none: in the target a crowd, in the prediction no segment. Of
            stuff they are not looked at.

        Raises
        ------
        DataError
            Shapes differ, values are no integers, or an id is out of range; nothing is added.

        Notes
        -----
        Void pixels of the target leave the union of a found segment. A found segment without match does not
        count as false when more than half of it is void or crowd of its own class.
        """
        found, true = self._maps(prediction, "prediction"), self._maps(target, "target")
        if found[0].shape != true[0].shape:
            raise DataError(
                f"the prediction has the shape {found[0].shape} and the target {true[0].shape}: "
                "give both one size"
            )
        batches = [maps[None] if maps.ndim == 2 else maps for maps in (*found, *true)]
        for image in zip(*batches, strict=True):
            self._add_image(*image)

    def merge(self, other: PanopticQuality) -> None:
        """Add the segments of another one; DataError when its classes or things are others."""
        if other.num_classes != self.num_classes or (other.is_thing != self.is_thing).any():
            raise DataError("cannot merge panoptic qualities of other classes or things")
        self.true_positives += other.true_positives
        self.false_positives += other.false_positives
        self.false_negatives += other.false_negatives
        self.iou_sum += other.iou_sum

    def pq(self) -> np.ndarray:
        """K panoptic qualities, nan for absent classes."""
        return _ratios(self.iou_sum, self._weight)

    def sq(self) -> np.ndarray:
        """K mean IoUs of the matches (segmentation quality), 0 without any; nan for absent classes."""
        mean = _ratios(self.iou_sum, self.true_positives)
        return np.where((self.true_positives == 0) & (self._weight > 0), 0.0, mean)

    def rq(self) -> np.ndarray:
        """K F1 scores of finding segments (recognition quality), nan for absent classes."""
        return _ratios(self.true_positives, self._weight)

    def mean_pq(self, of: Of = "all") -> float:
        """The mean of :meth:`pq` over classes that are not absent: all, things or stuff."""
        return self._mean(self.pq(), of)

    def mean_sq(self, of: Of = "all") -> float:
        """The mean of :meth:`sq` over the same classes."""
        return self._mean(self.sq(), of)

    def mean_rq(self, of: Of = "all") -> float:
        """The mean of :meth:`rq` over the same classes."""
        return self._mean(self.rq(), of)

    def __repr__(self) -> str:
        found = int((self.true_positives + self.false_positives).sum())
        true = int((self.true_positives + self.false_negatives).sum())
        return f"PanopticQuality({self.num_classes} classes, {found:,} segments found, {true:,} true)"

    @property
    def _weight(self) -> np.ndarray:
        return self.true_positives + (self.false_positives + self.false_negatives) / 2

    def _mean(self, values: np.ndarray, of: Of) -> float:
        chosen = {"all": np.ones_like(self.is_thing), "things": self.is_thing, "stuff": ~self.is_thing}
        if of not in chosen:
            raise unknown_name("group of classes", of, chosen)
        present = values[chosen[of] & ~np.isnan(values)]
        return float(present.mean()) if present.size else float("nan")

    def _maps(self, maps: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Class ids and instance ids, checked."""
        if not isinstance(maps, tuple | list) or len(maps) != 2:
            raise UsageError(f"the {what} must be a pair (class ids, instance ids)")
        classes, instances = (np.asarray(map_) for map_ in maps)
        if classes.dtype.kind not in "ui" or instances.dtype.kind not in "ui":
            raise DataError(
                f"the {what} must hold integer ids but holds {classes.dtype} (classes) and {instances.dtype} "
                "(instances)"
            )
        if classes.shape != instances.shape or classes.ndim not in (2, 3):
            raise DataError(
                f"the {what} has classes of the shape {classes.shape} and instances of {instances.shape}: "
                "give both H×W or B×H×W"
            )
        labelled = classes[classes != self.ignore_index]
        if labelled.size and not 0 <= labelled.min() <= labelled.max() < self.num_classes:
            wrong = labelled.min() if labelled.min() < 0 else labelled.max()
            raise DataError(
                f"the {what} holds class id {wrong}, expected 0..{self.num_classes - 1} "
                f"(or {self.ignore_index} for void)"
            )
        if instances.size and not 0 <= instances.min() <= instances.max() <= _LARGEST:
            wrong = instances.min() if instances.min() < 0 else instances.max()
            raise DataError(f"the {what} holds instance id {wrong}, expected 0..{_LARGEST}")
        return classes, instances

    def _add_image(
        self,
        found_class: np.ndarray,
        found_instance: np.ndarray,
        true_class: np.ndarray,
        true_instance: np.ndarray,
    ) -> None:
        maps = [own.reshape(-1) for own in (found_class, found_instance, true_class, true_instance)]
        if not maps[0].size:
            return
        # Whole runs of equal pixels from here on: there are far fewer of them.
        changes = np.zeros(maps[0].size, bool)
        changes[0] = True
        for own in maps:
            changes[1:] |= own[1:] != own[:-1]
        begin = np.flatnonzero(changes)
        pixels = np.diff(np.append(begin, maps[0].size))
        found_keys, found = np.unique(self._keys(maps[0][begin], maps[1][begin]), return_inverse=True)
        true_keys, true = np.unique(self._keys(maps[2][begin], maps[3][begin]), return_inverse=True)
        shared = np.bincount(found * len(true_keys) + true, pixels, len(found_keys) * len(true_keys))
        self._count(shared.reshape(len(found_keys), len(true_keys)), found_keys, true_keys)

    def _keys(self, classes: np.ndarray, instances: np.ndarray) -> np.ndarray:
        """One number for each segment: its class times 2^32, plus its instance; -1 for void."""
        classes = classes.astype(np.int64)
        void = classes == self.ignore_index
        thing = self.is_thing[np.where(void, 0, classes)]
        return np.where(void, -1, (classes << 32) + np.where(thing, instances.astype(np.int64), 0))

    def _count(self, shared: np.ndarray, found_keys: np.ndarray, true_keys: np.ndarray) -> None:
        """Match the segments of an image by the pixels they share."""
        found_class, found_whole = self._described(found_keys)
        true_class, true_whole = self._described(true_keys)
        same = found_class[:, None] == true_class[None, :]
        void = shared[:, true_keys < 0].sum(1)
        union = shared.sum(1)[:, None] - void[:, None] + shared.sum(0)[None, :] - shared
        iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        match = same & found_whole[:, None] & true_whole[None, :] & (iou > 0.5)
        found, true = np.nonzero(match)
        np.add.at(self.true_positives, true_class[true], 1)
        np.add.at(self.iou_sum, true_class[true], iou[found, true])

        missed = true_whole & ~match.any(0)
        np.add.at(self.false_negatives, true_class[missed], 1)
        excused = void + (shared * (same & (true_keys >= 0) & ~true_whole)).sum(1)
        wrong = found_whole & ~match.any(1) & (excused <= shared.sum(1) / 2)
        np.add.at(self.false_positives, found_class[wrong], 1)

    def _described(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The class of each key, and whether it is a segment: neither void nor a thing without instance."""
        classes = keys >> 32
        nameless = self.is_thing[np.maximum(classes, 0)] & (keys & 0xFFFFFFFF == 0)
        return classes, (keys >= 0) & ~nameless


def _ratios(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    empty = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=empty, where=np.asarray(denominator) != 0)
