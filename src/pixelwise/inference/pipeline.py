"""Many images: decoding, network and encoding overlap, memory stays constant, one bad file stops nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

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
            if isinstance(pixels, DataError):
                yield Outcome(path, str(pixels))
                continue
            segmentation = segmenter.predict(pixels, probabilities)
            writing.append((path, writer.submit(write, path, segmentation)))
            if len(writing) > _AHEAD:
                yield _written(*writing.popleft())
        while writing:
            yield _written(*writing.popleft())


def _written(path: Path, future: Future[None]) -> Outcome:
    future.result()
    return Outcome(path)
