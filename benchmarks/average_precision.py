"""Average precision of instances beside pycocotools and faster-coco-eval, interleaved in one run.

    pip install pycocotools faster-coco-eval
    python benchmarks/average_precision.py

Generated: 2,000 images of 640x480 with 20 classes, about 20,000 true masks (1 % of them crowds) and 21,000
detections with scores of two decimals, so that many are equal. Three tasks:

- files: from two JSON files to COCO's twelve numbers;
- arrays: from what is in memory already (run lengths as COCO's dicts; ours image by image, the peers' as the
  records of a data set) to the same numbers;
- boundary: as files, with the lesser one of mask IoU and boundary IoU, which pycocotools does not have.

The tables of precision must be equal.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import faster_coco_eval
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval

from pixelwise.kernels.runs import encode_runs, runs_to_text
from pixelwise.metrics import InstanceAveragePrecision, Instances

HEIGHT, WIDTH, CLASSES = 480, 640, 20


def blob(
    rng: np.random.Generator, centre: np.ndarray, radii: np.ndarray, wobble: np.ndarray
) -> dict[str, Any]:
    """A wavy ellipse as COCO's run lengths."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    reach = 1 + 0.15 * np.sin(angles * wobble[0] + wobble[1]) + rng.normal(0, 0.02, angles.size)
    outline = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radii * reach[:, None]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1)
    return {"size": [HEIGHT, WIDTH], "counts": runs_to_text(encode_runs(mask))}


