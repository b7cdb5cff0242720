"""Class files as people write them: names, names with colours, CamVid's colour list, JSON, YAML."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from pixelwise.errors import DataError
from pixelwise.labels import Colour, LabelMap

_VOID_NAMES = frozenset(
    {"void", "unlabelled", "unlabeled", "ignore", "ignored", "ignore_label", "__ignore__"}
)
_HEADERS = (["index", "name", "r", "g", "b"], ["name", "r", "g", "b"], ["index", "name"], ["name"])


def read_label_file(path: str | Path) -> tuple[LabelMap, dict[int, int]]:
    """Read a class file and return its labels with the translation of mask values to class ids.

    Understood: one name a line; ``index,name``, ``name,r,g,b`` or ``index,name,r,g,b`` (with or without
    a header); ``r g b name`` (CamVid's ``label_colors.txt``); ``name:r,g,b:parts:actions`` (CVAT's
    ``labelmap.txt``); JSON or YAML with a list of names, ``{"names": [...]}`` or ``{"names": {0: ...}}``.
    A class called void, unlabelled, ignore or the like is no class: its value becomes the ignored id.
    LabelMe's first line ``__ignore__`` has no value in masks and is not counted.

    Returns
    -------
    labels
        The classes, colours included when the file has them.
    mapping
        From the value in a mask to the class id; empty when they are the same.

    Raises
    ------
    DataError
        The file is missing, empty, not text, or names a class or an index twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such class file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: expected a class file, found a folder") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: a class file must be UTF-8 text") from None
    rows = _from_document(path, text) if path.suffix in (".json", ".yaml", ".yml") else _from_lines(text)
    if not rows:
        raise DataError(f"{path}: the class file is empty; write one class name a line")
    return _build(path, rows)


Row = tuple[int, str, Colour | None]


def _from_lines(text: str) -> list[Row]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    rows = [_cells(line) for line in lines]
    if rows and [cell.lower() for cell in rows[0]] in _HEADERS:
        rows, lines = rows[1:], lines[1:]
    if lines and lines[0] == "__ignore__":
        rows, lines = rows[1:], lines[1:]
    indexed = all(
        "," in line and len(row) == 2 and row[0].isdigit() for line, row in zip(lines, rows, strict=True)
    )
    if indexed:
        return [(int(index), name, None) for index, name in rows]
    return [_row(position, line, row) for position, (line, row) in enumerate(zip(lines, rows, strict=True))]


def _cells(line: str) -> list[str]:
    if line.count(":") == 3:  # name:r,g,b:parts:actions
        name, colour = line.split(":")[:2]
        return [name.strip(), *(cell.strip() for cell in colour.split(","))]
    cells = next(csv.reader([line])) if "," in line else line.split()
    return [cell.strip() for cell in cells]


def _row(position: int, line: str, cells: list[str]) -> Row:
    if len(cells) == 5 and "," in line and _are_numbers(cells[:1] + cells[2:]):
        return int(cells[0]), cells[1], _colour(cells[2:])
    if len(cells) == 4 and _are_numbers(cells[1:]):
        return position, cells[0], _colour(cells[1:])
    if len(cells) >= 4 and _are_numbers(cells[:3]):
        return position, " ".join(cells[3:]), _colour(cells[:3])
    return position, cells[0] if line.count(":") == 3 else line, None


def _from_document(path: Path, text: str) -> list[Row]:
    try:
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not valid {path.suffix[1:].upper()} ({reason})") from None
    colours: list[Any] = []
    if isinstance(document, dict) and "names" in document:
        colours, document = document.get("colours") or [], document["names"]
    if isinstance(document, dict):
        if not all(str(key).isdigit() for key in document):
            raise DataError(f"{path}: expected a list of class names, or 'names:' with one")
        return [
            (int(key), str(name), None) for key, name in sorted(document.items(), key=lambda kv: int(kv[0]))
        ]
    if not isinstance(document, list):
        raise DataError(f"{path}: expected a list of class names, or 'names:' with one")
    found = [tuple(c) for c in colours] if len(colours) == len(document) else [None] * len(document)
    return [(i, str(name), colour) for i, (name, colour) in enumerate(zip(document, found, strict=True))]


def _build(path: Path, rows: list[Row]) -> tuple[LabelMap, dict[int, int]]:
    values = [value for value, _, _ in rows]
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise DataError(f"{path}: index {repeated[0]} stands there more than once; give every class its own")
    bad = [name for _, name, colour in rows if colour is not None and max(colour) > 255]
    if bad:
        raise DataError(
            f"{path}: the colour of '{bad[0]}' has a value over 255; give red, green, blue as 0..255"
        )
    kept = [row for row in rows if not is_void(row[1])]
    colours = tuple(colour for _, _, colour in kept if colour is not None)
    try:
        labels = LabelMap(tuple(name for _, name, _ in kept), colours if len(colours) == len(kept) else ())
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    mapping = {value: position for position, (value, _, _) in enumerate(kept)}
    mapping |= {value: labels.ignore for value, name, _ in rows if is_void(name)}
    return labels, {} if all(value == to for value, to in mapping.items()) else mapping


def is_void(name: str) -> bool:
    """Whether a class name says that its pixels have no label.

    >>> is_void("Void"), is_void("__ignore__"), is_void("road")
    (True, True, False)
    """
    return not name or name.lower() in _VOID_NAMES


def _are_numbers(cells: list[str]) -> bool:
    return all(cell.isdigit() for cell in cells)


def _colour(cells: list[str]) -> Colour:
    r, g, b = (int(cell) for cell in cells)
    return r, g, b
