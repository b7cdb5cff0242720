"""Cars of several shapes, built from panels around a side profile: body, glasshouse, bonnet, lamps, wheels.

Local coordinates: the car drives towards +Z, its wheels stand on Y = 0, X points to its right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from pixelwise.data.synthetic.classes import CAR
from pixelwise.data.synthetic.surfaces import (
    Colour,
    Panel,
    blend,
    canvas,
    fill,
    hue,
    modulate,
    noise,
    paint,
    panel,
    roughen,
)

GLASS: Colour = (46, 56, 66)
RUBBER: Colour = (26, 26, 28)
Placement = Callable[[float, float], tuple[int, int]]
WHEEL = 0.33
"""Radius in metres."""
CLEARANCE = 0.2
"""Metres between the ground and the body."""


@dataclass(frozen=True)
class Shape:
    """A car's side profile in metres; ``z`` values run from -length/2 (tail) to +length/2 (nose)."""

    length: float
    width: float
    belt: float
    roof: float
    windscreen: tuple[float, float]
    rear_window: tuple[float, float]


def random_shape(rng: np.random.Generator) -> Shape:
    """Saloon, hatchback, off-roader or van; ``windscreen`` and ``rear_window`` are (base z, top z)."""
    kind = rng.choice(["saloon", "hatchback", "suv", "van"], p=[0.3, 0.35, 0.22, 0.13])
    length, roof, belt, front, rear = {
        "saloon": (4.6, 1.44, 0.92, (0.19, 0.05), (-0.37, -0.22)),
        "hatchback": (4.0, 1.50, 0.95, (0.24, 0.09), (-0.49, -0.38)),
        "suv": (4.5, 1.72, 1.06, (0.22, 0.10), (-0.49, -0.42)),
        "van": (5.0, 2.20, 1.20, (0.40, 0.27), (-0.495, -0.48)),
    }[kind]
    length *= rng.uniform(0.94, 1.06)
    return Shape(
        length=length,
        width=rng.uniform(1.72, 1.92),
        belt=belt * rng.uniform(0.97, 1.03),
        roof=roof * rng.uniform(0.97, 1.04),
        windscreen=(front[0] * length, front[1] * length),
        rear_window=(rear[0] * length, rear[1] * length),
    )


def car_colour(rng: np.random.Generator) -> Colour:
    """Mostly grey, white and black as on real streets, otherwise any colour."""
    if rng.random() < 0.5:
        return hue(rng, (0.0, 0.08), (0.12, 0.95))
    return hue(rng, (0.3, 0.75), (0.2, 0.7))


