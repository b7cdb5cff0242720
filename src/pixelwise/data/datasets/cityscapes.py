"""Cityscapes: street scenes of 50 cities, 30 classes of which 19 are evaluated, with instances and video.

Source: Cordts and others, "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016; ids,
names and colours from github.com/mcordts/cityscapesScripts (``helpers/labels.py``).

Files are ``{type}/{split}/{city}/{city}_{sequence}_{frame}_{type}{ext}``. Labels are taken from
``labelIds``, else from ``labelTrainIds`` (which only hold the 19), else from ``instanceIds``, else they are
drawn from ``polygons``, with Pillow as the official script does it and not by the fill rule of
:mod:`pixelwise.data.raster`, so that they are the masks that Cityscapes publishes.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import (
    IMAGES,
    Listing,
    files_in,
    first_stem,
    folders_in,
    join_classes,
    open_sample,
    says_otherwise,
    translate,
)
from pixelwise.errors import DataError, Problem
from pixelwise.io import read_image, read_mask
from pixelwise.labels import Colour, LabelMap
from pixelwise.sample import Clip, Dataset, Sample

_ALL: tuple[tuple[str, Colour], ...] = (
    ("unlabeled", (0, 0, 0)),
    ("ego vehicle", (0, 0, 0)),
    ("rectification border", (0, 0, 0)),
    ("out of roi", (0, 0, 0)),
    ("static", (0, 0, 0)),
    ("dynamic", (111, 74, 0)),
    ("ground", (81, 0, 81)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("parking", (250, 170, 160)),
    ("rail track", (230, 150, 140)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", (180, 165, 180)),
    ("bridge", (150, 100, 100)),
    ("tunnel", (150, 120, 90)),
    ("pole", (153, 153, 153)),
    ("polegroup", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("caravan", (0, 0, 90)),
    ("trailer", (0, 0, 110)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)
TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each of the 19 evaluated classes, in the order of their training ids."""

IDS: Mapping[str, Sequence[int]] = {"19": TRAIN_IDS, "30": range(4, 34), "34": range(34)}
"""The label ids of the classes that are not ignored, by the value of the ``classes`` option."""


def _labels(ids: Iterable[int]) -> LabelMap:
    names, colours = zip(*(_ALL[i] for i in ids), strict=True)
    return LabelMap(names, colours)


CLASSES = {name: _labels(ids) for name, ids in IDS.items()}
"""``"19"`` evaluated, ``"30"`` labelled (ids 4 to 33), ``"34"`` all ids as they are."""

INFO = PublicDataset(
    name="cityscapes",
    title="Cityscapes",
    source="Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016",
    task="image",
    classes=CLASSES,
    splits={"train": 2975, "val": 500, "test": 1525},
    size="2048x1024",
    licence="non-commercial research; redistribution not permitted",
    obtain=(
        "register at https://www.cityscapes-dataset.com and unpack leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip into one folder (leftImg8bit_sequence_trainvaltest.zip for clips, "
        "gtCoarse.zip and leftImg8bit_trainextra.zip for coarse labels)"
    ),
    layout=(
        "leftImg8bit/{train,val,test}/{city}/{city}_{sequence:06}_{frame:06}_leftImg8bit.png",
        "gtFine/{train,val,test}/{city}/{city}_{sequence:06}_{frame:06}_gtFine_labelIds.png",
        "gtFine/.../{city}_{sequence:06}_{frame:06}_gtFine_instanceIds.png (for instances)",
        "gtFine/.../{city}_{sequence:06}_{frame:06}_gtFine_{labelTrainIds.png,polygons.json} (instead)",
        "gtCoarse/{train,train_extra,val}/{city}/... (with coarse=True)",
        "leftImg8bit_sequence/{train,val,test}/{city}/... (for clips)",
    ),
    folders=(
        ("leftImg8bit/train",),
        ("leftImg8bit/val",),
        ("leftImg8bit/test",),
        ("gtFine/train", "gtCoarse/train"),
        ("gtFine/val", "gtCoarse/val"),
    ),
    notes=(
        "The test labels are held back: what the archive has for the six test cities is empty, so those "
        "images have no mask here.",
        "labelTrainIds must be made with the official scripts; reading labelIds gives the same classes.",
        "In instanceIds a value under 1000 is a plain label id: stuff, or a group that was not told apart.",
        "The coarse labels add a split train_extra of 19998 images.",
        "The annotated image of a 30-frame snippet is the one with index 19.",
    ),
)

