from typing import Any

import cv2
import numpy as np
import pytest

import pixelwise as pw
from pixelwise.errors import DataError, UsageError
from pixelwise.refine import DEEPLAB, KRAHENBUHL_KOLTUN, CrfParameters, dense_crf
from pixelwise.refine.dense_crf import kernel_features


def scene(
    classes: int = 3, height: int = 24, width: int = 30, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A smooth noisy image and random probabilities."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8), (width, height))
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    regions = [cv2.resize(plane, (width, height)) for plane in rng.normal(0, 2, (classes, 4, 4))]
    logits = regions + rng.normal(0, 1, (classes, height, width))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    return image, probabilities.astype(np.float32)


def exact_crf(
    image: np.ndarray, probabilities: np.ndarray, parameters: CrfParameters, mu: np.ndarray
) -> np.ndarray:
    """Mean field with all pairs of pixels and exact Gaussians, as the paper writes it."""
    size = probabilities.shape[1:]
    kernel = 0.0
    for features, weight in kernel_features(parameters, size, (1,) * len(size), image.reshape(-1, 3)):
        distances = ((features[:, None] - features[None]).astype(np.float64) ** 2).sum(axis=2)
        pairs = np.exp(-distances / 2)
        scale = 1 / np.sqrt(pairs.sum(axis=1))
        kernel = kernel + weight * scale[:, None] * pairs * scale
    unary = np.log(np.maximum(probabilities.reshape(len(probabilities), -1), 1e-5))

    def softmax(logits: np.ndarray) -> np.ndarray:
        parts = np.exp(logits - logits.max(axis=0))
        return parts / parts.sum(axis=0)

    belief = softmax(unary)
    for _ in range(parameters.iterations):
        belief = softmax(unary - mu @ (belief @ kernel))
    return belief.reshape(probabilities.shape)


IMAGE, PROBABILITIES = scene()
WIDER = CrfParameters(5, 2, 1.5, 8, 20, 2)


@pytest.mark.parametrize(
    ("image", "probabilities", "message"),
    [
        (IMAGE[:-1], PROBABILITIES, "the image is 23x30 but the probabilities are 24x30"),
        (IMAGE[..., :2], PROBABILITIES, "must be HxWx3 uint8"),
        (IMAGE[..., 0], PROBABILITIES, "must be HxWx3 uint8"),
        (IMAGE / 255, PROBABILITIES, "must be HxWx3 uint8, found 24x30x3 float64"),
        (IMAGE, PROBABILITIES[0], "KxHxW, or KxZxYxX for a volume, found 24x30"),
        (IMAGE, PROBABILITIES[:0], "found 0x24x30"),
        (IMAGE, 0.5, "found a number"),
        (IMAGE, PROBABILITIES.astype(int), "must be floats, found int64"),
        (IMAGE, PROBABILITIES * np.nan, "between 0 and 1, found nan"),
        (IMAGE, np.log(PROBABILITIES), "between 0 and 1, found -"),
        (IMAGE, PROBABILITIES * 0.5, "add up to 1, found sums from 0.5 to 0.5"),
    ],
)
def test_bad_data(image: Any, probabilities: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dense_crf(image, probabilities)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": -1}, "iterations must be a whole number"),
        ({"iterations": 2.5}, "iterations must be a whole number"),
        ({"gaussian_sxy": 0}, "gaussian_sxy is a standard deviation"),
        ({"bilateral_sxy": -3}, "bilateral_sxy is a standard deviation"),
        ({"bilateral_srgb": np.nan}, "bilateral_srgb is a standard deviation"),
        ({"gaussian_weight": -1}, "gaussian_weight must be at least 0"),
        ({"bilateral_weight": np.inf}, "bilateral_weight must be at least 0"),
        ({"spacing": (1, 1, 1)}, "one number for each of 2 axes, found 3"),
        ({"spacing": (1, 0)}, "above 0 on every axis"),
        ({"reference_size": 0}, "reference_size is a number of pixels"),
        ({"compatibility": [1, 2]}, "a number, 3 numbers or 3x3 finite numbers for 3 classes, found 2"),
        ({"compatibility": np.full((3, 3), np.nan)}, "3x3 finite numbers"),
    ],
)
def test_bad_parameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dense_crf(IMAGE, PROBABILITIES, **options)


