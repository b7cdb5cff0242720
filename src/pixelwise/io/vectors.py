"""Polygons with attributes to GeoPackage and GeoJSON, one batch in memory at a time.

GeoPackage is written by pyogrio (extra ``geo``), in the coordinates that are given. GeoJSON is written here,
because appending to a file through GDAL reads all of it again: longitude and latitude on WGS84, seven
decimals (a centimetre), outer rings counter-clockwise, as RFC 7946 (https://www.rfc-editor.org/rfc/rfc7946)
says.
"""

from __future__ import annotations

import importlib
import json
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.errors import DataError, MissingExtraError, PixelwiseError, UsageError
from pixelwise.io.atomic import atomic_write

VECTOR_SUFFIXES = (".gpkg", ".geojson")
"""File suffixes that polygons can be written to."""

_BATCH = 5000  # polygons


@dataclass(frozen=True)
class Polygon:
    """A polygon with holes.

    Attributes
    ----------
    rings
        N×2 float64 (x, y) corners of each ring, not closed: the outer one first.
    values
        Its attributes, the same names for all polygons of a file.
    """

    rings: list[np.ndarray]
    values: dict[str, Any]


def check_vector_target(path: str | Path, crs: Any) -> None:
    """Raise what :func:`write_vectors` would before there is anything to write.

    Parameters
    ----------
    path
        The file.
    crs
        rasterio's CRS of the coordinates, or None.

    Raises
    ------
    UsageError
        An unknown suffix, or GeoJSON of coordinates that have no place on Earth.
    MissingExtraError
        pyogrio (GeoPackage) is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in VECTOR_SUFFIXES:
        raise UsageError(f"{path}: polygons are written to {' or '.join(VECTOR_SUFFIXES)}, found '{suffix}'")
    if suffix == ".geojson" and not crs:
        raise UsageError(
            f"{path}: GeoJSON needs longitude and latitude, but the raster has no CRS; "
            "write a GeoPackage (.gpkg)"
        )
    if suffix == ".gpkg":
        _pyogrio()


def write_vectors(path: str | Path, polygons: Iterable[Polygon], fields: Mapping[str, type], crs: Any) -> int:
    """Write polygons in their order; the file is there whole or not at all.

    Parameters
    ----------
    path
        ``.gpkg`` or ``.geojson``.
    polygons
        They are drawn in batches, and may come from an iterator that is longer than memory.
    fields
        The names of their attributes, with ``int``, ``float`` or ``str``.
    crs
        rasterio's CRS of their coordinates; None if these are no places on Earth.

    Returns
    -------
    How many there were.

    Raises
    ------
    UsageError, MissingExtraError
        As :func:`check_vector_target`.
    DataError
        Coordinates that have no longitude and latitude.
    PixelwiseError
        It cannot be written: no space, no permission.
    """
    path = Path(path)
    check_vector_target(path, crs)
    write = _write_geopackage if path.suffix.lower() == ".gpkg" else _write_geojson
    with atomic_write(path) as temporary:
        return write(path, temporary, _batches(polygons), fields, crs)


def _batches(polygons: Iterable[Polygon]) -> Iterator[list[Polygon]]:
    remaining = iter(polygons)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _write_geopackage(
    path: Path,
    temporary: Path,
    batches: Iterator[list[Polygon]],
    fields: Mapping[str, type],
    crs: Any,
) -> int:
    pyogrio = _pyogrio()
    temporary.unlink()  # GDAL takes an empty file for a damaged one
    count = 0
    for batch in _at_least_one(batches):
        columns = [
            np.array([polygon.values[name] for polygon in batch], _KINDS[fields[name]]) for name in fields
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*crs.*was not provided")
            try:
                pyogrio.write(
                    temporary,
                    np.array([_wkb(polygon.rings) for polygon in batch], object),
                    columns,
                    list(fields),
                    layer=path.stem,
                    driver="GPKG",
                    geometry_type="Polygon",
                    crs=crs.to_wkt() if crs else None,
                    append=count > 0,
                )
            except (RuntimeError, OSError) as error:
                raise PixelwiseError(f"cannot write {path}: {error}; is the disk full?") from None
        count += len(batch)
    return count


_KINDS: dict[type, Any] = {int: np.int64, float: np.float64, str: object}


def _at_least_one(batches: Iterator[list[Polygon]]) -> Iterator[list[Polygon]]:
    """An empty batch if there is none: a file without polygons has its columns all the same."""
    yield next(batches, [])
    yield from batches


def _wkb(rings: list[np.ndarray]) -> bytes:
    """OGC well-known binary of a polygon, little-endian."""
    parts = [struct.pack("<BII", 1, 3, len(rings))]
    for ring in rings:
        parts.append(struct.pack("<I", len(ring) + 1))
        parts.append(np.concatenate((ring, ring[:1])).astype("<f8").tobytes())
    return b"".join(parts)


def _write_geojson(
    path: Path,
    temporary: Path,
    batches: Iterator[list[Polygon]],
    fields: Mapping[str, type],
    crs: Any,
) -> int:
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for batch in batches:
            for polygon, rings in zip(batch, _geographic(path, batch, crs), strict=True):
                geometry = {"type": "Polygon", "coordinates": [_closed(ring) for ring in rings]}
                values = {name: polygon.values[name] for name in fields}
                feature = {"type": "Feature", "properties": values, "geometry": geometry}
                file.write(",\n" if count else "\n")
                file.write(json.dumps(feature, ensure_ascii=False))
                count += 1
        file.write("\n]}\n")
    return count


def _geographic(path: Path, batch: list[Polygon], crs: Any) -> Iterator[list[np.ndarray]]:
    """The rings of each polygon in longitude and latitude, the outer one counter-clockwise."""
    # Whoever has a CRS has rasterio, which lets this error of GDAL's through as it is.
    from rasterio._err import CPLE_BaseError
    from rasterio.warp import transform

    flat = np.concatenate([ring for polygon in batch for ring in polygon.rings])
    try:
        places = np.column_stack(transform(crs, "EPSG:4326", flat[:, 0], flat[:, 1]))
        if not np.isfinite(places).all():
            raise DataError("a point is outside of the projection's domain")
    except (DataError, CPLE_BaseError) as error:
        raise DataError(
            f"{path}: coordinates near ({flat[0, 0]:g}, {flat[0, 1]:g}) of {crs.to_string()} have no "
            f"longitude and latitude ({error}); write a GeoPackage (.gpkg), which keeps the coordinates"
        ) from None
    start = 0
    for polygon in batch:
        rings = []
        for ring in polygon.rings:
            rings.append(places[start : start + len(ring)])
            start += len(ring)
        yield [ring[::-1] for ring in rings] if _is_clockwise(rings[0]) else rings


def _is_clockwise(ring: np.ndarray) -> bool:
    x, y = (ring - ring[0]).T  # near zero, where floats are fine enough
    return bool(x @ np.roll(y, -1) < y @ np.roll(x, -1))


def _closed(ring: np.ndarray) -> list[list[float]]:
    places: list[list[float]] = ring.round(7).tolist()
    return [*places, places[0]]


def _pyogrio() -> Any:
    try:
        return importlib.import_module("pyogrio.raw")
    except ImportError:
        raise MissingExtraError("writing GeoPackage", "geo") from None
