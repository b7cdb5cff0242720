"""Layers that several networks share: resizing, convolution blocks, TensorFlow's SAME padding.

Everything here exports with symbolic sizes: sizes come from ``x.shape`` and no branch depends on data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelwise.errors import UsageError


def resize(x: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Bilinear resampling of B×C×H×W features to ``size`` (height, width); trilinear of B×C×D×H×W.

    >>> resize(torch.zeros(1, 2, 4, 4), (7, 9)).shape
    torch.Size([1, 2, 7, 9])
    """
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    return F.interpolate(x, size=tuple(size), mode=mode, align_corners=align_corners)


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU; "same" padding for odd kernels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        groups: int = 1,
        eps: float = 1e-5,
    ) -> None:
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                padding=padding,
                dilation=dilation,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels, eps=eps),
            nn.ReLU(inplace=True),
        )


class SeparableConvNormAct(nn.Sequential):
    """A 3×3 convolution split into depthwise and pointwise, batch norm and ReLU after EACH of the two."""

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int = 1, eps: float = 1e-5) -> None:
        super().__init__(
            ConvNormAct(in_channels, in_channels, 3, dilation=dilation, groups=in_channels, eps=eps),
            ConvNormAct(in_channels, out_channels, 1, eps=eps),
        )


class PooledBatchNorm2d(nn.BatchNorm2d):
    """Batch norm for globally pooled maps (B×C×1×1) that also works for a batch of one.

    One value per channel has no variance, and torch refuses it in training. Such a batch is normalised
    by the running statistics, as in evaluation, and does not change them.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class SamePadConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's SAME padding: ceil(size / stride) outputs, the odd pixel last.

    Takes the place of timm's ``Conv2dSame`` with the same parameters. The padding is computed by integer
    arithmetic on ``x.shape`` alone, so that a traced graph holds for every size.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        top, bottom = self._padding(x.shape[-2], 0)
        left, right = self._padding(x.shape[-1], 1)
        return self._conv_forward(F.pad(x, (left, right, top, bottom)), self.weight, self.bias)

    def _padding(self, size: int | torch.SymInt, axis: int) -> Any:
        stride = int(self.stride[axis])
        reach = int(self.dilation[axis]) * (int(self.kernel_size[axis]) - 1) + 1
        # No negative number may be divided: ONNX rounds towards zero, Python downwards.
        total = reach - size + (size - 1) // stride * stride
        if reach < stride:  # only then can the total be negative; a maximum would burden every other graph
            total = torch.sym_max(total, 0)
        return total // 2, total - total // 2


def replace_same_convolutions(module: nn.Module) -> None:
    """Exchange every timm ``Conv2dSame`` inside ``module`` for :class:`SamePadConv2d`, in place.

    Parameters keep their names and values, so state dicts are unchanged.
    """
    from timm.layers import Conv2dSame

    for name, child in module.named_children():
        if not isinstance(child, Conv2dSame):
            replace_same_convolutions(child)
            continue
        same = SamePadConv2d(
            child.in_channels,
            child.out_channels,
            child.kernel_size,  # type: ignore[arg-type]
            stride=child.stride,  # type: ignore[arg-type]
            dilation=child.dilation,  # type: ignore[arg-type]
            groups=child.groups,
            bias=child.bias is not None,
            device="meta",
        )
        same.weight, same.bias = child.weight, child.bias
        setattr(module, name, same)


def interpolate_grid(x: Tensor, factor: int, size: Sequence[int]) -> Tensor:
    """Caffe's Interp: n + 1 values on every ``factor``-th pixel become factor·n + 1, cropped to ``size``.

    The values themselves stay where they are, at multiples of ``factor`` (align_corners=True).

    >>> interpolate_grid(torch.tensor([[[[0.0, 4.0]] * 2]]), 4, (1, 4)).tolist()
    [[[[0.0, 1.0, 2.0, 3.0]]]]
    """
    height, width = ((side - 1) * factor + 1 for side in x.shape[-2:])
    return crop(resize(x, (height, width), align_corners=True), 0, 0, size)


class CeilMaxPool2d(nn.MaxPool2d):
    """2×2 max pooling to ceil(size / 2), for maps without negative values (after a ReLU).

    One row and column of zeros, which cannot be a maximum, give the sizes of torch's ``ceil_mode`` without
    its test on the size, which does not trace.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(F.pad(x, (0, 1, 0, 1)))


def scale_channels(channels: int, width: float) -> int:
    """``channels`` times ``width``, at least one; UsageError unless ``width`` is positive.

    >>> scale_channels(64, 0.25)
    16
    """
    if width <= 0:
        raise UsageError(f"width must be a positive factor on the number of channels, not {width}")
    return max(1, round(channels * width))


def initialise_he(module: nn.Module) -> None:
    """He initialisation (normal, by fan-in) of every convolution in ``module``; biases become zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def crop(x: Tensor, top: int, left: int, size: Sequence[int]) -> Tensor:
    """The window of ``size`` (height, width) of B×C×H×W that starts at (``top``, ``left``)."""
    return window(x, (top, left), size)


def window(x: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    """The window of ``size`` that starts at ``start``, in features of any number of axes after B×C."""
    for dim, (first, length) in enumerate(zip(start, size, strict=True), start=2):
        if torch.compiler.is_compiling():
            # A traced slice has to be proven inside the map for every size; gathering has not.
            x = x.index_select(dim, torch.arange(length, device=x.device) + first)
        else:
            x = x.narrow(dim, first, length)
    return x


def mirror_pad(x: Tensor, before: int, size: Sequence[int]) -> Tensor:
    """Extend the axes after B×C to ``size`` by mirroring at the borders, as often as needed.

    ``before`` pixels go in front of every axis (above and left), the rest behind.

    >>> mirror_pad(torch.tensor([[[[1.0, 2.0, 3.0]] * 3]]), 3, (3, 9))[0, 0, 0].tolist()
    [2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]
    """
    for dim, target in enumerate(size, start=2):
        # As a tensor: ONNX has no remainder by a traced number.
        last = torch.full((1,), x.shape[dim] - 1, device=x.device)
        position = (torch.arange(target, device=x.device) - before).remainder(2 * last)
        x = x.index_select(dim, last - (last - position).abs())
    return x


def bilinear_kernel(size: int) -> Tensor:
    """The size×size kernel with which a deconvolution interpolates bilinearly.

    >>> bilinear_kernel(4)[0].tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 == 1 else factor - 0.5
    profile = 1 - (torch.arange(size) - centre).abs() / factor
    return torch.outer(profile, profile)


class BilinearDeconvolution(nn.Module):
    """An unpadded deconvolution without bias that starts as bilinear interpolation of every channel.

    Parameters
    ----------
    channels
        Input and output channels.
    kernel_size, stride
        Of the deconvolution; twice the stride is bilinear upsampling by the stride.
    learned
        True: a parameter, channels×channels×k×k, zero off the diagonal at first. False: fixed.
    """

    weight: Tensor

    def __init__(self, channels: int, kernel_size: int, stride: int, learned: bool) -> None:
        super().__init__()
        self.stride = stride
        kernel = bilinear_kernel(kernel_size)
        if learned:
            diagonal = torch.eye(channels)[:, :, None, None]
            self.weight = nn.Parameter(diagonal * kernel)
            self.groups = 1
        else:
            self.register_buffer("weight", kernel[None, None], persistent=False)
            self.groups = channels

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        weight = self.weight.expand(self.groups, -1, -1, -1) if self.groups > 1 else self.weight
        return F.conv_transpose2d(x, weight, stride=self.stride, groups=self.groups)
