"""Batches for training and validation, prepared by threads ahead of the network.

Threads instead of torch's DataLoader processes: decoding, warping and table lookups all release the
interpreter lock, so threads use the cores just as well, share ONE cache of decoded images, start at
once and need no copy of every batch. What sample i looks like in epoch e depends on (seed, e, i) alone,
so nothing but the position has to be saved for an exact resume.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from pixelwise.errors import DataError, UsageError
from pixelwise.sample import Dataset, Sample, Volume

Item = Sample | Volume
"""What a training set holds."""


@dataclass(frozen=True)
class Batch:
    """Arrays of one step.

    Attributes
    ----------
    pixels
        B×H×W×C uint8; permuted to B×C×H×W it is already channels_last. Of volumes B×X×Y×Z×C float32,
        windowed to 0..255.
    target
        B×H×W int64 class ids; B×X×Y×Z of volumes.
    weight
        B×H×W float32 (the product of a sample's weight maps, or the one that the loss needs), or None.
    indices
        Positions in the data set.
    """

    pixels: Tensor
    target: Tensor
    weight: Tensor | None
    indices: tuple[int, ...]


class SampleCache:
    """Keeps decoded samples while they fit into a fixed budget of bytes; the rest is read each time.

    What must be done to every sample once, before it is kept, can be set as ``prepare``. After it instances
    are of no use to a training, and painting and warping them would cost time, so they are dropped unless
    ``keep_instances`` says that somebody else needs them.
    """

    prepare: Callable[[Any], Any] | None = None

    def __init__(self, dataset: Dataset[Any], budget: int, keep_instances: bool = False) -> None:
        self.dataset = dataset
        self.keep_instances = keep_instances
        self._kept: dict[int, Any] = {}
        self._left = budget
        self._lock = Lock()

    def __getitem__(self, index: int) -> Any:
        if index in self._kept:
            return self._kept[index]
        sample = self.dataset[index]
        if self.prepare is not None:
            sample = self.prepare(sample)
        if isinstance(sample, Sample) and not self.keep_instances:
            sample = sample.replace(instances=None)
        if isinstance(sample, Volume):
            arrays = [sample.array, sample.mask]
        else:
            arrays = [sample.image, sample.mask, sample.instances, *sample.weights.values()]
        cost = sum(array.nbytes for array in arrays if array is not None)
        with self._lock:
            if index not in self._kept and cost <= self._left:
                self._kept[index] = sample
                self._left -= cost
        return sample


def steps_per_epoch(images: int, batch: int, accumulate: int = 1) -> int:
    """Optimiser steps that :func:`epoch_order` gives.

    >>> steps_per_epoch(15, 8), steps_per_epoch(16, 8), steps_per_epoch(5, 8), steps_per_epoch(40, 8, 4)
    (1, 2, 1, 2)
    """
    return math.ceil(max(1, images // batch) / accumulate)


def epoch_order(
    count: int, epoch: int, seed: int, batch: int, rank: int = 0, ranks: int = 1
) -> list[list[int]]:
    """This rank's batches of one epoch: a permutation that depends on (seed, epoch) only.

    ``batch`` counts images over all ranks. The last, smaller batch is dropped unless it is the only one,
    because batch norm suffers from tiny batches; the permutation changes every epoch, so nothing is lost.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    batches = [order[i : i + batch] for i in range(0, count, batch)]
    if len(batches) > 1 and len(batches[-1]) < batch:
        batches.pop()
    if any(len(b) < ranks for b in batches):
        raise UsageError(
            f"a batch of {len(batches[-1])} cannot be shared by {ranks} processes; raise --batch"
        )
    return [b[rank::ranks] for b in batches]


def train_batches(
    cache: SampleCache,
    order: Sequence[Sequence[int]],
    transform: Callable[[Any, np.random.Generator], Item],
    *,
    epoch: int,
    seed: int,
    threads: int,
) -> Iterator[Batch]:
    """Augmented batches in the order given."""

    def prepare(index: int) -> Item:
        return transform(cache[index], np.random.default_rng([seed, epoch, index]))

    return _in_threads(order, prepare, threads)


def eval_batches(
    cache: SampleCache,
    indices: Sequence[int],
    transform: Callable[[Sample], Sample],
    *,
    batch: int,
    threads: int,
) -> Iterator[Batch]:
    """Every sample once, unaugmented; neighbours of the same size share a batch."""

    def prepare(index: int) -> Sample:
        return transform(cache[index])

    return _in_threads([indices[i : i + batch] for i in range(0, len(indices), batch)], prepare, threads)


def _in_threads(
    order: Sequence[Sequence[int]], prepare: Callable[[int], Item], threads: int
) -> Iterator[Batch]:
    if threads == 0:
        for indices in order:
            yield from _collate([prepare(i) for i in indices], indices)
        return
    before = cv2.getNumThreads()
    cv2.setNumThreads(0)  # one image per thread beats many threads per image
    with ThreadPoolExecutor(threads) as pool:
        todo = iter(order)

        def submit(indices: Sequence[int]) -> tuple[Sequence[int], list[Future[Item]]]:
            return indices, [pool.submit(prepare, i) for i in indices]

        waiting = deque(submit(indices) for indices in islice(todo, 3))
        try:
            while waiting:
                indices, futures = waiting.popleft()
                samples = [future.result() for future in futures]
                waiting.extend(submit(following) for following in islice(todo, 1))
                yield from _collate(samples, indices)
        finally:  # also when the consumer stops early
            for _, futures in waiting:
                for future in futures:
                    future.cancel()
            cv2.setNumThreads(before)


def _collate(samples: Sequence[Item], indices: Sequence[int]) -> Iterator[Batch]:
    """One batch, or several when sizes differ (validation only; training crops are all of one size)."""
    start = 0
    for end in range(1, len(samples) + 1):
        if end == len(samples) or pixels_of(samples[end]).shape != pixels_of(samples[start]).shape:
            yield _stack(samples[start:end], tuple(indices[start:end]))
            start = end


def _stack(samples: Sequence[Item], indices: tuple[int, ...]) -> Batch:
    target = np.stack([mask_of(sample) for sample in samples]).astype(np.int64)
    maps = [np.prod(list(s.weights.values()), axis=0) for s in samples if isinstance(s, Sample) and s.weights]
    weight = torch.from_numpy(np.stack(maps).astype(np.float32)) if maps else None
    pixels = torch.from_numpy(np.stack([pixels_of(sample) for sample in samples]))
    return Batch(pixels, torch.from_numpy(target), weight, indices)


def pixels_of(item: Item) -> np.ndarray:
    """H×W×C of an image; X×Y×Z×C of a volume, which often has no axis of channels."""
    if isinstance(item, Sample):
        return item.image
    return item.array if item.array.ndim == 4 else item.array[..., None]


def mask_of(item: Item) -> np.ndarray:
    """Its class ids; without any, DataError."""
    if item.mask is None:
        where = item.path or item.meta.get("name", "")
        raise DataError(f"{where}: no mask; leave it out of the data or label it")
    return item.mask
