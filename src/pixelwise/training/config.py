"""Everything a training can be told. One model for ``--config FILE.yaml``, flags and keyword arguments."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pixelwise.errors import DataError, UsageError


class TrainConfig(BaseModel):
    """The settings of one training. ``None`` means: decide from the data (and say so in the plan)."""

    model_config = ConfigDict(extra="forbid")

    # What is trained
    arch: str = Field("deeplabv3plus", description="architecture, see `pixelwise models`")
    encoder: str | None = Field(None, description="any timm encoder; None: the architecture's own choice")
    variant: str = Field("default", description="'default', or 'paper' for the network as published")
    weights: str | None = Field(
        "auto",
        description="encoder weights: 'imagenet', a file, 'none', or 'auto' (imagenet where shipped)",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="further arguments of the network, e.g. 'output_stride=8, rates=[6, 12, 18, 24]'",
    )
    head: Literal["softmax", "binary"] = Field("softmax", description="'binary': one sigmoid for two classes")

    # How large, how long
    size: tuple[int, int] | tuple[int, int, int] | None = Field(
        None, description="working size, WIDTHxHEIGHT; of volumes the patch in voxels, XxYxZ"
    )
    window: tuple[float, float] | None = Field(
        None, description="volumes: the intensities that become 0 and 255, LOW,HIGH"
    )
    patches: bool | None = Field(None, description="cut patches at native scale instead of resizing images")
    batch: int | None = Field(None, ge=1, description="images per step (over all processes)")
    accumulate: int = Field(1, ge=1, description="batches per optimiser step")
    epochs: int | None = Field(None, ge=1, description="passes over the training images")
    max_steps: int | None = Field(None, ge=1, description="stop after this many optimiser steps")
    max_minutes: float | None = Field(
        None, gt=0, description="stop after this long; the schedule ends with it"
    )
    patience: int | None = Field(None, ge=1, description="stop after this many validations without progress")
    validate_every: int = Field(1, ge=1, description="epochs between validations")

    # Optimisation
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="optimiser")
    lr: float | None = Field(None, gt=0, description="peak learning rate; None: 1e-3 for adamw, 1e-2 for sgd")
    weight_decay: float = Field(0.01, ge=0, description="weight decay, not applied to biases and norms")
    schedule: Literal["onecycle", "poly", "constant"] = Field(
        "onecycle", description="learning-rate schedule"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    encoder_lr: float = Field(1.0, ge=0, description="the encoder's learning rate relative to the head's")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="rate of each encoder layer relative to the next deeper one"
    )
    freeze_encoder: bool = Field(False, description="train the head only")
    freeze_batch_norm: bool = Field(False, description="keep batch-norm statistics as they are")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0: no clipping")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights; 0: no averaging")

    # Loss
    loss: str = Field(
        "cross_entropy", description="a loss or a weighted sum, e.g. 'cross_entropy + 0.5*dice'"
    )
    class_weights: Literal["none", "median", "sqrt-median"] | None = Field(
        None, description="median-frequency class weights, plain or by their square root"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing of the cross-entropy")

    # Augmentation
    scale_range: tuple[float, float] = Field((0.6, 1.8), description="random zoom, LOW,HIGH")
    rotate: float = Field(5.0, ge=0, description="random rotation, degrees")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    colour: float = Field(1.0, ge=0, description="strength of the colour changes; 0: none")
    foreground: float = Field(
        0.33, ge=0, le=1, description="share of patches that are centred on a rare class"
    )

    # The machine
    seed: int = Field(0, ge=0, description="fixes everything on one device")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to train")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="'auto': bf16 where it is faster here"
    )
    workers: int | None = Field(None, ge=0, description="threads that prepare images; None: one per core")
    val_fraction: float = Field(0.2, gt=0, lt=1, description="held out when the data has no validation split")
    hold_out: str | None = Field(
        None, description="validate on the training images whose names match, e.g. 'seq3_*', not on 'val'"
    )
    licence: str = Field("", description="licence of the data, kept in the model's card")

    @field_validator("size", mode="before")
    @classmethod
    def _parse_size(cls, value: Any) -> Any:
        if isinstance(value, str):
            if not re.fullmatch(r"\d+(\s*[xX*,]\s*\d+){1,2}", value.strip()):
                raise ValueError(f"expected WIDTHxHEIGHT such as 480x360, found '{value}'")
            value = tuple(int(side) for side in re.findall(r"\d+", value))
        if isinstance(value, list | tuple) and len(value) == 2 and min(value) < 32:
            raise ValueError("both sides must be at least 32 px")
        if isinstance(value, list | tuple) and len(value) == 3 and min(value) < 8:
            raise ValueError("all sides of a patch of a volume must be at least 8 voxels")
        return value

    @field_validator("options", mode="before")
    @classmethod
    def _parse_options(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            options = yaml.safe_load("{" + value.replace("=", ": ") + "}")
        except yaml.YAMLError:
            options = None
        if not isinstance(options, dict) or None in options.values():
            raise ValueError("expected NAME=VALUE, NAME=VALUE such as 'output_stride=8, rates=[6, 12, 18]'")
        return options

    @field_validator("scale_range", "window", mode="before")
    @classmethod
    def _parse_range(cls, value: Any) -> Any:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("weights", mode="before")
    @classmethod
    def _no_weights(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.lower() == "none" else value

    @field_validator("window")
    @classmethod
    def _increasing(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("expected low < high")
        return value

    @field_validator("scale_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("expected 0 < low <= high")
        return value


def make_config(values: dict[str, Any], source: str = "") -> TrainConfig:
    """Validate settings; an unknown key or a bad value is one sentence.

    >>> make_config({"epoch": 3})
    Traceback (most recent call last):
    pixelwise.errors.UsageError: unknown setting 'epoch': did you mean 'epochs'?
    """
    prefix = f"{source}: " if source else ""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(key, TrainConfig.model_fields, n=1)
            hint = (
                f"did you mean '{nearest[0]}'?"
                if nearest
                else f"known: {', '.join(TrainConfig.model_fields)}"
            )
            raise UsageError(f"{prefix}unknown setting '{key}': {hint}") from None
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{prefix}setting '{key}': {message} (found {first['input']!r})") from None


def read_config(path: str | Path) -> dict[str, Any]:
    """Settings of a YAML file, as a dictionary; they are validated together with the flags."""
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such settings file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected 'setting: value' lines")
    return values
