"""Losses: what all share, the registry, and the values of cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pixelwise import losses
from pixelwise.errors import DataError, UsageError
from pixelwise.losses.base import Loss

LOGITS = torch.tensor(
    [
        [
            [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]],
            [[0.0, 1.5, -0.5], [1.0, 0.0, 2.0]],
            [[-1.0, 0.0, 1.0], [2.0, -3.0, 0.5]],
        ]
    ]
)
TARGET = torch.tensor([[[0, 1, 2], [2, 0, 255]]])

KINDS = {
    "softmax": (4, False),
    "binary": (1, False),
    "multilabel": (3, True),
}


def _example(kind: str, seed: int = 0, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    """Float64 logits and a target with ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    channels, multilabel = KINDS[kind]
    logits = torch.randn(2, channels, 5, 4, generator=generator, dtype=torch.float64)
    shape = logits.shape if multilabel else (2, 5, 4)
    target = torch.randint(0, channels if kind == "softmax" else 2, shape, generator=generator)
    return logits, target.masked_fill(torch.rand(shape, generator=generator) < ignored, 255)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", losses.LOSSES)
class TestEveryLoss:
    """Held by every registered loss, for softmax, binary and multilabel targets."""

    def make(self, name: str, kind: str, **options: object) -> Loss:
        return losses.create(name, multilabel=KINDS[kind][1], **options)

    def test_it_is_a_scalar_with_a_right_gradient(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        weight = torch.rand(2, 5, 4, dtype=torch.float64)
        loss = self.make(name, kind)
        assert loss(logits, target).shape == ()
        torch.autograd.gradcheck(lambda x: loss(x, target, weight), logits.requires_grad_())

    def test_ignored_pixels_count_nowhere(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        ignored = (target == 255) if target.ndim == 4 else (target == 255).unsqueeze(1)
        loss = self.make(name, kind)
        changed = logits + 7 * ignored
        assert loss(changed, target) == loss(logits, target)
        logits.requires_grad_()
        loss(logits, target).backward()
        assert logits.grad is not None
        assert not (logits.grad * ignored).any()

    def test_nothing_valid_gives_zero_with_gradient(self, name: str, kind: str) -> None:
        logits, target = _example(kind, ignored=1.1)
        logits.requires_grad_()
        value = self.make(name, kind)(logits, target)
        value.backward()
        assert value == 0
        assert logits.grad is not None
        assert not logits.grad.any()

    def test_the_ignored_id_may_be_a_class(self, name: str, kind: str) -> None:
        logits, target = _example(kind, ignored=0)
        expected = self.make(name, kind)(logits, target.masked_fill(target == 0, 255))
        assert self.make(name, kind, ignore_index=0)(logits, target) == expected

    def test_a_good_answer_costs_less_than_a_bad_one(self, name: str, kind: str) -> None:
        _, target = _example(kind)
        channels = KINDS[kind][0]
        if kind == "softmax":
            right = F.one_hot(target.where(target != 255, 0), channels).permute(0, 3, 1, 2)
        else:
            right = (target == 1).view(2, channels, 5, 4)
        logits = 40 * right.double() - 20
        loss = self.make(name, kind)
        assert loss(logits, target) < 0.01 < loss(-logits, target)

    def test_targets_are_never_written(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        before = target.clone()
        self.make(name, kind)(logits, target)
        assert torch.equal(target, before)

    def test_any_integer_type_of_target(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        loss = self.make(name, kind)
        assert loss(logits, target.to(torch.uint8)) == loss(logits, target)
        wide = self.make(name, kind, ignore_index=65535)
        assert wide(logits, target.where(target != 255, 0).to(torch.uint8)).isfinite()

    def test_it_is_float32_inside_autocast(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        loss = self.make(name, kind)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(logits.bfloat16(), target)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, loss(logits.bfloat16().float(), target))

    def test_an_unknown_class_id_is_named(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        with pytest.raises(DataError, match="class id 77 where 0.."):
            self.make(name, kind)(logits, target.masked_fill(target == 1, 77))
        with pytest.raises(DataError, match="class id -1"):
            self.make(name, kind)(logits, target.masked_fill(target == 1, -1))

    def test_wrong_shapes_are_explained(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        with pytest.raises(UsageError, match="does not fit logits of shape"):
            self.make(name, kind)(logits, target[..., 1:])
        with pytest.raises(UsageError, match="weight map of shape"):
            self.make(name, kind)(logits, target, torch.ones(2, 5, 5))


def test_cross_entropy_divides_by_the_sum_of_weights() -> None:
    weighted = losses.create("cross_entropy", class_weights=[1, 2, 3])
    assert weighted(LOGITS, TARGET).item() == pytest.approx(0.378873735666275, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), smoothing=st.sampled_from([0.0, 0.1]), weighted=st.booleans())
def test_cross_entropy_is_torchs_where_that_is_defined(seed: int, smoothing: float, weighted: bool) -> None:
    logits, target = _example("softmax", seed)
    weights = [0.5, 1.0, 2.0, 4.0] if weighted else None
    expected = F.cross_entropy(
        logits,
        target,
        torch.tensor(weights, dtype=torch.float64) if weights else None,
        ignore_index=255,
        label_smoothing=smoothing,
    )
    loss = losses.create("cross_entropy", class_weights=weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, target), expected)
    torch.testing.assert_close(loss(logits, target, torch.full((2, 5, 4), 3.0)), expected)


def test_a_pixels_weight_is_how_often_it_counts() -> None:
    logits, target = _example("softmax", ignored=0)
    weight = torch.zeros(2, 5, 4)
    weight[0] = 1
    loss = losses.create("cross_entropy", class_weights=[1, 2, 3, 4])
    torch.testing.assert_close(loss(logits, target, weight), loss(logits[:1], target[:1]))


def test_binary_equals_two_class_softmax() -> None:
    logits, target = _example("binary")
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    for options in ({}, {"class_weights": [1, 3]}, {"label_smoothing": 0.2}):
        loss = losses.create("cross_entropy", **options)
        torch.testing.assert_close(loss(logits, target), loss(both, target))


def test_multilabel_averages_over_valid_entries() -> None:
    logits, target = _example("multilabel")
    valid = target != 255
    each = F.binary_cross_entropy_with_logits(logits, (target == 1).double(), reduction="none")
    loss = losses.create("cross_entropy", multilabel=True)
    torch.testing.assert_close(loss(logits, target), each[valid].mean())


def test_class_weights_must_fit() -> None:
    with pytest.raises(UsageError, match="2 class weights do not fit logits with 3 channels: give 3"):
        losses.create("cross_entropy", class_weights=[1, 2])(LOGITS, TARGET)
    with pytest.raises(UsageError, match="label_smoothing must be between 0 and 1"):
        losses.create("cross_entropy", label_smoothing=2.0)


def test_sums_by_text() -> None:
    single = losses.create("cross_entropy", ignore_index=0)
    for text, factor in [
        ("cross_entropy + 0.5*cross_entropy", 1.5),
        ("2 * cross_entropy", 2),
        ("cross_entropy", 1),
    ]:
        loss = losses.create(text, ignore_index=0)
        target = TARGET.where(TARGET != 255, 0)
        torch.testing.assert_close(loss(LOGITS, target), factor * single(LOGITS, target))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cross_entropi", "unknown loss 'cross_entropi': did you mean 'cross_entropy'"),
        ("cross_entropy +", "is not a sum of losses"),
        ("cross_entropy * 0.5", "is not a sum of losses"),
        ("", "is not a sum of losses"),
    ],
)
def test_bad_texts_are_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        losses.create(text)


def test_unknown_options_suggest_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'ignore_index'"):
        losses.create("cross_entropy", ignor_index=0)
