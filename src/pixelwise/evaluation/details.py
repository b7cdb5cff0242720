"""What counts of pixels do not say: how outlines fit, which sizes are found, what confidence is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixelwise.errors import UsageError
from pixelwise.labels import LabelMap
from pixelwise.metrics import BoundaryF1, BoundaryIoU, Calibration, PixelAveragePrecision, SizeIoU, Trimap

_BANDS = (1, 2, 3, 5, 10, 20)  # pixels around outlines
_SCORE_BINS = 1000  # of the precision-recall curves


@dataclass(frozen=True)
class Details:
    """Numbers beside the confusion matrix, ready for JSON; None stands for a class or size that is absent.

    Attributes
    ----------
    boundary_f1, boundary_iou
        Means over the classes: outlines within 0.75 % of the image's diagonal (Csurka et al. 2013), and IoU
        of the bands along outlines, 2 % of the diagonal wide (Cheng et al. 2021).
    per_class
        ``{name: {"boundary_f1", "boundary_iou", "average_precision", "small", "medium", "large"}}``; average
        precision is that of the pixel scores, the sizes are IoUs of true regions as COCO divides them.
    bands
        ``{"pixels": widths, "mean_iou": [...], "accuracy": [...]}`` around true outlines.
    sizes
        ``{"small": mean IoU of regions under 32², "medium": under 96², "large": the rest}``.
    calibration
        ``{"expected_error", "maximum_error", "confidence": [...], "accuracy": [...], "pixels": [...]}``.
    mean_average_precision
        Of the pixel scores, over the classes.
    """

    boundary_f1: float | None
    boundary_iou: float | None
    per_class: dict[str, dict[str, float | None]]
    bands: dict[str, list[float | None]]
    sizes: dict[str, float | None]
    calibration: dict[str, Any]
    mean_average_precision: float | None

    def to_dict(self) -> dict[str, Any]:
        """All of it."""
        return dict(vars(self))

    def lines(self) -> list[str]:
        """A few sentences for a terminal."""
        bands = ", ".join(
            f"{width:g} px {_percent(iou)}"
            for width, iou in zip(self.bands["pixels"], self.bands["mean_iou"], strict=True)
        )
        sizes = ", ".join(f"{size} {_percent(iou)}" for size, iou in self.sizes.items())
        error = self.calibration["expected_error"]
        return [
            f"outlines: boundary F1 {_percent(self.boundary_f1)}, boundary IoU {_percent(self.boundary_iou)}",
            f"mean IoU in a band around outlines: {bands}",
            f"mean IoU of regions by size: {sizes}",
            f"pixel scores: mean average precision {_percent(self.mean_average_precision)}, "
            f"expected calibration error {_percent(error)} (all in %)",
        ]


class DetailsCounter:
    """Adds the details of one image after another up; see :class:`Details`.

    Parameters
    ----------
    labels
        The model's classes.

    Raises
    ------
    UsageError
        There is only one class, so that no outline separates anything.
    """

    def __init__(self, labels: LabelMap) -> None:
        if len(labels) < 2:
            raise UsageError("details need at least two classes")
        count, ignore = len(labels), labels.ignore
        self.labels = labels
        self.outlines = BoundaryF1(count, ignore_index=ignore)
        self.along = BoundaryIoU(count, ignore_index=ignore)
        self.bands = Trimap(count, _BANDS, ignore_index=ignore)
        self.sizes = SizeIoU(count, ignore_index=ignore)
        self.calibration = Calibration(ignore_index=ignore)
        self.precision = PixelAveragePrecision(count, bins=_SCORE_BINS, ignore_index=ignore)

    def update(self, mask: np.ndarray, probabilities: np.ndarray, target: np.ndarray) -> None:
        """Add an image: H×W predicted ids, K×H×W probabilities, H×W true ids of the model's classes."""
        for metric in (self.outlines, self.along, self.bands, self.sizes):
            metric.update(mask, target)
        for scored in (self.calibration, self.precision):
            scored.update(probabilities, target)

    def details(self) -> Details:
        """What has been added up so far."""
        sizes = ("small", "medium", "large")
        by_class = {
            "boundary_f1": self.outlines.f1(),
            "boundary_iou": self.along.iou(),
            "average_precision": self.precision.average_precision(),
            **dict(zip(sizes, self.sizes.iou().T, strict=True)),
        }
        confidence, accuracy = self.calibration.reliability()
        return Details(
            boundary_f1=_number(self.outlines.mean_f1()),
            boundary_iou=_number(self.along.mean_iou()),
            per_class={
                name: {key: _number(values[position]) for key, values in by_class.items()}
                for position, name in enumerate(self.labels.names)
            },
            bands={
                "pixels": [float(width) for width in self.bands.widths],
                "mean_iou": _numbers(self.bands.mean_iou()),
                "accuracy": _numbers(self.bands.accuracy()),
            },
            sizes=dict(zip(sizes, _numbers(self.sizes.mean_iou()), strict=True)),
            calibration={
                "expected_error": _number(self.calibration.expected_error()),
                "maximum_error": _number(self.calibration.maximum_error()),
                "confidence": _numbers(confidence),
                "accuracy": _numbers(accuracy),
                "pixels": self.calibration.pixels.tolist(),
            },
            mean_average_precision=_number(self.precision.mean_average_precision()),
        )


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
