"""Facts of the 3D U-Net paper, and what the practical variant promises beside the shared tests."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pixelwise import models
from pixelwise.errors import UsageError
from pixelwise.models.image.unet3d import PaperUNet3D


def _paper(num_classes: int = 3, in_channels: int = 3, width: float = 1.0) -> PaperUNet3D:
    network = models.create("unet3d", num_classes, in_channels, variant="paper", width=width)
    assert isinstance(network, PaperUNet3D)
    return network.eval()


def test_parameter_count() -> None:
    with torch.device("meta"):
        network = _paper()
    assert sum(parameter.numel() for parameter in network.parameters()) == 19_069_955
    # A learned scale, of which the text speaks but which the stated number has no room for, would add these.
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert sum(norm.num_features for norm in norms) == 2_336
    assert all(norm.bias.requires_grad and not norm.weight.requires_grad for norm in norms)


def test_channels_double_before_the_pools() -> None:
    with torch.device("meta"):
        network = _paper()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    channels = [(layer.in_channels, layer.out_channels) for layer in convolutions]
    analysis = [(3, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    up = [(512, 512), (256, 256), (128, 128)]
    synthesis = [(768, 256), (256, 256), (384, 128), (128, 128), (192, 64), (64, 64)]
    assert channels == [*analysis, *up, *synthesis, (64, 3)]


def test_batch_norm_comes_before_every_relu() -> None:
    with torch.device("meta"):
        network = _paper()
    for block in [*network.contraction, *network.expansion]:
        kinds = [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 2
        assert all(isinstance(layer, kind) for layer, kind in zip(block, kinds, strict=True))


@pytest.mark.parametrize(
    ("size", "valid"), [((132, 132, 116), (44, 44, 28)), ((92, 100, 108), (4, 12, 20))], ids=str
)
def test_valid_sizes(size: tuple[int, ...], valid: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert _paper().forward_valid(torch.empty(1, 3, *size)).shape == (1, 3, *valid)


@pytest.mark.parametrize(("side", "nearest"), [(130, "124 or 132"), (91, "use 92"), (93, "92 or 100")])
def test_other_sizes_name_the_nearest_usable(side: int, nearest: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=nearest):
        _paper().forward_valid(torch.empty(1, 3, 92, 92, side))


@torch.no_grad()
def test_forward_is_the_valid_output_of_the_mirrored_volume() -> None:
    torch.manual_seed(0)
    network = _paper(width=0.05)
    volume = torch.randn(1, 3, 52, 60, 68)  # 4 + 8 n need no cropping
    mirrored = nn.functional.pad(volume, (44,) * 6, mode="reflect")
    assert torch.equal(network(volume), network.forward_valid(mirrored))


@torch.no_grad()
def test_the_middle_of_a_volume_does_not_depend_on_the_mirroring() -> None:
    torch.manual_seed(0)
    network = _paper(width=0.05)
    volume = torch.randn(1, 3, 108, 108, 108)
    # The pools repeat every 8 voxels and the whole volume's tile starts at -44: 4 is the same phase.
    centre = network.forward_valid(volume[:, :, 4:104, 4:104, 4:104])
    torch.testing.assert_close(
        network(volume)[:, :, 48:60, 48:60, 48:60], centre, rtol=1e-4, atol=1e-5 * centre.abs().max().item()
    )


@torch.no_grad()
def test_a_volume_is_normalised_apart_from_its_batch() -> None:
    torch.manual_seed(0)
    network = models.create("unet3d", 2, 1, width=0.125).train()
    volumes = torch.randn(2, 1, 8, 9, 10)
    alone = torch.cat([network(volumes[:1]), network(volumes[1:])])
    torch.testing.assert_close(network(volumes), alone, rtol=1e-4, atol=1e-5)


def test_the_practical_variant_has_the_papers_levels() -> None:
    with torch.device("meta"):
        network = models.create("unet3d", 2, 1, width=1.0)
    outputs = [block[-3].out_channels for block in [*network.contraction, *network.expansion]]
    assert outputs == [64, 128, 256, 512, 256, 128, 64]
    assert [block[0].in_channels for block in network.expansion] == [512, 256, 128]
