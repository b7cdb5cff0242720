"""The run folder: settings, metrics, checkpoints, bundle and report, each at its fixed place."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pixelwise.errors import DataError, UsageError
from pixelwise.io import explained, write_json, write_text
from pixelwise.training.config import TrainConfig, make_config


def is_main_process() -> bool:
    """Whether this process writes: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings, without open questions."""
        return self.path / "config.yaml"

    @property
    def plan(self) -> Path:
        """What was decided from the data, and why."""
        return self.path / "plan.json"

    @property
    def data(self) -> Path:
        """Where the data is and how it was read."""
        return self.path / "data.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation mIoU."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def bundle(self) -> Path:
        """The model to use."""
        return self.path / "bundle"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    def must_be_new(self) -> None:
        """Raise UsageError when a run lies here already."""
        if is_main_process() and self.config.exists():
            raise UsageError(
                f"{self.path} already holds a run; choose another --out, "
                f"or go on with it: pixelwise train --resume {self.path}"
            )

    def create(
        self, config: TrainConfig, plan: dict[str, str], data: dict[str, Any], check: dict[str, Any]
    ) -> None:
        """Write what is known before the first step; under torchrun only the first process writes."""
        self.must_be_new()
        if not is_main_process():
            return
        write_json(self.plan, plan)
        write_json(self.data, data)
        write_json(self.path / "check.json", check)
        write_text(self.config, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))

    @classmethod
    def open(cls, path: str | Path) -> tuple[RunFolder, TrainConfig, dict[str, Any]]:
        """Open an existing run: its folder, settings and data description."""
        folder = cls(Path(path))
        if not folder.config.is_file():
            raise UsageError(
                f"{path}: not a run folder (no config.yaml); start one with pixelwise train --out {path}"
            )
        try:
            values = yaml.safe_load(folder.config.read_text())
            data = json.loads(folder.data.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{path}: config.yaml or data.json is damaged ({reason}); start a new run"
            ) from None
        if not isinstance(values, dict):
            raise DataError(f"{folder.config}: damaged; start a new run")
        return folder, make_config(values, str(folder.config)), data

    def history(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last line that was cut off by a crash is dropped."""
        lines = []
        for line in self.metrics.read_text().splitlines() if self.metrics.exists() else []:
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines

    def forget_after(self, step: int, validated_step: int) -> None:
        """Drop metrics of steps and validations that will be done again after a resume."""
        last = {"train": step, "val": validated_step}
        kept = [line for line in self.history() if line["step"] <= last[line["kind"]]]
        write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def log(self, line: dict[str, Any]) -> None:
        """Append one line of metrics."""
        with explained(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Run:
    """What a training gives back.

    Attributes
    ----------
    path
        The run folder; ``pw.load(run.path)`` gives the model.
    finished
        False when it was stopped by a signal; resume it then.
    reason
        Why it ended.
    steps, seconds
        Optimiser steps and training time, resumed parts included.
    best_mean_iou
        On the validation images at working size.
    """

    path: Path
    finished: bool
    reason: str
    steps: int
    seconds: float
    best_mean_iou: float
