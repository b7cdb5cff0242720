"""Rows of text with a coloured point each, ``x y z r g b``: the numbers, and which rows are none.

``numpy.loadtxt`` takes a second for a million rows and gives up at the first damaged one. Here the bytes are
walked through once, in a tenth of that, and a row that is not six plain numbers is marked and left to the
caller.

A decimal of at most 15 digits is an integer below 2**53 over a power of ten that float64 holds exactly, so
one division gives the float64 nearest to it, as ``float()`` does (Clinger, "How to read floating point
numbers accurately", 1990). Longer ones and exponents are left to the caller, too.
"""

from __future__ import annotations

import numba
import numpy as np

FINE, BLANK, DECIMAL_COLOURS, ODD = 0, 1, 2, 3
"""What a row is: as expected, empty, with colours such as ``106.000``, or anything else."""

_MOST_DIGITS = 15
_POWERS = 10.0 ** np.arange(_MOST_DIGITS + 1)
_TAB, _LINE_END, _RETURN, _SPACE, _MINUS, _POINT, _ZERO, _NINE = b"\t\n\r -.09"


def parse_rows(text: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Read every line of a text.

    Parameters
    ----------
    text
        N uint8, the bytes of the text.

    Returns
    -------
    xyz
        R×3 float64 for R lines, 0 where the line has no point.
    rgb
        R×3 uint8.
    kinds
        R uint8: FINE, BLANK, DECIMAL_COLOURS or ODD.

    Examples
    --------
    >>> text = b"1.5 -2 0.25 7 8 9\n1 2 3 4 5.00 6\n\n1 2 3 4 5\n"
    >>> xyz, rgb, kinds = parse_rows(np.frombuffer(text, np.uint8))
    >>> xyz[0].tolist(), rgb[:2].tolist(), kinds.tolist()
    ([1.5, -2.0, 0.25], [[7, 8, 9], [4, 5, 6]], [0, 2, 1, 3])
    """
    rows = int(np.count_nonzero(text == _LINE_END)) + int(len(text) > 0 and text[-1] != _LINE_END)
    xyz, rgb = np.zeros((rows, 3)), np.zeros((rows, 3), np.uint8)
    kinds = np.empty(rows, np.uint8)
    _parse(text, _POWERS, xyz, rgb, kinds)
    return xyz, rgb, kinds


@numba.njit(cache=True, nogil=True)
def _parse(text: np.ndarray, powers: np.ndarray, xyz: np.ndarray, rgb: np.ndarray, kinds: np.ndarray) -> None:
    end = len(text)
    at = 0
    for row in range(len(kinds)):
        kind = FINE
        for column in range(6):
            at = _skip_blanks(text, at, end)
            if column == 0 and (at == end or text[at] == _LINE_END or text[at] == _RETURN):
                kind = BLANK
                break
            negative = at < end and text[at] == _MINUS
            if negative:
                at += 1
            number, digits, decimals = np.int64(0), 0, -1
            while at < end and digits <= _MOST_DIGITS:
                byte = text[at]
                if _ZERO <= byte <= _NINE:
                    number = number * 10 + (byte - _ZERO)
                    digits += 1
                    if decimals >= 0:
                        decimals += 1
                elif byte == _POINT and decimals < 0:
                    decimals = 0
                else:
                    break
                at += 1
            if digits == 0 or digits > _MOST_DIGITS or not _is_gap(text, at, end):
                kind = ODD
                break
            if column < 3:
                value = number / powers[max(decimals, 0)]
                xyz[row, column] = -value if negative else value
                continue
            if decimals >= 0:
                kind = DECIMAL_COLOURS
                whole = np.int64(powers[decimals])
                if number % whole != 0:
                    kind = ODD
                    break
                number //= whole
            if negative or number > 255:
                kind = ODD
                break
            rgb[row, column - 3] = number
        at = _skip_blanks(text, at, end)
        if at < end and text[at] == _RETURN:
            at += 1
        if at < end and text[at] != _LINE_END:  # more than six columns, or what an odd row leaves over
            kind = ODD
            while at < end and text[at] != _LINE_END:
                at += 1
        at += 1
        kinds[row] = kind
        if kind == ODD:
            xyz[row] = 0
            rgb[row] = 0


@numba.njit(cache=True, nogil=True, inline="always")
def _skip_blanks(text: np.ndarray, at: int, end: int) -> int:
    while at < end and (text[at] == _SPACE or text[at] == _TAB):
        at += 1
    return at


@numba.njit(cache=True, nogil=True, inline="always")
def _is_gap(text: np.ndarray, at: int, end: int) -> bool:
    if at == end:
        return True
    return text[at] in (_SPACE, _TAB, _LINE_END, _RETURN)
