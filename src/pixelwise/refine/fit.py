"""Fitting a dense CRF's parameters to a validation set.

After Chen et al. 2015 (DeepLab, arXiv 1412.7062, section 4): the Gaussian kernel stays as it is, the
bilateral one is searched for, coarse to fine, by mean IoU on some validation images. The paper's grid over
all three numbers at once is replaced by one number at a time in turn, with factors that shrink, so that at
most 19 runs over the images do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pixelwise.errors import DataError, UsageError
from pixelwise.refine.dense_crf import DEEPLAB, CrfParameters

_SEARCHED = ("bilateral_sxy", "bilateral_srgb", "bilateral_weight")


@dataclass(frozen=True)
class CrfFit:
    """What :func:`fit_crf` found: the parameters, their mean IoU, and the mean IoU without a CRF.

    ``tried`` lists all parameters in the order in which they were tried, with their mean IoU.
    """

    parameters: CrfParameters
    mean_iou: float
    unrefined_mean_iou: float
    tried: tuple[tuple[CrfParameters, float], ...]


def fit_crf(
    examples: Iterable[tuple[Any, Any, Any]],
    *,
    start: CrfParameters = DEEPLAB,
    rounds: int = 3,
    ignore_index: int = 255,
    **options: Any,
) -> CrfFit:
    """Search for the bilateral kernel that gives the best mean IoU; the same examples give the same result.

    In each round sigma over space, sigma over colour and weight are multiplied and divided, one after the
    other, by a factor: 2, then its root, and so on. Whatever is strictly better stays.

    Parameters
    ----------
    examples
        Triples of image, probabilities and target mask (class ids), as a segmenter gives them on a validation
        set. They are gone through many times: give a list, or an object that reads them anew for each loop.
        What can be gone through only once is kept in memory.
    start
        Where the search begins; its other numbers are kept.
    rounds
        Rounds of at most 6 runs over the examples, beside one for the start.
    ignore_index
        The target id of pixels that do not count.
    options
        Keywords of :func:`dense_crf` that are no numbers of ``start``: ``compatibility``,
        ``reference_size`` and others.

    Raises
    ------
    DataError
        There is no example or no pixel that counts, or an example's shapes do not fit.
    UsageError
        ``rounds`` is negative, or ``multilabel`` is set.

    Notes
    -----
    The result can be worse than no CRF at all when no kernel helps: compare ``mean_iou`` with
    ``unrefined_mean_iou``.
    """
    if rounds < 0:
        raise UsageError(f"rounds must be at least 0, not {rounds}")
    if options.get("multilabel"):
        raise UsageError("fit_crf measures one label per pixel: fit each of several labels as binary")
    if iter(examples) is examples:
        examples = list(examples)
    tried: dict[CrfParameters, float] = {}

    def score(parameters: CrfParameters) -> float:
        if parameters not in tried:
            tried[parameters] = _mean_iou(examples, parameters, ignore_index, options)
        return tried[parameters]

    unrefined = _mean_iou(examples, None, ignore_index, options)
    best = start
    score(best)
    for round_ in range(rounds):
        factor = 2**0.5**round_
        for name in _SEARCHED:
            for candidate in (getattr(best, name) * factor, getattr(best, name) / factor):
                other = replace(best, **{name: round(candidate, 6)})
                if score(other) > score(best):
                    best = other
                    break
    return CrfFit(best, score(best), unrefined, tuple(tried.items()))


def _mean_iou(
    examples: Iterable[tuple[Any, Any, Any]],
    parameters: CrfParameters | None,
    ignore_index: int,
    options: dict[str, Any],
) -> float:
    """Over the classes that occur, from summed counts; without parameters of the unrefined argmax."""
    from pixelwise.kernels.counts import confusion_counts

    counts: np.ndarray | None = None
    for image, probabilities, target in examples:
        refined = np.asarray(probabilities)
        if parameters is not None:
            refined = parameters.apply(image, refined, **options)
        classes = max(2, len(refined))
        labels = refined[0] >= 0.5 if len(refined) == 1 else refined.argmax(axis=0)
        if np.shape(target) != labels.shape:
            raise DataError(
                f"the target is {'x'.join(map(str, np.shape(target)))} but the probabilities are "
                f"{'x'.join(map(str, labels.shape))}: give both one size"
            )
        found = confusion_counts(labels.astype(np.int64), np.asarray(target), classes, ignore_index)
        if counts is not None and counts.shape != found.shape:
            raise DataError(f"all examples must have the same classes, found {len(counts)} and {len(found)}")
        counts = found if counts is None else counts + found
    if counts is None or not counts.any():
        raise DataError("fitting a CRF needs an example with at least one pixel that is not ignored")
    union = counts.sum(axis=0) + counts.sum(axis=1) - counts.diagonal()
    return float(np.mean(counts.diagonal()[union > 0] / union[union > 0]))
