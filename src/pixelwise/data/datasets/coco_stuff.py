"""COCO-Stuff 164k: the photos of COCO with 80 classes of things and 91 of stuff for every pixel.

Source: Caesar, Uijlings, Ferrari, "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018;
github.com/nightrome/cocostuff.

Mask values are the numbers of ``labels.txt`` less one, 0 to 181, and 255 where nothing is labelled. Eleven
numbers were given to things that COCO dropped and never occur: ``classes="171"`` counts without them,
``"182"`` keeps the values as they are. There is no colour table that tools agree on: the colours here are
those of PASCAL VOC for the numbers of ``labels.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset, names_in, voc_colours
from pixelwise.data.datasets.listing import (
    Listing,
    files_in,
    first_stem,
    join_classes,
    numbered_names,
    open_sample,
    says_otherwise,
)
from pixelwise.errors import DataError
from pixelwise.io import read_mask
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

NAMES = names_in(
    """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
    street sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
    zebra, giraffe, hat, backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis,
    snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket,
    bottle, plate, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli,
    carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, mirror, dining table, window,
    desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink,
    refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush,
    banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet,
    ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt,
    door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog,
    food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat,
    metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic,
    platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf,
    sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent,
    textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone,
    wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
    """
)
"""All 182 names, in the order of the mask values."""

DROPPED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Mask values that never occur: street sign, hat, shoe, eye glasses, plate, mirror, window, desk, ..."""

_USED = tuple(value for value in range(len(NAMES)) if value not in DROPPED)
_COLOURS = voc_colours(len(NAMES) + 1)

CLASSES = {
    "171": LabelMap(tuple(NAMES[value] for value in _USED), tuple(_COLOURS[value + 1] for value in _USED)),
    "182": LabelMap(NAMES, _COLOURS[1:]),
}

INFO = PublicDataset(
    name="coco_stuff",
    title="COCO-Stuff 164k",
    source="Caesar, Uijlings, Ferrari, COCO-Stuff: Thing and Stuff Classes in Context, CVPR 2018",
    task="image",
    classes=CLASSES,
    splits={"train": 118287, "val": 5000},
    size="many sizes, up to 640x640",
    licence="annotations CC BY 4.0; images under the terms of Flickr",
    obtain=(
        "download train2017.zip and val2017.zip of COCO and stuffthingmaps_trainval2017.zip at "
        "https://github.com/nightrome/cocostuff, and unpack them into images/ and annotations/"
    ),
    layout=(
        "images/{train2017,val2017}/{number:012}.jpg",
        "annotations/{train2017,val2017}/{number:012}.png (or stuffthingmaps/...)",
        "labels.txt (optional)",
    ),
    folders=(
        ("images/train2017", "train2017"),
        ("annotations/train2017", "stuffthingmaps/train2017"),
        ("images/val2017", "val2017"),
        ("annotations/val2017", "stuffthingmaps/val2017"),
    ),
    notes=(
        "A mask value is the number in labels.txt less one; 255 is unlabelled.",
        "172 classes, as some papers say, counts unlabelled as one.",
        "Masks named *_labelTrainIds.png are conversions by other tools and are not read.",
    ),
)

_STEM = r"(\d{12})"
_SPLITS = {"train": "train2017", "val": "val2017"}


def recognise(root: Path) -> bool:
    """Whether images and PNG annotations lie in the folders of 2017 with numbers of twelve digits."""
    for folder in _SPLITS.values():
        stems = (first_stem(root, _images(root, folder)), first_stem(root, _masks(root, folder), (".png",)))
        if all(re.fullmatch(r"\d{12}(_labelTrainIds)?", stem) for stem in stems):
            return not says_otherwise(root, *CLASSES.values(), own_file="labels.txt")
    return False


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "171",
) -> Dataset[Sample]:
    """Read the training and validation images; ``labels.txt`` or ``labels.md`` in the folder is believed.

    Parameters
    ----------
    root
        The folder that holds ``images`` and ``annotations``.
    labels
        Other classes, joined to those of the data set by name.
    mapping
        ``{mask value: class id}`` on top.
    classes
        ``"171"`` that occur, or ``"182"`` with the gaps.

    Raises
    ------
    DataError
        No image has a mask, or the folder's list of classes lacks one.
    UsageError
        Unknown ``classes``.
    """
    own = INFO.choose(classes)
    target, table = join_classes(own, _values(root, own), labels, mapping)
    listing = Listing()
    for split, folder in _SPLITS.items():
        images, masks = _images(root, folder), _masks(root, folder)
        listing.add(
            split,
            files_in(root, images, _STEM),
            files_in(root, masks, _STEM, (".png",)),
            mask_at=f"{masks}/{{key}}.png",
            image_at=f"{images}/{{key}}.jpg",
        )
    read_ids = partial(read_mask, labels=target, mapping=table)
    return listing.dataset(root, INFO, target, partial(open_sample, root=root, read_ids=read_ids))


def _images(root: Path, folder: str) -> str:
    return (
        folder if (root / folder).is_dir() and not (root / "images" / folder).is_dir() else f"images/{folder}"
    )


def _masks(root: Path, folder: str) -> str:
    other = f"stuffthingmaps/{folder}"
    return other if (root / other).is_dir() else f"annotations/{folder}"


def _values(root: Path, own: LabelMap) -> dict[int, int]:
    """The class of every mask value, by the folder's list of names if there is one."""
    path = next((root / name for name in ("labels.txt", "labels.md") if (root / name).is_file()), None)
    names = {value + 1: name for value, name in enumerate(NAMES)} if path is None else numbered_names(path)
    lost = [name for name in own.names if name not in names.values()]
    if path is not None and lost:
        raise DataError(f"{path}: names no '{lost[0]}'; take labels.txt of COCO-Stuff, or remove the file")
    return {number - 1: own.index(name) for number, name in names.items() if name in own.names} | {
        255: own.ignore
    }
