"""What people draw on images: one model for the shapes of every annotation tool.

Coordinates are pixels in the corner convention: (0, 0) is the top left corner of the image, the centre of
the first pixel is (0.5, 0.5), x runs right and y down. Shapes are turned into pixels as late as possible,
by :mod:`pixelwise.data.raster`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Vertices = np.ndarray
"""N×2 float64 (x, y)."""


class Ring(NamedTuple):
    """An area with a closed outline, and the holes that are cut out of it."""

    exterior: Vertices
    holes: tuple[Vertices, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """One or more areas that belong together, each with its holes; where areas overlap they are united."""

    rings: tuple[Ring, ...]

    @classmethod
    def of(cls, points: Sequence[Sequence[float]] | np.ndarray) -> Polygon:
        """A polygon without holes.

        >>> Polygon.of([(0, 0), (4, 0), (4, 3)]).rings[0].exterior.shape
        (3, 2)
        """
        return cls((Ring(as_vertices(points)),))


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """Pixels one by one, kept as run lengths: the window at (x, y) is read column by column.

    Attributes
    ----------
    x, y
        The window's left column and top row in the image.
    height, width
        The window's size.
    runs
        Lengths of runs, alternately off and on and starting with off, as COCO has them.
    """

    x: int
    y: int
    height: int
    width: int
    runs: np.ndarray


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; ``angle`` turns it clockwise (as seen, y down) about its centre, in degrees."""

    x0: float
    y0: float
    x1: float
    y1: float
    angle: float = 0.0


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse with half axes; ``angle`` turns it clockwise (as seen, y down), in degrees."""

    cx: float
    cy: float
    rx: float
    ry: float
    angle: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Polyline:
    """An open line; it covers the pixels within half its width."""

    points: Vertices
    width: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Single places; each covers a disc, or nothing when the radius is 0."""

    points: Vertices
    radius: float = 0.0


Geometry = Polygon | Bitmap | Box | Ellipse | Polyline | Points
KINDS: dict[type, str] = {
    Polygon: "polygon",
    Bitmap: "bitmap",
    Box: "box",
    Ellipse: "ellipse",
    Polyline: "polyline",
    Points: "points",
}
"""What each kind of geometry is called in reports."""


@dataclass(slots=True)
class Shape:
    """One thing that somebody drew and named.

    Attributes
    ----------
    label
        The class name.
    geometry
        Where it is.
    z
        Paint order: higher values lie on top; equal ones in the order of the list.
    group
        Shapes of one image with the same label and group are one instance; None stands alone.
    track
        The same number in several frames of a video is the same thing.
    crowd
        It stands for many that were not told apart.
    occluded
        Part of it is hidden.
    score
        Confidence 0..1 of a prediction.
    attributes
        What else is known, by name: strings, numbers, booleans or lists of them.
    """

    label: str
    geometry: Geometry
    z: int = 0
    group: int | None = None
    track: int | None = None
    crowd: bool = False
    occluded: bool = False
    score: float | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of its geometry, such as ``"polygon"``."""
        return KINDS[type(self.geometry)]


def as_vertices(points: Sequence[Sequence[float]] | np.ndarray) -> Vertices:
    """N×2 float64 from pairs, or from a flat ``x, y, x, y, ...`` list.

    >>> as_vertices([0, 0, 4, 0, 4, 3]).tolist()
    [[0.0, 0.0], [4.0, 0.0], [4.0, 3.0]]
    """
    return np.asarray(points, np.float64).reshape(-1, 2)
