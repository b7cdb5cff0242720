"""Two evaluations of the same images side by side: paired differences with intervals.

The interval is a paired bootstrap: the same images are drawn for both, so that what is hard for both does not
widen it (Efron and Tibshirani 1993, chapter 16).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixelwise.errors import DataError
from pixelwise.evaluation.evaluation import (
    Evaluation,
    ImageScore,
    counts_by_image,
    mean_over_present,
    resampled_iou,
)
from pixelwise.metrics.confusion import intersection_over_union


@dataclass(frozen=True)
class Difference:
    """How much higher the second value is, with the interval in which the truth probably lies.

    Attributes
    ----------
    first, second
        The two values; None where the class is absent.
    low, high
        The 95 % interval of second - first.
    """

    first: float | None
    second: float | None
    low: float | None
    high: float | None

    @property
    def value(self) -> float | None:
        """Second minus first."""
        return None if self.first is None or self.second is None else self.second - self.first

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return vars(self) | {"difference": self.value, "clear": self.clear}


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    names
        What the two evaluations are called.
    images
        How many images both have.
    mean_iou
        The difference of the dataset-level mean IoU over these images.
    per_class
        The difference of every class's IoU.
    better, worse
        Names of the images with the largest gains and losses of their own mean IoU, with the gain.
    """

    names: tuple[str, str]
    images: int
    mean_iou: Difference
    per_class: dict[str, Difference]
    better: tuple[tuple[str, float], ...]
    worse: tuple[tuple[str, float], ...]

    def text(self) -> str:
        """A plain table: a line per class, then the mean and the images that changed most."""
        width = max(len("mean IoU"), *(len(name) for name in self.per_class))
        first, second = self.names
        lines = [f"{'class':{width}} {'first':>7} {'second':>7} {'change':>7}  95 % interval"]
        rows = [*self.per_class.items(), ("mean IoU", self.mean_iou)]
        for name, difference in rows:
            cells = (difference.first, difference.second, difference.value)
            numbers = " ".join(f"{_percent(value):>7}" for value in cells)
            interval = f"{_percent(difference.low)} to {_percent(difference.high)}"
            lines.append(f"{name:{width}} {numbers}  {interval}{' *' if difference.clear else ''}")
        lines += ["", f"first: {first}, second: {second}; {self.images} images, all in %"]
        lines.append("* the interval leaves out zero (paired bootstrap over images)")
        for word, changed in (("better", self.better), ("worse", self.worse)):
            if changed:
                listed = ", ".join(f"{name} ({100 * gain:+.1f})" for name, gain in changed)
                lines.append(f"most {word}: {listed}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "names": list(self.names),
            "images": self.images,
            "mean_iou": self.mean_iou.to_dict(),
            "per_class": {name: difference.to_dict() for name, difference in self.per_class.items()},
            "better": [list(change) for change in self.better],
            "worse": [list(change) for change in self.worse],
        }


def compare(
    first: Evaluation, second: Evaluation, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Compare two evaluations on the images that both have.

    Parameters
    ----------
    first, second
        Of models with the same classes (in any order), on data with the same images; these are told apart
        by file, or by name where there is none.
    samples, level, seed
        Of the paired bootstrap, as in :meth:`Evaluation.interval`.

    Raises
    ------
    DataError
        The classes differ, or no image is in both.

    Examples
    --------
    >>> from pixelwise.labels import LabelMap
    >>> from pixelwise.metrics import ConfusionMatrix
    >>> def one(counts):
    ...     score = ImageScore.from_counts(0, "a", "", np.array(counts))
    ...     return Evaluation(LabelMap(("no", "yes")), ConfusionMatrix.from_counts(counts), [score])
    >>> round(compare(one([[5, 5], [0, 10]]), one([[10, 0], [0, 10]])).mean_iou.value, 3)
    0.417
    """
    if set(first.labels.names) != set(second.labels.names):
        odd = sorted(set(first.labels.names) ^ set(second.labels.names))
        raise DataError(
            f"the evaluations have different classes ({', '.join(odd[:5])}); evaluate the same ones"
        )
    theirs = {_key(score): score for score in second.images}
    pairs = [(score, theirs[_key(score)]) for score in first.images if _key(score) in theirs]
    if not pairs:
        raise DataError(f"{first.title} and {second.title} have no image in common; evaluate the same data")
    order = [second.labels.index(name) for name in first.labels.names]
    sums = [counts_by_image([pair[side] for pair in pairs], len(first.labels)) for side in (0, 1)]
    sums[1] = sums[1][:, :, order]
    whole = [intersection_over_union(*side.sum(axis=0)) for side in sums]
    drawn = np.stack([resampled_iou(side, samples, np.random.default_rng(seed)) for side in sums])
    per_class = {
        name: _difference(whole[0][i], whole[1][i], drawn[1, :, i] - drawn[0, :, i], level)
        for i, name in enumerate(first.labels.names)
    }
    means = [mean_over_present(side) for side in drawn]
    mean_iou = _difference(
        float(mean_over_present(whole[0])), float(mean_over_present(whole[1])), means[1] - means[0], level
    )
    gains = sorted(
        (after.mean_iou - before.mean_iou, before.name)
        for before, after in pairs
        if before.mean_iou is not None and after.mean_iou is not None
    )
    better = tuple((name, gain) for gain, name in reversed(gains[-3:]) if gain > 0)
    worse = tuple((name, gain) for gain, name in gains[:3] if gain < 0)
    return Comparison((first.title, second.title), len(pairs), mean_iou, per_class, better, worse)


def _key(score: ImageScore) -> str:
    return score.path or score.name


def _difference(first: float, second: float, drawn: np.ndarray, level: float) -> Difference:
    drawn = drawn[~np.isnan(drawn)]
    ends = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2)).tolist() if len(drawn) else (None, None)
    return Difference(_number(first), _number(second), *ends)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
