"""Grouped convolutions in float32 where bfloat16 gets them wrong: training on a CPU.

The gradient that PyTorch's CPU kernels (oneDNN) give for the weights of a dilated depthwise convolution in
bfloat16 is garbage, up to nan, in channels_last memory; the forward pass and the other gradients are right
(measured with torch 2.14). Dense convolutions are right as well. In float32 depthwise convolutions are right
and two to seven times as fast, forward and backward, since bfloat16 has no fast kernel for them. So under
bfloat16 autocast every grouped convolution runs in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = frozenset({F.conv2d, F.conv3d, torch.conv2d, torch.conv3d})
_GROUPS = 6  # input, weight, bias, stride, padding, dilation, groups


class GroupedConvolutionsInFloat32(TorchFunctionMode):
    """Within it, convolutions of several groups on a CPU leave autocast and run in float32.

    Examples
    --------
    >>> depthwise = torch.nn.Conv2d(8, 8, 3, groups=8)
    >>> with torch.autocast("cpu", torch.bfloat16), GroupedConvolutionsInFloat32():
    ...     output = depthwise(torch.randn(1, 8, 5, 5))
    >>> output.dtype
    torch.float32
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS and _groups(args, kwargs) > 1 and torch.is_autocast_enabled("cpu"):
            pixels, *others = args
            if pixels.device.type == "cpu":
                with torch.autocast("cpu", enabled=False):
                    return func(pixels.float(), *others, **kwargs)
        return func(*args, **kwargs)


def _groups(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    return int(args[_GROUPS]) if len(args) > _GROUPS else int(kwargs.get("groups", 1))
