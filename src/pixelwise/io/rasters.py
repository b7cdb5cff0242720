"""Rasters (GeoTIFF, large TIFF) in windows: pixels in, class ids out, the place on Earth kept.

Read and written through GDAL by rasterio, which is in the extra ``geo`` and imported only when a raster is
touched. GDAL's block cache is bounded, so memory does not grow with the raster.

Departure from rasterio: what it warns of (a TIFF without georeference) is usual here and passes silently;
what it tells in several lines of GDAL's log is one DataError that names the window.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from pixelwise.errors import DataError, MissingExtraError, PixelwiseError, UsageError
from pixelwise.io.atomic import atomic_write
from pixelwise.labels import LabelMap

LARGEST_WHOLE = 1 << 28
"""Pixels; a plain TIFF of more is read in windows and not decoded whole (RGB: 805 MB)."""

LONGEST_SIDE = 1_000_000
"""Pixels; rasters with longer sides are refused."""

LARGEST_BLOCK = 1 << 28
"""Bytes; files in larger blocks cannot be read in windows within little memory."""

BLOCK = 512
"""Rows and columns of the blocks that class rasters are written in."""

_CACHE = 128 << 20  # bytes of GDAL's block cache; its default is a twentieth of the machine's memory
_SUFFIXES = (".tif", ".tiff")
_LABELS_TAG = "PIXELWISE_LABELS"
_PLACE_TAGS = (33550, 34264, 34735, 50844)  # pixel scale, transformation, geo keys, RPC coefficients
_SMALLEST_OVERVIEW = 256


def is_raster(path: str | Path) -> bool:
    """Whether a file is for windows: a TIFF that knows its place on Earth, or is too large to decode whole.

    Only the header is read, without rasterio. A damaged TIFF is none: whoever reads its pixels says more.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        return False
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            if any(tag in page.tags for tag in _PLACE_TAGS):
                return True
            large = page.imagelength * page.imagewidth > LARGEST_WHOLE
    except (OSError, ValueError, IndexError, KeyError, AttributeError, tifffile.TiffFileError):
        return False
    return large or path.with_suffix(".tfw").exists()


