from pathlib import Path

import numpy as np
import pytest
import tifffile

from pixelwise.errors import DataError, UsageError
from pixelwise.inference import Ensemble, rasters
from pixelwise.inference.rasters import label_raster, write_polygons
from pixelwise.inference.tiling import TileGrid, blend_pieces, blend_tiles, gaussian_window
from tests.inference.fakes import by_colour, by_place, fake_segmenter
from tests.io.test_rasters import write_raster

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rasterio.features")

# The nearest pixels of a tile decide as well, so that a shift or a seam would show.
NATIVE = {"scale": "native", "tile": (64, 96)}


def picture(height: int = 300, width: int = 410) -> np.ndarray:
    return np.random.default_rng(3).integers(1, 256, (height, width, 3)).astype(np.uint8)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


class TestBadInput:
    def test_an_ensemble(self, monkeypatch, tmp_path):
        both = Ensemble([fake_segmenter(monkeypatch)] * 2)
        with pytest.raises(UsageError, match="by a single model, found an ensemble"):
            label_raster(both, tmp_path / "a.tif", tmp_path / "o.tif")

    def test_several_classes_per_pixel(self, monkeypatch, tmp_path):
        segmenter = fake_segmenter(monkeypatch, head="multilabel")
        with pytest.raises(UsageError, match="several classes at once"):
            label_raster(segmenter, tmp_path / "a.tif", tmp_path / "o.tif")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"overlap": 1.0}, "overlap 1: expected a share"),
            ({"batch": 0}, "batch 0: expected at least 1"),
            ({"weights": "gausian"}, "unknown tile weights 'gausian': did you mean 'gaussian'"),
            ({"bands": (1, 2)}, "expected 3 band numbers"),
        ],
    )
    def test_wrong_options(self, monkeypatch, tmp_path, options, message):
        path = write_raster(tmp_path / "a.tif", picture(40, 50))
        with pytest.raises(UsageError, match=message):
            label_raster(fake_segmenter(monkeypatch), path, tmp_path / "o.tif", **options)
        assert not (tmp_path / "o.tif").exists()

    def test_overwriting_the_source(self, monkeypatch, tmp_path):
        path = write_raster(tmp_path / "a.tif", picture(40, 50))
        before = path.read_bytes()
        with pytest.raises(UsageError, match="would overwrite its source"):
            label_raster(fake_segmenter(monkeypatch), path, tmp_path / "." / "a.tif")
        assert path.read_bytes() == before

    def test_a_scale_that_loses_nearly_everything(self, monkeypatch, tmp_path):
        monkeypatch.setattr(rasters, "_LARGEST_SHRUNK", 300 * 410 - 1)
        path = write_raster(tmp_path / "a.tif", picture())
        with pytest.raises(UsageError, match=r"410x300 pixels shrunk to 92x67, 4 times .*--scale native"):
            label_raster(fake_segmenter(monkeypatch), path, tmp_path / "o.tif")

    def test_a_truncated_raster_leaves_nothing(self, monkeypatch, tmp_path):
        path = write_raster(tmp_path / "cut.tif", picture())
        path.write_bytes(path.read_bytes()[:250_000])
        target = tmp_path / "out" / "cut.tif"
        with pytest.raises(DataError, match=r"cut.tif: rows \d+ to \d+, columns 0 to 409 cannot be read"):
            label_raster(fake_segmenter(monkeypatch, **NATIVE), path, target)
        assert list(target.parent.iterdir()) == []

    def test_a_network_that_fails_leaves_nothing(self, monkeypatch, tmp_path):
        def fails(pixels: np.ndarray) -> np.ndarray:
            raise RuntimeError("out of memory")

        path = write_raster(tmp_path / "a.tif", picture())
        with pytest.raises(RuntimeError, match="out of memory"):
            label_raster(fake_segmenter(monkeypatch, fails, **NATIVE), path, tmp_path / "out" / "o.tif")
        assert list((tmp_path / "out").iterdir()) == []


