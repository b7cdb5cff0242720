"""One turn of a benchmark: a process that loads one model with one engine and times it.

``python -m pixelwise.inference.measure`` reads one :class:`Turn` as JSON from its standard input. It answers
with two lines of JSON: ``{"ready": true}`` as soon as the first mask is there, and what it measured. A turn
that cannot run answers ``{"refused": why}``; one that crashes does not answer at all.

It has a process of its own, so that memory and start-up are its own, and it lies beside what it measures, so
that it imports what ``predict`` imports and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from pixelwise.errors import PixelwiseError, UsageError

if TYPE_CHECKING:
    from pixelwise.inference.segmenter import Segmentation, Segmenter


@dataclass(frozen=True)
class Turn:
    """What a process is asked to do.

    Attributes
    ----------
    bundle
        The bundle's folder.
    engine, precision, device
        As :func:`~pixelwise.inference.engines.create_engine` takes them.
    images
        Image files. The masks of a run over all of them are written below ``out``, named by position.
    warm_up
        Image files that are predicted before anything is timed: one of every size, since engines compile for
        each size anew.
    calls
        How many images are timed; ``images`` are taken again from the first when they are fewer. 0 writes the
        masks and times nothing.
    out
        A folder for the masks.
    """

    bundle: str
    engine: str
    precision: str
    device: str
    images: tuple[str, ...]
    warm_up: tuple[str, ...]
    calls: int
    out: str

    def to_json(self) -> str:
        """The inverse of :meth:`from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Turn:
        """Read what :meth:`to_json` wrote."""
        values = json.loads(text)
        return cls(**values | {name: tuple(values[name]) for name in ("images", "warm_up")})


def mask_name(position: int) -> str:
    """The file of a mask below ``Turn.out``."""
    return f"{position:06d}.png"


def take_turn(turn: Turn) -> dict[str, Any]:
    """Start the process for a turn and wait for it.

    Returns
    -------
    dict
        ``engine``, ``precision`` and ``device`` that ran; ``peak_bytes``; ``start_seconds`` from the start of
        the process to the first mask; and where images were timed ``latencies`` (seconds) and
        ``images_per_second``.

    Raises
    ------
    UsageError
        The model cannot run so; the message says why.
    PixelwiseError
        The process crashed or failed.
    """
    import subprocess

    # -P keeps the current folder from shadowing modules.
    command = [sys.executable, "-P", "-m", "pixelwise.inference.measure"]
    with TemporaryFile() as complaints:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, encoding="utf-8"
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            with process.stdout:
                try:
                    process.stdin.write(turn.to_json())
                    process.stdin.close()
                except BrokenPipeError:
                    pass  # it is gone already; the exit status says why
                first = process.stdout.readline()
                ready = time.perf_counter() - start
                second = process.stdout.readline()
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
        if first and (refusal := json.loads(first).get("refused")):
            raise UsageError(refusal)
        if not second:
            complaints.seek(0)
            raise PixelwiseError(_last_words(process.returncode, complaints.read().decode(errors="replace")))
    answer: dict[str, Any] = json.loads(second)
    return answer | {"start_seconds": ready}


def _last_words(status: int, complaints: str) -> str:
    """Why a process ended without an answer, in one line."""
    if status < 0:
        import signal

        name = signal.Signals(-status).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"crashed ({name}{hint})"
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    return f"failed ({lines[-1][:300] if lines else f'exit status {status}'})"


def main() -> None:
    """Take the turn that standard input describes."""
    # Libraries that print must not come between the lines of the answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    turn = Turn.from_json(sys.stdin.read())
    for answer in _take(turn):
        print(json.dumps(answer), file=answers, flush=True)


def _take(turn: Turn) -> Iterator[dict[str, Any]]:
    from pixelwise.bundles import open_bundle
    from pixelwise.inference.segmenter import Segmenter

    try:
        segmenter = Segmenter(open_bundle(turn.bundle), turn.engine, turn.precision, turn.device)
        segmenter.predict(turn.images[0])
    except PixelwiseError as error:
        yield {"refused": str(error)}
        return
    yield {"ready": True}
    for path in turn.warm_up:
        segmenter.predict(path)
    answer: dict[str, Any] = {
        "engine": segmenter.engine.name,
        "precision": segmenter.engine.precision,
        "device": str(getattr(segmenter.engine, "device", "cpu")),
    }
    if turn.calls:
        answer["latencies"] = [_latency(segmenter, path) for path in _files(turn, turn.calls)]
        answer["images_per_second"] = turn.calls / _all_files(segmenter, turn, turn.calls)
    else:
        _all_files(segmenter, turn, len(turn.images))
    yield answer | {"peak_bytes": _peak_bytes()}


def _files(turn: Turn, count: int) -> list[Path]:
    return [Path(path) for path in islice(cycle(turn.images), count)]


def _latency(segmenter: Segmenter, path: Path) -> float:
    """Seconds from the pixels in memory to the mask."""
    pixels = segmenter.pixels(path)
    start = time.perf_counter()
    segmenter.predict(pixels)
    return time.perf_counter() - start


def _all_files(segmenter: Segmenter, turn: Turn, count: int) -> float:
    """Seconds from files to masks on disk, as ``predict`` does it."""
    from pixelwise.inference.pipeline import predict_files

    files = _files(turn, count)
    positions = {Path(path): position for position, path in enumerate(turn.images)}

    def write(path: Path, segmentation: Segmentation) -> None:
        segmentation.save(Path(turn.out) / mask_name(positions[path]))

    start = time.perf_counter()
    failures = [outcome.error for outcome in predict_files(segmenter, files, write) if outcome.error]
    seconds = time.perf_counter() - start
    if failures:
        raise RuntimeError(failures[0])
    return seconds


def _peak_bytes() -> int:
    """The most memory that this process has held.

    Linux carries ``ru_maxrss`` over from the process that started this one, so it is asked for this
    program's own peak.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    main()
