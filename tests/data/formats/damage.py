"""What may be wrong with a file: wrong types anywhere, and damaged bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pixelwise.data import read
from pixelwise.errors import PixelwiseError

JUNK = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    *(st.just([]), st.just({}), st.just([[1, 2]]), st.just("../../x.png"), st.just("\0.png")),
)
FLIPS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be replaced in a parsed document."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    return [path, *(place for key in keys for place in places(node[key], (*path, key)))]


def replaced(document: Any, place: tuple[Any, ...], junk: Any) -> Any:
    """A copy with something else in one place."""
    document = copy.deepcopy(document)
    node = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = junk
    return document


def damaged(content: bytes, flips: list[tuple[int, int]], length: int) -> bytes:
    """Some bytes changed, and often cut short."""
    data = bytearray(content)
    for at, value in flips:
        data[at % len(data)] = value
    return bytes(data[: length % (2 * len(data)) + 1])


def opened(path: Path, format: str, name: Callable[[Path], str] = lambda path: path.name) -> None:
    """Touch everything: it works, or says in one sentence which file is bad."""
    try:
        for sample in read(path, format=format):
            _ = sample.shapes, sample.mask, sample.instances
    except PixelwiseError as error:
        assert str(path) in str(error) or name(path) in str(error)
