"""``pixelwise evaluate``: a model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import (
    Classes,
    Device,
    Engine,
    Format,
    Json,
    LabelKey,
    Mapping,
    Model,
    Precision,
    Quiet,
    ReadOptions,
    Scale,
    Tile,
    Tta,
    load_model,
    read_data,
)
from pixelwise.errors import UsageError


def command(
    model: Model,
    data: Annotated[Path, typer.Option("--data", help="The data's folder.")],
    split: Annotated[str | None, typer.Option("--split", help="Only this split, e.g. val or test.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML report here.")] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also measure outlines, sizes, calibration, pixel scores.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the evaluation as JSON, for --against.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Compare with a saved evaluation of the same images.")
    ] = None,
    crf: Annotated[
        str | None,
        typer.Option(
            "--crf", help="Refine with a dense CRF: deeplab (its values) or fit (on another split)."
        ),
    ] = None,
    format: Format = "auto",
    classes: Classes = None,
    mapping: Mapping = None,
    label_key: LabelKey = None,
    options: ReadOptions = None,
    engine: Engine = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    scale: Scale = "working",
    tile: Tile = None,
    tta: Tta = "none",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model: exactly what predict gives, against the masks, at the images' own size.

    Example: pixelwise evaluate --model runs/street --data data/street --split val
    """
    from pixelwise.api import evaluate
    from pixelwise.evaluation import Evaluation, choose_crf, compare
    from pixelwise.inference.refined import RefinedSegmenter

    if crf is not None and against is not None:
        raise UsageError("--crf compares with the model without CRF, --against with a file; give one of them")
    dataset = read_data(data, format, None if crf else split, classes, mapping, label_key, options)
    segmenter = load_model(model, engine, precision, device, scale, tile, tta)
    with Display(quiet, json) as display:
        if len(dataset.splits) > 1 and not split:
            display.say(f"measuring {', '.join(dataset.splits)} together; --split measures one of them")
        before = Evaluation.load(against) if against is not None else None
        judged: Any = segmenter
        choice = None
        if crf is not None:
            choice = choose_crf(crf, segmenter, dataset, split, display)  # type: ignore[arg-type]
            judged, dataset = (
                RefinedSegmenter(segmenter, choice.parameters, choice.reference_size),
                choice.measure_on,
            )
            before = evaluate(segmenter, dataset, details=details, progress=display)
            before.name += " without CRF"
        evaluation = evaluate(judged, dataset, details=details, progress=display)
        if save is not None:
            evaluation.save(save)
        if report is not None:
            from pixelwise.evaluation import pick_examples
            from pixelwise.report import write_evaluation_report

            write_evaluation_report(evaluation, report, pick_examples(evaluation, dataset, judged))
    used = {"engine": segmenter.engine.name, "precision": segmenter.engine.precision}
    text = f"{evaluation.text()}\nengine {used['engine']}, precision {used['precision']}"
    document = evaluation.to_dict() | used
    if choice is not None:
        text += f"\nCRF {choice.parameters}, {choice.source}"
        document["crf"] = vars(choice.parameters) | {
            "reference_size": choice.reference_size,
            "source": choice.source,
        }
    if before is not None:
        comparison = compare(before, evaluation)
        text += f"\n\n{comparison.text()}"
        document["comparison"] = comparison.to_dict()
    display.result(text, document)