TEST_CITIES = frozenset({"berlin", "bielefeld", "bonn", "leverkusen", "mainz", "munich"})
"""Their labels are held back, and the files in their place are dummies."""

RATE = 17.0
"""Frames per second of the video sequences."""

BEFORE, LENGTH = 19, 30
"""Frames of a snippet before the annotated one, and in all."""

_SPLITS = ("train", "val", "test", "train_extra")
_FRAME = re.compile(
    r"(?P<city>.+)_(?P<sequence>\d{6})_(?P<frame>\d{6})_(?P<type>leftImg8bit|gtFine|gtCoarse)(_.+)?"
)
_KINDS = ("labelIds", "labelTrainIds", "instanceIds", "polygons")


def recognise(root: Path) -> bool:
    """Whether ``leftImg8bit`` and ``gtFine`` (or ``gtCoarse``) hold files of the official names.

    The layout is a popular one: a class file with other names says that the data is somebody's own.
    """
    return (
        root.is_dir()
        and _named(root, "leftImg8bit")
        and (_named(root, "gtFine") or _named(root, "gtCoarse"))
        and not says_otherwise(root, *CLASSES.values())
    )


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "19",
    coarse: bool | None = None,
) -> Dataset[Sample]:
    """Read Cityscapes; ``sample.instances`` has the instance ids (0 for stuff) where they are there.

    Parameters
    ----------
    root
        The folder that holds ``leftImg8bit`` and ``gtFine`` or ``gtCoarse``.
    labels
        Other classes, joined to those of the data set by name.
    mapping
        ``{label id: class id}`` on top (ids as in ``labelIds``).
    classes
        ``"19"`` evaluated ones, ``"30"`` labelled ones (ids 4 to 33), or ``"34"`` for every id.
    coarse
        True reads ``gtCoarse`` with the split ``train_extra``, False ``gtFine``; None takes fine labels if
        there are any.

    Raises
    ------
    DataError
        Not one image has labels that can serve these classes.
    UsageError
        Unknown ``classes``.
    """
    own = INFO.choose(classes)
    target, table = join_classes(own, label_table(own, IDS[classes]), labels, mapping)
    listing = _list(root, classes, _label_type(root, coarse))
    read_ids = partial(_read_ids, labels=target, table=table)
    opener = partial(open_sample, root=root, read_ids=read_ids, read_instances=read_instances)
    return listing.dataset(root, INFO, target, opener)


def clips(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "19",
    coarse: bool | None = None,
) -> Dataset[Clip]:
    """The 30-frame snippets of ``leftImg8bit_sequence``, each with the labels of its frame 19.

    Options are those of :func:`read`. A snippet reaches from 19 frames before the annotated image to 10
    after it. Frames that belong to no annotated image are cut into snippets of 30 without labels. Frames
    that a snippet lacks are listed in ``problems``; the mask then stands at its frame's new place.

    Raises
    ------
    DataError
        There is no such folder, or no frame in it.
    """
    own = INFO.choose(classes)
    target, table = join_classes(own, label_table(own, IDS[classes]), labels, mapping)
    frames = {split: _files(root, "leftImg8bit_sequence", split) for split in _SPLITS}
    if not any(frames.values()):
        raise DataError(
            f"{root}: no frames in leftImg8bit_sequence; unpack leftImg8bit_sequence_trainvaltest.zip there"
        )
    snippets: list[_Snippet] = []
    lacking: list[str] = []
    for split, found in frames.items():
        masks = _masks(root, classes, _label_type(root, coarse), split)
        snippets += _snippets(split, found, masks, lacking)
    problems = [
        Problem(
            "warning",
            "missing_image",
            f"missing: {len(lacking)} frames of snippets",
            "put the files where they are listed",
            tuple(lacking),
        )
    ]
    return Dataset(
        snippets,
        partial(_open_clip, root=root, labels=target, table=table),
        target,
        name=INFO.title,
        splits=[snippet.split for snippet in snippets],
        root=root,
        problems=problems if lacking else (),
    )


