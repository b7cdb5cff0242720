"""Many images: decoding, network and encoding overlap, memory stays constant, one bad file stops nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from pixelwise.errors import DataError
from pixelwise.inference.engines import available_cores

if TYPE_CHECKING:
    from pixelwise.inference.segmenter import Predictor, Segmentation

_AHEAD = 4
_MOST_THREADS = 8  # more would only hold more images: no network is faster than eight decoders

Item = TypeVar("Item")
Result = TypeVar("Result")
File = TypeVar("File", bound=PathLike[str])


@dataclass(frozen=True)
class Outcome(Generic[File]):
    """What became of one file, as it was given: ``error`` is None when its result was written."""

    path: File
    error: str | None = None


def read_ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], depth: int = _AHEAD
) -> Iterator[tuple[Item, Result | DataError]]:
    """Yield every item with ``function(item)``, or with the DataError that it raised.

    ``depth`` of them are under way in the one thread of ``pool``, which also advances ``items``: what an
    iterator decodes as it goes along is then decoded ahead, too.
    """
    remaining = iter(items)

    def pull() -> tuple[Item, Result | DataError] | None:
        for item in remaining:
            try:
                return item, function(item)
            except DataError as error:
                return item, error
        return None

    waiting = deque(pool.submit(pull) for _ in range(depth))
    while (result := waiting.popleft().result()) is not None:
        waiting.append(pool.submit(pull))
        yield result


def predict_files(
    segmenter: Predictor,
    paths: Iterable[File],
    write: Callable[[File, Segmentation], None],
    probabilities: bool = False,
) -> Iterator[Outcome[File]]:
    """Label image files and hand each result to ``write(path, segmentation)``; outcomes come in order.

    Half of the cores decode and half of them write, while the network, which has threads of its own, runs in
    the caller's thread: ``write`` must bear being called by several threads at once. The queues between them
    are short, so memory does not grow with the number of files.

    A file that cannot be read gives an Outcome with its error, and the next one follows. An error while
    writing (no space, no permission) would hit every file, so it is raised.
    """

    def read(path: File) -> tuple[File, np.ndarray | DataError]:
        try:
            return path, segmenter.pixels(Path(path))
        except DataError as error:
            return path, error

    def predict(pair: tuple[File, np.ndarray | DataError]) -> tuple[File, Segmentation | DataError]:
        path, pixels = pair
        return path, pixels if isinstance(pixels, DataError) else segmenter.predict(pixels, probabilities)

    def finish(pair: tuple[File, Segmentation | DataError]) -> Outcome[File]:
        path, result = pair
        if isinstance(result, DataError):
            return Outcome(path, str(result))
        write(path, result)
        return Outcome(path)

    threads = max(1, min(_MOST_THREADS, available_cores() // 2))
    depth = max(_AHEAD, threads)
    with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(threads) as writers:
        images = _in_order(readers, read, paths, depth)
        # K planes of floats are many times an image: fewer of them wait.
        yield from _in_order(writers, finish, map(predict, images), 1 if probabilities else depth)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], depth: int
) -> Iterator[Result]:
    """``map(function, items)`` in the threads of ``pool``, at most ``depth`` items ahead of the caller."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
