"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from pixelwise.errors import UsageError

if TYPE_CHECKING:
    from pixelwise.inference import Ensemble, Segmenter
    from pixelwise.sample import Dataset

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Classes = Annotated[
    str | None,
    typer.Option("--classes", help="Class names, comma-separated, or a class file, if DATA has none."),
]
Mapping = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="OLD=NEW", help="Translate a mask value (255=1) or a class name (lorry=truck)."
    ),
]
ReadOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--read", metavar="OPTION=VALUE", help="An option of the data's format, e.g. label_key=type."
    ),
]
LabelKey = Annotated[
    str | None, typer.Option("--label-key", help="VIA: the region attribute that holds the class.")
]
Format = Annotated[str, typer.Option("--format", help="How the data is laid out; 'auto' recognises it.")]
Model = Annotated[
    list[str],
    typer.Option(
        "--model", "-m", help="A bundled name, a bundle or a run folder; of several, the mean is taken."
    ),
]
Engine = Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or int8.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Scale = Annotated[
    str, typer.Option("--scale", help="working (as trained) or native (each image's own size).")
]
Tile = Annotated[str | None, typer.Option("--tile", help="WIDTHxHEIGHT of the tiles for large images.")]
Tta = Annotated[
    str, typer.Option("--tta", help="Average views of each image: flip, d4, scales=0.75:1, flip,scales=...")
]


def load_model(
    names: list[str], engine: str, precision: str, device: str, scale: str, tile: str | None, tta: str
) -> Segmenter | Ensemble:
    """The model, or the ensemble, that the flags of a verb describe."""
    from pixelwise.api import load

    chosen = names[0] if len(names) == 1 else names
    size = parse_size(tile, "--tile")
    return load(chosen, engine, precision, device, scale=scale, tile=size, tta=tta)  # type: ignore[call-overload]


def parse_mapping(pairs: list[str] | None) -> dict[int | str, int | str]:
    """``["255=1", "lorry=truck"]`` to ``{255: 1, "lorry": "truck"}``."""
    mapping: dict[int | str, int | str] = {}
    for pair in pairs or []:
        old, separator, new = (part.strip() for part in pair.partition("="))
        if not (separator and old and new):
            raise UsageError(f"--map {pair}: expected OLD=NEW, such as 255=1 or lorry=truck")
        mapping[int(old) if old.isdigit() else old] = int(new) if new.isdigit() else new
    return mapping


def parse_options(pairs: list[str] | None) -> dict[str, Any]:
    """``["label_key=type", "as_slices=true"]`` to keywords of the format's reader, values as in YAML."""
    options = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise UsageError(f"--read {pair}: expected OPTION=VALUE, such as label_key=type")
        try:
            options[name.strip().replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"--read {pair}: the value cannot be understood; put it in quotes") from None
    return options


def read_data(
    source: Path,
    format: str,
    split: str | None,
    classes: str | None,
    mapping: list[str] | None,
    label_key: str | None,
    options: list[str] | None,
) -> Dataset[Any]:
    """The data set that the flags of a verb describe."""
    from pixelwise.data import read

    special = parse_options(options) | ({"label_key": label_key} if label_key else {})
    labels, translation = parse_classes(classes), parse_mapping(mapping)
    return read(source, format=format, split=split, labels=labels, mapping=translation, **special)


def parse_classes(text: str | None) -> list[str] | Path | None:
    """Names separated by commas, or a class file, which the library reads."""
    if text is None:
        return None
    return Path(text) if Path(text).is_file() else [name.strip() for name in text.split(",")]


def parse_size(text: str | None, option: str) -> tuple[int, int] | None:
    """``"640x480"`` to (height, width)."""
    if text is None:
        return None
    width, separator, height = text.lower().partition("x")
    if not (separator and width.isdigit() and height.isdigit()):
        raise UsageError(f"{option} {text}: expected WIDTHxHEIGHT, such as 512x512")
    return int(height), int(width)


def parse_bands(text: str | None) -> list[int] | None:
    """``"4,3,2"`` to ``[4, 3, 2]``."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--bands {text}: expected numbers from 1 on with commas between, such as 4,3,2")
    return [int(part) for part in parts]


def parse_window(text: str | None) -> tuple[float, float] | None:
    """``"-160:240"`` to (low, high)."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise UsageError(f"--window {text}: expected LOW:HIGH, such as -160:240")
    return low, high
