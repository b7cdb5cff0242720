"""What an evaluation found: dataset-level numbers, scores per image, an interval, and their file.

The interval is a percentile bootstrap (Efron and Tibshirani 1993, chapter 13) over images, because the
pixels of one image are anything but independent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.errors import DataError, UsageError
from pixelwise.evaluation.details import Details
from pixelwise.io import write_json
from pixelwise.labels import LabelMap
from pixelwise.metrics import ConfusionMatrix
from pixelwise.metrics.confusion import intersection_over_union

_AT_ONCE = 4_000_000  # drawn image numbers held in memory at a time


@dataclass(frozen=True)
class ImageScore:
    """How one image came out, with what is needed to resample it.

    Attributes
    ----------
    index
        Its position in the data set.
    name, path
        What to call it, and its file ("" when it has none).
    pixels
        Pixels that count.
    pixel_accuracy, mean_iou
        Of this image alone; None when no pixel counts.
    classes
        C ids of the classes that occur in its target or prediction.
    correct, true, predicted
        C int64 pixel counts of these classes.
    """

    index: int
    name: str
    path: str
    pixels: int
    pixel_accuracy: float | None
    mean_iou: float | None
    classes: np.ndarray
    correct: np.ndarray
    true: np.ndarray
    predicted: np.ndarray

    @classmethod
    def from_counts(cls, index: int, name: str, path: str, counts: np.ndarray) -> ImageScore:
        """The score of one image from its K×K counts."""
        matrix = ConfusionMatrix.from_counts(counts)
        correct, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
        present = np.flatnonzero(true + predicted)
        return cls(
            index=index,
            name=name,
            path=path,
            pixels=int(counts.sum()),
            pixel_accuracy=_number(matrix.pixel_accuracy()),
            mean_iou=_number(matrix.mean_iou()),
            classes=present,
            correct=correct[present],
            true=true[present],
            predicted=predicted[present],
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description, the inverse of :meth:`from_dict`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()}

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> ImageScore:
        """Read what :meth:`to_dict` wrote."""
        counts = {
            key: np.array(description[key], np.int64) for key in ("classes", "correct", "true", "predicted")
        }
        return cls(**(description | counts))


@dataclass
class Evaluation:
    """A model's result on a data set.

    Attributes
    ----------
    labels
        The model's classes; all numbers are about them.
    confusion
        Counts over the whole data set. Its docstring has the rule for absent classes.
    images
        One score per evaluated image, in the order of the data set.
    name, split
        What the data set is called, and its split (None when it has none).
    unmatched
        Pixels by name of the data set's classes that the model does not know; these pixels were ignored.
    skipped
        Names of the images that were left out because they have no mask.
    seconds
        How long it took, reading and prediction included.
    details
        What :class:`~pixelwise.evaluation.details.Details` holds, when it was asked for.

    Examples
    --------
    >>> confusion = ConfusionMatrix.from_counts([[8, 2], [0, 0]])
    >>> result = Evaluation(LabelMap(("road", "car")), confusion, name="demo")
    >>> result.to_dict()["mean_iou"]
    0.4
    >>> result.to_dict()["per_class"]["car"]
    {'iou': 0.0, 'f1': 0.0, 'precision': 0.0, 'recall': None}
    """

    labels: LabelMap
    confusion: ConfusionMatrix
    images: list[ImageScore] = field(default_factory=list)
    name: str = "data"
    split: str | None = None
    unmatched: dict[str, int] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    seconds: float = 0.0
    details: dict[str, Any] | None = None

    @property
    def title(self) -> str:
        """The data set's name, with its split when it has one."""
        return f"{self.name} ({self.split})" if self.split else self.name

    def interval(self, samples: int = 1000, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """The bootstrap interval of the mean IoU, with images as the units that are drawn.

        Parameters
        ----------
        samples
            How many data sets of the same number of images are drawn with replacement.
        level
            The share of them inside the interval.
        seed
            Fixes the draws.

        Returns
        -------
        The lower and upper end; both nan without images. One image gives no width.

        Raises
        ------
        UsageError
            ``level`` is not between 0 and 1, or ``samples`` is not positive.
        """
        if not 0 < level < 1 or samples < 1:
            raise UsageError(f"an interval needs samples >= 1 and 0 < level < 1, found {samples} and {level}")
        if not self.images:
            return math.nan, math.nan
        iou = resampled_iou(
            counts_by_image(self.images, len(self.labels)), samples, np.random.default_rng(seed)
        )
        means = mean_over_present(iou)
        means = means[~np.isnan(means)]
        if not len(means):
            return math.nan, math.nan
        low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description without nan (None instead), the inverse of :meth:`from_dict`."""
        matrix = self.confusion
        columns = {
            "iou": matrix.iou(),
            "f1": matrix.f1(),
            "precision": matrix.precision(),
            "recall": matrix.recall(),
        }
        per_class = {
            name: {key: _number(values[position]) for key, values in columns.items()}
            for position, name in enumerate(self.labels.names)
        }
        return {
            "mean_iou": _number(matrix.mean_iou()),
            "mean_iou_interval": [_number(end) for end in self.interval()],
            "pixel_accuracy": _number(matrix.pixel_accuracy()),
            "frequency_weighted_iou": _number(matrix.frequency_weighted_iou()),
            "mean_f1": _number(matrix.mean_f1()),
            "mean_class_accuracy": _number(matrix.mean_class_accuracy()),
            "kappa": _number(matrix.kappa()),
            "per_class": per_class,
            "images": len(self.images),
            "confusion": matrix.counts.tolist(),
            "data": {"name": self.name, "split": self.split},
            "class_names": list(self.labels.names),
            "labels": self.labels.to_dict(),
            "unmatched": dict(self.unmatched),
            "skipped": list(self.skipped),
            "seconds": round(self.seconds, 3),
            "details": self.details,
            "per_image": [score.to_dict() for score in self.images],
        }

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> Evaluation:
        """Read what :meth:`to_dict` wrote."""
        labels = LabelMap.from_dict(description["labels"])
        return cls(
            labels=labels,
            confusion=ConfusionMatrix.from_counts(description["confusion"], labels.ignore),
            images=[ImageScore.from_dict(score) for score in description["per_image"]],
            name=description["data"]["name"],
            split=description["data"]["split"],
            unmatched=dict(description["unmatched"]),
            skipped=tuple(description["skipped"]),
            seconds=description["seconds"],
            details=description.get("details"),
        )

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_dict` as JSON, atomically."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Read what :meth:`save` wrote; anything else raises DataError."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DataError(f"{path}: no such evaluation") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: not an evaluation, or damaged ({error}); run the evaluation again"
            ) from None

    def text(self) -> str:
        """A plain table: a line per class ("-" where absent), then the totals and what was left out."""
        matrix = self.confusion
        columns = np.stack([matrix.iou(), matrix.f1(), matrix.precision(), matrix.recall()], axis=1)
        shares = matrix.counts.sum(axis=1) / max(int(matrix.counts.sum()), 1)
        width = max(len("class"), *(len(name) for name in self.labels.names))
        lines = [f"{'class':{width}} {'IoU':>7} {'F1':>7} {'precision':>9} {'recall':>7} {'of pixels':>9}"]
        for name, (iou, f1, precision, recall), share in zip(self.labels.names, columns, shares, strict=True):
            cells = f"{_percent(iou):>7} {_percent(f1):>7} {_percent(precision):>9} {_percent(recall):>7}"
            lines.append(f"{name:{width}} {cells} {_percent(share):>9}")
        low, high = self.interval()
        pixels = int(matrix.counts.sum())
        totals = [
            f"mean IoU {_percent(matrix.mean_iou())} (95 % interval {_percent(low)} to {_percent(high)})",
            f"pixel accuracy {_percent(matrix.pixel_accuracy())}, mean F1 {_percent(matrix.mean_f1())}, "
            f"frequency-weighted IoU {_percent(matrix.frequency_weighted_iou())}, "
            f"mean class accuracy {_percent(matrix.mean_class_accuracy())}, kappa {_percent(matrix.kappa())} "
            "(all in %)",
            *(Details(**self.details).lines() if self.details else ()),
            f"{self.title}: {len(self.images)} images, {pixels:,} pixels, {self.seconds:.1f} s",
        ]
        return "\n".join([*lines, "", *totals, *self.remarks()])

    def remarks(self) -> list[str]:
        """Sentences on what was left out: classes without a match, images without a mask; often none."""
        remarks = []
        if self.unmatched:
            listed = ", ".join(f"{name} ({pixels:,} pixels)" for name, pixels in self.unmatched.items())
            remarks.append(f"ignored, because the model does not know these classes: {listed}")
        if self.skipped:
            listed = ", ".join(self.skipped[:5]) + (", ..." if len(self.skipped) > 5 else "")
            remarks.append(f"skipped, because they have no mask: {len(self.skipped)} images ({listed})")
        return remarks


def counts_by_image(images: Sequence[ImageScore], num_classes: int) -> np.ndarray:
    """N×3×K pixels: correct, true, predicted."""
    sums = np.zeros((len(images), 3, num_classes))
    for row, score in zip(sums, images, strict=True):
        row[:, score.classes] = score.correct, score.true, score.predicted
    return sums


def mean_over_present(iou: np.ndarray) -> np.ndarray:
    """Means over the last axis without nan; nan where there is nothing else."""
    present = ~np.isnan(iou)
    return np.nansum(iou, axis=-1) / np.where(present.any(axis=-1), present.sum(axis=-1), np.nan)


def resampled_iou(sums: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """IoUs of data sets drawn with replacement, image by image.

    Parameters
    ----------
    sums
        N×3×K pixels by image: correct, true, predicted.
    samples
        S, how many data sets of N images are drawn.
    rng
        Equal generators give equal draws.

    Returns
    -------
    S×K IoUs, nan for classes that are absent from a drawn data set.
    """
    count = len(sums)
    found = []
    step = max(1, _AT_ONCE // count)
    for start in range(0, samples, step):
        size = min(step, samples - start)
        # A drawn data set is a vector of how often each image is in it.
        drawn = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        totals = (times @ sums.reshape(count, -1)).reshape(size, 3, -1)
        found.append(intersection_over_union(totals[:, 0], totals[:, 1], totals[:, 2]))
    return np.concatenate(found)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
