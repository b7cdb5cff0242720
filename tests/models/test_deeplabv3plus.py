"""Facts of the DeepLab v3+ paper and its reference code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pixelwise import models
from pixelwise.models.encoders.xception import Xception65


@pytest.fixture(scope="module")
def paper() -> nn.Module:
    with torch.device("meta"):
        return models.create("deeplabv3plus", 21, variant="paper").eval()


@pytest.mark.parametrize("variant", ["default", "paper"])
def test_decoder(variant: str) -> None:
    with torch.device("meta"):
        network = models.create("deeplabv3plus", 21, variant=variant)
    convolutions = [m for m in network.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert network.project_low[0].out_channels == 48
    assert [(c.kernel_size[0], c.in_channels, c.out_channels) for c in convolutions] == [
        (3, 304, 304),
        (1, 304, 256),
        (3, 256, 256),
        (1, 256, 256),
    ]
    kinds = [type(m) for m in network.decoder.modules() if not list(m.children())]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 4


@pytest.mark.parametrize(("output_stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_rates_follow_the_output_stride(output_stride: int, rates: list[int]) -> None:
    with torch.device("meta"):
        network = models.create("deeplabv3plus", 2, output_stride=output_stride)
        assert network(torch.empty(2, 3, 65, 97)).shape == (2, 2, 65, 97)
    found = [m.dilation[0] for m in network.aspp.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert found == rates
    assert network.aspp.dropout.p == 0.1


def test_batch_norm_eps_per_part(paper: nn.Module) -> None:
    def eps(part: nn.Module) -> set[float]:
        return {module.eps for module in part.modules() if isinstance(module, nn.BatchNorm2d)}

    assert eps(paper.encoder) == {1e-3}
    assert eps(paper.aspp) == eps(paper.decoder) == eps(paper.project_low) == {1e-5}


def test_the_tap_is_the_second_separable_convolution_at_stride_4(paper: nn.Module) -> None:
    assert paper.encoder.channels == (256, 728, 2048)
    assert paper.encoder.reductions == (4, 8, 16)
    features = paper.encoder(torch.empty(1, 3, 513, 513, device="meta"))
    assert [tuple(f.shape[1:]) for f in features] == [(256, 129, 129), (728, 65, 65), (2048, 33, 33)]
    assert paper.project_low[0].in_channels == 256


def test_xception_has_its_blocks(paper: nn.Module) -> None:
    blocks = paper.encoder.net.blocks
    widths = [block.out_channels for block in blocks]
    assert widths == [128, 256, 728, *[728] * 16, 1024, 2048]
    strides = [[getattr(block.stack, f"conv{i}").conv_dw.stride[0] for i in (1, 2, 3)] for block in blocks]
    assert strides[:3] == [[1, 1, 2]] * 3
    assert sum(map(sum, strides[3:])) == 3 * 18  # the exit flow's stride became dilation


@torch.no_grad()
def test_taps_change_nothing_in_xception() -> None:
    torch.manual_seed(0)
    encoder = Xception65().eval()
    image = torch.randn(1, 3, 65, 65)
    tap, _, deep = encoder(image)
    assert torch.equal(deep, encoder.net.forward_features(image))
    assert tap.min() < 0  # before the ReLU


def test_multi_grid_multiplies_the_last_blocks_rate() -> None:
    with torch.device("meta"):
        network = models.create("deeplabv3plus", 2, variant="paper", multi_grid=(1, 2, 4))
        assert network.eval()(torch.empty(1, 3, 65, 65)).shape == (1, 2, 65, 65)
    last = network.encoder.net.blocks[-1].stack
    assert [getattr(last, f"conv{i}").conv_dw.dilation for i in (1, 2, 3)] == [(2, 2), (4, 4), (8, 8)]
