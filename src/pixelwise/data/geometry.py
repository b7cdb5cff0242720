"""Shapes into other shapes: pixels to polygons, holes to keyholes, checks of what was drawn."""

from __future__ import annotations

import cv2
import numpy as np

from pixelwise.data.raster import bitmap_window, box_corners, ellipse_outline, rasterise, to_bitmap
from pixelwise.kernels.outline import trace_outlines
from pixelwise.shapes import Bitmap, Box, Ellipse, Geometry, Polygon, Ring, Vertices


def trace(mask: np.ndarray, offset: tuple[int, int] = (0, 0), tolerance: float = 0.0) -> Polygon:
    """The outlines of the on pixels of H×W, with their holes; rasterising them gives the same pixels.

    Parameters
    ----------
    mask
        H×W, zero is off.
    offset
        (x, y) of the mask's upper left corner in the image.
    tolerance
        How many pixels the outline may deviate to save corners (Douglas and Peucker); 0 is exact.

    Examples
    --------
    >>> ring = np.ones((5, 5), np.uint8); ring[2, 2] = 0
    >>> [outline] = trace(ring).rings
    >>> len(outline.exterior), len(outline.holes)
    (4, 1)
    """
    outlines = trace_outlines(mask)
    if not len(outlines.ends):
        return Polygon(())
    _, parts = cv2.connectedComponents((mask != 0).astype(np.uint8), connectivity=4)
    exteriors: dict[int, Vertices] = {}
    holes: dict[int, list[Vertices]] = {}
    begin = 0
    for end, (row, column) in zip(outlines.ends, outlines.starts, strict=True):
        ring = outlines.vertices[begin:end].astype(np.float64) + offset
        begin, part = end, int(parts[row, column])
        kept = simplify(ring, tolerance) if tolerance else ring
        if signed_area(ring) > 0:
            exteriors[part] = kept if len(kept) > 2 else ring
        elif len(kept) > 2:
            holes.setdefault(part, []).append(kept)
    return Polygon(tuple(Ring(outer, tuple(holes.get(part, ()))) for part, outer in exteriors.items()))


def simplify(ring: Vertices, tolerance: float) -> Vertices:
    """Fewer corners, none of those left out further than ``tolerance`` from the new outline."""
    return cv2.approxPolyDP(ring.astype(np.float32), tolerance, True).reshape(-1, 2).astype(np.float64)


def keyhole(ring: Ring) -> Vertices:
    """One outline for a ring with holes: each hole hangs on a bridge that is walked forth and back.

    Under the even-odd rule the bridge cancels out and the same pixels are filled. For formats that know
    no holes.

    Examples
    --------
    >>> square = np.array([[0.0, 0], [9, 0], [9, 9], [0, 9]])
    >>> len(keyhole(Ring(square, (square[::-1] / 3 + 3,))))
    10
    """
    outline = ring.exterior if signed_area(ring.exterior) >= 0 else ring.exterior[::-1]
    for hole in ring.holes:
        hole = hole if signed_area(hole) < 0 else hole[::-1]
        gaps = ((outline[:, None] - hole[None]) ** 2).sum(2)
        at, start = np.unravel_index(int(gaps.argmin()), gaps.shape)
        around = np.concatenate([hole[start:], hole[: start + 1]])
        outline = np.concatenate([outline[: at + 1], around, outline[at:]])
    return outline


def signed_area(ring: Vertices) -> float:
    """Square pixels inside a ring; positive when it runs clockwise as seen (y down).

    >>> signed_area(np.array([[0.0, 0], [2, 0], [2, 3], [0, 3]]))
    6.0
    """
    if len(ring) < 3:
        return 0.0
    x, y = (ring - ring[0]).T  # near the origin no digit is lost
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def crosses_itself(ring: Vertices) -> bool:
    """Whether two edges of a ring cross; edges that touch or lie on each other (bridges) do not count.

    >>> crosses_itself(np.array([[0.0, 0], [2, 2], [2, 0], [0, 2]]))
    True
    """
    begin, end = ring, np.roll(ring, -1, 0)
    if len(ring) < 4:
        return False

    def side(p: Vertices, q: Vertices, r: Vertices) -> np.ndarray:
        (px, py), (qx, qy), (rx, ry) = (
            p.T[:, :, None],
            q.T[:, :, None],
            r.T[:, None, :],
        )
        return np.sign((qx - px) * (ry - py) - (qy - py) * (rx - px))

    # Every edge against every other one, in strips so that long outlines need little memory.
    for first in range(0, len(ring), 512):
        p, q = begin[first : first + 512], end[first : first + 512]
        apart = side(p, q, begin) * side(p, q, end) < 0
        other = (side(begin, end, p) * side(begin, end, q) < 0).T
        if (apart & other).any():
            return True
    return False


def to_polygon(geometry: Geometry, height: int, width: int) -> Polygon:
    """The outline of a shape that covers an area; pixels are traced exactly, ellipses get 64 corners."""
    if isinstance(geometry, Polygon):
        return geometry
    if isinstance(geometry, Box):
        return Polygon.of(box_corners(geometry))
    if isinstance(geometry, Ellipse):
        return Polygon.of(ellipse_outline(geometry))
    if isinstance(geometry, Bitmap):
        return trace(bitmap_window(geometry), (geometry.x, geometry.y))
    return trace(rasterise(geometry, height, width))


def as_pixels(geometry: Geometry, height: int, width: int) -> Bitmap:
    """The pixels that a shape covers in an image, by the fill rule."""
    if isinstance(geometry, Bitmap):
        x, y = geometry.x, geometry.y
        if x >= 0 and y >= 0 and x + geometry.width <= width and y + geometry.height <= height:
            return geometry
    return to_bitmap(rasterise(geometry, height, width))
