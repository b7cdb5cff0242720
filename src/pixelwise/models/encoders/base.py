"""What every encoder is: an image in, features from shallow to deep out, run level by level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from pixelwise.errors import UsageError

Features = dict[str, Tensor]
"""Named feature tensors, B×C×H×W each; starts as ``{"image": x}`` and ends with ``"logits"``."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Stage(NamedTuple):
    """One step of a network, shallow to deep.

    ``run`` takes the features so far and returns them with its own entries added; entries under the
    same name are replaced. Nothing is changed in place, so a video schedule can keep the entries of an
    earlier frame and run only some of the stages on the next.
    """

    name: str
    run: Callable[[Features], Features]


class Preprocessing(NamedTuple):
    """What turns pixels into network input: ``(pixel - mean) / std`` per channel, on the 0..255 scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def for_channels(self, in_channels: int) -> Preprocessing:
        """The same for another number of channels: the average for one, a cyclic copy for more.

        >>> Preprocessing((10.0, 20.0, 30.0), (1.0, 2.0, 3.0)).for_channels(1)
        Preprocessing(mean=(20.0,), std=(2.0,))
        """
        if in_channels == len(self.mean):
            return self
        return Preprocessing(*(_spread(values, in_channels) for values in self))


def _spread(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    if count == 1:
        return (sum(values) / len(values),)
    return tuple(values[i % len(values)] for i in range(count))


class Encoder(nn.Module):
    """A feature extractor: ``forward(x)`` returns a list of B×C×H×W features, shallow to deep.

    Attributes
    ----------
    channels, reductions
        Per level, the number of channels and the stride with respect to the image.
    preprocessing
        Mean and standard deviation per input channel on the 0..255 scale.
    """

    channels: tuple[int, ...]
    reductions: tuple[int, ...]
    preprocessing: Preprocessing

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean per input channel, 0..255."""
        return self.preprocessing.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation per input channel, 0..255."""
        return self.preprocessing.std

    def stages(self) -> tuple[Stage, ...]:
        """The steps from the ``"image"`` entry to the entries ``"level1"``, ``"level2"`` ..."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        features: Features = {"image": x}
        for stage in self.stages():
            features = stage.run(features)
        return [features[f"level{i + 1}"] for i in range(len(self.channels))]

    def level(self, reduction: int) -> int:
        """The index of the deepest level with this stride.

        Raises
        ------
        UsageError
            The encoder has no such level.
        """
        if reduction not in self.reductions:
            strides = ", ".join(map(str, self.reductions))
            raise UsageError(
                f"the network needs features at stride {reduction} but the encoder has strides {strides}: "
                "choose another encoder"
            )
        return len(self.reductions) - 1 - self.reductions[::-1].index(reduction)


def chain_stage(index: int, section: Iterable[nn.Module]) -> Stage:
    """The stage that computes level ``index + 1`` from the one before by a chain of modules."""
    source, target = f"level{index}" if index else "image", f"level{index + 1}"

    def run(features: Features) -> Features:
        x: Tensor = features[source]
        for module in section:
            x = module(x)
        return {**features, target: x}

    return Stage(target, run)
