"""Several models as one: classes joined by name, probabilities averaged, and what does not fit together."""

import numpy as np
import pytest
from scipy.special import expit, softmax

import pixelwise as pw
from pixelwise.inference import Ensemble
from tests.inference.fakes import by_colour, by_place, fake_segmenter

NAMES = ("sky", "road", "car")


def test_models_that_do_not_fit_are_one_sentence(monkeypatch):
    first = fake_segmenter(monkeypatch, sha256="a")
    other = fake_segmenter(monkeypatch, names=("sky", "road", "bus", "tram"), sha256="b")
    several = fake_segmenter(monkeypatch, head="multilabel", sha256="c")
    with pytest.raises(pw.UsageError) as error:
        Ensemble([first, first, other])
    assert str(error.value) == (
        "'fake-a' and 'fake-b' have different classes (only 'fake-a' has car; only 'fake-b' has bus, tram); "
        "an ensemble needs models of the same classes"
    )
    with pytest.raises(pw.UsageError, match="'fake-a' has the head softmax, but 'fake-c' has multilabel"):
        Ensemble([first, several])
    with pytest.raises(pw.UsageError, match="at least one model, found none"):
        pw.load([])
    volumes = fake_segmenter(monkeypatch, sha256="d")
    volumes.bundle.manifest.task = "volume"
    with pytest.raises(pw.UsageError, match="'fake-d' labels volumes"):
        Ensemble([first, volumes])


def test_probabilities_are_averaged_by_class_name(monkeypatch):
    def turned_round(pixels):
        return by_place(pixels)[[2, 0, 1]] * 3

    one = fake_segmenter(monkeypatch, by_colour, NAMES)
    two = fake_segmenter(monkeypatch, turned_round, ("car", "sky", "road"))
    image = picture()
    expected = (softmax(by_colour(image), 0) + softmax(by_place(image) * 3, 0)) / 2
    found = Ensemble([one, two]).predict(image, probabilities=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(found.mask, expected.argmax(axis=0))
    assert found.labels.names == NAMES
    assert Ensemble([one, two]).predict(image).probabilities is None
    swapped = Ensemble([two, one]).predict(image, probabilities=True)
    np.testing.assert_allclose(swapped.probabilities[[1, 2, 0]], expected, atol=1e-5)


def test_members_have_working_sizes_of_their_own(monkeypatch):
    one = fake_segmenter(monkeypatch, by_place, size=(64, 96))
    two = fake_segmenter(monkeypatch, by_place, scale="native", tile=(40, 60))
    image = picture((90, 150))
    found = Ensemble([one, two]).predict(image, probabilities=True)
    parts = [member.predict(image, probabilities=True).probabilities for member in (one, two)]
    np.testing.assert_allclose(found.probabilities, np.mean(parts, axis=0), atol=1e-5)
    assert one.engine.sizes != two.engine.sizes


def test_binary_models_may_name_their_classes_the_other_way_round(monkeypatch):
    def chance(pixels):
        return by_colour(pixels)[:1]

    one = fake_segmenter(monkeypatch, chance, ("back", "cell"), "binary")
    two = fake_segmenter(monkeypatch, lambda pixels: -2 * chance(pixels), ("cell", "back"), "binary")
    image = picture()
    found = Ensemble([one, two]).predict(image, probabilities=True)
    expected = (expit(chance(image)) + expit(2 * chance(image))) / 2
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(found.mask, chance(image)[0] > 0)


def test_multilabel_models_keep_a_plane_per_class(monkeypatch):
    one = fake_segmenter(monkeypatch, by_colour, NAMES, "multilabel")
    two = fake_segmenter(monkeypatch, lambda p: by_place(p)[::-1], NAMES[::-1], "multilabel")
    found = Ensemble([one, two]).predict(picture())
    expected = (expit(by_colour(picture())) + expit(by_place(picture()))) / 2 > 0.5
    assert found.mask.shape == (3, 64, 96)
    assert (found.mask == expected).mean() > 0.999


def test_an_ensemble_is_used_as_a_segmenter(monkeypatch, tmp_path):
    one = fake_segmenter(monkeypatch, by_colour, sha256="a")
    two = fake_segmenter(monkeypatch, by_place, sha256="b")
    ensemble, image = Ensemble([one, two]), picture()
    mask = ensemble.predict(image).mask
    assert (ensemble.name, ensemble.task, len(ensemble.labels)) == ("fake-a + fake-b", "image", 3)
    assert ensemble.identity not in (one.identity, two.identity, Ensemble([one, one]).identity)
    for found in (*ensemble.predict_many([image, image]), *ensemble.predict_video([image])):
        np.testing.assert_array_equal(found.mask, mask)
    views = ensemble.predict(image, probabilities=True, tta="flip").probabilities
    parts = [m.predict(image, probabilities=True, tta="flip").probabilities for m in (one, two)]
    np.testing.assert_allclose(views, np.mean(parts, axis=0), atol=1e-5)
    with pytest.raises(pw.DataError, match="expected an image of HxWx3 uint8"):
        ensemble.predict(image.astype(np.float32))
    with pytest.raises(pw.UsageError, match="unknown schedule"):
        ensemble.predict_video([image], schedule="odd")


def test_a_model_with_itself_changes_nothing(run):
    alone, together = pw.load(run, precision="fp32"), pw.load([run, run], precision="fp32")
    image = picture((100, 140))
    one, two = (model.predict(image, probabilities=True) for model in (alone, together))
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-5)
    assert (one.mask == two.mask).mean() > 0.999


def picture(size=(64, 96)):
    return np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8)