def label_table(labels: LabelMap, ids: Sequence[int]) -> dict[int, int]:
    """The class of every label id, 0 to 33, and of 255; ids that are no class are ignored."""
    return dict.fromkeys((*range(34), 255), labels.ignore) | {id_: i for i, id_ in enumerate(ids)}


def read_instances(path: Path) -> np.ndarray:
    """H×W int32 instance ids (label id * 1000 + number), 0 where there is none."""
    stored = read_mask(path).astype(np.int32)
    return np.where(stored >= 1000, stored, 0)


def _named(root: Path, folder: str) -> bool:
    for split in folders_in(root, folder):
        for city in folders_in(root, f"{folder}/{split}"):
            stem = first_stem(root, f"{folder}/{split}/{city}", (".png", ".jpg", ".jpeg", ".json"))
            if stem:
                return _FRAME.fullmatch(stem) is not None
    return False


def _label_type(root: Path, coarse: bool | None) -> str:
    if coarse is None:
        coarse = not (root / "gtFine").is_dir() and (root / "gtCoarse").is_dir()
    return "gtCoarse" if coarse else "gtFine"


def _files(root: Path, folder: str, split: str, ending: str = "") -> dict[str, str]:
    """Paths by ``city/city_sequence_frame``."""
    end = f"_{folder}_{ending}" if ending else "_leftImg8bit"
    suffixes = (".json",) if ending == "polygons" else IMAGES
    found: dict[str, str] = {}
    for city in folders_in(root, f"{folder}/{split}"):
        files = files_in(root, f"{folder}/{split}/{city}", rf"(.+_\d{{6}}_\d{{6}}){end}", suffixes)
        found |= {f"{city}/{key}": path for key, path in files.items()}
    return found


def _masks(root: Path, classes: str, kind: str, split: str) -> dict[str, str]:
    """The best label file of each image; training ids can only serve the 19 classes."""
    found: dict[str, str] = {}
    for ending in _KINDS:
        if ending != "labelTrainIds" or classes == "19":
            found = _files(root, kind, split, ending) | found
    return {
        key: path for key, path in found.items() if split != "test" or key.split("/")[0] not in TEST_CITIES
    }


def _list(root: Path, classes: str, kind: str) -> Listing:
    listing = Listing()
    for split in _SPLITS:
        if split == "train_extra" and kind == "gtFine":  # 19998 images that only have coarse labels
            continue
        if split == "test" and kind == "gtCoarse":
            continue
        images, masks = _files(root, "leftImg8bit", split), _masks(root, classes, kind, split)
        held_back = {}
        if split == "test":
            held_back = {key: path for key, path in images.items() if key not in masks}
            images = {key: path for key, path in images.items() if key in masks}
        listing.add(
            split,
            images,
            masks,
            mask_at=f"{kind}/{split}/{{key}}_{kind}_labelIds.png",
            image_at=f"leftImg8bit/{split}/{{key}}_leftImg8bit.png",
            instances=_files(root, kind, split, "instanceIds"),
        )
        listing.add(split, held_back, None)
    return listing


