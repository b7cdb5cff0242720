"""The ground: road, lane markings and pavement as functions of the place on it, exact at any distance.

Nothing is drawn here. Every pixel below the horizon is traced to its (X, Z) on the ground, and what lies
there follows from the distance to the middle of the road. The share of a pixel that a line covers follows
from the pixel's footprint in metres, which is all the anti-aliasing needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from pixelwise.data.synthetic.camera import Camera
from pixelwise.data.synthetic.classes import MARKING, PAVEMENT, ROAD
from pixelwise.data.synthetic.light import Light
from pixelwise.data.synthetic.surfaces import Colour, blend, grain_tile, hue, noise_tile, tint

HORIZON = 280.0
"""Metres; the ground ends here."""


@dataclass(frozen=True)
class Line:
    """A line along the road: offset from its middle, width, and dashes (0 for a solid line), in metres."""

    offset: float
    width: float
    dash: float = 0.0
    gap: float = 0.0


@dataclass(frozen=True)
class Bar:
    """A marking across the road at a distance ``z``; ``stripe`` > 0 makes it a zebra crossing."""

    z: float
    length: float
    start: float
    stop: float
    stripe: float = 0.0


@dataclass(frozen=True)
class Road:
    """Where the road runs and what it looks like; lengths in metres.

    Attributes
    ----------
    half
        From the middle to the kerb.
    pavement
        Width of the pavement on either side.
    bend, wave, phase
        The middle is at X = bend · sin(2π Z / wave + phase), moved so that it starts at X = 0.
    junction
        (first Z, last Z) of a crossing road, or None.
    """

    half: float
    lane: float
    lanes: int
    pavement: float
    bend: float
    wave: float
    phase: float
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...]
    junction: tuple[float, float] | None
    asphalt: Colour
    slabs: Colour
    kerb: Colour
    paint: Colour
    wear: float
    wet: float
    cobbles: np.ndarray | None
    pavement_tile: np.ndarray
    place: np.ndarray

    def centre(self, z: np.ndarray | float) -> np.ndarray:
        """X of the middle of the road at Z."""
        turn = 2 * np.pi / self.wave
        return self.bend * (np.sin(turn * np.asarray(z) + self.phase) - np.sin(self.phase))

    def heading(self, z: float) -> float:
        """Direction of the road at Z in radians, 0 along Z, positive to the right."""
        turn = 2 * np.pi / self.wave
        return float(np.arctan(self.bend * turn * np.cos(turn * z + self.phase)))


def random_road(rng: np.random.Generator, reach: float) -> Road:
    """A street of one to four lanes, straight or winding, as far as ``reach`` metres."""
    lanes = int(rng.choice([1, 2], p=[0.72, 0.28]))
    lane = rng.uniform(2.9, 3.6) if lanes == 1 else rng.uniform(2.8, 3.2)
    parking = rng.uniform(0.3, 2.3)
    half = lanes * lane + parking
    straight = rng.random() < 0.4
    junction = None
    if rng.random() < 0.3:
        start = rng.uniform(15, 45)
        junction = (start, start + rng.uniform(7, 11))
    asphalt = hue(rng, (0, 0.1), (0.32, 0.64))
    if rng.random() < 0.12:
        asphalt = tint(rng.uniform(0.0, 0.1), rng.uniform(0.15, 0.4), rng.uniform(0.35, 0.6))
    slabs = hue(rng, (0, 0.12), (0.34, 0.74))
    if rng.random() < 0.35:
        slabs = blend(asphalt, slabs, rng.uniform(0.1, 0.4))
    elif rng.random() < 0.3:
        slabs = tint(rng.uniform(0.0, 0.12), rng.uniform(0.15, 0.45), rng.uniform(0.4, 0.75))
    cobbled = rng.random() < 0.12
    return Road(
        half=half,
        lane=lane,
        lanes=lanes,
        pavement=rng.uniform(2.2, 4.6),
        bend=0.0 if straight else rng.uniform(-9, 9),
        wave=rng.uniform(130, 300),
        phase=rng.uniform(0, 2 * np.pi),
        lines=_random_lines(rng, lanes, lane, parking),
        bars=_random_bars(rng, half, junction, reach),
        junction=junction,
        asphalt=asphalt,
        slabs=slabs,
        kerb=blend(slabs, (205, 203, 198), rng.uniform(0.2, 0.8)),
        paint=(232, 232, 228) if rng.random() < 0.82 else (232, 190, 70),
        wear=rng.uniform(0, 0.8),
        wet=rng.uniform(0.3, 0.8) if rng.random() < 0.15 else 0.0,
        cobbles=_paving(rng, 10, 20) if cobbled else None,
        pavement_tile=_paving(rng, int(rng.choice([3, 4, 6, 12])), int(rng.choice([2, 4, 6]))),
        place=rng.uniform(0, 12, 2),
    )


def _random_lines(rng: np.random.Generator, lanes: int, lane: float, parking: float) -> tuple[Line, ...]:
    width = rng.uniform(0.2, 0.32)
    dash, gap = rng.uniform(2.0, 4.5), rng.uniform(2.0, 5.0)
    middle = rng.choice(["dashed", "solid", "double", "none"], p=[0.5, 0.24, 0.18, 0.08])
    lines: list[Line] = []
    if middle == "double":
        lines += [Line(-0.9 * width, width), Line(0.9 * width, width)]
    elif middle != "none":
        lines.append(Line(0.0, width, *((dash, gap) if middle == "dashed" else ())))
    for way in (-1, 1):
        if lanes == 2:
            lines.append(Line(way * lane, width, dash, gap))
        if parking > 0.8 and rng.random() < 0.7:
            lines.append(Line(way * lanes * lane, width * 0.8))
        elif rng.random() < 0.4:
            lines.append(Line(way * (lanes * lane - 0.05), width))
    return tuple(lines)


def _random_bars(
    rng: np.random.Generator, half: float, junction: tuple[float, float] | None, reach: float
) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    stripe = rng.uniform(0.42, 0.6)
    places = [junction[0] - 4.0, junction[1] + 1.2] if junction else []
    if not junction:
        places = (
            list(np.arange(rng.uniform(7, 32), reach, rng.uniform(30, 60))) if rng.random() < 0.45 else []
        )
    for place in places:
        if rng.random() < 0.8:
            bars.append(Bar(place, rng.uniform(2.6, 3.6), -half + 0.3, half - 0.3, stripe))
            bars.append(Bar(place - 1.3, 0.45, 0.2, half - 0.3))
    return tuple(bars)


def _paving(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """256×256 factors around 1: stones of slightly different grey with dark joints, repeating seamlessly."""
    stones = 1 + 0.09 * rng.standard_normal((rows, columns)).astype(np.float32)
    x = np.arange(256, dtype=np.float32) / 256
    y = x[:, None]
    row = (y * rows).astype(int)
    shifted = x * columns + 0.5 * (row % 2) * (rows % 2 == 0)
    tile = stones[row, shifted.astype(int) % columns]
    joint = 0.045
    dark = (y * rows % 1 < joint * rows / 3) | (shifted % 1 < joint * columns / 3)
    return np.where(dark, 0.72, tile).astype(np.float32)


@dataclass(frozen=True)
class GroundPicture:
    """What the ground gives to the picture; arrays cover the whole image.

    Attributes
    ----------
    colour
        3×H×W float32, lit by everything but the sun's shadows.
    label
        H×W uint8 class ids.
    nearness
        H×W float32, 1/metres; 0 where there is no ground.
    """

    colour: np.ndarray
    label: np.ndarray
    nearness: np.ndarray


def paint_ground(road: Road, light: Light, camera: Camera) -> GroundPicture:
    """The ground as the camera sees it, without anything on it."""
    height, width = camera.size
    colour = np.zeros((3, height, width), np.float32)
    label = np.full((height, width), ROAD, np.uint8)
    columns = np.arange(width, dtype=np.float32) + 0.5
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
    to_x, to_z, to_nearness = np.linalg.inv(camera.ground).astype(np.float32)
    nearness = to_nearness[0] * columns + (to_nearness[1] * rows + to_nearness[2])
    nearness[nearness < 1 / HORIZON] = 0
    below = np.flatnonzero(nearness.any(axis=1))
    if len(below) == 0:
        return GroundPicture(colour, label, nearness)
    part = slice(int(below[0]), height)
    depth = 1 / np.maximum(nearness[part], 1 / HORIZON)
    x = (to_x[0] * columns + (to_x[1] * rows[part] + to_x[2])) * depth
    z = (to_z[0] * columns + (to_z[1] * rows[part] + to_z[2])) * depth
    across = depth / np.float32(camera.focal)
    along = depth * across / np.float32(camera.position[1])
    side = x - _centre(road, z)
    on_road = _inside(side, -road.half, road.half, across)
    if road.junction:
        crossing = _inside(z, *road.junction, along)
        on_road = np.maximum(on_road, crossing)
    marked = _markings(road, side, z, across, along)
    if road.junction:
        marked *= 1 - crossing
    part_label = label[part]
    part_label[on_road < 0.5] = PAVEMENT
    part_label[(marked > 0.5) & (on_road >= 0.5)] = MARKING
    colour[:, part] = _colours(road, light, (x, z, side), (across, along), on_road, marked)
    return GroundPicture(colour, label, nearness)


def _centre(road: Road, z: np.ndarray) -> np.ndarray | float:
    return road.centre(z).astype(np.float32) if road.bend else 0.0


def _inside(value: np.ndarray, low: float, high: float, footprint: np.ndarray) -> np.ndarray:
    """The share of a pixel, ``footprint`` wide, that lies between ``low`` and ``high``."""
    half = (high - low) / 2
    distance = half - np.abs(value - (low + high) / 2)
    return np.minimum(np.clip(distance / footprint + 0.5, 0, 1), 2 * half / footprint)


def _markings(
    road: Road, side: np.ndarray, z: np.ndarray, across: np.ndarray, along: np.ndarray
) -> np.ndarray:
    covered = np.zeros_like(z)
    for line in road.lines:
        share = _inside(side, line.offset - line.width / 2, line.offset + line.width / 2, across)
        if line.dash:
            place = np.mod(z, line.dash + line.gap)
            share *= _inside(place, 0.0, line.dash, along)
        np.maximum(covered, share, out=covered)
    for bar in road.bars:
        within = _inside(z, bar.z, bar.z + bar.length, along)
        rows = np.flatnonzero(within.any(axis=1))
        if len(rows) == 0:
            continue
        part = slice(rows[0], rows[-1] + 1)
        share = _inside(side[part], bar.start, bar.stop, across[part])
        if bar.stripe:
            # Nothing else is painted where people cross; the kerb-to-kerb band belongs to the stripes.
            covered[part] *= 1 - within[part]
            share = share * _inside(np.mod(side[part], 2 * bar.stripe), 0.0, bar.stripe, across[part])
        covered[part] = np.maximum(covered[part], share * within[part])
    return covered


def _colours(
    road: Road,
    light: Light,
    place: tuple[np.ndarray, np.ndarray, np.ndarray],
    footprint: tuple[np.ndarray, np.ndarray],
    on_road: np.ndarray,
    marked: np.ndarray,
) -> np.ndarray:
    """3×H×W float32 colours of the ground in open light."""
    x, z, side = place
    across, along = footprint
    u, v = x + np.float32(road.place[0]), z + np.float32(road.place[1])
    stains = _lookup(noise_tile(), u, v, 9.0)
    fine = _lookup(_grit_tile(), u, v, 42.0) / (1 + 20 * along)
    rough = 1 + 0.045 * stains + 0.075 * fine
    sharp = 1 / (1 + 6 * along)
    road_grey = rough
    if road.cobbles is not None:
        road_grey = rough * (1 + (_lookup(road.cobbles, side, z, 80.0) - 1) * sharp)
    # Wheels polish the tracks where they always run.
    road_grey = road_grey * (1 + 0.05 * np.cos((side / road.lane) * 4 * np.pi))
    slab_grey = (2 + rough) / 3 * (1 + (_lookup(road.pavement_tile, side, z, 85.0) - 1) * sharp)
    edge = np.abs(side)
    kerb = _inside(edge, road.half, road.half + 0.22, across) * (1 - on_road)
    gutter = _inside(edge, road.half - 0.3, road.half, across) * on_road
    gutter = 1 - 0.18 * gutter
    shine = road.wet * np.clip(0.45 + 0.5 * stains, 0, 1)
    worn = marked * np.clip(1.15 - road.wear * np.clip(0.45 + 0.8 * fine + 0.4 * stains, 0, 1), 0.25, 1)
    mirror = 0.75 * light.horizon / np.maximum(light.ambient + light.sun * 0.5, 0.2)
    lit = light.on(np.array([0.0, 1.0, 0.0]))
    planes = []
    for channel in range(3):
        surface = float(road.asphalt[channel]) * road_grey
        if road.wet:
            surface = 0.75 * surface + shine * (float(mirror[channel]) - 0.75 * surface)
        surface = surface * gutter
        surface += worn * (road.paint[channel] - surface)
        slabs = float(road.slabs[channel]) * slab_grey
        slabs += kerb * (float(road.kerb[channel]) - slabs)
        planes.append(float(lit[channel]) * (slabs + on_road * (surface - slabs)))
    return np.stack(planes)


@lru_cache(maxsize=1)
def _grit_tile() -> np.ndarray:
    """512×512 float32: noise of all sizes with single bright and dark grains, deviation 1."""
    return 0.65 * noise_tile() + 0.76 * grain_tile()


def _lookup(tile: np.ndarray, x: np.ndarray, z: np.ndarray, scale: float) -> np.ndarray:
    """A repeating tile at ``scale`` of its pixels per metre."""
    # OpenCV keeps 16 bits of a coordinate: whole tiles are taken off far down the street.
    z = z - np.float32(np.floor(z[-1, 0] * scale / len(tile)) * len(tile) / scale)
    return cv2.remap(
        tile, x * np.float32(scale), z * np.float32(scale), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )


def lane_polylines(road: Road, camera: Camera) -> list[np.ndarray]:
    """The visible part of every line along the road: N×2 float32 pixels (corner origin), from near to far."""
    z = float(camera.position[2]) + np.geomspace(1.5, 90.0, 90)
    height, width = camera.size
    polylines = []
    for line in road.lines:
        points = np.column_stack([road.centre(z) + line.offset, np.zeros_like(z), z])
        pixels, depth = camera.project(points)
        inside = (depth > 0.5) & (pixels >= 0).all(axis=1) & (pixels <= (width, height)).all(axis=1)
        if inside.sum() >= 2:
            polylines.append(pixels[inside].astype(np.float32))
    return polylines