def test_bad_features() -> None:
    with pytest.raises(UsageError, match="needs an image or features"):
        dense_crf(None, PROBABILITIES)
    with pytest.raises(DataError, match="the features is 5x30 but|the features"):
        dense_crf(None, PROBABILITIES, features=np.zeros((5, 30, 2)))
    with pytest.raises(DataError, match="must be finite"):
        dense_crf(None, PROBABILITIES, features=np.full((24, 30), np.nan))
    with pytest.raises(DataError, match="must be numbers"):
        dense_crf(None, PROBABILITIES, features=np.full((24, 30), "x"))


def test_defaults_are_deeplabs() -> None:
    assert CrfParameters(10, 1, 3, 67, 3, 4) == DEEPLAB
    np.testing.assert_array_equal(
        pw.refine.dense_crf(IMAGE, PROBABILITIES), DEEPLAB.apply(IMAGE, PROBABILITIES)
    )


@pytest.mark.parametrize(
    ("parameters", "compatibility"),
    [
        (WIDER, None),
        (KRAHENBUHL_KOLTUN, 0.3),
        (DEEPLAB, 0.5),
        (WIDER, [0.2, 1.5, 1]),
        (WIDER, [[0, 1, 3], [2, 0, 1], [0.5, 1, 0.2]]),
    ],
)
def test_is_close_to_all_pairs(parameters: CrfParameters, compatibility: Any) -> None:
    """Against exact Gaussians: nearly all labels, and probabilities to a few percent on average."""
    values = np.asarray(1 if compatibility is None else compatibility, float)
    mu = values if values.ndim == 2 else -np.eye(3) * values
    exact = exact_crf(IMAGE, PROBABILITIES, parameters, mu)
    ours = dense_crf(IMAGE, PROBABILITIES, **vars(parameters), compatibility=compatibility)
    assert ours.dtype == np.float32 and ours.shape == PROBABILITIES.shape
    assert (ours.argmax(axis=0) == exact.argmax(axis=0)).mean() > 0.97
    assert np.abs(ours - exact).mean() < 0.02
    assert (PROBABILITIES.argmax(axis=0) == exact.argmax(axis=0)).mean() < 0.9


def test_many_classes_and_threads_are_close_to_themselves() -> None:
    image, probabilities = scene(30, 140, 150)
    several = dense_crf(image, probabilities)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = dense_crf(image, probabilities)
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_allclose(several, one, atol=2e-5)


def test_no_kernel_and_no_iteration_give_the_input_back() -> None:
    np.testing.assert_allclose(
        dense_crf(IMAGE, PROBABILITIES, gaussian_weight=0, bilateral_weight=0), PROBABILITIES, rtol=1e-5
    )
    np.testing.assert_allclose(dense_crf(IMAGE, PROBABILITIES, iterations=0), PROBABILITIES, rtol=1e-5)
    np.testing.assert_allclose(dense_crf(IMAGE, PROBABILITIES, compatibility=0), PROBABILITIES, rtol=1e-5)


def test_every_pixel_stays_a_distribution_and_the_input_unchanged() -> None:
    image, probabilities = IMAGE.copy(), PROBABILITIES.copy()
    refined = dense_crf(image, probabilities)
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-5)
    assert refined.min() >= 0
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(probabilities, PROBABILITIES)


def test_classes_have_no_order() -> None:
    order = [2, 0, 1]
    np.testing.assert_allclose(
        dense_crf(IMAGE, PROBABILITIES[order]), dense_crf(IMAGE, PROBABILITIES)[order], atol=1e-5
    )


def test_potts_as_number_vector_and_matrix() -> None:
    """Penalties for different labels and rewards for the same one differ by a constant only."""
    number = WIDER.apply(IMAGE, PROBABILITIES, compatibility=0.7)
    np.testing.assert_allclose(WIDER.apply(IMAGE, PROBABILITIES, compatibility=[0.7] * 3), number, atol=1e-6)
    penalties = 0.7 * (1 - np.eye(3))
    np.testing.assert_allclose(WIDER.apply(IMAGE, PROBABILITIES, compatibility=penalties), number, atol=1e-4)


