"""fp32, bf16 and int8 of one or more bundles, in openvino and in onnxruntime.

    python benchmarks/int8.py --data DIR --model BUNDLE [BUNDLE ...] [--rounds 15] [--size WxH] [--fast]

A bundle without an int8 graph gets one first, in a temporary folder: calibrated on the images of the
split ``train``, accepted on those of ``val`` (``--max-drop``). All engines and precisions of a bundle
then take turns on one image, from pixels in memory to the plane of classes; every turn is warmed up by
one call that is not timed, because the turn before it has emptied the processor's caches. The table has
the median and the minimum of the rounds, the median of the processor time on all cores (which other
programs stretch less), the speed as a multiple of openvino's bf16 (of fp32 where the CPU has no bf16) by
medians, mean IoU on ``val`` of what ``predict`` gives, and the share of its pixels that get the class
that openvino's fp32 gives.

``--fast`` leaves the scores out. ``--size`` times at that size instead of the bundle's working size.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import pixelwise as pw
from pixelwise.augment import resize_image
from pixelwise.bundles import Bundle, find_model
from pixelwise.errors import PixelwiseError
from pixelwise.inference import Segmenter
from pixelwise.metrics import ConfusionMatrix
from pixelwise.training.quantise import quantise

TURNS = (
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "fp32"),
    ("onnxruntime", "int8"),
)


def with_int8(bundle: Bundle, data: Any, max_drop: float, folder: Path) -> tuple[Bundle, str]:
    """The bundle itself if it has int8, or a copy that has; and how it came about."""
    if bundle.int8_graph is None:
        start = time.perf_counter()
        result = quantise(
            bundle, folder / "int8", list(data.select("train")), data.select("val"), max_drop=max_drop
        )
        bundle, made = result.bundle, f"made in {time.perf_counter() - start:.0f} s"
    else:
        made = "as it came"
    card = bundle.manifest.int8
    assert card is not None
    floats = f", in float: {', '.join(card.float_layers)}" if card.float_layers else ""
    return bundle, f"{made}: {card.method}{floats}"


def segmenters(bundle: Bundle) -> dict[tuple[str, str], Segmenter]:
    found = {}
    for engine, precision in TURNS:
        try:
            found[engine, precision] = Segmenter(bundle, engine, precision)
        except PixelwiseError as error:
            print(f"left out: {engine} {precision} ({error})")
    return found


def measure(
    turns: dict[tuple[str, str], Segmenter], pixels: np.ndarray, rounds: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Milliseconds by the clock and of the processor, per round."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in turns}
    for _ in range(rounds):
        for key, segmenter in turns.items():
            segmenter.engine.run(pixels, "labels")
            start, busy = time.perf_counter(), time.process_time()
            segmenter.engine.run(pixels, "labels")
            spent = (time.perf_counter() - start, time.process_time() - busy)
            found[key].append((spent[0] * 1e3, spent[1] * 1e3))
    return found


def score(turns: dict[tuple[str, str], Segmenter], val: Any) -> dict[Any, tuple[float, float]]:
    """Mean IoU of each, and the share of pixels that openvino's fp32 labels alike."""
    labels = next(iter(turns.values())).labels
    table, _ = labels.lookup_from(val.labels)
    matrices = {key: ConfusionMatrix(len(labels), labels.ignore) for key in turns}
    same = dict.fromkeys(turns, 0)
    total = 0
    for sample in val:
        reference = turns["openvino", "fp32"].predict(sample.image).mask
        total += reference.size
        for key, segmenter in turns.items():
            mask = reference if key == ("openvino", "fp32") else segmenter.predict(sample.image).mask
            matrices[key].update(mask, table[sample.mask])
            same[key] += int((mask == reference).sum())
    return {key: (float(matrices[key].mean_iou()), same[key] / total) for key in turns}


def report(bundle: Bundle, data: Any, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle, how = with_int8(bundle, data, arguments.max_drop, Path(folder))
        manifest = bundle.manifest
        working = manifest.working
        size = (working.height, working.width)
        if arguments.size:
            width, height = map(int, arguments.size.lower().split("x"))
            size = (height, width)
        encoder = manifest.arguments.get("encoder") or "its own encoder"
        at = f"timed at {size[1]}x{size[0]}"
        print(f"\n{manifest.name}: {manifest.architecture}, {encoder}, {at}; int8 {how}\n")
        turns = segmenters(bundle)
        pixels = resize_image(data.select("val")[0].image, size)[None]
        rounds = measure(turns, pixels, arguments.rounds)
        scores = {} if arguments.fast else score(turns, data.select("val"))
        base = statistics.median(t for t, _ in rounds.get(("openvino", "bf16")) or rounds["openvino", "fp32"])
        header = ("engine", "precision", "ms, median", "ms, best", "CPU ms", "speed", "mIoU %", "as fp32")
        print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
        for key, times in rounds.items():
            middle, processor = (statistics.median(part) for part in zip(*times, strict=True))
            numbers = [f"{middle:.1f}", f"{min(times)[0]:.1f}", f"{processor:.1f}", f"{base / middle:.2f}"]
            quality = [f"{scores[key][0] * 100:.2f}", f"{scores[key][1]:.4f}"] if scores else ["-", "-"]
            print(f"| {' | '.join([*key, *numbers, *quality])} |")
        assert bundle.int8_graph is not None
        floats = bundle.graph.stat().st_size + bundle.weights.stat().st_size
        print(
            f"\nsize: {floats / 1e6:.1f} MB, int8 {bundle.int8_graph.stat().st_size / 1e6:.1f} MB", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--max-drop", type=float, default=0.5)
    parser.add_argument("--size", metavar="WxH")
    parser.add_argument("--fast", action="store_true")
    arguments = parser.parse_args()
    data = pw.read(arguments.data)
    for model in arguments.model:
        try:
            report(find_model(model), data, arguments)
        except PixelwiseError as error:
            print(f"\n{model}: {error}", flush=True)


if __name__ == "__main__":
    main()
