"""The training loop: steps, validation, limits, exact resume. Fabric does devices, precision and DDP."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from pixelwise import losses
from pixelwise.errors import DataError, UsageError
from pixelwise.inference.engines import available_cores
from pixelwise.metrics import ConfusionMatrix
from pixelwise.models.network import SegmentationNetwork
from pixelwise.sample import Dataset, Sample, Volume
from pixelwise.training.borders import with_needed_weights
from pixelwise.training.checkpoints import detached, load_checkpoint, save_checkpoint
from pixelwise.training.config import TrainConfig
from pixelwise.training.grouped import GroupedConvolutionsInFloat32
from pixelwise.training.loader import (
    Batch,
    SampleCache,
    epoch_order,
    pixels_of,
    steps_per_epoch,
    train_batches,
)
from pixelwise.training.run import Run, RunFolder
from pixelwise.training.schedule import rate_factor
from pixelwise.training.setup import (
    exponential_average,
    freeze_encoder,
    is_in_colour,
    make_augment,
    make_fabric,
    make_network,
    make_optimizer,
    set_training,
    takes_volumes,
    working_scale,
)
from pixelwise.training.signals import graceful_stop
from pixelwise.training.validation import count_tiles, count_whole

Progress = Callable[[dict[str, Any]], None]

_LOG_EVERY = 10  # steps
_SAVE_EVERY = 300  # seconds
_CACHE_BYTES = 256 << 20  # decoded samples, training and validation together


class Trainer:
    """Trains one network on one data set and leaves everything in a run folder.

    Parameters
    ----------
    config
        Settings without open questions (see :func:`~pixelwise.training.plan.make_plan`).
    train_set, val_set
        Samples with masks; volumes with masks for an architecture that takes volumes.
    folder
        Where checkpoints and metrics go.
    class_weights
        K float32, or None.
    progress
        Called with every line of ``metrics.jsonl``.
    transform
        A callable ``sample -> sample`` (or ``volume -> volume``) that runs after the augmentation.
    """

    def __init__(
        self,
        config: TrainConfig,
        train_set: Dataset[Sample] | Dataset[Volume],
        val_set: Dataset[Sample] | Dataset[Volume],
        folder: RunFolder,
        *,
        class_weights: np.ndarray | None = None,
        progress: Progress | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        assert config.size and config.batch and config.epochs and config.lr
        self.config = config
        self.folder = folder
        self.labels = train_set.labels
        self.progress = progress or (lambda line: None)
        self.train_cache = SampleCache(train_set, _CACHE_BYTES * 3 // 4, keep_instances=transform is not None)
        self.val_cache = SampleCache(val_set, _CACHE_BYTES // 4)
        self.threads = available_cores() if config.workers is None else config.workers
        self.augment = make_augment(config, self.labels.ignore, transform, is_in_colour(train_set[0]))

        self.fabric = make_fabric(config)
        weight = None if class_weights is None else torch.from_numpy(class_weights)
        self.loss = losses.create(
            config.loss,
            ignore_index=self.labels.ignore,
            class_weights=weight,
            **({"label_smoothing": config.label_smoothing} if config.label_smoothing else {}),
        )
        self.loss.to(self.fabric.device)
        if not takes_volumes(config):
            needs, ignore = self.loss.needs, self.labels.ignore
            self.train_cache.prepare = partial(with_needed_weights, needs=needs, ignore=ignore)
        elif self.loss.needs:
            raise UsageError(f"loss '{config.loss}' needs weight maps, which are made for images only")
        torch.manual_seed(config.seed)
        channels = pixels_of(self.train_cache[0]).shape[-1]  # only the first sample can tell
        self.raw = make_network(config, len(self.labels), channels)
        freeze_encoder(self.raw, config)
        optimizer = make_optimizer(self.raw, config)
        channels_last = torch.channels_last if self.raw.axes == 2 else torch.channels_last_3d
        self.raw = self.raw.to(memory_format=channels_last)
        self.network, self.optimizer = self.fabric.setup(self.raw, optimizer)
        self.average = (
            AveragedModel(self.raw, multi_avg_fn=exponential_average(config.ema)) if config.ema else None
        )
        mean, std = self.raw.preprocessing
        shape = (1, -1, *(1 for _ in range(self.raw.axes)))
        self.mean = torch.tensor(mean, device=self.fabric.device).view(shape)
        self.std = torch.tensor(std, device=self.fabric.device).view(shape)

        self.step = self.epoch = self.batch_in_epoch = self.validated_step = self.stale = 0
        self.best = -1.0
        self.stop_reason = ""
        self.interrupted = False
        self._asked_to_stop = ""
        self._clock = 0.0  # seconds after the last step, the same in every process
        self._started = time.monotonic()

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        assert self.config.epochs and self.config.batch
        images = len(self.train_cache.dataset)
        steps = self.config.epochs * steps_per_epoch(images, self.config.batch, self.config.accumulate)
        return min(steps, self.config.max_steps or steps)

    @property
    def to_judge(self) -> nn.Module:
        """The network that is validated and exported: the averaged one where there is one."""
        return self.average.module if self.average is not None else self.raw

    def fit(self) -> Run:
        """Train from where the trainer stands to the end; signals, limits and patience end it cleanly."""
        writer = None
        if self.fabric.is_global_zero:
            writer = SummaryWriter(str(self.folder.path), purge_step=self.step + 1)
        if self.step == 0:
            self.save()  # so that a run which dies in its first minutes can be resumed too
        self._check_limits()  # a resumed run may have reached one
        with (
            graceful_stop(self.interrupt),
            contextlib.closing(writer) if writer else contextlib.nullcontext(),
        ):
            while True:
                if self._validation_is_due():
                    self._log(self.validate(), writer)
                    self._check_limits()
                    self.save()
                if self._at_end():
                    break
                self._train_epoch(writer)
                self.save()
        reason = self.stop_reason or f"all {self.config.epochs} epochs are done"
        return Run(self.folder.path, not self.interrupted, reason, self.step, self.elapsed, self.best)

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, resumed parts included."""
        return time.monotonic() - self._started

    def _train_epoch(self, writer: SummaryWriter | None) -> None:
        config = self.config
        assert config.batch and config.lr
        order = epoch_order(
            len(self.train_cache.dataset),
            self.epoch,
            config.seed,
            config.batch,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        rest = order[self.batch_in_epoch :]
        batches = train_batches(
            self.train_cache, rest, self.augment, epoch=self.epoch, seed=config.seed, threads=self.threads
        )
        set_training(self.network, self.raw, config)
        losses_seen: list[Tensor] = []
        clock, images, saved = time.monotonic(), 0, time.monotonic()
        for batch in batches:
            self.batch_in_epoch += 1
            last = self.batch_in_epoch == len(order)
            stepping = self.batch_in_epoch % config.accumulate == 0 or last
            begun = (self.batch_in_epoch - 1) // config.accumulate * config.accumulate
            share = 1 / min(config.accumulate, len(order) - begun)
            losses_seen.append(self.forward_backward(batch, share, stepping))
            images += len(batch.pixels) * self.fabric.world_size
            if not stepping:
                continue
            rate = self.optimise()
            if self.step % _LOG_EVERY == 0 or last:
                now = time.monotonic()
                line = {
                    "kind": "train",
                    "step": self.step,
                    "epoch": self.epoch,
                    "loss": float(torch.stack(losses_seen).mean()),
                    "lr": rate,
                    "images_per_second": round(images / (now - clock), 2),
                    "seconds": round(self.elapsed, 2),
                    "total_steps": self.total_steps,
                }
                self._log(line, writer)
                losses_seen, clock, images = [], now, 0
            if time.monotonic() - saved > _SAVE_EVERY:
                self.save()
                saved = time.monotonic()
            self._check_limits()
            if self.stop_reason:
                break
        batches.close()  # type: ignore[attr-defined]
        if self.batch_in_epoch >= len(order):
            self.epoch, self.batch_in_epoch = self.epoch + 1, 0

    def forward_backward(self, batch: Batch, share: float = 1.0, stepping: bool = True) -> Tensor:
        """Add a batch's gradients times ``share``; ``stepping`` is False when more of its step follow."""
        # Seeded by the step: dropout needs no saved generator state to be the same after a resume.
        torch.manual_seed(
            hash((self.config.seed, self.epoch, self.batch_in_epoch, self.fabric.global_rank)) % 2**31
        )
        target = batch.target.to(self.fabric.device)
        weight = None if batch.weight is None else batch.weight.to(self.fabric.device)
        with self.fabric.no_backward_sync(self.network, enabled=not stepping):
            with GroupedConvolutionsInFloat32():
                output = self.network(self._normalise(batch.pixels))
            logits, auxiliary = (output, ()) if isinstance(output, Tensor) else output
            try:
                loss = self._loss_of(logits, target, weight)
            except DataError as error:  # a class id that the network does not have
                raise DataError(f"{self._sources(batch)}: {error}") from None
            for extra in auxiliary:
                loss = loss + self.raw.auxiliary_weight * self._loss_of(extra, target, weight)
            if not torch.isfinite(loss):
                raise DataError(
                    f"the loss became {float(loss.detach())} at step {self.step}; "
                    "lower --lr or use --precision fp32"
                )
            self.fabric.backward(loss * share)
        return loss.detach()

    def _sources(self, batch: Batch) -> str:
        """The images of a batch whose masks hold ids beyond the classes."""
        known = (batch.target < len(self.labels)) | (batch.target == self.labels.ignore)
        wrong = (~known).flatten(1).any(dim=1).tolist()
        samples = (self.train_cache.dataset[i] for i, bad in zip(batch.indices, wrong, strict=True) if bad)
        return ", ".join(str(sample.path or sample.name) for sample in samples) or "a mask"

    def _loss_of(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The loss at every ``loss_stride``-th pixel: at all of them, unless a paper shrinks its labels."""
        stride = self.raw.loss_stride
        if stride > 1:
            logits, target = logits[..., ::stride, ::stride], target[..., ::stride, ::stride]
            weight = None if weight is None else weight[..., ::stride, ::stride]
        loss: Tensor = self.loss(logits, target, weight)
        return loss

    def optimise(self) -> float:
        """Take one optimiser step and return the head's learning rate in it."""
        config = self.config
        assert config.lr
        progress = self.step / self.total_steps
        if config.max_minutes is not None:  # the schedule ends with the time, whichever limit comes first
            progress = max(progress, self._clock / (60 * config.max_minutes))
        rate = config.lr * rate_factor(config.schedule, progress, config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["relative_rate"]
        if config.clip:
            self.fabric.clip_gradients(
                self.network, self.optimizer, max_norm=config.clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.raw)
        self.step += 1
        return rate

    @torch.inference_mode()
    def validate(self) -> dict[str, Any]:
        """Measure the averaged weights on all validation images, remember them if they are the best."""
        network = self.to_judge.eval()
        self._share_batch_norms(network)
        matrix = ConfusionMatrix(len(self.labels), self.labels.ignore)
        working = working_scale(self.config)

        def forward(pixels: Tensor) -> Tensor:
            with self.fabric.autocast():
                logits: Tensor = network(self._normalise(pixels))
            return logits

        # Every rank takes each world_size-th image: no padding, so none is counted twice.
        own = range(self.fabric.global_rank, len(self.val_cache.dataset), self.fabric.world_size)
        if self.config.patches:
            window = self.config.window
            count_tiles(matrix, forward, self.val_cache, own, working=working, window=window)
        else:
            batch = self.config.batch or 1
            count_whole(
                matrix, forward, self.val_cache, own, working=working, batch=batch, threads=self.threads
            )
        counts = self.fabric.all_reduce(torch.from_numpy(matrix.counts.copy()), reduce_op="sum")
        matrix.counts[:] = torch.as_tensor(counts).cpu().numpy()
        mean_iou = float(matrix.mean_iou())
        if math.isnan(mean_iou):
            raise DataError(
                f"{self.val_cache.dataset.name}: no pixel of the validation masks has a class; check them"
            )
        self.validated_step = self.step
        self._remember_best(mean_iou)
        per_class = zip(self.labels.names, matrix.iou().tolist(), strict=True)
        return {
            "kind": "val",
            "step": self.step,
            "epoch": self.epoch,
            "mean_iou": mean_iou,
            "pixel_accuracy": float(matrix.pixel_accuracy()),
            "per_class_iou": {name: None if math.isnan(value) else value for name, value in per_class},
            "images": int(len(self.val_cache.dataset)),
            "best": self.best,
            "seconds": round(self.elapsed, 2),
        }

    def _remember_best(self, mean_iou: float) -> None:
        self.stale += 1
        if mean_iou > self.best:
            self.stale, self.best = 0, mean_iou
            state = {"network": detached(self.to_judge), "step": self.step, "mean_iou": mean_iou}
            if self.fabric.is_global_zero:
                save_checkpoint(self.folder.best, self.raw, state)

    def _share_batch_norms(self, network: nn.Module) -> None:
        """Give every process the mean of all running statistics: each has seen its own images only."""
        if self.fabric.world_size == 1:
            return
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.as_tensor(self.fabric.all_reduce(buffer.clone(), reduce_op="mean")))

    def _normalise(self, pixels: Tensor) -> Tensor:
        return (pixels.to(self.fabric.device).movedim(-1, 1).float() - self.mean) / self.std

    def _log(self, line: dict[str, Any], writer: SummaryWriter | None) -> None:
        if writer is None:
            return
        self.folder.log(line)
        for key, value in line.items():
            if isinstance(value, float):
                writer.add_scalar(f"{line['kind']}/{key}", value, line["step"])
        self.progress(line)

    def interrupt(self, reason: str) -> None:
        """Ask for a stop after the current step, unfinished: :meth:`resume` goes on from there."""
        self._asked_to_stop = reason

    def _check_limits(self) -> None:
        """Set ``stop_reason`` when a limit is reached or somebody asked; all processes agree on it."""
        config, limit = self.config, ""
        self._clock = self.elapsed
        if config.max_steps is not None and self.step >= config.max_steps:
            limit = f"the limit of {config.max_steps} steps is reached"
        elif config.max_minutes is not None and self._clock >= 60 * config.max_minutes:
            limit = f"the limit of {config.max_minutes:g} minutes is reached"
        elif config.patience is not None and self.stale >= config.patience:
            limit = f"no progress in {config.patience} validations"
        stop, asked = bool(limit), bool(self._asked_to_stop)
        if self.fabric.world_size > 1:
            own = torch.tensor([float(stop), float(asked), self._clock], dtype=torch.float64)
            flags = torch.as_tensor(self.fabric.all_reduce(own, reduce_op="max")).tolist()
            stop, asked, self._clock = bool(flags[0]), bool(flags[1]), flags[2]
        if stop:
            self.stop_reason = limit or "another process has reached a limit"
        elif asked:
            self.stop_reason = self._asked_to_stop or "another process was asked to stop"
            self.interrupted = True

    def _validation_is_due(self) -> bool:
        after_epoch = self.batch_in_epoch == 0 and self.epoch % self.config.validate_every == 0
        return self.step > self.validated_step and not self.interrupted and (after_epoch or self._at_end())

    def _at_end(self) -> bool:
        return bool(self.stop_reason) or self.epoch >= (self.config.epochs or 0)

    def save(self) -> None:
        """Write ``checkpoints/last.ckpt``: everything that an exact resume needs."""
        state = {
            "network": detached(self.raw),
            "average": None if self.average is None else detached(self.average),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "batch_in_epoch": self.batch_in_epoch,
            "validated_step": self.validated_step,
            "best": self.best,
            "stale": self.stale,
            "elapsed": self.elapsed,
        }
        if self.fabric.is_global_zero:
            save_checkpoint(self.folder.last, self.raw, state)

    def resume(self) -> None:
        """Take up ``checkpoints/last.ckpt``; on one device the result is the same, bit for bit.

        Not with ``max_minutes``: there the learning rate follows the clock.
        """
        state = load_checkpoint(self.folder.last, self.raw)
        self.raw.load_state_dict(state["network"])
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.epoch, self.batch_in_epoch = state["step"], state["epoch"], state["batch_in_epoch"]
        self.validated_step, self.best, self.stale = state["validated_step"], state["best"], state["stale"]
        self._started = time.monotonic() - state["elapsed"]
        if self.fabric.is_global_zero:
            self.folder.forget_after(self.step, self.validated_step)

    def best_network(self) -> SegmentationNetwork:
        """A copy of the network with the best validated weights, on the CPU."""
        network = copy.deepcopy(self.raw).cpu().float()
        network.load_state_dict(load_checkpoint(self.folder.best, self.raw)["network"])
        return network.eval()
