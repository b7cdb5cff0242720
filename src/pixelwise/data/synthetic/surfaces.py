"""Panels: flat pieces of texture in space, of which everything that stands on the street is made.

Textures are H×W×4 uint8, RGB multiplied by alpha already, so that filtering them never bleeds colour from
where there is none. Noise comes from two tiles that are made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

Colour = tuple[float, float, float]
"""RGB, 0..255."""

_TILE = 512


@dataclass(frozen=True, eq=False)
class Panel:
    """A parallelogram with a texture.

    Attributes
    ----------
    texture
        H×W×4 uint8, premultiplied.
    plane
        4×3: from (u, v, 1) with u to the right and v down the texture, both 0..1, to homogeneous metres.
    label
        Class id of its opaque pixels.
    soft
        Whether it stands for something round (a tree, a person): lit alike from all sides, seen from both.
    """

    texture: np.ndarray
    plane: np.ndarray
    label: int
    soft: bool = False


def panel(
    texture: np.ndarray,
    origin: Sequence[float],
    right: Sequence[float],
    down: Sequence[float],
    label: int,
    *,
    soft: bool = False,
) -> Panel:
    """The panel with its top left corner at ``origin`` and the edges ``right`` and ``down`` (metres)."""
    plane = np.array([[*right, 0.0], [*down, 0.0], [*origin, 1.0]]).T
    return Panel(texture, plane, label, soft)


def standing(
    texture: np.ndarray, width: float, height: float, label: int, *, x: float = 0, y: float = 0, z: float = 0
) -> Panel:
    """A soft upright panel that faces the camera, its bottom edge centred at (x, y, z)."""
    return panel(
        texture, (x - width / 2, y + height, z), (width, 0, 0), (0, -height, 0), label, soft=True
    )


def canvas(height: float, width: float, least: int = 6) -> np.ndarray:
    """A transparent texture of about height×width pixels."""
    return np.zeros((max(least, round(height)), max(least, round(width)), 4), np.uint8)


def fill(height: float, width: float, colour: Colour) -> np.ndarray:
    """An opaque texture of one colour."""
    texture = canvas(height, width)
    texture[:] = paint(colour)
    return texture


def paint(colour: Sequence[float], factor: float = 1.0) -> tuple[int, int, int, int]:
    """An opaque colour for OpenCV's drawing functions, brightened by ``factor``."""
    red, green, blue = (int(min(255.0, max(0.0, c * factor))) for c in colour)
    return red, green, blue, 255


@lru_cache(maxsize=1)
def noise_tile() -> np.ndarray:
    """512×512 float32 noise with amplitude 1/frequency, mean 0, deviation 1, that repeats without a seam."""
    rng = np.random.default_rng(20)
    frequency = np.hypot(np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None]) * _TILE
    spectrum = np.fft.rfft2(rng.standard_normal((_TILE, _TILE))) / np.maximum(frequency, 3.0)
    spectrum[0, 0] = 0
    tile = np.fft.irfft2(spectrum)
    return (tile / tile.std()).astype(np.float32)


@lru_cache(maxsize=1)
def grain_tile() -> np.ndarray:
    """512×512 float32 white noise, mean 0, deviation 1."""
    return np.random.default_rng(21).standard_normal((_TILE, _TILE)).astype(np.float32)


def noise(rng: np.random.Generator, height: int, width: int, zoom: float = 1.0) -> np.ndarray:
    """A height×width window at a random place of the noise tile, enlarged ``zoom`` times."""
    rows = (np.arange(int(np.ceil(height / zoom)) + 1) + rng.integers(_TILE)) % _TILE
    columns = (np.arange(int(np.ceil(width / zoom)) + 1) + rng.integers(_TILE)) % _TILE
    window = noise_tile()[rows[:, None], columns]
    if zoom == 1.0:
        return window[:height, :width]
    return cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR)


def grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A height×width window at a random place of the white noise, repeated when larger than the tile."""
    rows = (np.arange(height) + rng.integers(_TILE)) % _TILE
    columns = (np.arange(width) + rng.integers(_TILE)) % _TILE
    return grain_tile()[rows[:, None], columns]


def roughen(texture: np.ndarray, rng: np.random.Generator, coarse: float, fine: float) -> np.ndarray:
    """Multiply a texture by noise around 1; ``coarse`` for stains, ``fine`` for grain (deviations)."""
    height, width = texture.shape[:2]
    factor = 1 + coarse * noise(rng, height, width, 2.0) + fine * grain(rng, height, width)
    return modulate(texture, factor)


def modulate(texture: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply the colour of a texture by an H×W map, in place; alpha stays, and colour stays below alpha."""
    colour = texture[..., :3] * factor[..., None]
    np.minimum(colour, texture[..., 3:], out=colour)
    texture[..., :3] = np.maximum(colour, 0)
    return texture


def hue(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """A random colour of any hue, saturation and value (0..1) within the given ranges."""
    return tint(rng.uniform(0, 1), rng.uniform(*saturation), rng.uniform(*value))


def tint(angle: float, saturation: float, value: float) -> Colour:
    """RGB of a hue angle (0..1), saturation and value."""
    sectors = np.array([5.0, 3.0, 1.0]) + angle * 6
    wave = np.clip(np.minimum(sectors % 6, 4 - sectors % 6), 0, 1)
    red, green, blue = 255 * value * (1 - saturation * wave)
    return float(red), float(green), float(blue)


def blend(first: Sequence[float], second: Sequence[float], share: float) -> Colour:
    """``share`` of the second colour in the first."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
    return red, green, blue
