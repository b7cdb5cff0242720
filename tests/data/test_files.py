"""Finding images by name and unpacking archives: nothing outside the data's folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pixelwise.data import read
from pixelwise.data.archives import unpacked
from pixelwise.data.locate import ImageFinder, as_posix
from pixelwise.errors import DataError
from pixelwise.io import write_image
from tests.data.folders import street


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def touch(path: Path) -> Path:
    write_image(path, np.zeros((2, 2, 3), np.uint8))
    return path


class TestImageFinder:
    def test_relative_to_the_annotation_or_the_root(self, tmp_path):
        beside, below = touch(tmp_path / "ann" / "a.png"), touch(tmp_path / "images" / "b.png")
        finder = ImageFinder(tmp_path)
        assert finder.find("a.png", tmp_path / "ann") == beside
        assert finder.find("images/b.png", tmp_path / "ann") == below
        assert finder.find("../images/b.png", tmp_path / "ann") == below

    @pytest.mark.parametrize(
        "name", [r"C:\me\photos\b.png", "/home/me/b.png", "https://host/x/b.png?token=1", "x/y/b.png"]
    )
    def test_names_from_another_computer(self, tmp_path, name):
        path = touch(tmp_path / "images" / "b.png")
        assert ImageFinder(tmp_path).find(name) == path

    def test_the_longest_ending_decides(self, tmp_path):
        touch(tmp_path / "one" / "b.png")
        path = touch(tmp_path / "two" / "b.png")
        assert ImageFinder(tmp_path).find("/data/two/b.png") == path
        assert ImageFinder(tmp_path).find("b.png") is None

    def test_the_nearest_folder_decides(self, tmp_path):
        for split in ("train", "val"):
            touch(tmp_path / split / "images" / "b.png")
        (tmp_path / "val" / "annotations").mkdir()
        found = ImageFinder(tmp_path).find("b.png", tmp_path / "val" / "annotations")
        assert found == tmp_path / "val" / "images" / "b.png"

    @pytest.mark.parametrize(
        "name", ["../secret.png", "../../secret.png", "images/../../secret.png", "", "a\0b", "x" * 5000]
    )
    def test_never_outside(self, tmp_path, name):
        touch(tmp_path / "secret.png")
        touch(tmp_path / "data" / "a.png")
        assert ImageFinder(tmp_path / "data").find(name) is None

    def test_a_link_of_the_users_own_is_followed(self, tmp_path):
        path = touch(tmp_path / "big disk" / "a.png")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a.png").symlink_to(path)
        assert ImageFinder(tmp_path / "data").find("a.png") == tmp_path / "data" / "a.png"


def test_as_posix_keeps_what_is_plain():
    assert as_posix("x/ü 1.jpg") == "x/ü 1.jpg"


class TestArchives:
    def pack(self, path, files):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    def test_reading_one(self, tmp_path):
        root = street(tmp_path / "street")
        files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        archive = self.pack(tmp_path / "street.zip", files)
        first, second = read(archive), read(archive)
        assert len(first) == len(read(root)) and first[0].path == second[0].path
        assert not list((tmp_path).glob("street.zip.*"))

    @pytest.mark.parametrize(
        "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "C:/evil.txt", r"..\evil.txt"]
    )
    def test_names_that_lead_out(self, tmp_path, name):
        archive = self.pack(tmp_path / "a.zip", {"good.txt": "", name: "x"})
        with pytest.raises(DataError, match=r"a\.zip: the name .* leads out of the folder; not unpacked"):
            unpacked(archive)
        assert not list((tmp_path / "cache").rglob("*.txt"))

    def test_a_link(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            entry = zipfile.ZipInfo("link")
            entry.external_attr = 0o120777 << 16
            archive.writestr(entry, "/etc/passwd")
        with pytest.raises(DataError, match="leads out of the folder"):
            unpacked(tmp_path / "a.zip")

    def test_a_bomb(self, tmp_path):
        archive = self.pack(tmp_path / "a.zip", {"zeros": bytes(120 << 20)})
        with pytest.raises(
            DataError, match=r"a\.zip: would unpack to 1 files of 0\.1 GiB, which no export does"
        ):
            unpacked(archive)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"{}"])
    def test_no_archive(self, tmp_path, content):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.zip: not a ZIP file that can be read"):
            read(tmp_path / "a.zip")

    def test_a_damaged_one_leaves_nothing(self, tmp_path):
        archive = self.pack(tmp_path / "a.zip", {"a.txt": "a" * 1000, "b.txt": "b" * 1000})
        content = bytearray(archive.read_bytes())
        content[40] ^= 255  # in the first file's bytes
        archive.write_bytes(content)
        with pytest.raises(DataError, match="not a ZIP file that can be read"):
            unpacked(archive)
        assert not any(p for p in (tmp_path / "cache").rglob("*") if p.is_file())
