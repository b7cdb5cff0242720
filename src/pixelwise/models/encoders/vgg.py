"""VGG-16 as FCN used it (ceiling pools, a wide first padding, fc6 and fc7 as convolutions) and as DeepLab
did.

Papers: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015, arXiv
1409.1556; turned convolutional by Long, Shelhamer, Darrell, CVPR 2015, arXiv 1411.4038; dilated by Chen,
Papandreou, Kokkinos, Murphy, Yuille, ICLR 2015, arXiv 1412.7062.

Departures: input is RGB where Caffe's is BGR (mean and weights in RGB order, otherwise the same); random
weights are He-initialised, where the papers always start from ImageNet weights.
"""

from __future__ import annotations

import torch
from torch import nn

from pixelwise.errors import DataError, UsageError
from pixelwise.models.encoders.base import Encoder, Features, Preprocessing, Stage, chain_stage
from pixelwise.models.encoders.weights import adapt_first_layer, read_state_dict
from pixelwise.models.layers import CeilMaxPool2d, initialise_he, scale_channels

CAFFE_MEAN = (122.67892, 116.66877, 104.00699)
"""Mean RGB of ImageNet on the 0..255 scale; the standard deviation is left at 1."""

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3×3 convolutions per block; a 2×2 pool ends each."""

_FULLY_CONNECTED = 4096

_LAYER_NAMES = (
    *((f"features.{i}",) for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
    ("classifier.0", "pre_logits.fc1"),
    ("classifier.3", "pre_logits.fc2"),
)
"""What torchvision and timm call the 13 convolutions, fc6 and fc7."""


class VGG16(Encoder):
    """The 13 convolutions of VGG-16; the levels are its five pools.

    Parameters
    ----------
    in_channels
        Number of image channels.
    first_padding
        Padding of the very first convolution; FCN uses 100 so that small images leave room for fc6.
    width
        Factor on every number of channels; 1 is VGG-16, less is quicker.
    weights
        None, or the path of a state dict with torchvision's or timm's names, trained on RGB minus
        ``CAFFE_MEAN`` at the 0..255 scale.

    Raises
    ------
    UsageError
        ``weights="imagenet"``: none are shipped.
    DataError
        The file cannot be read or does not hold VGG-16.
    """

    def __init__(
        self,
        in_channels: int = 3,
        first_padding: int = 1,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.channels = tuple(scale_channels(channels, width) for channels, _ in _BLOCKS)
        self.reductions = (2, 4, 8, 16, 32)
        self.preprocessing = Preprocessing(CAFFE_MEAN, (1.0, 1.0, 1.0)).for_channels(in_channels)
        widths = (in_channels, *self.channels)
        self.blocks = nn.ModuleList(
            self._block(index, widths[index], widths[index + 1], count)
            for index, (_, count) in enumerate(_BLOCKS)
        )
        first = self.blocks[0].get_submodule("0")
        assert isinstance(first, nn.Conv2d)
        first.padding = (first_padding, first_padding)
        initialise_he(self)
        if weights is not None:
            self.load(weights)

    def _block(self, index: int, in_channels: int, channels: int, count: int) -> nn.Sequential:
        """One resolution: 3×3 convolutions with ReLU, then a pool."""
        return nn.Sequential(*_convolutions(in_channels, channels, count), CeilMaxPool2d())

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return tuple(chain_stage(index, [block]) for index, block in enumerate(self.blocks))

    def load(self, path: str) -> None:
        """Copy weights from a file; matrices of fully connected layers are folded to kernels."""
        if path == "imagenet":
            raise UsageError("no ImageNet weights for 'vgg16' are shipped; pass a file (weights=PATH)")
        state = read_state_dict(path)
        convolutions = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        for names, convolution in zip(_LAYER_NAMES, convolutions, strict=False):
            name = next((name for name in names if f"{name}.weight" in state), names[0])
            for kind, target in convolution.named_parameters():
                value = state.get(f"{name}.{kind}")
                if value is None:
                    raise DataError(f"{path}: has no tensor '{name}.{kind}'; these are not weights of VGG-16")
                if convolution is convolutions[0] and value.ndim == 4:
                    value = adapt_first_layer(value, target.shape[1])
                if value.numel() != target.numel() or (value.ndim == 4 and value.shape != target.shape):
                    raise DataError(
                        f"{path}: '{name}.{kind}' has shape {tuple(value.shape)} where VGG-16 has "
                        f"{tuple(target.shape)}; these are not weights of VGG-16"
                    )
                target.data.copy_(value.view_as(target))


class FullyConvolutionalVGG16(VGG16):
    """VGG-16 with fc6 (7×7, no padding) and fc7 (1×1) as convolutions, dropout 0.5 after each: level 6."""

    def __init__(
        self,
        in_channels: int = 3,
        first_padding: int = 100,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__(in_channels, first_padding, width)
        channels = scale_channels(_FULLY_CONNECTED, width)
        self.fc6 = nn.Conv2d(self.channels[-1], channels, 7)
        self.fc7 = nn.Conv2d(channels, channels, 1)
        self.channels = (*self.channels, channels)
        self.reductions = (*self.reductions, 32)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        initialise_he(self.fc6)
        initialise_he(self.fc7)
        if weights is not None:
            self.load(weights)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (*super().stages(), Stage("level6", self._fully_connected))

    def _fully_connected(self, features: Features) -> Features:
        x = self.dropout(self.activation(self.fc6(features["level5"])))
        return {**features, "level6": self.dropout(self.activation(self.fc7(x)))}


class DeepLabVGG16(VGG16):
    """VGG-16 at output stride 8: 3×3 pools of padding 1, the last two with stride 1, conv5 with dilation 2.

    Images with sides of 8 n + 1 pixels (321) give maps of n + 1 (41), whose centres lie on every eighth
    pixel.
    """

    def __init__(self, in_channels: int = 3, width: float = 1.0, weights: str | None = None) -> None:
        super().__init__(in_channels, width=width, weights=weights)
        self.reductions = (2, 4, 8, 8, 8)

    def _block(self, index: int, in_channels: int, channels: int, count: int) -> nn.Sequential:
        dilation, stride = (2 if index == 4 else 1), (2 if index < 3 else 1)
        layers = _convolutions(in_channels, channels, count, dilation)
        return nn.Sequential(*layers, nn.MaxPool2d(3, stride, padding=1))


def load_fully_connected(fc6: nn.Conv2d, fc7: nn.Conv2d, path: str) -> None:
    """Copy VGG-16's fully connected layers into smaller convolutions by taking every so-manieth row and
    column.

    DeepLab v1 made its 3×3 kernels of 1024 channels from the 7×7 ones of 4096 like this. A file that holds
    the convolutions only is fine: nothing is copied then.
    """
    state = read_state_dict(path)
    for convolution, names in ((fc6, _LAYER_NAMES[-2]), (fc7, _LAYER_NAMES[-1])):
        name = next((name for name in names if f"{name}.weight" in state), None)
        if name is None:
            return
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        side = 7 if convolution is fc6 else 1
        kernel = weight.reshape(len(weight), -1, side, side)
        for axis, wanted in enumerate(convolution.weight.shape):
            if wanted > kernel.shape[axis]:
                raise DataError(
                    f"{path}: '{name}.weight' has shape {tuple(weight.shape)}, too small for a convolution "
                    f"of shape {tuple(convolution.weight.shape)}; these are not weights of VGG-16"
                )
            chosen = torch.linspace(0, kernel.shape[axis] - 1, wanted).round().long()
            kernel = kernel.index_select(axis, chosen)
            bias = bias[chosen] if axis == 0 else bias
        convolution.weight.data.copy_(kernel)
        assert convolution.bias is not None
        convolution.bias.data.copy_(bias)


def _convolutions(in_channels: int, channels: int, count: int, dilation: int = 1) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(count):
        convolution = nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation)
        layers += [convolution, nn.ReLU(inplace=True)]
        in_channels = channels
    return layers
