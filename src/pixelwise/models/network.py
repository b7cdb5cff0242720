"""The base class of every network that labels the pixels of an image or the voxels of a volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

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
"""The smallest image height and width that every network for images takes, in pixels."""

MIN_TRACED_SIZE = MIN_SIZE + 1
"""The least height and width to promise ``torch.export``: at 32 the deepest map of many encoders is a single
pixel, and torch makes a special case of every one. The exported graph itself holds for 32 too."""


class TrainingOutput(NamedTuple):
    """What a network with auxiliary heads returns in training: all logits at the input's size."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...]


class SegmentationNetwork(nn.Module):
    """An image (or volume) in, one logit per class and pixel (or voxel) out, at the input's size.

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
        Training labels and logits meet at every so-manieth pixel only (8 for DeepLab v1 and v2 as published,
        else 1).
    auxiliary_weight
        The weight of the loss of each auxiliary head.
    axes
        The number of axes after B×C: 2 for images, 3 for volumes (depth, height, width).
    min_size
        The smallest side of an input.

    Raises
    ------
    UsageError
        ``num_classes`` or ``in_channels`` is below 1, or a side of the input is below ``min_size``.
    """

    loss_stride: ClassVar[int] = 1
    auxiliary_weight: ClassVar[float] = 0.4
    axes: ClassVar[int] = 2
    min_size: ClassVar[int] = MIN_SIZE
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
        """Return B×K×H×W logits for normalised B×C×H×W float images, no side below ``min_size``.

        B×K×D×H×W for volumes. With auxiliary heads, a :class:`TrainingOutput` in training mode.
        """
        if any(side < self.min_size for side in x.shape[2:]):
            raise UsageError(self._too_small(x.shape[2:]))
        features: Features = {"image": x}
        for stage in self.stages():
            features = stage.run(features)
        auxiliary = self.auxiliary(features) if self.training else ()
        return TrainingOutput(features["logits"], auxiliary) if auxiliary else features["logits"]

    def _too_small(self, sides: Sequence[int]) -> str:
        least = "x".join([str(self.min_size)] * self.axes)
        if self.axes == 2:  # images are described as width x height
            return f"images must be at least {least} pixels, not {sides[1]}x{sides[0]}: enlarge or pad them"
        found = "x".join(map(str, sides))
        return f"volumes must be at least {least} voxels, not {found}: enlarge or pad them"

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
