"""Samples are lazy, data sets hold records."""

import pickle
from functools import partial

import numpy as np
import pytest

from pixelwise.errors import UsageError
from pixelwise.labels import LabelMap
from pixelwise.sample import Clip, Cloud, Dataset, Sample, Volume

LABELS = LabelMap(("a", "b"))


def make_sample(number: int) -> Sample:
    return Sample(partial(np.full, (2, 3, 3), number, np.uint8), partial(np.zeros, (2, 3), np.uint8))


def unreadable() -> np.ndarray:
    raise FileNotFoundError("gone")


def test_pixels_are_read_once_and_only_when_touched() -> None:
    calls: list[str] = []

    def read() -> np.ndarray:
        calls.append("read")
        return np.zeros((4, 6, 3), np.uint8)

    sample = Sample(read, np.ones((4, 6), np.uint8), path="folder/a.jpg", meta={"split": "val"})
    assert (sample.labelled, sample.name, sample.meta["split"], sample.mask.sum()) == (True, "a", "val", 24)
    assert calls == []
    assert sample.size == (4, 6) and sample.image is sample.image
    assert calls == ["read"]


def test_labels_are_there_without_the_image() -> None:
    sample = Sample(unreadable, np.ones((2, 2), np.uint8), instances=np.ones((2, 2), np.int32))
    assert sample.mask is not None and sample.instances is not None
    with pytest.raises(FileNotFoundError):
        _ = sample.image


def test_an_unlabelled_sample_has_no_mask() -> None:
    sample = Sample(np.zeros((2, 2, 3), np.uint8))
    assert (sample.labelled, sample.mask, sample.instances, sample.weights) == (False, None, None, {})


def test_replace_keeps_the_rest_lazy() -> None:
    sample = Sample(
        unreadable, unreadable, weights={"border": partial(np.ones, (2, 2))}, meta={"split": "train"}
    )
    changed = sample.replace(mask=np.ones((2, 2), np.uint8))
    assert changed.mask is not None and changed.mask.sum() == 4
    assert changed.weights["border"].sum() == 4
    assert changed.meta == {"split": "train"}


def test_a_dataset_opens_only_what_is_indexed() -> None:
    opened: list[int] = []

    def open_record(record: int) -> Sample:
        opened.append(record)
        return make_sample(record % 256)

    data = Dataset(range(100_000), open_record, LABELS)
    assert len(data) == 100_000 and len(data[10:20]) == 10
    assert opened == []
    assert data[-1].image[0, 0, 0] == 99_999 % 256
    assert data[10:20][3].image[0, 0, 0] == 13
    assert opened == [99_999, 13]


def test_splits_are_selected_by_name() -> None:
    data = Dataset([1, 2, 3], make_sample, LABELS, splits=["train", "val", "train"])
    assert data.splits == ("train", "val") and data.split is None
    assert [int(s.image[0, 0, 0]) for s in data.select("train")] == [1, 3]
    assert data.select("val").split == "val"
    with pytest.raises(UsageError, match="unknown split 'vall': did you mean 'val'"):
        data.select("vall")


def test_a_dataset_goes_to_other_processes() -> None:
    data = pickle.loads(pickle.dumps(Dataset([1, 2], make_sample, LABELS, name="numbers")))
    assert data.name == "numbers" and data.labels == LABELS
    assert [int(sample.image[0, 0, 0]) for sample in data] == [1, 2]
    assert repr(data) == "Dataset('numbers', 2 samples, 2 classes)"


def test_frames_of_a_clip_are_samples_with_their_masks() -> None:
    frames = [np.full((2, 2, 3), i, np.uint8) for i in range(3)]
    clip = Clip(frames, [0.0, 0.1, 0.2], masks={1: np.ones((2, 2), np.uint8)})
    assert len(clip) == 3
    assert [clip.frame(i).labelled for i in range(3)] == [False, True, False]
    assert clip.frame(2).meta == {"frame": 2, "time": 0.2}


def test_local_coordinates_keep_millimetres_far_from_the_origin() -> None:
    xyz = np.array([[651_234.001, 6_860_000.002, 35.003], [651_234.501, 6_860_001.002, 35.103]])
    local, offset = Cloud(xyz).local()
    assert local.dtype == np.float32
    np.testing.assert_allclose(local + offset, xyz, atol=1e-6)
    assert Cloud(np.zeros((0, 3))).local()[0].shape == (0, 3)


def test_spacing_is_read_from_a_rotated_affine() -> None:
    turned = np.array([[0, -2, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]], float)
    assert Volume(np.zeros((2, 2, 2)), turned).spacing == (1.0, 2.0, 3.0)


def test_shapes_stay_with_the_pixels_they_were_drawn_on():
    from pixelwise.shapes import Box, Shape

    drawn = Sample(np.zeros((4, 4, 3), np.uint8), shapes=[Shape("car", Box(0, 0, 2, 2))])
    assert drawn.replace(meta={"split": "train"}).shapes == drawn.shapes
    assert drawn.replace(image=np.zeros((8, 8, 3), np.uint8)).shapes is None
