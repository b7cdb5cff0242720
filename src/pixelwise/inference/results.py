"""The files that an image's result is kept in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pixelwise.inference.segmenter import Segmentation
from pixelwise.io import atomic_write, write_image


def image_results(target: str, overlay: bool, probabilities: bool) -> list[str]:
    """The names of the mask, the overlay and the probabilities of one image, those that are wanted.

    >>> image_results("a/photo", overlay=True, probabilities=False)
    ['a/photo.png', 'overlay/a/photo.png']
    """
    names = [f"{target}.png"]
    names += [f"overlay/{target}.png"] * overlay
    names += [f"{target}.npz"] * probabilities
    return names


def write_image_results(segmentation: Segmentation, files: Sequence[Path], overlay: bool) -> None:
    """Write what :func:`image_results` names to these files, in its order, each whole or not at all."""
    segmentation.save(files[0])
    if overlay:
        write_image(files[1], segmentation.overlay())
    if segmentation.probabilities is not None:
        with atomic_write(files[-1]) as temporary:
            np.savez_compressed(temporary, probabilities=segmentation.probabilities.astype(np.float16))
