"""Every image network on CamVid under one budget, and the claims of the KSAC and GCN papers.

    python benchmarks/networks.py --data DIR --out DIR [--runs fcn8s unet ...] [--epochs 8] [--size 240x180]
    python benchmarks/networks.py --out DIR --report [--speed]

Practical variants on tf_efficientnet_lite0 with the packaged ImageNet weights, 240x180, the same images in
the same order, the same augmentation, optimiser and schedule for all; nothing is tuned for one of them. The
scores are those of the weights after the LAST step, computed in float32: nothing is chosen on them. A run
that was stopped goes on where it was, one that is done is not repeated. ``--report`` prints the tables of
what is done; with ``--speed`` it measures prediction too, one image of 240x180 at a time on openvino in
float32, the networks taking turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import pixelwise as pw
from pixelwise import models
from pixelwise.augment import resize_sample
from pixelwise.bundles import WorkingScale
from pixelwise.data import check
from pixelwise.inference.engines import create_engine
from pixelwise.io import write_json
from pixelwise.labels import LabelMap
from pixelwise.metrics import ConfusionMatrix
from pixelwise.training.config import make_config
from pixelwise.training.export import export_bundle
from pixelwise.training.loop import Trainer
from pixelwise.training.plan import class_weights, make_plan
from pixelwise.training.run import RunFolder
from pixelwise.training.setup import choose_precision

BATCH = 8
SPEED_SIZE = (180, 240)
BAND = 3
"""Pixels on either side of an edge between classes that count as its band."""

# At output stride 8 the deepest map is 30x23, about what the papers' 513-pixel crops give at stride 16: at
# stride 16 it would be 15x12, where a 3x3 kernel of rate 18 has no second tap inside the map.
_CONTEXT = {"output_stride": 8}
_ASPP = {**_CONTEXT, "separable": False}

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (name, {})
        for name in (
            "deeplabv3plus",
            "unet",
            "fcn8s",
            "fcn16s",
            "fcn32s",
            "gcn",
            "ksac",
            "deeplabv3",
            "deeplabv2",
            "deeplabv1",
            "fcn",
        )
    },
    "gcn, no refinement": ("gcn", {"boundary_refinement": False}),
    "aspp 6-12-18": ("deeplabv3plus", {**_ASPP, "rates": [6, 12, 18]}),
    "ksac 6-12-18": ("ksac", {**_CONTEXT, "rates": [6, 12, 18]}),
    "aspp 6-12-18-24": ("deeplabv3plus", {**_ASPP, "rates": [6, 12, 18, 24]}),
    "ksac 6-12-18-24": ("ksac", {**_CONTEXT, "rates": [6, 12, 18, 24]}),
}


def make_trainer(data: Any, val: Any, name: str, epochs: int, size: tuple[int, int], path: Path) -> Trainer:
    """A new trainer for one run, or the one that was stopped."""
    arch, options = RUNS[name]
    settings = {"arch": arch, "options": options, "size": size[::-1], "batch": BATCH}
    config = make_config({**settings, "epochs": epochs, "validate_every": epochs})
    report = check(data)
    config = make_plan(config, data, report).config
    config = config.model_copy(update={"precision": choose_precision("cpu")[0]})
    folder = RunFolder(path)
    started = folder.last.is_file()
    if not started:
        folder.create(config, {}, {}, {})
    weights = class_weights(config.class_weights, data, report)
    trainer = Trainer(config, data, val, folder, class_weights=weights)
    if started:
        trainer.resume()
    return trainer


@torch.inference_mode()
def judge(trainer: Trainer, val: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Scores at working size: of all pixels, inside regions, and in the band around edges between classes."""
    network, ignore = trainer.to_judge.eval(), val.labels.ignore
    matrix = ConfusionMatrix(len(val.labels), ignore)
    near, far = ConfusionMatrix(len(val.labels), ignore), ConfusionMatrix(len(val.labels), ignore)
    kernel = np.ones((2 * BAND + 1, 2 * BAND + 1), np.uint8)
    for sample in val:
        small = resize_sample(sample, size)
        pixels = torch.from_numpy(small.image[None])
        labels = network(trainer._normalise(pixels)).argmax(1)[0].numpy().astype(np.uint8)
        # An edge is where the 3x3 neighbourhood holds two classes; the ignored id makes no edge of its own.
        known = small.mask != ignore
        low = cv2.erode(np.where(known, small.mask, 255).astype(np.uint8), np.ones((3, 3), np.uint8))
        high = cv2.dilate(np.where(known, small.mask, 0).astype(np.uint8), np.ones((3, 3), np.uint8))
        band = cv2.dilate((known & (low != high)).astype(np.uint8), kernel) > 0
        matrix.update(labels, small.mask)
        near.update(labels, np.where(band, small.mask, ignore))
        far.update(labels, np.where(band, ignore, small.mask))
    return {
        "mean_iou": float(matrix.mean_iou()),
        "pixel_accuracy": float(matrix.pixel_accuracy()),
        "band_accuracy": float(near.pixel_accuracy()),
        "interior_accuracy": float(far.pixel_accuracy()),
        "band_iou": float(near.mean_iou()),
        "interior_iou": float(far.mean_iou()),
    }


