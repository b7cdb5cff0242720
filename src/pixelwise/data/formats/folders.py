"""What the folders of an annotation file say about it: split, classes, file names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pixelwise.data.annotations import BACKGROUND_NAMES, Document
from pixelwise.data.classes import find_class_file
from pixelwise.data.pairing import SPLIT_NAMES
from pixelwise.errors import DataError
from pixelwise.io import read_label_file, write_json, write_text
from pixelwise.labels import LabelMap


def split_folder(name: str) -> tuple[str | None, str]:
    """The split that a relative name's first folder says, and the rest of the name.

    >>> split_folder("train/a.jpg"), split_folder("valid/x/a.jpg"), split_folder("b/train/a.jpg")
    (('train', 'a.jpg'), ('val', 'x/a.jpg'), (None, 'b/train/a.jpg'))
    """
    first, _, rest = name.partition("/")
    return (SPLIT_NAMES[first.lower()], rest) if rest and first.lower() in SPLIT_NAMES else (None, name)


def usable_name(name: str) -> str:
    r"""A file name as it was written in an annotation, or nothing where no file can be called that.

    >>> usable_name("a/b.jpg"), usable_name("x" * 5000), usable_name("a\0b")
    ('a/b.jpg', '', '')
    """
    parts = name.encode(errors="replace").split(b"/")
    return "" if "\0" in name or len(name) > 1000 or max(map(len, parts)) > 255 else name


def classes_below(root: Path, sources: Iterable[Path]) -> LabelMap | None:
    """The classes of a class file between the data's folder and its annotation files, where all agree.

    Each split that is written into a folder of its own has one. The data's own folder is not looked at: what
    it says goes before everything else anyway.
    """
    if find_class_file(root) is not None:
        return None
    folders = dict.fromkeys(folder for source in sources for folder in source.parents)
    files = (find_class_file(folder) for folder in folders if root in folder.parents)
    lists = [read_label_file(file)[0] for file in files if file is not None]
    agree = bool(lists) and all(labels.names == lists[0].names for labels in lists)
    return lists[0] if agree else None


def declare(document: Document, labels: LabelMap) -> None:
    """Give a document the classes of a class file: without a background what nobody drew on is ignored."""
    document.names, document.colours = list(labels.names), list(labels.colours)
    document.dense = not any(name.lower() in BACKGROUND_NAMES for name in labels.names)


def write_class_list(path: Path, lines: Iterable[str], labels: LabelMap) -> None:
    """Write a class file line by line, and ``classes.json`` where lines cannot hold the names (``#1``)."""
    write_text(path, "\n".join(lines) + "\n")
    try:
        same = read_label_file(path)[0].names == labels.names
    except DataError:
        same = False
    if not same:
        write_class_json(path.parent, labels)


def write_class_json(folder: Path, labels: LabelMap) -> None:
    """Write ``classes.json`` with names and colours, which goes before class files of other names."""
    write_json(folder / "classes.json", {"names": labels.names, "colours": labels.colours})
