"""ONNX Runtime: runs everywhere that OpenVINO does not."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from pixelwise.bundles import Bundle
from pixelwise.errors import UsageError
from pixelwise.inference.engines.base import Wanted, available_cores, graph_for


class OnnxRuntimeEngine:
    """One session on the CPU, in float32, or in 8-bit integers where the bundle has them."""

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, precision: str, device: str) -> None:
        if precision == "bf16":
            raise UsageError("the onnxruntime engine computes in fp32; use --engine openvino for bf16")
        self.precision = "int8" if precision == "int8" else "fp32"
        graph = graph_for(bundle, precision)
        options = ort.SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.log_severity_level = 3
        self.session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def run(self, images: np.ndarray, wanted: Wanted) -> np.ndarray:
        """See :class:`~pixelwise.inference.engines.base.Engine`."""
        result: np.ndarray = self.session.run([wanted], {"image": images})[0]
        return result
