"""Which format a folder is in, splits, and the errors of ``read``."""

import os
from pathlib import Path

import numpy as np
import pytest

from pixelwise.data import FORMATS, read
from pixelwise.data.read import READERS
from pixelwise.errors import DataError, UsageError
from pixelwise.io import write_image
from tests.data.folders import add, picture, street


def test_every_format_has_both_functions() -> None:
    assert tuple(READERS) == FORMATS and "masks" in FORMATS
    for reader in READERS.values():
        assert callable(reader.recognise) and callable(reader.read)


@pytest.mark.parametrize("name", FORMATS)
def test_no_reader_claims_a_file_or_an_empty_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    assert not READERS[name].recognise(tmp_path / "notes.txt")
    assert not READERS[name].recognise(tmp_path / "empty")


def test_splits_are_selected_by_any_of_their_names(tmp_path: Path) -> None:
    street(tmp_path)
    assert read(tmp_path).splits == ("train", "val")
    for name in ("val", "valid", "validation", "VAL"):
        data = read(tmp_path, split=name)
        assert (data.split, len(data)) == ("val", 2)


def test_an_unknown_split_names_those_there_are(tmp_path: Path) -> None:
    street(tmp_path)
    with pytest.raises(
        UsageError, match=r"unknown split 'tran': did you mean 'train'\? \(known: train, val\)"
    ):
        read(tmp_path, split="tran")


def test_asking_for_a_split_of_a_folder_without_splits(tmp_path: Path) -> None:
    add(tmp_path, "images/a.png", "masks/a.png")
    with pytest.raises(UsageError, match="is not split, so there is no 'val'; leave the split away"):
        read(tmp_path, split="val", labels=["road", "car", "sky"])


def test_an_unknown_format_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'mask': did you mean 'masks'"):
        read(tmp_path, format="mask")


@pytest.mark.parametrize("format", ["auto", "masks", "camvid"])
class TestNothingToRead:
    def test_missing(self, tmp_path: Path, format: str) -> None:
        with pytest.raises(DataError, match="nowhere: no such file or folder"):
            read(tmp_path / "nowhere", format=format)

    def test_empty(self, tmp_path: Path, format: str) -> None:
        with pytest.raises(DataError, match=r"the folder is empty|no image in this folder") as caught:
            read(tmp_path, format=format)
        assert str(tmp_path) in str(caught.value)

    def test_a_file_instead_of_a_folder(self, tmp_path: Path, format: str) -> None:
        write_image(tmp_path / "a.png", picture(0))
        with pytest.raises(DataError, match=r"this file is no data set|expected a folder .* found a file"):
            read(tmp_path / "a.png", format=format)

    def test_images_without_masks(self, tmp_path: Path, format: str) -> None:
        write_image(tmp_path / "images" / "a.png", picture(0))
        with pytest.raises(DataError, match=r"1 images \(such as images/a.png\) but no mask; put masks"):
            read(tmp_path, format=format)

    def test_masks_without_images(self, tmp_path: Path, format: str) -> None:
        write_image(tmp_path / "masks" / "a.png", picture(0))
        with pytest.raises(DataError, match=r"1 masks \(such as masks/a.png\) but no image; put the images"):
            read(tmp_path, format=format)

    def test_names_that_do_not_pair(self, tmp_path: Path, format: str) -> None:
        add(tmp_path, "images/a.png", "masks/b.png")
        with pytest.raises(DataError, match=r"none of 1 images has a mask .* give both the same file stem"):
            read(tmp_path, format=format)


def test_a_folder_without_images_lists_the_formats(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"holds no image; known formats: .*masks"):
        read(tmp_path)


def test_opening_reads_no_pixels(tmp_path: Path) -> None:
    street(tmp_path)
    for image in (tmp_path / "images").rglob("*.png"):
        image.write_bytes(b"")
    data = read(tmp_path)
    sample = data[0]
    assert sample.mask is not None and sample.mask.shape == (12, 16)
    with pytest.raises(DataError, match="not an image"):
        _ = sample.image


def test_samples_carry_pixels_path_split_and_mask_path(tmp_path: Path) -> None:
    street(tmp_path)
    sample = read(tmp_path, split="val")[0]
    assert np.array_equal(sample.image, picture(4))
    assert sample.path == tmp_path / "images" / "val" / "000.png"
    assert sample.meta == {"split": "val", "mask_path": tmp_path / "masks" / "val" / "000.png"}


def test_a_folder_is_listed_once_by_all_readers_and_anew_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = street(tmp_path)
    walks: list[str] = []
    walk = os.walk

    def counted(folder: str | Path, **options: object) -> object:
        walks.append(str(folder))
        return walk(folder, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "walk", counted)
    assert len(read(root)) == 6
    assert walks == [str(root)]
    add(root, "images/val/new.png", "masks/val/new.png")
    assert len(read(root)) == 7
