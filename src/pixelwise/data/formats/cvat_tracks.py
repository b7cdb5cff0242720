"""Tracks of CVAT: from the frames that somebody drew to all frames between them.

CVAT writes every frame of a track, the ones between keyframes included; other programs write keyframes only.
A track is seen from a keyframe up to the next one, unless that keyframe says ``outside``, and after its last
keyframe to the end of the task. In between, boxes, ellipses and outlines with as many corners on both sides
move in a straight line; everything else stays as it is until the next keyframe. (CVAT itself also moves
outlines with different numbers of corners; it writes those frames out, so there is nothing to guess.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixelwise.shapes import Box, Ellipse, Geometry, Points, Polygon, Polyline, Ring, Shape


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A track at one frame; ``shape`` is None where only the end of the track is known."""

    frame: int
    shape: Shape | None
    outside: bool = False


def spread(keyframes: Sequence[Keyframe], frames: Sequence[int]) -> Iterator[tuple[int, Shape]]:
    """(frame, shape) of every frame in which a track is seen.

    Parameters
    ----------
    keyframes
        Sorted by frame, one for each.
    frames
        The frames there are, sorted.

    Examples
    --------
    >>> begin, end = Shape("car", Box(0, 0, 2, 2)), Shape("car", Box(4, 0, 6, 2))
    >>> track = [Keyframe(0, begin), Keyframe(4, end, outside=True)]
    >>> [(frame, shape.geometry.x0) for frame, shape in spread(track, range(0, 9, 2))]
    [(0, 0), (2, 2.0)]
    """
    for now, after in zip(keyframes, [*keyframes[1:], None], strict=True):
        if now.outside or now.shape is None:
            continue
        first = bisect_left(frames, now.frame)
        last = len(frames) if after is None else bisect_left(frames, after.frame)
        for frame in frames[first:last]:
            shape = now.shape  # one object for all frames in which it stays: these may be many
            if after is not None and after.shape is not None and frame != now.frame:
                share = (frame - now.frame) / (after.frame - now.frame)
                geometry = between(shape.geometry, after.shape.geometry, share)
                shape = shape if geometry is shape.geometry else replace(shape, geometry=geometry)
            yield frame, shape


def between(a: Geometry, b: Geometry, share: float) -> Geometry:
    """The geometry a ``share`` of the way from one to another; the first where that has no meaning.

    Angles take the shorter way around.

    >>> between(Box(0, 0, 2, 2, 350), Box(2, 0, 4, 2, 10), 0.5)
    Box(x0=1.0, y0=0.0, x1=3.0, y1=2.0, angle=360.0)
    """
    if isinstance(a, Box) and isinstance(b, Box):
        x0, y0, x1, y1 = _line((a.x0, a.y0, a.x1, a.y1), (b.x0, b.y0, b.x1, b.y1), share).tolist()
        return Box(x0, y0, x1, y1, _turned(a.angle, b.angle, share))
    if isinstance(a, Ellipse) and isinstance(b, Ellipse):
        cx, cy, rx, ry = _line((a.cx, a.cy, a.rx, a.ry), (b.cx, b.cy, b.rx, b.ry), share).tolist()
        return Ellipse(cx, cy, rx, ry, _turned(a.angle, b.angle, share))
    if isinstance(a, Polygon) and isinstance(b, Polygon):
        ring, other = a.rings[0].exterior, b.rings[0].exterior
        return Polygon((Ring(_line(ring, other, share)),)) if len(ring) == len(other) else a
    if isinstance(a, Polyline) and isinstance(b, Polyline) and len(a.points) == len(b.points):
        return replace(a, points=_line(a.points, b.points, share))
    if isinstance(a, Points) and isinstance(b, Points) and len(a.points) == len(b.points):
        return replace(a, points=_line(a.points, b.points, share))
    return a


def _line(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, share: float) -> np.ndarray:
    return np.asarray(a) * (1 - share) + np.asarray(b) * share


def _turned(a: float, b: float, share: float) -> float:
    return a + ((b - a + 180) % 360 - 180) * share
