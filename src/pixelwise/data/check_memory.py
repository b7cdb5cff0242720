"""The findings of the last check of a data set, kept until anything changes that they rest on.

A check that finds every file as it was costs no more than asking for their sizes and times. As soon as one
differs, the samples are gone through again, with what :mod:`pixelwise.data.inspection` remembers of each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from pixelwise.data.check_report import SplitSummary
from pixelwise.data.inspection import file_stamp, memory_file
from pixelwise.errors import PixelwiseError, Problem
from pixelwise.io import write_text
from pixelwise.sample import Dataset

_CONCLUSIONS = [Path(__file__).with_name(name) for name in ("check.py", "check_report.py", "suspicion.py")]


class ReportMemory:
    """The findings of one check, beside the facts about every sample that they sum up.

    They rest on the names, sizes and times of all files and their splits, on how samples are made, on the
    code that draws the conclusions, and on the file of facts: who deletes that has everything looked at
    again. What the reader found wrong is no part of them, and always comes from the reader.
    """

    def __init__(self, facts: Path, state: str) -> None:
        self.path = facts.with_suffix(".report")
        self._facts = facts
        self._state = state

    @classmethod
    def of(cls, dataset: Dataset[Any]) -> ReportMemory | None:
        """The memory of a data set in its present state; None if that cannot be told.

        Make it before the files are looked at: a file that changes meanwhile is then noticed next time.
        """
        facts = memory_file(dataset)
        state = _state(dataset) if facts is not None else None
        return None if facts is None or state is None else cls(facts, state)

    def recall(self) -> tuple[dict[str, SplitSummary], list[Problem]] | None:
        """What was found by split and what was wrong, if all is as it was."""
        # None yet, or damaged: look again.
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["rests on"] == [self._state, file_stamp(self._facts)]:
                splits = {name: SplitSummary.from_json(values) for name, values in kept["splits"].items()}
                problems = [
                    Problem(level, code, message, fix, tuple(files))
                    for level, code, message, fix, files in kept["problems"]
                ]
                return splits, problems
        return None

    def keep(self, splits: dict[str, SplitSummary], problems: Sequence[Problem]) -> None:
        """Remember what was found, in place of what was before."""
        kept = {
            "rests on": [self._state, file_stamp(self._facts)],
            "splits": {name: summary.to_json() for name, summary in splits.items()},
            "problems": [astuple(problem) for problem in problems],
        }
        with suppress(PixelwiseError):  # a cache that cannot be written costs time next time, nothing else
            write_text(self.path, json.dumps(kept, separators=(",", ":")))


def _state(dataset: Dataset[Any]) -> str | None:
    """Stands for all files as they are; None if the data set cannot name them, or one is missing."""
    code = file_stamp(*_CONCLUSIONS)
    if dataset.files_of is None or code is None:
        return None
    state = hashlib.blake2b(repr((code, dataset.root, dataset.split_of_each)).encode(), digest_size=16)
    for record in dataset.records:
        files = dataset.files_of(record)
        stamp = file_stamp(*files)
        if stamp is None:
            return None
        state.update(repr((files, stamp)).encode())
    return state.hexdigest()
