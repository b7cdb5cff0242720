"""The encoders of torchvision's segmentation networks, under torchvision's names, so that its weights fit.

Source: torchvision.models (BSD-3), used through its public interface.
"""

from __future__ import annotations

import torchvision
from torch import nn

from pixelwise.errors import unknown_name
from pixelwise.models.encoders.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    Preprocessing,
    Stage,
    chain_stage,
)
from pixelwise.models.encoders.weights import adapt_first_layer, load_weights, read_state_dict

TORCHVISION_ENCODERS = ("resnet50", "resnet101", "mobilenet_v3_large")

_MOBILENET_ENDS = (1, 3, 4, 12, 16)
"""Modules of MobileNetV3-Large whose outputs are the levels; the third feeds the auxiliary head."""


class TorchvisionEncoder(Encoder):
    """A dilated ResNet (output stride 8) or MobileNetV3-Large (16) as torchvision's networks use it.

    Parameters
    ----------
    name
        ``"resnet50"``, ``"resnet101"`` or ``"mobilenet_v3_large"``.
    in_channels
        Number of image channels.
    weights
        None, or the path of torchvision's ImageNet state dict of that model.

    Attributes
    ----------
    extra
        The index of the level that feeds the auxiliary head.
    """

    def __init__(self, name: str, in_channels: int = 3, weights: str | None = None) -> None:
        super().__init__()
        if name == "mobilenet_v3_large":
            net = torchvision.models.mobilenet_v3_large(weights=None, dilated=True).features
            self._ends: tuple[str, ...] = tuple(map(str, _MOBILENET_ENDS))
            self.channels, self.reductions, self.extra = (16, 24, 40, 112, 960), (2, 4, 8, 16, 16), 2
            self._first, layers = "0.0", dict(net.named_children())
        elif name in TORCHVISION_ENCODERS:
            build = getattr(torchvision.models, name)
            net = build(weights=None, replace_stride_with_dilation=(False, True, True))
            self._ends = ("relu", "layer1", "layer2", "layer3", "layer4")
            self.channels, self.reductions, self.extra = (64, 256, 512, 1024, 2048), (2, 4, 8, 8, 8), 3
            self._first, layers = "conv1", dict(net.named_children())
            del layers["avgpool"], layers["fc"]
        else:
            raise unknown_name("encoder of torchvision's network", name, TORCHVISION_ENCODERS)
        self.net = nn.ModuleDict(layers)
        self.preprocessing = Preprocessing(IMAGENET_MEAN, IMAGENET_STD).for_channels(in_channels)
        self._take_channels(in_channels)
        if weights is not None:
            state = {key.removeprefix("features."): value for key, value in read_state_dict(weights).items()}
            load_weights(self.net, state, weights, first_layer=f"{self._first}.weight")

    def _take_channels(self, in_channels: int) -> None:
        """Give the first convolution another number of input channels."""
        first = self.net.get_submodule(self._first)
        assert isinstance(first, nn.Conv2d)
        if in_channels != first.in_channels:
            first.weight = nn.Parameter(adapt_first_layer(first.weight.detach(), in_channels))
            first.in_channels = in_channels

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        sections: list[list[nn.Module]] = [[]]
        for name, layer in self.net.items():
            sections[-1].append(layer)
            if name in self._ends:
                sections.append([])
        return tuple(chain_stage(index, section) for index, section in enumerate(sections[:-1]))
