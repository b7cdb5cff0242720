"""How far apart two surfaces are: Hausdorff, average surface and normalised surface distance.

Two modes. ``voxels`` takes the voxels of a mask that have a neighbour outside as points of equal weight, as
MONAI does (percentiles: Huttenlocher, Klanderman and Rucklidge, PAMI 1993). ``area`` takes the surface
elements between voxels and weighs each by its area (Nikolov et al., "Deep learning to achieve clinically
applicable segmentation of head and neck anatomy", 2018, arXiv 1809.04430), as google-deepmind's
surface-distance does.

Where this departs: an empty mask has a stated result here, see :class:`SurfaceDistances`; a distance that
equals the tolerance but for the rounding of the spacing counts as within.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pixelwise.errors import DataError, UsageError, unknown_name
from pixelwise.metrics.label_maps import as_label_maps, as_pair, check_classes, mark_class

Mode = Literal["voxels", "area"]
_MODES = ("voxels", "area")
_ROUNDING = 1e-9  # three steps of 0.1 are 0.30000000000000004


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """The distances between the surfaces of two masks, and all numbers that are read from them.

    **Empty masks.** When neither mask has a surface they agree: distances are 0 and the normalised surface
    distance is 1. When only one has, every distance is infinite and the normalised surface distance is 0.

    Attributes
    ----------
    to_target
        N float64, ascending: from each point of the prediction's surface to the target's.
    to_prediction
        M float64, ascending: from each point of the target's surface to the prediction's.
    prediction_areas, target_areas
        The weights of these points, N and M float64: areas (lengths in 2-D) of surface elements, or None
        in the mode ``voxels``, where all weigh the same.
    """

    to_target: np.ndarray
    to_prediction: np.ndarray
    prediction_areas: np.ndarray | None = None
    target_areas: np.ndarray | None = None

    def hausdorff(self, percentile: float = 95) -> float:
        """The larger of the two one-sided Hausdorff distances; ``percentile=100`` is the maximum.

        Percentiles are interpolated linearly between voxels. In the mode ``area`` the result is the distance
        at which that share of the area is reached. UsageError for a percentile outside of 0..100.
        """
        if not 0 <= percentile <= 100:  # also nan
            raise UsageError(f"a percentile lies in 0..100, got {percentile!r}")
        if self._empty is not None:
            return self._empty
        return max(
            _percentile(self.to_target, self.prediction_areas, percentile),
            _percentile(self.to_prediction, self.target_areas, percentile),
        )

    def average_to_target(self) -> float:
        """The mean distance from the prediction's surface to the target's."""
        return self._empty if self._empty is not None else _mean(self.to_target, self.prediction_areas)

    def average_to_prediction(self) -> float:
        """The mean distance from the target's surface to the prediction's."""
        return self._empty if self._empty is not None else _mean(self.to_prediction, self.target_areas)

    def average(self) -> float:
        """The average symmetric surface distance: the mean over the points of both surfaces."""
        if self._empty is not None:
            return self._empty
        both = np.concatenate([self.to_target, self.to_prediction])
        if self.prediction_areas is None or self.target_areas is None:
            return _mean(both, None)
        return _mean(both, np.concatenate([self.prediction_areas, self.target_areas]))

    def normalised(self, tolerance: float) -> float:
        """The normalised surface distance (surface Dice), 0..1: the share of both surfaces within tolerance.

        UsageError for a tolerance that is negative or not finite.
        """
        if not 0 <= tolerance < math.inf:  # also nan
            raise UsageError(f"a tolerance is a finite distance of at least 0, got {tolerance!r}")
        if self._empty is not None:
            return 1.0 if self._empty == 0 else 0.0
        most = tolerance * (1 + _ROUNDING)
        within = total = 0.0
        for distances, areas in (
            (self.to_target, self.prediction_areas),
            (self.to_prediction, self.target_areas),
        ):
            count = int(np.searchsorted(distances, most, side="right"))
            within += count if areas is None else float(areas[:count].sum())
            total += len(distances) if areas is None else float(areas.sum())
        return within / total

    @property
    def _empty(self) -> float | None:
        """What all distances are when a surface is missing, else None."""
        missing = (len(self.to_target) == 0) + (len(self.to_prediction) == 0)
        return (None, math.inf, 0.0)[missing]


def surface_distances(
    prediction: Any, target: Any, spacing: Sequence[float] | None = None, *, mode: Mode = "voxels"
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks once, to read any number from them.

    Parameters
    ----------
    prediction, target
        H×W or D×H×W, booleans, or integers 0 and 1.
    spacing
        Side lengths of a pixel or voxel by axis, in any unit; 1 when None. Distances are in this unit.
    mode
        ``"voxels"``: voxels with a neighbour outside (or beyond the image) are points of equal weight.
        ``"area"``: surface elements between voxels, weighed by their area.

    Raises
    ------
    DataError
        The shapes differ or have other than 2 or 3 dimensions, or the masks hold anything but 0 and 1.
    UsageError
        The spacing is not one positive number for each axis, or there is no such mode.

    Examples
    --------
    >>> a, b = np.zeros((2, 8, 8), bool)
    >>> a[2:6, 2:6] = True
    >>> b[2:6, 2:8] = True
    >>> found = surface_distances(a, b, spacing=(1, 0.5))
    >>> found.hausdorff(100), round(found.average(), 3), round(found.normalised(0.5), 3)
    (1.0, 0.25, 0.786)
    """
    _check_mode(mode)
    masks = as_pair(prediction, target, (2, 3))
    marked = [_as_mask(mask, what) for mask, what in zip(masks, ("prediction", "target"), strict=True)]
    sides = _as_spacing(spacing, marked[0].ndim)
    if all(mask.flags.f_contiguous for mask in marked):  # read as it lies in memory; distances do not mind
        marked, sides = [mask.T for mask in marked], sides[::-1]
    return _measure(np.ascontiguousarray(marked[0]), np.ascontiguousarray(marked[1]), sides, mode)


