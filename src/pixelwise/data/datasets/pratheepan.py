"""Pratheepan: 78 photos of faces and families with masks of the skin, a set for testing.

Source: Tan, Chan, Yogarajah, Condell, "A Fusion Approach for Efficient Human Skin Detection", IEEE
Transactions on Industrial Informatics 2012.

The masks are black and white pictures with smooth edges, some with an alpha channel: a pixel is skin where
its grey value is over 127.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import (
    Listing,
    files_in,
    first_stem,
    inside,
    join_classes,
    open_sample,
    translate,
)
from pixelwise.io import read_image
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

LABELS = LabelMap(("background", "skin"), ((0, 0, 0), (255, 255, 255)))

INFO = PublicDataset(
    name="pratheepan",
    title="Pratheepan skin",
    source="Tan, Chan, Yogarajah, Condell, A Fusion Approach for Efficient Human Skin Detection, TII 2012",
    task="image",
    classes={"2": LABELS},
    splits={"test": 78},
    size="many sizes, photos from the web",
    licence="none stated; used for research",
    obtain="ask for it at http://cs-chan.com/downloads_skin_dataset.html and unpack both archives together",
    layout=(
        "Pratheepan_Dataset/{FacePhoto,FamilyPhoto}/{name}.jpg",
        "Ground_Truth/{GroundT_FacePhoto,GroundT_FamilyPhoto}/{name}.png",
    ),
    folders=(
        ("Pratheepan_Dataset/FacePhoto",),
        ("Pratheepan_Dataset/FamilyPhoto",),
        ("Ground_Truth/GroundT_FacePhoto",),
        ("Ground_Truth/GroundT_FamilyPhoto",),
    ),
    notes=(
        "A set for testing: nobody trains on its 32 faces and 46 families.",
        "Masks mix RGB and RGBA and have smooth edges; over 127 is skin.",
    ),
)

_KINDS = ("FacePhoto", "FamilyPhoto")
_PHOTOS, _MASKS = "Pratheepan_Dataset", "Ground_Truth/GroundT_"


def recognise(root: Path) -> bool:
    """Whether the folders have their own unmistakable names."""
    return _base(root) is not None


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "2",
) -> Dataset[Sample]:
    """Read the photos; all are of the split ``test``.

    Parameters
    ----------
    root
        The folder that holds ``Pratheepan_Dataset`` and ``Ground_Truth``.
    labels
        Other classes, joined to ``background`` and ``skin`` by name.
    mapping
        ``{0 or 1: class id}`` on top; 1 is skin.
    classes
        ``"2"``.

    Raises
    ------
    DataError
        No photo has a mask.
    """
    root = _base(root) or root
    target, table = join_classes(INFO.choose(classes), {0: 0, 1: 1}, labels, mapping)
    listing = Listing()
    for kind in _KINDS:
        listing.add(
            "test",
            files_in(root, f"{_PHOTOS}/{kind}"),
            files_in(root, f"{_MASKS}{kind}", suffixes=(".png",)),
            mask_at=f"{_MASKS}{kind}/{{key}}.png",
            image_at=f"{_PHOTOS}/{kind}/{{key}}.jpg",
        )
    read_ids = partial(_read_ids, labels=target, table=table)
    return listing.dataset(root, INFO, target, partial(open_sample, root=root, read_ids=read_ids))


def _base(root: Path) -> Path | None:
    for base in inside(root, "Pratheepan"):
        if any(first_stem(base, f"{_PHOTOS}/{k}") and first_stem(base, f"{_MASKS}{k}") for k in _KINDS):
            return base
    return None


def _read_ids(path: Path, labels: LabelMap, table: Mapping[int, int]) -> np.ndarray:
    # The masks are grey pictures whatever their mode, so that one channel tells all.
    skin = read_image(path)[..., 0] > 127
    return translate(path, skin.astype(np.uint8), labels, table)
