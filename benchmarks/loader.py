"""Loading against a torchvision v2 pipeline, and the first batch of a folder of 100,000 images.

Decode, augment, normalise, batch: CamVid at 480x360 into batches of 8, the same folder for both, taking
turns in one run. Ours runs in threads, torchvision's in a DataLoader at the worker count that suits it best
here. Both crop at a random scale, flip, rotate by up to 15 degrees and change colours; the peer decodes with
torchvision.io (libjpeg-turbo). Not quite like for like in the augmentation: see benchmarks/augment.py.

Run: python benchmarks/loader.py --data DIR [--rounds 3] [--images 100000]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import InterpolationMode, v2

import pixelwise as pw
from pixelwise.augment import Augment
from pixelwise.io import write_image, write_mask
from pixelwise.labels import LabelMap
from pixelwise.training.loader import SampleCache, epoch_order, train_batches

HEIGHT, WIDTH, BATCH = 360, 480, 8
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
BATCHES = 12


def ours(data: pw.Dataset, cached: bool) -> Callable[[], None]:
    cache = SampleCache(data, (1 << 31) if cached else 0)
    augment = Augment((HEIGHT, WIDTH), working_size=(HEIGHT, WIDTH), scale=(0.75, 2.0), rotate=15, blur=0)
    factor, offset = (1 / (255 * STD))[:, None, None], (-MEAN / STD)[:, None, None]
    order = epoch_order(BATCHES * BATCH, 0, 0, BATCH)

    def run() -> None:
        for batch in train_batches(cache, order, augment, epoch=0, seed=0, threads=os.cpu_count() or 1):
            torch.mul(batch.pixels.permute(0, 3, 1, 2), factor).add_(offset)

    return run


class Files(TorchDataset):
    """The same files through torchvision."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        fill = {tv_tensors.Mask: 255, "others": 0}
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop((HEIGHT, WIDTH), scale=(0.25, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.RandomAffine(15, interpolation=InterpolationMode.BILINEAR, fill=fill),
                v2.ColorJitter(0.25, 0.25, 0.25, 0.05),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.Normalize(MEAN.tolist(), STD.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.pairs[index]
        pixels = tv_tensors.Image(decode_image(image, ImageReadMode.RGB))
        labels = tv_tensors.Mask(decode_image(mask, ImageReadMode.UNCHANGED)[0])
        out, target = self.transform(pixels, labels)
        return out, target.long()


def torchvision(pairs: list[tuple[str, str]], workers: int) -> Callable[[], None]:
    def start(_: int) -> None:
        torch.set_num_threads(1)

    loader = DataLoader(
        Files(pairs), BATCH, num_workers=workers, worker_init_fn=start, persistent_workers=workers > 0
    )

    def run() -> None:
        for _ in loader:
            pass

    return run


def throughput(root: Path, rounds: int) -> None:
    data = pw.read(root, split="train")[: BATCHES * BATCH]
    pairs = [(str(sample.path), str(sample.meta["mask_path"])) for sample in data]
    sides = {"pixelwise": ours(data, False), "pixelwise, decoded images kept": ours(data, True)}
    for workers in (0, 1, 2):
        sides[f"torchvision v2, {workers} workers"] = torchvision(pairs, workers)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            if round_:  # the first round starts the workers and fills the cache
                times[name].append(time.perf_counter() - started)
    count = len(pairs)
    peer = min((name for name in times if name.startswith("torchvision")), key=lambda n: min(times[n]))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {count} images of {WIDTH}x{HEIGHT}\n")
    print("| | images/s, best | median | against the peer's best |")
    print("| --- | ---: | ---: | ---: |")
    for name, seconds in times.items():
        best, median = count / min(seconds), count / statistics.median(seconds)
        print(f"| {name} | {best:.0f} | {median:.0f} | {min(times[peer]) / min(seconds):.2f} |")


FIRST_BATCH = """
import sys, time
start = time.perf_counter()
import pixelwise as pw
from pixelwise.augment import Augment
from pixelwise.data import check
from pixelwise.training.loader import SampleCache, epoch_order, train_batches
imported = time.perf_counter()
data = pw.read(sys.argv[1])
read = time.perf_counter()
report = check(data)
checked = time.perf_counter()
order = epoch_order(len(data), 0, 0, 8)
batches = train_batches(SampleCache(data, 1 << 28), order, Augment((96, 96), working_size=(96, 96)),
                        epoch=0, seed=0, threads=2)
next(batches)
batches.close()
done = time.perf_counter()
print(f"| {len(data):,} | {imported - start:.2f} | {read - imported:.2f} | {checked - read:.2f} "
      f"| {done - checked:.2f} | {done - imported:.2f} |")
"""


def first_batch(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        labels = LabelMap(("road", "car"))
        write_image(root / "images" / "000000.jpg", np.zeros((96, 96, 3), np.uint8))
        write_mask(root / "masks" / "000000.png", np.eye(96, dtype=np.uint8), labels)
        (root / "classes.txt").write_text("road\ncar\n")
        for number in range(1, count):
            # A file system has a limit of names for one file.
            first = number // 10_000 * 10_000
            for kind, suffix in (("images", "jpg"), ("masks", "png")):
                target = root / kind / f"{number:06}.{suffix}"
                if number == first:
                    shutil.copy(root / kind / f"000000.{suffix}", target)
                else:
                    os.link(root / kind / f"{first:06}.{suffix}", target)
        environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}
        print("\n| images | import s | read s | check s | batch s | first batch after the import, s |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        for _ in range(4):  # the first one makes the check's memory
            subprocess.run([sys.executable, "-c", FIRST_BATCH, str(root)], env=environment, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=100_000)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(os.cpu_count() or 1)
    throughput(arguments.data, arguments.rounds)
    first_batch(arguments.images)


if __name__ == "__main__":
    main()
