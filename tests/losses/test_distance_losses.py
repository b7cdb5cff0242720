"""The Hausdorff and boundary losses against the formulas, written out with scipy's transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from pixelwise import losses
from pixelwise.errors import UsageError

KINDS = {"softmax": (4, False), "binary": (1, False), "multilabel": (3, True)}
SIZES: tuple[tuple[int, ...], ...] = ((9, 13), (4, 6, 5))


def draw(
    kind: str, size: Sequence[int], seed: int, ignored: float = 0.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Logits and a target of blobs; some classes are absent from some images."""
    rng = np.random.default_rng(seed)
    channels, multilabel = KINDS[kind]
    shape = (2, channels, *size) if multilabel else (2, *size)
    target = np.zeros(shape, np.int64)
    for image in target.reshape(-1, *size):
        for label in rng.integers(0, 2 if multilabel or channels == 1 else channels, 3):
            corner = [rng.integers(0, side) for side in size]
            image[tuple(slice(start, start + rng.integers(1, 6)) for start in corner)] = label
    target[rng.random(shape) < ignored] = 255
    logits = 2 * rng.normal(size=(2, channels, *size))
    return torch.from_numpy(logits).to(dtype), torch.from_numpy(target)


def regions(
    kind: str, logits: Tensor, target: Tensor
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Probability, truth, validity and class of every region that has an outline in the target."""
    channels, multilabel = KINDS[kind]
    probabilities = (logits.softmax(1) if kind == "softmax" else logits.sigmoid()).numpy()
    found = []
    for b in range(len(logits)):
        for k in range(channels):
            ids = (target[b, k] if multilabel else target[b]).numpy()
            truth, valid = ids == (k if kind == "softmax" else 1), ids != 255
            if truth.any() and (valid & ~truth).any():
                found.append((probabilities[b, k], truth, valid, k))
    return found


def outline(region: np.ndarray, valid: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
    """Unsigned distances to the nearest valid pixel of the other side."""
    inside, outside = region & valid, ~region & valid
    if not (inside.any() and outside.any()):
        return np.zeros(region.shape)
    return np.where(
        region, distance_transform_edt(~outside, spacing), distance_transform_edt(~inside, spacing)
    )


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    size=st.sampled_from(SIZES),
    ignored=st.sampled_from([0.0, 0.3, 0.95]),
    alpha=st.sampled_from([1.0, 2.0]),
    one_sided=st.booleans(),
    spaced=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_hausdorff_is_the_papers(kind, size, ignored, alpha, one_sided, spaced, seed) -> None:
    logits, target = draw(kind, size, seed, ignored)
    spacing = (2.5, 1.0, 0.5)[: len(size)] if spaced else None
    costs, count = 0.0, 0
    for p, g, valid, _ in regions(kind, logits, target):
        distances = outline(g, valid, spacing) ** alpha
        if not one_sided:
            distances += outline(p > 0.5, valid, spacing) ** alpha
        costs += (((p - g) ** 2 * distances)[valid]).sum()
        count += valid.sum()
    options = {"alpha": alpha, "one_sided": one_sided, "spacing": spacing, "multilabel": KINDS[kind][1]}
    loss = losses.create("hausdorff", **options)
    assert loss(logits, target).item() == pytest.approx(costs / max(count, 1), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    size=st.sampled_from(SIZES),
    ignored=st.sampled_from([0.0, 0.3, 0.95]),
    seed=st.integers(0, 2**32 - 1),
)
def test_boundary_is_the_papers(kind, size, ignored, seed) -> None:
    logits, target = draw(kind, size, seed, ignored)
    costs, count = 0.0, 0
    for p, g, valid, _ in regions(kind, logits, target):
        distances = outline(g, valid)
        costs += (p * np.where(g, 1 - distances, distances))[valid].sum()
        count += valid.sum()
    loss = losses.create("boundary", multilabel=KINDS[kind][1])
    assert loss(logits, target).item() == pytest.approx(costs / max(count, 1), rel=1e-5, abs=1e-6)


def test_boundary_is_the_authors_mean_where_every_class_is_there() -> None:
    target = torch.zeros(1, 12, 12, dtype=torch.long)
    target[0, 3:9, 2:7] = 1
    logits = torch.randn(1, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    foreground = (target[0] == 1).numpy()
    phi = distance_transform_edt(~foreground) * ~foreground
    phi -= (distance_transform_edt(foreground) - 1) * foreground
    expected = (logits.softmax(1)[0, 1].numpy() * phi).mean()
    loss = losses.create("boundary(classes=[1])")
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_the_boundary_is_at_the_outermost_voxels_with_a_spacing_too() -> None:
    target = torch.tensor([[[0, 1, 1, 1, 0, 0]]])
    sure = torch.full((1, 1, 1, 6), 50.0)
    loss = losses.create("boundary", spacing=[1.0, 0.5])
    # phi is 0.5, 0, -0.5, 0, 0.5, 1
    assert loss(sure, target).item() == pytest.approx(1.5 / 6)


@pytest.mark.parametrize("text", ["hausdorff", "hausdorff(one_sided=True)", "hausdorff(alpha=1)", "boundary"])
class TestDistanceLosses:
    def test_the_mean_is_over_regions_that_have_an_outline(self, text: str) -> None:
        logits, target = draw("softmax", (9, 13), 3)
        alone = losses.create(text)(logits[:1], target[:1])
        empty = torch.zeros_like(target[:1])  # one class fills it: no outline
        both = losses.create(text)(logits, torch.cat([target[:1], empty]))
        assert alone.item() != 0
        torch.testing.assert_close(both, alone)

    def test_absent_classes_contribute_nothing_and_get_no_gradient(self, text: str) -> None:
        logits = torch.randn(1, 1, 6, 6, requires_grad=True)
        for target in (torch.zeros(1, 6, 6).long(), torch.ones(1, 6, 6).long()):
            value = losses.create(text)(logits, target)
            (slope,) = torch.autograd.grad(value, logits)
            assert value == 0
            assert not slope.any()

    def test_weights_count_pixels(self, text: str) -> None:
        logits, target = draw("softmax", (9, 13), 4, ignored=0.1)
        loss = losses.create(text)
        weight = torch.full(target.shape, 3.0).masked_fill(target == 255, torch.nan)
        torch.testing.assert_close(loss(logits, target, weight), loss(logits, target))
        weight = torch.zeros(target.shape)
        weight[1] = 2
        torch.testing.assert_close(loss(logits, target, weight), loss(logits[1:], target[1:]))

    def test_class_weights_count_regions(self, text: str) -> None:
        logits, target = draw("multilabel", (9, 13), 1)
        assert target.flatten(2).any(2).all() and not target.flatten(2).all(2).any()
        each = [losses.create(text, multilabel=True, classes=[k])(logits, target) for k in range(3)]
        loss = losses.create(text, multilabel=True, class_weights=[1, 0, 3])
        torch.testing.assert_close(loss(logits, target), (each[0] + 3 * each[2]) / 4)

    def test_two_class_weights_of_one_channel_have_no_effect(self, text: str) -> None:
        logits, target = draw("binary", (9, 13), 1)
        weighted = losses.create(text, class_weights=[1, 5])
        torch.testing.assert_close(weighted(logits, target), losses.create(text)(logits, target))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("size", SIZES)
    def test_the_gradient_is_right_away_from_the_threshold(self, text: str, kind: str, size) -> None:
        logits, target = draw(kind, [3, 4, 2][: len(size)], 2, ignored=0.2)
        # The outline of the prediction jumps where a probability crosses 1/2: keep clear of it.
        away = (logits.softmax(1) if kind == "softmax" else logits.sigmoid()).sub(0.5).abs().min()
        assert away > 1e-4
        loss = losses.create(text, multilabel=KINDS[kind][1])
        torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())

    def test_ignored_pixels_make_no_outline(self, text: str) -> None:
        target = torch.tensor([[[1, 255, 255, 0, 0]]])
        logits = torch.tensor([[[[1.0, 2.0, -2.0, 1.0, 1.0]]]])
        turned = torch.tensor([[[[1.0, -2.0, 2.0, 1.0, 1.0]]]])
        loss = losses.create(text)
        assert loss(logits, target) == loss(turned, target)
        near = losses.create(text)(logits, torch.tensor([[[1, 0, 255, 255, 0]]]))
        assert loss(logits, target) != near

    def test_options_are_checked(self, text: str) -> None:
        logits, target = draw("softmax", (9, 13), 0)
        for options, message in [
            ({"classes": [4]}, "classes .4. do not fit logits with 4 channels"),
            ({"classes": []}, "classes must be a list"),
            ({"spacing": [1.0, 0.0]}, "spacing must be 2 or 3 positive lengths"),
            ({"spacing": [1.0, 1.0, 1.0]}, "spacing of 3 lengths does not fit logits with 2 axes"),
        ]:
            with pytest.raises(UsageError, match=message):
                losses.create(text, **options)(logits, target)


def test_alpha_is_positive() -> None:
    with pytest.raises(UsageError, match="alpha must be positive, not 0"):
        losses.create("hausdorff", alpha=0)


def test_a_distant_error_costs_more() -> None:
    target = torch.zeros(1, 1, 20, dtype=torch.long)
    target[..., :5] = 1
    logits = torch.where(target == 1, 20.0, -20.0).unsqueeze(1)
    for text in ("hausdorff", "hausdorff(one_sided=True)", "hausdorff(alpha=1)", "boundary"):
        values = []
        for wrong in (6, 12, 19):
            worse = logits.clone()
            worse[..., wrong] = 20
            values.append(losses.create(text)(worse, target).item())
        assert values == sorted(values) and values[0] < values[1] < values[2]


@pytest.mark.parametrize("text", ["hausdorff", "boundary"])
def test_descent_finds_the_region(text: str) -> None:
    target = torch.zeros(1, 16, 16, dtype=torch.long)
    target[0, 4:11, 5:12] = 1
    logits = torch.zeros(1, 1, 16, 16, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    loss = losses.create(text)
    for _ in range(60):
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()
    found = (logits[0, 0] > 0) == (target[0] == 1)
    inner = torch.zeros_like(found)
    inner[5:10, 6:11] = True
    if text == "boundary":  # its outermost true pixels lie at 0: neither asked for nor refused
        found = found[(target[0] == 0) | inner]
    assert found.all()
