"""Does a confidence of 80 % mean that eight in ten are right? Reliability and the calibration error.

Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017
(arXiv:1706.04599): pixels are put into bins by the confidence of the predicted class, and in each bin the
mean confidence is compared with the share that is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pixelwise.errors import DataError, UsageError

_SUM_TOLERANCE = 1e-2  # float16 probabilities of many classes


class Calibration:
    """Counts by confidence, added up over a whole data set; ignored pixels do not count.

    Parameters
    ----------
    bins
        Number of bins of equal width over 0..1; the last one includes 1.
    ignore_index
        The target id of the pixels that do not count.

    Attributes
    ----------
    pixels, correct
        B int64: pixels by bin, and how many of them are right.
    confidence
        B float64: sums of their confidences.

    Raises
    ------
    UsageError
        There is not even one bin.

    Examples
    --------
    >>> calibration = Calibration(bins=2)
    >>> calibration.update([[[0.9, 0.8]], [[0.1, 0.2]]], [[0, 1]])
    >>> round(calibration.expected_error(), 3)
    0.35
    """

    def __init__(self, bins: int = 15, ignore_index: int = 255) -> None:
        if bins < 1:
            raise UsageError(f"a calibration needs at least one bin, got bins={bins}")
        self.ignore_index = ignore_index
        self.pixels, self.correct = np.zeros((2, bins), np.int64)
        self.confidence = np.zeros(bins)

    def update(self, probabilities: Any, target: Any) -> None:
        """Count the pixels of one image.

        Parameters
        ----------
        probabilities
            K×H×W, at each pixel a distribution over the classes.
        target
            H×W class ids.

        Raises
        ------
        DataError
            Other shapes, a target without integers, or no probabilities; nothing is counted then.
        """
        chances, true = np.asarray(probabilities), np.asarray(target)
        _check(chances, true)
        known = true != self.ignore_index
        predicted, confidence = chances.argmax(axis=0)[known], chances.max(axis=0)[known].astype(np.float64)
        bins = len(self.pixels)
        number = np.minimum((confidence * bins).astype(np.int64), bins - 1)
        self.pixels += np.bincount(number, minlength=bins)
        self.correct += np.bincount(number[predicted == true[known]], minlength=bins)
        self.confidence += np.bincount(number, confidence, minlength=bins)

    def merge(self, other: Calibration) -> None:
        """Add the counts of another one; another number of bins raises DataError."""
        if len(other.pixels) != len(self.pixels):
            raise DataError(f"cannot merge {len(other.pixels)} bins into {len(self.pixels)}")
        self.pixels += other.pixels
        self.correct += other.correct
        self.confidence += other.confidence

    def reliability(self) -> tuple[np.ndarray, np.ndarray]:
        """B mean confidences and B shares that are right, nan for bins without a pixel."""
        filled = np.where(self.pixels > 0, self.pixels, np.nan)
        return self.confidence / filled, self.correct / filled

    def expected_error(self) -> float:
        """ECE: the mean gap between confidence and accuracy, weighted by pixels; nan without any."""
        total = self.pixels.sum()
        return float(np.abs(self.confidence - self.correct).sum() / total) if total else float("nan")

    def maximum_error(self) -> float:
        """MCE: the widest gap of any bin; nan without a pixel."""
        confidence, accuracy = self.reliability()
        gaps = np.abs(confidence - accuracy)
        return float(np.nanmax(gaps)) if self.pixels.any() else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """The counts, ready for JSON."""
        return {name: getattr(self, name).tolist() for name in ("pixels", "correct", "confidence")}

    @classmethod
    def from_dict(cls, description: dict[str, Any], ignore_index: int = 255) -> Calibration:
        """Read what :meth:`to_dict` wrote."""
        found = cls(len(description["pixels"]), ignore_index)
        found.pixels += np.array(description["pixels"], np.int64)
        found.correct += np.array(description["correct"], np.int64)
        found.confidence += np.array(description["confidence"], np.float64)
        return found


def _check(chances: np.ndarray, true: np.ndarray) -> None:
    if true.dtype.kind not in "uib":
        raise DataError(f"the target must hold integer class ids but is {true.dtype}")
    if chances.ndim != true.ndim + 1 or chances.shape[1:] != true.shape:
        shapes = "x".join(map(str, chances.shape)), "x".join(map(str, true.shape))
        raise DataError(f"probabilities of {shapes[0]} do not fit a target of {shapes[1]}: expected KxHxW")
    sums = chances.sum(axis=0, dtype=np.float64)
    if not (np.abs(sums - 1) <= _SUM_TOLERANCE).all() or (chances < 0).any():
        worst = sums.flat[int(np.argmax(np.abs(np.nan_to_num(sums, nan=np.inf) - 1)))]
        raise DataError(
            f"probabilities must sum to 1 over the classes, found {worst:.3g}; take the softmax first"
        )
