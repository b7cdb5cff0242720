"""Test-time augmentation: what is understood, what is averaged, and that nothing moves."""

import numpy as np
import pytest
from scipy.special import expit, softmax

import pixelwise as pw
from pixelwise.bundles import Bundle
from pixelwise.inference import Segmenter
from pixelwise.inference.probabilities import ProbabilityMean, probabilities_of
from pixelwise.inference.tta import Views, average_views, parse_tta
from pixelwise.kernels.upsample import upsample_logits
from tests.inference.fakes import by_colour, by_place, fake_segmenter


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flipp", "unknown test-time augmentation 'flipp': did you mean 'flip'?"),
        ("scale=1", "unknown test-time augmentation 'scale': did you mean 'scales'?"),
        ("", "unknown test-time augmentation ''"),
        ("flip,d4", "expected one of none, flip, d4, and one scales="),
        ("flip,flip", "expected one of none, flip, d4, and one scales="),
        ("scales=1,scales=2", "expected one of none, flip, d4, and one scales="),
        ("flip=2", "expected such as flip or flip,scales="),
        ("scales", "expected such as flip or flip,scales="),
        ("scales=", "expected numbers with colons between"),
        ("scales=1;2", "expected numbers with colons between"),
        ("scales=0.1:1", "expected 0.5 to 2, found 0.1"),
        ("scales=1:4", "expected 0.5 to 2, found 4"),
        ("scales=nan", "expected 0.5 to 2, found nan"),
    ],
)
def test_what_is_not_understood_is_one_sentence(monkeypatch, text, message):
    with pytest.raises(pw.UsageError) as error:
        parse_tta(text)
    assert message in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(pw.UsageError):
        fake_segmenter(monkeypatch, tta=text)
    with pytest.raises(pw.UsageError):
        fake_segmenter(monkeypatch).predict(picture(), tta=text)


def test_descriptions_have_one_shortest_form():
    assert parse_tta("none") == parse_tta("scales=1") == parse_tta("none,scales=1.0:1") == Views()
    assert parse_tta(" scales=1.25:0.5:1 , flip ").text == "flip,scales=0.5:1:1.25"
    assert len(set(parse_tta("d4").turns)) == 8


@pytest.mark.parametrize("tta", ["flip", "d4"])
@pytest.mark.parametrize("head", ["softmax", "binary", "multilabel"])
@pytest.mark.parametrize("options", [{}, {"scale": "native"}, {"scale": "native", "tile": (32, 48)}])
def test_a_model_that_turns_with_the_image_says_the_same(monkeypatch, tta, head, options):
    graph = (lambda pixels: by_colour(pixels)[:1]) if head == "binary" else by_colour
    names = ("sky", "road") if head == "binary" else ("sky", "road", "car")
    segmenter = fake_segmenter(monkeypatch, graph, names, head, **options)
    for size in ((64, 96), (45, 51), (120, 100), (3, 70)):
        image = picture(size)
        plain, views = (segmenter.predict(image, True, tta=text) for text in ("none", tta))
        np.testing.assert_allclose(views.probabilities, plain.probabilities, atol=2e-5)
        sure = np.abs(np.diff(np.sort(plain.probabilities, axis=0)[-2:], axis=0)) > 1e-3
        sure = np.abs(plain.probabilities - 0.5) > 1e-3 if head != "softmax" else sure
        sure = sure if head == "multilabel" else sure[0]
        np.testing.assert_array_equal(views.mask[sure], plain.mask[sure])
        np.testing.assert_array_equal(segmenter.predict(image, tta=tta).mask[sure], views.mask[sure])
        assert sure.mean() > 0.9


def test_probabilities_are_averaged_after_turning_back(monkeypatch):
    segmenter, image = fake_segmenter(monkeypatch, by_place), picture()
    flipped = np.ascontiguousarray(image[:, ::-1])
    expected = (softmax(by_place(image), 0) + softmax(by_place(flipped), 0)[:, :, ::-1]) / 2
    found = segmenter.predict(image, probabilities=True, tta="flip")
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert (found.mask != segmenter.predict(image).mask).any()
    turns = [softmax(by_place(np.ascontiguousarray(turn(image, k, f))), 0) for k in range(4) for f in (0, 1)]
    back = [
        p[:, :, ::-1] if f else p
        for p, f in ((np.rot90(p, -(i // 2), (1, 2)), i % 2) for i, p in enumerate(turns))
    ]
    found = segmenter.predict(image, probabilities=True, tta="d4")
    np.testing.assert_allclose(found.probabilities, np.mean(back, axis=0), atol=1e-5)


def test_scales_see_other_sizes_and_come_back(monkeypatch):
    segmenter = fake_segmenter(monkeypatch, tta="scales=0.5:1:1.5")
    smooth = upsample_logits(np.random.default_rng(0).random((3, 3, 4)), (64, 96)).transpose(1, 2, 0) * 255
    found = segmenter.predict(smooth.astype(np.uint8), probabilities=True)
    assert segmenter.engine.sizes == [(32, 48), (64, 96), (96, 144)]
    plain = segmenter.predict(smooth.astype(np.uint8), probabilities=True, tta="none")
    assert np.abs(found.probabilities - plain.probabilities).mean() < 0.02  # a shift of a pixel would be more
    assert (found.mask == plain.mask).mean() > 0.98


def test_a_larger_view_shows_more_of_a_large_image():
    seen = []

    def logits_of(pixels):
        seen.append(pixels)
        return np.zeros((2, *pixels.shape[:2]), np.float32)

    fine = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    average_views(fine, (64, 64), logits_of, parse_tta("scales=1:2"), "softmax")
    assert [view.std() > 100 for view in seen] == [False, True]  # 1: grey; 2: the pattern itself


def test_binary_and_multilabel_average_sigmoids():
    one, two = np.float32([[[30.0, -4.0]]]), np.float32([[[28.0, 2.0]]])
    for head in ("binary", "multilabel"):
        mean = ProbabilityMean(head)
        mean.add(one)
        mean.add(two)
        expected = (expit(-one.astype(float)) + expit(-two.astype(float))) / 2
        np.testing.assert_allclose(expit(-mean.logits().astype(float)), expected, rtol=1e-5)
    mean = ProbabilityMean("softmax")
    mean.add(np.float32([[[500]], [[0]]]))
    assert np.isfinite(mean.logits()).all()
    np.testing.assert_allclose(probabilities_of(mean.logits(), "softmax").ravel(), [1, 0], atol=1e-37)


def test_the_models_own_views_count_everywhere(monkeypatch):
    own, image = fake_segmenter(monkeypatch, by_place, tta="flip"), picture()
    other = fake_segmenter(monkeypatch, by_place)
    expected = other.predict(image, tta="flip").mask
    for found in (own.predict(image), next(own.predict_many([image])), next(own.predict_video([image]))):
        np.testing.assert_array_equal(found.mask, expected)
    np.testing.assert_array_equal(own.predict(image, tta="none").mask, other.predict(image).mask)
    assert (expected != other.predict(image).mask).any()


def test_volumes_are_not_turned(monkeypatch):
    bundle = fake_segmenter(monkeypatch).bundle
    volumes = Bundle(bundle.path, bundle.manifest.model_copy(update={"task": "volume"}))
    with pytest.raises(pw.UsageError, match="is for images, but 'fake-0' labels volumes"):
        Segmenter(volumes, tta="flip")
    assert Segmenter(volumes, tta="scales=1").task == "volume"


def turn(image, quarters, mirrored):
    return np.rot90(image[:, ::-1] if mirrored else image, quarters)


def picture(size=(64, 96)):
    return np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
