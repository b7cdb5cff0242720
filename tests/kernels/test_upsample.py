import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.kernels.upsample import upsample_argmax, upsample_logits

SIDES = st.integers(1, 40)


def torch_logits(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    batch = torch.from_numpy(logits)[None]
    return torch.nn.functional.interpolate(batch, size=size, mode="bilinear", align_corners=False)[0].numpy()


def assert_same_where_sure(labels: np.ndarray, logits: np.ndarray) -> None:
    two_best = np.sort(logits, axis=0)[-2:]
    sure = two_best[1] - two_best[0] > 1e-4
    np.testing.assert_array_equal(labels[sure], logits.argmax(axis=0)[sure])


@settings(max_examples=60, deadline=None)
@given(classes=st.integers(2, 25), h=SIDES, w=SIDES, out_h=SIDES, out_w=SIDES, seed=st.integers(0, 2**32 - 1))
def test_argmax_equals_torch(classes: int, h: int, w: int, out_h: int, out_w: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(classes, h, w)).astype(np.float32)
    labels = upsample_argmax(logits, (out_h, out_w))
    assert labels.dtype == np.uint8 and labels.shape == (out_h, out_w)
    assert_same_where_sure(labels, torch_logits(logits, (out_h, out_w)))


def test_argmax_on_several_threads_equals_torch() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 31, 47)).astype(np.float32)
    size = (1100, 1301)
    expected = torch_logits(logits, size)
    labels = upsample_argmax(logits, size)
    assert_same_where_sure(labels, expected)
    assert (labels == expected.argmax(axis=0)).mean() > 0.999


@settings(max_examples=40, deadline=None)
@given(h=SIDES, w=SIDES, out_h=SIDES, out_w=SIDES, seed=st.integers(0, 2**32 - 1))
def test_logits_equal_torch(h: int, w: int, out_h: int, out_w: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, h, w)).astype(np.float32)
    ours = upsample_logits(logits, (out_h, out_w))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, torch_logits(logits, (out_h, out_w)), atol=1e-4)


def test_argmax_between_two_classes_can_be_a_third() -> None:
    logits = np.array([[[10, 0]], [[0, 10]], [[8, 8]]], np.float32)
    assert 2 in upsample_argmax(logits, (1, 9))


def test_one_class_is_a_threshold_at_zero() -> None:
    logits = np.random.default_rng(1).normal(size=(1, 9, 13)).astype(np.float32)
    expected = torch_logits(logits, (40, 50))[0]
    labels = upsample_argmax(logits, (40, 50))
    sure = np.abs(expected) > 1e-4
    np.testing.assert_array_equal(labels[sure], (expected > 0)[sure])
    assert not upsample_argmax(np.zeros((1, 2, 2), np.float32), (3, 3)).any()


def test_ties_go_to_the_lowest_class() -> None:
    logits = np.zeros((4, 3, 3), np.float32)
    logits[1:] = 1
    assert (upsample_argmax(logits, (7, 8)) == 1).all()


@pytest.mark.parametrize(("classes", "dtype"), [(255, np.uint8), (256, np.uint16), (300, np.uint16)])
def test_more_classes_than_a_byte_holds_beside_the_ignored_id(classes: int, dtype: type) -> None:
    logits = np.zeros((classes, 2, 2), np.float32)
    logits[-1] = 1
    labels = upsample_argmax(logits, (5, 5))
    assert labels.dtype == dtype and (labels == classes - 1).all()


def test_half_precision_and_strided_logits_are_accepted() -> None:
    logits = np.random.default_rng(2).normal(size=(6, 7, 4)).astype(np.float16)
    strided = logits.transpose(2, 0, 1)
    expected = torch_logits(np.ascontiguousarray(strided, np.float32), (12, 14))
    np.testing.assert_allclose(upsample_logits(strided, (12, 14)), expected, atol=1e-4)
    two_best = np.sort(expected, axis=0)[-2:]
    sure = two_best[1] - two_best[0] > 1e-4
    np.testing.assert_array_equal(upsample_argmax(strided, (12, 14))[sure], expected.argmax(0)[sure])
