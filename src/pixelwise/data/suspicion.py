"""Shapes that are probably not what somebody meant to draw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pixelwise.data.geometry import crosses_itself, signed_area
from pixelwise.data.raster import bounds
from pixelwise.shapes import Bitmap, Box, Ellipse, Geometry, Points, Polygon, Polyline, Shape

_MOST_CORNERS = 4000  # outlines of more corners were not drawn by hand, and cost time
_OUTSIDE_BY = 1.0  # pixels; tools round

KINDS = {
    "self_crossing": (
        "shapes whose outline crosses itself",
        "draw them again; the crossing parts are filled by even-odd",
    ),
    "few_corners": ("areas with fewer than 3 corners", "draw them again, or delete them"),
    "zero_area": ("shapes without an area", "delete them"),
    "outside": ("shapes that lie outside the image", "delete them, or check the size of the image"),
    "beyond_edge": ("shapes that reach beyond the image, which are cut off there", ""),
    "duplicate": ("shapes that are there twice", "delete one of each"),
}
"""What is looked for: what to say of it, and what to do."""


class Suspect(NamedTuple):
    """One shape that looks wrong: which kind, its number in the list, and its label."""

    kind: str
    number: int
    label: str


def find_suspects(shapes: Sequence[Shape], height: int, width: int) -> list[Suspect]:
    """Shapes of one image that cross themselves, are empty, lie outside or are there twice.

    Examples
    --------
    >>> car, bus = Shape("car", Box(0, 0, 4, 4)), Shape("bus", Box(9, 9, 12, 12))
    >>> [(suspect.kind, suspect.number) for suspect in find_suspects([car, car, bus], 8, 8)]
    [('duplicate', 1), ('outside', 2)]
    """
    seen: dict[tuple[object, ...], int] = defaultdict(int)
    suspects = []
    for number, shape in enumerate(shapes):
        for kind in _of_geometry(shape.geometry, height, width):
            suspects.append(Suspect(kind, number, shape.label))
        key = (shape.label, *_key(shape.geometry))
        if seen[key]:
            suspects.append(Suspect("duplicate", number, shape.label))
        seen[key] += 1
    return suspects


def _of_geometry(geometry: Geometry, height: int, width: int) -> Iterator[str]:
    if isinstance(geometry, Polygon):
        outlines = [ring.exterior for ring in geometry.rings]
        if any(len(outline) < 3 for outline in outlines):
            yield "few_corners"
            return
        if any(3 < len(outline) <= _MOST_CORNERS and crosses_itself(outline) for outline in outlines):
            yield "self_crossing"
        elif not any(abs(signed_area(outline)) > 0 for outline in outlines):
            yield "zero_area"
            return
    elif _is_empty(geometry):
        yield "zero_area"
        return
    x0, y0, x1, y1 = bounds(geometry)
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        yield "outside"
    elif min(x0, y0, width - x1, height - y1) < -_OUTSIDE_BY and not isinstance(geometry, Polyline | Points):
        yield "beyond_edge"


def _is_empty(geometry: Geometry) -> bool:
    if isinstance(geometry, Box):
        return geometry.x0 == geometry.x1 or geometry.y0 == geometry.y1
    if isinstance(geometry, Ellipse):
        return geometry.rx <= 0 or geometry.ry <= 0
    if isinstance(geometry, Bitmap):
        return int(geometry.runs[1::2].sum()) == 0
    return False


def _key(geometry: Geometry) -> tuple[object, ...]:
    """Equal for the same drawing."""
    if isinstance(geometry, Polygon):
        return tuple(np.asarray(ring.exterior).tobytes() for ring in geometry.rings)
    if isinstance(geometry, Bitmap):
        return (geometry.x, geometry.y, geometry.height, geometry.width, geometry.runs.tobytes())
    if isinstance(geometry, Box):
        return (Box, geometry.x0, geometry.y0, geometry.x1, geometry.y1, geometry.angle)
    if isinstance(geometry, Ellipse):
        return (Ellipse, geometry.cx, geometry.cy, geometry.rx, geometry.ry, geometry.angle)
    return (type(geometry), geometry.points.tobytes())
