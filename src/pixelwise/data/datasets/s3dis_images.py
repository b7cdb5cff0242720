"""2D-3D-S: the images of S3DIS's six areas, every pixel labelled with the object of the scan it shows.

Source: Armeni, Sax, Zamir, Savarese, "Joint 2D-3D-Semantic Data for Indoor Scene Understanding",
arXiv:1702.01105; its description at github.com/alexsax/2D-3D-Semantics.

``area_{1,2,3,4,5a,5b,6}/data/rgb/*_rgb.png`` are 1080x1080 views rendered from the textured mesh, and
``data/semantic/*_semantic.png`` belong to them; ``pano/`` has the same for panoramas. The colour of a pixel
is a number in base 256, R * 65536 + G * 256 + B: the position in ``assets/semantic_labels.json`` of a text
such as ``chair_3_office_12_1`` (class, number, room, area). ``<UNK>`` at position 0, and the colour #0D0D0D,
which is a higher number than there are labels, mean "no label". ``semantic_pretty`` is for looking at only.

Checked against the original ``semantic_labels.json`` (9,816 labels of S3DIS's 13 classes) and the authors'
description of the colours. Not checked, because no original pair of images was at hand: that images look as
described there, and the numbers of views, which are the paper's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import Listing, Record, join_classes, open_sample
from pixelwise.data.datasets.s3dis import CLASSES
from pixelwise.errors import DataError, UsageError
from pixelwise.io import read_image
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

_LABELS = "semantic_labels.json"

INFO = PublicDataset(
    name="2d3ds",
    title="2D-3D-S",
    source="Armeni, Sax, Zamir, Savarese, Joint 2D-3D-Semantic Data for Indoor Scene Understanding, 2017",
    task="image",
    classes=CLASSES,
    splits={"train": 52_903, "test": 17_593},
    size="1080x1080; panoramas 4096x2048",
    licence="research only, by the agreement that comes with the request form; not to be passed on",
    obtain=(
        "fill in the form linked at https://github.com/alexsax/2D-3D-Semantics and unpack the areas (noXYZ, "
        "110 GB) beside the repository's assets/"
    ),
    layout=(
        "area_{1,2,3,4,5a,5b,6}/data/rgb/camera_{id}_{room}_frame_{n}_domain_rgb.png",
        "area_{1,2,3,4,5a,5b,6}/data/semantic/camera_{id}_{room}_frame_{n}_domain_semantic.png",
        "area_{1,2,3,4,5a,5b,6}/pano/rgb/camera_{id}_{room}_frame_equirectangular_domain_rgb.png",
        "area_{1,2,3,4,5a,5b,6}/pano/semantic/camera_{id}_{room}_frame_equirectangular_domain_semantic.png",
        "assets/semantic_labels.json",
    ),
    folders=(
        *(
            (f"area_{area}/data/{kind}",)
            for area in ("1", "2", "3", "4", "5a", "5b", "6")
            for kind in ("rgb", "semantic")
        ),
        (f"assets/{_LABELS}", _LABELS),
    ),
    notes=(
        "Read 'semantic', not 'semantic_pretty', whose colours are for looking at.",
        "Area 5 (5a and 5b) is the usual test set; neighbouring frames of one camera are nearly equal.",
        "There are 1,413 panoramas beside the 70,496 views: panoramas=True reads them.",
        "Images are rendered from a mesh, with holes in it: pixels of holes have no label.",
    ),
)

NO_LABEL = 0x0D0D0D
"""The colour of pixels where the mesh has a hole."""

_AREA = re.compile(r"area_([1-6])([ab]?)", re.IGNORECASE)
_UNKNOWN = "<UNK>"


class _Opening(NamedTuple):
    root: Path
    labels: LabelMap
    ids: tuple[int, ...]  # class id by position in the list of labels
    listed: Path


def recognise(root: Path) -> bool:
    """Whether there is an area with a folder of views, or of panoramas, and one of their labels."""
    if not root.is_dir():
        return False
    kinds = ((area, kind) for area in _areas(root) for kind in ("data", "pano"))
    return any((root / area / kind / "semantic").is_dir() for area, kind in kinds)


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "pointnet",
    panoramas: bool = False,
    test_area: int = 5,
) -> Dataset[Sample]:
    """Read 2D-3D-S; lists files, and reads the list of labels.

    Parameters
    ----------
    root
        The folder with the areas and ``assets/``.
    labels
        Other classes, joined by name; what they do not name is ignored.
    mapping
        ``{position in the order of classes: class id}``, on top of that.
    classes
        The order of the 13 classes: ``"pointnet"`` or ``"kpconv"``, as for S3DIS.
    panoramas
        Read the panoramas in the place of the views.
    test_area
        The area whose images are for testing (5 takes 5a and 5b); the others are for training.

    Returns
    -------
    Dataset
        Samples with masks and ``instances``, which number the objects as the list of labels does.

    Raises
    ------
    UsageError
        Unknown classes, or an area that does not exist.
    DataError
        The list of labels is missing or not what it should be, or no image has its labels.
    """
    own = INFO.choose(classes)
    if test_area not in range(1, 7):
        raise UsageError(f"2D-3D-S has the areas 1 to 6, found test_area={test_area}")
    chosen, table = join_classes(own, {i: i for i in range(len(own))}, labels, mapping)
    listed = _find_labels(root)
    opening = _Opening(root, chosen, _ids(listed, own, table, chosen.ignore), listed)
    kind = "pano" if panoramas else "data"
    listing = Listing()
    for area in _areas(root):
        split = "test" if _number(area) == test_area else "train"
        images = _files(root, f"{area}/{kind}/rgb", "_rgb.png")
        masks = _files(root, f"{area}/{kind}/semantic", "_semantic.png")
        listing.add(
            split,
            images,
            masks,
            mask_at=f"{area}/{kind}/semantic/{{key}}_semantic.png",
            image_at=f"{area}/{kind}/rgb/{{key}}_rgb.png",
            instances=masks,
        )
    return listing.dataset(root, INFO, chosen, partial(_open, opening=opening))


def label_indices(colours: np.ndarray) -> np.ndarray:
    """The numbers that H×W×3 uint8 colours stand for, as H×W int32.

    >>> label_indices(np.array([[[0, 0, 7], [0, 1, 0], [13, 13, 13]]], np.uint8)).tolist()
    [[7, 256, 855309]]
    """
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


def _areas(root: Path) -> list[str]:
    names = (path.name for path in root.iterdir() if path.is_dir() and _AREA.fullmatch(path.name))
    return sorted(names, key=str.lower)


def _number(area: str) -> int:
    match = _AREA.fullmatch(area)
    assert match is not None
    return int(match[1])


def _files(root: Path, folder: str, ending: str) -> dict[str, str]:
    """Paths by what a view's files have in common."""
    parent = root / folder
    names = sorted(path.name for path in parent.iterdir()) if parent.is_dir() else []
    return {
        name.removesuffix(ending): f"{folder}/{name}"
        for name in names
        if name.endswith(ending) and not name.startswith(".")
    }


