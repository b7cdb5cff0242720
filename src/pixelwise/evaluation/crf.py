"""Does a dense CRF help this model? Parameters fitted on one part of the data, measured on another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.labels import LabelMap
from pixelwise.refine import DEEPLAB, CrfParameters, fit_crf
from pixelwise.sample import Dataset, Sample

CrfMode = Literal["deeplab", "fit"]
_DEEPLAB_SIZE = 500  # pixels: the longer side of the images that DeepLab's values are for
_FIT_ON = 24  # images; the search goes through them a dozen times and more


@dataclass(frozen=True)
class CrfChoice:
    """Which parameters, for images of which size, and where they are from.

    Attributes
    ----------
    parameters, reference_size
        As :class:`~pixelwise.inference.refined.RefinedSegmenter` takes them.
    source
        In words.
    measure_on
        The samples to measure on: without those that were fitted on.
    """

    parameters: CrfParameters
    reference_size: float | None
    source: str
    measure_on: Dataset[Sample]


class _Segmenter(Protocol):
    @property
    def labels(self) -> LabelMap: ...

    def predict(self, image: Any, probabilities: bool = False) -> Any: ...


class _Examples:
    """Image, probabilities and true ids of the segmenter's classes, predicted once and kept in float16."""

    def __init__(
        self, segmenter: _Segmenter, dataset: Dataset[Sample], say: Callable[[dict[str, Any]], None]
    ) -> None:
        table, _ = segmenter.labels.lookup_from(dataset.labels)
        self.kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for number, sample in enumerate(dataset, 1):
            if sample.mask is not None:
                found = segmenter.predict(sample.image, probabilities=True)
                self.kept.append((sample.image, found.probabilities.astype(np.float16), table[sample.mask]))
            say({"kind": "predict for the CRF", "done": number, "total": len(dataset)})

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for image, chances, target in self.kept:
            wide = chances.astype(np.float32)
            yield image, wide / wide.sum(axis=0) if len(wide) > 1 else wide, target


def choose_crf(
    mode: CrfMode,
    segmenter: _Segmenter,
    whole: Dataset[Sample],
    split: str | None = None,
    say: Callable[[dict[str, Any]], None] = lambda event: None,
) -> CrfChoice:
    """The parameters of a CRF for a model, never fitted on the images that it is then measured on.

    Parameters
    ----------
    mode
        ``deeplab``: the published values, scaled to the images. ``fit``: a search, on the split ``val`` (on
        ``train`` when ``val`` is measured); without another split, on every second image, which are then
        left out of the measurement.
    segmenter
        The model.
    whole
        All splits of the data.
    split
        The one to measure on; None for all that there is.
    say
        Called with progress.

    Raises
    ------
    UsageError
        Unknown mode.
    DataError
        There are too few images to fit on some and measure on others.
    """
    measure_on = whole.select(split) if split else whole
    if mode == "deeplab":
        return CrfChoice(DEEPLAB, _DEEPLAB_SIZE, "published by DeepLab for images of 500 pixels", measure_on)
    if mode != "fit":
        raise unknown_name("way to choose a CRF", mode, ("deeplab", "fit"))
    if len(segmenter.labels) < 2:
        raise UsageError("a CRF is fitted by mean IoU, which needs at least two classes")
    other = next(
        (name for name in ("val", "train") if split and name in whole.splits and name != split), None
    )
    if other is not None:
        fit_on, name = whole.select(other), f"of the split {other}"
    else:
        fit_on, name = measure_on[::2], "of the data, which are not measured"
        measure_on = measure_on[1::2]
    if not len(measure_on):
        raise DataError(f"{whole.name}: too few images to fit a CRF on some and measure it on others")
    spread = np.unique(np.linspace(0, len(fit_on) - 1, min(_FIT_ON, len(fit_on))).astype(int)).tolist()
    examples = _Examples(segmenter, fit_on.subset(spread), say)
    say({"kind": "note", "text": f"fitting the CRF on {len(examples.kept)} images {name}"})
    found = fit_crf(examples, ignore_index=segmenter.labels.ignore, reference_size=_DEEPLAB_SIZE)
    gain = 100 * (found.mean_iou - found.unrefined_mean_iou)
    source = f"fitted on {len(examples.kept)} images {name} (mean IoU there {gain:+.2f} points)"
    return CrfChoice(found.parameters, _DEEPLAB_SIZE, source, measure_on)
