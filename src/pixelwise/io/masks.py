"""Reading and writing class-id masks: palette PNGs as indices, 16-bit, 1-bit, RGB by colour table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.io.atomic import atomic_write
from pixelwise.io.images import load_pixels, open_image
from pixelwise.labels import LabelMap, default_colours


class UnknownValuesError(DataError):
    """A mask holds values that its class file does not list, but that look like ids of other classes."""

    def __init__(self, path: Path, values: Sequence[int]) -> None:
        self.values = tuple(values)
        listing = ", ".join(map(str, values[:10]))
        super().__init__(
            f"{path}: the mask holds values that the class file does not list: {listing}; "
            "add them to the class file (named 'void' they are ignored)"
        )


def read_mask(
    path: str | Path, labels: LabelMap | None = None, mapping: Mapping[int, int] | None = None
) -> np.ndarray:
    """Read a mask as class ids: H×W uint8, or uint16 where the values need it.

    Palette PNGs give their INDICES, never colours; 1-bit masks give 0 and 1. An RGB mask is translated
    by the colours of ``labels``; a colour that is not among them becomes the ignored id. A grey picture
    saved as RGB is taken for ids unless its greys are colours of ``labels``.

    Parameters
    ----------
    path
        PNG, TIFF, BMP or NPY (integers).
    labels
        The classes; their colours are needed for RGB masks only.
    mapping
        From the value in the file to the class id; needs ``labels``. It does not apply to colours,
        which are translated already. Values that it does not list stay as they are, so that a
        check can name them; one that would then pass for a class raises UnknownValuesError.

    Raises
    ------
    DataError
        Missing, truncated or not a mask; RGB without a colour table; floating-point values.
    UnknownValuesError
        A value that ``mapping`` does not list is the id of another class.
    """
    path = Path(path)
    stored = _read_array(path) if path.suffix.lower() == ".npy" else _read_picture(path)
    if stored.ndim == 3:
        mask = _from_colours(path, stored, labels)
        if mask is not None:
            return mask
        stored = np.ascontiguousarray(stored[..., 0])
    if labels is not None and mapping:
        stored = _translate(path, stored, labels, mapping)
    small = labels is not None and stored.dtype != labels.dtype and int(stored.max(initial=0)) <= 255
    return stored.astype(labels.dtype) if small and labels is not None else stored


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


def _read_picture(path: Path) -> np.ndarray:
    """H×W stored values, or H×W×3 colours."""
    with open_image(path) as image:
        try:
            load_pixels(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path}: the mask is damaged ({error}); export it again") from None
        if image.mode == "1":
            return np.array(image, np.uint8)
        if image.mode in ("L", "P"):
            return np.array(image)
        if image.mode.startswith("I"):
            return _as_values(path, np.array(image))
        if image.mode in ("RGB", "RGBA"):
            return np.array(image)[..., :3]
        raise DataError(
            f"{path}: a mask must be a palette, grey, 16-bit, 1-bit or RGB image, found mode {image.mode}; "
            "save it as an 8-bit PNG of class ids"
        )


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such mask") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a NumPy array ({error}); save it with numpy.save") from None
    return _as_values(path, array)


def _as_values(path: Path, array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or array.dtype.kind not in "uib":
        raise DataError(f"{path}: a mask must be HxW integers, found {array.dtype} of shape {array.shape}")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or high > 65535:
        raise DataError(f"{path}: mask values must lie in 0..65535, found {low}..{high}")
    return array.astype(np.uint8 if array.dtype.itemsize == 1 else np.uint16)


def _translate(path: Path, stored: np.ndarray, labels: LabelMap, mapping: Mapping[int, int]) -> np.ndarray:
    ambiguous = [value for value in range(len(labels)) if value not in mapping]
    if ambiguous:
        strays = np.intersect1d(mask_values(stored), ambiguous)
        if len(strays):
            raise UnknownValuesError(path, strays.tolist())
    top = int(np.iinfo(stored.dtype).max)
    table = np.arange(top + 1, dtype=np.uint16 if labels.ignore > 255 else stored.dtype)
    for value, class_id in mapping.items():
        if value <= top:
            table[value] = class_id
    return table[stored]


def _from_colours(path: Path, rgb: np.ndarray, labels: LabelMap | None) -> np.ndarray | None:
    """H×W class ids by colour, or None for a grey picture that holds values, not colours."""
    grey = bool((rgb == rgb[..., :1]).all())
    # Default colours are for drawing: nobody painted a mask with them, unless every colour matches.
    given = labels is not None and labels.colours != default_colours(len(labels))
    code = (rgb[..., 0].astype(np.uint32) << 16) | (rgb[..., 1].astype(np.uint32) << 8) | rgb[..., 2]
    if labels is not None and (given or not grey):
        mask = np.full(code.shape, labels.ignore, labels.dtype)
        for position, (r, g, b) in enumerate(labels.colours):
            mask[code == (r << 16 | g << 8 | b)] = position
        matched = mask != labels.ignore
        if matched.any() if given else matched.all():
            return mask
        if given and not rgb.any():  # black that is no class is everybody's void
            return mask
    if grey:
        return None
    found = " ".join(f"{c >> 16},{c >> 8 & 255},{c & 255}" for c in np.unique(code)[:5])
    problem = "none of them is in the colour table" if given else "no colour table was given"
    raise DataError(
        f"{path}: the mask is an RGB picture (colours {found} ...) and {problem}; "
        "add a class file with one 'name,r,g,b' a line"
    )
