"""3D U-Net on generated computed tomography against looking at each voxel's intensity alone.

``python benchmarks/volumes.py [--steps 700]`` trains the practical variant, thin, on 24 scans of 64x64x48
voxels and measures the bundle on 6 others: intersection over union from voxel counts over all of them. The
baseline gives every voxel the class whose mean intensity in the training scans is the nearest.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import pixelwise as pw
from pixelwise.data.synthetic import volume_dataset
from pixelwise.metrics import ConfusionMatrix
from pixelwise.sample import Dataset, Volume

SPLITS = {"train": 24, "val": 6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--width", type=float, default=0.125, help="of the paper's number of channels")
    parser.add_argument("--size", default="40x40x32", help="voxels of a patch")
    arguments = parser.parse_args()
    data = volume_dataset(sum(SPLITS.values()), seed=0, size=(64, 64, 48), splits=SPLITS)
    rows = [("nearest mean intensity", 0.0, nearest_mean(data.select("train"), data.select("val")))]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = pw.train(
            data,
            arch="unet3d",
            out=Path(folder) / "run",
            size=arguments.size,
            options={"width": arguments.width},
            max_steps=arguments.steps,
            lr=3e-3,
            loss="cross_entropy + dice",
            foreground=0.6,  # tumours are few
            flip=0,  # a liver is on the right, what looks like one on the left is a spleen
            precision="fp32",
            progress=show,
        )
        rows.append(("unet3d", run.seconds, pw.evaluate(pw.load(run.path), data.select("val")).confusion))
        print(f"training, export and evaluation: {time.perf_counter() - start:.0f} s")
    print(f"{SPLITS['val']} scans held out, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print(f"{'':24}{'train s':>9}{'mIoU':>8}" + "".join(f"{name:>12}" for name in data.labels.names))
    for name, seconds, matrix in rows:
        print(
            f"{name:24}{seconds:9.0f}{matrix.mean_iou():8.3f}" + "".join(f"{v:12.3f}" for v in matrix.iou())
        )


def nearest_mean(train_set: Dataset[Volume], val_set: Dataset[Volume]) -> ConfusionMatrix:
    """What intensities alone can tell."""
    sums, counts = np.zeros((2, len(train_set.labels)))
    for volume in train_set:
        assert volume.mask is not None
        sums += np.bincount(volume.mask.ravel(), volume.array.ravel(), minlength=len(sums))
        counts += np.bincount(volume.mask.ravel(), minlength=len(counts))
    means = sums / counts
    matrix = ConfusionMatrix(len(means))
    for volume in val_set:
        assert volume.mask is not None
        nearest = np.abs(volume.array[..., None] - means).argmin(axis=-1)
        matrix.update(nearest.astype(np.uint8), volume.mask)
    return matrix


def show(line: dict[str, object]) -> None:
    if line["kind"] == "val":
        print(f"step {line['step']}: {line['per_class_iou']}, {line['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
