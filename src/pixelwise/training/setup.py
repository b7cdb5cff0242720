"""What a training is made of: device and precision, network, optimiser, averaging, augmentation."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from pixelwise import models
from pixelwise.augment import Augment, VolumeAugment
from pixelwise.bundles import WorkingScale
from pixelwise.bundles.bundle import cache_folder
from pixelwise.errors import PixelwiseError, UsageError
from pixelwise.inference.engines import available_cores
from pixelwise.io import write_json
from pixelwise.models.encoders import DEFAULT_ENCODER
from pixelwise.models.encoders.weights import has_packaged_weights
from pixelwise.models.network import SegmentationNetwork
from pixelwise.sample import Dataset, Sample, Volume
from pixelwise.training.config import TrainConfig


def make_fabric(config: TrainConfig) -> Fabric:
    """Device, precision and, under torchrun, DDP."""
    for name in ("lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    accelerator, ranks = _accelerator(config.device), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if accelerator == "cpu" and _processes() == 1:
        torch.set_num_threads(available_cores())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=accelerator,
            devices=ranks,
            num_nodes=_processes() // ranks,
            # Own running statistics in every process; they are averaged before each validation.
            strategy=DDPStrategy(broadcast_buffers=False) if _processes() > 1 else "auto",
            precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        )
        fabric.launch()
    return fabric


def choose_precision(device: str) -> tuple[str, str]:
    """``bf16`` or ``fp32`` for ``--precision auto``, with the reason.

    That a CPU knows bfloat16 does not make it fast: without matrix units (AMX) it can be half as fast as
    float32, so a convolution is timed in both. It is timed once per machine and remembered, so that equal
    commands give equal runs; the choice is also stored with the run, for an exact resume.
    """
    accelerator = _accelerator(device)
    if accelerator != "cpu":
        fast = accelerator == "cuda" and torch.cuda.is_bf16_supported()
        return ("bf16" if fast else "fp32"), f"what {accelerator} does fast"
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "fp32", "this CPU has no bfloat16"
    if _processes() > 1:  # every process must choose the same, so nothing is timed
        return "fp32", "several processes on CPUs"
    memory = cache_folder(f"bf16-{platform.machine()}-torch-{torch.__version__}.json")
    if memory.is_file():
        ratio = float(json.loads(memory.read_text()))
    else:
        ratio = _seconds_of_convolution(torch.float32) / _seconds_of_convolution(torch.bfloat16)
        with contextlib.suppress(PixelwiseError):  # nowhere to remember it: time it again next time
            write_json(memory, round(ratio, 3))
    return (
        "bf16" if ratio > 1.15 else "fp32"
    ), f"a convolution in bf16 is {ratio:.1f} times as fast as in fp32"


def _seconds_of_convolution(kind: torch.dtype) -> float:
    """The best time of a typical training convolution, forward and backward."""
    pixels = torch.randn(4, 256, 45, 60).to(kind).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 1, 1).to(kind).requires_grad_()
    times = []
    for _ in range(4):
        start = time.perf_counter()
        nn.functional.conv2d(pixels, weight).sum().backward()
        times.append(time.perf_counter() - start)
    return min(times)


def _accelerator(device: str) -> str:
    """What Fabric calls the device; one that is not there raises UsageError."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, is_there in there.items() if is_there)
    if not there[device]:
        raise UsageError(f"there is no {device} device here; use --device cpu or auto")
    return device


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def takes_volumes(config: TrainConfig) -> bool:
    """Whether the architecture labels voxels of volumes, not pixels of images."""
    return config.arch in models.ARCHITECTURES and models.ARCHITECTURES[config.arch].task == "volume"


def check_kind(config: TrainConfig, data: Dataset[Any]) -> None:
    """Raise UsageError unless the architecture takes what the data set holds: images, or volumes."""
    holds_volumes = bool(len(data)) and isinstance(data[0], Volume)
    if len(data) and takes_volumes(config) != holds_volumes:
        kind, other = ("volumes", "images") if holds_volumes else ("images", "volumes")
        task = "volume" if holds_volumes else "image"
        fitting = [name for name, entry in models.ARCHITECTURES.items() if entry.task == task]
        raise UsageError(
            f"{data.name} holds {kind}, but '{config.arch}' labels {other}; use --arch {' or '.join(fitting)}"
        )


