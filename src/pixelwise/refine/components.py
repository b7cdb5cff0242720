"""Cleaning up a mask by its connected components: specks go, holes close."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.labels import LabelMap


def clean(
    mask: Any,
    labels: LabelMap | None = None,
    *,
    min_area: int | Mapping[Any, int] = 0,
    fill_holes: int | Mapping[Any, int] = 0,
    connectivity: int = 8,
    ignore_index: int = 255,
) -> np.ndarray:
    """A mask without components that are too small and without holes that are small enough.

    First, all components of any class below its ``min_area`` go together. Their pixels take the class of the
    nearest pixel that stays, of any of them where several are equally near. If no pixel stays, nothing
    changes. Then holes of up to ``fill_holes`` pixels close: a hole of a class is a
    connected region of anything else, whole instances of other classes included, that the class alone
    surrounds and that does not touch the image's border.

    Ignored pixels never change and give no one their class; a hole with one in it stays open.

    Parameters
    ----------
    mask
        H×W class ids; or Z×Y×X, where areas are voxels.
    labels
        Gives the ignored id, and lets the mappings name classes.
    min_area, fill_holes
        Pixels, for every class or by class id or name; classes that a mapping leaves out have 0.
    connectivity
        Of a component: with 8, pixels touch at corners too, with 4 at sides only (26 and 6 in volumes). A
        hole always leaks through a corner.
    ignore_index
        The id of the ignored pixels, without ``labels``.

    Returns
    -------
    A new mask of the same shape and type.

    Raises
    ------
    DataError
        The mask is not of integers, or of another number of dimensions.
    UsageError
        A negative area, another connectivity, or a class that does not exist.

    Examples
    --------
    >>> mask = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 2], [0, 0, 2, 2]], np.uint8)
    >>> clean(mask, min_area=2)
    array([[0, 0, 0, 0],
           [0, 0, 0, 0],
           [0, 0, 0, 2],
           [0, 0, 2, 2]], dtype=uint8)
    """
    array = np.asarray(mask)
    if array.ndim not in (2, 3) or array.dtype.kind not in "ui":
        raise DataError(
            f"a mask must be HxW or ZxYxX integers, found {'x'.join(map(str, array.shape))} {array.dtype}"
        )
    if connectivity not in (4, 8):
        raise UsageError(f"connectivity must be 4 or 8, not {connectivity}")
    ignored = array == (ignore_index if labels is None else labels.ignore)
    ids = [int(i) for i in np.unique(array[~ignored])]
    least, largest_hole = (
        _by_class(name, given, labels) for name, given in (("min_area", min_area), ("fill_holes", fill_holes))
    )

    cleaned = array.copy()
    small = np.zeros(array.shape, bool)
    for i in ids:
        if least(i) > 1:
            components, areas = _components(array == i, connectivity == 8)
            too_small = areas < least(i)
            too_small[0] = False
            small |= too_small[components]
    stays = ~(small | ignored)
    if small.any() and stays.any():
        nearest = ndimage.distance_transform_edt(~stays, return_distances=False, return_indices=True)
        cleaned[small] = array[tuple(axis[small] for axis in nearest)]

    for i in ids:
        if largest_hole(i) > 0:
            holes, areas = _components(cleaned != i, diagonal=True)
            closes = areas <= largest_hole(i)
            closes[0] = False
            closes[_at_border(holes)] = False
            closes[holes[ignored]] = False
            cleaned[closes[holes]] = i
    return cleaned


def _by_class(name: str, given: Any, labels: LabelMap | None) -> Any:
    """A function from class id to area."""
    areas = given.values() if isinstance(given, Mapping) else [given]
    if any(area < 0 for area in areas):
        raise UsageError(f"{name} is a number of pixels and must be at least 0, not {min(areas)}")
    if not isinstance(given, Mapping):
        return lambda _: given
    by_id = {}
    for key, area in given.items():
        if isinstance(key, str):
            names = [] if labels is None else list(labels.names)
            if key not in names:
                raise unknown_name("class", key, names)
            key = names.index(key)
        by_id[int(key)] = area
    return lambda i: by_id.get(i, 0)


def _components(region: np.ndarray, diagonal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the region's connected components, 0 outside, and how large each number's component is."""
    if region.ndim == 2:
        _, components = cv2.connectedComponents(region.view(np.uint8), connectivity=8 if diagonal else 4)
    else:
        structure = ndimage.generate_binary_structure(3, 3 if diagonal else 1)
        components, _ = ndimage.label(region, structure)
    return components, np.bincount(components.ravel())


def _at_border(components: np.ndarray) -> np.ndarray:
    faces = [np.take(components, end, axis).ravel() for axis in range(components.ndim) for end in (0, -1)]
    return np.unique(np.concatenate(faces))
