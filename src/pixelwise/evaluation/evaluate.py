"""Run a segmenter over a data set and count; what is measured is exactly what ``predict`` gives."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from pixelwise.errors import DataError
from pixelwise.evaluation.details import DetailsCounter
from pixelwise.evaluation.evaluation import Evaluation, ImageScore
from pixelwise.kernels.counts import confusion_counts
from pixelwise.labels import LabelMap
from pixelwise.metrics import ConfusionMatrix
from pixelwise.sample import Dataset, Sample

Progress = Callable[[dict[str, Any]], None]


class Prediction(Protocol):
    """What a segmenter says about one image."""

    @property
    def mask(self) -> np.ndarray:
        """H×W class ids at the image's size."""


class Predictor(Protocol):
    """Whatever labels images; when it has ``predict_many(images)``, that is used for whole data sets."""

    @property
    def labels(self) -> LabelMap:
        """Its classes."""

    def predict(self, image: np.ndarray) -> Prediction:
        """Label the pixels of an H×W×3 uint8 image."""


def evaluate(
    segmenter: Predictor,
    dataset: Dataset[Sample],
    progress: Progress | None = None,
    details: bool = False,
) -> Evaluation:
    """Measure a segmenter on labelled images, each at its own size.

    Classes are matched by name. Pixels whose true class the segmenter does not know are ignored, counted
    and listed in ``Evaluation.unmatched``; images without a mask are skipped and listed. One image is in
    memory at a time (a few, when the segmenter reads ahead).

    Parameters
    ----------
    segmenter
        Has ``labels`` and ``predict(image)``, and perhaps ``predict_many(images)``.
    dataset
        The samples.
    progress
        Called after every image with ``{"kind": "evaluate", "done": n, "total": n}``.
    details
        Also measure outlines, sizes, calibration and pixel scores, for which ``predict`` must give
        probabilities; takes a few times as long.

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        No image has a mask, no class has a match, sizes differ, or a mask holds an id that is no class.
    """
    rows, unmatched = _match(segmenter.labels, dataset)
    matrix = ConfusionMatrix(len(segmenter.labels), segmenter.labels.ignore)
    unknown = np.zeros(len(dataset.labels), np.int64)
    scores: list[ImageScore] = []
    skipped: list[str] = []
    counter = DetailsCounter(segmenter.labels) if details else None
    table, _ = segmenter.labels.lookup_from(dataset.labels)
    start = time.perf_counter()
    for index, sample, prediction in _predictions(segmenter, dataset, skipped, details):
        mask = prediction.mask
        by_data_class = _count(sample, mask, dataset.labels, len(segmenter.labels))
        counts = np.zeros_like(matrix.counts)
        matched = rows >= 0
        np.add.at(counts, rows[matched], by_data_class[matched])
        unknown += np.where(matched, 0, by_data_class.sum(axis=1))
        matrix.counts += counts
        if counter is not None:
            counter.update(mask, _probabilities(prediction), table[sample.mask])
        scores.append(
            ImageScore.from_counts(index, sample.name or str(index), str(sample.path or ""), counts)
        )
        if progress:
            progress({"kind": "evaluate", "done": len(scores) + len(skipped), "total": len(dataset)})
    if progress and skipped:  # the last images may have been among them
        progress({"kind": "evaluate", "done": len(dataset), "total": len(dataset)})
    if not scores:
        raise DataError(f"{dataset.name}: none of the {len(dataset)} images has a mask to compare with")
    return Evaluation(
        labels=segmenter.labels,
        confusion=matrix,
        images=scores,
        name=dataset.name,
        split=dataset.split,
        unmatched={name: int(unknown[dataset.labels.index(name)]) for name in unmatched},
        skipped=tuple(skipped),
        seconds=time.perf_counter() - start,
        details=counter.details().to_dict() if counter is not None else None,
    )


