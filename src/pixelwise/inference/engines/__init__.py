"""Engines: what runs a bundle's graph. Each is one small class behind one function."""

from __future__ import annotations

import importlib
import importlib.util

from pixelwise.bundles import Bundle
from pixelwise.errors import MissingExtraError, PixelwiseError, UsageError, unknown_name
from pixelwise.inference.engines.base import PRECISIONS, Engine, Wanted, available_cores

ENGINES: dict[str, tuple[str, str, str]] = {
    # name: (module, class, package that must be there)
    "openvino": ("pixelwise.inference.engines.openvino_engine", "OpenVinoEngine", "openvino"),
    "onnxruntime": ("pixelwise.inference.engines.onnxruntime_engine", "OnnxRuntimeEngine", "onnxruntime"),
    "torch": ("pixelwise.inference.engines.torch_engine", "TorchEngine", "torch"),
}
"""Engines by name, the fastest on a CPU first."""


def create_engine(
    bundle: Bundle, name: str = "auto", precision: str = "auto", device: str = "auto"
) -> Engine:
    """Make an engine for a bundle.

    Parameters
    ----------
    bundle
        The opened bundle.
    name
        ``auto`` (the first of ``ENGINES`` that is installed and has the device) or one of ``ENGINES``.
    precision
        ``auto`` (bf16 where engine and CPU have it), ``fp32``, ``bf16``, or ``int8`` for bundles that were
        given a graph in 8-bit integers; ``auto`` never takes that.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``; anything but the CPU is run by torch.

    Raises
    ------
    UsageError
        An unknown engine, precision or device, one that is not there, or two that do not go together.
    PixelwiseError
        The engine is not installed; the message says what to install.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise unknown_name("device", device, ("auto", "cpu", "cuda", "mps"))
    if name == "auto":
        on_cpu = device in ("auto", "cpu")
        name = next((n for n in ENGINES if _installed(n)), "onnxruntime") if on_cpu else "torch"
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    if device in ("cuda", "mps") and name != "torch":
        raise UsageError(f"engine '{name}' runs on the CPU here; use --engine torch for --device {device}")
    if name == "torch" and precision == "int8":
        raise UsageError("the torch engine has no int8; use --engine openvino or onnxruntime, on the CPU")
    module, class_name, _ = ENGINES[name]
    if not _installed(name):
        raise _not_installed(name)
    engine: Engine = getattr(importlib.import_module(module), class_name)(bundle, precision, device)
    return engine


def _not_installed(name: str) -> PixelwiseError:
    """Torch comes with an extra; the others belong to pixelwise itself, so somebody took them away."""
    if name == "torch":
        return MissingExtraError("the torch engine", "train")
    there = [other for other in ENGINES if _installed(other)]
    instead = f", or use --engine {there[0]}" if there else ""
    return PixelwiseError(
        f"the {name} engine needs the package {name}, which is not installed: pip install {name}{instead}"
    )


def _installed(name: str) -> bool:
    return importlib.util.find_spec(ENGINES[name][2]) is not None


__all__ = ["ENGINES", "PRECISIONS", "Engine", "Wanted", "available_cores", "create_engine"]
