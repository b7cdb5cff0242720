"""Small look-alikes of public data sets in their original layout, with the ids that reading must give."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from pixelwise.io import write_text
from tests.data.folders import picture

SIZE = (6, 8)
Expected = dict[str, np.ndarray]
"""Class ids by the name of the sample, for the default classes."""


@dataclass(frozen=True)
class LookAlike:
    """How to make one, and what must come out.

    Attributes
    ----------
    build
        Writes it and gives the ids of every labelled sample.
    counts
        Samples by split.
    image, mask
        One image and its mask, relative to the folder.
    """

    build: Callable[[Path], Expected]
    counts: Mapping[str, int]
    image: str
    mask: str


def values_of(choices: list[int] | range, seed: int) -> np.ndarray:
    """Stored values H×W, the same for the same seed."""
    return np.random.default_rng(seed).choice(np.array(choices), SIZE).astype(np.uint16)


def save(path: Path, array: np.ndarray) -> None:
    """An array as the picture that the suffix names, without a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_photo(path: Path, seed: int) -> None:
    save(path, picture(seed, SIZE))


def save_ids(path: Path, values: np.ndarray) -> None:
    save(path, values.astype(np.uint8))


def save_matlab(path: Path, key: str, values: np.ndarray, dtype: type = np.uint16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {key: values.astype(dtype)})


CITYSCAPES_FRAMES = {
    "train": ["aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313"],
    "val": ["frankfurt_000000_000294"],
}
TRAIN_ID_OF = dict(
    zip((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), range(19), strict=True)
)


def by_table(values: np.ndarray, table: Mapping[int, int], other: int = 255) -> np.ndarray:
    """Each value through the table, one by one, so that no code is shared with what is tested."""
    return np.array([[table.get(int(value), other) for value in row] for row in values])


