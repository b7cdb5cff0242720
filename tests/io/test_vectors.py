import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pixelwise.errors import DataError, MissingExtraError, UsageError
from pixelwise.io import vectors
from pixelwise.io.vectors import Polygon, check_vector_target, write_vectors

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

FIELDS = {"class": str, "class_id": int, "area": float}
UTM = rasterio.CRS.from_epsg(32633)


def square(x: float, y: float, side: float) -> np.ndarray:
    """Clockwise on a map whose y runs upwards."""
    return np.array([[x, y], [x, y + side], [x + side, y + side], [x + side, y]])


def polygon(number: int = 0) -> Polygon:
    outer = square(500_000 + 20 * number, 5_000_000, 10)
    hole = square(500_002 + 20 * number, 5_000_002, 3)[::-1]
    return Polygon([outer, hole], {"class": "Straße", "class_id": number, "area": 91.0})


class TestBadInput:
    def test_an_unknown_suffix(self, tmp_path: Path) -> None:
        with pytest.raises(
            UsageError, match=r"a.shp: polygons are written to .gpkg or .geojson, found '.shp'"
        ):
            check_vector_target(tmp_path / "a.shp", UTM)

    def test_geojson_without_a_place(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"a.geojson: GeoJSON needs longitude and latitude.*\.gpkg"):
            write_vectors(tmp_path / "a.geojson", [polygon()], FIELDS, None)
        assert list(tmp_path.iterdir()) == []

    def test_places_beyond_the_earth(self, tmp_path: Path) -> None:
        far = Polygon([square(1e30, 1e30, 1e29)], polygon().values)
        with pytest.raises(DataError, match=r"a.geojson: coordinates near .*EPSG:32633 have no longitude"):
            write_vectors(tmp_path / "a.geojson", [polygon(), far], FIELDS, UTM)
        assert list(tmp_path.iterdir()) == []

    def test_without_pyogrio_the_extra_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyogrio.raw", None)
        with pytest.raises(MissingExtraError, match="extra 'geo'"):
            check_vector_target(tmp_path / "a.gpkg", UTM)
        assert write_vectors(tmp_path / "a.geojson", [polygon()], FIELDS, UTM) == 1

    @pytest.mark.parametrize("name", ["a.gpkg", "a.geojson"])
    def test_a_failure_on_the_way_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        def fails():
            yield polygon()
            yield polygon()
            raise DataError("a damaged raster")

        monkeypatch.setattr(vectors, "_BATCH", 1)
        with pytest.raises(DataError, match="a damaged raster"):
            write_vectors(tmp_path / name, fails(), FIELDS, UTM)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson"])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_polygons_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    from pyogrio import raw, read_info

    monkeypatch.setattr(vectors, "_BATCH", 3)
    assert write_vectors(tmp_path / name, map(polygon, range(count)), FIELDS, UTM) == count
    assert [path.name for path in tmp_path.iterdir()] == [name]
    info = read_info(tmp_path / name)
    assert info["features"] == count
    if count:
        assert info["geometry_type"] == "Polygon"
        assert info["fields"].tolist() == list(FIELDS)
        _, _, geometry, columns = raw.read(tmp_path / name)
        assert columns[0].tolist() == ["Straße"] * count
        assert columns[1].tolist() == list(range(count))
        assert all(int.from_bytes(wkb[5:9], "little") == 2 for wkb in geometry)


def test_geopackage_keeps_coordinates_and_crs(tmp_path: Path) -> None:
    from pyogrio import raw, read_info

    write_vectors(tmp_path / "a.gpkg", [polygon()], FIELDS, UTM)
    assert "32633" in read_info(tmp_path / "a.gpkg")["crs"]
    wkb = raw.read(tmp_path / "a.gpkg")[2][0]
    outer = np.frombuffer(wkb, "<f8", 10, offset=13).reshape(5, 2)
    np.testing.assert_array_equal(outer, np.vstack((square(500_000, 5_000_000, 10), [[500_000, 5_000_000]])))
    write_vectors(tmp_path / "none.gpkg", [polygon()], FIELDS, None)
    assert read_info(tmp_path / "none.gpkg")["features"] == 1


def test_geojson_is_what_its_standard_says(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.geojson", [polygon(0), polygon(1)], FIELDS, UTM)
    document = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    assert set(document) == {"type", "features"}
    first = document["features"][0]
    assert first["properties"] == {"class": "Straße", "class_id": 0, "area": 91.0}
    outer, hole = (np.array(ring) for ring in first["geometry"]["coordinates"])
    # UTM zone 33 has 500 km at 15 degrees east; 5,000 km are 45.15 degrees north.
    np.testing.assert_allclose(outer[0], (15.0, 45.1535), atol=2e-4)
    for ring, sign in ((outer, 1), (hole, -1)):
        assert ring[0].tolist() == ring[-1].tolist()
        x, y = (ring - ring[0]).T
        assert sign * (x[:-1] @ y[1:] - y[:-1] @ x[1:]) > 0
