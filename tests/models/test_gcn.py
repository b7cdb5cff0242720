"""Facts of the GCN paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pixelwise import models
from pixelwise.errors import UsageError
from pixelwise.models.image.gcn import BoundaryRefinement, GlobalConvolution


@pytest.mark.parametrize(
    ("encoder", "kernel_size", "bilinear"),
    [
        ("resnet50", 15, 26_052_308),
        ("resnet101", 15, 45_044_436),
        ("resnet152", 15, 60_688_084),
        ("resnet50", 7, 24_733_844),
    ],
)
def test_parameter_counts(encoder: str, kernel_size: int, bilinear: int) -> None:
    for deconvolution, expected in ((False, bilinear), (True, bilinear + 5 * 21 * 21 * 16)):
        with torch.device("meta"):
            network = models.create(
                "gcn",
                21,
                variant="paper",
                encoder=encoder,
                kernel_size=kernel_size,
                deconvolution=deconvolution,
            )
        assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize("variant", ["default", "paper"])
def test_nine_refinements_and_a_map_per_stride(variant: str) -> None:
    with torch.device("meta"):
        network = models.create("gcn", 21, variant=variant)
        without = models.create("gcn", 21, variant=variant, boundary_refinement=False)
    refinements = [m for m in network.modules() if isinstance(m, BoundaryRefinement)]
    assert len(refinements) == 9
    assert not any(isinstance(m, nn.BatchNorm2d) for r in refinements for m in r.modules())
    assert not any(isinstance(m, BoundaryRefinement) for m in without.modules())
    convolutions = [m for m in network.modules() if isinstance(m, GlobalConvolution)]
    reductions = network.encoder.reductions
    assert len(convolutions) == 4
    assert [reductions[int(name.removeprefix("level")) - 1] for name in network._levels] == [4, 8, 16, 32]


@torch.no_grad()
def test_a_global_convolution_is_linear_and_exactly_k_by_k() -> None:
    layer = GlobalConvolution(2, 3, 7).double()
    x, y = torch.randn(2, 1, 2, 21, 23, dtype=torch.float64)
    bias = layer(torch.zeros_like(x))
    torch.testing.assert_close(layer(2 * x + y) - bias, 2 * (layer(x) - bias) + (layer(y) - bias))
    impulse = torch.zeros_like(x)
    impulse[0, :, 10, 11] = 1
    reached = ((layer(impulse) - bias).abs() > 1e-12).any(dim=1)[0]
    rows, columns = reached.any(dim=1).nonzero().ravel(), reached.any(dim=0).nonzero().ravel()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 13, 8, 14)
    assert reached[7:14, 8:15].all()


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match="must be odd, not 4"):
        GlobalConvolution(2, 2, 4)


@torch.no_grad()
def test_deconvolutions_start_as_bilinear_interpolation() -> None:
    network = models.create("gcn", 2, variant="paper", encoder="resnet50")
    x = torch.randn(1, 2, 5, 6)
    upsampled = network._upsample(0, x, (10, 12))
    expected = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(upsampled[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])
