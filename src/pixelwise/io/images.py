"""Reading and writing photographs: RGB uint8, EXIF rotation applied, truncated files refused.

A small file can claim to hold a picture that fills the memory (a decompression bomb). Every image is opened
by Pillow first, whatever decodes it later, and refused by the size in its header when that has more than
``MAX_PIXELS`` pixels. The environment variable PIXELWISE_MAX_PIXELS sets another limit.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from pixelwise.errors import DataError, UsageError
from pixelwise.io.atomic import atomic_write

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
)
"""File suffixes (lower case) that are taken for images."""

_LIMIT = "PIXELWISE_MAX_PIXELS"


def _pixel_limit() -> int:
    # From the environment, because images are opened from every verb and every thread, and nobody but the
    # owner of the machine knows what fits its memory.
    text = os.environ.get(_LIMIT, "1_000_000_000")
    try:
        limit = int(text)
    except ValueError:
        limit = 0
    if limit < 1:
        raise UsageError(f"{_LIMIT} is '{text}': expected a number of pixels, such as 4000000000")
    return limit


MAX_PIXELS = _pixel_limit()
"""Larger images are refused as decompression bombs; read from PIXELWISE_MAX_PIXELS when this is imported."""

_EXIF_ORIENTATION = 0x0112
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_SPEECH = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_BOMB_LIMIT = threading.Lock()

# Pillow warns from 89 megapixels on, an everyday size for aerial images; MAX_PIXELS is the limit here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def open_image(path: str | Path) -> Image.Image:
    """Open an image with Pillow without decoding its pixels; errors name the file.

    Raises
    ------
    DataError
        The file is missing, is not an image, or claims more than ``MAX_PIXELS`` pixels.
    """
    path = Path(path)
    try:
        image = _open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: not an image (or an unknown format); remove it or convert it to PNG"
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be opened as an image ({error})") from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(
            f"{path}: {image.width}x{image.height} pixels is over the limit of {MAX_PIXELS:,} for one image; "
            f"if the file can be trusted, set the environment variable {_LIMIT} to "
            f"{image.width * image.height}"
        )
    return image


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except Image.DecompressionBombError:
        with _without_pillows_limit():
            return Image.open(path)


def load_pixels(image: Image.Image) -> None:
    """Decode an image that :func:`open_image` let pass: Pillow looks at the size of a TIFF once more."""
    try:
        image.load()
    except Image.DecompressionBombError:
        with _without_pillows_limit():
            image.load()


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Pillow's limit is lower than ours, and a global, while images are read from several threads."""
    with _BOMB_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as H×W×3 uint8 RGB, rotated as its EXIF tag says.

    Grey, palette and 16-bit images become RGB; transparency is dropped.

    Raises
    ------
    DataError
        The file is missing, truncated or not an image.
    """
    with open_image(path) as image, _damage_explained(path, image):
        if (pixels := _fast_jpeg(Path(path), image)) is not None:
            return pixels
        load_pixels(image)
        if image.mode.startswith("I;16") or image.mode == "I":
            high = np.asarray(image, np.uint32) >> 8
            grey = np.minimum(high, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        upright = ImageOps.exif_transpose(image) if image.getexif() else image
        return np.array(upright.convert("RGB"))


def _fast_jpeg(path: Path, image: Image.Image) -> np.ndarray | None:
    """A plain JPEG by OpenCV, whose result is Pillow's to the bit in a third of the time; None for others.

    Left to Pillow are rotated pictures, CMYK, and files without an end, which OpenCV fills up with grey.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        return None
    coded = np.fromfile(path, np.uint8)
    if coded[-2:].tobytes() != _JPEG_END:
        return None
    try:
        pixels = cv2.imdecode(coded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None  # it has a limit of 2**30 pixels, whatever ours is
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) as :func:`read_image` would return it, without decoding the pixels."""
    with open_image(path) as image, _damage_explained(path, image):
        if isinstance(image, PngImageFile) and not _speaks_after_pixels(Path(path)):
            return _upright_size(image, Image.Image.getexif(image))
        return _upright_size(image, image.getexif())


def verify_image(path: str | Path) -> tuple[int, int]:
    """Decode an image to its last byte, as cheaply as its format permits, and return (height, width).

    JPEG is decoded at an eighth of its size, which reads every coefficient but transforms few.

    Raises
    ------
    DataError
        As :func:`read_image` would.
    """
    with open_image(path) as image, _damage_explained(path, image):
        size = _upright_size(image, image.getexif())
        image.draft(None, (max(image.width // 8, 1), max(image.height // 8, 1)))
        load_pixels(image)
        return size


def _upright_size(image: Image.Image, exif: Image.Exif) -> tuple[int, int]:
    # Pillow's size of a TIFF is upright already.
    turned = image.format != "TIFF" and exif.get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (image.width, image.height) if turned else (image.height, image.width)


def _speaks_after_pixels(path: Path) -> bool:
    """Whether a PNG has EXIF or text behind its pixels, for which Pillow decodes them all.

    Hardly any PNG has, and a look at the heads of its chunks tells.
    """
    seen = False
    with path.open("rb", buffering=0) as file:
        file.seek(len(_PNG_START))
        while len(head := file.read(8)) == 8:
            length, kind = int.from_bytes(head[:4]), head[4:]
            if seen and kind in _PNG_SPEECH:
                return True
            seen |= kind == b"IDAT"
            file.seek(length + 4, os.SEEK_CUR)  # and its checksum
    return False


@contextmanager
def _damage_explained(path: str | Path, image: Image.Image) -> Iterator[None]:
    """Turn what decoders raise into one sentence (DataError) naming ``path``."""
    try:
        yield
    except MemoryError:
        raise DataError(
            f"{path}: {image.width}x{image.height} pixels do not fit into the memory that is free; "
            "make the image smaller"
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: the image is damaged ({error}); copy or export it again") from None


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write H×W×3 (or H×W) uint8; the format follows the suffix, JPEG at quality 92.

    Raises
    ------
    UsageError
        The suffix names no image format.
    PixelwiseError
        The file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise UsageError(f"{path}: cannot write '{suffix}' images; use .png or .jpg")
    options: dict[str, Any] = {"quality": 92} if suffix in (".jpg", ".jpeg") else {}
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(image)).save(temporary, **options)


def is_image(path: Path) -> bool:
    """Whether a path has an image suffix and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


_LISTINGS: ContextVar[dict[str, list[tuple[str, list[str]]]] | None] = ContextVar("listings", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """Within it, :func:`walk_files` lists each folder once, however many readers look at it.

    What is added or removed meanwhile goes unnoticed, so it is to last no longer than one question.
    """
    token = _LISTINGS.set({})
    try:
        yield
    finally:
        _LISTINGS.reset(token)


def walk_files(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (sub-folder relative to ``folder``, sorted file names), hidden ones left out, in sorted order.

    Links to folders are followed, each folder once; the relative name of ``folder`` itself is ``""``.

    Raises
    ------
    DataError
        A folder cannot be listed.
    """
    listings = _LISTINGS.get()
    if listings is None:
        return _walk(folder)
    if str(folder) not in listings:
        listings[str(folder)] = list(_walk(folder))
    return iter(listings[str(folder)])


def _walk(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = os.path.relpath(parent, folder).replace(os.sep, "/")
        yield "" if relative == "." else relative, sorted(name for name in files if not name.startswith("."))


def list_images(folder: str | Path) -> list[Path]:
    """All images below a folder, sorted by path, hidden files and folders left out."""
    folder = Path(folder)
    return sorted(
        folder / parent / name
        for parent, names in walk_files(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    )