def make_network(config: TrainConfig, num_classes: int, in_channels: int = 3) -> SegmentationNetwork:
    """The network of a configuration, with its encoder's weights."""
    if config.head == "binary" and num_classes != 2:
        raise UsageError(f"head 'binary' needs exactly two classes, found {num_classes}; use head 'softmax'")
    weights = config.weights
    if weights == "auto":
        shipped = (
            config.variant == "default"
            and not takes_volumes(config)
            and has_packaged_weights(config.encoder or DEFAULT_ENCODER)
        )
        weights = "imagenet" if shipped else None
    return models.create(
        config.arch,
        1 if config.head == "binary" else num_classes,
        in_channels,
        encoder=config.encoder,
        variant=config.variant,
        weights=weights,
        **config.options,
    )


def make_optimizer(network: SegmentationNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or SGD with a rate per layer; biases and norms (one dimension) are not decayed.

    The head learns at the full rate, the encoder's deepest layer at ``encoder_lr`` of it, and every layer
    below at ``layer_decay`` of the one above.
    """
    assert config.lr
    relative = _relative_rates(network, config)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups.setdefault((relative.get(id(parameter), 1.0), parameter.ndim > 1), []).append(parameter)
    options = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "relative_rate": rate,
        }
        for (rate, decayed), parameters in groups.items()
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(options, lr=config.lr, momentum=0.9)
    return torch.optim.AdamW(options, lr=config.lr)


def _relative_rates(network: SegmentationNetwork, config: TrainConfig) -> dict[int, float]:
    """Rates of the encoder's parameters (by id) relative to the head's; layers are its numbered blocks."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in network.encoder.named_parameters() if network.encoder is not None else ():
        numbered = re.match(r".*?\.\d+", name)
        layers.setdefault(numbered[0] if numbered else "stem", []).append(parameter)
    rates = [config.encoder_lr * config.layer_decay**depth for depth in reversed(range(len(layers)))]
    return {id(p): rate for rate, parameters in zip(rates, layers.values(), strict=True) for p in parameters}


def freeze_encoder(network: SegmentationNetwork, config: TrainConfig) -> None:
    """Stop the encoder's gradients when only the head is trained."""
    if config.freeze_encoder:
        for parameter in network.encoder_parameters():
            parameter.requires_grad_(False)


def set_training(network: nn.Module, raw: SegmentationNetwork, config: TrainConfig) -> None:
    """Training mode, except for the batch norms that are to keep their statistics."""
    network.train()
    encoder = {id(parameter) for parameter in raw.encoder_parameters()}
    for module in raw.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            in_frozen_encoder = config.freeze_encoder and id(module.weight) in encoder
            if config.freeze_batch_norm or in_frozen_encoder:
                module.eval()


def working_scale(config: TrainConfig) -> WorkingScale:
    """How the trained model will look at images."""
    assert config.size
    if len(config.size) == 3:
        depth, height, width = config.size  # networks' names of the array's axes
        return WorkingScale(rule="native", depth=depth, height=height, width=width)
    width, height = config.size
    return WorkingScale(rule="native" if config.patches else "area", height=height, width=width)


def is_in_colour(sample: Sample | Volume) -> bool:
    """Whether channels are colours: not of slices whose channels are neighbouring slices."""
    return not sample.meta.get("reading", {}).get("neighbours")


def make_augment(
    config: TrainConfig, ignore: int, transform: Callable[[Any], Any] | None, in_colour: bool
) -> Callable[[Any, np.random.Generator], Any]:
    """The random warp and colours of a configuration, around the scale at which the model will work.

    For volumes: patches at their own scale, mirrored along every axis, with small changes of intensity.
    """
    assert config.size
    working = working_scale(config)
    strength = config.colour
    then = (transform,) if transform else ()
    if len(config.size) == 3:
        assert config.window
        return VolumeAugment(
            config.size,
            config.window,
            foreground=config.foreground,
            flip=(config.flip,) * 3,
            gain=0.1 * strength,
            gamma=0.1 * strength,
            shift=0.05 * strength,
            noise=0.03 * strength,
            ignore=ignore,
            then=then,
        )
    augment = Augment(
        size=(working.height, working.width),
        scale=config.scale_range,
        foreground=config.foreground if config.patches else 0.0,
        flip=config.flip,
        rotate=config.rotate,
        brightness=0.25 * strength,
        contrast=0.25 * strength,
        saturation=0.25 * strength * in_colour,
        hue=0.02 * strength * in_colour,
        blur=0.1 * min(1.0, strength),
        ignore=ignore,
        then=then,
    )

    def apply(sample: Sample, rng: np.random.Generator) -> Sample:
        return replace(augment, working_size=working.size_for(*sample.size))(sample, rng)

    return augment if config.patches else apply


def exponential_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential averaging that starts quickly: early on, the last few steps count."""

    @torch.no_grad()
    def update(averaged: Any, current: Any, count: Any) -> None:
        factor = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - factor)

    return update
