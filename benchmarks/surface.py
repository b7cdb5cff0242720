"""Hausdorff-95 and average surface distance beside MONAI and surface-distance, interleaved in one run.

    pip install monai surface-distance
    python benchmarks/surface.py

Masks that overlap, that lie apart, and a small one inside a large one. Pixelwise gives both numbers from one
call. MONAI is timed for the Hausdorff distance alone and for both, with one thread of torch and with all;
its better time counts. surface-distance gives both from one call, but weighs surface elements by their area:
it is timed beside the mode "area". All values must agree to 1e-5.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable

import numpy as np
import surface_distance
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from pixelwise.metrics import surface_distances

Numbers = tuple[float, ...]
Way = Callable[[np.ndarray, np.ndarray, tuple[float, ...]], Numbers]


def with_pixelwise(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> Numbers:
    found = surface_distances(a, b, spacing)
    return found.hausdorff(95), found.average()


def with_areas(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> Numbers:
    found = surface_distances(a, b, spacing, mode="area")
    return found.hausdorff(95), found.average_to_target()


def with_deepmind(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> Numbers:
    found = surface_distance.compute_surface_distances(b, a, spacing)
    averages = surface_distance.compute_average_surface_distance(found)
    return surface_distance.compute_robust_hausdorff(found, 95), averages[1]


def with_monai(threads: int, average: bool) -> Way:
    def measure(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> Numbers:
        torch.set_num_threads(threads)
        masks = torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None]
        options = {"include_background": True, "spacing": spacing}
        distance = float(compute_hausdorff_distance(*masks, percentile=95, **options))
        if not average:
            return (distance,)
        return distance, float(compute_average_surface_distance(*masks, symmetric=True, **options))

    return measure


def ellipsoid(shape: tuple[int, ...], centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """A mask; centre and radii in parts of the shape, the surface uneven so that distances differ."""
    axes = zip(np.indices(shape), shape, centre, radii, strict=True)
    grid = [(axis / side - middle) / radius for axis, side, middle, radius in axes]
    return sum(axis**2 for axis in grid) < 1 + 0.2 * np.sin(9 * grid[0]) * np.sin(7 * grid[-1])


def pairs(shape: tuple[int, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    dims = len(shape)
    large = ellipsoid(shape, (0.5,) * dims, (0.33, 0.3, 0.28)[:dims])
    first, second = (ellipsoid(shape, (place,) * dims, (0.2,) * dims) for place in (0.22, 0.76))
    return {
        "overlapping": (large, ellipsoid(shape, (0.53,) * dims, (0.3, 0.33, 0.29)[:dims])),
        "apart": (first, second),
        "unequal": (large, ellipsoid(shape, (0.52,) * dims, (0.04,) * dims)),
    }


def interleaved(ways: dict[str, Way], repeats: int, *arguments: object) -> dict[str, float]:
    """The least seconds of every way, after one run each to warm up; their numbers must agree."""
    numbers = {name: way(*arguments) for name, way in ways.items()}
    for own, peer in (("pixelwise", "MONAI"), ("pixelwise area", "surface-distance")):
        for name, values in numbers.items():
            if name.startswith(peer):  # MONAI computes in float32
                np.testing.assert_allclose(values, numbers[own][: len(values)], 1e-6, 1e-5)
    seconds = dict.fromkeys(ways, np.inf)
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way(*arguments)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def main() -> None:
    warnings.simplefilter("ignore")  # both peers use names that their dependencies have deprecated
    threads = torch.get_num_threads()
    ways: dict[str, Way] = {
        "pixelwise": with_pixelwise,
        "MONAI 95, 1 thread": with_monai(1, average=False),
        "MONAI 95": with_monai(threads, average=False),
        "MONAI both, 1 thread": with_monai(1, average=True),
        "MONAI both": with_monai(threads, average=True),
        "pixelwise area": with_areas,
        "surface-distance": with_deepmind,
    }
    print(f"{threads} threads, load {os.getloadavg()[0]:.2f}; least ms, ratio to pixelwise\n")
    print("| masks | spacing | pixelwise | MONAI 95 alone | MONAI both | pixelwise area | surface-distance |")
    print("|---|---|---|---|---|---|---|")
    shapes: list[tuple[tuple[int, ...], tuple[float, ...], int]] = [
        ((512, 512), (1.0, 1.0), 30),
        ((96, 96, 64), (1.0, 1.0, 1.0), 20),
        ((96, 96, 64), (0.7, 0.7, 2.5), 20),
        ((192, 192, 128), (1.0, 1.0, 1.0), 7),
    ]
    for shape, spacing, repeats in shapes:
        for title, (a, b) in pairs(shape).items():
            times = {name: 1e3 * least for name, least in interleaved(ways, repeats, a, b, spacing).items()}
            own, own_area = times["pixelwise"], times["pixelwise area"]
            alone = min(times["MONAI 95"], times["MONAI 95, 1 thread"])
            both = min(times["MONAI both"], times["MONAI both, 1 thread"])
            peer = times["surface-distance"]
            print(
                f"| {title} {'x'.join(map(str, shape))} | {', '.join(f'{side:g}' for side in spacing)} "
                f"| {own:.2f} | {alone:.1f} ({alone / own:.1f}x) | {both:.1f} ({both / own:.1f}x) "
                f"| {own_area:.2f} | {peer:.1f} ({peer / own_area:.1f}x) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
