"""OpenVINO: the fastest engine on CPUs, and the default."""

from __future__ import annotations

import contextlib

import numpy as np
import openvino as ov

from pixelwise.bundles import Bundle
from pixelwise.bundles.bundle import cache_folder
from pixelwise.errors import UsageError
from pixelwise.inference.engines.base import Wanted, available_cores

_STATIC_SHAPES = 3
"""Shapes that get a compiled graph of their own; a folder with more different ones shares a dynamic graph."""


class OpenVinoEngine:
    """Compiles the graph once per output and input shape (static shapes run faster), dynamic after a few.

    OpenVINO would silently compute in bfloat16 where the CPU can; here that is ``precision`` and visible.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, precision: str, device: str) -> None:
        self.core = ov.Core()
        can_bf16 = "BF16" in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not can_bf16:
            raise UsageError("this CPU has no bfloat16; use --precision fp32 (or auto)")
        self.precision = "bf16" if can_bf16 and precision in ("auto", "bf16") else "fp32"
        self.graph = bundle.graph
        self.compiled: dict[tuple[Wanted, tuple[int, ...] | None], ov.CompiledModel] = {}

    def run(self, images: np.ndarray, wanted: Wanted) -> np.ndarray:
        """See :class:`~pixelwise.inference.engines.base.Engine`."""
        model = self._model_for(wanted, images.shape)
        result: np.ndarray = model(images)[0]
        return result

    def _model_for(self, wanted: Wanted, shape: tuple[int, ...]) -> ov.CompiledModel:
        key = (wanted, shape) if (wanted, shape) in self.compiled or self._may_add() else (wanted, None)
        if key not in self.compiled:
            self.compiled[key] = self._compile(*key)
        return self.compiled[key]

    def _may_add(self) -> bool:
        return sum(shape is not None for _, shape in self.compiled) < _STATIC_SHAPES

    def _compile(self, wanted: Wanted, shape: tuple[int, ...] | None) -> ov.CompiledModel:
        full = self.core.read_model(self.graph)
        model = ov.Model([full.output(wanted)], full.get_parameters(), wanted)
        if shape is not None:
            model.reshape(list(shape))
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": available_cores(),
        }
        with contextlib.suppress(OSError):  # without a place for it, every start compiles anew
            cache = cache_folder("openvino")
            cache.mkdir(parents=True, exist_ok=True)
            options["CACHE_DIR"] = str(cache)
        return self.core.compile_model(model, "CPU", options)
