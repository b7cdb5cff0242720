"""Augmentation against torchvision v2: 512x512 uint8 with a mask to a normalised 384x384 tensor.

Both sides crop at a random scale, flip, rotate by up to 15 degrees, change colours, and normalise to
float32 channels first, on one thread, taking turns in one run. Not quite like for like: torchvision also
jitters the crop's aspect ratio, interpolates twice (crop, then rotation) and shifts hue in HSV;
ours interpolates once and turns hue by a matrix.

Run: python benchmarks/augment.py [--rounds 60]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from pixelwise.augment import Augment
from pixelwise.sample import Sample

SIDE, CROP = 512, 384
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture() -> tuple[np.ndarray, np.ndarray]:
    """A smooth random picture with a mask of its brightness levels."""
    noise = np.random.default_rng(0).random((SIDE // 16, SIDE // 16, 3), np.float32)
    image = (cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)
    return image, image[..., 1] // 16


def ours() -> Callable[[], torch.Tensor]:
    image, mask = picture()
    augment = Augment((CROP, CROP), working_size=(CROP, CROP), scale=(0.75, 2.0), rotate=15, blur=0)
    rng = np.random.default_rng(0)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    factor, offset = 1 / (255 * std), -mean / std

    def run() -> torch.Tensor:
        augmented = augment(Sample(image, mask), rng)
        planes = torch.from_numpy(augmented.image).permute(2, 0, 1).contiguous().float()
        assert augmented.mask is not None
        return planes.mul_(factor).add_(offset)

    return run


def torchvision(hue: float) -> Callable[[], torch.Tensor]:
    image, mask = picture()
    pixels = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1).contiguous())
    labels = tv_tensors.Mask(torch.from_numpy(mask))
    fill = {tv_tensors.Mask: 255, "others": 0}
    transform = v2.Compose(
        [
            v2.RandomResizedCrop((CROP, CROP), scale=(0.25, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(15, interpolation=InterpolationMode.BILINEAR, fill=fill),
            v2.ColorJitter(0.25, 0.25, 0.25, hue),
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return lambda: transform(pixels, labels)[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)

    sides = {
        "pixelwise": ours(),
        "torchvision v2, no hue": torchvision(0.0),
        "torchvision v2": torchvision(0.02),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 3):
        for name, run in sides.items():
            start = time.perf_counter()
            result = run()
            elapsed = time.perf_counter() - start
            assert result.shape == (3, CROP, CROP)
            if turn >= 3:  # the first ones warm up
                seconds[name].append(elapsed)

    own = statistics.median(seconds["pixelwise"])
    print(f"{rounds} rounds, 1 thread, load {os.getloadavg()[0]:.1f}")
    print(f"{'':24}{'min ms':>8}{'median ms':>11}{'ratio':>8}")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:24}{min(times) * 1e3:8.2f}{median * 1e3:11.2f}{median / own:8.1f}")


if __name__ == "__main__":
    main()
