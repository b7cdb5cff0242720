"""Class weights from pixel counts. Needs no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pixelwise.errors import UsageError


def median_frequency_weights(counts: ArrayLike) -> np.ndarray:
    """Median-frequency class weights: the median of all frequencies over each class's own.

    The frequency of a class is its pixels over all labelled pixels of the images in which it occurs (Eigen
    and Fergus, "Predicting depth, surface normals and semantic labels with a common multi-scale convolutional
    architecture", ICCV 2015, arXiv 1411.4734). A class that never occurs has none and weighs 1. For a data
    set that has been checked, ``report.class_weights()`` gives the same.

    Parameters
    ----------
    counts
        Labelled pixels of each class: N×K for N images, or K for all images together, which takes every class
        to occur in every image.

    Returns
    -------
    weights
        K float32, for ``class_weights`` of any loss.

    Raises
    ------
    UsageError
        ``counts`` has another shape, or holds a negative or infinite number.

    Examples
    --------
    >>> median_frequency_weights([600, 300, 100]).round(2).tolist()
    [0.5, 1.0, 3.0]
    """
    table = np.asarray(counts, np.float64)
    if table.ndim not in (1, 2) or not table.size or not (np.isfinite(table) & (table >= 0)).all():
        raise UsageError("counts must be K numbers of pixels from 0 up, or N×K for N images")
    table = np.atleast_2d(table)
    pixels = table.sum(axis=0)
    around = ((table > 0) * table.sum(axis=1, keepdims=True)).sum(axis=0)
    present = pixels > 0
    weights = np.ones(len(pixels), np.float32)
    if present.any():
        frequencies = pixels[present] / around[present]
        weights[present] = np.median(frequencies) / frequencies
    return weights
