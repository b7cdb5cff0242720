"""Inria Aerial Image Labeling: buildings in aerial photographs of ten cities, 0.3 m a pixel.

Source: Maggiori, Tarabalka, Charpiat, Alliez, "Can Semantic Labeling Methods Generalize to Any City?",
IGARSS 2017; project.inria.fr/aerialimagelabeling.

Masks hold 0 and 255. The tiles 1 to 5 of each training city are the val split, as the authors use them.
GeoTIFFs are read with rasterio (extra ``geo``), and where they lie is kept in ``sample.meta``: ``crs`` as
text and ``transform`` as six numbers (a, b, c, d, e, f) with x = a * column + b * row + c. Plain TIFF, PNG
and JPEG need no extra. Also read are crops as they circulate: ``img/{city}{tile}_{crop}.jpg`` with
``gt_color/*_P.png`` (0/255), else with ``gt/*_P.jpg`` (0/1, which survive JPEG by luck only).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import (
    Listing,
    Record,
    files_in,
    first_stem,
    inside,
    join_classes,
    listed,
    open_sample,
    says_otherwise,
)
from pixelwise.errors import DataError, MissingExtraError
from pixelwise.io import read_image, read_mask
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

LABELS = LabelMap(("background", "building"), ((0, 0, 0), (255, 255, 255)))

TRAIN_CITIES = ("austin", "chicago", "kitsap", "tyrol-w", "vienna")
TEST_CITIES = ("bellingham", "bloomington", "innsbruck", "sfo", "tyrol-e")
TILES = 36
"""Tiles of each city, counted from 1."""

HELD_OUT = 5
"""Tiles 1 to this one of each training city are the val split."""

INFO = PublicDataset(
    name="inria",
    title="Inria Aerial Image Labeling",
    source=(
        "Maggiori, Tarabalka, Charpiat, Alliez, Can Semantic Labeling Methods Generalize to Any City? "
        "The Inria Aerial Image Labeling Benchmark, IGARSS 2017"
    ),
    task="image",
    classes={"2": LABELS},
    splits={"train": 155, "val": 25, "test": 180},
    size="5000x5000, 0.3 m a pixel",
    licence="imagery in the public domain (USGS and others); free academic use with attribution",
    obtain="ask at https://project.inria.fr/aerialimagelabeling and unpack aerialimagelabeling.7z",
    layout=(
        "train/images/{city}{tile}.tif (also in AerialImageDataset/)",
        "train/gt/{city}{tile}.tif",
        "test/images/{city}{tile}.tif",
        "img/{city}{tile}_{crop}.jpg with gt_color/{city}{tile}_{crop}_P.png (crops, instead)",
    ),
    folders=(
        ("train/images", "AerialImageDataset/train/images", "img"),
        ("train/gt", "AerialImageDataset/train/gt", "gt_color", "gt"),
        ("test/images", "AerialImageDataset/test/images", "img"),
    ),
    notes=(
        "Masks hold 0 and 255; the labels of the five test cities are held back.",
        "Tiles 1 to 5 of each training city are the val split.",
        "A tile has 25 million pixels: train on crops of it.",
        "Crops in circulation have gt/*_P.jpg, JPEG of 0 and 1; gt_color/*_P.png is taken if it is there.",
    ),
)

_NAME = rf"(?:{'|'.join(TRAIN_CITIES + TEST_CITIES)})\d{{1,2}}"
_TILE, _CROP, _CROP_MASK = rf"({_NAME})", rf"({_NAME}_\d+)", rf"({_NAME}_\d+)_P"
_GEO_TAGS = (33550, 34264, 34735)  # pixel scale, transformation, key directory


def recognise(root: Path) -> bool:
    """Whether tiles or crops are named after the ten cities."""
    base = _base(root)
    return base is not None and not says_otherwise(base, LABELS)


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "2",
) -> Dataset[Sample]:
    """Read tiles or crops.

    Parameters
    ----------
    root
        The folder that holds ``train`` and ``test`` (or the one around ``AerialImageDataset``), or crops.
    labels
        Other classes, joined to ``background`` and ``building`` by name.
    mapping
        ``{mask value: class id}`` on top.
    classes
        ``"2"``.

    Raises
    ------
    DataError
        No tile has a mask.
    MissingExtraError
        A GeoTIFF is opened without rasterio.
    """
    root = _base(root) or root
    listing, values = _list_crops(root) if _is_crops(root) else (_list_tiles(root), {0: 0, 255: 1})
    target, table = join_classes(INFO.choose(classes), values, labels, mapping)
    read_ids = partial(read_mask, labels=target, mapping=table)
    return listing.dataset(root, INFO, target, partial(_open, root=root, read_ids=read_ids))


def official(root: Path) -> Iterator[str]:
    """The tiles of a complete copy; nobody says how many crops there should be."""
    if _is_crops(root):
        return
    places = (("train/images", TRAIN_CITIES), ("train/gt", TRAIN_CITIES), ("test/images", TEST_CITIES))
    for folder, cities in places:
        yield from (f"{folder}/{city}{tile}.tif" for city in cities for tile in range(1, TILES + 1))


def _base(root: Path) -> Path | None:
    for base in inside(root, "AerialImageDataset"):
        for folder, stem in (("train/images", _TILE), ("test/images", _TILE), ("img", _CROP)):
            if re.fullmatch(stem, first_stem(base, folder)):
                return base
    return None


def _is_crops(root: Path) -> bool:
    return (root / "img").is_dir()


def _split(key: str) -> str:
    """The split of a tile or crop by its city and number.

    >>> _split("austin5"), _split("tyrol-w6"), _split("vienna12_3"), _split("sfo1")
    ('val', 'train', 'train', 'test')
    """
    city, tile = re.match(r"(.+?)(\d+)(?:_\d+)?$", key).groups()  # type: ignore[union-attr]
    if city in TEST_CITIES:
        return "test"
    return "val" if int(tile) <= HELD_OUT else "train"


def _list_tiles(root: Path) -> Listing:
    listing = Listing()
    images, masks = files_in(root, "train/images", _TILE), files_in(root, "train/gt", _TILE)
    places = {"mask_at": "train/gt/{key}.tif", "image_at": "train/images/{key}.tif"}
    listing.add_by(_split, ("train", "val"), images, masks, **places)
    listing.add("test", files_in(root, "test/images", _TILE), None)
    return listing


def _list_crops(root: Path) -> tuple[Listing, dict[int, int]]:
    """The crops and their masks' values; a list ``valid.txt`` names the val split, else the tiles do."""
    images = files_in(root, "img", _CROP)
    clean = files_in(root, "gt_color", _CROP_MASK, (".png",))
    masks = clean or files_in(root, "gt", _CROP_MASK)
    held_out = set(listed(root / "valid.txt")) if (root / "valid.txt").is_file() else None

    def split_of(key: str) -> str:
        return _split(key) if held_out is None else "val" if key in held_out else "train"

    listing = Listing()
    places = {"mask_at": "gt_color/{key}_P.png", "image_at": "img/{key}.jpg"}
    listing.add_by(split_of, INFO.splits, images, masks, **places)
    lossy = [path for path in masks.values() if path.lower().endswith((".jpg", ".jpeg"))]
    listing.warn(
        "fragile_mask",
        "masks that are JPEG files of the values 0 and 1, which compression may change",
        "use gt_color/*_P.png, which hold 0 and 255",
        lossy,
    )
    return listing, {0: 0, 1: 1} if lossy else {0: 0, 255: 1}


