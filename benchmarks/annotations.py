"""Annotations beside their peers: COCO files, run lengths and polygons, against pycocotools and OpenCV.

``python benchmarks/annotations.py [--polygons 1000000] [--repeats 5]`` measures, interleaved in one run:

- 1,000 masks of 480x640 (discs, and noise in a corner) to COCO's compressed text and back, against
  ``pycocotools.mask``; both must give the same text and the same pixels;
- painting 10,000 polygons of 20 corners, each with a value of its own, against ``cv2.fillPoly`` on corners
  that are rounded to whole pixels beforehand, as it needs them;
- reading a generated COCO file, 50 polygons of 20 corners an image, each in a process of its own, against
  ``pycocotools.coco.COCO``, which keeps the parsed tree, where pixelwise has checked arrays when it is done.

Times are minima, the ratio is peer by pixelwise: above 1 pixelwise is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as peer

from pixelwise.data.raster import paint
from pixelwise.kernels.runs import decode_runs, encode_runs, runs_to_text, text_to_runs
from pixelwise.shapes import Polygon, Shape

SIZE = 480, 640
MASKS, POLYGONS, CORNERS, PER_IMAGE = 1000, 10_000, 20, 50
CATEGORIES = 80

READERS = {
    "pixelwise": "from pixelwise.data.formats import coco; from pathlib import Path; "
    "x = coco.load(Path(sys.argv[1])); n = sum(len(i.shapes) for i in x.images)",
    "peer": "from pycocotools.coco import COCO; x = COCO(sys.argv[1]); n = len(x.anns)",
}
TIMED = (
    "import sys, time, resource, contextlib, io\n{imports}\nstart = time.perf_counter()\n"
    "with contextlib.redirect_stdout(io.StringIO()):\n    {body}\n"
    "seconds = time.perf_counter() - start\n"
    "print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, n)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--polygons", type=int, default=100_000, help="in the COCO file")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print(f"{'':42}{'pixelwise':>11}{'peer':>11}{'ratio':>8}")
    codec(arguments.repeats)
    raster(arguments.repeats)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        generate(path, arguments.polygons)
        reading(path, min(arguments.repeats, 2))


def codec(repeats: int) -> None:
    generator = np.random.default_rng(0)
    masks = [np.asfortranarray(random_mask(generator)) for _ in range(MASKS)]
    theirs = [peer.encode(mask) for mask in masks]
    texts = [code["counts"].decode() for code in theirs]
    for mask, text in zip(masks, texts, strict=True):
        assert runs_to_text(encode_runs(mask)) == text
        assert np.array_equal(decode_runs(text_to_runs(text), *SIZE), mask)
    row(
        f"{MASKS} masks to text",
        *fastest(
            lambda: [runs_to_text(encode_runs(mask)) for mask in masks],
            lambda: [peer.encode(mask) for mask in masks],
            repeats,
        ),
    )
    row(
        f"{MASKS} texts to masks",
        *fastest(
            lambda: [decode_runs(text_to_runs(text), *SIZE) for text in texts],
            lambda: [peer.decode(code) for code in theirs],
            repeats,
        ),
    )
    runs = [text_to_runs(text) for text in texts]
    plain = [{"size": [*SIZE], "counts": lengths.tolist()} for lengths in runs]
    row(
        f"{MASKS} run lengths to text (lists for the peer)",
        *fastest(
            lambda: [runs_to_text(lengths) for lengths in runs],
            lambda: [peer.frPyObjects(code, *SIZE) for code in plain],
            repeats,
        ),
    )


def random_mask(generator: np.random.Generator) -> np.ndarray:
    """A few discs, and noise in a corner so that there are short runs too."""
    mask = np.zeros(SIZE, np.uint8)
    for _ in range(int(generator.integers(1, 5))):
        centre = tuple(int(c) for c in generator.integers(0, SIZE[::-1]))
        cv2.circle(mask, centre, int(generator.integers(5, 120)), 1, -1)
    mask[:40, :40] = generator.random((40, 40)) < generator.random()
    return mask


def raster(repeats: int) -> None:
    generator = np.random.default_rng(0)
    outlines = stars(generator, POLYGONS)
    shapes = [Shape("", Polygon.of(outline)) for outline in outlines]
    values = [position % 250 + 1 for position in range(POLYGONS)]
    rounded = [np.round(outline).astype(np.int32) for outline in outlines]
    canvas, other = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)

    def fill() -> None:
        for outline, value in zip(rounded, values, strict=True):
            cv2.fillPoly(other, [outline], value)

    row(f"{POLYGONS} polygons to pixels", *fastest(lambda: paint(canvas, shapes, values), fill, repeats))


def stars(generator: np.random.Generator, count: int) -> np.ndarray:
    """N×20×2: outlines of 20 corners around random places, 5 to 40 pixels wide."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    centres = generator.uniform((40, 40), (SIZE[1] - 40, SIZE[0] - 40), (count, 2))[:, None]
    radii = generator.uniform(5, 40, (count, CORNERS, 1))
    return np.round(centres + radii * np.stack([np.cos(angles), np.sin(angles)], 1), 2)


def generate(path: Path, polygons: int) -> None:
    generator = np.random.default_rng(0)
    images = -(-polygons // PER_IMAGE)
    with path.open("w") as file:
        file.write('{"images": [')
        for number in range(images):
            record = {"id": number, "file_name": f"{number:012}.jpg", "height": SIZE[0], "width": SIZE[1]}
            file.write(("," if number else "") + json.dumps(record))
        file.write('],\n"annotations": [')
        for number in range(images):
            outlines = stars(generator, min(PER_IMAGE, polygons - number * PER_IMAGE)).reshape(
                -1, 2 * CORNERS
            )
            for place, outline in enumerate(outlines.tolist(), number * PER_IMAGE):
                box = [*outline[:2], 30.5, 20.25]
                record = {"id": place + 1, "image_id": number, "category_id": place % CATEGORIES + 1}
                record |= {"segmentation": [outline], "area": 123.5, "iscrowd": 0, "bbox": box}
                file.write(("," if place else "") + json.dumps(record))
        names = [{"id": i + 1, "name": f"class {i}", "supercategory": "x"} for i in range(CATEGORIES)]
        file.write(f'],\n"categories": {json.dumps(names)}}}')


def reading(path: Path, repeats: int) -> None:
    results: dict[str, list[tuple[float, float, int]]] = {name: [] for name in READERS}
    for _ in range(repeats):
        for name, code in READERS.items():
            *imports, body, count = code.split("; ")
            program = TIMED.format(imports="; ".join(imports), body=f"{body}; {count}")
            done = subprocess.run(
                [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
            )
            seconds, gigabytes, found = done.stdout.split()
            results[name].append((float(seconds), float(gigabytes), int(found)))
    (ours, memory, count), (theirs, other, found) = (min(results[name]) for name in READERS)
    assert count == found
    row(f"COCO file, {count} polygons, {path.stat().st_size / 1e6:.0f} MB", ours, theirs)
    print(f"{'  peak memory, GB':42}{memory:>11.2f}{other:>11.2f}")


def fastest(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds, the least of several, in turns; the first call of each is not counted."""
    times: tuple[list[float], list[float]] = [], []
    for number in range(repeats + 1):
        for function, found in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            function()
            if number:
                found.append(time.perf_counter() - start)
    return min(times[0]), min(times[1])


def row(name: str, ours: float, theirs: float) -> None:
    print(f"{name:42}{ours:>9.3f} s{theirs:>9.3f} s{theirs / ours:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
