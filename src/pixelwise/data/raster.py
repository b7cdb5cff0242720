"""Shapes to pixels, as late as possible and by one rule.

**The fill rule**: a pixel belongs to a shape when its centre lies inside. A single ring fills by even-odd,
several rings of one shape are united, holes are cut out of their own ring. Lines cover the pixels whose
centre lies within half their width (at least 0.71 pixels, so that a thin line has no gap), points a disc.
Shapes are painted by ``z``, then in the order of the list: the last one painted owns the pixel.

``rule="labelme"`` draws as LabelMe does instead (Pillow, outline included): shapes come out up to a pixel
larger, and conversions that LabelMe made are reproduced to the last pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from pixelwise.errors import UsageError
from pixelwise.kernels.raster import fill_rings
from pixelwise.kernels.runs import decode_runs, encode_runs
from pixelwise.shapes import Bitmap, Box, Ellipse, Geometry, Points, Polygon, Polyline, Shape, Vertices

FillRule = Literal["centre", "labelme"]
FILL_RULES: tuple[FillRule, ...] = ("centre", "labelme")
_NO_GAPS = 0.5**0.5  # half the diagonal of a pixel
_LABELME_LINE, _LABELME_POINT = 10, 5  # what LabelMe itself draws, in pixels


def paint(
    canvas: np.ndarray, shapes: Sequence[Shape], values: Sequence[int], rule: FillRule = "centre"
) -> None:
    """Paint shapes into an H×W array of integers, later ones over earlier ones within the same ``z``.

    Parameters
    ----------
    canvas
        H×W of any integer type, written in place.
    shapes
        What to paint.
    values
        The value of each shape.
    rule
        ``"centre"``, or ``"labelme"`` to draw as LabelMe does.

    Examples
    --------
    >>> canvas = np.zeros((2, 3), np.uint8)
    >>> paint(canvas, [Shape("car", Box(1, 0, 3, 2))], [5])
    >>> canvas.tolist()
    [[0, 5, 5], [0, 5, 5]]
    """
    if rule not in FILL_RULES:
        raise UsageError(f"unknown fill rule '{rule}': expected centre or labelme")
    order = sorted(range(len(shapes)), key=lambda i: shapes[i].z)  # stable: the list decides ties
    waiting: list[tuple[Vertices, int]] = []  # plain rings go to the kernel many at a time
    for i in order:
        geometry = shapes[i].geometry
        if rule == "centre" and (ring := _plain_ring(geometry)) is not None:
            waiting.append((ring, values[i]))
            continue
        _fill_waiting(canvas, waiting)
        if rule == "labelme":
            _paint_as_labelme(canvas, geometry, values[i])
        else:
            _paint_one(canvas, geometry, values[i])
    _fill_waiting(canvas, waiting)


def rasterise(geometry: Geometry, height: int, width: int, rule: FillRule = "centre") -> np.ndarray:
    """The pixels of one shape: H×W bool.

    >>> rasterise(Ellipse(2, 1, 2, 1), 2, 4).astype(int).tolist()
    [[1, 1, 1, 1], [1, 1, 1, 1]]
    """
    canvas = np.zeros((height, width), np.uint8)
    paint(canvas, [Shape("", geometry)], [1], rule)
    return canvas.view(bool)


def to_bitmap(mask: np.ndarray) -> Bitmap:
    """The on pixels of H×W as a bitmap, cut to the smallest window that holds them."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return Bitmap(0, 0, 0, 0, np.zeros(0, np.uint32))
    window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = window.shape
    return Bitmap(int(columns[0]), int(rows[0]), height, width, encode_runs(window))


def bitmap_window(bitmap: Bitmap) -> np.ndarray:
    """The window of a bitmap: H×W uint8 of 0 and 1."""
    return decode_runs(bitmap.runs, bitmap.height, bitmap.width)


def box_corners(box: Box) -> Vertices:
    """The four corners of a box, from the upper left one clockwise before it is turned: 4×2 float64."""
    corners = np.array([(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)], np.float64)
    if not box.angle:
        return corners
    centre = corners.mean(0)
    return (corners - centre) @ _turn(box.angle).T + centre


def ellipse_outline(ellipse: Ellipse, corners: int = 64) -> Vertices:
    """A polygon of the same area as an ellipse: N×2 float64."""
    angles = np.arange(corners) * (2 * np.pi / corners)
    grow = np.sqrt(2 * np.pi / (corners * np.sin(2 * np.pi / corners)))
    around = np.stack([ellipse.rx * np.cos(angles), ellipse.ry * np.sin(angles)], 1) * grow
    return around @ _turn(ellipse.angle).T + (ellipse.cx, ellipse.cy)


def bounds(geometry: Geometry) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) of what a shape covers, as it was drawn."""
    if isinstance(geometry, Bitmap):
        return geometry.x, geometry.y, geometry.x + geometry.width, geometry.y + geometry.height
    if isinstance(geometry, Ellipse):
        turn = np.abs(_turn(geometry.angle)) ** 2
        dx, dy = np.sqrt(turn @ (geometry.rx**2, geometry.ry**2))
        return geometry.cx - dx, geometry.cy - dy, geometry.cx + dx, geometry.cy + dy
    if isinstance(geometry, Polygon):
        points = np.concatenate([ring.exterior for ring in geometry.rings] or [np.zeros((1, 2))])
    else:
        points = box_corners(geometry) if isinstance(geometry, Box) else geometry.points
    grow = {Polyline: "width", Points: "radius"}.get(type(geometry))
    reach = getattr(geometry, grow) / (2 if grow == "width" else 1) if grow else 0.0
    (x0, y0), (x1, y1) = points.min(0) - reach, points.max(0) + reach
    return float(x0), float(y0), float(x1), float(y1)


def _turn(degrees: float) -> np.ndarray:
    """The matrix that turns (x, y) clockwise as seen on a screen, where y runs down."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def _plain_ring(geometry: Geometry) -> Vertices | None:
    """The outline, where filling it is all there is to do."""
    if isinstance(geometry, Polygon) and len(geometry.rings) == 1 and not geometry.rings[0].holes:
        return geometry.rings[0].exterior
    return box_corners(geometry) if isinstance(geometry, Box) else None


