"""What a person sees while a verb runs: one bar on a terminal, a line every so often elsewhere."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any

_EVERY = 15.0  # seconds between lines where there is no terminal


class Display:
    """Shows the events that the library reports; silent with ``quiet``, on stderr always.

    Results go to stdout, through :meth:`result`, so that ``--json`` prints one document and nothing else.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._bar: Any = None
        self._task: Any = None
        self._kind = ""
        self._shown = 0.0
        self._score = ""

    def __enter__(self) -> Display:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
            self._bar = Progress(
                *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event: a note, a line of ``metrics.jsonl``, or ``{"kind", "done", "total"}``."""
        if self.quiet:
            return
        kind = event["kind"]
        if kind == "note":
            self.say(event["text"])
        elif kind == "train":
            speed = f"{event['images_per_second']:.1f} images/s"
            text = f"loss {event['loss']:.3f} · {speed}{self._score}"
            self._advance("training", event["step"], event["total_steps"], text)
        elif kind == "val":
            self._score = f" · mIoU {event['mean_iou']:.3f} (best {event['best']:.3f})"
            if self._bar is None:
                self.say(f"epoch {event['epoch']}: mIoU {event['mean_iou']:.3f}, best {event['best']:.3f}")
        else:
            self._advance(kind, event["done"], event["total"], f"{event['done']}/{event['total']}")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def result(self, text: str, document: Any) -> None:
        """Print what the verb is for: readable text, or one JSON document."""
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False))
        else:
            print(text)

    def _advance(self, kind: str, done: int, total: int, text: str) -> None:
        if self._bar is not None:
            if kind != self._kind:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(kind, total=total, text=text)
            self._bar.update(self._task, completed=done, total=total, text=text)
        elif time.monotonic() - self._shown > _EVERY:
            self._shown = time.monotonic()
            self.say(f"{kind} {done}/{total}: {text}")
        self._kind = kind
