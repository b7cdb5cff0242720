"""Labelling rasters of any size in little memory: read, run, blended and written piece by piece.

A raster goes through from top to bottom in vertical strips (one, unless it is very wide or there are very
many classes), each strip in rows of tiles. Rows of pixels are read once per strip, while the network computes
the row before; of the logits, only the rows that two rows of tiles share are kept. The result is that of
:meth:`Segmenter.predict` on the same pixels, to the bit.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.errors import DataError, UsageError
from pixelwise.inference.pipeline import read_ahead
from pixelwise.inference.segmenter import Predictor, Segmenter
from pixelwise.inference.tiling import SMALLEST, TileGrid, Weights, blend_pieces, tile_window
from pixelwise.inference.tta import average_views
from pixelwise.io.rasters import (
    BLOCK,
    ClassWriter,
    Raster,
    create_class_raster,
    open_class_raster,
    open_raster,
)
from pixelwise.io.vectors import Polygon, check_vector_target, write_vectors
from pixelwise.kernels.regions import Region, trace_regions
from pixelwise.kernels.upsample import upsample_argmax
from pixelwise.labels import LabelMap

_MEMORY = 512 << 20  # bytes for the pixels and shared logits of one strip
_TRACED = 1 << 20  # pixels that are traced at once; of pure noise, each may need 400 bytes
_LARGEST_SHRUNK = 2048 * 2048  # px; larger rasters lose too much when a model looks at them whole


@dataclass(frozen=True)
class RasterReport:
    """What became of a raster.

    Attributes
    ----------
    width, height
        Its size in pixels.
    tiles, skipped
        How many tiles there were, and how many of them held no data and were not run.
    pixels
        Pixels of each class, by name.
    without_data
        Pixels without data; they are ``labels.ignore`` in the result.
    pixel_area
        The area of a pixel and the square's unit, when the CRS is projected.
    """

    width: int
    height: int
    tiles: int
    skipped: int
    pixels: dict[str, int]
    without_data: int
    pixel_area: tuple[float, str] | None = None

    def areas(self) -> dict[str, float] | None:
        """The area of each class in the CRS's square units; None when the CRS is not projected."""
        if self.pixel_area is None:
            return None
        return {name: count * self.pixel_area[0] for name, count in self.pixels.items()}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        return {
            "width": self.width,
            "height": self.height,
            "tiles": self.tiles,
            "skipped_tiles": self.skipped,
            "pixels": self.pixels,
            "pixels_without_data": self.without_data,
            "areas": self.areas(),
            "area_unit": self.pixel_area[1] if self.pixel_area else None,
        }

    def text(self) -> str:
        """A few lines to read."""
        skipped = f", {self.skipped} of them empty" if self.skipped else ""
        plural = "tile" if self.tiles == 1 else "tiles"
        lines = [f"{self.width}x{self.height} pixels in {self.tiles} {plural}{skipped}"]
        areas = self.areas() or {}
        labelled = max(1, sum(self.pixels.values()))
        for name, count in self.pixels.items():
            if count:
                area = f", {areas[name]:,.6g} {self.pixel_area[1]}" if self.pixel_area else ""
                lines.append(f"  {name}: {count:,} pixels ({count / labelled:.1%}){area}")
        if self.without_data:
            lines.append(f"  without data: {self.without_data:,} pixels")
        return "\n".join(lines)


