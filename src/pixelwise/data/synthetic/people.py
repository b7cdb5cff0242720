"""People in many poses and clothes, on foot and on bicycles, drawn as jointed figures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pixelwise.data.synthetic.classes import CYCLIST, PERSON
from pixelwise.data.synthetic.surfaces import (
    Colour,
    Panel,
    canvas,
    hue,
    modulate,
    noise,
    paint,
    standing,
    tint,
)

Point = tuple[float, float]


@dataclass(frozen=True)
class Clothes:
    """Colours of a person."""

    skin: Colour
    hair: Colour
    top: Colour
    legs: Colour
    shoes: Colour


def random_clothes(rng: np.random.Generator) -> Clothes:
    """Any clothes on any skin."""
    tone = rng.uniform(0, 1)
    return Clothes(
        skin=(236 - 150 * tone, 194 - 134 * tone, 164 - 124 * tone),
        hair=tint(rng.uniform(0.03, 0.13), rng.uniform(0.1, 0.6), rng.uniform(0.08, 0.75)),
        top=hue(rng, (0.0, 0.85), (0.12, 0.95)),
        legs=hue(rng, (0.0, 0.5), (0.1, 0.7)),
        shoes=hue(rng, (0.0, 0.4), (0.08, 0.8)),
    )


class Figure:
    """A sheet of paper in metres (x to the right of the middle, y up from the ground) to draw a figure on."""

    def __init__(self, width: float, height: float, scale: float) -> None:
        self.width, self.height = width, height
        self.texture = canvas(height * scale, width * scale, 16)
        self.scale = self.texture.shape[0] / height

    def at(self, point: Point) -> tuple[int, int]:
        """Pixel of a point in metres."""
        return round((point[0] + self.width / 2) * self.scale), round((self.height - point[1]) * self.scale)

    def limb(self, points: list[Point], thickness: float, colour: Colour, factor: float = 1.0) -> None:
        """A bent line with round ends."""
        width = max(1, round(thickness * self.scale))
        for start, stop in zip(points[:-1], points[1:], strict=True):
            cv2.line(self.texture, self.at(start), self.at(stop), paint(colour, factor), width, cv2.LINE_AA)

    def area(self, points: list[Point], colour: Colour, factor: float = 1.0) -> None:
        """A filled polygon."""
        corners = np.array([self.at(point) for point in points])
        cv2.fillPoly(self.texture, [corners], paint(colour, factor), cv2.LINE_AA)

    def oval(
        self, centre: Point, axes: Point, colour: Colour, *, line: float = 0, arc: Point = (0, 360)
    ) -> None:
        """An ellipse, filled or as a line of this thickness; ``arc`` in degrees clockwise from the right."""
        size = max(1, round(axes[0] * self.scale)), max(1, round(axes[1] * self.scale))
        width = max(1, round(line * self.scale)) if line else -1
        cv2.ellipse(self.texture, self.at(centre), size, 0, *arc, paint(colour), width, cv2.LINE_AA)


def person(rng: np.random.Generator, scale: float) -> list[Panel]:
    """A walking or standing person; ``scale`` in texture pixels per metre."""
    clothes = random_clothes(rng)
    figure = Figure(1.2, 1.95, scale)
    tall = rng.uniform(0.9, 1.08)
    stride = rng.uniform(0.1, 0.34) if rng.random() < 0.75 else rng.uniform(0.03, 0.1)
    ahead = rng.choice([-1, 1])
    hip, neck = (0.0, 0.9), (0.02 * ahead, 1.5)
    bulk = rng.uniform(0.9, 1.25)
    skirt = rng.random() < 0.2
    coat = not skirt and rng.random() < 0.25
    for way, shade in ((-1, 0.78), (1, 1.0)):
        foot = (way * stride * ahead, 0.05)
        knee = (way * stride * 0.5 * ahead + 0.05 * ahead, 0.48)
        joint = (hip[0] + way * 0.06, hip[1])
        figure.limb([joint, knee], 0.17 * bulk, clothes.skin if skirt else clothes.legs, shade)
        figure.limb([knee, foot], 0.13 * bulk, clothes.skin if skirt else clothes.legs, shade)
        figure.limb([(foot[0] - 0.03 * ahead, 0.045), (foot[0] + 0.12 * ahead, 0.045)], 0.09, clothes.shoes)
    swing = stride * rng.uniform(0.6, 1.1)
    raised = rng.random() < 0.18
    back = [(neck[0] - 0.15, 1.4), (-swing * ahead - 0.16, 1.14), (-swing * ahead - 0.12, 0.9)]
    front = [(neck[0] + 0.15, 1.4), (swing * ahead + 0.17, 1.14), (swing * ahead + 0.16, 0.9)]
    if raised:
        front[1:] = [(0.27 * ahead, 1.18), (0.2 * ahead, 1.42)]
    figure.limb(back, 0.11 * bulk, clothes.top, 0.75)
    figure.oval(back[-1], (0.05, 0.06), clothes.skin)
    bag = rng.random()
    if bag < 0.2:
        figure.oval((-0.2 * ahead, 1.25), (0.13, 0.22), hue(rng, (0.1, 0.8), (0.15, 0.8)))
    shoulder, waist = 0.2 * bulk, 0.15 * bulk
    trunk = [(-shoulder, 1.42), (-0.1, 1.5), (0.1, 1.5), (shoulder, 1.42), (waist, 1.0), (0.17 * bulk, 0.86)]
    figure.area([*trunk, (-0.17 * bulk, 0.86), (-waist, 1.0)], clothes.top)
    if skirt:
        figure.area([(-waist, 1.02), (waist, 1.02), (0.3, 0.52), (-0.3, 0.52)], clothes.legs)
    elif coat:
        figure.area([(-waist, 1.05), (waist, 1.05), (0.24, 0.5), (-0.22, 0.5)], clothes.top, 0.95)
    if rng.random() < 0.25:
        figure.limb(
            [(-shoulder * 0.85, 1.25), (shoulder * 0.85, 1.25)], 0.08, hue(rng, (0, 0.8), (0.2, 0.95))
        )
    figure.limb(front, 0.11 * bulk, clothes.top, 1.1)
    figure.oval(front[-1], (0.05, 0.06), clothes.skin)
    if bag > 0.8:
        figure.area(
            [
                (front[-1][0] + dx, front[-1][1] + dy)
                for dx, dy in ((-0.14, -0.05), (0.14, -0.05), (0.15, -0.35), (-0.15, -0.35))
            ],
            hue(rng, (0.0, 0.8), (0.2, 0.9)),
        )
    _head(figure, rng, clothes, (neck[0] + 0.02 * ahead, 1.67), ahead)
    return [_stand(figure, rng, tall, PERSON)]


def cyclist(rng: np.random.Generator, scale: float, view: str) -> list[Panel]:
    """A person on a bicycle, seen from the ``"side"`` or from the ``"end"`` (front or back)."""
    clothes = random_clothes(rng)
    frame = hue(rng, (0.0, 0.9), (0.15, 0.9))
    figure = (
        _side_rider(rng, scale, clothes, frame) if view == "side" else _end_rider(rng, scale, clothes, frame)
    )
    if rng.random() < 0.5:
        figure.texture = np.ascontiguousarray(figure.texture[:, ::-1])
    return [_stand(figure, rng, rng.uniform(0.98, 1.1), CYCLIST)]


def _side_rider(rng: np.random.Generator, scale: float, clothes: Clothes, frame: Colour) -> Figure:
    figure = Figure(1.95, 1.95, scale)
    rear, front, crank = (-0.52, 0.34), (0.52, 0.34), (-0.06, 0.32)
    saddle, handle = (-0.2, 0.93), (0.38, 1.02)
    turn = rng.uniform(0, 2 * np.pi)
    pedals = [(crank[0] + 0.17 * np.cos(a), crank[1] + 0.17 * np.sin(a)) for a in (turn, turn + np.pi)]
    hip, shoulder = (-0.18, 1.0), (0.12 + rng.uniform(-0.08, 0.1), 1.46)

    def leg(pedal: Point, shade: float) -> None:
        knee = ((hip[0] + pedal[0]) / 2 + 0.2, (hip[1] + pedal[1]) / 2 + 0.08)
        figure.limb([hip, knee], 0.16, clothes.legs, shade)
        figure.limb([knee, pedal], 0.11, clothes.legs, shade)
        figure.limb([(pedal[0] - 0.05, pedal[1]), (pedal[0] + 0.11, pedal[1])], 0.08, clothes.shoes)

    leg(pedals[0], 0.72)
    for wheel in (rear, front):
        figure.oval(wheel, (0.33, 0.33), (28, 28, 30), line=0.06)
        figure.oval(wheel, (0.29, 0.29), (150, 150, 152), line=0.012)
        for spoke in np.linspace(0, np.pi, 5)[:-1]:
            reach = (0.29 * np.cos(spoke), 0.29 * np.sin(spoke))
            ends: list[Point] = [
                (wheel[0] - reach[0], wheel[1] - reach[1]),
                (wheel[0] + reach[0], wheel[1] + reach[1]),
            ]
            figure.limb(ends, 0.01, (140, 140, 142))
    tube: list[Point] = [rear, crank, (0.36, 0.86), (-0.17, 0.8), rear]
    figure.limb(tube, 0.06, frame)
    figure.limb([crank, saddle], 0.06, frame)
    figure.limb([front, (0.36, 0.86), handle, (0.47, 1.04)], 0.06, frame)
    figure.limb([(-0.3, 0.94), (-0.1, 0.94)], 0.07, (30, 28, 28))
    if rng.random() < 0.3:
        figure.area(
            [(-0.75, 0.5), (-0.38, 0.5), (-0.36, 0.78), (-0.76, 0.78)], hue(rng, (0, 0.8), (0.2, 0.8))
        )
    leg(pedals[1], 1.0)
    figure.limb([hip, (0.0, 1.24), (shoulder[0] - 0.03, shoulder[1] - 0.08)], 0.28, clothes.top)
    figure.limb([shoulder, (0.3, 1.2), handle], 0.1, clothes.top, 1.1)
    figure.oval(handle, (0.05, 0.05), clothes.skin)
    _head(figure, rng, clothes, (shoulder[0] + 0.1, 1.66), 1, helmet=rng.random() < 0.5)
    return figure


def _end_rider(rng: np.random.Generator, scale: float, clothes: Clothes, frame: Colour) -> Figure:
    figure = Figure(0.95, 1.95, scale)
    away = rng.random() < 0.5
    lift = rng.uniform(-0.12, 0.12)
    figure.oval((0, 0.34), (0.045, 0.34), (26, 26, 28))
    for way in (-1.0, 1.0):
        foot = (way * 0.14, 0.3 + way * lift)
        figure.limb([(way * 0.1, 0.98), (way * 0.2, 0.64 + way * lift), foot], 0.14, clothes.legs, 0.9)
        figure.limb([foot, (foot[0], foot[1] - 0.07)], 0.1, clothes.shoes)
    figure.limb([(0, 0.45), (0, 0.98)], 0.06, frame)
    handles = [(-0.3, 1.04), (0.3, 1.04)]

    def arms() -> None:
        for handle in handles:
            figure.limb([(handle[0] * 0.66, 1.42), (handle[0] * 1.1, 1.2), handle], 0.1, clothes.top, 1.08)
            figure.oval(handle, (0.05, 0.05), clothes.skin)

    if away:
        figure.limb([handles[0], handles[1]], 0.05, (34, 34, 36))
        arms()
    figure.area(
        [(-0.21, 1.42), (-0.1, 1.51), (0.1, 1.51), (0.21, 1.42), (0.17, 0.93), (-0.17, 0.93)], clothes.top
    )
    if away:
        figure.limb([(-0.08, 0.93), (0.08, 0.93)], 0.09, (30, 28, 28))
        figure.oval((0, 0.72), (0.035, 0.035), (220, 30, 30))
    else:
        arms()
        figure.limb([handles[0], handles[1]], 0.05, (34, 34, 36))
        figure.oval((0, 0.92), (0.05, 0.05), (245, 243, 225))
    _head(figure, rng, clothes, (0, 1.67), 0, helmet=rng.random() < 0.5)
    return figure


def _head(
    figure: Figure,
    rng: np.random.Generator,
    clothes: Clothes,
    centre: Point,
    ahead: int,
    *,
    helmet: bool = False,
) -> None:
    x, y = centre
    figure.limb([(x, y - 0.18), (x, y - 0.08)], 0.1, clothes.skin, 0.85)
    if rng.random() < 0.3:
        figure.oval((x - 0.03 * ahead, y - 0.05), (0.12, 0.18), clothes.hair)
    figure.oval((x, y), (0.098, 0.125), clothes.skin)
    cap = hue(rng, (0.0, 0.9), (0.15, 0.95)) if helmet or rng.random() < 0.15 else clothes.hair
    size = (0.13, 0.13) if helmet else (0.112, 0.12)
    figure.oval((x - 0.02 * ahead, y + 0.03), size, cap, arc=(180, 360))
    if ahead:
        figure.oval((x - 0.06 * ahead, y + 0.01), (0.06, 0.1), cap)


def _stand(figure: Figure, rng: np.random.Generator, tall: float, label: int) -> Panel:
    rows, columns = figure.texture.shape[:2]
    across = np.linspace(-1, 1, columns, dtype=np.float32) * rng.choice([-1, 1])
    modulate(figure.texture, 1 + 0.16 * across + 0.09 * noise(rng, rows, columns))
    return standing(figure.texture, figure.width * tall, figure.height * tall, label)
