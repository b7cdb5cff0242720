"""KITTI's pixel labels: 200 street scenes of Karlsruhe with the classes of Cityscapes, and instances.

Source: Alhaija and others, "Augmented Reality Meets Computer Vision: Efficient Data Generation for Urban
Driving Scenes", IJCV 2018; the archive is ``data_semantics.zip`` of www.cvlibs.net/datasets/kitti.

``semantic`` holds label ids of Cityscapes, ``instance`` label id * 256 + number (0: no instance); where
``semantic`` is missing, the ids are taken from ``instance``. There is no official val split: here the 40
images from 000160 on are held out. They are the end of the list and not every fifth image, because
neighbouring numbers may come from one drive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.cityscapes import CLASSES, IDS, label_table
from pixelwise.data.datasets.listing import (
    Listing,
    files_in,
    first_stem,
    inside,
    join_classes,
    open_sample,
    says_otherwise,
    translate,
)
from pixelwise.io import read_mask
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

INFO = PublicDataset(
    name="kitti",
    title="KITTI semantics",
    source="Alhaija et al., Augmented Reality Meets Computer Vision, IJCV 2018",
    task="image",
    classes=CLASSES,
    splits={"train": 160, "val": 40, "test": 200},
    size="about 1242x375, several sizes",
    licence="CC BY-NC-SA 3.0",
    obtain=(
        "download data_semantics.zip at https://www.cvlibs.net/datasets/kitti/eval_semseg.php?benchmark="
        "semantics2015 and unpack it"
    ),
    layout=(
        "training/image_2/{number:06}_10.png",
        "training/semantic/{number:06}_10.png",
        "training/instance/{number:06}_10.png",
        "testing/image_2/{number:06}_10.png",
    ),
    folders=(
        ("training/image_2",),
        ("training/semantic", "training/instance"),
        ("testing/image_2",),
    ),
    notes=(
        "There is no official val split: 000160 to 000199 of the 200 training images are held out here.",
        "The labels of testing are held back: those images have no mask.",
        "One copy in circulation pairs images of 1224x370 with masks of 1242x375, another rectification: "
        "'pixelwise check' reports a size mismatch; take the images of data_semantics.zip.",
    ),
)

FIRST_HELD_OUT = 160
"""Training images from this number on are the val split."""

_STEM = r"(\d{6}_\d{2})"


def recognise(root: Path) -> bool:
    """Whether ``training`` holds ``image_2`` and ``semantic`` (or ``instance``) with KITTI's numbers."""
    base = _base(root)
    return base is not None and not says_otherwise(base, *CLASSES.values())


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    classes: str = "19",
) -> Dataset[Sample]:
    """Read KITTI's pixel labels; ``sample.instances`` has label id * 256 + number, 0 for stuff.

    Parameters
    ----------
    root
        The folder that holds ``training`` (or the folder around ``data_semantics``).
    labels
        Other classes, joined to those of the data set by name.
    mapping
        ``{label id: class id}`` on top (ids of Cityscapes).
    classes
        ``"19"``, ``"30"`` or ``"34"``, as for Cityscapes.

    Raises
    ------
    DataError
        There is no image with labels.
    UsageError
        Unknown ``classes``.
    """
    root = _base(root) or root
    own = INFO.choose(classes)
    target, table = join_classes(own, label_table(own, IDS[classes]), labels, mapping)
    listing = Listing()
    images = files_in(root, "training/image_2", _STEM)
    instances = files_in(root, "training/instance", _STEM)
    semantic = files_in(root, "training/semantic", _STEM)
    masks = semantic or instances
    folder = "semantic" if semantic or not instances else "instance"
    listing.add_by(
        _split,
        ("train", "val"),
        images,
        masks,
        mask_at=f"training/{folder}/{{key}}.png",
        image_at="training/image_2/{key}.png",
        instances=instances,
    )
    listing.add("test", files_in(root, "testing/image_2", _STEM), None)
    read_ids = partial(_read_ids, labels=target, table=table)
    opener = partial(open_sample, root=root, read_ids=read_ids, read_instances=read_instances)
    return listing.dataset(root, INFO, target, opener)


def official(root: Path) -> Iterator[str]:
    """The files of a complete copy; instances may be missing."""
    for folder in ("training/image_2", "training/semantic", "testing/image_2"):
        yield from (f"{folder}/{number:06}_10.png" for number in range(200))


def read_instances(path: Path) -> np.ndarray:
    """H×W int32 instance ids (label id * 256 + number), 0 where there is none."""
    stored = read_mask(path).astype(np.int32)
    return np.where(stored % 256 > 0, stored, 0)


def _base(root: Path) -> Path | None:
    for base in inside(root, "data_semantics"):
        stems = [first_stem(base, f"training/{folder}") for folder in ("image_2", "semantic", "instance")]
        if stems[0] and (stems[1] or stems[2]) and all(not s or _is_number(s) for s in stems):
            return base
    return None


def _is_number(stem: str) -> bool:
    number, _, frame = stem.partition("_")
    return len(number) == 6 and len(frame) == 2 and (number + frame).isdigit()


def _split(key: str) -> str:
    return "val" if int(key[:6]) >= FIRST_HELD_OUT else "train"


def _read_ids(path: Path, labels: LabelMap, table: Mapping[int, int]) -> np.ndarray:
    if path.parent.name == "instance":
        return translate(path, read_mask(path).astype(np.uint16) // 256, labels, table)
    return read_mask(path, labels, table)