def generate(images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO's truth and results."""
    rng = np.random.default_rng(0)
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(rng.poisson(9.9)):
            centre, radii = rng.uniform((0, 0), (WIDTH, HEIGHT)), np.exp(rng.normal(3.5, 0.7, 2))
            wobble, label = (
                np.array([rng.integers(2, 7), rng.uniform(0, 6)]),
                int(rng.integers(CLASSES)) * 3 + 1,
            )
            mask = blob(rng, centre, radii, wobble)
            record = {"image_id": image, "category_id": label, "segmentation": mask}
            area = float(pycocotools.mask.area(mask))
            box = pycocotools.mask.toBbox(mask).tolist()
            crowd = int(rng.random() < 0.01)
            truths.append(record | {"id": len(truths) + 1, "area": area, "bbox": box, "iscrowd": crowd})
            for _ in range(rng.binomial(2, 0.45)):
                moved = centre + rng.normal(0, 0.12, 2) * radii, radii * np.exp(rng.normal(0, 0.12, 2))
                score = round(float(rng.beta(5, 2)), 2)
                found.append(record | {"segmentation": blob(rng, *moved, wobble), "score": score})
        for _ in range(rng.poisson(1.7)):
            radii, label = np.exp(rng.normal(3.5, 0.7, 2)), int(rng.integers(CLASSES)) * 3 + 1
            mask = blob(rng, rng.uniform((0, 0), (WIDTH, HEIGHT)), radii, np.array([3, 0]))
            score = round(float(rng.beta(2, 4)), 2)
            found.append({"image_id": image, "category_id": label, "segmentation": mask, "score": score})
    rng.shuffle(found)
    sizes = [{"id": i, "height": HEIGHT, "width": WIDTH} for i in range(1, images + 1)]
    categories = [{"id": 3 * k + 1, "name": f"class {k}"} for k in range(CLASSES)]
    return {"images": sizes, "annotations": truths, "categories": categories}, found


def by_image(truth: dict[str, Any], found: list[dict[str, Any]]) -> list[tuple[Instances, Instances, int]]:
    """(prediction, target, id) of every image, as a model and a data set have them."""
    sides: dict[int, tuple[list[Any], list[Any]]] = {image["id"]: ([], []) for image in truth["images"]}
    for record in found:
        sides[record["image_id"]][0].append(record)
    for record in truth["annotations"]:
        sides[record["image_id"]][1].append(record)

    def instances(records: list[Any], scored: bool) -> Instances:
        return Instances(
            labels=np.array([record["category_id"] // 3 for record in records], np.int64),
            masks=[record["segmentation"] for record in records],
            scores=np.array([record["score"] for record in records]) if scored else None,
            crowd=None if scored else np.array([record["iscrowd"] for record in records], bool),
        )

    return [(instances(p, True), instances(t, False), image) for image, (p, t) in sides.items()]


def with_peer(kind: str, truth: Any, found: Any, peer: str) -> np.ndarray:
    if peer == "pycocotools":
        index, judge = pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval
    else:
        index, judge = faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster
    with contextlib.redirect_stdout(io.StringIO()):
        if isinstance(truth, dict):
            true = index()
            true.dataset = truth
            true.createIndex()
        else:
            true = index(str(truth))
        evaluation = judge(true, true.loadRes(found if isinstance(found, list) else str(found)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision: np.ndarray = evaluation.eval["precision"]
    return precision.reshape(10, 101, CLASSES, 4, 3)


def from_files(truth: Path, found: Path, kind: Any) -> np.ndarray:
    scores = InstanceAveragePrecision.from_coco(truth, found, kind).compute()
    scores.summary()
    return np.nan_to_num(scores.precision, nan=-1)


def from_arrays(images: list[tuple[Instances, Instances, int]]) -> np.ndarray:
    metric = InstanceAveragePrecision(CLASSES)
    for prediction, target, image in images:
        metric.update(prediction, target, image)
    scores = metric.compute()
    scores.summary()
    return np.nan_to_num(scores.precision, nan=-1)


def race(title: str, ways: dict[str, Callable[[], Callable[[], np.ndarray]]], repeats: int) -> None:
    """Time the ways in turn; each is prepared by its first call, outside of the time."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    tables = {}
    for _ in range(repeats):
        for name, prepare in ways.items():
            way = prepare()
            start = time.perf_counter()
            tables[name] = way()
            seconds[name].append(time.perf_counter() - start)
    ours = seconds["pixelwise"]
    head = ("min s", 8), ("median s", 9), ("min ratio", 10), ("median ratio", 13), ("differs by", 11)
    print(f"\n{title:18} " + " ".join(f"{name:>{width}}" for name, width in head))
    for name, times in seconds.items():
        least, middle = min(times), statistics.median(times)
        apart = np.abs(tables[name] - tables["pixelwise"]).max()
        ratios = f"{least / min(ours):>9.1f}x {middle / statistics.median(ours):>12.1f}x"
        print(f"{name:18} {least:>8.3f} {middle:>9.3f} {ratios} {apart:>11.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    truth, found = generate(options.images)
    images = by_image(truth, found)
    annotations = truth["annotations"]
    crowds = sum(record["iscrowd"] for record in annotations)
    print(
        f"{options.images} images, {len(annotations)} truths ({crowds} crowds), {len(found)} detections, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}"
    )
    peers = ("pycocotools", "faster-coco-eval")
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "truth.json", Path(folder) / "found.json"
        for path, content in zip(files, (truth, found), strict=True):
            path.write_text(json.dumps(content))
        from_files(*files, "boundary")  # compiles the kernels where that was not done before

        def peer_files(kind: str, peer: str) -> Callable[[], Callable[[], np.ndarray]]:
            return lambda: lambda: with_peer(kind, *files, peer)

        def peer_memory(peer: str) -> Callable[[], Callable[[], np.ndarray]]:
            def prepare() -> Callable[[], np.ndarray]:
                own = copy.deepcopy((truth, found))  # the peers write into the records
                return lambda: with_peer("segm", *own, peer)

            return prepare

        ways = {peer: peer_files("segm", peer) for peer in peers}
        race("files", ways | {"pixelwise": lambda: lambda: from_files(*files, "mask")}, options.repeats)
        ways = {peer: peer_memory(peer) for peer in peers}
        race("arrays", ways | {"pixelwise": lambda: lambda: from_arrays(images)}, options.repeats)
        ways = {"faster-coco-eval": peer_files("boundary", "faster-coco-eval")}
        ours = {"pixelwise": lambda: lambda: from_files(*files, "boundary")}
        race("boundary, files", ways | ours, max(2, options.repeats // 2))


if __name__ == "__main__":
    main()