def run_folder(out: Path, name: str) -> Path:
    """Where a run keeps its checkpoints and its result."""
    return out / name.replace(", ", "-").replace(" ", "-")


def train(name: str, data: Any, val: Any, epochs: int, size: tuple[int, int], out: Path) -> None:
    """One run from wherever it stands to its result file."""
    path, result = run_folder(out, name), run_folder(out, name) / "result.json"
    if result.is_file():
        return
    trainer = make_trainer(data, val, name, epochs, size, path)
    run = trainer.fit()
    if not run.finished:
        raise SystemExit(f"{name}: {run.reason}")
    found = judge(trainer, val, size)
    write_json(result, {"name": name, **found, "epochs": epochs, "minutes": run.seconds / 60})
    print(f"{name}: {json.dumps(found)}, {run.seconds / 60:.1f} minutes", flush=True)


ROUNDS = 12


def measure_speed(names: list[str]) -> dict[str, float]:
    """Images a second of each network's bundle, the median of rounds in which all take turns."""
    labels = LabelMap(tuple(f"class {i}" for i in range(11)))
    image = np.random.default_rng(0).integers(0, 256, (1, *SPEED_SIZE, 3), np.uint8)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        engines = {}
        for name in names:
            arch, options = RUNS[name]
            network = models.create(arch, 11, **options)
            path = Path(folder) / str(len(engines))
            working = WorkingScale(rule="native", height=SPEED_SIZE[0], width=SPEED_SIZE[1])
            bundle = export_bundle(network, path, name=arch, labels=labels, working=working)
            engines[name] = create_engine(bundle, "openvino", precision="fp32")
        for _ in range(ROUNDS):
            for name, engine in engines.items():
                engine.run(image, "labels")
                start = time.perf_counter()
                engine.run(image, "labels")
                seconds[name].append(time.perf_counter() - start)
    return {name: 1 / statistics.median(times) for name, times in seconds.items()}


def report(out: Path, speed: bool) -> None:
    """Print the tables of the runs that are done."""
    found = {}
    for name in RUNS:
        result = run_folder(out, name) / "result.json"
        if result.is_file():
            found[name] = json.loads(result.read_text())
    rates = measure_speed(list(found)) if speed else {}
    rows = {row["name"]: row for row in models.list()}
    header = "| network | epochs | mIoU | pixel accuracy | interior | band | parameters | GFLOPs | images/s |"
    print(header + "\n|---|---|---|---|---|---|---|---|---|")
    for name, result in found.items():
        arch, options = RUNS[name]
        with torch.device("meta"):
            parameters = sum(p.numel() for p in models.create(arch, 21, **options).parameters())
        gflops = "-" if options else f"{rows[arch]['gflops']:.1f}"
        rate = f"{rates[name]:.0f}" if name in rates else "-"
        accuracies = " | ".join(
            f"{result[key]:.3f}"
            for key in ("mean_iou", "pixel_accuracy", "interior_accuracy", "band_accuracy")
        )
        epochs = result.get("epochs", "-")
        print(f"| {name} | {epochs} | {accuracies} | {parameters / 1e6:.2f} M | {gflops} | {rate} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", default="240x180", metavar="WxH")
    parser.add_argument("--split", default="val", help="what to judge on")
    arguments = parser.parse_args()
    if arguments.report:
        report(arguments.out, arguments.speed)
        return
    if arguments.data is None:
        parser.error("give --data DIR to train on, or --report")
    data, val = pw.read(arguments.data, split="train"), pw.read(arguments.data, split=arguments.split)
    width, height = map(int, arguments.size.split("x"))
    for name in arguments.runs:
        train(name, data, val, arguments.epochs, (height, width), arguments.out)


if __name__ == "__main__":
    main()