def _open(record: Record, root: Path, read_ids: Any) -> Sample:
    path = root / record.image
    geo = _is_geotiff(path)
    sample = open_sample(record, root, read_ids, read_pixels=_read_geotiff if geo else read_image)
    return sample.replace(meta=sample.meta | _georeference(path)) if geo else sample


def _is_geotiff(path: Path) -> bool:
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with tifffile.TiffFile(path) as file:
            return any(tag in file.pages.first.tags for tag in _GEO_TAGS)
    except (OSError, ValueError, IndexError, tifffile.TiffFileError):
        return False  # whoever reads the pixels says what is wrong


def _rasterio() -> Any:
    try:
        import rasterio
    except ImportError:
        raise MissingExtraError("reading GeoTIFF", "geo") from None
    return rasterio


def _georeference(path: Path) -> dict[str, Any]:
    """``crs`` as text and ``transform`` as six numbers, without reading pixels."""
    rasterio = _rasterio()
    try:
        with rasterio.open(path) as file:
            return {"crs": file.crs.to_string() if file.crs else "", "transform": tuple(file.transform)[:6]}
    except rasterio.errors.RasterioIOError:
        return {}  # whoever reads the pixels says what is wrong


def _read_geotiff(path: Path) -> np.ndarray:
    """H×W×3 uint8 RGB."""
    rasterio = _rasterio()
    try:
        with rasterio.open(path) as file:
            bands = [1, 2, 3] if file.count >= 3 else [1, 1, 1]
            pixels = np.moveaxis(file.read(bands), 0, -1)
    except rasterio.errors.RasterioIOError as error:
        raise DataError(f"{path}: the image is damaged ({error}); copy it again") from None
    if pixels.dtype != np.uint8:
        raise DataError(f"{path}: expected 8 bits a channel, found {pixels.dtype}; convert it to uint8")
    return np.ascontiguousarray(pixels)
