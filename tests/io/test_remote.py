"""Files behind URIs: what is listed, and what leads nowhere."""

import pytest

from pixelwise.errors import DataError, PixelwiseError, UsageError
from pixelwise.io import remote
from pixelwise.io.remote import list_images


def test_uris_that_lead_nowhere(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UsageError, match=r"ftp://host/x: not a URI .*expected s3://"):
        next(list_images("ftp://host/x"))
    with pytest.raises(DataError, match="no such file or folder"):
        next(list_images((tmp_path / "absent").as_uri()))
    with pytest.raises(DataError, match="no images here"):
        next(list_images(tmp_path.as_uri()))


def test_two_images_of_one_result_are_refused(tmp_path):
    for name in ("x.jpg", "x.png"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"x\.jpg and x\.png in .* would both become x\.png"):
        list(list_images(tmp_path.as_uri()))


def test_folders_are_listed_in_order_and_other_files_told(tmp_path):
    for name in ("b.jpg", "a.txt", "c/d.PNG", ".hidden.jpg", "c/.e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    others: list[str] = []
    root = tmp_path.as_uri()
    assert list(list_images(root, others)) == [(root, "b.jpg"), (root, "c/d.PNG")]
    assert others == [f"{root}/a.txt"]
    assert list(list_images(f"{root}/c/d.PNG")) == [(f"{root}/c", "d.PNG")]


def test_a_file_comes_back_as_it_was_written(tmp_path):
    root = (tmp_path / "store").as_uri()
    remote.put(b"mask", root, "a/b.png")
    assert remote.is_file(root, "a/b.png") and not remote.is_file(root, "a/c.png")
    remote.fetch(root, "a/b.png", tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == b"mask"
    remote.remove(root, "a/b.png")
    with pytest.raises(DataError, match=r"a/b.png: no such image"):
        remote.fetch(root, "a/b.png", tmp_path / "copy.png")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PixelwiseError, match=r"cannot write file://.*/file/a.png: "):
        remote.put(b"mask", (tmp_path / "file").as_uri(), "a.png")
