"""Is the true class at least among the first few? Pixel accuracy that forgives near misses."""

from __future__ import annotations

from typing import Any

import numpy as np

from pixelwise.errors import DataError, UsageError, shape_text
from pixelwise.metrics.confusion import as_ids


def top_k_accuracy(scores: Any, target: Any, k: int, ignore_index: int = 255) -> float:
    """The share of pixels whose true class has one of the k highest scores; nan without a pixel that counts.

    Of equal scores the lower class id counts as higher, as ``argmax`` has it, so k = 1 is the pixel accuracy.

    Parameters
    ----------
    scores
        K×H×W (or K×N) logits or probabilities.
    target
        H×W (or N) class ids.
    k
        From 1 to K.
    ignore_index
        The target id of the pixels that do not count.

    Raises
    ------
    UsageError
        There are not so many classes.
    DataError
        The shapes differ, a score is nan, or an id is no class.

    Examples
    --------
    >>> scores = np.array([[0.5, 0.2], [0.3, 0.3], [0.2, 0.5]])
    >>> top_k_accuracy(scores, [1, 0], k=1), top_k_accuracy(scores, [1, 0], k=2)
    (0.0, 0.5)
    """
    planes, true = np.asarray(scores), as_ids(target, "target")
    if planes.ndim != true.ndim + 1 or planes.shape[1:] != true.shape:
        shapes = shape_text(planes.shape), shape_text(true.shape)
        raise DataError(f"scores of {shapes[0]} do not fit a target of {shapes[1]}: expected KxHxW and HxW")
    if not 1 <= k <= len(planes):
        raise UsageError(f"k must lie between 1 and the {len(planes)} classes, got {k}")
    if np.isnan(planes).any():
        raise DataError("a score is nan, so that classes have no order; look at the model")
    known = true != ignore_index
    ids = true[known].astype(np.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < len(planes):
        wrong = ids.max() if ids.max() >= len(planes) else ids.min()
        raise DataError(f"the target holds id {wrong}, expected 0..{len(planes) - 1}")
    chosen = planes[:, known]
    own = np.take_along_axis(chosen, ids[None], 0)
    before = np.arange(len(planes))[:, None] < ids
    ahead = (chosen > own).sum(axis=0) + ((chosen == own) & before).sum(axis=0)
    return float((ahead < k).mean()) if len(ids) else float("nan")