class TestLikePredict:
    """Every pixel as :meth:`Segmenter.predict` says it: both add the same floats in the same order."""

    @pytest.mark.parametrize("size", [(300, 410), (64, 96), (65, 1200), (700, 97), (40, 500), (5, 9)])
    @pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 48, "blockysize": 32}])
    def test_any_size_and_layout(self, monkeypatch, tmp_path, size, layout):
        pixels = picture(*size)
        segmenter = fake_segmenter(monkeypatch, by_place, **NATIVE)
        report = label_raster(
            segmenter, write_raster(tmp_path / "a.tif", pixels, **layout), tmp_path / "o.tif"
        )
        mask = segmenter.predict(pixels).mask
        np.testing.assert_array_equal(read(tmp_path / "o.tif"), mask)
        assert list(report.pixels.values()) == np.bincount(mask.ravel(), minlength=3).tolist()
        assert (report.width, report.height) == size[::-1]

    @pytest.mark.parametrize("tile", [(64, 96), (48, 300)])
    def test_in_several_strips(self, monkeypatch, tmp_path, tile):
        pixels = picture(200, 1900)
        segmenter = fake_segmenter(monkeypatch, by_place, scale="native", tile=tile)
        monkeypatch.setattr(rasters, "_MEMORY", 1)
        assert len(rasters._strips(TileGrid.spread((200, 1900), tile), 3, 3)) == 4
        report = label_raster(segmenter, write_raster(tmp_path / "a.tif", pixels), tmp_path / "o.tif")
        np.testing.assert_array_equal(read(tmp_path / "o.tif"), segmenter.predict(pixels).mask)
        assert sum(report.pixels.values()) == pixels[:, :, 0].size

    def test_batches_views_and_binary_models(self, monkeypatch, tmp_path):
        pixels = picture()
        path = write_raster(tmp_path / "a.tif", pixels)
        plain = fake_segmenter(monkeypatch, by_place, **NATIVE)
        views = fake_segmenter(monkeypatch, by_place, tta="flip,scales=0.75:1", **NATIVE)
        binary = fake_segmenter(
            monkeypatch, lambda p: by_place(p)[:1] - 2, names=("no", "yes"), head="binary", **NATIVE
        )
        for segmenter, batch in ((plain, 4), (plain, 7), (views, 3), (binary, 2)):
            label_raster(segmenter, path, tmp_path / "o.tif", batch=batch)
            mask = segmenter.predict(pixels).mask
            assert len(np.unique(mask)) == len(segmenter.labels)
            np.testing.assert_array_equal(read(tmp_path / "o.tif"), mask)

    def test_a_real_network(self, run, tmp_path):
        import pixelwise as pw

        pixels = picture(150, 230)
        segmenter = pw.load(run, precision="fp32", scale="native", tile=(96, 96))
        label_raster(segmenter, write_raster(tmp_path / "a.tif", pixels), tmp_path / "o.tif")
        np.testing.assert_array_equal(read(tmp_path / "o.tif"), segmenter.predict(pixels).mask)

    def test_small_rasters_are_seen_at_the_working_scale(self, monkeypatch, tmp_path):
        pixels = picture(128, 192)
        segmenter = fake_segmenter(monkeypatch)
        report = label_raster(segmenter, write_raster(tmp_path / "a.tif", pixels), tmp_path / "o.tif")
        assert segmenter.engine.sizes == [(64, 96)]
        assert report.tiles == 1
        np.testing.assert_array_equal(read(tmp_path / "o.tif"), segmenter.predict(pixels).mask)

    def test_a_plain_tiff_gives_a_plain_tiff(self, monkeypatch, tmp_path, recwarn):
        tifffile.imwrite(tmp_path / "plain.tif", picture())
        segmenter = fake_segmenter(monkeypatch, **NATIVE)
        report = label_raster(segmenter, tmp_path / "plain.tif", tmp_path / "o.tif")
        assert not recwarn.list
        assert report.areas() is None
        np.testing.assert_array_equal(read(tmp_path / "o.tif"), segmenter.predict(picture()).mask)


class TestWithoutData:
    def test_empty_tiles_are_not_run_and_change_nothing(self, monkeypatch, tmp_path):
        pixels = picture(400, 600)
        rows, columns = np.mgrid[:400, :600]
        pixels[(rows - 200) ** 2 + (columns - 200) ** 2 > 150**2] = 0
        path = write_raster(tmp_path / "a.tif", pixels, nodata=0)
        segmenter = fake_segmenter(monkeypatch, by_place, **NATIVE)
        seen: list[tuple[int, int]] = []
        for batch in (1, 3):
            segmenter.engine.sizes.clear()
            report = label_raster(
                segmenter, path, tmp_path / "o.tif", batch=batch, progress=lambda *now: seen.append(now)
            )
            empty = (pixels == 0).all(axis=2)
            expected = np.where(empty, 255, segmenter.predict(pixels).mask)
            np.testing.assert_array_equal(read(tmp_path / "o.tif"), expected)
            assert report.without_data == empty.sum()
            assert 0 < report.skipped < report.tiles
            assert seen[-1] == (report.tiles, report.tiles)
        assert [done for done, _ in seen] == list(range(1, report.tiles + 1)) * 2

    def test_only_tiles_with_data_reach_the_network(self, monkeypatch, tmp_path):
        path = write_raster(tmp_path / "a.tif", np.zeros((300, 410, 3), np.uint8), nodata=0)
        segmenter = fake_segmenter(monkeypatch, **NATIVE)
        report = label_raster(segmenter, path, tmp_path / "o.tif")
        assert segmenter.engine.sizes == []
        assert report.skipped == report.tiles
        assert (read(tmp_path / "o.tif") == 255).all()

    def test_a_whole_raster_keeps_its_holes(self, monkeypatch, tmp_path):
        pixels = picture(60, 90)
        pixels[5:9, 7:20] = 0
        segmenter = fake_segmenter(monkeypatch)
        path = write_raster(tmp_path / "a.tif", pixels, nodata=0)
        assert label_raster(segmenter, path, tmp_path / "o.tif").without_data == 4 * 13
        assert (read(tmp_path / "o.tif")[5:9, 7:20] == 255).all()


