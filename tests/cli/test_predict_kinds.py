"""One call of ``predict`` over everything that it takes: images, a video, a raster, volumes."""

import json

import nibabel
import numpy as np
import pytest
import rasterio
from PIL import Image

import pixelwise as pw
from pixelwise.io.video import write_video
from tests.conftest import draw_shapes
from tests.io.test_dicom import save_series
from tests.io.test_rasters import write_raster


@pytest.fixture
def mixture(tmp_path):
    """A folder with one input of each kind."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(draw_shapes(1)[0]).save(folder / "photo.png")
    write_video(folder / "clip.avi", (draw_shapes(n)[0] for n in range(3)), rate=10)
    write_raster(folder / "town.tif", draw_shapes(2)[0])
    grey = np.stack([draw_shapes(n)[0].mean(axis=2) for n in range(4)], axis=2).astype(np.uint8)
    nibabel.Nifti1Image(grey.transpose(1, 0, 2), np.diag([2, 3, 4, 1.0])).to_filename(folder / "scan.nii.gz")
    save_series(folder / "head")
    return folder


def test_every_kind_at_once_and_again(pixelwise, mixture, run, tmp_path):
    arguments = ["predict", mixture, "--model", run, "--out", tmp_path / "out", "--window", "0:255", "--json"]
    code, text, err = pixelwise(*arguments)
    document = json.loads(text)
    assert code == 0, err
    assert [document[kind] for kind in ("images", "frames", "rasters", "volumes")] == [1, 3, 1, 2]

    with rasterio.open(tmp_path / "out" / "town.tif") as found, rasterio.open(mixture / "town.tif") as source:
        assert (found.crs, found.transform, found.shape) == (source.crs, source.transform, source.shape)
        np.testing.assert_array_equal(found.read(1), pw.load(run).predict(draw_shapes(2)[0]).mask)
    volume = nibabel.load(tmp_path / "out" / "scan.nii.gz")
    assert volume.shape == (80, 64, 4)
    np.testing.assert_array_equal(volume.affine, np.diag([2, 3, 4, 1.0]))
    assert (tmp_path / "out" / "head.nii.gz").exists()

    code, text, _ = pixelwise(*arguments, "--resume")
    again = json.loads(text)
    assert (code, again["skipped"]) == (0, 5)
    assert [again[kind] for kind in ("images", "frames", "rasters", "volumes")] == [1, 3, 1, 2]


def test_a_damaged_raster_and_volume_stop_nothing(pixelwise, mixture, run, tmp_path):
    for name in ("town.tif", "scan.nii.gz"):
        (mixture / name).write_bytes((mixture / name).read_bytes()[:-200])
    out = tmp_path / "out"
    code, text, _ = pixelwise("predict", mixture, "--model", run, "--out", out, "--window", "0:255", "--json")
    document = json.loads(text)
    assert code == 3
    assert {name.rsplit("/", 1)[-1] for name in document["failed"]} == {"town.tif", "scan.nii.gz"}
    assert [document[kind] for kind in ("images", "frames", "rasters", "volumes")] == [1, 3, 0, 1]
    assert not (out / "town.tif").exists() and not list(out.rglob(".*-*"))


def test_polygons_of_images_and_rasters(pixelwise, mixture, run, tmp_path):
    sources = [mixture / "photo.png", mixture / "town.tif"]
    arguments = ["--model", run, "--out", tmp_path / "out", "--polygons", "--polygon-format", "geojson"]
    code, text, err = pixelwise("predict", *sources, *arguments, "--json")
    assert code == 0, err
    coco = json.loads((tmp_path / "out" / "predictions.coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["photo.png"]
    assert json.loads(text)["polygons"] == len(coco["annotations"]) > 0
    features = json.loads((tmp_path / "out" / "town.geojson").read_text())["features"]
    assert {feature["properties"]["class"] for feature in features} <= {"background", "square", "disc"}


@pytest.mark.parametrize(
    ("names", "flags", "code", "message"),
    [
        (["scan.nii.gz"], ["--overlay"], 2, "--overlay is for images and videos, not for volumes"),
        (["town.tif"], ["--overlay"], 2, "--overlay is for images and videos, not for rasters"),
        (["town.tif"], ["--probabilities"], 2, "--probabilities is not for rasters"),
        (["clip.avi"], ["--probabilities"], 2, "--probabilities is not for videos"),
        (["scan.nii.gz"], ["--polygons"], 2, "--polygons is for images and rasters"),
        (["town.tif"], ["--polygons", "--polygon-format", "gpk"], 2, "did you mean 'gpkg'"),
        (["town.tif"], ["--bands", "1,x"], 2, "--bands 1,x: expected numbers from 1 on"),
        (["scan.nii.gz"], ["--window", "9:3"], 2, "--window 9:3: expected LOW:HIGH"),
        (["scan.nii.gz"], ["--axes", "q"], 2, "axes"),
        (["town.tif", "photo.png"], ["--bands", "1,2"], 3, "expected 3 band numbers"),
    ],
)
def test_what_does_not_fit_is_one_sentence(pixelwise, mixture, run, tmp_path, names, flags, code, message):
    sources = [mixture / name for name in names]
    found, out, err = pixelwise("predict", *sources, "--model", run, "--out", tmp_path / "out", *flags)
    assert found == code
    assert message in (err if code == 2 else out)
