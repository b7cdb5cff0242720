"""``pixelwise export``: a model for other programs, or the same bundle with an int8 graph."""

from __future__ import annotations

import importlib.util
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import (
    Classes,
    Format,
    Json,
    LabelKey,
    Mapping,
    Quiet,
    ReadOptions,
    read_data,
)
from pixelwise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from pixelwise.bundles import Bundle
    from pixelwise.training.quantise import Quantised


def command(
    model: Annotated[str, typer.Option("--model", "-m", help="A bundled name, a bundle or a run folder.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A new *.onnx or *.xml file; a new bundle with --int8 alone.")
    ],
    to: Annotated[
        str | None, typer.Option("--to", help="onnx or openvino: one self-contained model.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Compute in 8-bit integers.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="--int8: images like those to predict; labels are not needed."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="--int8: labelled images that judge it, if --calibration has no labels."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="The split that judges [default: val, if there is one].")
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="--int8: points of mean IoU that it may lose against fp32.")
    ] = 0.5,
    format: Format = "auto",
    classes: Classes = None,
    mapping: Mapping = None,
    label_key: LabelKey = None,
    options: ReadOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model for other programs, or a bundle that can also compute in 8-bit integers.

    With --to, one file with weights and preprocessing inside (OpenVINO: two), and a JSON beside it with the
    classes. With --int8, a graph in 8-bit integers is made and kept only if it loses next to nothing.

    Example: pixelwise export --model runs/street --to onnx --out street.onnx

    Example: pixelwise export --model runs/street --int8 --calibration data/street --out street-int8
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError("exporting", "train")
    from pixelwise.bundles import find_model

    if to is None and not int8:
        raise UsageError("give --to onnx or --to openvino for a file, or --int8 for a bundle with int8")
    if not int8 and (calibration or data):
        raise UsageError("--calibration and --data are for --int8, which is not asked for")
    bundle = find_model(model)
    if to is not None:
        from pixelwise.training.standalone import check_target

        check_target(out, to)
    elif out.exists():
        raise UsageError(f"{out} is there already; remove it, or choose another --out")
    if int8 and calibration is None and (to is None or bundle.int8_graph is None):
        raise UsageError("--int8 needs images to find the ranges of values: give --calibration FOLDER")
    read = partial(
        read_data,
        format=format,
        split=None,
        classes=classes,
        mapping=mapping,
        label_key=label_key,
        options=options,
    )
    with Display(quiet, json) as display:
        if to is None:
            assert calibration is not None
            result = _quantise(bundle, out, calibration, data, split, max_drop, read, display)
            text, document = f"{out}\n{result.text()}", result.to_dict()
        elif calibration is None:
            text, document = _write(bundle, out, to, "int8" if int8 else "fp32")
        else:
            with tempfile.TemporaryDirectory() as folder:
                target = Path(folder) / "bundle"
                result = _quantise(bundle, target, calibration, data, split, max_drop, read, display)
                text, document = _write(result.bundle, out, to, "int8")
            text, document = f"{text}\n{result.text()}", result.to_dict() | document
    display.result(text, document)


def _quantise(
    bundle: Bundle,
    out: Path,
    calibration: Path,
    data: Path | None,
    split: str | None,
    max_drop: float,
    read: Any,
    display: Display,
) -> Quantised:
    from pixelwise.training.quantise import choose_images, quantise

    labelled = None if data is None else read(data)
    images, scored, notes = choose_images(calibration, labelled, split, read)
    result = quantise(
        bundle,
        out,
        images,
        scored,
        max_drop=max_drop,
        calibrated_on=calibration.name,
        progress=display,
    )
    result.notes = notes + result.notes
    return result


def _write(bundle: Bundle, out: Path, to: str, precision: str) -> tuple[str, dict[str, Any]]:
    from pixelwise.training.standalone import write_standalone

    files = [str(file) for file in write_standalone(bundle, out, to, precision)]
    document = {"out": str(out), "to": to, "precision": precision, "files": files}
    return f"written: {', '.join(files)} ({precision}, weights and preprocessing inside)", document
