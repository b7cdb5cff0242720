"""Mapillary Vistas: street scenes from all over the world, with the classes that its own config file names.

Source: Neuhold, Ollmann, Rota Bulò and Kontschieder, "The Mapillary Vistas Dataset for Semantic Understanding
of Street Scenes", ICCV 2017. ``config_v1.2.json`` or ``config_v2.0.json`` lists the classes in the order of
the mask values, so names and colours are taken from there; the data set is no part of the catalogue, which
would have to print them without having seen them. An instance id is 256 times the class plus a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import Listing, files_in, join_classes, open_sample
from pixelwise.errors import DataError, UsageError
from pixelwise.io import read_mask
from pixelwise.io.documents import read_json
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample

_SPLITS = {"train": ("train", "training"), "val": ("val", "validation"), "test": ("test", "testing")}


def recognise(root: Path) -> bool:
    """Whether a config file of Vistas lies beside folders of its splits."""
    folders = (root / name / "images" for names in _SPLITS.values() for name in names)
    return bool(_versions(root)) and any(folder.is_dir() for folder in folders)


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    version: str | None = None,
) -> Dataset[Sample]:
    """Read the images of all splits; those of ``test`` have no labels.

    Parameters
    ----------
    root
        The folder with the config files.
    labels, mapping
        Other classes, joined by name, and ``{mask value: class id}`` on top.
    version
        ``"v1.2"``, ``"v2.0"`` or whichever config file is there; the newest by default.

    Raises
    ------
    UsageError
        There is no such version.
    DataError
        No image has a mask, or the config file is damaged.
    """
    versions = _versions(root)
    if version is not None and version not in versions:
        raise UsageError(f"{root}: no config_{version}.json there (found: {', '.join(versions) or 'none'})")
    if not versions:
        raise DataError(f"{root}: expected config_v2.0.json or config_v1.2.json of Mapillary Vistas")
    version = version or versions[-1]
    own = _labels(root / f"config_{version}.json")
    target, table = join_classes(own, {value: value for value in range(len(own))}, labels, mapping)
    listing = Listing()
    for split, names in _SPLITS.items():
        folder = next((name for name in names if (root / name / "images").is_dir()), names[0])
        images = files_in(root, f"{folder}/images")
        if split == "test":
            listing.add(split, images, None)
            continue
        masks = files_in(root, f"{folder}/{version}/labels", suffixes=(".png",))
        instances = files_in(root, f"{folder}/{version}/instances", suffixes=(".png",))
        mask_at, image_at = f"{folder}/{version}/labels/{{key}}.png", f"{folder}/images/{{key}}.jpg"
        listing.add(split, images, masks, mask_at=mask_at, image_at=image_at, instances=instances)
    read_ids = partial(read_mask, labels=target, mapping=table)
    opener = partial(open_sample, root=root, read_ids=read_ids, read_instances=_read_instances)
    return listing.dataset(root, _info(version, own), target, opener)


def _versions(root: Path) -> list[str]:
    return sorted(path.stem.removeprefix("config_") for path in root.glob("config_v*.json"))


def _labels(path: Path) -> LabelMap:
    config = read_json(path)
    try:
        entries = [(str(entry["readable"]), tuple(map(int, entry["color"]))) for entry in config["labels"]]
        names = _distinct([name for name, _ in entries], [str(entry["name"]) for entry in config["labels"]])
        return LabelMap(tuple(names), tuple((r, g, b) for _, (r, g, b) in entries))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected labels with name, readable and color ({error!r})") from None


def _distinct(readable: list[str], full: list[str]) -> list[str]:
    """The readable names; where one stands for several classes, their full names."""
    return [long if readable.count(short) > 1 else short for short, long in zip(readable, full, strict=True)]


def _read_instances(path: Path) -> np.ndarray:
    """H×W int32: only what is a countable thing has a number below its class."""
    stored = read_mask(path).astype(np.int32)
    return np.where(stored % 256 > 0, stored, 0)


def _info(version: str, labels: LabelMap) -> PublicDataset:
    return PublicDataset(
        name="mapillary",
        title="Mapillary Vistas",
        source="Neuhold and others, The Mapillary Vistas Dataset, ICCV 2017",
        task="image",
        classes={version: labels},
        splits={"train": 18000, "val": 2000, "test": 5000},
        size="many sizes",
        licence="CC BY-NC-SA 4.0, by the agreement of its owner",
        obtain="ask at https://www.mapillary.com/dataset/vistas",
        layout=(f"{{train,val}}/images/x.jpg with {{train,val}}/{version}/labels/x.png",),
    )
