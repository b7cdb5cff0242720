"""A pinhole camera above the ground: the projection, and what it does to planes.

World coordinates are metres, X to the right, Y up, Z along the street; the ground is Y = 0. Image coordinates
are pixels with the origin at the corner, so that pixel (i, j) has its centre at (i + 0.5, j + 0.5).

Every surface of the street is a plane, and a pinhole camera maps a plane to the image by a 3×3 homography
(Hartley and Zisserman, Multiple View Geometry, 2nd ed., section 8.1). Its third coordinate is the depth in
metres, which makes the inverse depth of a plane linear in pixels: an exact depth test and exact optical flow
for free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR = 0.4
"""Metres; nothing closer is drawn."""

_CORNERS = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and what it sees.

    Attributes
    ----------
    rotation
        3×3, world to camera (right, down, forward).
    position
        3 metres.
    focal
        Pixels.
    size
        Height and width of the image in pixels.
    """

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    size: tuple[int, int]

    @classmethod
    def at(
        cls,
        position: tuple[float, float, float],
        yaw: float,
        pitch: float,
        roll: float,
        focal: float,
        size: tuple[int, int],
    ) -> Camera:
        """Looks along Z, turned right by ``yaw``, up by ``pitch``, clockwise by ``roll`` (radians)."""
        upright = np.diag([1.0, -1.0, 1.0])  # the image's y points down
        turn = _rotation(2, roll) @ _rotation(0, -pitch) @ upright @ _rotation(1, -yaw)
        return cls(turn, np.asarray(position, np.float64), focal, size)

    @property
    def intrinsics(self) -> np.ndarray:
        """3×3 matrix from camera coordinates to homogeneous pixels."""
        height, width = self.size
        return np.array([[self.focal, 0, width / 2], [0, self.focal, height / 2], [0, 0, 1.0]])

    @property
    def projection(self) -> np.ndarray:
        """3×4 matrix from homogeneous world coordinates to (x·depth, y·depth, depth)."""
        offset = -self.rotation @ self.position
        return self.intrinsics @ np.column_stack([self.rotation, offset])

    @property
    def ground(self) -> np.ndarray:
        """3×3 homography from (X, Z, 1) on the ground to (x·depth, y·depth, depth)."""
        return self.projection[:, [0, 2, 3]]

    @property
    def infinity(self) -> np.ndarray:
        """3×3 matrix from a world direction to homogeneous pixels; a moving camera does not change it."""
        return self.intrinsics @ self.rotation

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels N×2 and depths N of N×3 world points."""
        homogeneous = np.column_stack([points, np.ones(len(points))]) @ self.projection.T
        depth = homogeneous[:, 2]
        return homogeneous[:, :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None], depth


@dataclass(frozen=True)
class View:
    """How unit squares (planes with their texture coordinates) appear to a camera, N at once.

    Attributes
    ----------
    inverses
        N×3×3, from homogeneous pixels to (u, v, 1)/depth.
    boxes
        N×4 int: the pixels that each may cover; empty (right <= left) when it is out of sight.
    turned
        N bool: seen from its back.
    spans
        N×2: pixels along its two sides, at the longer of its opposite edges.
    """

    inverses: np.ndarray
    boxes: np.ndarray
    turned: np.ndarray
    spans: np.ndarray


def view(planes: np.ndarray, camera: Camera) -> View:
    """See N×4×3 planes (from (u, v, 1) to homogeneous world coordinates) through a camera."""
    homographies = camera.projection @ planes
    determinants = np.linalg.det(homographies)
    flat = np.abs(determinants) < 1e-9  # seen exactly edge on
    homographies[flat] = np.eye(3)
    corners = homographies @ _CORNERS
    depth = corners[:, 2]
    points = corners[:, :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None]
    edges = np.linalg.norm(points - np.roll(points, -1, axis=2), axis=1)
    spans = np.column_stack([np.maximum(edges[:, 0], edges[:, 2]), np.maximum(edges[:, 1], edges[:, 3])])
    low, high = points.min(axis=2), points.max(axis=2)
    for number in np.flatnonzero((depth.min(axis=1) < NEAR) & (depth.max(axis=1) >= NEAR)):
        cut = _clip(corners[number])
        visible = cut[:2] / cut[2]
        low[number], high[number], spans[number] = visible.min(axis=1), visible.max(axis=1), 1e4
    bounds = np.array(camera.size[::-1])
    first = np.clip(np.floor(low) - 1, 0, bounds)
    last = np.clip(np.ceil(high) + 1, 0, bounds)
    last[flat | (depth.max(axis=1) < NEAR)] = 0
    boxes = np.concatenate([first, last], axis=1).astype(int)
    return View(np.linalg.inv(homographies), boxes, determinants < 0, spans)


def _clip(corners: np.ndarray) -> np.ndarray:
    """Sutherland and Hodgman's cut of a 3×N polygon at the near plane."""
    following = np.roll(corners, -1, axis=1)
    here, there = corners[2] - NEAR, following[2] - NEAR
    crossing = (here >= 0) != (there >= 0)
    share = here[crossing] / (here[crossing] - there[crossing])
    cut = corners[:, crossing] + share * (following[:, crossing] - corners[:, crossing])
    return np.concatenate([corners[:, here >= 0], cut], axis=1)


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Rotation about a coordinate axis, counter-clockwise as seen from its tip."""
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix
