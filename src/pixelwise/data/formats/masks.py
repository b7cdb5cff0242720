"""Folders of images with a mask for each: the layout that most data sets come in.

Which folder layouts are understood, and which mask belongs to which image, is told in
:mod:`pixelwise.data.pairing`; what the values in the masks mean, in :mod:`pixelwise.data.classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pixelwise.data.adapt import Holds
from pixelwise.data.annotations import BACKGROUND_NAMES, AnnotatedImage, Document
from pixelwise.data.classes import Classes, resolve_classes
from pixelwise.data.pairing import Pair, find_pairs, has_pairs
from pixelwise.data.raster import paint
from pixelwise.errors import DataError
from pixelwise.io import read_image, read_mask, write_mask, write_text
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

HOLDS = Holds(
    kinds=frozenset({"polygon", "bitmap", "box", "ellipse", "polyline", "points"}),
    turned_boxes=True,
    turned_ellipses=True,
    holes=True,
    parts=True,
    ignored=True,
    splits=True,
)
"""Every shape leaves its pixels; what was drawn on top of it, and all that is not a class, is lost."""


def recognise(root: Path) -> bool:
    """Whether the folder holds images, and masks that folders, suffixes or list files tell from them."""
    return root.is_dir() and has_pairs(root)


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    name: str | None = None,
) -> Dataset[Sample]:
    """Read a folder of images and masks; opens no image.

    Images and masks without a partner become warnings in ``problems`` of the data set.

    Parameters
    ----------
    root
        The data folder.
    labels
        The classes; None looks for a class file (``classes.txt``, ``label_colors.txt``, ...) in the folder.
    mapping
        ``{mask value: class id}``, applied to the values in mask files.
    name
        What to call the data set; the folder's name by default.

    Raises
    ------
    DataError
        The folder is missing or empty, no image has a mask, or nobody says what the classes are.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(f"{root}: expected a folder with images and masks, found {found} there")
    pairs, problems = find_pairs(root)
    some_masks = [root / pair.mask for pair in pairs[:10]]
    labels, mapping = resolve_classes(root, labels, mapping, some_masks)
    split = any(pair.split for pair in pairs)
    return Dataset(
        pairs,
        partial(open_pair, root=root, labels=labels, mapping=mapping),
        labels,
        name=name or root.resolve().name,
        splits=[pair.split or "unsplit" for pair in pairs] if split else None,
        root=root,
        problems=problems,
        files_of=partial(files_of, root=str(root)),
    )


def tidy_name(name: str) -> str:
    """Any relative name will do."""
    return name


def image_path(image: AnnotatedImage) -> str:
    """``images/<split>/<name>``."""
    return f"images/{image.split}/{image.name}" if image.split else f"images/{image.name}"


def save(document: Document, path: Path, labels: LabelMap) -> None:
    """Write ``masks/<split>/<stem>.png`` beside the images, and ``classes.txt``."""
    background = next((i for i, n in enumerate(labels.names) if n.lower() in BACKGROUND_NAMES), labels.ignore)
    for image in document.images:
        mask = np.full((image.height, image.width), background, labels.dtype)
        values = [
            labels.names.index(s.label) if s.label in labels.names else labels.ignore for s in image.shapes
        ]
        paint(mask, image.shapes, values)
        place = Path(image_path(image))
        write_mask(path / "masks" / place.relative_to("images").with_suffix(".png"), mask, labels)
    rows = (f"{name},{r},{g},{b}" for name, (r, g, b) in zip(labels.names, labels.colours, strict=True))
    write_text(path / "classes.txt", "\n".join(rows) + "\n")


def files_of(pair: Pair, root: str) -> tuple[str, str]:
    """The image and the mask of a pair; as text, which is made faster than paths."""
    return f"{root}/{pair.image}", f"{root}/{pair.mask}"


def open_pair(pair: Pair, root: Path, labels: LabelMap, mapping: Mapping[int, int]) -> Sample:
    """The sample of a pair, its pixels still unread."""
    image, mask = root / pair.image, root / pair.mask
    return Sample(
        partial(read_image, image),
        partial(read_mask, mask, labels, mapping),
        path=image,
        meta={"split": pair.split, "mask_path": mask},
    )
