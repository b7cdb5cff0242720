"""Average precision of instances by COCO's protocol: masks, boxes, or masks and their boundaries.

Sources: the protocol at https://cocodataset.org/#detection-eval and its reference, pycocotools
(github.com/cocodataset/cocoapi), whose tables are reproduced; boundaries: Cheng et al., CVPR 2021
(https://arxiv.org/abs/2103.16562) and github.com/bowenc0221/boundary-iou-api, with the same numbers as
github.com/MiXaiLL76/faster_coco_eval.

Departures, all in what is taken in and none in the numbers: what is undefined is nan (not -1); an annotation
may have the id 0, which pycocotools takes for "not matched"; the area of a detected mask is that of the mask,
also when its record has a box, where pycocotools would use the box; truths that are merely to be ignored are
heeded (pycocotools overwrites their flag with the crowd's). A boundary of k + 1/2 pixels is rounded to even,
as in the paper's code; faster_coco_eval computes in single precision and mostly gets k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from pixelwise.errors import DataError, Problem, UsageError, unknown_name
from pixelwise.metrics.instances import KINDS, Instances, Kind, Packed, join_packed, pack

if TYPE_CHECKING:
    from pixelwise.kernels.mask_iou import Groups
    from pixelwise.kernels.spans import Spans

COCO_THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
COCO_AREAS: dict[str, tuple[float, float]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""Pixels; both ends count."""
COCO_LIMITS = (1, 10, 100)
RECALLS = np.linspace(0.0, 1.0, 101)

ImageId = int | str


