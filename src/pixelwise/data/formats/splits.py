"""Which split an annotation file stands for, where the format itself does not say."""

from __future__ import annotations

from pathlib import Path

from pixelwise.data.formats.coco import split_of


def split_of_export(path: Path, root: Path, alone: bool) -> str | None:
    """The split by the folder below the root; where the file is not ``alone`` also by its name.

    A single ``my_test.json`` is no test split, ``train.json`` beside ``val.json`` is one for training.

    >>> root = Path("data")
    >>> split_of_export(root / "train" / "a.json", root, True)
    'train'
    >>> split_of_export(root / "val.json", root, True), split_of_export(root / "val.json", root, False)
    (None, 'val')
    """
    below = path.relative_to(root)
    return split_of(below.with_name("_") if alone else below)