def class_surface_distances(
    prediction: Any,
    target: Any,
    num_classes: int,
    ignore_index: int = 255,
    spacing: Sequence[float] | None = None,
    *,
    mode: Mode = "voxels",
) -> list[SurfaceDistances | None]:
    """:func:`surface_distances` of every class of two label maps.

    An ignored pixel is neither inside nor outside: where a region ends at ignored pixels it has no surface.

    Parameters
    ----------
    prediction, target
        H×W or D×H×W class ids of any integer type, 0..K-1 or ignored.
    num_classes
        K.
    ignore_index
        The target id of the pixels that do not count.
    spacing, mode
        As :func:`surface_distances` takes them.

    Returns
    -------
    K items; None for a class that occurs neither in the prediction nor in the target, so that absent
    classes leave a mean.

    Raises
    ------
    DataError
        The shapes differ or have other than 2 or 3 dimensions, the values are no integers, or an id is out
        of range.
    UsageError
        As in :func:`surface_distances`, or there is not even one class.

    Examples
    --------
    >>> target = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    >>> prediction = np.array([[0, 1, 1, 1], [0, 1, 1, 1]])
    >>> [d and d.hausdorff(100) for d in class_surface_distances(prediction, target, 3)]
    [1.0, 1.0, None]
    """
    check_classes(num_classes)
    _check_mode(mode)
    maps = as_label_maps(prediction, target, num_classes, ignore_index, (2, 3))
    sides = _as_spacing(spacing, maps.target.ndim)
    ignored = maps.target == num_classes
    found: list[SurfaceDistances | None] = [None] * num_classes
    for number in np.flatnonzero(maps.present).tolist():
        found[number] = _measure(
            mark_class(maps.prediction, number, ignored),
            mark_class(maps.target, number, ignored),
            sides,
            mode,
        )
    return found


def hausdorff(
    a: Any, b: Any, percentile: float = 95, spacing: Sequence[float] | None = None, *, mode: Mode = "voxels"
) -> float:
    """The Hausdorff distance of two masks, by default its 95th percentile; 100 is the maximum.

    Arguments, rules for empty masks and errors: :func:`surface_distances`, :class:`SurfaceDistances`.

    >>> a, b = np.eye(4, dtype=bool), np.eye(4, k=2, dtype=bool)
    >>> hausdorff(a, b, percentile=100)
    2.0
    >>> hausdorff(a, np.zeros_like(a))
    inf
    """
    return surface_distances(a, b, spacing, mode=mode).hausdorff(percentile)


