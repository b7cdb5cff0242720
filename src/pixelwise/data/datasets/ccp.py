"""Clothing Co-Parsing: 1004 street fashion photos with 59 tags of garments, skin and hair.

Source: Yang, Luo, Lin, "Clothing Co-Parsing by Joint Image Segmentation and Labeling", CVPR 2014;
github.com/bearpaw/clothing-co-parsing.

Masks are MATLAB files whose value is the tag's number in ``label_list.mat`` less one (0 = null, the
background). A copy with ``masks/*.png`` and ``label_list.txt`` instead is read as well. The authors give no
split; here the photos whose number divides by 5 are the test split, and of the others those that end in 1
the val split: 703, 101 and 200 photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset, names_in
from pixelwise.data.datasets.listing import (
    Listing,
    files_in,
    first_stem,
    join_classes,
    open_sample,
    read_matlab_ids,
    says_otherwise,
)
from pixelwise.io import read_mask
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

TAGS = names_in(
    """
    null, accessories, bag, belt, blazer, blouse, bodysuit, boots, bra, bracelet, cape, cardigan, clogs,
    coat, dress, earrings, flats, glasses, gloves, hair, hat, heels, hoodie, intimate, jacket, jeans,
    jumper, leggings, loafers, necklace, panties, pants, pumps, purse, ring, romper, sandals, scarf,
    shirt, shoes, shorts, skin, skirt, sneakers, socks, stockings, suit, sunglasses, sweater, sweatshirt,
    swimwear, t-shirt, tie, tights, top, vest, wallet, watch, wedges
    """
)
"""The 59 tags in the order of their values; ``null`` is the background."""

MERGES: Mapping[str, Mapping[str, str]] = {
    "person": {"background": "null", "person": "*"},
    "skin": {"other": "*", "skin": "skin", "hair": "hair"},
    "garments": {
        "background": "null",
        "skin": "skin",
        "hair": "hair",
        "top": (
            "blouse bodysuit bra hoodie intimate jumper shirt sweater sweatshirt swimwear t-shirt top vest"
        ),
        "outerwear": "blazer cape cardigan coat jacket suit",
        "dress": "dress romper",
        "trousers": "jeans panties pants shorts",
        "skirt": "skirt",
        "legwear": "leggings socks stockings tights",
        "footwear": "boots clogs flats heels loafers pumps sandals shoes sneakers wedges",
        "accessories": (
            "accessories bag belt bracelet earrings glasses gloves hat necklace purse ring scarf "
            "sunglasses tie wallet watch"
        ),
    },
}
"""The tags that each class of a merge unites; ``*`` stands for all that no other class names."""

CLASSES = {"59": LabelMap(TAGS)} | {name: LabelMap(tuple(merge)) for name, merge in MERGES.items()}

INFO = PublicDataset(
    name="ccp",
    title="Clothing Co-Parsing (CCP)",
    source="Yang, Luo, Lin, Clothing Co-Parsing by Joint Image Segmentation and Labeling, CVPR 2014",
    task="image",
    classes=CLASSES,
    splits={"train": 703, "val": 101, "test": 200},
    size="550 wide, about 820 high",
    licence="the repository is Apache-2.0; the photos come from fashion sites and belong to third parties",
    obtain="clone https://github.com/bearpaw/clothing-co-parsing",
    layout=(
        "photos/{number:04}.jpg (2098 photos)",
        "annotations/pixel-level/{number:04}.mat (1004 masks, variable groundtruth)",
        "label_list.mat",
        "masks/{number:04}.png with label_list.txt (instead of the .mat files)",
    ),
    folders=(("photos",), ("annotations/pixel-level", "masks")),
    shares={
        "null": 0.769,
        "skin": 0.029,
        "dress": 0.027,
        "coat": 0.025,
        "pants": 0.024,
        "hair": 0.013,
        "jeans": 0.011,
    },
    notes=(
        "There is no official split: numbers that divide by 5 are test, others that end in 1 are val.",
        "The other 1094 photos only have image-level tags and are not read.",
        "Masks hold the tag's number in label_list.mat less one, because MATLAB counts from 1.",
        "classes=person, skin and garments merge tags: person is all that is not null; skin keeps skin and "
        "hair; garments makes 8 groups of garments besides skin and hair.",
    ),
)

_STEM = r"(\d{4})"
_MATLAB, _PNG = "annotations/pixel-level", "masks"


def recognise(root: Path) -> bool:
    """Whether numbered photos lie beside numbered MATLAB masks, or beside PNGs with the 59 tags' list."""
    photo = first_stem(root, "photos")
    if len(photo) != 4 or not photo.isdigit():
        return False
    if first_stem(root, _MATLAB, (".mat",)).isdigit():
        return True
    named = (root / "label_list.txt").is_file() and not says_otherwise(root, CLASSES["59"])
    return named and first_stem(root, _PNG).isdigit()


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "59",
) -> Dataset[Sample]:
    """Read the photos that have a mask.

    Parameters
    ----------
    root
        The folder that holds ``photos`` and ``annotations``.
    labels
        Other classes, joined to those of the data set by name.
    mapping
        ``{tag: class id}`` on top.
    classes
        ``"59"`` tags, ``"person"``, ``"skin"`` or ``"garments"``: see ``MERGES``.

    Raises
    ------
    DataError
        No photo has a mask.
    UsageError
        Unknown ``classes``.
    """
    own = INFO.choose(classes)
    target, table = join_classes(own, _values(own, classes), labels, mapping)
    photos = files_in(root, "photos", _STEM)
    matlab = files_in(root, _MATLAB, _STEM, (".mat",))
    masks = matlab or files_in(root, _PNG, _STEM)
    # Photos without a mask are no gap: half of them only ever had tags.
    photos = {number: path for number, path in photos.items() if number in masks}
    listing = Listing()
    listing.add_by(split_of, INFO.splits, photos, masks, image_at="photos/{key}.jpg")
    read_ids = partial(_read_ids, labels=target, table=table)
    return listing.dataset(root, INFO, target, partial(open_sample, root=root, read_ids=read_ids))


def official(root: Path) -> Iterator[str]:
    """The photos and masks of a complete copy; photos that only have tags are not needed."""
    mask = f"{_PNG}/{{:04}}.png" if (root / _PNG).is_dir() else f"{_MATLAB}/{{:04}}.mat"
    for number in range(1, 1005):
        yield from (f"photos/{number:04}.jpg", mask.format(number))


def split_of(number: str) -> str:
    """The split of a photo by its number.

    >>> split_of("0005"), split_of("0011"), split_of("0012")
    ('test', 'val', 'train')
    """
    if int(number) % 5 == 0:
        return "test"
    return "val" if number.endswith("1") else "train"


def _values(own: LabelMap, classes: str) -> dict[int, int]:
    """The class of every tag."""
    if classes == "59":
        return {tag: tag for tag in range(len(TAGS))}
    members = {tag: name for name, tags in MERGES[classes].items() for tag in tags.split()}
    return {value: own.index(members.get(tag, members.get("*", ""))) for value, tag in enumerate(TAGS)}


def _read_ids(path: Path, labels: LabelMap, table: Mapping[int, int]) -> np.ndarray:
    if path.suffix == ".mat":
        return read_matlab_ids(path, "groundtruth", labels, table)
    return read_mask(path, labels, table)
