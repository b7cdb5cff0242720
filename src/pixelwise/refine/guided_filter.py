"""The guided filter: smooth a mask or matte, and let it jump where the guide does.

Source: He, Sun and Tang, "Guided Image Filtering", ECCV 2010 (and PAMI 2013). Within every window the output
is taken to be a linear function of the guide, ``a · guide + b``, fitted to the source by least squares with
``epsilon |a|²`` against steep ones; a pixel gets the mean over all windows that cover it. As in the paper,
windows at the border hold only the pixels that are there.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from pixelwise.errors import DataError, UsageError, shape_text


def guided_filter(guide: Any, source: Any, radius: int, epsilon: float) -> np.ndarray:
    """Smooth ``source`` along the edges of ``guide``, in a time that does not depend on the radius.

    Parameters
    ----------
    guide
        H×W or H×W×3, uint8 (taken as 0 to 1) or floats.
    source
        H×W or H×W×C floats, for example a matte or probabilities; each channel by itself.
    radius
        Windows are 2 radius + 1 pixels wide.
    epsilon
        The variance of the guide, in its own units squared, below which a window counts as flat: about
        1e-4 (edges of 1 % of the range stay) to 1e-2 (10 %) for a guide from 0 to 1.

    Returns
    -------
    float32 of the source's shape.

    Raises
    ------
    DataError
        The shapes do not fit, the types are not as above, or values are not finite.
    UsageError
        The radius is below 1 or ``epsilon`` is not above 0.

    Examples
    --------
    A noisy step becomes a clean one, as the guide has it:

    >>> guide = np.repeat([[0.0, 1.0]], 8, axis=1).repeat(8, axis=0)
    >>> noisy = guide + np.random.default_rng(0).normal(0, 0.2, guide.shape)
    >>> bool(np.abs(guided_filter(guide, noisy, 2, 1e-4) - guide).max() < 0.3)
    True
    """
    if radius != int(radius) or radius < 1:
        raise UsageError(f"radius must be a whole number of at least 1, not {radius}")
    if not 0 < epsilon < np.inf:
        raise UsageError(f"epsilon must be above 0, not {epsilon}")
    guide, source = _as_guide(guide), np.asarray(source)
    if source.ndim not in (2, 3) or source.dtype.kind != "f" or not np.isfinite(source).all():
        raise DataError(
            f"the source must be HxW or HxWxC finite floats, found {shape_text(source.shape)} {source.dtype}"
        )
    if source.shape[:2] != guide.shape[:2]:
        raise DataError(
            f"the guide is {shape_text(guide.shape[:2])} but the source is {shape_text(source.shape)}: "
            "give both one size"
        )

    # float64: a window's variance is a small difference of large sums.
    size = (2 * int(radius) + 1,) * 2
    inside = _sums(np.ones(guide.shape[:2]), size)

    def mean(plane: np.ndarray) -> np.ndarray:
        return _sums(plane, size) / inside

    channels = range(guide.shape[2])
    means = [mean(guide[..., c]) for c in channels]
    covariance = np.empty((*inside.shape, len(channels), len(channels)))
    for i in channels:
        for j in channels[i:]:
            covariance[..., i, j] = mean(guide[..., i] * guide[..., j]) - means[i] * means[j]
            covariance[..., j, i] = covariance[..., i, j]
        covariance[..., i, i] += epsilon
    inverse = np.linalg.inv(covariance)

    planes = source[..., None] if source.ndim == 2 else source
    filtered = np.empty(planes.shape, np.float32)
    for k in range(planes.shape[2]):
        plane = planes[..., k].astype(np.float64)
        average = mean(plane)
        common = np.stack([mean(guide[..., c] * plane) - means[c] * average for c in channels], axis=-1)
        slopes = np.einsum("hwij,hwj->hwi", inverse, common)
        offset = average - sum(slopes[..., c] * means[c] for c in channels)
        filtered[..., k] = sum((mean(slopes[..., c]) * guide[..., c] for c in channels), mean(offset))
    return filtered.reshape(source.shape)


def _as_guide(guide: Any) -> np.ndarray:
    """H×W×1 or H×W×3 float64."""
    guide = np.asarray(guide)
    array = guide[..., None] if guide.ndim == 2 else guide
    if array.ndim != 3 or array.shape[2] not in (1, 3) or not array.size:
        raise DataError(f"the guide must be HxW or HxWx3, found {shape_text(guide.shape)}")
    if array.dtype == np.uint8:
        return array / 255.0
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise DataError(f"the guide must be uint8 or finite floats, found {array.dtype}")
    return array.astype(np.float64)


def _sums(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    result: np.ndarray = cv2.boxFilter(
        plane, cv2.CV_64F, size, normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return result
