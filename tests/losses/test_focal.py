"""Values of the focal loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise import losses
from pixelwise.errors import UsageError
from pixelwise.losses.focal import sigmoid_focal

# The sigmoid focal loss of mmsegmentation's test: gamma 2, alpha 0.4, one class against the rest.
LOGITS = torch.tensor(
    [
        [
            [[0.1998772621, 0.3659250736], [0.9128918052, 0.2723454833]],
            [[0.1373604536, 0.2495964766], [0.978525281, 0.5094971061]],
            [[0.2959728837, 0.8378278613], [0.5674484372, 0.3124643564]],
        ],
        [
            [[0.238104105, 0.8065491915], [0.2052971125, 0.9496635199]],
            [[0.2494341135, 0.972638607], [0.9316667318, 0.2813754082]],
            [[0.2399672866, 0.3493354321], [0.955083847, 0.8279340863]],
        ],
    ]
)
TARGET = torch.tensor([[[2, 2], [1, 2]], [[0, 1], [2, 0]]])
EACH = torch.tensor(
    [
        [
            [[0.144746527076, 0.186760470271], [0.382012426853, 0.162134960294]],
            [[0.130887210369, 0.156520798802], [0.009525223635, 0.229458481073]],
            [[0.040468234569, 0.013115406968], [0.248414337635, 0.03920744732]],
        ],
        [
            [[0.045159734786, 0.337167203426], [0.145997330546, 0.010179704987]],
            [[0.156481266022, 0.009655538015], [0.390263706446, 0.164403364062]],
            [[0.154187619686, 0.182213142514], [0.01005377993, 0.345924407244]],
        ],
    ]
)
CLASS_WEIGHTS = [0.0529175, 0.2741446, 0.5211337]


def test_each_value_is_that_of_mmseg() -> None:
    positive = F.one_hot(TARGET, 3).movedim(-1, 1).bool()
    found = sigmoid_focal(LOGITS, positive, gamma=2.0, alpha=0.4)
    torch.testing.assert_close(found, EACH, atol=1e-6, rtol=0)


def test_the_mean_is_that_of_mmseg() -> None:
    loss = losses.create("focal", alpha=0.4, one_vs_rest=True)
    assert 24 * loss(LOGITS, TARGET).item() == pytest.approx(3.6949386596679688, abs=1e-5)
    weighted = losses.create("focal", alpha=0.4, one_vs_rest=True, class_weights=CLASS_WEIGHTS)
    assert weighted(LOGITS, TARGET).item() == pytest.approx(0.039807554334402084, abs=1e-6)


def test_one_against_the_rest_is_multilabel() -> None:
    positive = F.one_hot(TARGET, 3).movedim(-1, 1)
    for alpha in (None, 0.3, [0.1, 0.5, 0.9]):
        rest = losses.create("focal", alpha=alpha, one_vs_rest=True)
        labels = losses.create("focal", alpha=alpha, multilabel=True)
        torch.testing.assert_close(rest(LOGITS, TARGET), labels(LOGITS, positive))


def test_ignored_pixels_leave_the_divisor() -> None:
    target = TARGET.masked_fill(TARGET == 1, 255)
    loss = losses.create("focal", alpha=0.4, one_vs_rest=True)
    valid = (TARGET != 1).unsqueeze(1).expand_as(EACH)
    torch.testing.assert_close(loss(LOGITS, target), EACH[valid].mean(), atol=1e-6, rtol=0)


def test_softmax_focal_by_hand() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().view(1, 3, 1, 1).expand(1, 3, 1, 2)
    target = torch.tensor([[[0, 2]]])
    p = torch.tensor([0.5, 0.2])
    each = -((1 - p) ** 2) * p.log()
    torch.testing.assert_close(losses.create("focal")(logits, target), each.mean())
    balanced = losses.create("focal", alpha=[0.5, 7, 3])
    torch.testing.assert_close(balanced(logits, target), (each * torch.tensor([0.5, 3])).mean())
    both = losses.create("focal", alpha=[0.5, 7, 3], class_weights=[2, 1, 1])
    torch.testing.assert_close(both(logits, target), (each * torch.tensor([1.0, 3])).mean())
    weight = torch.tensor([[[1.0, 3.0]]])
    torch.testing.assert_close(losses.create("focal")(logits, target, weight), (each[0] + 3 * each[1]) / 4)


def test_softmax_focal_near_certainty() -> None:
    good = torch.tensor([[0.0, 10, 0], [10, 0, 0], [0, 0, 10]]).T.view(1, 3, 1, 3)
    bad = torch.tensor([[0.0, -10, 0], [0, 10, 0], [0, 0, 10]]).T.view(1, 3, 1, 3)
    target = torch.tensor([[[1, 0, 2]]])
    loss = losses.create("focal")
    assert loss(bad, target).item() == pytest.approx(6.897288799285889, abs=1e-5)
    rest = 2 / (math.exp(10) + 2)  # 1 - p
    expected = -(rest**2) * math.log1p(-rest)
    assert loss(good.double(), target).item() == pytest.approx(expected, rel=1e-9, abs=0)
    # float32 has but three digits of log p left here, in torch's cross-entropy too
    assert loss(good, target).item() == pytest.approx(expected, rel=5e-3, abs=0)


@pytest.mark.parametrize("options", [{}, {"one_vs_rest": True}])
def test_gamma_zero_is_cross_entropy(options: dict[str, bool]) -> None:
    loss = losses.create("focal", gamma=0.0, **options)(LOGITS, TARGET)
    if options:
        positive = F.one_hot(TARGET, 3).movedim(-1, 1)
        expected = losses.create("cross_entropy", multilabel=True)(LOGITS, positive)
    else:
        expected = losses.create("cross_entropy")(LOGITS, TARGET)
    torch.testing.assert_close(loss, expected)


def test_binary_class_weights_are_background_and_foreground() -> None:
    logits, target = LOGITS[:, :1], (TARGET == 0).long()
    each = sigmoid_focal(logits, target.unsqueeze(1).bool())
    expected = (each * torch.where(target.unsqueeze(1) == 1, 3.0, 0.5)).mean()
    torch.testing.assert_close(losses.create("focal", class_weights=[0.5, 3])(logits, target), expected)


@settings(max_examples=30, deadline=None)
@given(gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]), scale=st.sampled_from([1.0, 50.0, 5000.0]))
def test_slopes_are_finite_and_right_for_any_gamma(gamma: float, scale: float) -> None:
    logits = (scale * (LOGITS.double() - 0.5)).requires_grad_()
    for options in ({}, {"one_vs_rest": True, "alpha": 0.25}):
        loss = losses.create("focal", gamma=gamma, **options)
        (slope,) = torch.autograd.grad(loss(logits, TARGET), logits)
        assert slope.isfinite().all()
        if scale == 1.0:
            torch.autograd.gradcheck(lambda x, loss=loss: loss(x, TARGET), logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -1.0}, "gamma of the focal loss must be 0 or more, not -1"),
        ({"alpha": 0.25}, "alpha must be 3 numbers, one per class"),
        ({"alpha": [0.25, 0.5]}, "alpha must be 3 numbers, one per class"),
        ({"alpha": -0.25}, "alpha of the focal loss must not be negative"),
        ({"alpha": 2.0, "one_vs_rest": True}, "a number between 0 and 1, or 3 of them"),
        ({"alpha": [0.1, 0.2], "one_vs_rest": True}, "a number between 0 and 1, or 3 of them"),
        ({"class_weights": [1, 2]}, "2 class weights do not fit logits with 3 channels: give 3"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        losses.create("focal", **options)(LOGITS, TARGET)
