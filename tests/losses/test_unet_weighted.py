"""U-Net's weighted loss against its formula, and which losses see the border map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pixelwise import losses
from pixelwise.errors import UsageError
from pixelwise.kernels.distance import border_weights

LOGITS = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.randint(0, 3, (2, 6, 7), generator=torch.Generator().manual_seed(1))
BORDER = 10 * torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_the_weight_is_the_class_balance_plus_the_border() -> None:
    target = TARGET.clone()
    target[0, :3] = 255
    border = BORDER.masked_fill(target == 255, torch.nan)
    balance = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    each = F.cross_entropy(LOGITS, target, ignore_index=255, reduction="none")
    valid = target != 255
    expected = ((balance[target.where(valid, 0)] + border) * each)[valid].mean()
    loss = losses.create("unet_weighted", class_weights=[0.5, 1, 4])
    torch.testing.assert_close(loss(LOGITS, target, border), expected)


def test_without_borders_and_balance_it_is_cross_entropy() -> None:
    plain = losses.create("cross_entropy")(LOGITS, TARGET)
    loss = losses.create("unet_weighted")
    torch.testing.assert_close(loss(LOGITS, TARGET), plain)
    one_instance = border_weights(np.eye(6, 7, dtype=np.int32))
    border = torch.from_numpy(one_instance).expand(2, 6, 7)
    torch.testing.assert_close(loss(LOGITS, TARGET, border), plain)


def test_volumes_are_weighted_too() -> None:
    flat = losses.create("unet_weighted", class_weights=[1, 2, 3])
    volume = flat(LOGITS.unflatten(2, (3, 2)), TARGET.unflatten(1, (3, 2)), BORDER.unflatten(1, (3, 2)))
    torch.testing.assert_close(volume, flat(LOGITS, TARGET, BORDER))


def test_binary_equals_two_class_softmax() -> None:
    logits, target = LOGITS[:, :1], TARGET.clamp(max=1)
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    for options in ({}, {"class_weights": [1, 3]}, {"label_smoothing": 0.2}):
        loss = losses.create("unet_weighted", **options)
        torch.testing.assert_close(loss(logits, target, BORDER), loss(both, target, BORDER))


def test_multilabel_is_the_mean_over_its_channels() -> None:
    target = (torch.rand(LOGITS.shape, generator=torch.Generator().manual_seed(3)) < 0.5).long()
    each = F.binary_cross_entropy_with_logits(LOGITS, target.double(), reduction="none")
    balance = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
    expected = ((balance + BORDER.unsqueeze(1)) * each).mean()
    loss = losses.create("unet_weighted", multilabel=True, class_weights=[1, 2, 0])
    torch.testing.assert_close(loss(LOGITS, target, BORDER), expected)


@pytest.mark.parametrize("text", ["unet_weighted + 0.5*dice", "dice + cross_entropy + 2*unet_weighted"])
def test_in_a_sum_the_border_reaches_this_loss_alone(text: str) -> None:
    def value(name: str, weight: Tensor | None = None) -> Tensor:
        return losses.create(name)(LOGITS, TARGET, weight)

    if text.startswith("unet"):
        expected = value("unet_weighted", BORDER) + 0.5 * value("dice")
    else:
        expected = value("dice") + value("cross_entropy") + 2 * value("unet_weighted", BORDER)
    loss = losses.create(text)
    assert loss.needs == {"border": {"w0": 10, "sigma": 5}}
    torch.testing.assert_close(loss(LOGITS, TARGET, BORDER), expected)


def test_a_sum_without_it_weighs_every_term() -> None:
    loss = losses.create("cross_entropy + dice")
    assert not loss.needs
    parts = [losses.create(name)(LOGITS, TARGET, BORDER) for name in ("cross_entropy", "dice")]
    torch.testing.assert_close(loss(LOGITS, TARGET, BORDER), sum(parts))


def test_the_shape_of_the_border_stands_in_the_text() -> None:
    assert losses.create("2*unet_weighted(w0=4, sigma=1.5)").needs == {"border": {"w0": 4, "sigma": 1.5}}
    with pytest.raises(UsageError, match="sigma above 0"):
        losses.create("unet_weighted(sigma=0)")
    with pytest.raises(UsageError, match="cannot serve losses that need different ones"):
        losses.create("unet_weighted + unet_weighted(sigma=2)")
    with pytest.raises(UsageError, match="2 class weights do not fit"):
        losses.create("unet_weighted", class_weights=[1, 2])(LOGITS, TARGET)