def pick_examples(
    evaluation: Evaluation, dataset: Dataset[Sample], segmenter: Predictor, best: int = 3, worst: int = 3
) -> list[dict[str, Any]]:
    """Predict the images with the highest and the lowest mean IoU again, to look at them.

    Parameters
    ----------
    evaluation
        What :func:`evaluate` gave for this data set.
    dataset, segmenter
        The same as there.
    best, worst
        How many of each; no image is shown twice, and the worst come first.

    Returns
    -------
    list of dict
        ``title``, ``group`` ("worst" or "best"), ``image`` H×W×3 uint8, ``target`` and ``prediction`` H×W ids
        of the segmenter's classes, unmatched ones ignored.
    """
    ranked = sorted((s for s in evaluation.images if s.mean_iou is not None), key=lambda s: s.mean_iou or 0.0)
    low = ranked[:worst]
    high = ranked[len(low) :][::-1][:best]
    table, _ = segmenter.labels.lookup_from(dataset.labels)
    examples = []
    for group, score in [("worst", s) for s in low] + [("best", s) for s in high]:
        sample = dataset[score.index]
        assert sample.mask is not None
        accuracy = _percent(score.pixel_accuracy)
        title = f"{score.name}: mean IoU {_percent(score.mean_iou)}, pixel accuracy {accuracy}"
        examples.append(
            {
                "title": title,
                "group": group,
                "image": _to_show(sample.image),
                "target": table[sample.mask],
                "prediction": segmenter.predict(sample.image).mask,
            }
        )
    return examples


def _to_show(image: np.ndarray) -> np.ndarray:
    """H×W×3 of any number of channels; those of a slice with its neighbours as the slice alone, in grey."""
    channels = image.shape[2]
    return image if channels == 3 else np.repeat(image[..., channels // 2, None], 3, axis=2)


def _match(labels: LabelMap, dataset: Dataset[Sample]) -> tuple[np.ndarray, Sequence[str]]:
    """The segmenter's id of every class of the data (-1: it has none), and the names without one."""
    _, unmatched = labels.lookup_from(dataset.labels)
    if len(unmatched) == len(dataset.labels):
        raise DataError(
            f"{dataset.name}: no class matches the model's by name; the data has {_listed(unmatched)}, "
            f"the model {_listed(labels.names)}; rename the classes of one of them"
        )
    rows = [-1 if name in unmatched else labels.index(name) for name in dataset.labels.names]
    return np.array(rows), unmatched


def _predictions(
    segmenter: Predictor, dataset: Dataset[Sample], skipped: list[str], probabilities: bool
) -> Iterator[tuple[int, Sample, Prediction]]:
    """Every labelled sample with its position and prediction, in order; the others go to ``skipped``."""
    waiting: deque[tuple[int, Sample]] = deque()

    def images() -> Iterator[np.ndarray]:
        for index, sample in enumerate(dataset):
            if not sample.labelled:
                skipped.append(sample.name or str(index))
                continue
            waiting.append((index, sample))
            yield sample.image

    one: Callable[..., Prediction] = segmenter.predict
    many = getattr(segmenter, "predict_many", None)
    if probabilities:  # one image at a time: K planes of floats are many times an image
        found = map(partial(one, probabilities=True), images())
    else:
        found = many(images()) if many else map(one, images())
    for prediction in found:
        index, sample = waiting.popleft()
        yield index, sample, prediction


def _probabilities(prediction: Prediction) -> np.ndarray:
    """K×H×W float32; of a binary model, whose one plane is the chance of class 1, both."""
    chances: np.ndarray = getattr(prediction, "probabilities")  # noqa: B009 - only there when asked for
    return np.concatenate([1 - chances, chances]) if len(chances) == 1 else chances


def _count(sample: Sample, predicted: np.ndarray, labels: LabelMap, num_classes: int) -> np.ndarray:
    """T×K counts: rows by the data's own classes, so that unknown ids in a mask do not pass unseen."""
    where = sample.path or sample.name or "sample"
    true = sample.mask
    assert true is not None
    if predicted.shape != true.shape:
        raise DataError(
            f"{where}: the mask is {_size(true)} but the prediction, which has the image's size, is "
            f"{_size(predicted)}; make image and mask the same size"
        )
    try:
        return confusion_counts(predicted, true, num_classes, labels.ignore, len(labels))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _size(mask: np.ndarray) -> str:
    return "x".join(map(str, mask.shape))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
