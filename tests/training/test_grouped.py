"""Gradients of grouped convolutions under bfloat16 autocast on a CPU."""

import pytest
import torch

from pixelwise import models
from pixelwise.training.grouped import GroupedConvolutionsInFloat32


def gradient(convolution, pixels, bf16):
    convolution.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), GroupedConvolutionsInFloat32():
        output = convolution(pixels)
    output.float().square().mean().backward()
    return convolution.weight.grad.clone()


@pytest.mark.parametrize(("kernel", "dilation", "groups"), [(3, 2, 32), (5, 4, 32), (3, 2, 8), (3, 1, 32)])
def test_the_gradient_is_that_of_float32(kernel, dilation, groups):
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    convolution = torch.nn.Conv2d(32, 32, kernel, padding=padding, dilation=dilation, groups=groups)
    convolution = convolution.to(memory_format=torch.channels_last)
    pixels = torch.randn(2, 32, 23, 30).to(memory_format=torch.channels_last)
    exact, found = (gradient(convolution, pixels, bf16) for bf16 in (False, True))
    assert (found - exact).abs().max() < 0.02 * exact.abs().max()


def test_dense_convolutions_stay_in_bfloat16():
    convolution = torch.nn.Conv2d(8, 8, 3)
    with torch.autocast("cpu", torch.bfloat16), GroupedConvolutionsInFloat32():
        assert convolution(torch.randn(1, 8, 5, 5)).dtype == torch.bfloat16


def test_without_autocast_nothing_changes():
    convolution = torch.nn.Conv2d(8, 8, 3, groups=8).double()
    with GroupedConvolutionsInFloat32():
        assert convolution(torch.randn(1, 8, 5, 5, dtype=torch.float64)).dtype == torch.float64


def test_a_dilated_network_learns_in_the_same_direction():
    """All gradients of a network with dilated depthwise convolutions, against float32."""
    torch.manual_seed(0)
    network = models.create("deeplabv3plus", 3).train().to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm | torch.nn.Dropout):
            module.eval()  # statistics of a tiny batch would amplify rounding
    pixels = torch.randn(2, 3, 96, 96).to(memory_format=torch.channels_last)
    found = []
    for bf16 in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), GroupedConvolutionsInFloat32():
            output = network(pixels)
        logits = output if isinstance(output, torch.Tensor) else output[0]
        torch.nn.functional.cross_entropy(logits.float(), torch.zeros(2, 96, 96, dtype=torch.long)).backward()
        found.append(
            {n: p.grad.flatten().clone() for n, p in network.named_parameters() if p.grad is not None}
        )
    dilated = [n for n, m in network.named_modules() if getattr(m, "groups", 1) > 1 and m.dilation[0] > 1]
    assert dilated
    for name in dilated:
        exact, rounded = (gradients[f"{name}.weight"] for gradients in found)
        assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.9, name
