"""Damaged rows of S3DIS's text files, read again where there is only one way to read them.

In the rows that users report, characters have lost one bit (0x20): a space became a zero byte or vanished, a
digit became a control character. That is inferred from these rows; no source says how they came about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence


def mend_row(row: bytes) -> tuple[tuple[float, ...], str] | None:
    r"""Read a row that is not six plain numbers, if there is only one way to read it.

    Returns
    -------
    The six numbers and the text that stands for them, or None.

    Examples
    --------
    >>> mend_row(b"-22.7 3.1 2.9 185\x00187 199")  # a space that lost its bit
    ((-22.7, 3.1, 2.9, 185.0, 187.0, 199.0), '-22.7 3.1 2.9 185 187 199')
    >>> mend_row(b"103.0\x100000 1.5 2.5 1 2 3")[1]  # a zero that lost its bit
    '103.000000 1.5 2.5 1 2 3'
    >>> mend_row(b"1.25 2.50 3.75 185187 199")[1]  # the damaged space was dropped
    '1.25 2.50 3.75 185 187 199'
    >>> mend_row(b"1.25 2.50 3.75 1234 5")  # 12 34 or 123 4
    """
    words = re.split(r"[ \t]+", _restored(row).strip(" \t\r"))
    readings = {tuple(words)} if len(words) == 6 else set(_splits(words))
    readings = {reading for reading in readings if _is_point(reading)}
    if len(readings) != 1:
        return None
    [reading] = readings
    return tuple(map(float, reading)), " ".join(reading)


def _restored(row: bytes) -> str:
    """The row with the lost bit back in every control character that it makes part of a number."""
    lost = {byte: byte | 0x20 for byte in range(0x20) if chr(byte | 0x20) in "0123456789. -"}
    del lost[ord("\r")]  # more often the end of a line than a minus
    return bytes(lost.get(byte, byte) for byte in row).decode("latin-1")


_DECIMAL = re.compile(r"-?\d+(?:\.(\d*))?(?:[eE][-+]?\d+)?")
_COLOUR = re.compile(r"(0|[1-9]\d{0,2})(\.0*)?")


def _is_point(words: Sequence[str]) -> bool:
    return all(map(_DECIMAL.fullmatch, words[:3])) and all(map(_is_colour, words[3:]))


def _is_colour(word: str) -> bool:
    match = _COLOUR.fullmatch(word)
    return match is not None and int(match[1]) <= 255


def _decimals(word: str) -> int:
    match = _DECIMAL.fullmatch(word)
    return -1 if match is None else len(match[1] or "")


def _splits(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """What five words can be when one of them is two: one that makes no sense by itself.

    Coordinates of a file have equally many decimals, which tells where one ends.
    """
    if len(words) != 5:
        return
    for position, word in enumerate(words):
        others = [_decimals(other) for k, other in enumerate(words[:3]) if k != position]
        if _is_colour(word) if position >= 3 else _decimals(word) == others[0]:
            continue
        for cut in range(1, len(word)):
            reading = (*words[:position], word[:cut], word[cut:], *words[position + 1 :])
            if len({_decimals(coordinate) for coordinate in reading[:3]}) == 1:
                yield reading
