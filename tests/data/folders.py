"""Small data folders for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pixelwise.io import write_image, write_mask, write_text
from pixelwise.labels import LabelMap

LABELS = LabelMap(("road", "car", "sky"))


def picture(seed: int, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    """A noisy H×W×3 picture, another one for each seed."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def ids(seed: int, size: tuple[int, int] = (12, 16), count: int = 3) -> np.ndarray:
    """A mask in which every class occurs."""
    mask = np.random.default_rng(1000 + seed).integers(0, count, size).astype(np.uint8)
    mask.flat[:count] = range(count)
    return mask


def add(root: Path, image: str, mask: str | None, seed: int = 0) -> None:
    """Write one image and, unless None, its mask."""
    write_image(root / image, picture(seed))
    if mask is not None:
        write_raw(root / mask, ids(seed))


def write_raw(path: Path, values: np.ndarray) -> None:
    """Write values as they are: a palette PNG for uint8, NPY by its suffix, a grey PNG otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif values.dtype == np.uint8 and path.suffix == ".png" and values.ndim == 2:
        write_mask(path, values, LABELS)
    else:
        Image.fromarray(values).save(path)


def street(root: Path, counts: dict[str, int] | None = None) -> Path:
    """``images/{split}`` and ``masks/{split}`` with a class file, in perfect order."""
    seed = 0
    for split, count in (counts or {"train": 4, "val": 2}).items():
        for number in range(count):
            add(root, f"images/{split}/{number:03d}.png", f"masks/{split}/{number:03d}.png", seed)
            seed += 1
    write_text(root / "classes.txt", "\n".join(LABELS.names))
    return root
