"""Trees, bushes and the distant line of woods: noise cut to the outline of a crown."""

from __future__ import annotations

import cv2
import numpy as np

from pixelwise.data.synthetic.classes import TREE
from pixelwise.data.synthetic.surfaces import Colour, Panel, canvas, modulate, noise, paint, standing, tint


def foliage(rng: np.random.Generator) -> Colour:
    """A leaf colour: mostly green, sometimes autumn, blossom or dark conifer."""
    season = rng.choice(["green", "autumn", "blossom", "dark", "dry"], p=[0.52, 0.24, 0.06, 0.12, 0.06])
    if season == "green":
        return tint(rng.uniform(0.19, 0.36), rng.uniform(0.3, 0.7), rng.uniform(0.32, 0.62))
    if season == "autumn":
        return tint(rng.uniform(0.0, 0.15), rng.uniform(0.5, 0.85), rng.uniform(0.45, 0.82))
    if season == "blossom":
        return tint(rng.uniform(0.86, 0.98), rng.uniform(0.1, 0.4), rng.uniform(0.75, 0.95))
    if season == "dark":
        return tint(rng.uniform(0.3, 0.45), rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.36))
    return tint(rng.uniform(0.08, 0.14), rng.uniform(0.1, 0.35), rng.uniform(0.35, 0.6))


def tree(rng: np.random.Generator, scale: float, colour: Colour, sun: float) -> list[Panel]:
    """A tree on its own: trunk and crown in one panel.

    ``scale`` is in texture pixels per metre; ``sun`` is -1 when the light comes from the left of the picture
    and +1 when from the right.
    """
    height = rng.uniform(4.5, 9.5)
    width = height * rng.uniform(0.5, 0.8)
    conifer = rng.random() < 0.18
    texture = canvas(height * scale, width * scale, 12)
    rows, columns = texture.shape[:2]
    crown_base = 0.12 if conifer else rng.uniform(0.28, 0.42)
    _trunk(texture, rng, crown_base, branches=not conifer)
    lower = round(rows * (1 - crown_base * 0.8))
    y, x = np.mgrid[-1 : 1 : lower * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    if conifer:
        outline = 0.9 * (y + 1) / 2 + 0.05 - np.abs(x)
    else:
        lobes = rng.uniform(-0.4, 0.4, (5, 2))
        reach = [1 - ((x - a) ** 2 + (y - b) ** 2) / 0.44 for a, b in lobes]
        outline = np.minimum(np.maximum.reduce(reach) * 0.8, 1.2 * (0.96 - np.maximum(np.abs(x), np.abs(y))))
    _leaves(texture[:lower], rng, outline, colour, sun, scale)
    return [standing(texture, width, height, TREE)]


def bush(
    rng: np.random.Generator, scale: float, colour: Colour, sun: float, width: float, height: float
) -> Panel:
    """A bush or a piece of hedge of this size in metres."""
    texture = canvas(height * scale, width * scale, 8)
    rows, columns = texture.shape[:2]
    y, x = np.mgrid[0 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    _leaves(texture, rng, np.minimum((y - 0.12) * 1.5, (1 - np.abs(x)) * 2.5), colour, sun, scale)
    return standing(texture, width, height, TREE)


def woods(rng: np.random.Generator, colour: Colour, width: float, height: float, scale: float) -> Panel:
    """A far line of trees."""
    texture = canvas(height * scale, width * scale, 8)
    rows, columns = texture.shape[:2]
    y = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    skyline = 0.6 + 0.2 * noise(rng, 1, columns, max(1.0, columns / 60))
    _leaves(texture, rng, (skyline - y) * 3, colour, 0.4, scale)
    return standing(texture, width, height, TREE)


def _trunk(texture: np.ndarray, rng: np.random.Generator, crown_base: float, *, branches: bool) -> None:
    rows, columns = texture.shape[:2]
    bark = paint(tint(rng.uniform(0.02, 0.12), rng.uniform(0.1, 0.45), rng.uniform(0.2, 0.5)))
    middle, half = columns / 2, max(1.5, columns * rng.uniform(0.028, 0.045))
    fork = rows * (1 - crown_base)
    outline = [
        (middle - 1.5 * half, rows),
        (middle - 0.9 * half, rows * 0.96),
        (middle - 0.7 * half, fork),
        (middle + 0.7 * half, fork),
        (middle + 0.9 * half, rows * 0.96),
        (middle + 1.5 * half, rows),
    ]
    cv2.fillPoly(texture, [np.round(outline).astype(np.int32)], bark, cv2.LINE_AA)
    for lean in (-0.22, 0.02, 0.2) if branches else ():
        tip = (round(middle + lean * columns), round(rows * 0.35))
        cv2.line(texture, (round(middle), round(fork)), tip, bark, max(1, round(half * 0.8)), cv2.LINE_AA)
    modulate(texture, np.linspace(0.75, 1.15, columns, dtype=np.float32))


def _leaves(
    texture: np.ndarray,
    rng: np.random.Generator,
    outline: np.ndarray,
    colour: Colour,
    sun: float,
    scale: float,
) -> None:
    """Cover ``texture`` with leaves where ``outline`` (positive inside) and noise say so, in place."""
    rows, columns = outline.shape
    clumps = noise(rng, rows, columns, max(0.5, scale / 24))
    leaves_noise = noise(rng, rows, columns, max(0.4, scale / 70))
    density = outline + 0.13 * clumps + 0.10 * leaves_noise
    alpha = np.clip(density * 7, 0, 1)
    # Light: clumps are brighter on the side of the sun (the slope of the noise), and at the top.
    step = max(1, round(scale * 0.12))
    padded = cv2.copyMakeBorder(clumps, step, step, step, step, cv2.BORDER_REPLICATE)
    aside = step - round(step * sun)
    slope = clumps - padded[2 * step :, aside : aside + columns]
    depth = np.linspace(1.14, 0.72, rows, dtype=np.float32)[:, None]
    side = 1 + 0.16 * sun * np.linspace(-1, 1, columns, dtype=np.float32)
    shade = depth * side * (0.92 + 0.28 * slope + 0.10 * clumps + 0.17 * leaves_noise)
    tone = alpha * np.maximum(shade, 0.05)
    clear = 1 - alpha
    for channel, value in enumerate((*colour, None)):
        leaves = 255 * alpha if value is None else np.minimum(np.float32(value) * tone, 255 * alpha)
        texture[..., channel] = texture[..., channel] * clear + leaves