def _fill_waiting(canvas: np.ndarray, waiting: list[tuple[Vertices, int]]) -> None:
    if waiting:
        rings = [ring for ring, _ in waiting]
        values = np.array([value for _, value in waiting], np.int64)
        fill_rings(canvas, np.concatenate(rings), np.cumsum([len(ring) for ring in rings]), values)
        waiting.clear()


def _paint_one(canvas: np.ndarray, geometry: Geometry, value: int) -> None:
    x0, y0, x1, y1 = bounds(geometry)
    height, width = canvas.shape
    # A pixel of margin for the lines that are drawn wider than they are.
    left, top = max(int(np.floor(x0)) - 1, 0), max(int(np.floor(y0)) - 1, 0)
    right, bottom = min(int(np.ceil(x1)) + 1, width), min(int(np.ceil(y1)) + 1, height)
    if left >= right or top >= bottom:
        return
    window = canvas[top:bottom, left:right]
    window[_covered(geometry, left, top, window.shape)] = value


def _covered(geometry: Geometry, left: int, top: int, size: tuple[int, int]) -> np.ndarray:
    """Which pixels of a window of the image a shape covers: H×W bool."""
    height, width = size
    covered = np.zeros(size, np.uint8)
    if isinstance(geometry, Bitmap):
        pixels = bitmap_window(geometry)
        x, y = geometry.x - left, geometry.y - top
        inside = pixels[max(-y, 0) : height - y, max(-x, 0) : width - x]
        covered[max(y, 0) : max(y, 0) + inside.shape[0], max(x, 0) : max(x, 0) + inside.shape[1]] = inside
    elif isinstance(geometry, Polygon):
        for ring in geometry.rings:
            outlines = [ring.exterior, *ring.holes]
            area = np.zeros(size, np.uint8)
            ends = np.cumsum([len(outline) for outline in outlines])
            values = np.array([1, *[0] * len(ring.holes)])
            fill_rings(area, np.concatenate(outlines) - (left, top), ends, values)
            covered |= area
    else:
        centres_x = np.arange(width) + left + 0.5
        centres_y = np.arange(height)[:, None] + top + 0.5
        covered |= _near(geometry, centres_x, centres_y)
    return covered.view(bool)


def _near(geometry: Geometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pixels by the distance of their centres, for the shapes that are given by distances."""
    if isinstance(geometry, Ellipse):
        (a, b), (c, d) = _turn(-geometry.angle)
        dx, dy = x - geometry.cx, y - geometry.cy
        rx, ry = max(geometry.rx, 1e-9), max(geometry.ry, 1e-9)
        return ((a * dx + b * dy) / rx) ** 2 + ((c * dx + d * dy) / ry) ** 2 <= 1
    near = np.zeros((len(y), x.shape[-1]), bool)
    if isinstance(geometry, Points):
        for px, py in geometry.points if geometry.radius > 0 else ():
            near |= (x - px) ** 2 + (y - py) ** 2 <= geometry.radius**2
    elif isinstance(geometry, Polyline):
        reach = max(geometry.width / 2, _NO_GAPS)
        for (px, py), (qx, qy) in _segments(geometry.points):
            length = (qx - px) ** 2 + (qy - py) ** 2
            along = np.clip(((x - px) * (qx - px) + (y - py) * (qy - py)) / max(length, 1e-12), 0, 1)
            near |= (x - px - along * (qx - px)) ** 2 + (y - py - along * (qy - py)) ** 2 <= reach**2
    return near


def _segments(points: Vertices) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    return zip(points, points[1:], strict=False) if len(points) > 1 else [(points[0], points[0])]


def _paint_as_labelme(canvas: np.ndarray, geometry: Geometry, value: int) -> None:
    """What LabelMe's own conversions draw, shape by shape (Pillow's rules, outline included)."""
    from PIL import Image, ImageDraw

    picture = Image.new("1", (canvas.shape[1], canvas.shape[0]))
    pen = ImageDraw.Draw(picture)
    if isinstance(geometry, Bitmap):
        return _paint_one(canvas, geometry, value)
    if isinstance(geometry, Box) and not geometry.angle:
        pen.rectangle([geometry.x0, geometry.y0, geometry.x1, geometry.y1], fill=1, outline=1)
    elif isinstance(geometry, Ellipse):
        x0, y0, x1, y1 = bounds(geometry)
        pen.ellipse([x0, y0, x1, y1], fill=1, outline=1)
    elif isinstance(geometry, Polyline):
        pen.line([*map(tuple, geometry.points)], fill=1, width=_LABELME_LINE)
    elif isinstance(geometry, Points):
        for x, y in geometry.points if geometry.radius > 0 else ():  # prompts of its models are not drawn
            r = _LABELME_POINT
            pen.ellipse([x - r, y - r, x + r, y + r], fill=1, outline=1)
    else:
        rings = geometry.rings if isinstance(geometry, Polygon) else []
        outlines = [ring.exterior for ring in rings] or [box_corners(geometry)]  # type: ignore[arg-type]
        for outline in outlines:
            pen.polygon([*map(tuple, outline)], fill=1, outline=1)
    canvas[np.array(picture)] = value
    return None
