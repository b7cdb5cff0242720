"""Colour changes of uint8 RGB as one lookup table and one 3×3 matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

_GREY = np.array([0.299, 0.587, 0.114])  # luma of ITU-R BT.601


@dataclass(frozen=True)
class Colour:
    """A drawn colour change; ``None`` where there is nothing to do.

    Attributes
    ----------
    tone
        Factors of gamma, brightness and contrast, as :func:`tone_table` takes them.
    matrix
        3×3 float32, applied to (r, g, b) afterwards: saturation and hue.
    """

    tone: tuple[float, float, float] | None = None
    matrix: np.ndarray | None = None

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Change H×W×3 uint8; any other raster is returned as it is, for its values are not colours."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            return image
        if self.tone is not None:
            mean = float(np.dot(_GREY, cv2.mean(image)[:3]))
            image = cv2.LUT(image, tone_table(*self.tone, mean))
        if self.matrix is not None:
            image = cv2.transform(image, self.matrix)
        return image


def tone_table(gamma: float, brightness: float, contrast: float, mean: float) -> np.ndarray:
    """The 256-entry table of a change of tone, in the order of the arguments.

    All three are factors, and contrast turns about the image's own mean: an added offset or a turn
    about the middle grey would clip most of a dark picture to black.

    Parameters
    ----------
    gamma
        Exponent on values in 0..1; 1 changes nothing, above 1 darkens.
    brightness
        Factor on values; 1 changes nothing.
    contrast
        Factor on differences from the mean; 1 changes nothing.
    mean
        The image's mean grey, 0..255.

    Examples
    --------
    >>> tone_table(1.0, 1.2, 0.5, mean=50)[[0, 50, 100, 255]]
    array([ 30,  60,  90, 183], dtype=uint8)
    """

    def brightened(values: np.ndarray) -> np.ndarray:
        return 255.0 * brightness * (values / 255.0) ** gamma

    values, pivot = brightened(np.arange(256)), brightened(np.array(mean))
    return ((values - pivot) * contrast + pivot).round().clip(0, 255).astype(np.uint8)


def chroma_matrix(saturation: float, hue: float) -> np.ndarray:
    """The 3×3 matrix that scales colour away from grey and turns it about the grey axis.

    A rotation about (1, 1, 1) in RGB approximates a shift of HSV hue at the price of nine multiplications
    instead of two conversions. Greys stay as they are.

    Parameters
    ----------
    saturation
        Factor; 1 changes nothing, 0 leaves the luma.
    hue
        Turns of the colour circle; 1/3 moves red to green.

    Examples
    --------
    >>> (chroma_matrix(1.0, 1 / 3) @ [255, 0, 0]).round().astype(int)
    array([  0, 255,   0])
    >>> (chroma_matrix(0.0, 0.0) @ [100, 100, 100]).round().astype(int)
    array([100, 100, 100])
    """
    angle = 2 * math.pi * hue
    one, cross = np.full((3, 3), 1 / 3), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * one
    blend = saturation * np.eye(3) + (1 - saturation) * np.tile(_GREY, (3, 1))
    return (blend @ turn).astype(np.float32)
