"""The base class of every network that labels the pixels of an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from pixelwise.errors import UsageError
from pixelwise.models.encoders.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    Features,
    Preprocessing,
    Stage,
)

__all__ = [
    "MIN_SIZE",
    "MIN_TRACED_SIZE",
    "Features",
    "Preprocessing",
    "SegmentationNetwork",
    "Stage",
    "TrainingOutput",
    "out_of_place",
]

MIN_SIZE = 32
"""The smallest image height and width that every network takes, in pixels."""

MIN_TRACED_SIZE = MIN_SIZE + 1
"""The least height and width to promise ``torch.export``: at 32 the deepest map of many encoders is a single
pixel, and torch makes a special case of every one. The exported graph itself holds for 32 too."""


class TrainingOutput(NamedTuple):
    """What a network with auxiliary heads returns in training: all logits at the input's size."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...]


class SegmentationNetwork(nn.Module):
    """An image in, one logit per class and pixel out, at the input's size.

    A subclass builds its layers and defines :meth:`stages`; everything else is here. K = 1 is binary
    (sigmoid), ``multilabel`` gives K independent sigmoids, else a softmax over K; the network only returns
    the logits.

    In training, batch norm needs more than one value per channel: for a batch of one image both sides must
    be larger than the encoder's output stride (globally pooled maps are taken care of).

    Parameters
    ----------
    num_classes
        K, the number of logits per pixel.
    in_channels
        Number of image channels.
    multilabel
        Whether the classes exclude each other (False) or not.

    Attributes
    ----------
    arguments
        What ``pixelwise.models.create(**arguments)`` needs to rebuild the network (weights apart).
    encoder
        The part with pretrained weights, or None.
    loss_stride
        Training labels are shrunk by this factor before the loss (8 for DeepLab v1 and v2, else 1).

    Raises
    ------
    UsageError
        ``num_classes`` or ``in_channels`` is below 1, or an image is smaller than 32 pixels.
    """

    loss_stride: int = 1
    encoder: Encoder | None

    def __init__(self, num_classes: int, in_channels: int = 3, multilabel: bool = False) -> None:
        super().__init__()
        if num_classes < 1 or in_channels < 1:
            raise UsageError(
                f"a network needs at least one class and one channel, not num_classes={num_classes} "
                f"and in_channels={in_channels}"
            )
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.multilabel = multilabel
        self.arguments: dict[str, Any] = {}
        self.encoder = None

    @property
    def preprocessing(self) -> Preprocessing:
        """Mean and standard deviation per input channel on the 0..255 scale: the encoder's, or ImageNet's."""
        if self.encoder is not None:
            return self.encoder.preprocessing
        return Preprocessing(IMAGENET_MEAN, IMAGENET_STD).for_channels(self.in_channels)

    def stages(self) -> tuple[Stage, ...]:
        """The steps from the entry ``"image"`` to the entry ``"logits"``, shallow to deep."""
        raise NotImplementedError

    def auxiliary(self, features: Features) -> tuple[Tensor, ...]:
        """Logits of the auxiliary heads at the input's size, only asked for in training; none by default."""
        return ()

    def forward(self, x: Tensor) -> Tensor | TrainingOutput:
        """Return B×K×H×W logits for normalised B×C×H×W float images, H and W at least 32.

        With auxiliary heads, a :class:`TrainingOutput` in training mode.
        """
        if x.shape[-2] < MIN_SIZE or x.shape[-1] < MIN_SIZE:
            raise UsageError(
                f"images must be at least {MIN_SIZE}x{MIN_SIZE} pixels, not {x.shape[-1]}x{x.shape[-2]}: "
                "enlarge or pad them"
            )
        features: Features = {"image": x}
        for stage in self.stages():
            features = stage.run(features)
        auxiliary = self.auxiliary(features) if self.training else ()
        return TrainingOutput(features["logits"], auxiliary) if auxiliary else features["logits"]

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters with pretrained values, which usually learn at a lower rate."""
        return iter(()) if self.encoder is None else self.encoder.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """All other parameters."""
        encoder = {id(parameter) for parameter in self.encoder_parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in encoder)


@contextmanager
def out_of_place(network: nn.Module) -> Iterator[None]:
    """Let activations make new tensors inside the block, which is how an export should be traced.

    In place they save memory in training; but torch's exporter takes in-place ReLU6 apart operation by
    operation, and the encoders that use it then take about twice as long to export.
    """
    switched = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    try:
        for module in switched:
            module.inplace = False  # type: ignore[assignment]
        yield
    finally:
        for module in switched:
            module.inplace = True  # type: ignore[assignment]
