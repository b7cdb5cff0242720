"""The border maps that a loss needs, from the instances of each training sample."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from pixelwise.augment.transform import check_parts
from pixelwise.errors import DataError, UsageError
from pixelwise.kernels.distance import border_weights
from pixelwise.sample import Sample

_BORDER = "border"


def with_needed_weights(sample: Sample, needs: Mapping[str, Mapping[str, float]], ignore: int) -> Sample:
    """The sample with just the weight maps that its loss can use.

    When the loss needs a border map (:attr:`Loss.needs`), the sample's own is taken, or one is computed from
    its instances or, when it has none, from the :func:`connected_parts` of its mask. Otherwise a border map
    that it has is left out: other losses multiply by weights, and this one is 0 far from borders.

    Parameters
    ----------
    sample
        With a mask.
    needs
        From the name of a map to its options: those of :func:`~pixelwise.kernels.distance.border_weights`.
    ignore
        The mask's id for "no label"; such pixels belong to no instance.

    Raises
    ------
    DataError
        There is no mask, or its size is not that of the image or the instances.
    UsageError
        The loss needs a border map and the sample has other weight maps, which would be lost.
    """
    weights = sample.weights
    others = {name: values for name, values in weights.items() if name != _BORDER}
    if _BORDER not in needs:
        return sample.replace(weights=others) if _BORDER in weights else sample
    where = str(sample.path or sample.name)
    if others:
        raise UsageError(
            f"{where}: the loss takes the weight map '{_BORDER}' and no other, found {', '.join(others)}"
        )
    if _BORDER in weights:
        return sample
    check_parts(sample)
    mask, instances = sample.mask, sample.instances
    if mask is None:
        raise DataError(f"{where}: no mask; leave it out of the data or label it")
    ignored = mask == ignore
    if instances is None:
        instances = connected_parts(mask, ignore)
    return sample.replace(weights={_BORDER: border_weights(instances, **needs[_BORDER], ignored=ignored)})


def connected_parts(mask: np.ndarray, ignore: int) -> np.ndarray:
    """Instances for a mask that comes without: the connected parts of each class but 0, the background.

    Pixels that touch at a corner are connected. Objects of one class that touch become one instance, so a
    mask of cells should leave a line of background between them.

    >>> connected_parts(np.array([[1, 0, 1, 2, 255]], np.uint8), ignore=255)
    array([[1, 0, 2, 3, 0]], dtype=int32)
    """
    instances = np.zeros(mask.shape, np.int32)
    count = 0
    for label in np.unique(mask):
        if label in (0, ignore):
            continue
        region = mask == label
        last, parts = cv2.connectedComponents(region.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        np.add(parts, count, out=instances, where=region)
        count += last - 1
    return instances
