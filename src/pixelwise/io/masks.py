"""Reading and writing class-id masks: palette PNGs as indices, 16-bit, 1-bit, RGB by colour table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.io.atomic import atomic_write
from pixelwise.io.images import open_image
from pixelwise.labels import LabelMap


def read_mask(path: str | Path, labels: LabelMap | None = None) -> np.ndarray:
    """Read a mask as the ids that the file holds: H×W uint8, or uint16 for 16-bit files.

    Palette PNGs give their INDICES, never colours; 1-bit masks give 0 and 1. An RGB mask is translated
    by the colours of ``labels``; a colour that is not among them becomes the ignored id.

    Parameters
    ----------
    path
        PNG, TIFF, BMP or NPY (integers).
    labels
        Needed for RGB masks only.

    Raises
    ------
    DataError
        Missing, truncated or not a mask; RGB without a colour table; floating-point values.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return _from_array(path, np.load(path, allow_pickle=False))
    with open_image(path) as image:
        try:
            image.load()
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path}: the mask is damaged ({error}); export it again") from None
        if image.mode == "1":
            return np.array(image, np.uint8)
        if image.mode in ("L", "P"):
            return np.array(image)
        if image.mode.startswith("I"):
            return _from_array(path, np.array(image))
        if image.mode in ("RGB", "RGBA"):
            return _from_colours(path, np.array(image.convert("RGB")), labels)
        raise DataError(
            f"{path}: a mask must be a palette, grey, 16-bit, 1-bit or RGB image, found mode {image.mode}; "
            "save it as an 8-bit PNG of class ids"
        )


def mask_values(mask: np.ndarray) -> np.ndarray:
    """The distinct ids of a mask, sorted."""
    return np.flatnonzero(np.bincount(mask.ravel()))


def write_mask(path: str | Path, mask: np.ndarray, labels: LabelMap) -> None:
    """Write H×W class ids as a palette PNG (16-bit grey when K > 255), atomically."""
    if labels.dtype is np.uint16:
        image = Image.fromarray(mask.astype(np.uint16))
    else:
        image = Image.fromarray(mask.astype(np.uint8))
        image.putpalette(labels.palette().tobytes())
    with atomic_write(path) as temporary:
        image.save(temporary, compress_level=1)


def _from_array(path: Path, array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or array.dtype.kind not in "ui":
        raise DataError(f"{path}: a mask must be HxW integers, found {array.dtype} of shape {array.shape}")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or high > 65535:
        raise DataError(f"{path}: mask values must lie in 0..65535, found {low}..{high}")
    return array.astype(np.uint8 if array.dtype.itemsize == 1 else np.uint16)


def _from_colours(path: Path, rgb: np.ndarray, labels: LabelMap | None) -> np.ndarray:
    code = (rgb[..., 0].astype(np.uint32) << 16) | (rgb[..., 1].astype(np.uint32) << 8) | rgb[..., 2]
    if labels is None:
        if (rgb[..., :1] == rgb).all():  # a grey picture saved as RGB holds the ids in each channel
            return np.ascontiguousarray(rgb[..., 0])
        found = [f"{c >> 16},{c >> 8 & 255},{c & 255}" for c in np.unique(code)[:5]]
        raise DataError(
            f"{path}: the mask is an RGB picture (colours {' '.join(found)} ...) and no colour table was given; "
            "add a class file with one 'name,r,g,b' a line"
        )
    mask = np.full(code.shape, labels.ignore, labels.dtype)
    for position, (r, g, b) in enumerate(labels.colours):
        mask[code == (r << 16 | g << 8 | b)] = position
    if (mask == labels.ignore).all() and (rgb[..., :1] == rgb).all():
        return np.ascontiguousarray(rgb[..., 0])
    return mask