def label_raster(
    segmenter: Predictor,
    source: str | Path,
    target: str | Path,
    *,
    overlap: float = 0.5,
    weights: Weights = "gaussian",
    batch: int = 1,
    bands: Sequence[int] | None = None,
    value_range: tuple[float, float] | None = None,
    polygons: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RasterReport:
    """Label every pixel of a raster, in bounded memory, as a GeoTIFF of class ids in the same place.

    Parameters
    ----------
    segmenter
        A single model, with one class per pixel. Its scale, tile size and test-time augmentation apply.
    source
        A GeoTIFF, or any other raster that GDAL reads.
    target
        The GeoTIFF to write, as :func:`~pixelwise.io.rasters.create_class_raster` does; whole or not at all.
    overlap
        The least share of a tile that its neighbour covers too, from 0 to below 1.
    weights
        ``gaussian``: pixels count most in a tile's centre; ``flat``: everywhere the same.
    batch
        Tiles that the network sees at once. More than one may help on a GPU and changes logits by rounding.
    bands, value_range
        What of the raster the model gets; see :func:`~pixelwise.io.rasters.open_raster`.
    polygons
        Also write the outlines of the classes' regions here, as :func:`write_polygons` does.
    progress
        Called with the number of tiles done and of all tiles.

    Returns
    -------
    RasterReport
        Sizes, counts and areas.

    Raises
    ------
    DataError
        The raster cannot be read or does not fit the model.
    UsageError
        A model that cannot be used this way, a scale that would lose nearly everything, or wrong options.
    MissingExtraError
        rasterio is not installed.
    """
    source, target = Path(source), Path(target)
    if not isinstance(segmenter, Segmenter):
        raise UsageError("rasters are labelled by a single model, found an ensemble; give one --model")
    manifest = segmenter.bundle.manifest
    _check_model(segmenter)
    if not 0 <= overlap < 1:
        raise UsageError(f"overlap {overlap:g}: expected a share of the tile from 0 to below 1, such as 0.5")
    if batch < 1:
        raise UsageError(f"batch {batch}: expected at least 1 tile at once")
    if source.resolve() == target.resolve():
        raise UsageError(f"the result would overwrite its source {source}; choose another place")
    with (
        open_raster(source, manifest.in_channels, bands, value_range) as raster,
        ThreadPoolExecutor(1) as reader,  # ends before the raster is closed
    ):
        size = (raster.height, raster.width)
        if polygons is not None:
            check_vector_target(polygons, raster.dataset.crs)
        _check_scale(segmenter, source, *size)
        tile = None if segmenter.working_size(*size) != size else segmenter.tile_for(*size)
        grid = TileGrid.spread(size, tile or size, overlap)
        window = tile_window(grid.tile, weights)
        with create_class_raster(target, raster, segmenter.labels) as writer:
            job = _Job(segmenter, raster, writer, reader, batch, progress)
            if tile is None:
                job.label_whole()
            else:
                job.label_tiles(grid, window)
    if polygons is not None:
        write_polygons(target, polygons)
    return job.report()


def write_polygons(raster: str | Path, target: str | Path) -> int:
    """Write the regions of a class raster as polygons with holes, in bounded memory.

    A region is a set of pixels of one class that are connected along their sides; nothing is cut at borders
    of blocks or tiles. Outlines follow the pixels' edges, in the raster's coordinates (pixels, where it has
    none). Pixels without data belong to no region.

    Parameters
    ----------
    raster
        As :func:`label_raster` writes it.
    target
        ``.gpkg``, or ``.geojson`` in longitude and latitude.

    Returns
    -------
    How many polygons there are; each has ``class``, ``class_id``, ``pixels``, and ``area`` in square units
    when the CRS is projected.

    Raises
    ------
    DataError
        It is no raster of classes, or cannot be read.
    UsageError
        Another suffix, or GeoJSON of a raster without CRS.
    MissingExtraError
        rasterio or pyogrio is not installed.
    """
    with open_class_raster(raster) as classes:
        height, width = classes.height, classes.width
        rows = max(1, _TRACED // width)
        strips = (classes.read(top, 0, min(rows, height - top), width) for top in range(0, height, rows))
        names, area = classes.labels.names, classes.pixel_area

        def polygon(region: Region) -> Polygon:
            number, pixels = region.class_id, region.pixels
            values = {"class": names[number], "class_id": number, "pixels": pixels}
            if area is not None:
                values["area"] = pixels * area[0]
            return Polygon([classes.places(ring) for ring in region.rings], values)

        fields: dict[str, type] = {"class": str, "class_id": int, "pixels": int}
        if area is not None:
            fields["area"] = float
        regions = trace_regions(strips, width, classes.labels.ignore)
        return write_vectors(target, map(polygon, regions), fields, classes.crs)


class _Job:
    """One raster on its way through a model, and what has been counted."""

    def __init__(
        self,
        segmenter: Segmenter,
        raster: Raster,
        writer: ClassWriter,
        reader: ThreadPoolExecutor,
        batch: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.segmenter, self.raster, self.writer, self.reader = segmenter, raster, writer, reader
        self.batch, self.progress = batch, progress
        self.labels: LabelMap = segmenter.labels
        self.counts = np.zeros(max(len(self.labels), self.labels.ignore + 1), np.int64)
        self.done = self.total = self.skipped = 0

    def label_whole(self) -> None:
        """A raster that the model looks at in one piece."""
        self.total = 1
        pixels, valid = self.raster.read(0, 0, self.raster.height, self.raster.width)
        if valid is not None and not valid.any():
            ids = np.full(valid.shape, self.labels.ignore, self.labels.dtype)
            self.skipped = 1
        else:
            ids = self.segmenter.predict(pixels).mask
        rows = _BlockRows(self.writer, 0)
        self._finish(rows, ids, valid)
        rows.close()
        self._advance()

    def label_tiles(self, grid: TileGrid, window: np.ndarray) -> None:
        """A raster in strips of rows of tiles."""
        planes = 1 if self.segmenter.bundle.manifest.head == "binary" else len(self.labels)
        strips = _strips(grid, planes, len(self.raster.bands))
        self.total = sum(len(grid.between(*columns)) for columns in strips)
        for columns in strips:
            self._label_strip(grid.between(*columns), columns, planes, window)

    def _label_strip(self, grid: TileGrid, columns: tuple[int, int], planes: int, window: np.ndarray) -> None:
        """The columns of one strip, which ``grid`` covers and may exceed."""
        start, stop = columns
        validity: deque[np.ndarray | None] = deque()  # of the rows of tiles that are on their way
        rows = _BlockRows(self.writer, start)
        with ThreadPoolExecutor(1) as network:  # one tile ahead of what is blended here
            ahead = read_ahead(network, _same, self._logits(self._tiles(grid, columns, validity)), depth=1)
            pieces = blend_pieces(grid, (logits for logits, _ in ahead), planes, window)
            for first, end in grid.rows:
                ids = np.full((end - first, stop - start), self.labels.ignore, self.labels.dtype)
                for left, right in grid.columns:
                    _, _, piece = next(pieces)
                    inside = slice(max(left, start) - left, min(right, stop) - left)
                    if piece is not None and inside.start < inside.stop:
                        part = np.ascontiguousarray(piece[:, :, inside])
                        beside = slice(left + inside.start - start, left + inside.stop - start)
                        ids[:, beside] = upsample_argmax(part, part.shape[1:])
                    self._advance()
                self._finish(rows, ids, validity.popleft())
        rows.close()

    def _tiles(
        self, grid: TileGrid, columns: tuple[int, int], validity: deque[np.ndarray | None]
    ) -> Iterator[np.ndarray | None]:
        """h×w×C pixels of every tile, None for one without data; fills ``validity`` row by row."""
        origin = grid.lefts[0]
        inside = slice(columns[0] - origin, columns[1] - origin)
        for (first, end), (pixels, valid) in zip(grid.rows, self._rows(grid), strict=True):
            validity.append(None if valid is None else valid[: end - first, inside].copy())
            for left in grid.lefts:
                beside = slice(left - origin, left - origin + grid.tile[1])
                if valid is not None and not valid[:, beside].any():
                    self.skipped += 1
                    yield None
                else:
                    yield pixels[:, beside].copy()  # the next row of tiles goes into the same memory

    def _rows(self, grid: TileGrid) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """The pixels under each row of tiles, and which hold data; both are reused for the next row."""
        height, left = grid.tile[0], grid.lefts[0]
        width = grid.lefts[-1] + grid.tile[1] - left
        bottoms = [top + height for top in grid.tops]
        news = list(zip([grid.tops[0], *bottoms[:-1]], bottoms, strict=True))

        def read(rows: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
            return self.raster.read(rows[0], left, rows[1] - rows[0], width)

        pixels = valid = None
        for (first, end), new in read_ahead(self.reader, read, news, depth=1):
            if isinstance(new, DataError):
                raise new
            pixels = _scrolled(pixels, new[0], end - first)
            valid = None if new[1] is None else _scrolled(valid, new[1], end - first)
            yield pixels, valid

    def _logits(self, tiles: Iterable[np.ndarray | None]) -> Iterator[np.ndarray | None]:
        """Logits of every tile in order, run ``batch`` at a time; None for None."""
        waiting: list[np.ndarray | None] = []
        full = 0
        for tile in tiles:
            waiting.append(tile)
            full += tile is not None
            # Empty tiles do not wait for ever, either.
            if full in (0, self.batch) or len(waiting) >= 8 * self.batch:
                yield from self._run(waiting)
                waiting, full = [], 0
        yield from self._run(waiting)

    def _run(self, tiles: list[np.ndarray | None]) -> Iterator[np.ndarray | None]:
        full = [tile for tile in tiles if tile is not None]
        views, head = self.segmenter.views, self.segmenter.bundle.manifest.head
        results: Iterator[np.ndarray]
        if len(full) > 1 and views.plain and min(full[0].shape[:2]) >= SMALLEST:
            results = iter(self.segmenter.engine.run(np.stack(full), "logits"))
        else:
            whole = self.segmenter.whole_logits
            results = (average_views(t, (t.shape[0], t.shape[1]), whole, views, head) for t in full)
        for tile in tiles:
            yield None if tile is None else next(results)

    def _finish(self, rows: _BlockRows, ids: np.ndarray, valid: np.ndarray | None) -> None:
        if valid is not None:
            ids[~valid] = self.labels.ignore
        self.counts += np.bincount(ids.ravel(), minlength=len(self.counts))
        rows.add(ids)

    def _advance(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)

    def report(self) -> RasterReport:
        """What has been done."""
        return RasterReport(
            width=self.raster.width,
            height=self.raster.height,
            tiles=self.total,
            skipped=self.skipped,
            pixels={name: int(self.counts[number]) for number, name in enumerate(self.labels.names)},
            without_data=int(self.counts[self.labels.ignore]),
            pixel_area=self.raster.pixel_area,
        )


class _BlockRows:
    """Collects rows of class ids from top to bottom and writes them in whole rows of blocks."""

    def __init__(self, writer: ClassWriter, left: int) -> None:
        self.writer, self.left, self.top = writer, left, 0
        self.waiting: np.ndarray | None = None

    def add(self, ids: np.ndarray) -> None:
        """Take in the next rows."""
        self.waiting = ids if self.waiting is None else np.concatenate((self.waiting, ids))
        ready = len(self.waiting) // BLOCK * BLOCK
        if ready:
            self.writer.write(self.top, self.left, self.waiting[:ready])
            self.waiting = self.waiting[ready:].copy()
            self.top += ready

    def close(self) -> None:
        """Write what is left."""
        if self.waiting is not None and len(self.waiting):
            self.writer.write(self.top, self.left, self.waiting)


def _strips(grid: TileGrid, planes: int, channels: int) -> list[tuple[int, int]]:
    """Columns of strips as wide as the memory allows; they begin where blocks begin."""
    height, width = grid.tile
    column = 4 * (planes + 1) * grid.shared + 2 * (channels + 1) * height
    widest = max(width, _MEMORY // column - width)  # a strip's tiles reach beyond its columns
    count = math.ceil(grid.sides[1] / widest)
    step = math.ceil(grid.sides[1] / count / BLOCK) * BLOCK
    return [(start, min(start + step, grid.sides[1])) for start in range(0, grid.sides[1], step)]


def _same(logits: np.ndarray | None) -> np.ndarray | None:
    return logits


def _scrolled(rows: np.ndarray | None, new: np.ndarray, count: int) -> np.ndarray:
    """``rows`` moved up in place by ``count``, with ``new`` below; ``new`` itself if there are none."""
    if rows is None:
        return new
    rows[:-count] = rows[count:]
    rows[-count:] = new
    return rows


def _check_model(segmenter: Segmenter) -> None:
    manifest = segmenter.bundle.manifest
    if manifest.task != "image":
        raise UsageError(f"'{segmenter.name}' labels volumes, not rasters")
    if manifest.head == "multilabel":
        raise UsageError(
            f"'{segmenter.name}' gives a pixel several classes at once, but a raster of class ids has one; "
            "use a model with one class per pixel"
        )


def _check_scale(segmenter: Segmenter, source: Path, height: int, width: int) -> None:
    small = segmenter.working_size(height, width)
    if small != (height, width) and height * width > _LARGEST_SHRUNK:
        factor = math.sqrt(height * width / (small[0] * small[1]))
        raise UsageError(
            f"{source}: '{segmenter.name}' would look at its {width}x{height} pixels shrunk to "
            f"{small[1]}x{small[0]}, {factor:.0f} times smaller; use --scale native to label it in tiles "
            "at its own resolution"
        )
