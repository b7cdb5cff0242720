"""What ``bundle.json`` says: everything about a model that is not its weights or its graph."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pixelwise.labels import LabelMap

FORMAT = 1
"""The version of the bundle format that this code writes."""


class WorkingScale(BaseModel):
    """The size at which a model looks at an image; its logits are brought back to the image's size.

    ``area``: the image is scaled, its proportions kept, to as many pixels as ``height`` x ``width``
    (what a model needs whose training images were all resized). ``native``: pixels are taken as they
    are (models trained on patches of large images), with tiles of ``height`` x ``width`` when the
    image is larger than one tile; volumes always, with tiles of ``depth`` x ``height`` x ``width``.
    """

    model_config = ConfigDict(extra="forbid")

    rule: Literal["area", "native"] = "area"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    depth: int | None = Field(default=None, gt=0)

    @property
    def tile(self) -> tuple[int, ...]:
        """(height, width), or (depth, height, width) for volumes."""
        return (self.height, self.width) if self.depth is None else (self.depth, self.height, self.width)

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """The working (height, width) of an image of this size.

        >>> WorkingScale(rule="area", height=180, width=240).size_for(360, 480)
        (180, 240)
        >>> WorkingScale(rule="native", height=512, width=512).size_for(333, 777)
        (333, 777)
        """
        if self.rule == "native":
            return height, width
        if abs(self.height * width - self.width * height) <= max(height, width):
            return self.height, self.width  # the same proportions, up to a pixel of rounding
        factor = math.sqrt(self.height * self.width / (height * width))
        return max(32, round(height * factor)), max(32, round(width * factor))


class VolumeReading(BaseModel):
    """How the volumes of the training data became what the network saw, so that others can be read alike.

    ``canonical``: axes were turned to run to the patient's right, front and head. The rest is about models of
    slices: ``axis`` is the one the slices lie across, intensities of ``window`` became 0 to 255 (None: they
    were taken as they are), and ``neighbours`` slices on either side were channels, too.
    """

    model_config = ConfigDict(extra="forbid")

    canonical: bool = True
    axis: int | None = Field(default=None, ge=0, le=2)
    window: tuple[float, float] | None = None
    neighbours: int = Field(default=0, ge=0)


class Int8(BaseModel):
    """What is known about ``graph.int8.onnx``, a bundle's optional graph in 8-bit integers.

    ``float_layers`` names the convolutions that stayed in floating point, ``max_drop`` (points of mean IoU)
    is what it was allowed to lose. ``table`` has a row per precision: ``mean_iou`` (0 to 1),
    ``images_per_second`` and ``bytes``. ``agreement`` is the share of equal labels, with fp32 and between
    engines. Its sha256 stands here and not in :attr:`Manifest.sha256`: the bundle's other precisions give
    what they gave before.
    """

    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    method: str
    float_layers: list[str] = []
    calibrated_on: dict[str, Any]
    scored_on: dict[str, Any]
    max_drop: float
    drop: float
    table: dict[str, dict[str, float]]
    agreement: dict[str, float] = {}


class Manifest(BaseModel):
    """The contents of ``bundle.json``.

    The graph takes ``image``, B×H×W×C uint8 (RGB when C is 3), and normalises it itself with
    ``mean`` and ``std`` (0..255 scale); it gives ``logits`` B×K×H×W float32 and ``labels``.

    For the task ``volume`` it takes B×X×Y×Z×C float32 intensities as they were measured, brings those in
    ``window`` (low, high) to 0..255 itself, clipping the rest, and gives B×K×X×Y×Z.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    name: str
    task: Literal["image", "volume"] = "image"
    architecture: str
    arguments: dict[str, Any]
    labels: dict[str, Any]
    head: Literal["softmax", "binary", "multilabel"] = "softmax"
    in_channels: int = 3
    mean: list[float]
    std: list[float]
    window: tuple[float, float] | None = None
    volumes: VolumeReading | None = None
    working: WorkingScale
    outputs: list[str] = ["labels", "logits"]
    parameters: int
    metrics: dict[str, Any] = {}
    trained_on: dict[str, Any] = {}
    parity: dict[str, float] = {}
    licence: str = ""
    pixelwise: str = ""
    sha256: dict[str, str] = {}
    int8: Int8 | None = None

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("names"), list) or not value["names"]:
            raise ValueError("expected {'names': [...]}")
        return value

    @property
    def label_map(self) -> LabelMap:
        """The classes as a LabelMap."""
        return LabelMap.from_dict(self.labels)