def _find_labels(root: Path) -> Path:
    """The list of labels, in the places where the release and people put it."""
    places = [root / "assets" / _LABELS, root / _LABELS, root.parent / "assets" / _LABELS]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DataError(
            f"{places[0]}: no such file, and without this list colours mean nothing; copy it from "
            "github.com/alexsax/2D-3D-Semantics, assets/"
        )
    return found


def _ids(path: Path, own: LabelMap, table: Mapping[int, int], ignore: int) -> tuple[int, ...]:
    """The class id of every label of the list."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8-sig"))
        names = [text.split("_", 1)[0] for text in listed]
    except (OSError, ValueError, AttributeError, TypeError):
        raise DataError(f"{path}: expected a JSON list of texts such as 'chair_3_office_12_1'") from None
    unknown = sorted(set(names) - {*own.names, _UNKNOWN})
    if unknown or not names:
        found = f"the class '{unknown[0]}'" if unknown else "an empty list"
        raise DataError(f"{path}: found {found}, expected the 13 classes of S3DIS; copy the file again")
    return tuple(ignore if name == _UNKNOWN else table[own.names.index(name)] for name in names)


def _open(record: Record, opening: _Opening) -> Sample:
    sample = open_sample(
        record, opening.root, partial(_mask, opening=opening), partial(_instances, opening=opening)
    )
    area = record.image.split("/", 1)[0]
    sample.meta |= {"area": area.lower().removeprefix("area_"), "labels_path": opening.listed}
    return sample


def _mask(path: Path, opening: _Opening) -> np.ndarray:
    indices = _indices(path, len(opening.ids))
    ids = np.array([*opening.ids, opening.labels.ignore], opening.labels.dtype)
    return ids[indices]


def _instances(path: Path, opening: _Opening) -> np.ndarray:
    """Positions in the list of labels, 0 where there is no object."""
    indices = _indices(path, len(opening.ids))
    return np.where(indices == len(opening.ids), 0, indices).astype(np.int32)


@lru_cache(maxsize=4)
def _colours(path: Path, changed: int) -> np.ndarray:
    """The numbers in an image; mask and instances of one sample need them one after the other."""
    return label_indices(read_image(path))


def _indices(path: Path, count: int) -> np.ndarray:
    """Positions in the list of labels, ``count`` where there is no label."""
    indices = _colours(path, path.stat().st_mtime_ns if path.is_file() else 0)
    outside = indices >= count
    strange = indices[outside & (indices != NO_LABEL)]
    if len(strange):
        raise DataError(
            f"{path}: the colour #{strange[0]:06X} is no label (there are {count}) and not #{NO_LABEL:06X}; "
            "read the folder 'semantic', not 'semantic_pretty', and only lossless copies"
        )
    return np.where(outside, count, indices)