def car(rng: np.random.Generator, scale: float, lamps: bool) -> list[Panel]:
    """All panels of a random car; ``scale`` in texture pixels per metre."""
    shape, colour = random_shape(rng), car_colour(rng)
    taper = rng.uniform(0.76, 0.88)
    half, top = shape.width / 2, shape.width / 2 * taper
    nose, tail = shape.length / 2, -shape.length / 2
    bonnet = shape.belt * 0.84
    side = _side(rng, shape, colour, bonnet, scale)
    house = _glasshouse(shape, colour, scale)
    lift = shape.roof - shape.belt
    span = shape.windscreen[0] - shape.rear_window[0]
    lean = half - top
    front_slope = shape.windscreen[0] - shape.windscreen[1]
    rear_slope = shape.rear_window[1] - shape.rear_window[0]
    roof_run = shape.windscreen[1] - shape.rear_window[1]
    skin = roughen(fill(24, 24, colour), rng, 0.04, 0.01)
    pane = _screen(shape.width, taper, colour, scale, float(np.hypot(lift, front_slope)))
    deck = shape.windscreen[0] - nose
    panels = [
        # Who looks at the right side has the nose on the right; the left side is mirrored.
        panel(side, (half, shape.belt, tail), (0, 0, shape.length), (0, -shape.belt, 0), CAR),
        panel(cv2.flip(side, 1), (-half, shape.belt, nose), (0, 0, -shape.length), (0, -shape.belt, 0), CAR),
        panel(house, (top, shape.roof, shape.rear_window[0]), (0, 0, span), (lean, -lift, 0), CAR),
        panel(
            cv2.flip(house, 1), (-top, shape.roof, shape.windscreen[0]), (0, 0, -span), (-lean, -lift, 0), CAR
        ),
        # windscreen and rear window, as seen from the front and from the back
        panel(pane, (half, shape.roof, shape.windscreen[1]), (-2 * half, 0, 0), (0, -lift, front_slope), CAR),
        panel(
            pane, (-half, shape.roof, shape.rear_window[1]), (2 * half, 0, 0), (0, -lift, -rear_slope), CAR
        ),
        panel(skin, (-top, shape.roof, shape.windscreen[1]), (2 * top, 0, 0), (0, 0, -roof_run), CAR),
        panel(skin, (-half, bonnet, nose), (2 * half, 0, 0), (0, shape.belt - bonnet, deck), CAR),
        panel(
            _front(rng, shape, colour, scale, lamps),
            (half, bonnet, nose),
            (-2 * half, 0, 0),
            (0, -bonnet, 0),
            CAR,
        ),
        panel(
            _rear(rng, shape, colour, scale, lamps),
            (-half, shape.belt, tail),
            (2 * half, 0, 0),
            (0, -shape.belt, 0),
            CAR,
        ),
    ]
    boot = shape.rear_window[0] - tail
    if boot > 0.15:
        panels.append(
            panel(skin, (-half, shape.belt, shape.rear_window[0]), (2 * half, 0, 0), (0, 0, -boot), CAR)
        )
    return panels


def car_shadow(panels: list[Panel]) -> tuple[Panel, Panel]:
    """What darkens the ground: the underside just above it, and the body's outline at half height."""
    half, nose = float(panels[0].plane[0, 2]), -float(panels[0].plane[2, 2])
    under, body = (
        panel(
            _shadow_outline(),
            (-half * grow, y, nose * grow),
            (2 * half * grow, 0, 0),
            (0, 0, -2 * nose * grow),
            CAR,
        )
        for y, grow in ((0.02, 1.1), (0.8, 0.96))
    )
    return under, body


@lru_cache(maxsize=1)
def _shadow_outline() -> np.ndarray:
    """A black rectangle with soft edges."""
    outline = canvas(60, 30)
    cv2.rectangle(outline, (2, 2), (27, 57), paint((0, 0, 0)), -1)
    return cv2.GaussianBlur(outline, (0, 0), 1.6)


