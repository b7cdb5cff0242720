"""Losses: what all share, the registry, and the values of cross-entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pixelwise import losses
from pixelwise.data.check_report import CheckReport, SplitSummary
from pixelwise.errors import DataError, UsageError
from pixelwise.labels import LabelMap
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

KINDS: dict[str, tuple[int, bool, tuple[int, ...]]] = {
    "softmax": (4, False, (5, 4)),
    "binary": (1, False, (5, 4)),
    "multilabel": (3, True, (5, 4)),
    "volume": (3, False, (3, 4, 2)),
    "multilabel volume": (2, True, (3, 4, 2)),
}
"""Kind -> channels, multilabel, size."""


def _example(kind: str, seed: int = 0, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    """Float64 logits and a target with ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    channels, multilabel, size = KINDS[kind]
    logits = torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
    shape = logits.shape if multilabel else (2, *size)
    target = torch.randint(0, 2 if multilabel else max(channels, 2), shape, generator=generator)
    return logits, target.masked_fill(torch.rand(shape, generator=generator) < ignored, 255)


def _certain(kind: str, target: Tensor, certainty: float = 20.0) -> Tensor:
    """Logits that are right wherever there is a target."""
    channels, multilabel, _ = KINDS[kind]
    if channels == 1 or multilabel:
        right = (target == 1).view(2, channels, *target.shape[-len(KINDS[kind][2]) :])
    else:
        right = F.one_hot(target.where(target != 255, 0), channels).movedim(-1, 1)
    return certainty * (2 * right.double() - 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", losses.LOSSES)
class TestEveryLoss:
    """Held by every registered loss, for softmax, binary and multilabel targets, images and volumes."""

    def make(self, name: str, kind: str, **options: object) -> Loss:
        return losses.create(name, multilabel=KINDS[kind][1], **options)

    def test_it_is_a_scalar_with_a_right_gradient(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        generator = torch.Generator().manual_seed(1)
        weight = torch.rand(2, *KINDS[kind][2], generator=generator, dtype=torch.float64)
        loss = self.make(name, kind)
        assert loss(logits, target).shape == ()
        torch.autograd.gradcheck(lambda x: loss(x, target, weight), logits.requires_grad_(), fast_mode=True)

    def test_ignored_pixels_count_nowhere(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        ignored = (target == 255) if KINDS[kind][1] else (target == 255).unsqueeze(1)
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
        loss = self.make(name, kind)
        good, bad = loss(_certain(kind, target), target), loss(_certain(kind, target, -20.0), target)
        assert good + 0.01 < bad
        if name != "boundary":  # whose least value is below 0
            assert good < 0.01

    def test_a_step_downhill_costs_less(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        loss = self.make(name, kind)
        before = loss(logits.requires_grad_(), target)
        (slope,) = torch.autograd.grad(before, logits)
        assert slope.abs().max() > 1e-6
        assert loss(logits.detach() - 1e-3 * slope / slope.norm(), target) < before

    def test_extreme_logits_stay_finite(self, name: str, kind: str) -> None:
        _, target = _example(kind)
        loss = self.make(name, kind)
        for certainty in (-3e4, 0.0, 3e4):
            logits = _certain(kind, target, certainty).float().requires_grad_()
            value = loss(logits, target)
            value.backward()
            assert value.isfinite()
            assert logits.grad is not None
            assert logits.grad.isfinite().all()

    def test_the_memory_format_does_not_matter(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        strided = logits.movedim(1, -1).contiguous().movedim(-1, 1)
        loss = self.make(name, kind)
        torch.testing.assert_close(loss(strided, target), loss(logits, target))

    def test_targets_are_never_written(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        before = target.clone()
        self.make(name, kind)(logits, target)
        assert torch.equal(target, before)

    def test_any_integer_type_of_target(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        loss = self.make(name, kind)
        assert loss(logits, target.to(torch.uint8)) == loss(logits, target)
        if KINDS[kind][0] == 1 or KINDS[kind][1]:
            assert loss(logits, target == 1) == loss(logits, (target == 1).long())
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

    def test_a_mask_of_floats_is_refused(self, name: str, kind: str) -> None:
        logits, target = _example(kind)
        with pytest.raises(DataError, match=r"the target is float32 where .* expected: .*\.long\(\)"):
            self.make(name, kind)(logits, target.float())


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


def test_hard_pixels_are_those_below_the_threshold() -> None:
    logits, target = _example("softmax")
    probability = logits.softmax(1).gather(1, target.where(target != 255, 0).unsqueeze(1)).squeeze(1)
    hard = (probability < 0.3) & (target != 255)
    assert 0 < hard.sum() < (target != 255).sum()
    weights = [1.0, 2.0, 3.0, 4.0]
    mined = losses.create("cross_entropy", hard_threshold=0.3, class_weights=weights)
    plain = losses.create("cross_entropy", class_weights=weights)
    torch.testing.assert_close(mined(logits, target), plain(logits, target.where(hard, 255)))
    every = losses.create("cross_entropy", hard_threshold=1.0, class_weights=weights)
    torch.testing.assert_close(every(logits, target), plain(logits, target))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("minimum", "share"), [(0.25, 0.25), (7, None), (10_000, 1.0)])
def test_the_hardest_pixels_count_in_any_case(kind: str, minimum: float, share: float | None) -> None:
    logits, target = _example(kind)
    multilabel = KINDS[kind][1]
    loss = losses.create("cross_entropy", multilabel=multilabel, hard_minimum=minimum)
    plain = losses.create("cross_entropy", multilabel=multilabel)
    if logits.shape[1] > 1 and not multilabel:
        each = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    else:
        truth = (target == 1).view_as(logits).double()
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").view_as(target)
    each = each[target != 255].sort(descending=True).values
    many = math.ceil(share * len(each)) if share else int(minimum)
    torch.testing.assert_close(loss(logits, target), each[:many].mean())
    if share == 1.0:
        torch.testing.assert_close(loss(logits, target), plain(logits, target))


def test_mining_takes_what_either_rule_takes() -> None:
    logits = torch.tensor([3.0, 1.0, -1.0, 0.0, 9.0]).view(1, 1, 1, 5)
    target = torch.tensor([1, 1, 1, 1, 255]).view(1, 1, 5)
    each = F.softplus(-logits).flatten()

    def mined(**options: float) -> Tensor:
        return losses.create("cross_entropy", **options)(logits, target)

    torch.testing.assert_close(mined(hard_threshold=0.6), each[2:4].mean())
    torch.testing.assert_close(mined(hard_threshold=0.6, hard_minimum=1), each[2:4].mean())
    torch.testing.assert_close(mined(hard_threshold=0.6, hard_minimum=3), each[1:4].mean())
    torch.testing.assert_close(mined(hard_threshold=0.6, hard_minimum=0.75), each[1:4].mean())
    assert mined(hard_threshold=0.0) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_mining_finds_nothing_where_all_is_ignored(kind: str) -> None:
    logits, target = _example(kind, ignored=1.1)
    loss = losses.create("cross_entropy", multilabel=KINDS[kind][1], hard_minimum=0.3)
    value = loss(logits.requires_grad_(), target)
    (slope,) = torch.autograd.grad(value, logits)
    assert value == 0
    assert not slope.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_of_weight_0_is_not_mined(kind: str) -> None:
    logits, target = _example(kind)
    weight = torch.rand(2, *KINDS[kind][2], generator=torch.Generator().manual_seed(1)).round()
    ignored = (weight.unsqueeze(1) if KINDS[kind][1] else weight) == 0
    loss = losses.create("cross_entropy", multilabel=KINDS[kind][1], hard_minimum=0.3)
    torch.testing.assert_close(loss(logits, target, weight), loss(logits, target.masked_fill(ignored, 255)))


def test_class_weights_of_volumes_weigh_channels() -> None:
    logits, target = _example("multilabel volume", ignored=0)
    parts = [losses.create("cross_entropy")(logits[:, [k]], target[:, k]) for k in range(2)]
    loss = losses.create("cross_entropy", multilabel=True, class_weights=[1, 3])
    torch.testing.assert_close(loss(logits, target), (parts[0] + 3 * parts[1]) / 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hard_threshold": 1.5}, "hard_threshold must be between 0 and 1, not 1.5"),
        ({"hard_minimum": 1.5}, "hard_minimum must be a share from 0 up to 1 or a whole number"),
        ({"hard_minimum": -1}, "hard_minimum must be a share"),
        ({"class_weights": [1, -1]}, "class weights must be a list of numbers from 0 up"),
    ],
)
def test_cross_entropy_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        losses.create("cross_entropy", **options)


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ([600, 300, 100], [0.5, 1, 3]),
        # frequencies 150 / 180 and 30 / 100, because the first image has none of the second class
        ([[80, 0, 0], [70, 30, 0]], [(5 / 6 + 0.3) / 2 / (5 / 6), (5 / 6 + 0.3) / 2 / 0.3, 1]),
        ([0, 0], [1, 1]),
    ],
)
def test_median_frequency_weights(counts: list[object], weights: list[float]) -> None:
    found = losses.median_frequency_weights(counts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, weights, rtol=1e-6)


def test_median_frequency_weights_are_those_of_the_report() -> None:
    counts = np.array([[90, 0, 0, 7], [70, 30, 0, 0], [5, 0, 11, 1]])
    around = ((counts > 0) * counts.sum(1, keepdims=True)).sum(0)
    summary = SplitSummary(counts.sum(0), (counts > 0).sum(0), around)
    report = CheckReport("", None, LabelMap(("a", "b", "c", "d")), {"all": summary})
    np.testing.assert_allclose(losses.median_frequency_weights(counts), report.class_weights(), rtol=1e-6)


@pytest.mark.parametrize("counts", [[-1, 2], [], 3, [np.inf, 1]])
def test_bad_counts_are_refused(counts: object) -> None:
    with pytest.raises(UsageError, match="counts must be K numbers of pixels"):
        losses.median_frequency_weights(counts)


def test_options_stand_in_the_text() -> None:
    parts = 0.5 * losses.create("tversky", alpha=0.2, beta=0.8)(LOGITS, TARGET)
    parts += losses.create("cross_entropy", class_weights=[1, 2, 3])(LOGITS, TARGET)
    loss = losses.create("0.5*tversky(alpha=0.2, beta=0.8) + cross_entropy(class_weights=[1, 2, 3])")
    torch.testing.assert_close(loss(LOGITS, TARGET), parts)


def test_a_word_needs_no_quotes() -> None:
    for text in ("dice(average=all)", "dice(average='all')"):
        assert losses.create(text).average == "all"


def test_options_for_all_reach_each_term_that_does_not_set_them() -> None:
    loss = losses.create("dice(smooth=2) + iou + cross_entropy", smooth=1.0, ignore_index=0)
    dice, iou, _ = loss.losses
    assert (dice.smooth, iou.smooth) == (2, 1)
    assert [each.ignore_index for each in loss.losses] == [0, 0, 0]


def test_class_weights_may_be_arrays_and_tensors() -> None:
    expected = losses.create("dice", class_weights=[1, 2, 3])(LOGITS, TARGET)
    for weights in (np.array([1, 2, 3], np.float32), torch.tensor([1, 2, 3]), (1, 2, 3)):
        assert losses.create("dice", class_weights=weights)(LOGITS, TARGET) == expected


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
        ("dice(0.5)", "is not a sum of losses"),
        ("dice(smooth=1, smooth=2)", "is not a sum of losses"),
        ("dice(**smooth)", "is not a sum of losses"),
        ("dice(smooth=open('x'))", "is not a sum of losses"),
        ("0.5*(dice + iou)", "is not a sum of losses"),
        ("-1*dice", "is not a sum of losses"),
        ("1e999*dice", "is not a sum of losses"),
        ("True*dice", "is not a sum of losses"),
        ("'dice'", "is not a sum of losses"),
        ("dice(", "is not a sum of losses"),
        ("dice(smoth=1)", "unknown option of 'dice' 'smoth': did you mean 'smooth'"),
        ("cross_entropy + dice(alpha=1)", "unknown option of 'dice' 'alpha'"),
        ("dice(smooth=much)", "option 'smooth' of 'dice' must be float, not 'much'"),
        ("dice(per_image=1)", "option 'per_image' of 'dice' must be bool, not 1"),
        ("dice(classes=3)", "option 'classes' of 'dice' must be list of int or None, not 3"),
        ("focal(alpha=[1, no])", "is not a sum of losses"),
        ("dice(average=presnt)", "unknown average 'presnt': did you mean 'present'"),
    ],
)
def test_bad_texts_are_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        losses.create(text)


def test_unknown_options_suggest_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'ignore_index'"):
        losses.create("cross_entropy", ignor_index=0)
    with pytest.raises(UsageError, match="did you mean 'smooth'"):
        losses.create("cross_entropy + dice", smoth=0)
    with pytest.raises(UsageError, match="option 'gamma' of 'focal' must be float, not 'two'"):
        losses.create("focal", gamma="two")
