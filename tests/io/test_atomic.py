"""Files are there whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from pixelwise.errors import PixelwiseError
from pixelwise.io import atomic_write, write_json, write_text


def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PixelwiseError, match=r"cannot write .*a\.txt: the disk is full; free some space"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_no_permission_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PixelwiseError, match=r"a\.txt: no permission; choose another output folder"):
        write_text(tmp_path / "a.txt", "new")
    assert not list(tmp_path.iterdir())


def test_a_parent_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PixelwiseError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "new")
    assert (tmp_path / "file").read_text() == "x"


def test_parents_are_made_and_permissions_follow_the_umask(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "er" / "a.json", {"é": [1]})
    target = tmp_path / "deep" / "er" / "a.json"
    assert target.read_text(encoding="utf-8") == '{\n "é": [\n  1\n ]\n}\n'
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode
