"""Exact dilation of encoders that timm cannot dilate: the VGGs and the first Xception, which shrink by pooling.

The rule (as in torchvision and timm): where a stride is removed, its own unit still sees the old grid and keeps
the dilation so far; from the next unit on the dilation doubles. The features are then those of the strided
network computed densely: OS-8 ``features[..., ::4, ::4]`` equal the OS-32 features.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

_Spatial = (nn.Conv2d, nn.MaxPool2d)


class DensePool2d(nn.MaxPool2d):
    """An unpadded max pool with stride 1 that keeps the size of maps without negative values (after a ReLU).

    Zeros are added below and on the right, where the strided pool would have dropped what does not fit.
    """

    def __init__(self, kernel_size: int, dilation: int) -> None:
        super().__init__(kernel_size, stride=1, dilation=dilation)
        self.reach = dilation * (kernel_size - 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(F.pad(x, (0, self.reach, 0, self.reach)))


def dilate(units: Iterable[nn.Module], output_stride: int) -> list[nn.Module]:
    """Turn strides beyond ``output_stride`` into dilation, in place; a unit that is itself a pool is replaced.

    Parameters
    ----------
    units
        What the network runs one after the other; at most one stride of 2 in each, branches in parallel.
    output_stride
        The stride to keep.

    Returns
    -------
    The units, exchanged where they had to be.
    """
    stride, dilation, result = 1, 1, []
    for unit in units:
        layers = [layer for layer in unit.modules() if isinstance(layer, _Spatial)]
        strided = [layer for layer in layers if _side(layer.stride) == 2]
        removed = bool(strided) and stride * 2 > output_stride
        if isinstance(unit, nn.MaxPool2d) and removed and not unit.padding:
            unit = DensePool2d(_side(unit.kernel_size), dilation)
        else:
            for layer in layers:
                _spread(layer, dilation, keep_stride=not removed)
        stride, dilation = (stride, dilation * 2) if removed else (stride * (2 if strided else 1), dilation)
        result.append(unit)
    return result


def _spread(layer: nn.Conv2d | nn.MaxPool2d, dilation: int, keep_stride: bool) -> None:
    """Dilate a layer; a padding that kept the size keeps it."""
    pool = isinstance(layer, nn.MaxPool2d)
    padding = _side(layer.padding) * dilation
    layer.dilation = dilation if pool else (dilation, dilation)
    layer.padding = padding if pool else (padding, padding)
    if not keep_stride:
        layer.stride = 1 if pool else (1, 1)


def _side(value: object) -> int:
    """The number behind an int or a pair of equal ints."""
    return int(value[0] if isinstance(value, tuple) else value)  # type: ignore[call-overload, no-any-return]
