"""The same samples under other class names, or in other splits; nothing is read before it is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from pixelwise.data.annotations import AnnotatedImage
from pixelwise.errors import UsageError, unknown_name
from pixelwise.io.labelfiles import is_void
from pixelwise.labels import LabelMap
from pixelwise.sample import Cloud, Dataset, Sample, Volume


def rename_classes(dataset: Dataset[Any], names: Mapping[str, str]) -> Dataset[Any]:
    """Give classes other names; those that share one become one class.

    Parameters
    ----------
    dataset
        Samples, volumes or clouds with labels.
    names
        ``{old: new}``; the new name ``ignore`` makes a class's pixels ignored.

    Raises
    ------
    UsageError
        A class is unknown, or none is left.

    Examples
    --------
    >>> mask = np.array([[0, 1, 2]], np.uint8)
    >>> data = Dataset([mask], lambda m: Sample(np.zeros((1, 3, 3)), m), LabelMap(("road", "car", "bus")))
    >>> merged = rename_classes(data, {"bus": "car"})
    >>> merged.labels.names, merged[0].mask.tolist()
    (('road', 'car'), [[0, 1, 1]])
    """
    old = dataset.labels
    for name in names:
        if name not in old.names:
            raise unknown_name("class", name, old.names)
    colours: dict[str, tuple[int, int, int]] = {}
    for name, colour in zip(old.names, old.colours, strict=True):
        if not is_void(new := names.get(name, name)):
            colours.setdefault(new, colour)
    if not colours:
        raise UsageError("no class is left after --map; keep at least one")
    labels = LabelMap(tuple(colours), tuple(colours.values()))
    table = np.full(max(old.ignore, len(old) - 1) + 1, labels.ignore, labels.dtype)
    for position, name in enumerate(old.names):
        if (new := names.get(name, name)) in colours:
            table[position] = labels.index(new)
    return Dataset(
        dataset.records,
        partial(_translate, dataset.open_record, table),
        labels,
        name=dataset.name,
        splits=dataset.split_of_each,
        root=dataset.root,
        problems=dataset.problems,
    )


def split_at_random(dataset: Dataset[Any], fraction: float, seed: int = 0) -> Dataset[Any]:
    """Put a share of the samples into ``train`` and the rest into ``val``; the same ones for the same seed.

    Raises
    ------
    UsageError
        The fraction is not between 0 and 1, or there are fewer than two samples.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"--split {fraction}: expected the share of images to train on, such as 0.8")
    if len(dataset) < 2:
        raise UsageError(f"{dataset.name}: {len(dataset)} image cannot be split in two")
    order = np.random.default_rng(seed).permutation(len(dataset))
    train = set(order[: min(max(round(fraction * len(dataset)), 1), len(dataset) - 1)].tolist())
    splits = ["train" if i in train else "val" for i in range(len(dataset))]
    return Dataset(
        [_with_split(record, split) for record, split in zip(dataset.records, splits, strict=True)],
        partial(_open_in_split, dataset.open_record),
        dataset.labels,
        name=dataset.name,
        splits=splits,
        root=dataset.root,
        problems=dataset.problems,
    )


Item = Sample | Volume | Cloud


def _translate(open_record: Callable[[Any], Item], table: np.ndarray, record: Any) -> Item:
    item = open_record(record)
    if isinstance(item, Cloud):
        return replace(item, labels=None if item.labels is None else table[item.labels])
    mask = (lambda: table[item.mask]) if item.labelled else None
    if isinstance(item, Sample):
        return item.replace(mask=mask)
    return replace(item, mask=mask)


def _with_split(record: Any, split: str) -> Any:
    return replace(record, split=split) if isinstance(record, AnnotatedImage) else (record, split)


def _open_in_split(open_record: Callable[[Any], Item], record: Any) -> Item:
    if isinstance(record, AnnotatedImage):
        return open_record(record)
    inner, split = record
    item = open_record(inner)
    meta = item.meta | {"split": split}
    return item.replace(meta=meta) if isinstance(item, Sample) else replace(item, meta=meta)
