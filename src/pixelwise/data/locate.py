"""Where the images are that an annotation file names, inside the data's folder and nowhere else."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from pathlib import Path

from pixelwise.io import IMAGE_SUFFIXES, walk_files
from pixelwise.io.video import VIDEO_SUFFIXES

_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES


class ImageFinder:
    r"""Finds images by the names in annotation files.

    A name may be relative to the annotation file or to the root, carry the folders of the computer that it
    is from (with slashes of either kind), or be a bare file name or a URL. Whatever would lead out of the
    root is looked up by its file name inside it.

    Parameters
    ----------
    root
        The data's folder.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "images").mkdir(); (root / "images" / "a.png").touch()
    >>> finder = ImageFinder(root)
    >>> finder.find(r"C:\data\a.png").name, finder.find("../../etc/passwd")
    ('a.png', None)
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.normpath(root))
        self._by_name: dict[str, list[str]] | None = None

    def find(self, name: str, base: Path | None = None) -> Path | None:
        """The file that ``name`` means, seen from the folder ``base`` (the root by default), or None.

        Of several files that could be meant it is the one whose folders are most like those of ``base``; None
        when that does not decide either.
        """
        clean = as_posix(name)
        if not clean or "\0" in clean:
            return None
        for folder in dict.fromkeys((base or self.root, self.root)):
            path = Path(os.path.normpath(folder / clean))
            if path.is_relative_to(self.root) and os.path.isfile(path):  # False for impossible names too
                return path
        return self._search(clean, base or self.root)

    def _search(self, name: str, base: Path) -> Path | None:
        """The only file whose path ends with as much of the name as any does."""
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for folder, files in walk_files(self.root):
                for file in files:
                    if posixpath.splitext(file)[1].lower() in _SUFFIXES:
                        self._by_name[file].append(f"{folder}/{file}" if folder else file)
        found = self._by_name.get(posixpath.basename(name), [])
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        while len(found) > 1 and parts:
            tail = "/".join(parts)
            closest = [path for path in found if f"/{path}".endswith(f"/{tail}")]
            if closest:
                found = closest
                break
            parts = parts[1:]
        if len(found) > 1:
            common = [len(os.path.commonpath((base, self.root / path))) for path in found]
            found = [path for path, length in zip(found, common, strict=True) if length == max(common)]
        return self.root / found[0] if len(found) == 1 else None


def as_posix(name: str) -> str:
    r"""A file name with forward slashes, without drive, scheme, host and query.

    >>> as_posix(r"C:\data\a.jpg"), as_posix("https://host/x/a.jpg?size=1"), as_posix("/b/a.jpg")
    ('data/a.jpg', 'x/a.jpg', 'b/a.jpg')
    """
    scheme, separator, rest = name.partition("://")
    if separator and scheme.isalnum():
        name = rest.partition("/")[2].partition("?")[0]
    name = name.replace("\\", "/")
    if len(name) > 1 and name[1] == ":" and name[0].isalpha():
        name = name[2:]
    return name.strip().lstrip("/")