class InstanceAveragePrecision:
    """Collects instances image by image, then matches and scores them all at once.

    Parameters
    ----------
    num_classes
        K, the number of classes; ids are 0..K-1.
    kind
        ``"mask"``, ``"box"``, or ``"boundary"``: the lesser one of the IoU of masks and of their boundaries.
    iou
        The overlap from which a detection is a hit: a number, several, or ``"coco"`` for .50, .55, ... .95.
    areas
        Ranges of areas in pixels by name; both ends count.
    max_detections
        How many detections of a class count in an image; those with the highest scores do.
    dilation
        The width of a boundary as a share of the image's diagonal.

    Raises
    ------
    UsageError
        An option cannot be.

    Notes
    -----
    In each image detections of a class choose by falling score among the truths that are still free the one
    they overlap most, at least by the threshold. Truths outside the area range, ignored ones and crowds come
    second, and a detection that takes one of them counts neither as right nor as wrong; nor does a detection
    without a truth that is itself outside the range. Equal scores go by image (see :meth:`update`), then by
    their order in it; of equal overlaps the last one is taken.

    Examples
    --------
    >>> true = Instances(labels=[0, 1], boxes=[[0, 0, 10, 10], [20, 0, 30, 10]])
    >>> found = Instances(labels=[0, 1], boxes=[[0, 0, 10, 9], [40, 0, 50, 10]], scores=[0.9, 0.8])
    >>> metric = InstanceAveragePrecision(2, kind="box", iou=0.5)
    >>> metric.update(found, true)
    >>> metric.compute().average_precision().round(6)
    array([1., 0.])
    """

    def __init__(
        self,
        num_classes: int,
        kind: Kind = "mask",
        *,
        iou: float | Sequence[float] | str = "coco",
        areas: Mapping[str, tuple[float, float]] = COCO_AREAS,
        max_detections: Sequence[int] = COCO_LIMITS,
        dilation: float = 0.02,
    ) -> None:
        if num_classes < 1:
            raise UsageError(f"average precision needs at least one class, got num_classes={num_classes}")
        if kind not in KINDS:
            raise unknown_name("kind", kind, KINDS)
        if not areas or any(not 0 <= low <= high for low, high in areas.values()):
            raise UsageError(f"areas must be {{name: (least, most)}} in pixels, got {dict(areas)}")
        if not max_detections or min(max_detections) < 1:
            raise UsageError(f"max_detections must be numbers from 1, got {tuple(max_detections)}")
        if not 0 < dilation < 1:
            raise UsageError(f"dilation is a share of the diagonal between 0 and 1, got {dilation}")
        self.num_classes = num_classes
        self.kind = kind
        self.thresholds = as_thresholds(iou)
        self.areas = dict(areas)
        self.max_detections = tuple(sorted(max_detections))
        self.dilation = dilation
        self.names: tuple[str, ...] | None = None
        self.problems: tuple[Problem, ...] = ()
        self._images: list[ImageId | None] = []
        self._known: set[ImageId] = set()
        self._sizes: list[tuple[int, int]] = []
        self._found: list[Packed] = []
        self._true: list[Packed] = []

    @classmethod
    def from_coco(
        cls, truth: str | Path, detections: str | Path, kind: Kind = "mask", **options: Any
    ) -> InstanceAveragePrecision:
        """Everything in two of COCO's files.

        Parameters
        ----------
        truth
            A JSON file with ``images``, ``annotations`` and ``categories``. Outlines are drawn as the COCO
            API draws them. Class ids are the positions of the categories by rising id; ``names`` has their
            names.
        detections
            A JSON file with a list of results (``image_id``, ``category_id``, ``score`` and ``segmentation``
            or ``bbox``), or one with such ``annotations``.
        kind, **options
            As for the class.

        Raises
        ------
        DataError
            A file or a record of it is not what it should be. Records whose category or image the truth does
            not list (of detections: only the category) are left out and named in ``problems``.

        Examples
        --------
        >>> import json, tempfile
        >>> folder, box = Path(tempfile.mkdtemp()), [2.0, 3.0, 10.0, 8.0]
        >>> image, cat = {"id": 7, "width": 40, "height": 30}, {"id": 3, "name": "cat"}
        >>> one = {"image_id": 7, "category_id": 3, "bbox": box}
        >>> truth = {"images": [image], "categories": [cat], "annotations": [one]}
        >>> _ = (folder / "truth.json").write_text(json.dumps(truth))
        >>> _ = (folder / "found.json").write_text(json.dumps([one | {"score": 0.5}]))
        >>> metric = InstanceAveragePrecision.from_coco(folder / "truth.json", folder / "found.json", "box")
        >>> metric.names, round(metric.compute().summary()["AP"], 6)
        (('cat',), 1.0)
        """
        from pixelwise.metrics.coco_files import read_results

        if kind not in KINDS:
            raise unknown_name("kind", kind, KINDS)
        content = read_results(Path(truth), Path(detections), kind)
        metric = cls(max(1, len(content.names)), kind, **options)
        metric.names, metric.problems = content.names, content.problems
        metric._images, metric._known = list(content.images), set(content.images)
        metric._sizes = content.sizes
        metric._true, metric._found = [content.true], [content.found]
        return metric

    def update(
        self,
        prediction: Instances,
        target: Instances,
        image: ImageId | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Add an image.

        Parameters
        ----------
        prediction, target
            Its instances; either may have none.
        image
            Its id, a number or a name. It decides among equal scores, the lowest first; without ids, which
            then no image may have, the order of the updates does.
        size
            Its (height, width); needed where the masks are bitmaps of :mod:`pixelwise.shapes`.

        Raises
        ------
        DataError
            Something has another length, type, size or range than it should; nothing is added. Whether
            compressed run lengths can be read turns out in :meth:`compute`, which reads those of all images
            at once.
        """
        self._refuse_images([image])
        number = len(self._images)
        name = f"image {number if image is None else image}"
        judged = self.kind, self.num_classes, number
        true, size = pack(target, False, *judged, size, f"{name}: the target")
        found, size = pack(prediction, True, *judged, size, f"{name}: the prediction")
        self._add_images([image], [size or (0, 0)])
        self._true.append(true)
        self._found.append(found)

    def merge(self, other: InstanceAveragePrecision) -> None:
        """Add the images of another one; DataError when its classes, kind or image ids do not go together."""
        if (other.num_classes, other.kind) != (self.num_classes, self.kind):
            raise DataError(
                f"cannot merge {other.kind} AP of {other.num_classes} classes into {self.kind} AP of "
                f"{self.num_classes}"
            )
        self._refuse_images(other._images)
        shift = len(self._images)
        self._add_images(other._images, other._sizes)
        self._true += [part._replace(image=part.image + shift) for part in other._true]
        self._found += [part._replace(image=part.image + shift) for part in other._found]
        self.problems += other.problems

    def compute(self) -> InstanceScores:
        """Match and score everything that was added.

        Raises
        ------
        DataError
            Compressed run lengths are damaged or do not fit their image; names it.
        """
        from pixelwise.kernels.mask_iou import Tables, match_classes

        areas = np.array(list(self.areas.values()), np.float64)
        limits = np.array(self.max_detections, np.int64)
        if self._images:
            true, found = self._joined("target"), self._joined("prediction")
            position = _positions(self._images)
            arranged = _arrange(true, found, position, self.num_classes, self.max_detections[-1])
            true, found = arranged.true, arranged.found
            tables = match_classes(
                arranged.groups, self._overlaps(arranged), true.crowd, true.excused, true.areas,
                found.areas, found.scores, arranged.rank, arranged.place,
                np.array(self.thresholds), areas, limits, RECALLS,
            )  # fmt: skip
        else:
            shape = (len(self.thresholds), len(RECALLS), self.num_classes, len(areas), len(limits))
            nothing = np.full(shape, np.nan)
            tables = Tables(nothing, nothing[:, 0].copy(), nothing.copy())
        return InstanceScores(
            tables.precision, tables.recall, tables.scores,
            self.thresholds, tuple(self.areas), self.max_detections, self.names,
        )  # fmt: skip

    def _joined(self, which: str) -> Packed:
        """All targets or all predictions; kept as one from here on, so that no text is read twice."""
        from pixelwise.kernels.spans import BadMaskError

        parts = self._true if which == "target" else self._found
        heights, widths = np.array(self._sizes, np.int64).T
        try:
            parts[:] = [join_packed(parts, heights, widths)]
        except BadMaskError as error:
            image = np.concatenate([part.image for part in parts])
            own = int(image[error.index])
            name = own if self._images[own] is None else self._images[own]
            mask = int((image[: error.index] == own).sum())
            raise DataError(f"image {name}: the {which}: mask {mask}: {error.reason}") from None
        return parts[0]

    def _overlaps(self, arranged: _Arranged) -> np.ndarray:
        from pixelwise.kernels.mask_iou import boundary_overlaps, box_overlaps, mask_overlaps

        groups, true, found = arranged.groups, arranged.true, arranged.found
        least = self.thresholds[0]
        if self.kind == "box":
            boxes = cast(np.ndarray, found.boxes), cast(np.ndarray, true.boxes)
            return box_overlaps(groups, *boxes, true.crowd)
        masks = cast("Spans", found.masks), cast("Spans", true.masks)
        if self.kind == "mask":
            return mask_overlaps(groups, *masks, true.crowd, least)
        sizes = np.array(self._sizes, np.int64)
        diagonals = np.sqrt((sizes**2).sum(1).astype(np.float64))
        widths = np.maximum(np.rint(self.dilation * diagonals), 1).astype(np.int64)
        of_boundaries = [(sizes[side.image, 0], widths[side.image]) for side in (found, true)]
        return boundary_overlaps(groups, *masks, true.crowd, least, *of_boundaries)

    def _add_images(self, images: Sequence[ImageId | None], sizes: Sequence[tuple[int, int]]) -> None:
        self._images += images
        self._known.update(image for image in images if image is not None)
        self._sizes += sizes

    def _refuse_images(self, images: Sequence[ImageId | None]) -> None:
        for image in images:
            if image is not None and (isinstance(image, bool) or not isinstance(image, int | str)):
                raise DataError(f"an image's id must be a number or a name, found {type(image).__name__}")
            if image in self._known:
                raise DataError(f"image {image} was added before: add every image once")
        if len({type(image) for image in (*self._images[:1], *images)}) > 1:
            raise DataError("either all images have ids of one kind, numbers or names, or none has")

    def __repr__(self) -> str:
        found, true = (sum(len(part.labels) for part in side) for side in (self._found, self._true))
        return (
            f"InstanceAveragePrecision({self.num_classes} classes, {self.kind}, "
            f"{len(self._images):,} images, {found:,} detections, {true:,} truths)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class InstanceScores:
    """COCO's tables, and the numbers that are read from them.

    **Absent classes.** A class without a truth that counts (in the area range) is nan and leaves the mean,
    whatever was detected. A class that was never detected scores 0.

    Attributes
    ----------
    precision, scores
        T×R×K×A×M float64, by threshold, recall (0, .01, ... 1), class, area range and limit: the highest
        precision at this recall or a higher one (0 where it is not reached), and the score at this recall.
    recall
        T×K×A×M float64.
    thresholds, areas, max_detections
        What T, A and M stand for.
    names
        Names of the classes, where they are known.
    """

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray
    thresholds: tuple[float, ...]
    areas: tuple[str, ...]
    max_detections: tuple[int, ...]
    names: tuple[str, ...] | None = None

    def average_precision(
        self, iou: float | None = None, area: str | None = None, max_detections: int | None = None
    ) -> np.ndarray:
        """K means of precision over the recalls and thresholds, nan for absent classes.

        Parameters
        ----------
        iou
            One of ``thresholds``; None for all of them.
        area
            One of ``areas``; None for the first.
        max_detections
            One of ``max_detections``; None for the highest.

        Raises
        ------
        UsageError
            It is none of them.
        """
        a, m = self._column(area, max_detections)
        return _means(self.precision[self._rows(iou), :, :, a, m], axis=(0, 1))

    def mean_average_precision(
        self, iou: float | None = None, area: str | None = None, max_detections: int | None = None
    ) -> float:
        """The mean of :meth:`average_precision` over the classes that are not absent."""
        return float(_means(self.average_precision(iou, area, max_detections), axis=0))

    def average_recall(
        self, iou: float | None = None, area: str | None = None, max_detections: int | None = None
    ) -> np.ndarray:
        """K means of the highest recall over the thresholds, nan for absent classes; arguments as above."""
        a, m = self._column(area, max_detections)
        return _means(self.recall[self._rows(iou), :, a, m], axis=0)

    def mean_average_recall(
        self, iou: float | None = None, area: str | None = None, max_detections: int | None = None
    ) -> float:
        """The mean of :meth:`average_recall` over the classes that are not absent."""
        return float(_means(self.average_recall(iou, area, max_detections), axis=0))

    def summary(self) -> dict[str, float]:
        """COCO's numbers by name, as far as thresholds, areas and limits have them.

        AP, AP50, AP75, AP_small, AP_medium, AP_large, AR_1, AR_10, AR_100, AR_small, AR_medium, AR_large.
        """
        numbers = {"AP": self.mean_average_precision()}
        for iou in (0.5, 0.75):
            if len(self.thresholds) > 1 and _index(self.thresholds, iou) is not None:
                numbers[f"AP{100 * iou:.0f}"] = self.mean_average_precision(iou)
        for area in self.areas[1:]:
            numbers[f"AP_{area}"] = self.mean_average_precision(area=area)
        for limit in self.max_detections:
            numbers[f"AR_{limit}"] = self.mean_average_recall(max_detections=limit)
        for area in self.areas[1:]:
            numbers[f"AR_{area}"] = self.mean_average_recall(area=area)
        return numbers

    def _rows(self, iou: float | None) -> slice:
        if iou is None:
            return slice(None)
        row = _index(self.thresholds, iou)
        if row is None:
            raise UsageError(
                f"no threshold {iou}: computed were {', '.join(f'{t:.4g}' for t in self.thresholds)}"
            )
        return slice(row, row + 1)

    def _column(self, area: str | None, max_detections: int | None) -> tuple[int, int]:
        if area is not None and area not in self.areas:
            raise unknown_name("area range", area, self.areas)
        if max_detections is not None and max_detections not in self.max_detections:
            raise UsageError(f"max_detections {max_detections} was not computed, only {self.max_detections}")
        return (
            0 if area is None else self.areas.index(area),
            -1 if max_detections is None else self.max_detections.index(max_detections),
        )


def as_thresholds(iou: float | Sequence[float] | str) -> tuple[float, ...]:
    """The overlaps that ``iou`` stands for, rising.

    >>> as_thresholds(0.5), len(as_thresholds("coco"))
    ((0.5,), 10)
    """
    if isinstance(iou, str):
        if iou != "coco":
            raise UsageError(f"iou must be a number, several, or 'coco', got '{iou}'")
        return COCO_THRESHOLDS
    try:
        thresholds = tuple(sorted(float(t) for t in (iou if isinstance(iou, Sequence) else [iou])))
    except (TypeError, ValueError):
        thresholds = ()
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise UsageError(f"iou must be numbers above 0 and at most 1, got {iou}")
    return thresholds


class _Arranged(NamedTuple):
    """Instances by class and image, detections by falling score within; the kernel explains the rest."""

    groups: Groups
    true: Packed
    found: Packed
    rank: np.ndarray
    place: np.ndarray


def _arrange(true: Packed, found: Packed, position: np.ndarray, num_classes: int, limit: int) -> _Arranged:
    from pixelwise.kernels.mask_iou import Groups

    images = len(position)
    true_key = true.labels * images + position[true.image]
    found_key = found.labels * images + position[found.image]
    true_order = np.argsort(true_key, kind="stable")
    found_order = np.lexsort((-found.scores, found_key))  # stable: equal scores stay in their order
    true_key, found_key = true_key[true_order], found_key[found_order]
    rank = np.arange(len(found_key)) - np.searchsorted(found_key, found_key)
    kept = rank < limit
    found_order, found_key, rank = found_order[kept], found_key[kept], rank[kept]
    true, found = _take(true, true_order), _take(found, found_order)

    keys = np.union1d(true_key, found_key)
    found_begin = np.append(np.searchsorted(found_key, keys), len(found_key))
    true_begin = np.append(np.searchsorted(true_key, keys), len(true_key))
    cells = np.append(0, np.cumsum(np.diff(found_begin) * np.diff(true_begin)))
    of_class = np.searchsorted(keys, np.arange(num_classes + 1) * images)
    groups = Groups(*(column.astype(np.int64) for column in (of_class, found_begin, true_begin, cells)))

    by_score = np.lexsort((-found.scores, found.labels))
    place = np.empty(len(by_score), np.int64)
    place[by_score] = np.arange(len(by_score))
    place -= groups.found[groups.of_class[found.labels]]
    return _Arranged(groups, true, found, rank, place)


def _take(side: Packed, order: np.ndarray) -> Packed:
    columns = {
        name: column.take(order, axis=0) if name != "masks" else column.take(order)
        for name, column in side._asdict().items()
        if column is not None
    }
    return side._replace(**columns)


def _positions(images: Sequence[ImageId | None]) -> np.ndarray:
    """The place of each image by its id, or its own where there are no ids."""
    if images[0] is None:
        return np.arange(len(images))
    places = np.empty(len(images), np.int64)
    places[sorted(range(len(images)), key=lambda i: cast(Any, images[i]))] = np.arange(len(images))
    return places


def _means(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Means of what is not nan; nan where nothing is left."""
    number = (~np.isnan(values)).sum(axis)
    total = np.nansum(values, axis)
    return np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0)


def _index(values: Sequence[float], value: float) -> int | None:
    return next((i for i, own in enumerate(values) if abs(own - value) < 1e-9), None)
