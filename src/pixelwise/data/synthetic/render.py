"""The painter: a scene at a moment becomes a picture with class ids, instance ids, depth and optical flow.

Panels are painted from far to near, so that their soft edges blend with what is behind them; an inverse depth
for every pixel decides where panels meet. Each pixel remembers its panel. Since a panel is a plane with a
texture fixed to it, the flow of all its pixels is one homography: from the picture at one time to the
texture, and on to the picture at the other time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pixelwise.data.synthetic.camera import NEAR, Box, Camera, view
from pixelwise.data.synthetic.classes import SKY
from pixelwise.data.synthetic.ground import lane_polylines, paint_ground
from pixelwise.data.synthetic.light import Light, add_haze, finish, paint_sky
from pixelwise.data.synthetic.scene import Scene, Thing
from pixelwise.data.synthetic.surfaces import Panel

_SKY_INDEX, _GROUND_INDEX, _FIRST_INDEX = 0, 1, 2


@dataclass(frozen=True)
class Picture:
    """What a camera sees: RGB uint8, class ids uint8, instance ids int32, lanes, flow H×W×2 float32."""

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    lanes: list[np.ndarray]
    flow: np.ndarray | None


def render(
    scene: Scene,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    time: float = 0.0,
    before: float | None = None,
    noise: float = 1.0,
) -> Picture:
    """Paint a scene at a time in seconds, as a picture of ``size`` (height, width).

    ``rng`` is for the noise of this one picture, which ``noise`` scales. ``before`` is the other time for the
    flow from here to there; None for no flow.
    """
    camera = scene.mount.camera(scene.road, time, size)
    painter = _Painter(scene, camera)
    painter.paint_shadows(time)
    painter.paint_things(time)
    add_haze(painter.image, painter.nearness, scene.light)
    flow = None if before is None else painter.flow(scene.mount.camera(scene.road, before, size), before)
    return Picture(
        image=finish(painter.image, scene.light, scene.look, noise, rng),
        mask=painter.mask(),
        instances=painter.instances(),
        lanes=lane_polylines(scene.road, camera),
        flow=flow,
    )


class _Painter:
    """The picture while it is being painted."""

    def __init__(self, scene: Scene, camera: Camera) -> None:
        self.scene, self.camera = scene, camera
        ground = paint_ground(scene.road, scene.light, camera)
        self.image = paint_sky(scene.light, camera)
        self.nearness = ground.nearness
        below = self.nearness > 0
        np.copyto(self.image, ground.colour, where=below)
        self.ground_label = ground.label
        self.index = np.where(below, _GROUND_INDEX, _SKY_INDEX).astype(np.int32)
        self.painted: list[tuple[Thing, Panel, np.ndarray]] = []

    def paint_shadows(self, time: float) -> None:
        """Darken the ground where things keep the light off it."""
        camera, light = self.camera, self.scene.light
        sunny = light.sun.max() > 0.2
        close, casters, planes = [], [], []
        for thing in self.scene.things:
            pose = thing.pose(self.scene.road, time)
            for caster in thing.casters:
                under = caster.plane[1].max() < 0.1  # the underside of a car: dark in any light
                if under or sunny:
                    close.append(under)
                    casters.append(caster)
                    planes.append(pose @ caster.plane)
        flat = np.where(np.array(close)[:, None, None], np.eye(4), _flatten(light)) @ np.array(planes)
        sun_shadow, contact = (np.zeros(camera.size, np.float32) for _ in range(2))
        seen = view(flat, camera)
        for caster, under, box, inverse, spans in zip(
            casters, close, seen.boxes.tolist(), seen.inverses, seen.spans, strict=True
        ):
            if _is_empty(box):
                continue
            patch = _warp(_reduced(caster.texture, spans), inverse, box).astype(np.float32) * (1 / 255)
            patch[_plane_nearness(inverse, box) < 1 / 200] = 0
            part = (contact if under else sun_shadow)[box[1] : box[3], box[0] : box[2]]
            np.maximum(part, patch * 0.75 if under else patch, out=part)
        if sunny:
            sun_shadow = cv2.GaussianBlur(sun_shadow, (0, 0), max(0.6, camera.size[0] / 400))
        below = self.index == _GROUND_INDEX
        for plane, left in zip(self.image, light.shadow, strict=True):
            plane *= np.where(below, (1 - sun_shadow * float(1 - left)) * (1 - contact), 1)

    def paint_things(self, time: float) -> None:
        """Paint all panels that face the camera, from the farthest thing to the nearest."""
        things: list[Thing] = []
        panels: list[Panel] = []
        planes: list[np.ndarray] = []
        for thing in self.scene.things:
            pose = thing.pose(self.scene.road, time)
            things += [thing] * len(thing.panels)
            panels += thing.panels
            planes += [pose @ panel.plane for panel in thing.panels]
        stacked = np.array(planes)
        seen = view(stacked, self.camera)
        lights = _shading(self.scene.light, panels, stacked)
        middles = (stacked @ (0.5, 0.5, 1.0))[:, [0, 2]]
        distance = np.linalg.norm(middles - self.camera.position[[0, 2]], axis=1)
        for number in np.argsort(-distance, kind="stable").tolist():
            box = tuple(seen.boxes[number].tolist())
            if _is_empty(box) or (seen.turned[number] and not panels[number].soft):
                continue
            texture = _reduced(panels[number].texture, seen.spans[number])
            if self._paint(texture, seen.inverses[number], box, lights[number]):
                self.painted.append((things[number], panels[number], seen.inverses[number]))

    def _paint(self, texture: np.ndarray, inverse: np.ndarray, box: Box, light: np.ndarray) -> bool:
        """Paint one texture where nothing is nearer; False when that is nowhere."""
        part = (slice(box[1], box[3]), slice(box[0], box[2]))
        nearness = _plane_nearness(inverse, box)
        closer = (nearness > self.nearness[part]) & (nearness < 1 / NEAR)
        if not closer.any():
            return False
        patch = _warp(texture, inverse, box)
        *colours, alpha = cv2.split(patch)
        weight = closer.astype(np.float32)
        behind = 1 - alpha * (weight * np.float32(1 / 255))
        for plane, colour, factor in zip(self.image, colours, light, strict=True):
            view = plane[part]
            view *= behind
            view += colour * (weight * np.float32(factor))
        solid = closer & (alpha >= 128)
        self.nearness[part][solid] = nearness[solid]
        self.index[part][solid] = len(self.painted) + _FIRST_INDEX
        return True

    def mask(self) -> np.ndarray:
        """H×W uint8 class ids."""
        labels = np.array([SKY, 0, *(panel.label for _, panel, _ in self.painted)], np.uint8)
        return np.where(self.index == _GROUND_INDEX, self.ground_label, labels[self.index])

    def instances(self) -> np.ndarray:
        """H×W int32 instance ids."""
        return np.array([0, 0, *(thing.instance for thing, _, _ in self.painted)], np.int32)[self.index]

    def flow(self, other: Camera, time: float) -> np.ndarray:
        """H×W×2 float32: where each pixel was in the other picture, minus where it is in this one."""
        maps = [
            other.infinity @ np.linalg.inv(self.camera.infinity),
            other.ground @ np.linalg.inv(self.camera.ground),
        ]
        for thing, panel, inverse in self.painted:
            maps.append(other.projection @ thing.pose(self.scene.road, time) @ panel.plane @ inverse)
        height, width = self.camera.size
        matrix = np.stack(maps)
        x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
        u, v, w = (
            matrix[self.index, row, 0] * x + matrix[self.index, row, 1] * y + matrix[self.index, row, 2]
            for row in range(3)
        )
        w = np.where(np.abs(w) < 1e-6, 1e-6, w)
        return np.stack([u / w - x, v / w - y], axis=-1).astype(np.float32)


def _flatten(light: Light) -> np.ndarray:
    """4×4 matrix that moves every point along the light to the ground."""
    x, y, z = light.direction
    matrix = np.eye(4)
    matrix[:3, 1] = -x / y, 0.0, -z / y
    return matrix


def _shading(light: Light, panels: list[Panel], planes: np.ndarray) -> np.ndarray:
    """N×3 factors for panels in the world."""
    normals = np.cross(planes[:, :3, 0], planes[:, :3, 1])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    soft = np.array([panel.soft for panel in panels])
    return np.where(soft[:, None], light.all_round, light.on(normals))


def _is_empty(box: Sequence[int]) -> bool:
    return box[0] >= box[2] or box[1] >= box[3]


def _plane_nearness(inverse: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """1/metres of a plane at the pixels of a box: linear in pixels, negative behind the camera."""
    left, top, right, bottom = box
    a, b, c = inverse[2]
    x = (a * (np.arange(left, right) + 0.5)).astype(np.float32)
    y = (b * (np.arange(top, bottom)[:, None] + 0.5) + c).astype(np.float32)
    return x + y


def _reduced(texture: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """The texture at about the resolution at which it is seen, each side on its own; never enlarged."""
    rows, columns = texture.shape[:2]
    width, height = min(columns, max(1, round(spans[0]))), min(rows, max(1, round(spans[1])))
    if width > 0.8 * columns and height > 0.8 * rows:
        return texture
    return cv2.resize(texture, (width, height), interpolation=cv2.INTER_AREA)


def _warp(texture: np.ndarray, inverse: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """A texture as seen through a homography (given inverse: pixels to the unit square), cut to a box."""
    rows, columns = texture.shape[:2]
    left, top, right, bottom = box
    # OpenCV counts from pixel centres, we from corners: half a pixel in, half a texel out.
    to_picture = np.array([[1, 0, left + 0.5], [0, 1, top + 0.5], [0, 0, 1.0]])
    to_texels = np.array([[columns, 0, -0.5], [0, rows, -0.5], [0, 0, 1.0]])
    return cv2.warpPerspective(
        texture,
        to_texels @ inverse @ to_picture,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
