import sys

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.bundles import WorkingScale
from tests.conftest import draw_shapes


@pytest.fixture(scope="module")
def segmenter(run):
    return pw.load(run, precision="fp32")


@pytest.mark.parametrize("size", [(64, 80), (1, 1), (5, 200), (31, 33), (128, 160), (301, 203)])
def test_any_size_in_the_same_size_out(segmenter, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    segmentation = segmenter.predict(image, probabilities=True)
    assert segmentation.mask.shape == size
    assert segmentation.mask.dtype == np.uint8
    assert segmentation.probabilities.shape == (3, *size)
    np.testing.assert_allclose(segmentation.probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(segmenter.predict(image).mask, segmentation.mask)


def test_it_has_learned_the_shapes(segmenter):
    image, mask = draw_shapes(999)
    assert (segmenter.predict(image).mask == mask).mean() > 0.9


def test_a_larger_picture_is_seen_at_the_working_scale(segmenter):
    image, mask = draw_shapes(999)
    large = image.repeat(4, axis=0).repeat(4, axis=1)
    assert (segmenter.predict(large).mask == mask.repeat(4, axis=0).repeat(4, axis=1)).mean() > 0.9


def test_a_path_a_grey_image_and_many_images(segmenter, tmp_path):
    image, _ = draw_shapes(5)
    Image.fromarray(image).save(tmp_path / "a.png")
    grey = image.mean(axis=2).astype(np.uint8)
    many = list(segmenter.predict_many([tmp_path / "a.png", image, grey]))
    np.testing.assert_array_equal(many[0].mask, many[1].mask)
    np.testing.assert_array_equal(many[2].mask, segmenter.predict(np.stack([grey] * 3, axis=2)).mask)


def test_saving_gives_a_palette_png_of_ids(segmenter, tmp_path):
    segmentation = segmenter.predict(draw_shapes(5)[0])
    segmentation.save(tmp_path / "deep" / "mask.png")
    stored = Image.open(tmp_path / "deep" / "mask.png")
    assert stored.mode == "P"
    np.testing.assert_array_equal(np.array(stored), segmentation.mask)
    assert segmentation.overlay().shape == segmentation.image.shape


def test_tiles_agree_with_the_whole_away_from_their_seams(run):
    image = np.concatenate([draw_shapes(seed, (96, 320))[0] for seed in range(3)])
    whole = pw.load(run, precision="fp32", scale="native").predict(image).mask
    tiled = pw.load(run, precision="fp32", scale="native", tile=(96, 96)).predict(image).mask
    assert tiled.shape == whole.shape
    assert (tiled == whole).mean() > 0.95


def test_video_frames_are_labelled_in_order(segmenter):
    frames = [draw_shapes(seed)[0] for seed in range(6)]
    masks = [s.mask for s in segmenter.predict_video(iter(frames))]
    assert len(masks) == 6
    np.testing.assert_array_equal(masks[4], segmenter.predict(frames[4]).mask)
    with pytest.raises(pw.UsageError, match="unknown schedule 'sometimes'"):
        segmenter.predict_video(frames, schedule="sometimes")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_wrong_arrays_are_one_sentence(segmenter, image):
    with pytest.raises(pw.DataError, match="expected an image of HxWx3 uint8, found"):
        segmenter.predict(image)


def test_wrong_choices_are_one_sentence(run):
    with pytest.raises(pw.UsageError, match="unknown engine 'openvin': did you mean 'openvino'"):
        pw.load(run, engine="openvin")
    with pytest.raises(pw.UsageError, match="unknown precision 'fp31': did you mean 'fp32'"):
        pw.load(run, precision="fp31")
    with pytest.raises(pw.UsageError, match="no cuda device here"):
        pw.load(run, device="cuda")
    with pytest.raises(pw.UsageError, match="computes in fp32"):
        pw.load(run, engine="onnxruntime", precision="bf16")
    with pytest.raises(pw.UsageError, match="at least 32 px"):
        pw.load(run, tile=(16, 512))


def test_predicting_imports_no_torch(run, tmp_path):
    import subprocess

    code = (
        "import sys, numpy, pixelwise as pw\n"
        f"pw.load({str(run)!r}).predict(numpy.zeros((64, 80, 3), numpy.uint8))\n"
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_working_size_keeps_area_and_proportions():
    scale = WorkingScale(rule="area", height=180, width=240)
    height, width = scale.size_for(3000, 1000)
    assert abs(height * width / (180 * 240) - 1) < 0.02
    assert abs(height / width - 3) < 0.05
    assert WorkingScale(rule="native", height=512, width=512).size_for(3000, 1000) == (3000, 1000)