def average_surface_distance(
    prediction: Any,
    target: Any,
    spacing: Sequence[float] | None = None,
    *,
    symmetric: bool = True,
    mode: Mode = "voxels",
) -> float:
    """The mean distance over the points of both surfaces, or from the prediction's to the target's alone.

    Arguments, rules for empty masks and errors: :func:`surface_distances`, :class:`SurfaceDistances`.

    >>> average_surface_distance([[1, 1, 0, 0]], [[0, 1, 0, 0]])
    0.3333333333333333
    """
    found = surface_distances(prediction, target, spacing, mode=mode)
    return found.average() if symmetric else found.average_to_target()


def normalised_surface_distance(
    prediction: Any,
    target: Any,
    tolerance: float,
    spacing: Sequence[float] | None = None,
    *,
    mode: Mode = "voxels",
) -> float:
    """The share of both surfaces that lies within ``tolerance`` of the other, 0..1.

    Arguments, rules for empty masks and errors: :func:`surface_distances`, :class:`SurfaceDistances`.

    >>> normalised_surface_distance([[1, 1, 0, 0]], [[0, 1, 0, 0]], tolerance=0.5)
    0.6666666666666666
    """
    return surface_distances(prediction, target, spacing, mode=mode).normalised(tolerance)


def _measure(
    prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...], mode: str
) -> SurfaceDistances:
    """The distances of two masks in C order as the kernels take them."""
    # numba takes a third of a second to import
    from pixelwise.kernels.surface import edge_points, element_areas, mask_distances, surface_elements

    if mode == "voxels":
        found = mask_distances(prediction, target, spacing, edge_points)
        return SurfaceDistances(np.sort(found.a_to_b), np.sort(found.b_to_a))
    found = mask_distances(prediction, target, spacing, surface_elements)
    areas = element_areas(spacing)
    to_target, prediction_areas = _sorted(found.a_to_b, areas[found.a_codes])
    to_prediction, target_areas = _sorted(found.b_to_a, areas[found.b_codes])
    return SurfaceDistances(to_target, to_prediction, prediction_areas, target_areas)


def _sorted(distances: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(distances)
    return distances[order], areas[order]


def _percentile(distances: np.ndarray, areas: np.ndarray | None, percentile: float) -> float:
    """Of ascending distances."""
    if areas is None:
        place = percentile / 100 * (len(distances) - 1)
        below = int(place)
        above = min(below + 1, len(distances) - 1)
        return float(distances[below] + (place - below) * (distances[above] - distances[below]))
    shares = np.cumsum(areas) / areas.sum()
    place = int(np.searchsorted(shares, percentile / 100))
    return float(distances[min(place, len(distances) - 1)])


def _mean(distances: np.ndarray, areas: np.ndarray | None) -> float:
    return float(distances.mean() if areas is None else (distances * areas).sum() / areas.sum())


def _as_mask(values: np.ndarray, what: str) -> np.ndarray:
    """The same pixels as uint8, 0 and 1."""
    if values.dtype == np.bool_:
        return values.view(np.uint8)
    if values.dtype.kind not in "ui":
        raise DataError(f"the {what} must be a mask of booleans, or of 0 and 1, but is {values.dtype}")
    if values.size and not 0 <= values.min() <= values.max() <= 1:
        odd = values.max() if values.max() > 1 else values.min()
        raise DataError(
            f"the {what} must be a mask of booleans, or of 0 and 1, but a value is {odd}; "
            "pick a class with ==, or give label maps to class_surface_distances"
        )
    return values.astype(np.uint8, copy=False)


def _as_spacing(spacing: Sequence[float] | None, dims: int) -> tuple[float, ...]:
    if spacing is None:
        return (1.0,) * dims
    try:
        sides = tuple(float(side) for side in spacing)
    except (TypeError, ValueError):
        raise UsageError(f"spacing is one number for each axis, got {spacing!r}") from None
    if len(sides) != dims:
        raise UsageError(f"spacing needs {dims} numbers for masks of {dims} dimensions, got {len(sides)}")
    if not all(0 < side < math.inf for side in sides):  # also nan
        raise UsageError(f"spacing must be positive and finite, got {sides}")
    return sides


def _check_mode(mode: str) -> None:
    if mode not in _MODES:
        raise unknown_name("mode of surface distances", mode, _MODES)
