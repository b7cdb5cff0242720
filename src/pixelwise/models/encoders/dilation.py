"""Exact dilation of encoders that timm cannot dilate: the VGGs and the first Xception, which shrink by
pooling.

The rule (as in torchvision and timm): where a stride is removed, its own unit still sees the old grid and
keeps the dilation so far; from the next unit on the dilation doubles. The features are then those of the
strided network computed densely: OS-8 ``features[..., ::4, ::4]`` equal the OS-32 features.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class DensePool2d(nn.MaxPool2d):
    """A max pool with its stride taken away, dilated, that keeps the size of the map.

    What lies outside counts for nothing. Below and on the right this adds windows that the strided pool
    dropped.
    """

    def __init__(self, kernel_size: int, padding: int, dilation: int) -> None:
        super().__init__(kernel_size, stride=1, dilation=dilation)
        before = padding * dilation
        self.around = (before, dilation * (kernel_size - 1) - before) * 2

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(F.pad(x, self.around, value=float("-inf")))


def dilate(units: Iterable[nn.Module], output_stride: int) -> list[nn.Module]:
    """Turn strides beyond ``output_stride`` into dilation, in place; a unit that is itself a pool is
    replaced.

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
        layers = [layer for layer in unit.modules() if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]
        strided = any(_side(layer.stride) == 2 for layer in layers)
        if strided and stride * 2 > output_stride:
            result.append(_dense(unit, dilation))
            dilation *= 2
        else:
            result.append(_dense(unit, dilation) if dilation > 1 else unit)
            stride *= 2 if strided else 1
    return result


def _dense(unit: nn.Module, dilation: int) -> nn.Module:
    """A unit without strides, its kernels dilated; paddings that kept the size keep it."""
    if isinstance(unit, nn.MaxPool2d):
        return DensePool2d(_side(unit.kernel_size), _side(unit.padding), dilation)
    if isinstance(unit, nn.Conv2d):
        padding = _side(unit.padding) * dilation
        unit.stride, unit.dilation, unit.padding = (1, 1), (dilation, dilation), (padding, padding)
    for name, child in unit.named_children():
        setattr(unit, name, _dense(child, dilation))
    return unit


def _side(value: Any) -> int:
    """The number behind an int or a pair of equal ints."""
    return int(value[0] if isinstance(value, tuple) else value)
