"""What a SOURCE names: the kinds, the places of results, and what cannot be."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.errors import DataError, UsageError
from pixelwise.inference.inputs import find_inputs
from tests.io.test_dicom import save_series
from tests.io.test_rasters import write_raster

PIXELS = np.zeros((8, 9, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """One thing of every kind, and two files that are none."""
    root = tmp_path / "in"
    (root / "b").mkdir(parents=True)
    Image.fromarray(PIXELS).save(root / "b" / "photo.jpg")
    Image.fromarray(PIXELS).save(root / "scan.tif")
    write_raster(root / "town.tif", PIXELS)
    (root / "ct.nii.gz").touch()
    (root / "clip.mp4").touch()
    (root / "notes.txt").touch()
    save_series(root / "b" / "head")
    (root / "b" / "head" / "readme.md").touch()
    return root


def test_every_kind_of_a_folder(folder, tmp_path):
    inputs, others = find_inputs([folder], tmp_path / "out")
    assert {found.name: found.kind for found in inputs} == {
        "b/head": "volume",
        "b/photo.jpg": "image",
        "clip.mp4": "video",
        "ct.nii.gz": "volume",
        "scan.tif": "image",
        "town.tif": "raster",
    }
    assert [found.target for found in inputs] == ["b/head", "b/photo", "clip", "ct", "scan", "town"]
    assert [Path(name).name for name in others] == ["notes.txt", "readme.md"]
    series = inputs[0]
    assert series.path == folder / "b" / "head"
    assert series.series is not None and len(series.series.files) == 4


def test_files_and_patterns_keep_paths_below_their_fixed_part(folder, tmp_path):
    one, _ = find_inputs([folder / "ct.nii.gz"], tmp_path / "out")
    assert [(found.name, found.kind, found.target) for found in one] == [("ct.nii.gz", "volume", "ct")]
    some, _ = find_inputs([f"{folder}/**/*.jpg"], tmp_path / "out")
    assert [(found.name, found.path) for found in some] == [("b/photo.jpg", folder / "b" / "photo.jpg")]


def test_a_series_as_the_source(folder, tmp_path):
    inputs, others = find_inputs([folder / "b" / "head"], tmp_path / "out")
    assert [(found.target, found.kind) for found in inputs] == [("head", "volume")]
    assert len(others) == 1


def test_one_slice_is_no_series(folder, tmp_path):
    slice_file = next((folder / "b" / "head").glob("*.dcm"))
    with pytest.raises(DataError, match="one slice of a DICOM series; give the folder"):
        find_inputs([slice_file], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.jpg", "no such file or folder, and no match"), ("empty", "nothing to label in this folder")],
)
def test_nothing_there(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_inputs([tmp_path / name], tmp_path / "out")


def test_an_output_folder_inside(folder):
    with pytest.raises(UsageError, match="lies inside the input folder"):
        find_inputs([folder], folder / "out")


def test_two_inputs_with_one_result(folder, tmp_path):
    Image.fromarray(PIXELS).save(folder / "b" / "photo.png")
    with pytest.raises(UsageError, match=r"photo.jpg and .*photo.png would both become b/photo"):
        find_inputs([folder], tmp_path / "out")
    with pytest.raises(UsageError, match="would both become photo"):
        find_inputs([folder / "b" / "photo.jpg", folder / "b" / "photo.png"], tmp_path / "out")


def test_the_same_input_twice_is_no_collision(folder, tmp_path):
    inputs, _ = find_inputs([folder / "b" / "photo.jpg", f"{folder}/b/*.jpg"], tmp_path / "out")
    assert [found.name for found in inputs] == ["photo.jpg"]


@pytest.mark.parametrize("name", ["scan.tif", "town.tif", "ct.nii.gz"])
def test_a_result_that_would_be_an_input(folder, name):
    if name == "scan.tif":  # its result is scan.png
        Image.fromarray(PIXELS).save(folder / "scan.png")
        with pytest.raises(UsageError, match="would both become|would overwrite an input"):
            find_inputs([folder / "scan.tif", folder / "scan.png"], folder)
        return
    with pytest.raises(UsageError, match="would overwrite an input"):
        find_inputs([folder / name], folder)
