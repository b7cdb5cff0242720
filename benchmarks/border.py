"""U-Net's border map beside a loop of scipy transforms, one per instance, interleaved in one run.

    python benchmarks/border.py

512x512 pixels: 200 cells that nearly touch, 200 scattered ones, and 20 large ones. The loop runs
scipy.ndimage.distance_transform_edt for each instance. The values must agree to 1e-5.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

from pixelwise.kernels.distance import border_weights

SIZE, W0, SIGMA, REPEATS = 512, 10.0, 5.0, 5


def with_pixelwise(instances: np.ndarray) -> np.ndarray:
    return border_weights(instances, W0, SIGMA)


def with_scipy(instances: np.ndarray) -> np.ndarray:
    ids = np.unique(instances)
    # Only the two smallest are kept at a time: faster than sorting a stack of 200 images.
    first = second = np.full(instances.shape, np.inf)
    for label in ids[ids > 0]:
        distance = ndimage.distance_transform_edt(instances != label)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    weights = W0 * np.exp(-((first + second) ** 2) / (2 * SIGMA**2))
    return np.where(instances == 0, weights, 0).astype(np.float32)


def cells(count: int, radius: int) -> np.ndarray:
    """Discs at random places, later ones cut short by earlier ones; H×W int32 ids."""
    rng = np.random.default_rng(0)
    instances = np.zeros((SIZE, SIZE), np.int32)
    for label in range(count, 0, -1):
        x, y = rng.integers(0, SIZE, 2).tolist()
        cv2.circle(instances, (x, y), radius, label, -1)
    return instances


def nearly_touching(side: int = 15) -> np.ndarray:
    """The first 200 squares of a grid of ``side`` x ``side``, with gaps of a few pixels."""
    step = SIZE // side
    rng = np.random.default_rng(0)
    instances = np.zeros((SIZE, SIZE), np.int32)
    for label in range(1, 201):
        row, column = divmod(label - 1, side)
        top, left = np.array([row, column]) * step + rng.integers(0, 5, 2)
        instances[top : top + step - 4, left : left + step - 4] = label
    return instances


def interleaved(ways: dict[str, Callable[..., np.ndarray]], image: np.ndarray) -> dict[str, list[float]]:
    """Seconds of every run by name, after one run each to warm up (numba compiles, or reads its cache)."""
    values = [way(image) for way in ways.values()]
    print(f"largest difference {np.abs(values[0] - values[1]).max():.1e}")
    assert np.allclose(*values, rtol=0, atol=1e-5)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            way(image)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    ways = {"scipy loop": with_scipy, "pixelwise": with_pixelwise}
    threads, load = cv2.getNumThreads(), os.getloadavg()[0]
    print(f"{SIZE}x{SIZE}, w0 {W0:g}, sigma {SIGMA:g}, {threads} threads, load {load:.2f}")
    rows = []
    images = {
        "200 cells, nearly touching": nearly_touching(),
        "200 cells, scattered": cells(200, 8),
        "20 large cells": cells(20, 40),
    }
    for title, image in images.items():
        seconds = interleaved(ways, image)
        peer, ours = seconds.values()
        cell = [f"{statistics.median(times) * 1e3:.1f} ({min(times) * 1e3:.1f})" for times in (peer, ours)]
        ratio = statistics.median(peer) / statistics.median(ours)
        rows.append(f"| {title} | {cell[1]} | {cell[0]} | {ratio:.0f} | {min(peer) / min(ours):.0f} |")
    print("\n| median (min), ms | pixelwise | scipy loop | ratio of medians | of minima |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
