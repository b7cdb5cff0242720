"""The dense CRF against pydensecrf2 (C++ with SSE, one thread), same parameters, same photograph.

Both take an image and probabilities and give probabilities; the time is of all that, their set-up included
(the peer's unary from `unary_from_softmax`, the copy of its result into an array). They take turns in one
run; the table has seconds (the minimum of the rounds), the ratio of minima and that of medians, the seconds
of processor time on all cores together (which other programs on the machine stretch less), the share of
pixels with the same label and the mean difference of probabilities. Peak memory is of a fresh process each,
above what it had before the call.

The photograph is scikit-learn's china.jpg (427x640), cut to size, or enlarged where it is too small. The
probabilities are smooth random fields with noise on top, at a thirty-second of the resolution.

Run: pip install pydensecrf2 scikit-learn; python benchmarks/crf.py [--rounds 5] [--image FILE] [--large]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import pydensecrf.densecrf as densecrf
from pydensecrf.utils import unary_from_softmax

from pixelwise.io import read_image
from pixelwise.refine import DEEPLAB, KRAHENBUHL_KOLTUN, CrfParameters

SIZES, CLASSES, LARGE = ((320, 480), (512, 512)), 21, (1024, 2048, 19)


def photograph(path: Path | None, height: int, width: int) -> np.ndarray:
    if path is None:
        from sklearn.datasets import load_sample_image

        image = load_sample_image("china.jpg")
    else:
        image = read_image(path)
    if image.shape[0] < height or image.shape[1] < width:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(image[:height, :width])


def guess(classes: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    logits = np.empty((classes, height, width), np.float32)
    for plane in logits:
        coarse = rng.normal(0, 3, (height // 32, width // 32)).astype(np.float32)
        plane[:] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        plane += rng.normal(0, 0.3, plane.shape).astype(np.float32)
    parts = np.exp(logits - logits.max(axis=0))
    return parts / parts.sum(axis=0)


def ours(image: np.ndarray, probabilities: np.ndarray, p: CrfParameters) -> np.ndarray:
    return p.apply(image, probabilities)


def peer(image: np.ndarray, probabilities: np.ndarray, p: CrfParameters) -> np.ndarray:
    classes, height, width = probabilities.shape
    crf = densecrf.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    crf.addPairwiseGaussian(sxy=p.gaussian_sxy, compat=p.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=p.bilateral_sxy, srgb=p.bilateral_srgb, rgbim=image, compat=p.bilateral_weight
    )
    return np.array(crf.inference(p.iterations)).reshape(probabilities.shape)


SIDES = {"ours": ours, "peer": peer}


def peak(side: str, image: np.ndarray, probabilities: np.ndarray, p: CrfParameters) -> float:
    """Megabytes above what a fresh process has before the call (Linux)."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (side, image, probabilities, p))


def _peak(side: str, image: np.ndarray, probabilities: np.ndarray, p: CrfParameters) -> float:
    corner = np.ascontiguousarray(image[:64, :64]), np.ascontiguousarray(probabilities[:, :64, :64])
    SIDES[side](*corner, p)
    status = Path("/proc/self/status")

    def kilobytes(name: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))

    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    SIDES[side](image, probabilities, p)
    return (kilobytes("VmHWM") - before) / 1024


def compare(image: np.ndarray, probabilities: np.ndarray, p: CrfParameters, rounds: int) -> None:
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    processor: dict[str, list[float]] = {"ours": [], "peer": []}
    results = {}
    SIDES["ours"](image[:64, :64], probabilities[:, :64, :64], p)  # loads the compiled kernels
    for _ in range(rounds):
        for name, run in SIDES.items():
            started = time.perf_counter(), time.process_time()
            results[name] = run(image, probabilities, p)
            seconds[name].append(time.perf_counter() - started[0])
            processor[name].append(time.process_time() - started[1])
    least = {name: min(values) for name, values in seconds.items()}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    memory = {name: peak(name, image, probabilities, p) for name in SIDES}
    same = (results["ours"].argmax(axis=0) == results["peer"].argmax(axis=0)).mean()
    classes, height, width = probabilities.shape
    cells = [
        f"{height}x{width}, {classes} classes",
        f"{p.gaussian_sxy:g}, {p.bilateral_sxy:g}/{p.bilateral_srgb:g}",
        f"{p.iterations}",
        f"{least['peer']:.3f}",
        f"{least['ours']:.3f}",
        f"{least['peer'] / least['ours']:.1f}",
        f"{middle['peer'] / middle['ours']:.1f}",
        f"{min(processor['peer']):.3f}",
        f"{min(processor['ours']):.3f}",
        f"{same:.6f}",
        f"{np.abs(results['ours'] - results['peer']).mean():.0e}",
        f"{memory['peer']:.0f}",
        f"{memory['ours']:.0f}",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--large", action="store_true", help="only 1024x2048 with 19 classes, one round")
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {arguments.rounds} rounds\n")
    heads = "image | kernels | iterations | peer s | s | ratio | of medians | peer CPU s | CPU s | same | dQ"
    print(f"| {heads} | peer MB | MB |")
    print("| --- " * 2 + "| ---: " * 11 + "|")
    if arguments.large:
        image, probabilities = photograph(arguments.image, *LARGE[:2]), guess(LARGE[2], *LARGE[:2])
        compare(image, probabilities, DEEPLAB, 1)
        return
    for size in SIZES:
        image, probabilities = photograph(arguments.image, *size), guess(CLASSES, *size)
        for preset in (KRAHENBUHL_KOLTUN, DEEPLAB):
            for iterations in (5, 10):
                parameters = CrfParameters(**{**vars(preset), "iterations": iterations})
                compare(image, probabilities, parameters, arguments.rounds)


if __name__ == "__main__":
    main()
