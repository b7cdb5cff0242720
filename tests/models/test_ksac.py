"""Facts of kernel-sharing atrous convolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pixelwise import models
from pixelwise.models.image.blocks import ASPP
from pixelwise.models.image.ksac import KernelSharingPyramid, SharedKernelConv2d


def _weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.ndim == 4)


@pytest.mark.parametrize(
    ("channels", "aspp", "ksac"), [(2048, 15_204_352, 5_767_168), (320, 2_375_680, 901_120)]
)
def test_sharing_saves_eighteen_of_29_branch_weights(channels: int, aspp: int, ksac: int) -> None:
    with torch.device("meta"):
        pyramid, shared = ASPP(channels), KernelSharingPyramid(channels)
    assert _weights(pyramid.branches) == aspp
    assert _weights(shared) - _weights(shared.project) == ksac
    assert 1 - ksac / aspp == pytest.approx(18 / 29)


def test_parameters_do_not_grow_with_the_rates() -> None:
    def count(rates: tuple[int, ...], **options: str) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in KernelSharingPyramid(64, rates=rates, **options).parameters())

    assert count((6, 12, 18, 24)) - count((6, 12, 18)) == 2 * 256  # a batch norm
    assert count((6, 12, 18, 24), fusion="concat") - count((6, 12, 18), fusion="concat") == 512 + 256 * 256


def test_the_gradient_of_the_kernel_is_the_sum_over_the_rates() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 15, 15, dtype=torch.float64)
    layer = SharedKernelConv2d(3, 4, (1, 2, 5)).double().eval()
    sum(seen.square().sum() for seen in layer(x)).backward()
    together, each = layer.weight.grad.clone(), []
    for index in range(3):
        layer.weight.grad = None
        layer(x)[index].square().sum().backward()
        each.append(layer.weight.grad.clone())
    assert all(gradient.abs().sum() > 0 for gradient in each)
    torch.testing.assert_close(together, sum(each))


def test_every_rate_has_its_own_batch_norm() -> None:
    layer = SharedKernelConv2d(3, 4, (6, 12, 18))
    assert len({id(norm) for norm in layer.norms}) == 3
    layer(torch.randn(2, 3, 20, 20))
    means = [norm.running_mean for norm in layer.norms]
    assert not torch.equal(means[0], means[1]) and not torch.equal(means[1], means[2])


@pytest.mark.parametrize("variant", ["default", "paper"])
def test_the_decoder_is_that_of_deeplabv3plus(variant: str) -> None:
    with torch.device("meta"):
        network = models.create("ksac", 21, variant=variant)
        plus = models.create("deeplabv3plus", 21, variant=variant)
    assert str(network.decoder) == str(plus.decoder)
    assert network.aspp.shared.rates == (6, 12, 18)
