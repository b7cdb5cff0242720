"""Readers of public data sets in their original layout, one module each, and what is known about them."""

from collections.abc import Callable
from pathlib import Path

from pixelwise.data.datasets import (
    ade20k,
    camvid,
    ccp,
    cityscapes,
    coco_stuff,
    inria,
    kitti,
    lits,
    pascal_context,
    pratheepan,
    s3dis,
    s3dis_images,
)
from pixelwise.data.datasets.catalogue import PublicDataset
from pixelwise.data.datasets.verification import Missing, Source, Verification, verify_copy
from pixelwise.errors import unknown_name

__all__ = ["CATALOGUE", "Missing", "PublicDataset", "Verification", "verify"]

# Street scenes, scenes of all kinds, people, aerial images, scans, rooms; lists keep this order.
SOURCES: dict[str, Source] = {
    source.INFO.name: source
    for source in (
        cityscapes,
        kitti,
        camvid,
        pascal_context,
        coco_stuff,
        ade20k,
        ccp,
        pratheepan,
        inria,
        lits,
        s3dis,
        s3dis_images,
    )
}
"""The modules by the name of their data set."""

CATALOGUE: dict[str, PublicDataset] = {name: source.INFO for name, source in SOURCES.items()}
"""What is known about each public data set, by name."""


def verify(
    name: str,
    root: str | Path,
    statistics: bool = False,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Whether a local copy of a public data set is complete, and exactly what is missing.

    Parameters
    ----------
    name
        One of ``CATALOGUE``.
    root
        Where the copy lies; nothing is written there.
    statistics
        Count the pixels of the default classes as well: shares and median-frequency weights. This reads
        every image and mask once; what was seen is remembered in the user's cache.
    progress
        Called with (samples counted, samples in all).

    Raises
    ------
    UsageError
        Unknown name, or statistics of a data set that has no images.

    Examples
    --------
    >>> import tempfile
    >>> result = verify("kitti", tempfile.mkdtemp())
    >>> result.ok, result.missing[0].path
    (False, 'training/image_2')
    """
    if name not in SOURCES:
        raise unknown_name("data set", name, SOURCES)
    return verify_copy(SOURCES[name], root, statistics, progress)
