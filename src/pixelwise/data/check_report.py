"""What the data doctor reports: counts by split and class, and problems with their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.errors import DataError, Problem
from pixelwise.labels import LabelMap

_COUNTS = ("pixels", "images_with", "pixels_around")


@dataclass
class SplitSummary:
    """What one split holds, in whole numbers.

    Attributes
    ----------
    pixels
        K int64, labelled pixels of each class.
    images_with
        K int64, images in which the class occurs.
    pixels_around
        K int64, labelled pixels of all classes in those images.
    ignored
        Pixels of masks that carry the ignored id.
    images, labelled
        How many samples there are, and how many of them have a mask that can be read.
    sizes
        ``{(height, width): images}``.
    shapes
        ``{label: shapes}``, where the labels were drawn.
    """

    pixels: np.ndarray
    images_with: np.ndarray
    pixels_around: np.ndarray
    ignored: int = 0
    images: int = 0
    labelled: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def empty(cls, num_classes: int) -> SplitSummary:
        """A summary to count into."""
        return cls(*np.zeros((3, num_classes), np.int64))

    @property
    def shares(self) -> np.ndarray:
        """K float64: the part of all pixels, ignored ones included, that each class has."""
        return self.pixels / max(int(self.pixels.sum()) + self.ignored, 1)

    @property
    def ignored_share(self) -> float:
        """The part of all pixels that is ignored."""
        return self.ignored / max(int(self.pixels.sum()) + self.ignored, 1)

    def size_range(self) -> dict[str, tuple[int, int]]:
        """(height, width) of the ``min``, ``median`` and ``max`` image by area; empty without images."""
        ordered = sorted(self.sizes, key=lambda size: (size[0] * size[1], size))
        if not ordered:
            return {}
        below = np.cumsum([self.sizes[size] for size in ordered])
        median = ordered[int(np.searchsorted(below, (below[-1] + 1) // 2))]
        return {"min": ordered[0], "median": median, "max": ordered[-1]}

    def to_json(self) -> dict[str, Any]:
        """Every number, for :meth:`from_json`; :meth:`to_dict` is what people read."""
        counts = {name: getattr(self, name).tolist() for name in _COUNTS}
        sizes = [(height, width, images) for (height, width), images in self.sizes.items()]
        return vars(self) | counts | {"sizes": sizes}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SplitSummary:
        """What :meth:`to_json` gave, after its way through JSON."""
        counts = {name: np.array(values[name], np.int64) for name in _COUNTS}
        sizes = Counter({(height, width): images for height, width, images in values["sizes"]})
        return cls(**{**values, **counts, "sizes": sizes, "shapes": Counter(values["shapes"])})

    def to_dict(self, labels: LabelMap) -> dict[str, Any]:
        """All of it, ready for JSON."""
        rows = zip(labels.names, self.pixels, self.shares, self.images_with, strict=True)
        return {
            "images": self.images,
            "labelled": self.labelled,
            "sizes": {name: list(size) for name, size in self.size_range().items()},
            "distinct_sizes": len(self.sizes),
            "ignored_pixels": self.ignored,
            "ignored_share": self.ignored_share,
            "shapes": dict(self.shapes),
            "classes": {
                name: {"pixels": int(pixels), "share": float(share), "images": int(images)}
                for name, pixels, share, images in rows
            },
        }


@dataclass(frozen=True)
class CheckReport:
    """What :func:`pixelwise.data.check` found.

    Attributes
    ----------
    name, root, labels
        Of the data set.
    splits
        A summary by split; a data set that is not split has one, called ``"all"``.
    problems
        Errors first; each names its files and a way out.
    """

    name: str
    root: Path | None
    labels: LabelMap
    splits: dict[str, SplitSummary]
    problems: tuple[Problem, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that stop a training."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that are worth knowing."""
        return tuple(problem for problem in self.problems if problem.level == "warning")

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    def class_weights(self, split: str | None = None) -> np.ndarray:
        """Median-frequency weights: K float32, the median of all frequencies over each class's own.

        The frequency of a class is its pixels over the labelled pixels of the images in which it occurs
        (Eigen and Fergus, "Predicting depth, surface normals and semantic labels with a common multi-scale
        convolutional architecture", ICCV 2015). A class that never occurs has none and weighs 1.

        Parameters
        ----------
        split
            Where to count; ``"train"`` if there is one, else the first split.
        """
        name = split or ("train" if "train" in self.splits else next(iter(self.splits)))
        counted = self.splits[name]
        present = counted.pixels > 0
        frequencies = counted.pixels[present] / counted.pixels_around[present]
        weights = np.ones(len(self.labels), np.float32)
        if present.any():
            weights[present] = np.median(frequencies) / frequencies
        return weights

    def raise_for_errors(self) -> None:
        """Raise DataError with the first error, its first file and its fix, if there is an error."""
        if self.ok:
            return
        first, *others = self.errors
        where = f" ({first.files[0]})" if first.files and first.files[0] not in first.message else ""
        fix = f"; {first.fix}" if first.fix else ""
        more = f"; {plural(len(others), 'more error')}" if others else ""
        source = self.root or self.name
        raise DataError(
            f"{source}: {first.message}{where}{fix}{more}; 'pixelwise check {source}' lists all files"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "name": self.name,
            "root": None if self.root is None else str(self.root),
            "ok": self.ok,
            "labels": self.labels.to_dict(),
            "splits": {name: split.to_dict(self.labels) for name, split in self.splits.items()},
            "problems": [vars(problem) | {"files": list(problem.files)} for problem in self.problems],
        }

    def text(self) -> str:
        """The splits, a table of the classes, then the problems, as plain text."""
        return "\n".join([*self._head(), "", *self._table(), "", *self._findings()]) + "\n"

    def _head(self) -> Iterator[str]:
        yield f"{self.name}: {plural(len(self.labels), 'class')}"
        for name, split in self.splits.items():
            parts = [plural(split.images, "image")]
            if split.labelled < split.images:
                parts.append(f"{split.labelled} with a mask")
            sizes = {which: f"{width}x{height}" for which, (height, width) in split.size_range().items()}
            if split.shapes:
                parts.append(plural(split.shapes.total(), "shape"))
            if len(split.sizes) == 1:
                parts.append(f"all {sizes['median']}")
            elif sizes:
                parts.append(
                    f"{len(split.sizes)} sizes from {sizes['min']} over {sizes['median']} to {sizes['max']}"
                )
            yield f"  {name}: {', '.join(parts)}"

    def _table(self) -> Iterator[str]:
        names = [*self.labels.names, "(ignored)"]
        ids = [*map(str, range(len(self.labels))), str(self.labels.ignore)]
        width = max(map(len, (*names, "class")))
        yield f"  {'id':>5}  {'class':<{width}}" + "".join(
            f"{s + ' pixels':>16}{'images':>9}" for s in self.splits
        )
        columns = [
            ([*split.shares, split.ignored_share], [*map(str, split.images_with), ""])
            for split in self.splits.values()
        ]
        for row, (number, name) in enumerate(zip(ids, names, strict=True)):
            cells = (f"{_percent(shares[row]):>16}{images[row]:>9}" for shares, images in columns)
            yield f"  {number:>5}  {name:<{width}}{''.join(cells)}".rstrip()

    def _findings(self, shown: int = 5) -> Iterator[str]:
        if not self.problems:
            yield "No problem found."
            return
        yield f"{plural(len(self.errors), 'error')}, {plural(len(self.warnings), 'warning')}"
        for problem in self.problems:
            yield f"  {problem.level}: {problem.message}"
            if problem.fix:
                yield f"    fix: {problem.fix}"
            yield from (f"      {file}" for file in problem.files[:shown])
            if len(problem.files) > shown:
                yield f"      and {len(problem.files) - shown} more"


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "class"), plural(2, "class"), plural(0, "image")
    ('1 class', '2 classes', '0 images')
    """
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{ending}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share else "-"