@dataclass
class Raster:
    """An open raster, read in windows by one thread at a time.

    Attributes
    ----------
    path, height, width
        The file, and its size in pixels.
    bands
        Numbers (from 1) of the bands that are read.
    value_range
        The values that become 0 and 255; None for uint8 as it is.
    palette
        256×3 colours, where the one band holds colour numbers.
    """

    path: Path
    height: int
    width: int
    bands: tuple[int, ...]
    value_range: tuple[float, float] | None
    palette: np.ndarray | None
    dataset: Any = field(repr=False)

    @property
    def masked(self) -> bool:
        """Whether pixels may be without data: a nodata value, an alpha band, a mask, or floats (NaN)."""
        return self._has_mask or np.dtype(self.dataset.dtypes[0]).kind == "f"

    @property
    def pixel_area(self) -> tuple[float, str] | None:
        """The area of a pixel and the square's unit, when the coordinates are lengths; else None."""
        return _pixel_area(self.dataset)

    @property
    def _has_mask(self) -> bool:
        flags = self.dataset.mask_flag_enums
        return any(flag.name != "all_valid" for band in flags for flag in band)

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels of a window, and which of them hold data.

        Returns
        -------
        pixels
            height×width×C uint8.
        valid
            height×width bool; None when the raster has no way of saying "no data".

        Raises
        ------
        DataError
            The window cannot be read.
        """
        window = ((top, top + height), (left, left + width))
        with _reading(self.path, window):
            values = self.dataset.read(self.bands, window=window)
            valid = self.dataset.dataset_mask(window=window) > 0 if self._has_mask else None
        if values.dtype.kind == "f":
            finite = np.isfinite(values).all(axis=0)
            valid = finite if valid is None else valid & finite
        if self.palette is not None:
            return self.palette[values[0]], valid
        return np.ascontiguousarray(np.moveaxis(self._bytes(values), 0, 2)), valid

    def _bytes(self, values: np.ndarray) -> np.ndarray:
        if self.value_range is None:
            return values
        low, high = self.value_range
        scaled = np.nan_to_num(values.astype(np.float32), nan=low, posinf=high, neginf=low)
        scaled -= low
        scaled *= 255 / (high - low)
        np.rint(scaled, out=scaled)
        return scaled.clip(0, 255, out=scaled).astype(np.uint8)


@contextmanager
def open_raster(
    path: str | Path,
    channels: int,
    bands: Sequence[int] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Iterator[Raster]:
    """Open a raster for a model that takes so many channels.

    Parameters
    ----------
    path
        A GeoTIFF, or anything else that GDAL reads.
    channels
        How many bands are wanted.
    bands
        Their numbers, from 1. None takes all, when there are as many; red, green and blue (for three
        channels) or all but the alpha band, when the file says which they are; a palette's colours.
    value_range
        The values that become 0 and 255, what lies outside is clipped; needed for all types but uint8.

    Raises
    ------
    DataError
        The file is missing or no raster; too large; in blocks too large; of another type than uint8 without
        a range; or it does not say which of its bands to take.
    UsageError
        Bands that are not there, or as many as are not wanted; an empty range.
    MissingExtraError
        rasterio is not installed.
    """
    path = Path(path)
    rasterio = _rasterio()
    with rasterio.Env(GDAL_CACHEMAX=_CACHE), _opened(path) as dataset:
        _check_size(path, dataset)
        palette = _palette(dataset) if bands is None and channels == 3 else None
        chosen = (1,) if palette is not None else _choose_bands(path, dataset, channels, bands)
        if palette is None:
            _check_values(path, dataset, chosen, value_range)
        scale = None if palette is not None else value_range
        yield Raster(path, dataset.height, dataset.width, chosen, scale, palette, dataset)


@dataclass
class ClassRaster:
    """An open raster of class ids as :func:`create_class_raster` makes it."""

    path: Path
    height: int
    width: int
    labels: LabelMap
    dataset: Any = field(repr=False)

    @property
    def crs(self) -> Any:
        """The CRS as rasterio has it, or None."""
        return self.dataset.crs

    @property
    def pixel_area(self) -> tuple[float, str] | None:
        """As :attr:`Raster.pixel_area`."""
        return _pixel_area(self.dataset)

    def places(self, corners: np.ndarray) -> np.ndarray:
        """N×2 (x, y) corners of pixels, from the top left, as float64 coordinates of the CRS."""
        across, down = corners[:, 0].astype(np.float64), corners[:, 1].astype(np.float64)
        turn = self.dataset.transform
        return np.column_stack(
            (turn.a * across + turn.b * down + turn.c, turn.d * across + turn.e * down + turn.f)
        )

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """height×width class ids of a window."""
        window = ((top, top + height), (left, left + width))
        with _reading(self.path, window):
            ids: np.ndarray = self.dataset.read(1, window=window)
        return ids


@contextmanager
def open_class_raster(path: str | Path) -> Iterator[ClassRaster]:
    """Open a raster of class ids.

    Raises
    ------
    DataError
        The file is missing, no raster, or was not written by :func:`create_class_raster`.
    MissingExtraError
        rasterio is not installed.
    """
    path = Path(path)
    rasterio = _rasterio()
    with rasterio.Env(GDAL_CACHEMAX=_CACHE), _opened(path) as dataset:
        if _LABELS_TAG not in dataset.tags():
            raise DataError(
                f"{path}: not a raster of classes (it has no tag {_LABELS_TAG}); predict it first"
            )
        labels = LabelMap.from_dict(json.loads(dataset.tags()[_LABELS_TAG]))
        yield ClassRaster(path, dataset.height, dataset.width, labels, dataset)


class ClassWriter:
    """Writes windows of class ids; those that end at multiples of ``BLOCK`` are compressed only once."""

    def __init__(self, path: Path, dataset: Any) -> None:
        self._path = path
        self._dataset = dataset

    def write(self, top: int, left: int, ids: np.ndarray) -> None:
        """Write H×W class ids whose first pixel lies in this row and column."""
        window = ((top, top + ids.shape[0]), (left, left + ids.shape[1]))
        with _writing(self._path):
            self._dataset.write(ids, 1, window=window)


@contextmanager
def create_class_raster(target: str | Path, like: Raster, labels: LabelMap) -> Iterator[ClassWriter]:
    """Make a GeoTIFF of class ids for a raster; it is there whole, with overviews, or not at all.

    It has the raster's size, CRS and transform (or ground control points, and RPCs), the classes' names (as
    JSON in the tag ``PIXELWISE_LABELS``) and colours, and ``labels.ignore`` as nodata. It is stored in
    deflated blocks of ``BLOCK``; as BigTIFF when it may grow over 4 GB.

    Raises
    ------
    PixelwiseError
        It cannot be written: no space, no permission.
    """
    rasterio = _rasterio()
    source = like.dataset
    points, points_crs = source.gcps
    place = {"gcps": points, "crs": points_crs} if points else {"crs": source.crs}
    if not points and not source.transform.is_identity:
        place["transform"] = source.transform
    profile = {
        "driver": "GTiff",
        "height": like.height,
        "width": like.width,
        "count": 1,
        "dtype": np.dtype(labels.dtype).name,
        "nodata": labels.ignore,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "BIGTIFF": "IF_SAFER",
    }
    target = Path(target)
    with atomic_write(target) as temporary:
        with _silent(), _writing(target):
            dataset = rasterio.open(temporary, "w", **profile, **place)
        with dataset:
            with _writing(target):
                if source.rpcs is not None:
                    dataset.rpcs = source.rpcs
                dataset.write_colormap(1, _colour_table(labels))
                dataset.update_tags(**{_LABELS_TAG: json.dumps(labels.to_dict())})
                dataset.set_band_description(1, "class")
            yield ClassWriter(target, dataset)
        with _silent(), _writing(target), rasterio.open(temporary, "r+") as finished:
            factors = _overview_factors(like.height, like.width)
            if factors:
                finished.build_overviews(factors, rasterio.enums.Resampling.mode)


def _pixel_area(dataset: Any) -> tuple[float, str] | None:
    if dataset.crs is None or not dataset.crs.is_projected:
        return None
    unit = dataset.crs.linear_units
    return abs(dataset.transform.determinant), "m²" if unit in ("metre", "meter") else f"square {unit}"


def _colour_table(labels: LabelMap) -> dict[int, tuple[int, ...]]:
    return {number: (*colour, 255) for number, colour in enumerate(labels.colours)}


def _overview_factors(height: int, width: int) -> list[int]:
    """Powers of two until the longer side has at most ``_SMALLEST_OVERVIEW`` pixels.

    >>> _overview_factors(300, 1000), _overview_factors(10, 256)
    ([2, 4], [])
    """
    factors = []
    factor = 2
    while max(height, width) > _SMALLEST_OVERVIEW * factor // 2:
        factors.append(factor)
        factor *= 2
    return factors


def _check_size(path: Path, dataset: Any) -> None:
    if max(dataset.height, dataset.width) > LONGEST_SIDE:
        raise DataError(
            f"{path}: {dataset.width}x{dataset.height} pixels, but sides over {LONGEST_SIDE:,} are refused; "
            "cut it into several rasters"
        )
    interleaved = dataset.interleaving is not None and dataset.interleaving.name == "pixel"
    together = dataset.count if interleaved else 1
    for (height, width), kind in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        size = height * width * np.dtype(kind).itemsize * together
        if size > LARGEST_BLOCK:
            raise DataError(
                f"{path}: stored in blocks of {width}x{height} pixels ({size / 2**20:,.0f} MB), too large "
                f"for reading in windows; rewrite it with gdal_translate -co TILED=YES {path.name} tiled.tif"
            )


def _palette(dataset: Any) -> np.ndarray | None:
    if dataset.colorinterp[0].name != "palette" or dataset.dtypes[0] != "uint8":
        return None
    table = np.zeros((256, 3), np.uint8)
    for number, colour in dataset.colormap(1).items():
        table[number] = colour[:3]
    return table


def _choose_bands(path: Path, dataset: Any, channels: int, bands: Sequence[int] | None) -> tuple[int, ...]:
    count = dataset.count
    if bands is not None:
        if len(bands) != channels or not all(1 <= band <= count for band in bands):
            found = ",".join(map(str, bands))
            raise UsageError(f"{path}: expected {channels} band numbers from 1 to {count}, found {found}")
        return tuple(bands)
    names = [colour.name for colour in dataset.colorinterp]
    if channels == 3 and all(names.count(name) == 1 for name in ("red", "green", "blue")):
        return tuple(names.index(name) + 1 for name in ("red", "green", "blue"))
    colours = [band for band, name in enumerate(names, 1) if name != "alpha"]
    if len(colours) == channels:
        return tuple(colours)
    if count == channels:
        return tuple(range(1, count + 1))
    example = ",".join(str(min(band, count)) for band in range(1, channels + 1))
    plural = "band" if count == 1 else "bands"
    if count < channels:
        raise DataError(
            f"{path}: has {count} {plural}, but the model takes {channels}; "
            f"say which to take, one perhaps several times, such as --bands {example}"
        )
    raise DataError(
        f"{path}: has {count} {plural} ({', '.join(names)}), but the model takes {channels}; "
        f"say which of them to take, such as --bands {example}"
    )


def _check_values(
    path: Path, dataset: Any, bands: Sequence[int], value_range: tuple[float, float] | None
) -> None:
    kinds = sorted({dataset.dtypes[band - 1] for band in bands})
    if any(np.dtype(kind).kind not in "uif" for kind in kinds):
        raise DataError(f"{path}: has {kinds[0]} values, expected real numbers; convert it first")
    if value_range is not None:
        low, high = value_range
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise UsageError(f"value range {low:g} to {high:g}: expected two finite numbers, the lower first")
    elif kinds != ["uint8"]:
        raise DataError(
            f"{path}: has {kinds[-1]} values ({_values_found(path, dataset, bands)}), but the model takes "
            "bytes; give the value range that becomes 0 to 255, such as --window 0:3000"
        )


def _values_found(path: Path, dataset: Any, bands: Sequence[int]) -> str:
    """The lowest and highest value in a piece in the middle, large enough for a hint."""
    height, width = min(dataset.height, 512), min(dataset.width, 512)
    top, left = (dataset.height - height) // 2, (dataset.width - width) // 2
    window = ((top, top + height), (left, left + width))
    with _reading(path, window):
        values = dataset.read(list(bands), window=window, masked=True)
    values = np.ma.masked_invalid(values).compressed()
    return f"{values.min():g} to {values.max():g} in its middle" if values.size else "none in its middle"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.exists():
        raise DataError(f"{path}: no such raster")
    rasterio = _rasterio()
    try:
        with _silent():
            dataset = rasterio.open(path)
    except _failures() as error:
        raise DataError(
            f"{path}: cannot be opened as a raster ({error}); remove it or copy it again"
        ) from None
    with dataset:
        if dataset.count == 0:
            raise DataError(f"{path}: holds several rasters and none itself; name one of them")
        yield dataset


@contextmanager
def _reading(path: Path, window: tuple[tuple[int, int], tuple[int, int]]) -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        (top, bottom), (left, right) = window
        raise DataError(
            f"{path}: rows {top} to {bottom - 1}, columns {left} to {right - 1} cannot be read ({error}); "
            "the file is damaged or cut off: copy the file again"
        ) from None


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        raise PixelwiseError(f"cannot write {target}: {error}; is the disk full?") from None


@contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _rasterio().errors.NotGeoreferencedWarning)
        yield


def _failures() -> tuple[type[Exception], ...]:
    """What rasterio raises: its own errors, and those of GDAL that it lets through as they are."""
    from rasterio._err import CPLE_BaseError

    return (_rasterio().errors.RasterioError, CPLE_BaseError)


def _rasterio() -> Any:
    try:
        import rasterio
        import rasterio.control
        import rasterio.enums
        import rasterio.errors
    except ImportError:
        raise MissingExtraError("reading GeoTIFF", "geo") from None
    return rasterio
