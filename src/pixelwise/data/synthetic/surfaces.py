"""Panels: flat pieces of texture in space, of which everything that stands on the street is made.

Textures are H×W×4 uint8, RGB multiplied by alpha already, so that filtering them never bleeds colour from
where there is none. Noise comes from two tiles that are made once.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

Colour = tuple[float, float, float]
"""RGB, 0..255."""

Point3 = Sequence[float] | np.ndarray
"""X, Y, Z in metres."""

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
    origin: Point3,
    right: Point3,
    down: Point3,
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
    return panel(texture, (x - width / 2, y + height, z), (width, 0, 0), (0, -height, 0), label, soft=True)


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
    red, green, blue = colour
    return min(255, int(red * factor)), min(255, int(green * factor)), min(255, int(blue * factor)), 255


@lru_cache(maxsize=1)
def noise_tile() -> np.ndarray:
    """512×512 float32 noise with amplitude 1/frequency, mean 0, deviation 1, that repeats without a seam."""
    rng = np.random.default_rng(20)
    frequency = np.hypot(np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None]) * _TILE
    spectrum = np.fft.rfft2(rng.standard_normal((_TILE, _TILE))) / np.maximum(frequency, 3.0)
    spectrum[0, 0] = 0
    tile = np.fft.irfft2(spectrum)
    return (tile / tile.std()).astype(np.float32)


@lru_cache(maxsize=2)
def _doubled(tile: Callable[[], np.ndarray]) -> np.ndarray:
    """A tile beside and below itself, so that a window at any place is a view."""
    return np.tile(tile(), (2, 2))


def _window(rng: np.random.Generator, tile: Callable[[], np.ndarray], height: int, width: int) -> np.ndarray:
    """A height×width window at a random place of a repeating tile."""
    top, left = (int(place) for place in rng.integers(_TILE, size=2))
    if height <= _TILE and width <= _TILE:
        return _doubled(tile)[top : top + height, left : left + width]
    rows, columns = (np.arange(height) + top) % _TILE, (np.arange(width) + left) % _TILE
    return tile()[rows[:, None], columns]


@lru_cache(maxsize=1)
def grain_tile() -> np.ndarray:
    """512×512 float32 white noise, mean 0, deviation 1."""
    return np.random.default_rng(21).standard_normal((_TILE, _TILE)).astype(np.float32)


def noise(rng: np.random.Generator, height: int, width: int, zoom: float = 1.0) -> np.ndarray:
    """A height×width window at a random place of the noise tile, enlarged ``zoom`` times."""
    if zoom == 1.0:
        return _window(rng, noise_tile, height, width)
    window = _window(rng, noise_tile, int(np.ceil(height / zoom)) + 1, int(np.ceil(width / zoom)) + 1)
    return cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR)


def grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A height×width window at a random place of the white noise, repeated when larger than the tile."""
    return _window(rng, grain_tile, height, width)


def roughen(texture: np.ndarray, rng: np.random.Generator, coarse: float, fine: float) -> np.ndarray:
    """Multiply a texture by noise around 1; ``coarse`` for stains, ``fine`` for grain (deviations)."""
    height, width = texture.shape[:2]
    factor = 1 + coarse * noise(rng, height, width, 2.0) + fine * grain(rng, height, width)
    return modulate(texture, factor)


def modulate(texture: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply the colour of a texture by a map (H×W, H×1 or W), in place; colour stays below alpha."""
    rows, columns = texture.shape[:2]
    grey = np.ascontiguousarray(np.broadcast_to(factor, (rows, columns)), np.float32)
    factors = cv2.merge([grey, grey, grey, np.ones_like(grey)])
    cv2.multiply(texture, factors, dst=texture, dtype=cv2.CV_8U)
    alpha = cv2.extractChannel(texture, 3)
    np.minimum(texture, cv2.merge([alpha] * 4), out=texture)
    return texture


def hue(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """A random colour of any hue, saturation and value (0..1) within the given ranges."""
    return tint(rng.uniform(0, 1), rng.uniform(*saturation), rng.uniform(*value))


def tint(angle: float, saturation: float, value: float) -> Colour:
    """RGB of a hue angle (0..1), saturation and value."""
    red, green, blue = colorsys.hsv_to_rgb(angle % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def blend(first: Sequence[float], second: Sequence[float], share: float) -> Colour:
    """``share`` of the second colour in the first."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
    return red, green, blue
