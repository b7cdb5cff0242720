"""Can the synthetic street be solved by looking up colours and places? A random forest tries.

The forest sees, for every pixel, its RGB, the RGB of a small neighbourhood, and (x, y). It learns from the
demo set's training split and is measured on its test split. A score near that of a network would mean that
the data teach nothing about shape and context; it should stay well below 0.5.

    python benchmarks/colour_lookup.py --pixels 200000
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from pixelwise.data.synthetic import STREET_LABELS, demo_dataset
from pixelwise.sample import Sample


def features(sample: Sample) -> np.ndarray:
    """(H·W)×8 float32: RGB, mean RGB of 9×9 pixels, x and y as shares of the image."""
    image = sample.image
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    around = cv2.blur(image, (9, 9))
    columns = np.dstack([image, around, x / width, y / height])
    return columns.reshape(-1, 8).astype(np.float32)


def draw(samples: list[Sample], per_image: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes of randomly chosen pixels."""
    inputs, targets = [], []
    for sample in samples:
        assert sample.mask is not None
        chosen = rng.integers(sample.mask.size, size=per_image)
        inputs.append(features(sample)[chosen])
        targets.append(sample.mask.ravel()[chosen])
    return np.concatenate(inputs), np.concatenate(targets)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pixels", type=int, default=200_000, help="pixels to train on")
    parser.add_argument("--trees", type=int, default=100, help="trees in the forest")
    parser.add_argument("--jobs", type=int, default=1, help="processes for the forest")
    parser.add_argument("--images", type=int, default=None, help="use only so many images of each split")
    options = parser.parse_args()
    from sklearn.ensemble import RandomForestClassifier

    data = demo_dataset()
    start = time.perf_counter()
    train = list(data.select("train")[: options.images])
    test = list(data.select("test")[: options.images])
    painted = time.perf_counter() - start
    count = len(train) + len(test)
    print(f"{len(train)} + {len(test)} images in {painted:.1f} s ({count / painted:.1f} a second)")
    inputs, targets = draw(train, options.pixels // len(train), np.random.default_rng(0))
    forest = RandomForestClassifier(options.trees, n_jobs=options.jobs, random_state=0).fit(inputs, targets)
    classes = len(STREET_LABELS)
    counts = np.zeros((classes, classes), np.int64)
    for sample in test:
        assert sample.mask is not None
        # Every fourth pixel in both directions is enough: 650,000 pixels of the test set.
        grid = np.zeros(sample.mask.shape, bool)
        grid[2::4, 2::4] = True
        predicted = forest.predict(features(sample)[grid.ravel()])
        pairs = sample.mask[grid].astype(np.int64) * classes + predicted
        counts += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    hits = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hits
    for name, share, iou in zip(
        STREET_LABELS.names, counts.sum(axis=1) / counts.sum(), hits / union, strict=True
    ):
        print(f"{name:<14}{share:8.2%} of pixels   IoU {iou:.3f}")
    print(f"mean IoU {np.mean(hits / union):.3f}")


if __name__ == "__main__":
    main()
