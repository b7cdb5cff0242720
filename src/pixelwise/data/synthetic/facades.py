"""Buildings: street fronts with windows, doors and shops, plain side walls, pitched roofs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from pixelwise.data.synthetic.classes import BUILDING
from pixelwise.data.synthetic.surfaces import (
    Colour,
    Panel,
    blend,
    fill,
    grain,
    hue,
    modulate,
    noise,
    paint,
    panel,
    tint,
)

Detail = Callable[[float], float]
"""Texture pixels per metre that are worth drawing at a distance along the street (metres)."""


@dataclass(frozen=True)
class Style:
    """What the walls and windows of one building look like; lengths in metres."""

    wall: Colour
    trim: Colour
    glass: Colour
    brick: float
    storey: float
    bay: float
    window: tuple[float, float]
    arched: bool
    shutters: Colour | None
    balconies: bool
    modern: bool
    shop: bool
    lit: float


def random_style(rng: np.random.Generator, lamps: bool) -> Style:
    """A house of any age: plaster in all hues, brick, concrete or glass."""
    kind = rng.choice(["plaster", "brick", "concrete", "glass"], p=[0.5, 0.22, 0.18, 0.1])
    if kind == "plaster":
        if rng.random() < 0.5:  # sand, ochre, rose, brick dust
            wall = tint(rng.uniform(-0.02, 0.15), rng.uniform(0.1, 0.45), rng.uniform(0.55, 0.95))
        else:
            wall = hue(rng, (0.0, 0.34), (0.45, 0.95))
    elif kind == "brick":
        wall = tint(rng.uniform(0.0, 0.09), rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.7))
    elif kind == "concrete":
        wall = hue(rng, (0, 0.08), (0.4, 0.8))
    else:
        wall = hue(rng, (0.05, 0.35), (0.3, 0.65))
    modern = kind in ("concrete", "glass")
    bay = rng.uniform(2.2, 3.4)
    storey = rng.uniform(2.9, 3.6)
    wide = rng.uniform(0.62, 0.9) if modern else rng.uniform(0.34, 0.55)
    pale = blend(wall, (250, 248, 240), rng.uniform(0.4, 0.9))
    return Style(
        wall=wall,
        trim=pale if rng.random() < 0.7 else blend(wall, (40, 36, 32), rng.uniform(0.3, 0.7)),
        glass=hue(rng, (0.05, 0.35), (0.16, 0.5)),
        brick=float(rng.uniform(0.08, 0.18)) if kind == "brick" else 0.0,
        storey=float(storey),
        bay=float(bay),
        window=(float(bay * wide), float(storey * rng.uniform(0.48, 0.66))),
        arched=bool(not modern and rng.random() < 0.2),
        shutters=hue(rng, (0.1, 0.6), (0.2, 0.7)) if not modern and rng.random() < 0.25 else None,
        balconies=bool(rng.random() < 0.2),
        modern=modern,
        shop=bool(rng.random() < 0.5),
        lit=float(0.45 if lamps else 0.04),
    )


def building(
    rng: np.random.Generator,
    style: Style,
    near: tuple[float, float],
    far: tuple[float, float],
    height: float,
    side: int,
    detail: Detail,
    *,
    exposed: bool = True,
) -> list[Panel]:
    """The panels of a house along the street: front, near side wall, roof.

    ``near`` and ``far`` are (X, Z) of the two ends of its front in metres; ``side`` is -1 when it stands left
    of the street and +1 when right; the side wall is left out unless it is ``exposed``.
    """
    (x0, z0), (x1, z1) = near, far
    width, depth = float(np.hypot(x1 - x0, z1 - z0)), 10.0
    scale = detail(z0)
    face = front(rng, style, width, height, scale)
    outward = np.array([z1 - z0, 0.0, x0 - x1]) / width * side  # away from the street
    along = np.array([x1 - x0, 0.0, z1 - z0])
    top_near, top_far = np.array([x0, height, z0]), np.array([x1, height, z1])
    start, run = (top_near, along) if side < 0 else (top_far, -along)
    panels = [panel(face, start, run, (0, -height, 0), BUILDING)]
    if exposed:
        wall = _side_wall(rng, style, depth, height, 0.6 * scale)
        origin = top_near + outward * depth if side < 0 else top_near
        panels.append(
            panel(wall, origin, outward * (depth if side > 0 else -depth), (0, -height, 0), BUILDING)
        )
    if not style.modern and rng.random() < 0.75:
        panels += _roof(rng, start, run, top_near, outward, depth, scale, side)
    return panels


def _roof(
    rng: np.random.Generator,
    start: np.ndarray,
    run: np.ndarray,
    top_near: np.ndarray,
    outward: np.ndarray,
    depth: float,
    scale: float,
    side: int,
) -> list[Panel]:
    """A slope that rises from the front's top edge, and the gable below it at the near end."""
    rise = float(rng.uniform(2.2, 5.0))
    ridge = outward * depth / 2 + np.array([0, rise, 0])
    colour = tint(rng.uniform(0, 0.1), rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.6))
    if rng.random() < 0.4:
        colour = hue(rng, (0.0, 0.15), (0.22, 0.5))
    slope = float(np.hypot(depth / 2, rise))
    texture = fill(slope * scale * 0.5, float(np.linalg.norm(run)) * scale * 0.5, colour)
    height, width = texture.shape[:2]
    courses = 1 - 0.16 * (np.arange(height) * slope / height % 0.5 < 0.14)
    modulate(texture, courses[:, None] * (1 + 0.08 * noise(rng, height, width)))
    slope_panel = panel(texture, start + ridge, run, -ridge, BUILDING)
    gable = fill(rise * scale, depth * scale, blend(colour, (150, 140, 130), 0.5))
    height, width = gable.shape[:2]
    inside = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(inside, np.array([[0, height], [width // 2, 0], [width, height]]), 255, cv2.LINE_AA)
    gable = (gable * (inside[..., None] / 255)).astype(np.uint8)
    base = top_near + np.array([0, rise, 0])
    origin = base if side > 0 else base + outward * depth
    return [slope_panel, panel(gable, origin, outward * (depth * side), (0, -rise, 0), BUILDING)]


def front(rng: np.random.Generator, style: Style, width: float, height: float, scale: float) -> np.ndarray:
    """A street front of this size in metres as a texture of ``scale`` pixels per metre."""
    texture = _wall(rng, style, width, height, scale)
    rows, columns = texture.shape[:2]
    ground = min(height * 0.45, 4.0 if style.shop else style.storey)
    floors = max(1, int((height - ground - 0.4) / style.storey))
    bays = max(1, int(width / style.bay))
    bay = columns / bays
    storey = (rows - (ground + 0.4) * scale) / floors
    wide, high = (
        style.window[0] * scale * (bay / scale / style.bay),
        min(style.window[1] * scale, storey * 0.75),
    )
    for floor in range(floors):
        top = 0.4 * scale + floor * storey + (storey - high) * 0.45
        for column in range(bays):
            centre = (column + 0.5) * bay
            _window(texture, rng, style, centre - wide / 2, top, wide, high, scale)
        if style.balconies and floor < floors - 1 or style.modern:
            band = round(top + high + 0.12 * scale)
            cv2.rectangle(
                texture, (0, band), (columns, band + max(1, round(0.16 * scale))), paint(style.trim), -1
            )
    _ground_floor(texture, rng, style, rows - ground * scale, bays, scale)
    cornice = max(2, round(0.32 * scale))
    cv2.rectangle(texture, (0, 0), (columns, cornice), paint(style.trim), -1)
    cv2.rectangle(
        texture, (0, cornice), (columns, cornice + max(1, cornice // 3)), paint(style.wall, 0.6), -1
    )
    return _weather(texture, rng)


def _window(
    texture: np.ndarray,
    rng: np.random.Generator,
    style: Style,
    left: float,
    top: float,
    wide: float,
    high: float,
    scale: float,
) -> None:
    """One window with frame, panes, sill, and shutters when the house has them."""
    x, y, right, bottom = round(left), round(top), round(left + wide), round(top + high)
    edge = max(1, round(0.09 * scale))
    if style.arched:
        radius = (round(wide / 2 + edge), round(wide / 3 + edge))
        cv2.ellipse(texture, ((x + right) // 2, y), radius, 0, 180, 360, paint(style.trim), -1, cv2.LINE_AA)
    cv2.rectangle(texture, (x - edge, y - edge), (right + edge, bottom + edge), paint(style.trim), -1)
    lit = rng.random() < style.lit
    pane = (250.0, 214.0, 140.0) if lit else blend(style.glass, (190, 205, 220), rng.uniform(0, 0.45))
    cv2.rectangle(texture, (x, y), (right, bottom), paint(pane), -1)
    if (
        not lit and rng.random() < 0.5
    ):  # a lighter lower part: blinds, or the reflected other side of the street
        split = round(top + high * rng.uniform(0.3, 0.7))
        cv2.rectangle(texture, (x, split), (right, bottom), paint(pane, rng.uniform(0.6, 1.35)), -1)
    bar = max(1, edge // 2)
    middle = (x + right) // 2
    cv2.rectangle(
        texture, (middle - bar // 2, y), (middle + (bar + 1) // 2 - 1, bottom), paint(style.trim), -1
    )
    if not style.modern:
        cross = round(y + high * 0.35)
        cv2.rectangle(texture, (x, cross), (right, cross + bar - 1), paint(style.trim), -1)
    sill = max(1, round(0.1 * scale))
    cv2.rectangle(
        texture,
        (x - 2 * edge, bottom + edge),
        (right + 2 * edge, bottom + edge + sill),
        paint(style.trim, 0.85),
        -1,
    )
    if style.shutters is not None:
        leaf = round(wide * 0.42)
        for start in (x - edge - leaf, right + edge):
            cv2.rectangle(texture, (start, y), (start + leaf, bottom), paint(style.shutters), -1)
    if style.balconies:
        rail = paint(blend(style.wall, (30, 30, 30), 0.75))
        low, high_rail = bottom + edge, round(bottom - high * 0.4)
        cv2.line(texture, (x - 2 * edge, high_rail), (right + 2 * edge, high_rail), rail, max(1, edge // 2))
        for post in np.linspace(x - 2 * edge, right + 2 * edge, 8).astype(int):
            cv2.line(texture, (int(post), high_rail), (int(post), low), rail, 1)


def _ground_floor(
    texture: np.ndarray, rng: np.random.Generator, style: Style, top: float, bays: int, scale: float
) -> None:
    """Shop windows with a fascia and awnings, or a door between ordinary windows."""
    rows, columns = texture.shape[:2]
    bay = columns / bays
    door = int(rng.integers(bays))
    if style.shop:
        fascia = hue(rng, (0.1, 0.8), (0.2, 0.85))
        band = round(top + 0.7 * scale)
        cv2.rectangle(texture, (0, round(top)), (columns, band), paint(fascia), -1)
        _lettering(texture, rng, round(top + 0.2 * scale), round(top + 0.5 * scale), fascia)
    awning = hue(rng, (0.2, 0.8), (0.4, 0.9)) if style.shop and rng.random() < 0.5 else None
    for column in range(bays):
        left, right = round(column * bay + 0.1 * bay), round((column + 1) * bay - 0.1 * bay)
        if column == door:
            middle, half = (column + 0.5) * bay, min(0.6 * scale, bay * 0.35)
            frame = (round(middle - half), rows - round(2.35 * scale)), (round(middle + half), rows)
            cv2.rectangle(texture, *frame, paint(style.trim), -1)
            inset = max(1, round(0.1 * scale))
            cv2.rectangle(
                texture,
                (frame[0][0] + inset, frame[0][1] + inset),
                (frame[1][0] - inset, rows),
                paint(hue(rng, (0.2, 0.7), (0.15, 0.5))),
                -1,
            )
        elif style.shop:
            upper = round(top + 0.85 * scale)
            pane = blend(
                style.glass, (235, 215, 170) if style.lit > 0.2 else (120, 125, 130), rng.uniform(0.1, 0.6)
            )
            cv2.rectangle(texture, (left, upper), (right, rows - round(0.45 * scale)), paint(pane), -1)
            for _ in range(3):  # what stands in the shop window
                x, span = round(rng.uniform(left, right)), round(0.3 * scale)
                shade = paint(hue(rng, (0, 0.5), (0.2, 0.8)))
                low = rows - round(0.5 * scale)
                cv2.rectangle(
                    texture, (x, low - round(rng.uniform(0.3, 1.4) * scale)), (x + span, low), shade, -1
                )
        else:
            wide, high = style.window[0] * scale, min(style.window[1], 1.7) * scale
            _window(
                texture, rng, style, (column + 0.5) * bay - wide / 2, rows - 2.5 * scale, wide, high, scale
            )
    if awning is not None:
        upper, lower = round(top + 0.7 * scale), round(top + 1.35 * scale)
        stripes = max(2, round(columns / scale / 0.35))
        for stripe in range(stripes):
            start, stop = round(stripe * columns / stripes), round((stripe + 1) * columns / stripes)
            colour = awning if stripe % 2 else (238, 234, 224)
            cv2.rectangle(texture, (start, upper), (stop, lower), paint(colour), -1)
    plinth = rows - max(1, round(0.3 * scale))
    if not style.shop:
        texture[plinth:, :, :3] = (texture[plinth:, :, :3] * 0.72).astype(np.uint8)


def _lettering(texture: np.ndarray, rng: np.random.Generator, top: int, bottom: int, ground: Colour) -> None:
    """Blocks that read as letters from afar."""
    ink = paint((245, 240, 225) if sum(ground) < 380 else (40, 36, 40))
    size = max(1, bottom - top)
    x = round(texture.shape[1] * rng.uniform(0.1, 0.4))
    for _ in range(int(rng.integers(4, 10))):
        wide = max(1, round(size * rng.uniform(0.35, 0.8)))
        cv2.rectangle(texture, (x, top), (x + wide, bottom), ink, max(1, size // 5))
        x += wide + max(1, size // 3)


def _side_wall(
    rng: np.random.Generator, style: Style, width: float, height: float, scale: float
) -> np.ndarray:
    """A gable wall: few windows or none."""
    texture = _wall(rng, style, width, height, scale)
    if rng.random() < 0.6:
        for floor in range(max(1, int(height / style.storey)) - 1):
            for share in (0.3, 0.7):
                wide, high = 1.0 * scale, 1.4 * scale
                top = (0.9 + floor * style.storey) * scale
                _window(texture, rng, style, texture.shape[1] * share - wide / 2, top, wide, high, scale)
    return _weather(texture, rng)


def _wall(rng: np.random.Generator, style: Style, width: float, height: float, scale: float) -> np.ndarray:
    texture = fill(height * scale, width * scale, style.wall)
    if style.brick:
        rows, columns = texture.shape[:2]
        bricks = 1 + style.brick * grain(rng, max(2, round(height / 0.2)), max(2, round(width / 0.45)))
        modulate(texture, cv2.resize(bricks, (columns, rows), interpolation=cv2.INTER_NEAREST))
    return texture


def _weather(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stains, grain, and the dirt of the street towards the bottom."""
    rows, columns = texture.shape[:2]
    dirt = np.linspace(1.04, 0.9, rows, dtype=np.float32)[:, None]
    stains = 1 + 0.05 * noise(rng, rows, columns, 3.0) + 0.03 * grain(rng, rows, columns)
    return modulate(texture, dirt * stains)
