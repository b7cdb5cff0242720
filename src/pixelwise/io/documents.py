"""Text documents from anywhere: JSON, JSON lines and XML, with one sentence when they are bad."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from pixelwise.errors import DataError


def read_text(path: Path) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises
    ------
    DataError
        The file is missing, a folder, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: expected a file, found a folder") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8, or export it again"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_json(path: Path) -> Any:
    """A JSON document; NaN and Infinity come through as floats, for the reader to refuse by record.

    Raises
    ------
    DataError
        The file is missing, not UTF-8, truncated or no JSON, or nested too deeply.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """JSON from text; ``where`` names its place in messages."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{where}: not valid JSON ({error.msg} at {place}); export it again") from None
    except RecursionError:
        raise DataError(f"{where}: the JSON is nested too deeply to be an annotation") from None
    except ValueError as error:  # integers of thousands of digits
        raise DataError(f"{where}: not valid JSON ({error})") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, document) of every line that is not empty.

    Raises
    ------
    DataError
        As :func:`read_json`, with the line.
    """
    # Not splitlines(), which also breaks at separators that JSON allows inside strings.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, parse_json(line, f"{path}:{number}")


def read_xml(path: Path) -> Element:
    """The root of an XML document; entities and external documents are refused (defusedxml).

    Raises
    ------
    DataError
        The file is missing, truncated or no XML, or declares a document type or entities.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        return parse(path, forbid_dtd=True).getroot()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except ParseError as error:
        raise DataError(f"{path}: not valid XML ({error}); export it again") from None
    except DefusedXmlException:
        raise DataError(
            f"{path}: declares a document type or entities, which no annotation tool does, so it is not read"
        ) from None
    except (OSError, ValueError, LookupError) as error:  # a folder, or an encoding nobody knows
        raise DataError(f"{path}: cannot be read as XML ({error})") from None
