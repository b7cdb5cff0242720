"""``pixelwise train``: flags and ``--config`` fill one settings model."""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from pixelwise.cli.display import Display
from pixelwise.cli.options import Classes, Format, Json, Mapping, Quiet, parse_classes, parse_mapping
from pixelwise.errors import UsageError
from pixelwise.training.config import TrainConfig, make_config, read_config


def _train(
    data: Annotated[Path | None, typer.Option("--data", help="The data's folder.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The new run folder.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with this run folder.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="A YAML file of settings; flags win.")
    ] = None,
    format: Format = "auto",
    classes: Classes = None,
    mapping: Mapping = None,
    json: Json = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Train a model: check the data, plan, train, export, evaluate, report.

    Example: pixelwise train --data data/street --arch deeplabv3plus --size 480x360 --out runs/street
    """
    from pixelwise.api import train
    from pixelwise.training.run import is_main_process

    if data is None and resume is None:
        raise UsageError("give --data FOLDER to train on, or --resume RUN to go on with a run")
    given = {name: value for name, value in settings.items() if value is not None}
    values = (read_config(config) if config else {}) | given
    make_config(values, str(config or ""))  # before anything else, so that its errors name the file
    with Display(quiet, json) as display:
        run = train(
            data,
            out=out,
            resume=resume,
            format=format,
            labels=parse_classes(classes),
            mapping=parse_mapping(mapping),
            progress=display,
            **values,
        )
    if not is_main_process():  # under torchrun one process speaks for all
        return
    summary = {
        "run": str(run.path),
        "finished": run.finished,
        "reason": run.reason,
        "steps": run.steps,
        "minutes": round(run.seconds / 60, 2),
        "best_mean_iou": run.best_mean_iou,
    }
    if not run.finished:
        display.result(f"{run.reason}; nothing is lost: pixelwise train --resume {run.path}", summary)
        raise typer.Exit(1)
    text = (
        f"{run.path}: mIoU {run.best_mean_iou:.3f} on the validation images after {run.steps} steps and "
        f"{run.seconds / 60:.1f} minutes ({run.reason})\nlook at {run.path / 'report.html'}, then: "
        f"pixelwise predict photo.jpg --model {run.path} --out predictions"
    )
    display.result(text, summary)


def _setting(name: str, field: FieldInfo) -> inspect.Parameter:
    """The flag of one setting: text and choices are validated by TrainConfig, which knows every rule."""
    kinds = set(get_args(field.annotation)) if _is_union(field.annotation) else {field.annotation}
    plain = next((kind for kind in (bool, int, float) if kind in kinds), str)
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    text = (field.description or "") + (f" ({', '.join(choices)})" if choices else "")
    default = "" if field.default is None else f" [default: {field.default}]"
    flag = f"--{name.replace('_', '-')}"
    declaration = f"{flag}/--no-{flag[2:]}" if plain is bool else flag
    option = typer.Option(declaration, help=text[:1].upper() + text[1:] + default, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[plain | None, option]
    )


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _with_settings() -> Any:
    """The verb with one flag per field of TrainConfig."""
    signature = inspect.signature(_train, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    flags = [_setting(name, field) for name, field in TrainConfig.model_fields.items()]

    def command(**values: Any) -> None:
        _train(**values)

    command.__doc__ = _train.__doc__
    command.__signature__ = signature.replace(parameters=own + flags)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in own + flags}
    return command


command = _with_settings()