def test_a_plain_image_is_one_region() -> None:
    image = np.full((20, 20, 3), 128, np.uint8)
    probabilities = np.full((2, 20, 20), 0.4)
    probabilities[1] = 0.6
    probabilities[:, ::5, ::5] = [[[0.9]], [[0.1]]]
    assert (dense_crf(image, probabilities).argmax(axis=0) == 1).all()


def test_labels_snap_to_an_edge() -> None:
    image = np.zeros((30, 30, 3), np.uint8)
    image[:, 13:] = 200
    guess = np.full((30, 30), 0.2)
    guess[:, 16:] = 0.8  # three pixels off
    guess[:, 13:16] = 0.45
    refined = dense_crf(image, np.stack([1 - guess, guess]))
    np.testing.assert_array_equal(refined[1] > 0.5, image[..., 0] > 0)


def test_binary_is_two_classes() -> None:
    foreground = PROBABILITIES[:1]
    both = dense_crf(IMAGE, np.concatenate([1 - foreground, foreground]))
    np.testing.assert_allclose(dense_crf(IMAGE, foreground), both[1:], atol=1e-6)


def test_multilabel_solves_each_class_alone() -> None:
    several = np.stack([PROBABILITIES[0], PROBABILITIES[0], 0.9 * PROBABILITIES[1]])
    refined = dense_crf(IMAGE, several, multilabel=True)
    for plane, alone in zip(refined, several, strict=True):
        np.testing.assert_allclose(plane, dense_crf(IMAGE, alone[None])[0], atol=1e-6)


def test_other_features_in_place_of_colours() -> None:
    as_features = dense_crf(None, PROBABILITIES, features=IMAGE.astype(np.float64))
    np.testing.assert_array_equal(as_features, dense_crf(IMAGE, PROBABILITIES))
    depth = np.linspace(0, 50, 24)[:, None].repeat(30, axis=1)
    assert np.abs(dense_crf(IMAGE, PROBABILITIES, features=depth) - as_features).max() > 0.1


def test_reference_size_scales_the_kernels_over_space() -> None:
    scaled = dense_crf(IMAGE, PROBABILITIES, reference_size=60)  # the longer side is 30
    half = dense_crf(IMAGE, PROBABILITIES, gaussian_sxy=0.5, bilateral_sxy=33.5)
    np.testing.assert_array_equal(scaled, half)


def test_spacing_is_the_unit_of_the_kernels() -> None:
    spaced = dense_crf(IMAGE, PROBABILITIES, spacing=(2, 2), gaussian_sxy=2, bilateral_sxy=134)
    np.testing.assert_allclose(spaced, dense_crf(IMAGE, PROBABILITIES), atol=1e-6)
    stretched = dense_crf(IMAGE, PROBABILITIES, spacing=(1, 3))
    assert np.abs(stretched - dense_crf(IMAGE, PROBABILITIES)).max() > 0.05


def test_a_volume_of_one_slice_is_close_to_its_image() -> None:
    """The lattice has a dimension more, so it approximates the Gaussian otherwise."""
    grey = IMAGE.mean(axis=2)
    flat = WIDER.apply(None, PROBABILITIES, features=grey)
    volume = WIDER.apply(grey[None], PROBABILITIES[:, None])
    assert volume.shape == (3, 1, 24, 30)
    assert (volume[:, 0].argmax(axis=0) == flat.argmax(axis=0)).mean() > 0.98


def test_slices_of_a_volume_talk_to_each_other_less_the_further_apart_they_are() -> None:
    volume = np.full((2, 12, 12), 100.0)
    probabilities = np.full((2, 2, 12, 12), 0.5)
    probabilities[:, 0] = [[[0.1]], [[0.9]]]  # the first slice is sure, the second one is not
    near, far = (
        dense_crf(volume, probabilities, spacing=(side, 1, 1), gaussian_sxy=2, bilateral_sxy=5)
        for side in (1, 50)
    )
    assert near[1, 1].min() > 0.9
    np.testing.assert_allclose(far[1, 1], 0.5, atol=0.01)


def test_half_floats_and_strided_input() -> None:
    strided = np.asfortranarray(PROBABILITIES)
    np.testing.assert_array_equal(
        dense_crf(IMAGE[:, ::-1][:, ::-1], strided), dense_crf(IMAGE, PROBABILITIES)
    )
    half = dense_crf(IMAGE, PROBABILITIES.astype(np.float16))
    assert half.dtype == np.float32 and np.isfinite(half).all()
