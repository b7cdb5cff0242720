"""Confusion counts and mean IoU beside torchmetrics and numpy.bincount, interleaved in one run.

    python benchmarks/confusion.py

Four masks of 1024x2048 with 19 classes and 255 ignored: independent noise, where no two neighbours agree
(the worst case), and regions, as masks are; as bytes, and as the int64 that an argmax gives. Every way must
give the same mean IoU.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from pixelwise.metrics import ConfusionMatrix

SHAPE, CLASSES, IGNORE, REPEATS = (4, 1024, 2048), 19, 255, 5


def with_pixelwise(prediction: np.ndarray, target: np.ndarray) -> float:
    matrix = ConfusionMatrix(CLASSES, IGNORE)
    matrix.update(prediction, target)
    return matrix.mean_iou()


def with_bincount(prediction: np.ndarray, target: np.ndarray) -> float:
    valid = target != IGNORE
    pairs = target[valid].astype(np.int64) * CLASSES + prediction[valid]
    counts = np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    union = counts.sum(axis=0) + counts.sum(axis=1) - counts.diagonal()
    return float((counts.diagonal() / union).mean())


def with_torchmetrics(prediction: np.ndarray, target: np.ndarray) -> float:
    metric = MulticlassJaccardIndex(CLASSES, ignore_index=IGNORE)
    metric.update(torch.from_numpy(prediction), torch.from_numpy(target))
    return float(metric.compute())


def masks(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and target, uint8; a tenth of the target is ignored."""
    rng = np.random.default_rng(0)
    if kind == "noise":
        prediction, target = rng.integers(0, CLASSES, (2, *SHAPE), dtype=np.uint8)
    else:
        blocks = rng.integers(0, CLASSES, (SHAPE[0], 32, 64), dtype=np.uint8)
        target = blocks.repeat(32, axis=1).repeat(32, axis=2)
        prediction = np.roll(target, (3, 5), axis=(1, 2))
    target[:, : SHAPE[1] // 10] = IGNORE
    return prediction, target


def interleaved(ways: dict[str, Callable[..., float]], *masks: np.ndarray) -> dict[str, list[float]]:
    """Seconds of every run by name, after one run each to warm up."""
    values = [way(*masks) for way in ways.values()]
    assert np.ptp(values) < 1e-5, values
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            way(*masks)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    ways = {"torchmetrics": with_torchmetrics, "numpy.bincount": with_bincount, "pixelwise": with_pixelwise}
    load = os.getloadavg()[0]
    print(f"{SHAPE}, {CLASSES} classes, torch threads {torch.get_num_threads()}, load {load:.2f}")
    for kind, dtype in itertools.product(("noise", "regions"), (np.uint8, np.int64)):
        prediction, target = masks(kind)
        seconds = interleaved(ways, prediction.astype(dtype), target.astype(dtype))
        ours = seconds["pixelwise"]
        title = f"{kind} {dtype.__name__}"
        print(f"\n{title:16} {'min ms':>10} {'median ms':>10} {'min ratio':>10} {'median ratio':>12}")
        for name, times in seconds.items():
            least, middle = min(times), statistics.median(times)
            ratios = f"{least / min(ours):>9.1f}x {middle / statistics.median(ours):>11.1f}x"
            print(f"{name:16} {least * 1e3:>10.1f} {middle * 1e3:>10.1f} {ratios}")


if __name__ == "__main__":
    main()