def cityscapes(root: Path) -> Expected:
    expected: Expected = {}
    for split, frames in CITYSCAPES_FRAMES.items():
        for seed, frame in enumerate(frames):
            city = frame.split("_")[0]
            ids = values_of(range(34), 100 + seed)
            instances = np.where(ids >= 24, ids * 1000 + 3, ids)
            save_photo(root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png", len(expected))
            stem = root / "gtFine" / split / city / f"{frame}_gtFine"
            save_ids(stem.with_name(f"{stem.name}_labelIds.png"), ids)
            save(stem.with_name(f"{stem.name}_instanceIds.png"), instances.astype(np.uint16))
            save(stem.with_name(f"{stem.name}_color.png"), picture(7, SIZE))
            expected[f"{frame}_leftImg8bit"] = by_table(ids, TRAIN_ID_OF)
    frame = "berlin_000000_000019"
    save_photo(root / "leftImg8bit" / "test" / "berlin" / f"{frame}_leftImg8bit.png", 50)
    save_ids(root / "gtFine" / "test" / "berlin" / f"{frame}_gtFine_labelIds.png", values_of([3], 0))
    return expected


def kitti(root: Path) -> Expected:
    expected: Expected = {}
    for number in (0, 1, 159, 160, 199):
        name = f"{number:06}_10"
        ids = values_of(range(34), number)
        save_photo(root / "training" / "image_2" / f"{name}.png", number)
        save_ids(root / "training" / "semantic" / f"{name}.png", ids)
        save_photo(root / "training" / "semantic_rgb" / f"{name}.png", number)
        instances = ids * 256 + np.where(ids >= 24, 2, 0)
        save(root / "training" / "instance" / f"{name}.png", instances.astype(np.uint16))
        expected[name] = by_table(ids, TRAIN_ID_OF)
    save_photo(root / "testing" / "image_2" / "000000_10.png", 300)
    return expected


CAMVID_FRAMES = {
    "train": ["0001TP_006690", "0006R0_f01470"],
    "val": ["0016E5_07959", "0016E5_07961", "0016E5_07963"],
    "test": ["0001TP_008550", "Seq05VD_f00000"],
}


def camvid(root: Path) -> Expected:
    expected: Expected = {}
    for split, frames in CAMVID_FRAMES.items():
        for frame in frames:
            ids = values_of(range(12), len(expected))
            save_photo(root / split / f"{frame}.png", len(expected))
            save_ids(root / f"{split}annot" / f"{frame}.png", ids)
            expected[frame] = np.where(ids == 11, 255, ids)
    return expected


def pascal_context(root: Path) -> Expected:
    numbers = {2: 0, 9: 1, 284: 36, 308: 39, 397: 49, 458: 58}  # a few of the 59, alphabetical
    expected: Expected = {}
    for split, names in {"train": ["2008_000002", "2008_000003"], "val": ["2008_000004"]}.items():
        write_text(root / f"{split}.txt", "\n".join(names) + "\n")
        for name in names:
            stored = values_of([0, 1, 459, *numbers], len(expected))
            save_photo(root / "JPEGImages" / f"{name}.jpg", len(expected))
            save_matlab(root / "trainval" / f"{name}.mat", "LabelMap", stored)
            expected[name] = by_table(stored, numbers)
    save_photo(root / "JPEGImages" / "2008_000009.jpg", 9)  # VOC has more images than are labelled
    return expected


def coco_stuff(root: Path) -> Expected:
    # person, bicycle, fire hydrant (10), stop sign (12, the first after a gap), banner (91), wood (181)
    compact = {0: 0, 1: 1, 10: 10, 12: 11, 91: 80, 181: 170}
    expected: Expected = {}
    for split, numbers in {"train2017": [9, 25], "val2017": [139]}.items():
        for number in numbers:
            stored = values_of([255, *compact], number)
            save_photo(root / "images" / split / f"{number:012}.jpg", number)
            save_ids(root / "annotations" / split / f"{number:012}.png", stored)
            expected[f"{number:012}"] = by_table(stored, compact)
    (root / "annotations" / "instances_val2017.json").write_text("{}")
    return expected


def ade20k(root: Path) -> Expected:
    expected: Expected = {}
    for folder, split, numbers in (("training", "train", (1, 2)), ("validation", "val", (1,))):
        for number in numbers:
            name = f"ADE_{split}_{number:08}"
            stored = values_of(range(151), len(expected))
            save_photo(root / "images" / folder / f"{name}.jpg", len(expected))
            save_ids(root / "annotations" / folder / f"{name}.png", stored)
            expected[name] = np.where(stored == 0, 255, stored.astype(int) - 1)
    return expected


def ccp(root: Path) -> Expected:
    expected: Expected = {}
    for number in (1, 2, 5, 10, 11, 13):
        name = f"{number:04}"
        stored = values_of(range(59), number)
        save_photo(root / "photos" / f"{name}.jpg", number)
        save_matlab(root / "annotations" / "pixel-level" / f"{name}.mat", "groundtruth", stored, np.uint8)
        expected[name] = stored
    save_photo(root / "photos" / "2000.jpg", 2000)  # one of those that only have tags
    return expected


def pratheepan(root: Path) -> Expected:
    expected: Expected = {}
    photos = (
        ("FacePhoto", "sarah", ".jpg"),
        ("FacePhoto", "w,x", ".JPG"),
        ("FamilyPhoto", "PIC_0111", ".jpeg"),
    )
    for seed, (kind, name, suffix) in enumerate(photos):
        grey = values_of([0, 3, 127, 128, 250, 255], seed).astype(np.uint8)
        save(root / "Pratheepan_Dataset" / kind / f"{name}{suffix}", picture(seed, SIZE))
        channels = [grey] * 3 + ([np.full(SIZE, 255, np.uint8)] if seed == 1 else [])  # one is RGBA
        save(root / "Ground_Truth" / f"GroundT_{kind}" / f"{name}.png", np.stack(channels, -1))
        expected[name] = (grey > 127).astype(int)
    return expected


def inria(root: Path) -> Expected:
    expected: Expected = {}
    for name in ("austin1", "austin6", "tyrol-w12", "vienna5"):
        stored = values_of([0, 255], len(expected))
        save_photo(root / "train" / "images" / f"{name}.tif", len(expected))
        save_ids(root / "train" / "gt" / f"{name}.tif", stored)
        expected[name] = stored // 255
    save_photo(root / "test" / "images" / "sfo3.tif", 90)
    return expected


def polygons(path: Path, objects: list[tuple[str, list[list[int]]]]) -> None:
    """Cityscapes' polygon file."""
    entries = [{"label": label, "polygon": points} for label, points in objects]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": entries}))


LOOK_ALIKES: dict[str, LookAlike] = {
    "cityscapes": LookAlike(
        cityscapes,
        {"train": 3, "val": 1, "test": 1},
        "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png",
        "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png",
    ),
    "kitti": LookAlike(
        kitti,
        {"train": 3, "val": 2, "test": 1},
        "training/image_2/000160_10.png",
        "training/semantic/000160_10.png",
    ),
    "camvid": LookAlike(
        camvid,
        {"train": 2, "val": 3, "test": 2},
        "val/0016E5_07961.png",
        "valannot/0016E5_07961.png",
    ),
    "pascal_context": LookAlike(
        pascal_context,
        {"train": 2, "val": 1},
        "JPEGImages/2008_000003.jpg",
        "trainval/2008_000003.mat",
    ),
    "coco_stuff": LookAlike(
        coco_stuff,
        {"train": 2, "val": 1},
        "images/train2017/000000000025.jpg",
        "annotations/train2017/000000000025.png",
    ),
    "ade20k": LookAlike(
        ade20k,
        {"train": 2, "val": 1},
        "images/training/ADE_train_00000002.jpg",
        "annotations/training/ADE_train_00000002.png",
    ),
    "ccp": LookAlike(
        ccp,
        {"train": 2, "val": 2, "test": 2},
        "photos/0011.jpg",
        "annotations/pixel-level/0011.mat",
    ),
    "pratheepan": LookAlike(
        pratheepan,
        {"test": 3},
        "Pratheepan_Dataset/FacePhoto/sarah.jpg",
        "Ground_Truth/GroundT_FacePhoto/sarah.png",
    ),
    "inria": LookAlike(
        inria,
        {"train": 2, "val": 2, "test": 1},
        "train/images/austin6.tif",
        "train/gt/austin6.tif",
    ),
}
"""One for each public image data set, by its name."""
