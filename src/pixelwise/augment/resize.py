"""Bringing a sample to a given size without chance: validation, and the working scale."""

from __future__ import annotations

import cv2
import numpy as np

from pixelwise.augment.geometry import filter_channels
from pixelwise.augment.transform import check_parts
from pixelwise.sample import Sample


def resize_sample(sample: Sample, size: tuple[int, int]) -> Sample:
    """Resize everything that a sample holds to the same size.

    The image is averaged over areas along an axis that shrinks and interpolated linearly along one
    that grows; mask, instances and weights take the nearest pixel.

    Parameters
    ----------
    sample
        Any image, with whatever belongs to it.
    size
        (height, width) in pixels.

    Returns
    -------
    A new sample; the given one when it has that size already.

    Raises
    ------
    DataError
        Image and mask (or instances, weights) differ in size; the mask is not uint8 or uint16.

    Examples
    --------
    >>> sample = Sample(np.zeros((4, 6, 3), np.uint8), np.eye(4, 6, dtype=np.uint8))
    >>> half = resize_sample(sample, (2, 3))
    >>> half.image.shape, half.mask.shape
    ((2, 3, 3), (2, 3))
    """
    check_parts(sample)
    if sample.size == tuple(size):
        return sample
    return sample.replace(
        image=resize_image(sample.image, size),
        mask=None if sample.mask is None else _nearest(sample.mask, size),
        instances=None if sample.instances is None else _nearest(sample.instances, size),
        weights={name: _nearest(values, size) for name, values in sample.weights.items()},
    )


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize H×W×C pixels of any dtype to (height, width), the way :func:`resize_sample` does."""
    if image.shape[:2] == tuple(size):
        return image
    shrunken = (min(size[0], image.shape[0]), min(size[1], image.shape[1]))

    def resize(group: np.ndarray) -> np.ndarray:
        group = cv2.resize(group, shrunken[::-1], interpolation=cv2.INTER_AREA)
        return cv2.resize(group, size[::-1], interpolation=cv2.INTER_LINEAR)

    return filter_channels(image, resize)


def _nearest(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # Plain INTER_NEAREST looks at pixels' corners and shifts a mask by up to half a pixel.
    return cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
