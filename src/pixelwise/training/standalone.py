"""A bundle's graph as a file that needs no pixelwise: ONNX with its weights inside, or OpenVINO's two files.

A small JSON beside it says what somebody needs to know who has only the file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import openvino as ov

from pixelwise.bundles import Bundle
from pixelwise.errors import UsageError, unknown_name
from pixelwise.inference.engines.base import graph_for
from pixelwise.io import explained, write_json

FORMATS = {"onnx": (".onnx",), "openvino": (".xml", ".bin")}
"""The files of each format, the one that names it first."""


def check_target(path: str | Path, to: str) -> Path:
    """The file that is to be written, if the format exists and nothing is in the way (else UsageError)."""
    path = Path(path)
    if to not in FORMATS:
        raise unknown_name("format", to, FORMATS)
    suffixes = FORMATS[to]
    if path.suffix.lower() != suffixes[0]:
        raise UsageError(f"{path}: expected a file named *{suffixes[0]} for --to {to}")
    for file in (path.with_suffix(suffix) for suffix in (*suffixes, ".json")):
        if file.exists():
            raise UsageError(f"{file} is there already; remove it, or choose another --out")
    return path


def write_standalone(bundle: Bundle, path: str | Path, to: str, precision: str = "fp32") -> list[Path]:
    """Write the graph with its weights, and a JSON of the same stem.

    Parameters
    ----------
    bundle
        The model.
    path
        ``*.onnx``, or ``*.xml`` (the weights go to ``*.bin``).
    to
        ``onnx`` or ``openvino``.
    precision
        ``fp32`` (weights as stored, mostly float16) or ``int8`` (for bundles that have it).

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UsageError
        Unknown format, a file of another name, one that is there already, or a bundle without int8.
    """
    path = check_target(path, to)
    graph = graph_for(bundle, precision)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
            made = Path(folder) / path.name
            if to == "onnx":
                onnx.save(onnx.load(graph), made)
            else:
                # Compressing would round what float16 cannot hold; the bundle's weights are float16 already.
                ov.save_model(ov.Core().read_model(graph), made, compress_to_fp16=False)
            files = [path.with_suffix(suffix) for suffix in FORMATS[to]]
            write_json(made.with_suffix(".json"), describe(bundle, precision, [file.name for file in files]))
            files.append(path.with_suffix(".json"))
            for file in reversed(files):  # the one that names it last, so that it never lacks its weights
                (Path(folder) / file.name).replace(file)
    return files


def describe(bundle: Bundle, precision: str, files: list[str]) -> dict[str, Any]:
    """What stands beside the file: classes, input, outputs, working size, licence."""
    manifest, labels = bundle.manifest, bundle.labels
    volume = manifest.task == "volume"
    multilabel = manifest.head == "multilabel"
    place = "XxYxZ" if volume else "HxW"
    described = {
        "name": manifest.name,
        "files": files,
        "architecture": manifest.architecture,
        "precision": precision,
        "classes": [
            {"id": number, "name": name, "colour": [int(value) for value in colour]}
            for number, (name, colour) in enumerate(zip(labels.names, labels.colours, strict=True))
        ],
        "input": {
            "name": "image",
            "layout": f"Bx{place}xC",
            "type": "float32" if volume else "uint8",
            "channels": manifest.in_channels,
            "order": "RGB" if manifest.in_channels == 3 and not volume else "as trained",
            "preprocessing": "inside the graph: give pixels as they are",
            "mean": manifest.mean,
            "std": manifest.std,
            "window": manifest.window,
        },
        "working": manifest.working.model_dump(),
        "outputs": {
            "logits": f"BxKx{place} float32",
            "labels": f"BxKx{place} of 0 and 1" if multilabel else f"Bx{place} class ids",
        },
        "head": manifest.head,
        "metrics": manifest.metrics,
        "licence": manifest.licence,
        "pixelwise": manifest.pixelwise,
    }
    if precision == "int8" and manifest.int8 is not None:
        described["int8"] = manifest.int8.model_dump(exclude={"sha256"})
    return described
