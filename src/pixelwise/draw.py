"""Masks for the eye: overlays, colour pictures, error pictures, legends and grids (numpy and OpenCV)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pixelwise.errors import DataError, UsageError
from pixelwise.labels import Colour, LabelMap

_RIGHT, _WRONG = (255, 255, 255), (214, 39, 40)


def colourise(mask: np.ndarray, labels: LabelMap) -> np.ndarray:
    """Paint every pixel in the colour of its class.

    Parameters
    ----------
    mask
        H×W class ids; the ignored id becomes white.
    labels
        The classes.

    Returns
    -------
    H×W×3 uint8 RGB.

    Raises
    ------
    DataError
        The mask is not H×W integers, or holds an id that is no class.

    Examples
    --------
    >>> labels = LabelMap(("road", "car"), ((10, 20, 30), (255, 0, 0)))
    >>> colourise(np.array([[0, 1, 255]]), labels).tolist()
    [[[10, 20, 30], [255, 0, 0], [255, 255, 255]]]
    """
    _check_mask(mask, labels)
    table = np.full((max(labels.ignore, len(labels) - 1) + 1, 3), 255, np.uint8)
    table[: len(labels)] = labels.colours
    return np.take(table, mask, axis=0)


def overlay(
    image: np.ndarray, mask: np.ndarray, labels: LabelMap, alpha: float = 0.5, borders: int = 0
) -> np.ndarray:
    """Lay the colours of the classes over an image; ignored pixels keep the image's own.

    Parameters
    ----------
    image
        H×W×3 uint8 RGB.
    mask
        H×W class ids.
    labels
        The classes.
    alpha
        How much of the colours: 0 is the image alone, 1 the colours alone.
    borders
        Width in pixels of the lines drawn at full colour where classes meet; 0 draws none.

    Returns
    -------
    H×W×3 uint8 RGB, a new array.

    Raises
    ------
    DataError
        Image and mask differ in size or are not of the types above, or the mask holds an id that is no class.
    UsageError
        ``alpha`` is not in 0..1.

    Examples
    --------
    >>> image = np.full((1, 2, 3), 100, np.uint8)
    >>> labels = LabelMap(("road",), ((200, 0, 0),))
    >>> overlay(image, np.array([[0, 255]]), labels).tolist()
    [[[150, 50, 50], [100, 100, 100]]]
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must lie in 0..1, found {alpha}")
    _check_image(image, mask)
    colours = colourise(mask, labels)
    painted = cv2.addWeighted(image, 1 - alpha, colours, alpha, 0)
    if borders:
        edges = _borders(mask, borders)
        painted[edges] = colours[edges]
    ignored = mask == labels.ignore
    painted[ignored] = image[ignored]
    return painted


def outlines(
    image: np.ndarray, rings: Sequence[np.ndarray], colours: Sequence[Colour], width: int = 2
) -> np.ndarray:
    """Draw closed outlines over an image, each dark-rimmed so that it shows on any ground.

    Parameters
    ----------
    image
        H×W×3 uint8 RGB.
    rings
        N×2 (x, y) each, in the corner convention.
    colours
        One RGB triple for each ring.
    width
        Of the coloured line, in pixels.

    Returns
    -------
    H×W×3 uint8 RGB, a new array.

    Examples
    --------
    >>> picture = outlines(np.zeros((9, 9, 3), np.uint8), [np.array([[1, 1], [8, 1], [8, 8]])], [(255, 0, 0)])
    >>> picture.shape, int(picture.max())
    ((9, 9, 3), 255)
    """
    painted = image.copy()
    # A pixel's centre is at +0.5 here and at 0 in OpenCV, which takes sixteenths of a pixel.
    corners = [np.rint((np.asarray(ring) - 0.5) * 16).astype(np.int32) for ring in rings]
    for extra, shades in ((2, [(0, 0, 0)] * len(rings)), (0, colours)):
        for ring, colour in zip(corners, shades, strict=True):
            cv2.polylines(painted, [ring], True, colour, width + extra, cv2.LINE_AA, 4)
    return painted


