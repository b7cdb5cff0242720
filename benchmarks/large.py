"""Labelling a large raster: peak memory of the whole process, and time beside the bare network's.

python benchmarks/large.py --model BUNDLE [--side 20000] [--tiles 512 1024] [--engine openvino]

Makes a tiled GeoTIFF of side x side pixels, labels it in a process of its own, and prints the peak memory of
that process, its time, and the time of as many runs of the bare network on one tile, measured in the same
process before and after.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PATCH = 512


def make_raster(path: Path, side: int) -> None:
    """Coarse noise, which is quick to make and to store."""
    import rasterio

    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": PATCH, "blockysize": PATCH, "compress": "deflate"}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.3, 0, 4e5, 0, -0.3, 5e6)}
    patches = [
        rng.integers(0, 256, (3, PATCH // 8, PATCH // 8), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        for _ in range(16)
    ]
    with rasterio.open(path, "w", photometric="rgb", **profile, **place) as file:
        for top in range(0, side, PATCH):
            for left in range(0, side, PATCH):
                height, width = min(PATCH, side - top), min(PATCH, side - left)
                patch = patches[rng.integers(len(patches))][:, :height, :width]
                file.write(patch, window=((top, top + height), (left, left + width)))


def measure(model: str, raster: Path, out: Path, tile: int, engine: str) -> dict[str, Any]:
    """What one process needs, as numbers; run in a fresh one."""
    import pixelwise as pw
    from pixelwise.inference.rasters import label_raster

    segmenter = pw.load(model, engine=engine, scale="native", tile=(tile, tile))
    pixels = np.random.default_rng(0).integers(0, 256, (1, tile, tile, 3), np.uint8)

    def bare() -> list[float]:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            segmenter.engine.run(pixels, "logits")
            times.append(time.perf_counter() - start)
        return times

    segmenter.engine.run(pixels, "logits")
    before = bare()
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    report = label_raster(segmenter, raster, out)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "tile": tile,
        "tiles": report.tiles,
        "seconds": seconds,
        "bare_tile": statistics.median(before + bare()),
        "loaded_mb": loaded / 1024,
        "peak_mb": peak / 1024,
        "engine": f"{segmenter.engine.name}, {segmenter.engine.precision}",
        "classes": len(segmenter.labels),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--measure", nargs=3, metavar=("RASTER", "OUT", "TILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        raster, out, tile = arguments.measure
        print(json.dumps(measure(arguments.model, Path(raster), Path(out), int(tile), arguments.engine)))
        return
    print("| raster | tile | tiles | peak MB (before) | s | tiles x bare s | ratio |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        raster = Path(folder) / "large.tif"
        make_raster(raster, arguments.side)
        for tile in arguments.tiles:
            command = [sys.executable, __file__, "--model", arguments.model, "--engine", arguments.engine]
            command += ["--measure", str(raster), f"{folder}/out.tif", str(tile)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            bare = found["tiles"] * found["bare_tile"]
            what = f"{arguments.side}x{arguments.side}, {found['classes']} classes, {found['engine']}"
            memory = f"{found['peak_mb']:,.0f} ({found['loaded_mb']:,.0f})"
            print(
                f"| {what} | {tile} | {found['tiles']} | {memory} | {found['seconds']:.1f} | {bare:.1f} "
                f"| {found['seconds'] / bare:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
