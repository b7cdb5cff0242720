"""Facts of the U-Net paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pixelwise import models
from pixelwise.errors import UsageError
from pixelwise.models.image.unet import PaperUNet


def _paper(num_classes: int = 2, in_channels: int = 1, width: float = 1.0) -> PaperUNet:
    network = models.create("unet", num_classes, in_channels, variant="paper", width=width)
    assert isinstance(network, PaperUNet)
    return network.eval()


@pytest.mark.parametrize(
    ("in_channels", "num_classes", "count"), [(1, 2, 31_030_658), (3, 2, 31_031_810), (3, 21, 31_033_045)]
)
def test_parameter_counts(in_channels: int, num_classes: int, count: int) -> None:
    with torch.device("meta"):
        network = _paper(num_classes, in_channels)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(("size", "valid"), [(188, 4), (204, 20), (572, 388)])
def test_valid_sizes(size: int, valid: int) -> None:
    with torch.device("meta"):
        assert _paper().forward_valid(torch.empty(1, 1, size, 188)).shape == (1, 2, valid, 4)


@pytest.mark.parametrize(("size", "nearest"), [(570, "556 or 572"), (187, "use 188"), (189, "188 or 204")])
def test_other_sizes_name_the_nearest_usable(size: int, nearest: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=nearest):
        _paper().forward_valid(torch.empty(1, 1, size, 188))


@torch.no_grad()
def test_forward_is_the_valid_output_of_the_mirrored_image() -> None:
    torch.manual_seed(0)
    network = _paper(width=0.1)
    image = torch.randn(1, 1, 212, 100)  # 212 = 4 + 16 * 13 and 100 = 4 + 16 * 6 need no cropping
    mirrored = nn.functional.pad(image, (92, 92, 92, 92), mode="reflect")
    assert torch.equal(network(image), network.forward_valid(mirrored))


@torch.no_grad()
def test_the_middle_of_an_image_does_not_depend_on_the_mirroring() -> None:
    torch.manual_seed(0)
    network = _paper(width=0.1)
    image = torch.randn(1, 1, 228, 228)
    # The pools repeat every 16 pixels and the whole image's tile starts at -92: 4 is the same phase.
    centre = network.forward_valid(image[:, :, 4:224, 4:224])
    torch.testing.assert_close(network(image)[:, :, 96:132, 96:132], centre, rtol=1e-4, atol=1e-5)


def test_he_initialisation() -> None:
    torch.manual_seed(0)
    convolution = _paper().contraction[2][2]
    assert convolution.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert not convolution.bias.any()


@torch.no_grad()
def test_dropout_at_the_end_of_the_contracting_path() -> None:
    torch.manual_seed(0)
    network = _paper(width=0.1)
    tile = {"tile": torch.randn(1, 1, 188, 188)}
    evaluated, trained = _levels(network.eval(), tile), _levels(network.train(), tile)
    assert all(torch.equal(evaluated[name], trained[name]) for name in ("level1", "level2", "level3"))
    kept = trained["level4"] != 0
    torch.testing.assert_close(trained["level4"][kept], 2 * evaluated["level4"][kept])
    dropped = ~kept & (evaluated["level4"] != 0)
    assert dropped.sum().item() == pytest.approx(kept.sum().item(), rel=0.1)
    assert (trained["level5"] == 0).float().mean() > (evaluated["level5"] == 0).float().mean() + 0.1


def _levels(network: PaperUNet, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for stage in network.stages()[1:6]:
        features = stage.run(features)
    return features


def test_default_decoder_widens_from_the_encoder() -> None:
    network = models.create("unet", 2)
    joined = [step[0][0].in_channels for step in network.steps]
    assert joined == [320 + 112, 256 + 40, 128 + 24, 64 + 16, 32]
