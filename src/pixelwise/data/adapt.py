"""Making shapes fit what a format can hold, and counting what is lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pixelwise.data.geometry import as_pixels, keyhole, to_polygon
from pixelwise.shapes import Box, Ellipse, Geometry, Polygon, Ring, Shape


@dataclass(frozen=True)
class Holds:
    """What a format can hold; everything else is turned into what it can, or reported as lost.

    Attributes
    ----------
    kinds
        Names of geometries: polygon, bitmap, box, ellipse, polyline, points.
    turned_boxes, turned_ellipses
        Whether they may be rotated.
    only_circles
        Whether an ellipse must have one radius.
    holes
        Whether polygons may have holes.
    parts
        Whether one shape may have several rings.
    groups
        Whether shapes can be tied together as one instance.
    tracks, order, crowds, occlusion, scores, attributes, tags
        Whether it keeps track numbers, paint order other than the list's, crowds, what is hidden,
        confidences, attributes of shapes, and what is said of whole images.
    ignored
        Whether areas that are to be ignored can be told from the background.
    splits
        Whether one export holds several splits; otherwise each goes into a folder of its name.
    """

    kinds: frozenset[str]
    turned_boxes: bool = False
    turned_ellipses: bool = False
    only_circles: bool = False
    holes: bool = False
    parts: bool = False
    groups: bool = False
    tracks: bool = False
    order: bool = False
    crowds: bool = False
    occlusion: bool = False
    scores: bool = False
    attributes: bool = False
    tags: bool = False
    ignored: bool = False
    splits: bool = False


_AREAS = ("polygon", "bitmap", "box", "ellipse")
_FIELDS = (  # of Holds, of Shape, what it means when it is not kept
    ("tracks", "track", "track number"),
    ("crowds", "crowd", "mark of a crowd"),
    ("occlusion", "occluded", "mark of occlusion"),
    ("scores", "score", "score"),
    ("attributes", "attributes", "attributes of a shape"),
    ("groups", "group", "group of shapes"),
)


def adapt(shape: Shape, holds: Holds, size: tuple[int, int], losses: Counter[str]) -> list[Shape]:
    """The shapes that stand for one shape in a format; what gets lost or changes is counted in ``losses``.

    Examples
    --------
    >>> from pixelwise.shapes import Ellipse
    >>> losses = Counter()
    >>> [outline] = adapt(Shape("eye", Ellipse(5, 5, 2, 1)), Holds(frozenset({"polygon"})), (9, 9), losses)
    >>> outline.kind, dict(losses)
    ('polygon', {'ellipse written as polygon': 1})
    """
    geometries = _geometries(shape.geometry, shape.kind, holds, size, losses)
    for held, name, meaning in _FIELDS:
        value = getattr(shape, name)
        empty = value is None or value is False or value == {}  # 0 is a number like any other
        if not getattr(holds, held) and not empty:
            losses[f"{meaning} not written"] += 1
    return [replace(shape, geometry=geometry) for geometry in geometries]


def _geometries(
    geometry: Geometry, kind: str, holds: Holds, size: tuple[int, int], losses: Counter[str]
) -> list[Geometry]:
    if kind in holds.kinds and _fits(geometry, holds):
        return _rings(geometry, holds, size, losses) if isinstance(geometry, Polygon) else [geometry]
    if kind not in _AREAS:
        losses[f"{kind} left out"] += 1
        return []
    if "polygon" in holds.kinds:
        # A plain box is a polygon just as well; everything else is worth telling.
        if kind != "box":
            losses[f"{kind} written as polygon"] += 1
        outline = to_polygon(geometry, *size)
        return _rings(outline, holds, size, losses) if outline.rings else []
    if "bitmap" in holds.kinds:
        losses[f"{kind} written as pixels"] += 1
        return [as_pixels(geometry, *size)]
    losses[f"{kind} left out"] += 1
    return []


def _fits(geometry: Geometry, holds: Holds) -> bool:
    """Whether a box or an ellipse is of the form that the format has."""
    if isinstance(geometry, Box):
        return holds.turned_boxes or geometry.angle == 0
    if isinstance(geometry, Ellipse):
        circle = geometry.rx == geometry.ry
        return circle or not (holds.only_circles or (geometry.angle and not holds.turned_ellipses))
    return True


def _rings(polygon: Polygon, holds: Holds, size: tuple[int, int], losses: Counter[str]) -> list[Geometry]:
    """A polygon with no more parts and holes than the format can hold."""
    with_holes = any(ring.holes for ring in polygon.rings)
    if with_holes and not holds.holes:
        if "bitmap" in holds.kinds:
            losses["polygon with holes written as pixels"] += 1
            return [as_pixels(polygon, *size)]
        losses["holes written as keyholes"] += 1
        polygon = Polygon(tuple(Ring(keyhole(ring)) for ring in polygon.rings))
    if len(polygon.rings) < 2 or holds.parts:
        return [polygon]
    if "bitmap" in holds.kinds and not holds.groups:
        losses["polygon of several parts written as pixels"] += 1
        return [as_pixels(polygon, *size)]
    if not holds.groups:
        losses["polygon of several parts written as single ones"] += 1
    return [Polygon((ring,)) for ring in polygon.rings]


def tie_parts(parts: list[Shape], used: Iterator[int]) -> list[Shape]:
    """Give the parts of one shape a common group, a new one unless it has one."""
    if len(parts) < 2 or parts[0].group is not None:
        return parts
    group = next(used)
    return [replace(part, group=group) for part in parts]
