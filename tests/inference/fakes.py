"""Models whose answers are known: a bundle in memory and an engine that is a function of the pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixelwise.bundles import Bundle, Manifest, WorkingScale
from pixelwise.inference import Segmenter
from pixelwise.labels import LabelMap

Graph = Callable[[np.ndarray], np.ndarray]  # H×W×C pixels to K×H×W logits


class FakeEngine:
    """Runs a function, and remembers the sizes that it was asked for."""

    name, precision, device = "fake", "fp32", "cpu"

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.sizes: list[tuple[int, ...]] = []

    def run(self, images: np.ndarray, wanted: str) -> np.ndarray:
        self.sizes.append(images.shape[1:-1])
        logits = np.stack([self.graph(image).astype(np.float32) for image in images])
        if wanted == "logits":
            return logits
        return logits.argmax(axis=1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(np.int64)


def by_colour(pixels: np.ndarray) -> np.ndarray:
    """Logits of three classes that depend on each pixel alone, so flips and turns change nothing."""
    return (pixels.astype(np.float32).transpose(2, 0, 1) - 128) / 16


def by_place(pixels: np.ndarray) -> np.ndarray:
    """Logits of three classes that depend on the place as well: the left side looks like class 0."""
    logits = by_colour(pixels)
    logits[0] += np.linspace(8, 0, pixels.shape[1])
    return logits


def fake_segmenter(
    monkeypatch: pytest.MonkeyPatch,
    graph: Graph = by_colour,
    names: tuple[str, ...] = ("sky", "road", "car"),
    head: str = "softmax",
    size: tuple[int, int] = (64, 96),
    sha256: str = "0",
    **options: object,
) -> Segmenter:
    """A Segmenter of this function."""
    manifest = Manifest(
        name=f"fake-{sha256}",
        architecture="fake",
        arguments={},
        labels=LabelMap(names).to_dict(),
        head=head,
        mean=[0.0] * 3,
        std=[1.0] * 3,
        working=WorkingScale(height=size[0], width=size[1]),
        parameters=0,
        sha256={"graph.onnx": sha256},
    )
    monkeypatch.setattr("pixelwise.inference.segmenter.create_engine", lambda *_: FakeEngine(graph))
    return Segmenter(Bundle(Path("fake"), manifest), **options)
