"""OpenVINO: the fastest engine on CPUs, and the default."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from pixelwise.bundles import Bundle
from pixelwise.bundles.bundle import cache_folder
from pixelwise.errors import UsageError
from pixelwise.inference.engines.base import Wanted, available_cores, graph_for

_STATIC_SHAPES = 3
"""Shapes that get a compiled graph of their own; a folder with more different ones shares a dynamic graph."""

_CHECKSUM = 64
"""Bytes in front of a compiled graph in the cache: its checksum, and zeros that keep the rest aligned."""

_LARGEST_CACHE = 2 << 30
"""Bytes of compiled graphs that are kept; the ones made first go first."""


class OpenVinoEngine:
    """Compiles the graph once per output and input shape (static shapes run faster), dynamic after a few.

    OpenVINO would silently compute in bfloat16 where the CPU can; here that is ``precision`` and visible. An
    int8 graph says itself which of its layers are integers; the rest is bfloat16 where the CPU has it.

    Compiled graphs are kept in the user's cache folder under a name made of the bundle's sha256. OpenVINO's
    own cache has to parse and reshape the graph before it can tell which one it is, and takes a file of the
    right length with damaged weights as it is.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, bundle: Bundle, precision: str, device: str) -> None:
        self.core = ov.Core()
        can_bf16 = "BF16" in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not can_bf16:
            raise UsageError("this CPU has no bfloat16; use --precision fp32 (or auto)")
        self.graph = graph_for(bundle, precision)
        floats = "bf16" if can_bf16 and precision != "fp32" else "fp32"
        self.precision = "int8" if precision == "int8" else floats
        self.options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if floats == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": available_cores(),
        }
        int8 = bundle.manifest.int8
        self.content = (
            [int8.sha256] if precision == "int8" and int8 else sorted(bundle.manifest.sha256.items())
        )
        self.compiled: dict[tuple[Wanted, tuple[int, ...] | None], ov.CompiledModel] = {}
        self._mapped: list[ov.Tensor] = []  # what compiled graphs from the cache still point into

    def run(self, images: np.ndarray, wanted: Wanted) -> np.ndarray:
        """See :class:`~pixelwise.inference.engines.base.Engine`."""
        model = self._model_for(wanted, images.shape)
        result: np.ndarray = model(images)[0]
        return result

    def _model_for(self, wanted: Wanted, shape: tuple[int, ...]) -> ov.CompiledModel:
        key = (wanted, shape) if (wanted, shape) in self.compiled or self._may_add() else (wanted, None)
        if key not in self.compiled:
            file = self._cache_file(*key)
            self.compiled[key] = self._from_cache(file) or self._compile(key[0], key[1], file)
        return self.compiled[key]

    def _may_add(self) -> bool:
        return sum(shape is not None for _, shape in self.compiled) < _STATIC_SHAPES

    def _compile(self, wanted: Wanted, shape: tuple[int, ...] | None, file: Path) -> ov.CompiledModel:
        full = self.core.read_model(self.graph)
        model = ov.Model([full.output(wanted)], full.get_parameters(), wanted)
        if shape is not None:
            model.reshape(list(shape))
        compiled = self.core.compile_model(model, "CPU", self.options)
        with contextlib.suppress(OSError, RuntimeError):  # without a place for it, every start compiles anew
            content = compiled.export_model()
            _keep(file, content if isinstance(content, bytes) else content.getvalue())
        return compiled

    def _from_cache(self, file: Path) -> ov.CompiledModel | None:
        """The compiled graph that an earlier start has left; None when there is none or it is damaged."""
        try:
            stored = np.memmap(file, np.uint8, "c")
            content = stored[_CHECKSUM:]
            if zlib.crc32(content) != int.from_bytes(stored[:_CHECKSUM].tobytes(), "little"):
                return None
            tensor = ov.Tensor(content, shared_memory=True)
            compiled = self.core.import_model(tensor, "CPU", self.options)
        except (OSError, ValueError, RuntimeError, TypeError):  # not there, empty, or of another OpenVINO
            return None
        self._mapped.append(tensor)
        return compiled

    def _cache_file(self, wanted: Wanted, shape: tuple[int, ...] | None) -> Path:
        """Named by everything that decides what the compiled graph computes and where it can run."""
        machine = [
            self.core.get_property("CPU", "FULL_DEVICE_NAME"),
            sorted(self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
            ov.get_version(),
        ]
        key = json.dumps([self.content, self.options, wanted, shape, machine], sort_keys=True)
        return cache_folder("compiled", f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.blob")


def _keep(file: Path, content: bytes) -> None:
    """Write a compiled graph whole or not at all; its checksum makes an fsync needless."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(zlib.crc32(content).to_bytes(_CHECKSUM, "little"))
            stream.write(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    left = _LARGEST_CACHE
    for made in sorted(file.parent.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True):
        left -= made.stat().st_size
        if left < 0:
            made.unlink(missing_ok=True)
