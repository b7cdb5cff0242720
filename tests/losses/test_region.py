"""Losses over regions: Dice, IoU, Tversky and Lovász, and the rules that they share."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pixelwise import losses
from pixelwise.errors import UsageError

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
OVERLAPS = ["dice", "iou", "tversky"]
REGIONS = [*OVERLAPS, "lovasz"]

SEEDS = st.integers(0, 10_000)


def _random(seed: int, channels: int = 3, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Float64 logits, a target with ignored pixels, and weights of which some are 0."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, channels, 4, 3, generator=generator, dtype=torch.float64)
    target = torch.randint(0, max(channels, 2), (batch, 4, 3), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.2] = 255
    weight = torch.randint(0, 3, target.shape, generator=generator).double()
    return logits, target, weight


def _hard(classes: Tensor, channels: int) -> Tensor:
    """Logits that are certain of these classes."""
    if channels == 1:
        return 2000.0 * classes.unsqueeze(1).double() - 1000
    return 1000 * F.one_hot(classes, channels).movedim(-1, 1).double()


def _set_sizes(predicted: Tensor, target: Tensor, k: int) -> tuple[float, float, float]:
    """Pixels of the intersection, of the prediction and of the truth, counted one by one."""
    pairs = [
        (p == k, t == k)
        for p, t in zip(predicted.flatten().tolist(), target.flatten().tolist(), strict=True)
        if t != 255
    ]
    return sum(p and t for p, t in pairs), sum(p for p, _ in pairs), sum(t for _, t in pairs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dice", 0.262098),
        ("dice(smooth=1)", 0.1574351),
        ("dice(log=True)", 0.3086961),
        ("iou", 0.4098317),
        ("iou(class_weights=[1, 2, 0.5])", 0.4290423),
        ("iou(classes=[1, 2])", 0.4758227),
        ("tversky(alpha=0.3, beta=0.7, log=True)", 0.3039156),
        ("tversky(alpha=0.3, beta=0.7, class_weights=[1, 2, 0.5])", 0.2570008),
    ],
)
def test_values_of_softmax_regions(text: str, expected: float) -> None:
    assert losses.create(text)(LOGITS, TARGET).item() == pytest.approx(expected, abs=1e-6)


def test_values_of_binary_dice() -> None:
    logits = torch.tensor([1.2, -0.7, 0.3, 2.0, -1.5, 0.1]).view(1, 1, 2, 3)
    target = torch.tensor([1, 0, 1, 1, 1, 0]).view(1, 2, 3)
    assert losses.create("dice")(logits, target).item() == pytest.approx(0.3374098539352417, abs=1e-6)


@pytest.mark.parametrize("name", OVERLAPS)
@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ([1, 1, 1], [1, 1, 1], 0),
        ([1, 0, 1], [1, 0, 1], 0),
        ([0, 0, 0], [0, 0, 0], 0),
        ([1, 0, 1], [0, 1, 0], 1),
        ([0, 0, 0], [1, 1, 1], 1),
        ([1, 1, 1], [0, 0, 0], 1),  # other libraries let this one go
    ],
)
def test_hard_answers_to_one_channel(name: str, predicted: list[int], true: list[int], expected: int) -> None:
    logits = _hard(torch.tensor(predicted).view(1, 1, 3), 1)
    loss = losses.create(name)(logits, torch.tensor(true).view(1, 1, 3))
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_hard_iou_of_two_classes_and_of_labels() -> None:
    iou = losses.create("iou")
    target = torch.tensor([[[1, 1, 0, 0]]])
    assert iou(_hard(torch.tensor([[[0, 0, 1, 1]]]), 2), target).item() == pytest.approx(1)
    assert iou(_hard(torch.tensor([[[0, 1, 0, 1]]]), 2), target).item() == pytest.approx(2 / 3)
    several = losses.create("iou", multilabel=True)
    truth = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]]).view(1, 2, 1, 4)
    answer = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0]]).view(1, 2, 1, 4)
    assert several(2000.0 * answer - 1000, truth).item() == pytest.approx(2 / 3)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_hard_predictions_give_the_fractions_of_sets(seed: int) -> None:
    logits, target, _ = _random(seed)
    predicted = logits.argmax(1)
    expected: dict[str, list[float]] = {name: [] for name in REGIONS}
    for k in range(3):
        both, found, true = _set_sizes(predicted, target, k)
        if true:
            expected["dice"].append(1 - 2 * both / (found + true))
            expected["iou"].append(1 - both / (found + true - both))
            expected["tversky"].append(1 - both / (both + 0.2 * (found - both) + 0.9 * (true - both)))
            expected["lovasz"].append(1 - both / (found + true - both))
    for name, costs in expected.items():
        options = {"alpha": 0.2, "beta": 0.9} if name == "tversky" else {}
        loss = losses.create(name, **options)(_hard(predicted, 3), target)
        assert loss.item() == pytest.approx(sum(costs) / len(costs), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, smooth=st.sampled_from([0.0, 1.0]), average=st.sampled_from([None, "all"]))
def test_tversky_contains_dice_and_iou(seed: int, smooth: float, average: str | None) -> None:
    logits, target, weight = _random(seed)
    for price, name in ((0.5, "dice"), (1.0, "iou")):
        shared = {"smooth": smooth, "average": average}
        tversky = losses.create("tversky", alpha=price, beta=price, **shared)
        other = losses.create(name, **shared)
        torch.testing.assert_close(tversky(logits, target, weight), other(logits, target, weight))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_iou_follows_from_dice(seed: int) -> None:
    logits, target, weight = _random(seed, channels=1)
    dice = 1 - losses.create("dice")(logits, target, weight)
    iou = 1 - losses.create("iou")(logits, target, weight)
    torch.testing.assert_close(iou, dice / (2 - dice))


def test_alpha_is_the_price_of_false_positives() -> None:
    target = torch.tensor([[[1, 1, 0, 0]]])
    invents = _hard(torch.tensor([[[1, 1, 1, 0]]]), 1)
    misses = _hard(torch.tensor([[[1, 0, 0, 0]]]), 1)
    loss = losses.create("tversky", alpha=0.2, beta=0.9)
    assert loss(invents, target).item() == pytest.approx(1 - 2 / (2 + 0.2))
    assert loss(misses, target).item() == pytest.approx(1 - 1 / (1 + 0.9))


def test_tversky_favours_recall_unless_told() -> None:
    expected = losses.create("tversky", alpha=0.3, beta=0.7)(LOGITS, TARGET)
    assert losses.create("tversky")(LOGITS, TARGET) == expected


def test_gamma_of_tversky_is_the_exponent() -> None:
    logits, target, _ = _random(0, channels=1)
    plain = losses.create("tversky")(logits, target)
    for gamma in (0.75, 2.0):
        torch.testing.assert_close(losses.create("tversky", gamma=gamma)(logits, target), plain**gamma)


def test_gamma_below_one_has_a_finite_slope_at_the_best_answer() -> None:
    target = torch.tensor([[[1, 1, 0, 0]]])
    logits = _hard(target, 1).requires_grad_()
    loss = losses.create("tversky", gamma=0.75)(logits, target)
    (slope,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert not slope.any()


def test_squared_dice_by_hand() -> None:
    logits = torch.tensor([0.8, 0.4]).logit().view(1, 1, 1, 2)
    target = torch.tensor([[[1, 0]]])
    loss = losses.create("dice", squared=True)
    assert loss(logits, target).item() == pytest.approx(1 - 2 * 0.8 / (0.8**2 + 0.4**2 + 1))


@pytest.mark.parametrize("name", REGIONS)
class TestEveryRegion:
    """The rules for classes, images and weights."""

    def test_an_absent_class_leaves_the_mean_unless_told(self, name: str) -> None:
        target = torch.tensor([[[0, 0, 1, 1]]])
        logits = _hard(torch.tensor([[[0, 0, 1, 2]]]), 3)
        one, missed = 0.0, {"dice": 1 / 3, "iou": 1 / 2, "tversky": 1 - 1 / 1.7, "lovasz": 1 / 2}[name]
        present = losses.create(name)(logits, target)
        assert present.item() == pytest.approx((one + missed) / 2)
        every = losses.create(name, average="all")(logits, target)
        assert every.item() == pytest.approx((one + missed + 1) / 3)  # the invented third class costs 1

    def test_an_empty_label_counts_unless_told(self, name: str) -> None:
        target = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).view(1, 2, 1, 4)
        right, invented = 2.0 * target - 1, torch.ones(1, 2, 1, 4)
        invented[:, 0] = right[:, 0]
        scale = 1 if name == "lovasz" else 1000
        price = 2 if name == "lovasz" else 1  # the hinge of a wrong margin of 1
        loss = losses.create(name, multilabel=True)
        assert loss(scale * right, target).item() == pytest.approx(0)
        assert loss(scale * invented, target).item() == pytest.approx(price / 2)
        present = losses.create(name, multilabel=True, average="present")
        assert present(scale * invented, target).item() == pytest.approx(0)

    def test_a_label_without_valid_pixels_leaves_the_mean(self, name: str) -> None:
        logits, target, _ = _random(1, channels=1)
        both = torch.cat([logits, logits], dim=1)
        labels = torch.stack([target, torch.full_like(target, 255)], dim=1)
        loss = losses.create(name, multilabel=True)
        torch.testing.assert_close(loss(both, labels), losses.create(name)(logits, target))

    def test_chosen_classes(self, name: str) -> None:
        logits, target, weight = _random(2)
        each = [losses.create(name, classes=[k])(logits, target, weight) for k in range(3)]
        assert len({round(value.item(), 6) for value in each}) == 3
        torch.testing.assert_close(losses.create(name)(logits, target, weight), sum(each) / 3)
        two = losses.create(name, classes=[2, 0], class_weights=[1, 9, 3])(logits, target, weight)
        torch.testing.assert_close(two, (each[0] + 3 * each[2]) / 4)

    def test_chosen_labels_are_judged_against_their_own_target(self, name: str) -> None:
        logits, target, _ = _random(3)
        labels = torch.stack([target == k for k in range(3)], dim=1).long()
        labels[:, 0] = labels[:, 0].where(target != 255, 255)
        chosen = losses.create(name, multilabel=True, classes=[0, 2])
        only = losses.create(name, multilabel=True)
        torch.testing.assert_close(chosen(logits, labels), only(logits[:, [0, 2]], labels[:, [0, 2]]))

    def test_class_weights_are_divided_by_those_that_count(self, name: str) -> None:
        logits, target, _ = _random(4)
        target[target == 1] = 0
        each = {k: losses.create(name, classes=[k])(logits, target) for k in (0, 2)}
        loss = losses.create(name, class_weights=[1, 100, 3])
        torch.testing.assert_close(loss(logits, target), (each[0] + 3 * each[2]) / 4)

    def test_per_image(self, name: str) -> None:
        logits, target, weight = _random(5, batch=3)
        target[1] = 255
        loss = losses.create(name, per_image=True)
        alone = [losses.create(name)(logits[[i]], target[[i]], weight[[i]]) for i in (0, 2)]
        torch.testing.assert_close(loss(logits, target, weight), sum(alone) / 2)
        pooled = losses.create(name)(logits, target, weight)
        assert (loss(logits, target, weight) - pooled).abs() > 1e-4

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_weight_counts_a_pixel_so_many_times(self, name: str, channels: int) -> None:
        logits, target, weight = _random(6, channels)
        times = weight.long().flatten()
        many = logits.movedim(1, -1).flatten(0, 2).repeat_interleave(times, 0).T[None, :, None]
        repeated = target.flatten().repeat_interleave(times)[None, None]
        for loss in (losses.create("dice", squared=True), losses.create(name)):
            torch.testing.assert_close(loss(logits, target, weight), loss(many, repeated))
        anything = weight.where(target != 255, torch.nan)
        torch.testing.assert_close(loss(logits, target, anything), loss(logits, target, weight))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"average": "presnt"}, "unknown average 'presnt': did you mean 'present'"),
            ({"classes": [0, 3]}, "do not fit logits with 3 channels"),
            ({"classes": []}, "classes must be a list of class ids from 0 up"),
            ({"classes": [-1]}, "classes must be a list of class ids from 0 up"),
            ({"class_weights": [1, 2]}, "2 class weights do not fit logits with 3 channels: give 3"),
        ],
    )
    def test_options_that_do_not_fit(self, name: str, options: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            losses.create(name, **options)(LOGITS, TARGET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dice(smooth=-1)", "smooth must be 0 or more, not -1"),
        ("tversky(alpha=-1)", "alpha and beta must be 0 or more"),
        ("tversky(alpha=0, beta=0)", "alpha and beta must be 0 or more, and one of them more"),
        ("tversky(gamma=0)", "gamma of the Tversky loss must be above 0"),
        ("tversky(gamma=2, log=True)", "either gamma or log=True, not both"),
    ],
)
def test_overlaps_refuse(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        losses.create(text)


def test_smooth_gives_false_positives_on_an_empty_target_a_slope() -> None:
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    (flat,) = torch.autograd.grad(losses.create("dice")(logits, target), logits)
    (steep,) = torch.autograd.grad(losses.create("dice", smooth=1.0)(logits, target), logits)
    assert not flat.any()
    assert (steep > 0).all()


def test_class_weights_for_one_channel_change_nothing() -> None:
    logits, target, _ = _random(7, channels=1)
    for name in REGIONS:
        weighted = losses.create(name, class_weights=[0.2, 5])
        assert weighted(logits, target) == losses.create(name)(logits, target)


def _lovasz_of_one(errors: list[float], positive: list[bool], weight: list[float]) -> float:
    """The Lovász extension of 1 - IoU from its definition: every set of wrong pixels measured anew."""

    def jaccard_loss(wrong: list[int]) -> float:
        inside = sum(w for i, w in enumerate(weight) if positive[i] and i not in wrong)
        union = sum(w for i, w in enumerate(weight) if positive[i] or i in wrong)
        return 1 - inside / union if union else 0.0

    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    values = [jaccard_loss(order[:n]) for n in range(len(order) + 1)]
    return sum(errors[i] * (values[n + 1] - values[n]) for n, i in enumerate(order))


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_lovasz_softmax_is_its_definition(seed: int) -> None:
    logits, target, weight = _random(seed)
    probabilities = logits.softmax(1)
    valid = target != 255
    costs = []
    for k in range(3):
        true = (target == k)[valid]
        if (weight[valid] * true).sum() > 0:
            errors = (true.double() - probabilities[:, k][valid]).abs()
            costs.append(_lovasz_of_one(errors.tolist(), true.tolist(), weight[valid].tolist()))
    expected = sum(costs) / max(len(costs), 1)
    assert losses.create("lovasz")(logits, target, weight).item() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, empty=st.booleans())
def test_lovasz_hinge_is_its_definition(seed: int, empty: bool) -> None:
    logits, target, weight = _random(seed, channels=1)
    if empty:
        target = target.where(target == 255, 0)
    valid = target != 255
    true = (target == 1)[valid]
    errors = (1 - logits[:, 0][valid] * (2.0 * true - 1)).clamp(min=0)
    expected = _lovasz_of_one(errors.tolist(), true.tolist(), weight[valid].tolist())
    assert losses.create("lovasz")(logits, target, weight).item() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_lovasz_hinge_of_unit_margins_is_twice_the_jaccard_loss(seed: int) -> None:
    logits, target, _ = _random(seed, channels=1)
    predicted = (logits[:, 0] > 0).long()
    both, found, true = _set_sizes(predicted, target, 1)
    union = found + true - both
    expected = 2 * (1 - both / union) if union else 0.0
    loss = losses.create("lovasz")(2.0 * predicted.unsqueeze(1) - 1, target)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_lovasz_slopes_stay_right_in_float32_with_many_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 512, 512, generator=generator)
    target = (torch.rand(1, 512, 512, generator=generator) < 0.3).long()
    loss = losses.create("lovasz")
    slopes = []
    for precise in (logits, logits.double()):
        precise = precise.clone().requires_grad_()
        loss(precise, target).backward()
        slopes.append(precise.grad.double())
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-3, atol=0)
