"""Training beside a plain segmentation_models_pytorch loop: the same network, data, batch and epochs.

    python benchmarks/training.py --data DIR [--epochs 30] [--rounds 3]

DIR has CamVid's SegNet layout. Both train DeepLab v3+ on tf_efficientnet_lite0 with the packaged ImageNet
weights, batch 8, on images resized to 240x180, and are judged on the validation masks at that size.

The peer is the loop that people write: float32, AdamW with a cosine schedule, cross-entropy, random flips,
everything decoded and resized beforehand. Speed first, the two taking turns in one run (the peer with its
better thread count); then accuracy after all epochs, one after the other (skip it with --epochs 0).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

import pixelwise as pw
from pixelwise.augment import resize_sample
from pixelwise.data import check
from pixelwise.inference.engines import available_cores
from pixelwise.metrics import ConfusionMatrix
from pixelwise.models.encoders.weights import timm_state_dict
from pixelwise.sample import Dataset, Sample
from pixelwise.training.config import make_config
from pixelwise.training.loader import epoch_order, train_batches
from pixelwise.training.loop import Trainer
from pixelwise.training.plan import class_weights, make_plan
from pixelwise.training.run import RunFolder
from pixelwise.training.setup import choose_precision, set_training

SIZE, BATCH = (180, 240), 8
ENCODER = "tf_efficientnet_lite0"
WARM_UP, STEPS = 3, 12


class Peer:
    """A plain float32 loop around segmentation_models_pytorch."""

    def __init__(self, train_set: Dataset[Sample], val_set: Dataset[Sample], epochs: int) -> None:
        torch.manual_seed(0)
        self.classes = len(train_set.labels)
        self.network = smp.DeepLabV3Plus(f"timm-{ENCODER}", encoder_weights=None, classes=self.classes)
        state, _ = timm_state_dict(ENCODER, "imagenet")
        own = self.network.encoder.state_dict()
        for (name, tensor), weight in zip(own.items(), state.values(), strict=False):
            assert tensor.shape == weight.shape, name
            tensor.copy_(weight)
        self.train, self.val = self.decode(train_set), self.decode(val_set)
        self.order = np.random.default_rng(0)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3, weight_decay=0.01)
        steps = max(1, epochs) * (len(train_set) // BATCH)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)

    @staticmethod
    def decode(data: Dataset[Sample]) -> tuple[Tensor, Tensor]:
        small = [resize_sample(sample, SIZE) for sample in data]
        pixels = torch.from_numpy(np.stack([s.image for s in small])).permute(0, 3, 1, 2)
        masks = np.stack([s.mask for s in small if s.mask is not None]).astype(np.int64)
        return ((pixels.float() - 127) / 128).contiguous(), torch.from_numpy(masks)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, masks = self.train
        order = torch.from_numpy(self.order.permutation(len(images)))
        for indices in order[: len(order) // BATCH * BATCH].split(BATCH):
            x, y = images[indices], masks[indices]
            if self.order.random() < 0.5:
                x, y = x.flip(3), y.flip(2)
            yield x, y

    def step(self, x: Tensor, y: Tensor) -> None:
        self.network.train()
        # The network wants sides divisible by 16: pad the bottom, as its error message says.
        x = nn.functional.pad(x, (0, 0, 0, -x.shape[2] % 16))
        loss = nn.functional.cross_entropy(self.network(x)[:, :, : SIZE[0]], y, ignore_index=255)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()

    @torch.inference_mode()
    def judge(self) -> ConfusionMatrix:
        self.network.eval()
        matrix = ConfusionMatrix(self.classes)
        for x, y in zip(*(part.split(BATCH) for part in self.val), strict=True):
            logits = self.network(nn.functional.pad(x, (0, 0, 0, -x.shape[2] % 16)))[:, :, : SIZE[0]]
            matrix.update(logits.argmax(1).numpy(), y.numpy())
        return matrix


def make_trainer(train_set: Dataset[Sample], val_set: Dataset[Sample], epochs: int, path: Path) -> Trainer:
    config = make_config({"size": (SIZE[1], SIZE[0]), "batch": BATCH, "epochs": max(1, epochs)})
    report = check(train_set)
    config = make_plan(config, train_set, report).config
    config = config.model_copy(update={"precision": choose_precision("cpu")[0]})
    folder = RunFolder(path)
    folder.create(config, {}, {}, {})
    weights = class_weights(config.class_weights, train_set, report)
    return Trainer(config, train_set, val_set, folder, class_weights=weights)


def our_steps(trainer: Trainer) -> Iterator[None]:
    """One optimiser step after another, loader and augmentation included."""
    order = [b for e in range(99) for b in epoch_order(len(trainer.train_cache.dataset), e, 0, BATCH)]
    set_training(trainer.network, trainer.raw, trainer.config)
    for batch in train_batches(
        trainer.train_cache, order, trainer.augment, epoch=0, seed=0, threads=trainer.threads
    ):
        trainer.forward_backward(batch)
        trainer.optimise()
        yield


def peer_steps(peer: Peer, threads: int) -> Iterator[None]:
    for x, y in (pair for _ in cycle([0]) for pair in peer.batches()):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        peer.step(x, y)
        torch.set_num_threads(before)
        yield


def compare_speed(train_set: Dataset[Sample], val_set: Dataset[Sample], rounds: int, path: Path) -> None:
    cores = available_cores()
    sides = {
        "pixelwise": our_steps(make_trainer(train_set, val_set, 30, path)),
        **{
            f"plain loop, {n} thread(s)": peer_steps(Peer(train_set, val_set, 30), n)
            for n in sorted({1, cores})
        },
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for steps in sides.values():
        list(islice(steps, WARM_UP))
    for _ in range(rounds):
        for name, steps in sides.items():
            start = time.perf_counter()
            list(islice(steps, STEPS))
            seconds[name].append((time.perf_counter() - start) / STEPS)
    own = statistics.median(seconds["pixelwise"])
    peer = min(statistics.median(times) for name, times in seconds.items() if name != "pixelwise")
    print(
        f"\n{rounds} rounds of {STEPS} steps, batch {BATCH}, {cores} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    print(f"| {'':26} | images/s, median | images/s, best |\n|---|---|---|")
    for name, times in seconds.items():
        print(f"| {name:26} | {BATCH / statistics.median(times):.1f} | {BATCH / min(times):.1f} |")
    print(f"\nratio to the better thread count: {peer / own:.2f}")


def compare_accuracy(train_set: Dataset[Sample], val_set: Dataset[Sample], epochs: int, path: Path) -> None:
    start = time.perf_counter()
    trainer = make_trainer(train_set, val_set, epochs, path)
    run = trainer.fit()
    last = [line for line in trainer.folder.history() if line["kind"] == "val"][-1]
    ours = time.perf_counter() - start
    print(f"\n| {epochs} epochs | val mIoU, last | val mIoU, best | minutes |\n|---|---|---|---|")
    print(f"| pixelwise | {last['mean_iou']:.4f} | {run.best_mean_iou:.4f} | {ours / 60:.1f} |", flush=True)

    start = time.perf_counter()
    peer = Peer(train_set, val_set, epochs)
    scores = []
    for _ in range(epochs):
        for x, y in peer.batches():
            peer.step(x, y)
        scores.append(peer.judge().mean_iou())
    theirs = time.perf_counter() - start
    print(f"| plain loop | {scores[-1]:.4f} | {max(scores):.4f} | {theirs / 60:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    train_set, val_set = pw.read(arguments.data, split="train"), pw.read(arguments.data, split="val")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.rounds:
            compare_speed(train_set, val_set, arguments.rounds, Path(folder) / "speed")
        if arguments.epochs:
            compare_accuracy(train_set, val_set, arguments.epochs, Path(folder) / "accuracy")


if __name__ == "__main__":
    main()
