"""Street furniture: lamp posts, traffic lights, bollards, and signs of many shapes and colours."""

from __future__ import annotations

import cv2
import numpy as np

from pixelwise.data.synthetic.classes import POLE, SIGN
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
    roughen,
    standing,
    tint,
)


def metal(rng: np.random.Generator) -> Colour:
    """Galvanised, painted dark, green, rusty, or wood."""
    return (
        hue(rng, (0, 0.08), (0.45, 0.8)),
        hue(rng, (0, 0.3), (0.1, 0.28)),
        tint(rng.uniform(0.3, 0.45), rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.45)),
        tint(rng.uniform(0.04, 0.1), rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.6)),
    )[rng.choice(4, p=[0.45, 0.25, 0.12, 0.18])]


def shaft(
    rng: np.random.Generator, thickness: float, height: float, colour: Colour, *, banded: bool = False
) -> Panel:
    """An upright round pole, ``thickness`` and ``height`` in metres."""
    texture = fill(max(24, height * 18), 16, colour)
    rows, columns = texture.shape[:2]
    if banded:
        stripe = np.arange(rows) * 4 * height / rows % 2 < 1
        texture[stripe, :, :3] = (220, 215, 205)
    across = np.linspace(-1, 1, columns, dtype=np.float32)
    roundness = 0.55 + 0.65 * np.sqrt(np.clip(1 - (across - 0.25) ** 2, 0.05, 1))
    modulate(texture, roundness * (1 + 0.08 * noise(rng, rows, columns)))
    return standing(texture, thickness, height, POLE)


def lamp_post(rng: np.random.Generator, side: int, lit: bool) -> list[Panel]:
    """A street lamp; its arm reaches over the road, away from ``side`` (-1 left, +1 right)."""
    colour = metal(rng)
    thickness = rng.uniform(0.26, 0.42)
    if rng.random() < 0.35:  # an old-fashioned lantern on top
        height = rng.uniform(3.6, 4.6)
        lantern = canvas(48, 32)
        glass = (255, 240, 190) if lit else blend(colour, (225, 225, 215), 0.7)
        outline = np.array([[6, 10], [26, 10], [22, 44], [10, 44]])
        cv2.fillPoly(lantern, [outline], paint(glass), cv2.LINE_AA)
        cv2.polylines(lantern, [outline], True, paint(colour), 3, cv2.LINE_AA)
        cv2.fillPoly(lantern, [np.array([[2, 11], [16, 0], [30, 11]])], paint(colour), cv2.LINE_AA)
        return [shaft(rng, thickness, height, colour), standing(lantern, 0.6, 0.85, POLE, y=height - 0.03)]
    height, reach = rng.uniform(5.0, 7.0), rng.uniform(1.2, 2.2)
    arm = roughen(fill(8, 48, colour), rng, 0.05, 0.03)
    head = fill(10, 32, blend(colour, (60, 60, 60), 0.4))
    head[6:] = paint((255, 244, 200) if lit else (215, 215, 205))
    return [
        shaft(rng, thickness, height, colour),
        standing(arm, reach, 0.16, POLE, x=-side * reach / 2, y=height - 0.2),
        standing(head, 0.85, 0.24, POLE, x=-side * reach, y=height - 0.3),
    ]


def bollard(rng: np.random.Generator) -> list[Panel]:
    """A low post at the kerb."""
    colour = metal(rng)
    return [shaft(rng, rng.uniform(0.22, 0.34), rng.uniform(0.9, 1.2), colour, banded=rng.random() < 0.3)]


def post(rng: np.random.Generator, height: float) -> list[Panel]:
    """The bare post of a sign or a traffic light."""
    return [shaft(rng, rng.uniform(0.17, 0.28), height, metal(rng), banded=rng.random() < 0.1)]


def traffic_light(rng: np.random.Generator, height: float) -> list[Panel]:
    """The box with three lamps at the top of a post of ``height`` metres."""
    body = fill(120, 44, hue(rng, (0, 0.3), (0.08, 0.3)))
    if rng.random() < 0.5:
        cv2.rectangle(body, (1, 1), (42, 118), paint((235, 235, 230)), 3)
    burning = int(rng.integers(3))
    for place, bright in enumerate(((255, 60, 40), (255, 190, 40), (60, 240, 120))):
        centre = (22, 22 + 38 * place)
        cv2.circle(body, centre, 16, paint((18, 18, 18)), -1, cv2.LINE_AA)
        cv2.circle(body, centre, 14, paint(bright, 1.0 if place == burning else 0.22), -1, cv2.LINE_AA)
    return [standing(body, 0.6, 1.6, SIGN, y=height - 1.55, z=-0.12)]


def sign(rng: np.random.Generator, height: float) -> list[Panel]:
    """A traffic sign whose top is ``height`` metres above the ground; sometimes one more below it."""
    width = rng.uniform(1.0, 1.45)
    panels = [_plate(rng, width, height)]
    if rng.random() < 0.35:
        plate = roughen(_board(rng, 40, 88), rng, 0.03, 0.02)
        panels.append(standing(plate, width * 0.9, width * 0.42, SIGN, y=height - width * 1.5, z=-0.12))
    return panels


