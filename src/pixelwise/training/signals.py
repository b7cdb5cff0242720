"""Ctrl-C and SIGTERM end a training after the current step, with everything saved."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_REASONS = {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}


@contextlib.contextmanager
def graceful_stop(stop: Callable[[str], None]) -> Iterator[None]:
    """Call ``stop(reason)`` on the first signal; a second one ends the process at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        stop(_REASONS[signal.Signals(number)])

    before = {}
    try:
        for number in _REASONS:
            with contextlib.suppress(ValueError):  # not in the main thread: signals are somebody else's
                before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
