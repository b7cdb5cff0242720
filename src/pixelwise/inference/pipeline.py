"""Many images: decoding, network and encoding overlap, memory stays constant, one bad file stops nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pixelwise.errors import DataError

if TYPE_CHECKING:
    from pixelwise.inference.segmenter import Segmentation, Segmenter

_AHEAD = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """What became of one file: ``error`` is None when its result was written."""

    path: Path
    error: str | None = None


def read_ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], depth: int = _AHEAD
) -> Iterator[tuple[Item, Future[Result]]]:
    """Yield every item with the future of ``function(item)``, keeping ``depth`` of them under way."""
    remaining = iter(items)
    waiting = deque((item, pool.submit(function, item)) for item in islice(remaining, depth))
    while waiting:
        item, future = waiting.popleft()
        waiting.extend((following, pool.submit(function, following)) for following in islice(remaining, 1))
        yield item, future


def predict_files(
    segmenter: Segmenter,
    paths: Iterable[Path],
    write: Callable[[Path, Segmentation], None],
    probabilities: bool = False,
) -> Iterator[Outcome]:
    """Label image files in order and hand each result to ``write(path, segmentation)`` in a second thread.

    A file that cannot be read gives an Outcome with its error, and the next one follows. An error while
    writing (no space, no permission) would hit every file, so it is raised.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        writing: deque[tuple[Path, Future[None]]] = deque()
        for path, pixels in read_ahead(reader, segmenter.pixels, paths):
            image = _result_or_error(pixels)
            if isinstance(image, str):
                yield Outcome(path, image)
                continue
            segmentation = segmenter.predict(image, probabilities)
            writing.append((path, writer.submit(write, path, segmentation)))
            if len(writing) > _AHEAD:
                yield _written(*writing.popleft())
        while writing:
            yield _written(*writing.popleft())


def _result_or_error(future: Future[np.ndarray]) -> np.ndarray | str:
    try:
        return future.result()
    except DataError as error:
        return str(error)


def _written(path: Path, future: Future[None]) -> Outcome:
    future.result()
    return Outcome(path)
