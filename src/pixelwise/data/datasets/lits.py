"""LiTS: livers and their tumours in computed tomography, 131 labelled scans and 70 without labels.

Source: Bilic and others, "The Liver Tumor Segmentation Benchmark (LiTS)", Medical Image Analysis 2023
(arXiv:1901.04056); scans from several hospitals, released for the challenge of 2017.

``Training Batch 1`` and ``Training Batch 2`` hold ``volume-N.nii`` and ``segmentation-N.nii``, N from 0 to
130; the test scans are ``test-volume-N.nii``, N from 0 to 69. The files may also lie in one folder, in
folders of other names, or be compressed. Voxels are Hounsfield units; segmentations hold 0, 1 (liver) and
2 (tumour). The liver as such is 1 and 2 together: the classes ``"liver"``.

There is no official validation split. Here every fifth number (4, 9, ..., 129) is for validation, 26 scans;
the rule needs no list and gives the same split for any part of the data. Neighbouring numbers come from one
hospital, so both splits hold every hospital.

Scans differ in orientation, and the header of a segmentation may differ from its scan's: both are turned as
the scan's header says. Written without an original file at hand, from the descriptions of others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.data.classes import Classes
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.listing import join_classes
from pixelwise.data.formats.nifti import Case, Opening, check_slicing, dataset_of, left_out
from pixelwise.errors import DataError, Problem
from pixelwise.io import walk_files
from pixelwise.io.volumes import Slicing, Window
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset

WINDOW: Window = (-200.0, 250.0)
"""Hounsfield units that slices show by default: soft tissue, air and bone saturated."""

CLASSES: dict[str, LabelMap] = {
    "liver-tumour": LabelMap(("background", "liver", "tumour"), ((0, 0, 0), (190, 90, 60), (250, 220, 80))),
    "liver": LabelMap(("background", "liver"), ((0, 0, 0), (190, 90, 60))),
}
"""The label maps in use, by the value of ``classes``."""

INFO = PublicDataset(
    name="lits",
    title="LiTS",
    source="Bilic et al., The Liver Tumor Segmentation Benchmark (LiTS), Medical Image Analysis 2023",
    task="volume",
    classes=CLASSES,
    splits={"train": 105, "val": 26, "test": 70},
    size="512x512 pixels, up to about 1,000 slices",
    licence="CC BY-NC-ND 4.0: not for commercial use, no derived data",
    obtain=(
        "register at https://competitions.codalab.org/competitions/17094 and unpack Training_Batch1.zip and "
        "Training_Batch2.zip (about 16 GB) into one folder"
    ),
    layout=(
        "Training Batch 1/volume-{0..27}.nii",
        "Training Batch 1/segmentation-{0..27}.nii",
        "Training Batch 2/volume-{28..130}.nii",
        "Training Batch 2/segmentation-{28..130}.nii",
        "test-volume-{0..69}.nii",
    ),
    notes=(
        "The challenge has 131 labelled scans and no validation split; here every fifth number is 'val'.",
        "Labels of the 70 test scans are held back.",
        "A segmentation's own affine may differ from its scan's and is not used; sizes must agree.",
        "The liver is counted as label >= 1: choose classes='liver' for it.",
        "Slices are 0.7 to 5 mm apart; surface distances need the spacing.",
        "Leave the files uncompressed: slices of .nii are read alone, those of .nii.gz with all before them.",
        "The 20 scans of 3D-IRCADb-01 are among the training scans, so that set is no independent test.",
    ),
)

_NAME = re.compile(r"(test-)?(volume|segmentation)-(\d+)\.nii(?:\.gz)?", re.IGNORECASE)
_EVERY, _HELD_OUT = 5, 4


def recognise(root: Path) -> bool:
    """Whether a folder holds files called ``volume-N`` with ``segmentation-N``, or ``test-volume-N``."""
    if not root.is_dir():
        return False
    found, _ = _scan(root)
    return bool(found["volume"].keys() & found["segmentation"].keys() or found["test-volume"])


def read(
    root: Path,
    labels: Classes | None = None,
    mapping: Mapping[int, int] | None = None,
    *,
    as_slices: bool = False,
    window: Window | None = None,
    axis: int = 2,
    canonical: bool = True,
    neighbours: int = 0,
    classes: str = "liver-tumour",
) -> Dataset[Any]:
    """Read LiTS; lists files, and with ``as_slices`` reads the headers of the scans.

    Parameters
    ----------
    root
        The folder with both batches, or with the files.
    labels
        Other classes, joined by name.
    mapping
        ``{value in a segmentation: class id}``, on top of the data set's own.
    as_slices
        Give every slice as a :class:`~pixelwise.sample.Sample`, in the place of volumes.
    window
        With ``as_slices``: Hounsfield units that become 0 and 255 of H×W×3 uint8; None takes
        :data:`WINDOW`.
    axis
        With ``as_slices``: 2 for axial, 1 for coronal, 0 for sagittal slices of canonical volumes.
    canonical
        Turn scan and segmentation so that axes run to the patient's right, front and head.
    neighbours
        With ``as_slices``: so many slices before and after each one are channels, too (2.5-D); 1 gives 3
        channels.
    classes
        One of :data:`CLASSES`.

    Returns
    -------
    Dataset
        Volumes of int16 Hounsfield units, or samples as :func:`pixelwise.data.formats.nifti.read` gives.
        Splits ``train``, ``val`` (every fifth) and ``test`` (without labels).

    Raises
    ------
    UsageError
        Unknown classes or axis, a window that is no range, neighbours below 0; either is given for volumes.
    DataError
        No scan with a segmentation, and no test scan, is there.
    """
    slicing = Slicing(axis, window, neighbours)
    check_slicing(as_slices, slicing)
    own = INFO.choose(classes)
    values = {0: 0, 1: 1, 2: len(own) - 1}
    chosen, table = join_classes(own, values, labels, mapping)
    cases, problems = _find_cases(root)
    opening = Opening(root, chosen, table, canonical, _hounsfield)
    return dataset_of(
        cases, opening, INFO.title, problems, as_slices, Slicing(axis, window or WINDOW, neighbours)
    )


def official(root: Path) -> Iterator[str]:
    """The files of a complete copy: where they are, and the missing ones where others of their kind are."""
    found, _ = _scan(root)
    for kind, numbers, default in (
        ("volume", range(28), "Training Batch 1"),
        ("segmentation", range(28), "Training Batch 1"),
        ("volume", range(28, 131), "Training Batch 2"),
        ("segmentation", range(28, 131), "Training Batch 2"),
        ("test-volume", range(70), ""),
    ):
        there = [found[kind][number] for number in numbers if number in found[kind]]
        folder = there[0].rpartition("/")[0] if there else default
        for number in numbers:
            place = f"{folder}/{kind}-{number}.nii" if folder else f"{kind}-{number}.nii"
            yield found[kind].get(number, place)


def split_of(number: int) -> str:
    """The split of a labelled scan.

    >>> [number for number in range(20) if split_of(number) == "val"]
    [4, 9, 14, 19]
    """
    return "val" if number % _EVERY == _HELD_OUT else "train"


def _find_cases(root: Path) -> tuple[list[Case], list[Problem]]:
    found, copies = _scan(root)
    scans, segmentations = found["volume"], found["segmentation"]
    both = sorted(scans.keys() & segmentations.keys())
    cases = [Case(scans[number], segmentations[number], split_of(number)) for number in both]
    cases.sort(key=lambda case: case.split != "train")
    cases += [Case(path, "", "test") for _, path in sorted(found["test-volume"].items())]
    if not cases:
        raise DataError(
            f"{root}: no scan of LiTS with its segmentation; expected files such as '{INFO.layout[0]}' and "
            f"'{INFO.layout[1]}', unpack the training batches there"
        )
    lone_scans = (scans[number] for number in sorted(scans.keys() - segmentations.keys()))
    lone_masks = (segmentations[number] for number in sorted(segmentations.keys() - scans.keys()))
    problems = [
        *left_out("unpaired_image", "scans without a segmentation", lone_scans),
        *left_out("unpaired_mask", "segmentations without a scan", lone_masks),
        *left_out("extra_volume", "files with the number of another one", copies),
    ]
    return cases, problems


def _scan(root: Path) -> tuple[dict[str, dict[int, str]], list[str]]:
    """Paths by kind and number, and those beyond the first of a number."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    copies = []
    for folder, names in walk_files(root):
        for name in names:
            if match := _NAME.fullmatch(name):
                path = f"{folder}/{name}" if folder else name
                kind = f"{match[1] or ''}{match[2]}".lower()
                if found[kind].setdefault(int(match[3]), path) != path:
                    copies.append(path)
    return found, copies


def _hounsfield(voxels: np.ndarray) -> np.ndarray:
    """Voxels of any type as int16; what lies outside its range is no tissue."""
    if voxels.dtype == np.int16:
        return voxels
    ends = np.iinfo(np.int16)
    return np.rint(voxels).clip(ends.min, ends.max).astype(np.int16)
