"""``pixelwise predict``: masks for images, videos, rasters and volumes."""

from __future__ import annotations

from typing import Annotated

import typer

from pixelwise.cli.display import Display
from pixelwise.cli.options import (
    Device,
    Engine,
    Json,
    Model,
    Precision,
    Quiet,
    Scale,
    Tile,
    Tta,
    load_model,
    parse_bands,
    parse_window,
)


def command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Images, videos, GeoTIFF, NIfTI, DICOM series; folders or globs.",
        ),
    ],
    model: Model,
    out: Annotated[str, typer.Option("--out", "-o", help="The folder for the results.")],
    overlay: Annotated[
        bool, typer.Option("--overlay", help="OUT/overlay/...: images and videos in the classes' colours.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="STEM.npz (float16); of volumes NIfTI.")
    ] = False,
    polygons: Annotated[
        bool,
        typer.Option("--polygons", help="OUT/predictions.coco.json of images; STEM.gpkg of rasters."),
    ] = False,
    polygon_format: Annotated[
        str, typer.Option("--polygon-format", help="Of rasters: gpkg (GeoPackage) or geojson.")
    ] = "gpkg",
    annotations: Annotated[
        str | None,
        typer.Option(
            "--annotations",
            metavar="FORMAT",
            help="OUT/FORMAT/ for correction in labelme, cvat, via, rectlabel, labelbox, ...",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Pixels that outlines may deviate to save corners.")
    ] = 1.0,
    engine: Engine = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    scale: Scale = "working",
    tile: Tile = None,
    tta: Tta = "none",
    bands: Annotated[
        str | None, typer.Option("--bands", help="The bands of rasters to look at, such as 4,3,2.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option("--axes", help="Slice volumes across these axes and average: z, xyz.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            "--window", metavar="LOW:HIGH", help="Values of volumes and deep rasters that become 0..255."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="[ADDRESS]",
            help="Label images on a Ray cluster: local (a new one, here), auto or HOST:PORT.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes on the cluster, one core each.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a stopped run: what OUT/manifest.jsonl lists is done."),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label every pixel: OUT/<relative>/<stem>.png holds class ids with a palette, at the image's size.

    A video gives OUT/<stem>/<frame>.png, a GeoTIFF <stem>.tif with its georeference, a NIfTI volume or DICOM
    series <stem>.nii.gz on its grid.

    Example: pixelwise predict photos/ --model runs/street --out predictions --overlay
    """
    from pixelwise.inference.labelling import Labelling

    segmenter = load_model(model, engine, precision, device, scale, tile, tta)
    display = Display(quiet, json)
    job = Labelling(
        segmenter=segmenter,
        out=out,
        overlay=overlay,
        probabilities=probabilities,
        polygons=polygon_format if polygons else None,
        annotations=annotations,
        tolerance=tolerance,
        bands=parse_bands(bands),
        axes=axes,
        window=parse_window(window),
        ray=ray,
        workers=workers,
        resume=resume,
        progress=display,
    )
    with display:
        report = job.run(sources)
    how = {"engine": segmenter.engine.name, "precision": segmenter.engine.precision}
    headline = f"{report.counts()} labelled in {out} ({', '.join(how.values())})"
    display.result("\n".join([headline, *report.lines()]), {"out": out, **report.to_dict(), **how})
    if report.failures:
        raise typer.Exit(3)