def error_picture(
    image: np.ndarray, prediction: np.ndarray, target: np.ndarray, ignore: int = 255
) -> np.ndarray:
    """Show where a prediction is wrong: red over a pale grey image, unlabelled pixels dark.

    Parameters
    ----------
    image
        H×W×3 uint8 RGB.
    prediction, target
        H×W class ids.
    ignore
        The target id that does not count.

    Returns
    -------
    H×W×3 uint8 RGB.

    Raises
    ------
    DataError
        The sizes differ.
    """
    _check_image(image, prediction)
    _check_image(image, target)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture = cv2.addWeighted(grey, 0.35, np.full_like(grey, _RIGHT), 0.65, 0)
    wrong = prediction != target
    picture[wrong] = cv2.addWeighted(grey, 0.3, np.full_like(grey, _WRONG), 0.7, 0)[wrong]
    ignored = target == ignore
    picture[ignored] = grey[ignored] // 4
    return picture


def legend(labels: LabelMap, classes: Sequence[str] | None = None, height: int = 22) -> np.ndarray:
    """Draw the classes with their colours, one below the other.

    Parameters
    ----------
    labels
        The classes.
    classes
        Names of the ones to show, in that order; all when None.
    height
        Pixels of each row.

    Returns
    -------
    H×W×3 uint8 RGB on white, as wide as the longest name needs.

    Raises
    ------
    UsageError
        A name is unknown.

    Examples
    --------
    >>> legend(LabelMap(("road", "car"))).shape[0]
    44
    """
    # Pillow has a font beyond ASCII, which OpenCV has not
    from PIL import Image, ImageDraw, ImageFont

    names = labels.names if classes is None else tuple(classes)
    font = ImageFont.load_default(size=round(height * 0.62))
    gap = height // 4
    width = height + 2 * gap + round(max((font.getlength(name) for name in names), default=0))
    picture = Image.new("RGB", (width, height * len(names)), "white")
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(names):
        top = row * height
        box = (gap, top + gap, height - gap, top + height - gap)
        draw.rectangle(box, fill=labels.colours[labels.index(name)], outline=(120, 120, 120))
        draw.text((height, top + height / 2), name, fill=(30, 30, 30), font=font, anchor="lm")
    return np.asarray(picture)


def grid(images: Sequence[np.ndarray], columns: int | None = None, gap: int = 6) -> np.ndarray:
    """Put pictures beside and below one another on white.

    Parameters
    ----------
    images
        H×W×3 uint8 RGB each; smaller ones stand at the top left of their cell.
    columns
        Pictures in a row; all in one row when None.
    gap
        Pixels between pictures.

    Returns
    -------
    H×W×3 uint8 RGB.

    Raises
    ------
    UsageError
        There is no picture.

    Examples
    --------
    >>> grid([np.zeros((4, 5, 3), np.uint8)] * 3, columns=2, gap=1).shape
    (9, 11, 3)
    """
    if not images:
        raise UsageError("a grid needs at least one picture")
    columns = min(columns or len(images), len(images))
    rows = -(-len(images) // columns)
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for position, image in enumerate(images):
        top, left = position // columns * (height + gap), position % columns * (width + gap)
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def _borders(mask: np.ndarray, width: int) -> np.ndarray:
    """H×W bool: pixels whose right or lower neighbour has another id, thickened to ``width``."""
    edges = np.zeros(mask.shape, np.uint8)
    edges[:, :-1] |= mask[:, 1:] != mask[:, :-1]
    edges[:-1] |= mask[1:] != mask[:-1]
    if width > 1:
        edges = cv2.dilate(edges, np.ones((width, width), np.uint8))
    return edges.astype(bool)


def _check_mask(mask: np.ndarray, labels: LabelMap) -> None:
    if mask.ndim != 2 or mask.dtype.kind not in "uib":
        raise DataError(f"a mask must be HxW integers, found {mask.dtype} of shape {mask.shape}")
    wrong = (mask != labels.ignore) & ((mask >= len(labels)) | (mask < 0))
    if wrong.any():
        raise DataError(
            f"the mask holds class id {mask[wrong][0]}, expected 0..{len(labels) - 1} "
            f"(or {labels.ignore} where there is no label)"
        )


def _check_image(image: np.ndarray, mask: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"an image must be HxWx3 uint8, found {image.dtype} of shape {image.shape}")
    if image.shape[:2] != mask.shape:
        raise DataError(
            f"the image is {image.shape[0]}x{image.shape[1]} but the mask is {'x'.join(map(str, mask.shape))}"
        )