def _side(rng: np.random.Generator, shape: Shape, colour: Colour, bonnet: float, scale: float) -> np.ndarray:
    """The body from the ground to the belt line, nose to the right, with wheels and doors."""
    texture = canvas(shape.belt * scale, shape.length * scale, 10)
    rows, columns = texture.shape[:2]
    px, py = columns / shape.length, rows / shape.belt

    def at(z: float, y: float) -> tuple[int, int]:
        return round((z + shape.length / 2) * px), round((shape.belt - y) * py)

    nose, tail = shape.length / 2, -shape.length / 2
    outline = [
        at(tail + 0.02, CLEARANCE + 0.12),
        at(tail, shape.belt * 0.75),
        at(tail + 0.05, shape.belt + 0.05),
        at(shape.windscreen[0], shape.belt + 0.05),
        at(nose - 0.1, bonnet),
        at(nose, bonnet - 0.12),
        at(nose, CLEARANCE + 0.1),
        at(nose - 0.15, CLEARANCE),
        at(tail + 0.15, CLEARANCE),
    ]
    cv2.fillPoly(texture, [np.array(outline)], paint(colour), cv2.LINE_AA)
    height = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    curve = 0.8 + 0.35 * np.clip(height - 0.3, 0, 1) - 0.10 * (np.abs(height - 0.55) < 0.03)
    modulate(texture, curve * (1 + 0.03 * noise(rng, rows, columns, 2.0)))
    sill = at(0, CLEARANCE + 0.1)[1]
    cv2.rectangle(
        texture, (at(-1.1, 0)[0], sill), (at(1.1, 0)[0], at(0, CLEARANCE)[1]), paint(colour, 0.35), -1
    )
    seam = paint(colour, 0.55)
    thin = max(1, round(0.02 * px))
    doors = (
        shape.windscreen[0] - 0.1,
        (shape.windscreen[0] + shape.rear_window[0]) / 2,
        shape.rear_window[0] + 0.5,
    )
    for z in doors:
        cv2.line(texture, at(z, shape.belt), at(z, CLEARANCE + 0.12), seam, thin)
    for z in doors[1:]:
        cv2.rectangle(texture, at(z + 0.1, shape.belt - 0.14), at(z + 0.28, shape.belt - 0.18), seam, -1)
    rim = blend(colour, (185, 188, 192), 0.85) if rng.random() < 0.8 else (60, 60, 64)
    for z in (-0.3 * shape.length, 0.31 * shape.length):
        for radius, shade in (
            (WHEEL + 0.07, (12, 12, 14)),
            (WHEEL, RUBBER),
            (WHEEL * 0.66, rim),
            (0.06, (40, 40, 44)),
        ):
            axes = (max(1, round(radius * px)), max(1, round(radius * py)))
            cv2.ellipse(texture, at(z, WHEEL), axes, 0, 0, 360, paint(shade), -1, cv2.LINE_AA)
        for spoke in np.linspace(0, 2 * np.pi, 6)[:-1]:
            tip = at(z + WHEEL * 0.6 * np.cos(spoke), WHEEL + WHEEL * 0.6 * np.sin(spoke))
            cv2.line(texture, at(z, WHEEL), tip, paint((70, 70, 74)), max(1, round(0.05 * px)), cv2.LINE_AA)
    cv2.rectangle(
        texture, at(tail, shape.belt * 0.85), at(tail + 0.14, shape.belt * 0.68), paint((150, 24, 28)), -1
    )
    cv2.rectangle(texture, at(nose - 0.2, bonnet - 0.1), at(nose, bonnet - 0.24), paint((225, 228, 230)), -1)
    return texture


def _glasshouse(shape: Shape, colour: Colour, scale: float) -> np.ndarray:
    """Side windows in their frame, nose to the right."""
    lift, span = shape.roof - shape.belt, shape.windscreen[0] - shape.rear_window[0]
    texture = canvas(lift * scale, span * scale, 8)
    rows, columns = texture.shape[:2]
    rear = (shape.rear_window[1] - shape.rear_window[0]) / span * columns
    front = columns - (shape.windscreen[0] - shape.windscreen[1]) / span * columns
    outline = np.array([[0, rows + 2], [rear, 0], [front, 0], [columns, rows + 2]])
    cv2.fillPoly(texture, [np.round(outline).astype(np.int32)], paint(colour, 0.95), cv2.LINE_AA)
    margin = max(1.0, 0.08 * scale)
    pillars = [0.0, 0.36, 0.66, 1.0] if shape.roof < 2 else [0.7, 1.0]
    for start, stop in zip(pillars[:-1], pillars[1:], strict=True):
        lower = margin * 0.5 + np.array([start, stop]) * columns + np.array([1, -1]) * margin * 0.5
        upper = rear + np.array([start, stop]) * (front - rear) + np.array([1, -1]) * margin * 0.5
        corners = [(lower[0], rows), (upper[0], margin), (upper[1], margin), (lower[1] - margin, rows)]
        cv2.fillPoly(texture, [np.round(corners).astype(np.int32)], paint(GLASS), cv2.LINE_AA)
    return _reflect(texture)


