"""From what somebody drew to a data set: classes, background, missing images, sizes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import check, write
from pixelwise.data.annotations import AnnotatedImage, Document, finite, instance_ids, to_dataset, whole
from pixelwise.errors import DataError, UsageError
from pixelwise.io import write_image
from pixelwise.labels import LabelMap
from pixelwise.shapes import Box, Shape

CAR, BUS = Shape("car", Box(0, 0, 2, 2)), Shape("bus", Box(4, 0, 6, 2))


def document(*shapes, **fields):
    return Document([AnnotatedImage("a.png", Path("a.json"), 4, 8, list(shapes))], **fields)


def mask_of(dataset):
    return {name: int((dataset[0].mask == i).sum()) for i, name in enumerate(dataset.labels.names)}


class TestClasses:
    def test_sorted_names_behind_the_background(self, tmp_path):
        data = to_dataset(document(CAR, BUS), tmp_path)
        assert data.labels.names == ("background", "bus", "car")
        assert mask_of(data) == {"background": 24, "bus": 4, "car": 4}

    def test_declared_names_keep_their_order_and_colours(self, tmp_path):
        declared = {"names": ["car", "tram", "bus"], "colours": [(9, 0, 0), (0, 9, 0), (0, 0, 9)]}
        labels = to_dataset(document(CAR, BUS, **declared), tmp_path).labels
        assert labels.names == ("background", "car", "tram", "bus")
        assert labels.colours[1:] == ((9, 0, 0), (0, 9, 0), (0, 0, 9))

    def test_their_own_background_is_kept(self, tmp_path):
        names = ["car", "_background_", "bus"]
        data = to_dataset(document(CAR, BUS, names=names), tmp_path)
        assert data.labels.names == tuple(names) and data[0].mask[3, 7] == 1

    def test_a_class_file(self, tmp_path):
        (tmp_path / "classes.txt").write_text("_background_\nbus\ncar\ntree\n")
        assert to_dataset(document(CAR, BUS), tmp_path).labels.names == ("_background_", "bus", "car", "tree")

    def test_given_classes_without_background_leave_the_rest_ignored(self, tmp_path):
        data = to_dataset(document(CAR, BUS), tmp_path, ["car", "bus"])
        assert (data[0].mask == 255).sum() == 24

    def test_a_dense_format_has_no_background(self, tmp_path):
        data = to_dataset(document(CAR, BUS, dense=True), tmp_path)
        assert data.labels.names == ("bus", "car") and (data[0].mask == 255).sum() == 24

    def test_labels_that_are_no_class_are_ignored_and_told(self, tmp_path):
        data = to_dataset(document(CAR, BUS, BUS), tmp_path, ["background", "car"])
        assert data[0].mask[0, 5] == 255
        [problem] = [p for p in data.problems if p.code == "unknown_label"]
        assert "'bus'" in problem.message and problem.message.endswith(": 2") and "--map bus=" in problem.fix

    def test_void_labels_are_ignored(self, tmp_path):
        data = to_dataset(document(CAR, Shape("__ignore__", Box(4, 0, 6, 2))), tmp_path)
        assert data.labels.names == ("background", "car") and data[0].mask[0, 5] == 255

    def test_mapping_renames_and_merges(self, tmp_path):
        data = to_dataset(document(CAR, BUS), tmp_path, mapping={"car": "vehicle", "bus": "vehicle"})
        assert data.labels.names == ("background", "vehicle")
        assert {shape.label for shape in data[0].shapes} == {"vehicle"}

    def test_no_class_at_all(self, tmp_path):
        with pytest.raises(DataError, match=r"hold no shape and no class; use --classes"):
            to_dataset(document(), tmp_path)

    def test_a_mapping_from_nowhere(self, tmp_path):
        with pytest.raises(UsageError, match="unknown label 'cra': did you mean 'car'?"):
            to_dataset(document(CAR), tmp_path, mapping={"cra": "x"})


class TestImages:
    def test_labels_without_the_image(self, tmp_path):
        data = to_dataset(document(CAR), tmp_path)
        assert data[0].mask.shape == (4, 8)
        with pytest.raises(DataError, match=r"a\.json: the image a\.png is not in the folder"):
            data[0].image  # noqa: B018
        assert "missing_image" in {problem.code for problem in data.problems}
        assert not check(data).ok

    def test_the_embedded_image(self, tmp_path):
        buffer = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 3), np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        found = document(CAR)
        found.images[0].embedded = buffer.getvalue()
        np.testing.assert_array_equal(to_dataset(found, tmp_path)[0].image, pixels)
        found.images[0].embedded = buffer.getvalue()[:60]
        with pytest.raises(DataError, match=r"a\.json: the embedded image is damaged"):
            to_dataset(found, tmp_path)[0].image  # noqa: B018

    def test_without_a_size_the_image_tells(self, tmp_path):
        write_image(tmp_path / "a.png", np.zeros((5, 7, 3), np.uint8))
        found = document(CAR)
        found.images[0].path, found.images[0].height = tmp_path / "a.png", 0
        assert to_dataset(found, tmp_path)[0].mask.shape == (5, 7)

    def test_a_size_from_before_the_rotation(self, tmp_path):
        write_image(tmp_path / "a.png", np.zeros((8, 4, 3), np.uint8))
        found = document(CAR)
        found.images[0].path = tmp_path / "a.png"
        assert to_dataset(found, tmp_path)[0].mask.shape == (8, 4)

    def test_another_size_is_an_error_of_the_check(self, tmp_path):
        write_image(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
        found = document(CAR)
        found.images[0].path = tmp_path / "a.png"
        assert "size_mismatch" in {problem.code for problem in check(to_dataset(found, tmp_path)).errors}


class TestInstances:
    def test_groups_tracks_and_crowds(self):
        box = CAR.geometry
        shapes = [
            Shape("car", box, track=4),
            Shape("car", box, group=1),
            Shape("bus", box, group=1),
            Shape("car", box, group=1),
            Shape("car", box, crowd=True),
            Shape("car", box),
        ]
        assert instance_ids(shapes) == [5, 6, 7, 6, 0, 8]

    def test_of_a_sample(self, tmp_path):
        instances = to_dataset(document(CAR, BUS), tmp_path)[0].instances
        assert (instances[0, 0], instances[0, 5], instances[3, 7]) == (1, 2, 0)


class TestNumbers:
    @pytest.mark.parametrize("values", [["x"], [None], [[1, 2], [3]], [float("nan")], [1e9], [float("inf")]])
    def test_what_is_no_coordinate(self, values):
        with pytest.raises(DataError, match=r"^a\.json: shape 1"):
            finite(values, "a.json: shape 1")

    @pytest.mark.parametrize("value", ["", None, 1.5, -1, 1e12, 10**400, "abc", float("nan"), []])
    def test_what_is_no_count(self, value):
        with pytest.raises(DataError, match=r"^a\.json: width: expected a whole number"):
            whole(value, "a.json: width")


def test_masks_keep_what_is_ignored(tmp_path):
    """Converting masks to masks gives the same masks."""
    from pixelwise.data import read
    from tests.data.folders import street

    root = street(tmp_path / "street")
    data = read(root)
    write(data, tmp_path / "out", "masks")
    for before, after in zip(data, read(tmp_path / "out"), strict=True):
        np.testing.assert_array_equal(before.mask, after.mask)
    assert LabelMap(data.labels.names) == LabelMap(read(tmp_path / "out").labels.names)
