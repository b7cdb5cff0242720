"""ADE20K in the layout of its scene parsing challenge: 150 classes of indoor and outdoor scenes.

Source: Zhou and others, "Scene Parsing through ADE20K Dataset", CVPR 2017; names from
``objectInfo150.txt`` and colours from ``color150.mat`` of github.com/CSAILVision/sceneparsing.

Masks hold 1 to 150, and 0 for everything else. ``classes="150"`` ignores 0 and counts classes from 0 (what
others call ``reduce_zero_label``); ``classes="151"`` keeps 0 as the class "other".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset, colours_in, names_in
from pixelwise.data.datasets.listing import (
    Listing,
    files_in,
    first_stem,
    inside,
    join_classes,
    open_sample,
    says_otherwise,
)
from pixelwise.io import read_mask
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

NAMES = names_in(
    """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
    earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
    mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion,
    base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
    refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
    river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove,
    palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light,
    truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel,
    pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
    conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake,
    dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier,
    crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
    """
)
"""The first name that ``objectInfo150.txt`` gives each class, in the order of the mask values 1 to 150."""

COLOURS = colours_in(
    """
    787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846
    08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc
    ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14
    ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff
    ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00
    008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014
    ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900
    00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070
    5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff
    ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff
    4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
    """
)
"""The authors' colours of the 150 classes."""

CLASSES = {
    "150": LabelMap(NAMES, COLOURS),
    "151": LabelMap(("other", *NAMES), ((0, 0, 0), *COLOURS)),
}
"""``"150"`` ignores what is none of them, ``"151"`` begins with the class "other"."""

INFO = PublicDataset(
    name="ade20k",
    title="ADE20K scene parsing",
    source="Zhou, Zhao, Puig, Fidler, Barriuso, Torralba, Scene Parsing through ADE20K Dataset, CVPR 2017",
    task="image",
    classes=CLASSES,
    splits={"train": 20210, "val": 2000},
    size="many sizes, the shorter side 512 or less",
    licence="repository BSD-3; images for non-commercial research and education",
    obtain="download ADEChallengeData2016.zip at http://sceneparsing.csail.mit.edu and unpack it",
    layout=(
        "images/training/ADE_train_{number:08}.jpg",
        "annotations/training/ADE_train_{number:08}.png",
        "images/validation/ADE_val_{number:08}.jpg",
        "annotations/validation/ADE_val_{number:08}.png",
    ),
    folders=(
        ("images/training",),
        ("annotations/training",),
        ("images/validation",),
        ("annotations/validation",),
    ),
    notes=(
        "Masks begin at 1, and 0 is everything else: classes=150 ignores it, classes=151 makes it a class.",
        "The full ADE20K with *_seg.png in colours is another data set and is not read.",
    ),
)

_SPLITS = {"train": ("training", r"(ADE_train_\d{8})"), "val": ("validation", r"(ADE_val_\d{8})")}


def recognise(root: Path) -> bool:
    """Whether images and annotations have the challenge's folders and names."""
    base = _base(root)
    return base is not None and not says_otherwise(base, *CLASSES.values())


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "150",
) -> Dataset[Sample]:
    """Read the challenge's training and validation images.

    Parameters
    ----------
    root
        The folder that holds ``images`` and ``annotations`` (or the one around ``ADEChallengeData2016``).
    labels
        Other classes, joined to those of the data set by name.
    mapping
        ``{mask value: class id}`` on top; mask values begin at 1.
    classes
        ``"150"``, or ``"151"`` with "other" first.

    Raises
    ------
    DataError
        No image has a mask.
    UsageError
        Unknown ``classes``.
    """
    root = _base(root) or root
    own = INFO.choose(classes)
    first = 151 - len(own)  # the mask value of the first class
    values = {0: own.ignore} | {value: value - first for value in range(first, 151)}
    target, table = join_classes(own, values, labels, mapping)
    listing = Listing()
    for split, (folder, stem) in _SPLITS.items():
        listing.add(
            split,
            files_in(root, f"images/{folder}", stem),
            files_in(root, f"annotations/{folder}", stem, (".png",)),
            mask_at=f"annotations/{folder}/{{key}}.png",
            image_at=f"images/{folder}/{{key}}.jpg",
        )
    read_ids = partial(read_mask, labels=target, mapping=table)
    return listing.dataset(root, INFO, target, partial(open_sample, root=root, read_ids=read_ids))


def official(root: Path) -> Iterator[str]:
    """The files of a complete copy."""
    for split, (folder, _) in _SPLITS.items():
        for number in range(1, INFO.splits[split] + 1):
            yield f"images/{folder}/ADE_{split}_{number:08}.jpg"
            yield f"annotations/{folder}/ADE_{split}_{number:08}.png"


def _base(root: Path) -> Path | None:
    for base in inside(root, "ADEChallengeData2016"):
        for folder, stem in _SPLITS.values():
            places = (f"images/{folder}", f"annotations/{folder}")
            if all(re.fullmatch(stem, first_stem(base, place)) for place in places):
                return base
    return None