def _screen(width: float, taper: float, colour: Colour, scale: float, height: float) -> np.ndarray:
    """Windscreen or rear window: a trapezoid of glass in a frame of body colour."""
    texture = canvas(height * scale, width * scale, 8)
    rows, columns = texture.shape[:2]
    inset = (1 - taper) / 2 * columns
    for margin, shade in ((0.0, colour), (max(1.0, 0.06 * scale), GLASS)):
        outline = np.array(
            [
                [inset + margin, margin],
                [columns - inset - margin, margin],
                [columns - margin, rows - margin / 2],
                [margin, rows - margin / 2],
            ]
        )
        cv2.fillPoly(texture, [np.round(outline).astype(np.int32)], paint(shade), cv2.LINE_AA)
    return _reflect(texture)


def _reflect(texture: np.ndarray) -> np.ndarray:
    """The sky in the glass: brighter towards the top, with a slanted band."""
    rows, columns = texture.shape[:2]
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j].astype(np.float32)
    band = np.abs((x * 1.3 + y * 0.5) % 0.9 - 0.45) < 0.12
    return modulate(texture, 1.35 - 0.5 * y + 0.35 * band)


def _front(rng: np.random.Generator, shape: Shape, colour: Colour, scale: float, lamps: bool) -> np.ndarray:
    """The nose: lamps, grille, bumper, number plate, and the tyres below."""
    texture, at = _end(shape, colour, shape.belt * 0.84, scale)
    dark = paint((26, 27, 30))
    cv2.rectangle(texture, at(0.3, 0.72), at(0.7, 0.88), dark, -1)
    cv2.rectangle(texture, at(0.15, 0.36), at(0.85, 0.48), dark, -1)
    bright = (255, 250, 225) if lamps or rng.random() < 0.25 else (205, 212, 218)
    for left, right in ((0.04, 0.24), (0.76, 0.96)):
        cv2.rectangle(texture, at(left, 0.72), at(right, 0.9), paint(bright), -1)
    cv2.rectangle(texture, at(0.38, 0.5), at(0.62, 0.6), paint((236, 234, 222)), -1)
    return texture


def _rear(rng: np.random.Generator, shape: Shape, colour: Colour, scale: float, lamps: bool) -> np.ndarray:
    """The tail: red lamps, number plate, bumper, and the tyres below."""
    texture, at = _end(shape, colour, shape.belt, scale)
    red = (255, 44, 40) if lamps or rng.random() < 0.25 else (150, 22, 26)
    for left, right in ((0.03, 0.2), (0.8, 0.97)):
        cv2.rectangle(texture, at(left, 0.66), at(right, 0.86), paint(red), -1)
    cv2.rectangle(texture, at(0.36, 0.6), at(0.64, 0.71), paint((236, 232, 210)), -1)
    cv2.rectangle(texture, at(0.06, 0.3), at(0.94, 0.4), paint(colour, 0.5), -1)
    cv2.line(texture, at(0.05, 0.53), at(0.95, 0.53), paint(colour, 0.65), max(1, round(0.02 * scale)))
    return texture


def _end(shape: Shape, colour: Colour, height: float, scale: float) -> tuple[np.ndarray, Placement]:
    """A nose or tail without details, and a function from (share of width, share of height) to pixels."""
    texture = canvas(height * scale, shape.width * scale, 10)
    rows, columns = texture.shape[:2]

    def at(across: float, up: float) -> tuple[int, int]:
        return round(across * (columns - 1)), round((1 - up) * (rows - 1))

    low = CLEARANCE / height
    for left, right in ((0.04, 0.17), (0.83, 0.96)):
        cv2.rectangle(texture, at(left, 0.45), at(right, 0.0), paint(RUBBER), -1)
    outline = [
        at(0.0, low + 0.06),
        at(0.0, 1.03),
        at(1.0, 1.03),
        at(1.0, low + 0.06),
        at(0.95, low),
        at(0.05, low),
    ]
    cv2.fillPoly(texture, [np.array(outline)], paint(colour), cv2.LINE_AA)
    modulate(texture, np.linspace(1.06, 0.74, rows, dtype=np.float32)[:, None])
    return texture, at
