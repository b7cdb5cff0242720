"""Data and a trained run that many tests use; made once per session from generated pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")

CLASSES = ("background", "square", "disc")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache folder out of the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


def draw_shapes(seed: int, size: tuple[int, int] = (64, 80)) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture with a bright square and a dark disc, and its mask."""
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros(size, np.uint8)
    top, left = rng.integers(0, height - 24), rng.integers(0, width - 24)
    mask[top : top + 24, left : left + 24] = 1
    y, x = rng.integers(12, height - 12), rng.integers(12, width - 12)
    mask[(rows - y) ** 2 + (columns - x) ** 2 < 144] = 2
    colours = np.array([[110, 120, 130], [220, 200, 90], [40, 60, 150]])
    image = colours[mask] + rng.normal(0, 12, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8), mask


def write_shapes(root: Path, counts: dict[str, int], size: tuple[int, int] = (64, 80)) -> Path:
    """An image and mask folder with these splits."""
    from pixelwise import LabelMap
    from pixelwise.io import write_image, write_mask, write_text

    labels = LabelMap(CLASSES)
    seed = 0
    for split, count in counts.items():
        for number in range(count):
            image, mask = draw_shapes(seed, size)
            write_image(root / "images" / split / f"{split}_{number:03d}.png", image)
            write_mask(root / "masks" / split / f"{split}_{number:03d}.png", mask, labels)
            seed += 1
    write_text(root / "classes.txt", "\n".join(CLASSES) + "\n")
    return root


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder: 10 training and 4 validation pictures of 64x80 px, three classes."""
    return write_shapes(tmp_path_factory.mktemp("shapes"), {"train": 10, "val": 4})


@pytest.fixture(scope="session")
def run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on ``shapes``: its folder holds a bundle and a report."""
    import pixelwise as pw

    path = tmp_path_factory.mktemp("runs") / "shapes"
    pw.train(shapes, out=path, size="80x64", batch=5, epochs=40, lr=3e-3, ema=0.8, validate_every=4)
    return path
