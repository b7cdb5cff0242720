"""Layers that networks share."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import nn

from pixelwise.models.image.blocks import ASPP
from pixelwise.models.layers import (
    CeilMaxPool2d,
    PooledBatchNorm2d,
    crop,
    mirror_pad,
    replace_same_convolutions,
)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(7, 40),
    width=st.integers(7, 40),
    kernel=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
)
def test_same_convolution_equals_timms(
    height: int, width: int, kernel: int, stride: int, dilation: int
) -> None:
    holder = nn.Sequential(Conv2dSame(2, 4, kernel, stride=stride, dilation=dilation, groups=2))
    image = torch.randn(1, 2, height, width)
    expected, names = holder(image), list(holder.state_dict())
    replace_same_convolutions(holder)
    assert not isinstance(holder[0], Conv2dSame)
    assert list(holder.state_dict()) == names
    assert torch.equal(holder(image), expected)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(2, 30), width=st.integers(2, 30))
def test_ceiling_pool_equals_torchs_after_a_relu(height: int, width: int) -> None:
    image = torch.randn(1, 2, height, width).relu()
    assert torch.equal(CeilMaxPool2d()(image), F.max_pool2d(image, 2, ceil_mode=True))


@settings(max_examples=20, deadline=None)
@given(size=st.integers(5, 20), before=st.integers(0, 4), after=st.integers(0, 4))
def test_mirroring_equals_torchs_reflection_where_that_exists(size: int, before: int, after: int) -> None:
    image = torch.randn(1, 2, size, size)
    target = before + size + after
    expected = F.pad(image, (before, after, before, after), mode="reflect")
    assert torch.equal(mirror_pad(image, before, (target, target)), expected)


def test_crop_takes_the_window() -> None:
    image = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(crop(image, 1, 2, (3, 4)), image[:, :, 1:4, 2:6])


def test_pooled_norm_of_a_batch_of_one_uses_and_keeps_the_running_statistics() -> None:
    norm = PooledBatchNorm2d(4).train()
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    output = norm(torch.full((1, 4, 1, 1), 6.0))
    torch.testing.assert_close(output, torch.full((1, 4, 1, 1), 2.0))
    assert (norm.running_mean == 2.0).all()
    norm(torch.zeros(2, 4, 1, 1))
    assert (norm.running_mean != 2.0).all()


@pytest.mark.parametrize("separable", [False, True])
def test_aspp_has_five_branches_with_the_given_rates(separable: bool) -> None:
    aspp = ASPP(8, 16, (6, 12, 18), separable=separable)
    rates = [m.dilation[0] for m in aspp.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert rates == [6, 12, 18]
    assert aspp.project[0].in_channels == 5 * 16
    assert aspp(torch.randn(1, 8, 9, 7)).shape == (1, 16, 9, 7)
