"""What the folders of an annotation file say about it."""

from __future__ import annotations

from pixelwise.data.pairing import SPLIT_NAMES


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