def _read_ids(path: Path, labels: LabelMap, table: Mapping[int, int]) -> np.ndarray:
    if path.suffix == ".json":
        return translate(path, _paint(path), labels, table)
    if path.stem.endswith("labelTrainIds"):
        by_train_id = {train_id: table[id_] for train_id, id_ in enumerate(TRAIN_IDS)} | {255: labels.ignore}
        return read_mask(path, labels, by_train_id)
    if path.stem.endswith("instanceIds"):
        stored = read_mask(path).astype(np.uint16)  # 8 bits where there is no instance
        return translate(path, np.where(stored >= 1000, stored // 1000, stored), labels, table)
    return read_mask(path, labels, table)


def _paint(path: Path) -> np.ndarray:
    """H×W label ids from the polygons, drawn in the order of the file as the official script draws them."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        size = int(document["imgWidth"]), int(document["imgHeight"])
        objects = [
            (str(entry["label"]), [(float(x), float(y)) for x, y in entry["polygon"]])
            for entry in document["objects"]
            if not entry.get("deleted")
        ]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file of polygons") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected imgHeight, imgWidth and objects of polygons ({error})") from None
    ids = {name: number for number, (name, _) in enumerate(_ALL)}
    canvas = Image.new("L", size)
    pen = ImageDraw.Draw(canvas)
    for label, points in objects:
        number = ids.get(label, ids.get(label.removesuffix("group")))
        if number is None and label != "license plate":  # which has no id: what is below it stays
            raise DataError(f"{path}: unknown label '{label}'; expected Cityscapes' class names")
        if number is not None and len(points) > 2:
            pen.polygon(points, fill=number)
    return np.array(canvas)


class _Snippet(NamedTuple):
    split: str
    frames: tuple[str, ...]
    numbers: tuple[int, ...]
    mask: str = ""
    instances: str = ""
    labelled: int = -1  # which of the frames the mask belongs to


def _snippets(
    split: str, frames: Mapping[str, str], masks: Mapping[str, str], lacking: list[str]
) -> Iterator[_Snippet]:
    """Around every annotated frame first, then what is left in pieces of 30."""
    videos: dict[str, dict[int, str]] = defaultdict(dict)
    for key, path in frames.items():
        videos[key[:-7]][int(key[-6:])] = path
    labelled: dict[str, list[int]] = defaultdict(list)
    for key in masks:  # city/city_sequence_frame
        labelled[key[:-7]].append(int(key[-6:]))
    for video, numbered in sorted(videos.items()):
        left = dict(numbered)
        for number in sorted(labelled[video]):
            wanted = range(max(number - BEFORE, 0), number - BEFORE + LENGTH)
            there = [n for n in wanted if n in numbered]
            lost = [n for n in wanted if n not in numbered]
            lacking += [f"leftImg8bit_sequence/{split}/{video}_{n:06}_leftImg8bit.png" for n in lost]
            if number in there:
                mask = masks[f"{video}_{number:06}"]
                instances = re.sub(r"_[^_]+$", "_instanceIds.png", mask)
                yield _snippet(split, numbered, there, mask, instances, there.index(number))
            elif there:
                yield _snippet(split, numbered, there)
            left = {n: path for n, path in left.items() if n not in wanted}
        for run in _runs(sorted(left)):
            for start in range(0, len(run), LENGTH):
                yield _snippet(split, left, run[start : start + LENGTH])


def _snippet(split: str, paths: Mapping[int, str], numbers: Sequence[int], *labels: Any) -> _Snippet:
    return _Snippet(split, tuple(paths[n] for n in numbers), tuple(numbers), *labels)


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Numbers without a gap between them."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _open_clip(snippet: _Snippet, root: Path, labels: LabelMap, table: Mapping[int, int]) -> Clip:
    at = snippet.labelled
    mask, instances = root / snippet.mask, root / snippet.instances
    return Clip(
        frames=[partial(read_image, root / path) for path in snippet.frames],
        times=[(number - snippet.numbers[0]) / RATE for number in snippet.numbers],
        masks={at: partial(_read_ids, mask, labels=labels, table=table)} if snippet.mask else {},
        instances={at: partial(read_instances, instances)} if snippet.mask and instances.is_file() else {},
        path=root / snippet.frames[0],
        meta={"split": snippet.split, "frames": list(snippet.numbers)},
    )
