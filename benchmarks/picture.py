"""Make the picture of the README from a finished demo: image, true classes, prediction.

python benchmarks/picture.py demo docs/assets/street.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

import pixelwise as pw
from pixelwise.draw import legend, overlay
from pixelwise.io import write_image

STREETS = (283, 285, 299)  # numbers of test pictures
WIDTH = 1440


def main(demo: Path, target: Path) -> None:
    """Three streets side by side, and a row each for image, truth and prediction."""
    data = pw.read(demo / "data", split="test")
    segmenter = pw.load(demo / "run")
    samples = [sample for sample in data if int(sample.name.rsplit("_", 1)[1]) in STREETS]
    rows = [
        [sample.image for sample in samples],
        [
            overlay(sample.image, sample.mask, data.labels, 0.65)
            for sample in samples
            if sample.mask is not None
        ],
        [segmenter.predict(sample.image).overlay(0.65) for sample in samples],
    ]
    picture = np.vstack([np.hstack(row) for row in rows])
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    picture = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    names = np.hstack([legend(data.labels, [name]) for name in data.labels.names])
    names = np.pad(names, ((8, 8), (8, WIDTH - names.shape[1] - 8), (0, 0)), constant_values=255)
    write_image(target, np.vstack([picture, names]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
