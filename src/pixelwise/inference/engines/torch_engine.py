"""Torch: the reference engine, and the one for GPUs. The only file of this room that imports torch."""

from __future__ import annotations

import numpy as np
import torch

from pixelwise import models
from pixelwise.bundles import Bundle
from pixelwise.errors import DataError, UsageError
from pixelwise.inference.engines.base import Wanted


class TorchEngine:
    """Rebuilds the network from the manifest's arguments and loads the same float16 weights."""

    name = "torch"

    def __init__(self, bundle: Bundle, precision: str, device: str) -> None:
        manifest = bundle.manifest
        if manifest.architecture not in models.ARCHITECTURES:
            raise UsageError(
                f"the torch engine knows no architecture {manifest.architecture} to build "
                f"'{manifest.name}' with; use --engine openvino, which needs only the graph"
            )
        self.device = _pick(device)
        if precision == "bf16" and self.device == "cuda" and not torch.cuda.is_bf16_supported():
            raise UsageError("this GPU has no bfloat16; use --precision fp32 (or auto)")
        self.precision = "bf16" if precision == "bf16" else "fp32"
        network = models.create(**manifest.arguments)
        weights = {key: torch.from_numpy(value.astype(np.float32)) for key, value in bundle.state().items()}
        missing, unexpected = network.load_state_dict(weights, strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise DataError(
                f"{bundle.weights}: does not fit {manifest.architecture} of this version "
                f"({(missing + unexpected)[0]}); use --engine openvino, which needs only the graph"
            )
        channels_last = torch.channels_last if network.axes == 2 else torch.channels_last_3d
        self.network = network.eval().to(self.device).to(memory_format=channels_last)
        shape = (1, -1, *(1 for _ in range(network.axes)))
        self.mean = torch.tensor(manifest.mean, device=self.device).view(shape)
        self.std = torch.tensor(manifest.std, device=self.device).view(shape)
        self.window = manifest.window

    @torch.inference_mode()
    def run(self, images: np.ndarray, wanted: Wanted) -> np.ndarray:
        """See :class:`~pixelwise.inference.engines.base.Engine`."""
        pixels = torch.from_numpy(images).to(self.device).movedim(-1, 1).float()
        if self.window is not None:
            low, high = self.window
            pixels = ((pixels - low) * (255 / (high - low))).clamp(0, 255)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network((pixels - self.mean) / self.std).float()
        if wanted == "logits":
            return logits.cpu().numpy()
        if self.network.multilabel:
            labels = logits > 0
        else:
            labels = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
        return labels.to(torch.int32 if logits.shape[1] > 256 else torch.uint8).cpu().numpy()


def _pick(device: str) -> str:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise UsageError(
            f"there is no {device} device here; use --device {' or '.join(n for n in there if there[n])}"
        )
    return device