class TestPolygons:
    def test_wrong_targets_are_known_before_the_work(self, monkeypatch, tmp_path):
        segmenter = fake_segmenter(monkeypatch, **NATIVE)
        path = write_raster(tmp_path / "a.tif", picture())
        with pytest.raises(UsageError, match=r"polygons are written to .gpkg or .geojson, found '.shp'"):
            label_raster(segmenter, path, tmp_path / "o.tif", polygons=tmp_path / "o.shp")
        tifffile.imwrite(tmp_path / "plain.tif", picture())
        with pytest.raises(UsageError, match="GeoJSON needs longitude and latitude"):
            label_raster(
                segmenter, tmp_path / "plain.tif", tmp_path / "o.tif", polygons=tmp_path / "o.geojson"
            )
        assert segmenter.engine.sizes == []

    @pytest.mark.parametrize("name", ["o.gpkg", "o.geojson"])
    def test_they_cover_their_pixels_across_strips(self, monkeypatch, tmp_path, name):
        raw = pytest.importorskip("pyogrio.raw")
        monkeypatch.setattr(rasters, "_TRACED", 410 * 30)
        small = np.random.default_rng(0).integers(1, 255, (10, 14, 3)).astype(np.uint8)
        pixels = np.kron(small, np.ones((30, 30, 1), np.uint8))[:300, :410]
        pixels[:50, :50] = 0
        path = write_raster(tmp_path / "a.tif", pixels, nodata=0)
        report = label_raster(
            fake_segmenter(monkeypatch, **NATIVE), path, tmp_path / "o.tif", polygons=tmp_path / name
        )
        meta, _, geometry, columns = raw.read(tmp_path / name)
        values = dict(zip(meta["fields"], columns, strict=True))
        for label, count in report.pixels.items():
            of_class = values["class"] == label
            assert values["pixels"][of_class].sum() == count > 0
            assert values["area"][of_class].sum() == count / 4
        if name == "o.gpkg":
            with rasterio.open(tmp_path / "o.tif") as file:
                place = file.transform
            shapes = [_shape(wkb) for wkb in geometry]
            drawn = rasterio.features.rasterize(
                zip(shapes, values["class_id"].tolist(), strict=True), (300, 410), 255, transform=place
            )
            np.testing.assert_array_equal(drawn, read(tmp_path / "o.tif"))

    def test_a_raster_of_something_else(self, tmp_path):
        path = write_raster(tmp_path / "a.tif", picture())
        with pytest.raises(DataError, match="a.tif: not a raster of classes"):
            write_polygons(path, tmp_path / "o.gpkg")


def _shape(wkb: bytes) -> dict:
    """OGC well-known binary of a polygon as GeoJSON has it."""
    count, at, rings = int.from_bytes(wkb[5:9], "little"), 9, []
    for _ in range(count):
        corners = int.from_bytes(wkb[at : at + 4], "little")
        rings.append(np.frombuffer(wkb, "<f8", 2 * corners, at + 4).reshape(-1, 2).tolist())
        at += 4 + 16 * corners
    return {"type": "Polygon", "coordinates": rings}


def test_areas_are_in_the_units_of_the_map(monkeypatch, tmp_path):
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :30] = 200, (0, 200, 0)
    report = label_raster(
        fake_segmenter(monkeypatch, **NATIVE), write_raster(tmp_path / "a.tif", pixels), tmp_path / "o.tif"
    )
    assert report.pixels == {"sky": 7000, "road": 3000, "car": 0}
    assert report.areas() == {"sky": 1750.0, "road": 750.0, "car": 0.0}
    assert "road: 3,000 pixels (30.0%), 750 m²" in report.text()
    assert report.to_dict()["area_unit"] == "m²"


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("size", [(150, 333), (33, 50), (64, 200)])
def test_pieces_are_bands_cut_up(size, overlap):
    image = picture(*size)
    tile = (64, 48)
    grid = TileGrid.spread(size, tile, overlap)
    tiles = (
        by_place(image[top : top + grid.tile[0], left : left + grid.tile[1]])
        for top in grid.tops
        for left in grid.lefts
    )
    found = np.full((3, *size), np.nan, np.float32)
    for top, left, piece in blend_pieces(grid, tiles, 3, gaussian_window(*grid.tile)):
        part = found[:, top : top + piece.shape[1], left : left + piece.shape[2]]
        assert np.isnan(part).all()
        part[:] = piece
    bands = [band for _, band in blend_tiles(image, tile, by_place, overlap)]
    np.testing.assert_array_equal(found, np.concatenate(bands, axis=1))


def test_flat_weights_are_a_mean(monkeypatch, tmp_path):
    pixels = picture()
    segmenter = fake_segmenter(monkeypatch, by_colour, **NATIVE)
    label_raster(segmenter, write_raster(tmp_path / "a.tif", pixels), tmp_path / "o.tif", weights="flat")
    np.testing.assert_array_equal(read(tmp_path / "o.tif"), pixels.argmax(axis=2))