def billboard(rng: np.random.Generator) -> list[Panel]:
    """An advertisement or direction board on two legs."""
    width, height, foot = rng.uniform(1.9, 3.4), rng.uniform(1.3, 2.2), rng.uniform(1.0, 2.2)
    board = roughen(_board(rng, 120, 120 * width / height), rng, 0.04, 0.02)
    return [standing(board, width, height, SIGN, y=foot, z=-0.15)]


def billboard_legs(rng: np.random.Generator, boards: list[Panel]) -> list[Panel]:
    """The two legs that carry the boards of :func:`billboard`."""
    width, foot = float(boards[0].plane[0, 0]), float(boards[0].plane[1].sum())
    leg = shaft(rng, 0.22, foot, metal(rng))
    shifted = [leg.plane.copy(), leg.plane.copy()]
    shifted[0][0, 2] -= width * 0.35
    shifted[1][0, 2] += width * 0.35
    return [Panel(leg.texture, plane, POLE, soft=True) for plane in shifted]


def _plate(rng: np.random.Generator, width: float, height: float) -> Panel:
    size = 96
    plate = canvas(size, size)
    middle, radius = size // 2, size // 2 - 3
    shape = rng.choice(["ring", "disc", "triangle", "octagon", "diamond", "square"])
    strong = hue(rng, (0.6, 0.9), (0.5, 0.9)) if rng.random() < 0.35 else _SIGN_COLOURS[rng.integers(5)]
    pale = (242, 240, 232)
    if shape in ("ring", "disc"):
        cv2.circle(plate, (middle, middle), radius, paint(strong), -1, cv2.LINE_AA)
        if shape == "ring":
            cv2.circle(plate, (middle, middle), round(radius * 0.74), paint(pale), -1, cv2.LINE_AA)
    else:
        sides, turn = {
            "triangle": (3, -90.0),
            "octagon": (8, 22.5),
            "diamond": (4, 0.0),
            "square": (4, 45.0),
        }[shape]
        if shape == "triangle" and rng.random() < 0.3:
            turn = 90.0
        angles = np.radians(turn + np.arange(sides) * 360 / sides)
        corner = np.column_stack([np.cos(angles), np.sin(angles)])
        for share, colour in ((1.0, pale), (0.9, strong)) + (((0.62, pale),) if sides == 3 else ()):
            points = np.round(middle + corner * radius * share * 1.02).astype(np.int32)
            cv2.fillPoly(plate, [points], paint(colour), cv2.LINE_AA)
    ink = (30, 28, 32) if shape in ("ring", "triangle") else pale
    _symbol(plate, rng, middle, round(radius * 0.4), ink)
    return standing(roughen(plate, rng, 0.03, 0.02), width, width, SIGN, y=height - width, z=-0.12)


_SIGN_COLOURS: tuple[Colour, ...] = (
    (200, 28, 36),
    (28, 74, 166),
    (238, 196, 30),
    (26, 120, 76),
    (120, 110, 104),
)


def _symbol(plate: np.ndarray, rng: np.random.Generator, middle: int, size: int, ink: Colour) -> None:
    """An arrow, a bar, digits, or a dot."""
    kind = rng.integers(4)
    if kind == 0:
        tip = (middle, middle - size)
        cv2.arrowedLine(plate, (middle, middle + size), tip, paint(ink), 7, cv2.LINE_AA, tipLength=0.5)
    elif kind == 1:
        cv2.rectangle(plate, (middle - size, middle - 6), (middle + size, middle + 6), paint(ink), -1)
    elif kind == 2:
        for x in (middle - size, middle + 2):
            cv2.rectangle(plate, (x, middle - size), (x + size - 4, middle + size), paint(ink), 6)
    else:
        cv2.circle(plate, (middle, middle), size // 2, paint(ink), -1, cv2.LINE_AA)


def _board(rng: np.random.Generator, height: float, width: float) -> np.ndarray:
    """A rectangular board with a frame, blocks of colour and lines of text."""
    ground = hue(rng, (0.1, 0.8), (0.3, 0.9))
    board = fill(height, width, ground)
    rows, columns = board.shape[:2]
    ink = (245, 243, 235) if sum(ground) < 420 else (35, 30, 40)
    if rng.random() < 0.6:
        corner = (round(columns * rng.uniform(0.3, 0.7)), round(rows * rng.uniform(0.4, 0.8)))
        cv2.circle(
            board, corner, round(rows * 0.34), paint(hue(rng, (0.2, 0.9), (0.4, 0.9))), -1, cv2.LINE_AA
        )
    for line in np.linspace(0.2, 0.8, 3):
        y, end = round(rows * line), round(columns * rng.uniform(0.5, 0.9))
        cv2.line(board, (round(columns * 0.1), y), (end, y), paint(ink), max(2, rows // 12))
    cv2.rectangle(board, (0, 0), (columns - 1, rows - 1), paint(ink), max(2, rows // 24))
    return board
