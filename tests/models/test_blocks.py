"""Layers that several image networks share."""

from __future__ import annotations

import pytest
import torch

from pixelwise.models.image.blocks import ASPP, SpatialPyramidPooling


@pytest.mark.parametrize("size", [(4, 4), (13, 9), (31, 64)])
def test_spatial_pyramids_have_one_length_for_any_size(size: tuple[int, int]) -> None:
    x = torch.randn(2, 5, *size)
    vector = SpatialPyramidPooling((1, 2, 4))(x)
    assert vector.shape == (2, 5 * (1 + 4 + 16))
    assert torch.equal(vector[:, :5], x.amax(dim=(2, 3)))
    halves = x[:, :, : (size[0] + 1) // 2, : (size[1] + 1) // 2].amax(dim=(2, 3))
    assert torch.equal(vector[:, 5:].view(2, 5 * 20)[:, :20].view(2, 5, 4)[..., 0], halves)


def test_aspp_keeps_the_size_and_joins_every_branch() -> None:
    layer = ASPP(32, 16, (6, 12, 18)).eval()
    assert layer(torch.randn(1, 32, 45, 45)).shape == (1, 16, 45, 45)
    assert layer.project[0].in_channels == 5 * 16
