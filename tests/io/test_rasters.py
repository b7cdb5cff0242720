import builtins
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pixelwise import LabelMap
from pixelwise.errors import DataError, MissingExtraError, PixelwiseError, UsageError
from pixelwise.io import rasters
from pixelwise.io.rasters import ClassWriter, create_class_raster, is_raster, open_class_raster, open_raster

rasterio = pytest.importorskip("rasterio")

LABELS = LabelMap(("water", "field", "road"))


def write_raster(path: Path, pixels: np.ndarray, mask: np.ndarray | None = None, **options: object) -> Path:
    """H×W×C pixels as a GeoTIFF of 0.5 m in UTM zone 33."""
    profile = {
        "driver": "GTiff",
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": pixels.shape[2],
        "dtype": pixels.dtype,
        "crs": "EPSG:32633",
        "transform": rasterio.transform.from_origin(400_000, 5_000_000, 0.5, 0.5),
    }
    colours = options.pop("colorinterp", None)
    with rasterio.open(path, "w", **profile | options) as file:
        file.write(np.moveaxis(pixels, 2, 0))
        if mask is not None:
            file.write_mask(mask)
        if colours is not None:
            file.colorinterp = [rasterio.enums.ColorInterp[name] for name in colours]
    return path


def noise(height: int = 60, width: int = 80, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, (height, width, channels)).astype(dtype)


@contextmanager
def writing(source: Path, target: Path, labels: LabelMap = LABELS) -> Iterator[ClassWriter]:
    with open_raster(source, 3) as raster, create_class_raster(target, raster, labels) as writer:
        yield writer


class TestBadInput:
    def test_missing_and_not_a_raster(self, tmp_path: Path) -> None:
        with (
            pytest.raises(DataError, match=r"none.tif: no such raster"),
            open_raster(tmp_path / "none.tif", 3),
        ):
            pass
        (tmp_path / "text.tif").write_text("no pixels here")
        with (
            pytest.raises(DataError, match=r"text.tif: cannot be opened"),
            open_raster(tmp_path / "text.tif", 3),
        ):
            pass

    @pytest.mark.parametrize("tiled", [False, True])
    def test_a_truncated_file_names_the_window(self, tmp_path: Path, tiled: bool) -> None:
        options = {"tiled": True, "blockxsize": 64, "blockysize": 64} if tiled else {}
        path = write_raster(tmp_path / "cut.tif", noise(256, 256), **options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with (
            open_raster(path, 3) as raster,
            pytest.raises(
                DataError,
                match=r"cut.tif: rows 200 to 255, columns 0 to 63 cannot be read .*copy the file again",
            ),
        ):
            raster.read(200, 0, 56, 64)

    def test_fewer_bands_than_the_model_takes(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "grey.tif", noise(channels=1))
        with pytest.raises(DataError, match=r"grey.tif: has 1 band, but .* takes 3; .*such as --bands 1,1,1"):
            open_raster(path, 3).__enter__()

    def test_more_bands_than_the_model_takes_need_a_choice(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "many.tif", noise(channels=5), photometric="minisblack")
        with pytest.raises(DataError, match=r"many.tif: has 5 bands .* takes 3; say which .*--bands 1,2,3"):
            open_raster(path, 3).__enter__()

    @pytest.mark.parametrize("bands", [(1, 2), (1, 2, 6), (0, 1, 2)])
    def test_impossible_bands(self, tmp_path: Path, bands: tuple[int, ...]) -> None:
        path = write_raster(tmp_path / "many.tif", noise(channels=5))
        with pytest.raises(UsageError, match=r"expected 3 band numbers from 1 to 5, found"):
            open_raster(path, 3, bands).__enter__()

    def test_other_types_need_a_range(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "deep.tif", noise(dtype="uint16") * 40)
        with pytest.raises(DataError, match=r"deep.tif: has uint16 values \(\d+ to \d+ .*value range"):
            open_raster(path, 3).__enter__()
        with pytest.raises(UsageError, match=r"value range 9 to 9: expected"):
            open_raster(path, 3, value_range=(9, 9)).__enter__()
        path = write_raster(tmp_path / "waves.tif", noise().astype(np.complex64))
        with pytest.raises(DataError, match=r"waves.tif: has complex64 values"):
            open_raster(path, 3, value_range=(0, 9)).__enter__()

    def test_absurd_sizes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_raster(tmp_path / "a.tif", noise())
        monkeypatch.setattr(rasters, "LONGEST_SIDE", 79)
        with pytest.raises(DataError, match=r"a.tif: 80x60 pixels, but sides over 79"):
            open_raster(path, 3).__enter__()
        monkeypatch.undo()
        monkeypatch.setattr(rasters, "LARGEST_BLOCK", 1000)
        with pytest.raises(DataError, match=r"a.tif: stored in blocks of 80x\d+ .*TILED=YES"):
            open_raster(path, 3).__enter__()

    def test_without_rasterio_the_extra_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = builtins.__import__

        def without(name: str, *arguments: object, **options: object) -> object:
            if name.split(".")[0] == "rasterio":
                raise ImportError(name)
            return real(name, *arguments, **options)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(MissingExtraError, match="extra 'geo'"):
            open_raster(tmp_path / "a.tif", 3).__enter__()

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path) -> None:
        target = tmp_path / "out" / "a.tif"
        source = write_raster(tmp_path / "a.tif", noise())
        with pytest.raises(DataError, match="something else"), writing(source, target) as writer:
            writer.write(0, 0, np.zeros((60, 80), np.uint8))
            raise DataError("something else")
        assert list(target.parent.iterdir()) == []

    @pytest.mark.parametrize("limit", [50_000, 150_000])
    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, limit: int) -> None:
        resource = pytest.importorskip("resource")
        source = write_raster(tmp_path / "a.tif", noise(700, 700))
        ids = np.random.default_rng(0).integers(0, 3, (700, 700)).astype(np.uint8)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # Python turns the signal into an error
        try:
            with (
                pytest.raises(PixelwiseError, match=r"cannot write .*o.tif: .*is the disk full"),
                writing(source, tmp_path / "out" / "o.tif") as writer,
            ):
                writer.write(0, 0, ids)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert list((tmp_path / "out").iterdir()) == []

    def test_not_a_class_raster(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "photo.tif", noise())
        with pytest.raises(DataError, match=r"photo.tif: not a raster of classes"), open_class_raster(path):
            pass


class TestReading:
    def test_windows_give_the_pixels(self, tmp_path: Path) -> None:
        pixels = noise()
        with open_raster(write_raster(tmp_path / "a.tif", pixels), 3) as raster:
            assert (raster.height, raster.width) == (60, 80)
            part, valid = raster.read(10, 20, 30, 40)
        assert valid is None
        np.testing.assert_array_equal(part, pixels[10:40, 20:60])

    def test_rgba_and_chosen_bands(self, tmp_path: Path) -> None:
        pixels = noise(channels=4)
        pixels[:, :, 3] = 255
        pixels[:9, :9, 3] = 0
        path = write_raster(tmp_path / "rgba.tif", pixels, photometric="rgb", alpha="yes")
        with open_raster(path, 3) as raster:
            part, valid = raster.read(0, 0, 60, 80)
        np.testing.assert_array_equal(part, pixels[:, :, :3])
        np.testing.assert_array_equal(valid, pixels[:, :, 3] > 0)
        with open_raster(path, 3, (3, 1, 1)) as raster:
            np.testing.assert_array_equal(raster.read(0, 0, 60, 80)[0], pixels[:, :, [2, 0, 0]])

    def test_colour_interpretation_finds_red_green_blue(self, tmp_path: Path) -> None:
        names = ("undefined", "blue", "green", "red")
        pixels = noise(channels=4)
        path = write_raster(tmp_path / "bgr.tif", pixels, photometric="minisblack", colorinterp=names)
        with open_raster(path, 3) as raster:
            np.testing.assert_array_equal(raster.read(0, 0, 60, 80)[0], pixels[:, :, [3, 2, 1]])

    def test_palettes_become_colours(self, tmp_path: Path) -> None:
        path = tmp_path / "palette.tif"
        write_raster(path, np.full((60, 80, 1), 7, np.uint8))
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {7: (10, 20, 30, 255)})
        with open_raster(path, 3) as raster:
            assert raster.read(5, 5, 1, 1)[0].tolist() == [[[10, 20, 30]]]

    def test_value_ranges_map_to_bytes(self, tmp_path: Path) -> None:
        pixels = np.full((4, 4, 3), 1000, np.float32)
        pixels[0, 0], pixels[1, 1], pixels[2, 2], pixels[3, 3] = -5, 3000, np.nan, 2000
        with open_raster(write_raster(tmp_path / "f.tif", pixels), 3, value_range=(0, 2000)) as raster:
            part, valid = raster.read(0, 0, 4, 4)
        assert [int(part[i, i, 0]) for i in (0, 1, 3)] == [0, 255, 255]
        assert part[0, 1, 0] == 128
        np.testing.assert_array_equal(np.argwhere(~valid), [[2, 2]])

    def test_nodata_values_and_internal_masks(self, tmp_path: Path) -> None:
        pixels = noise() + 1
        pixels[3, 4] = 0
        with open_raster(write_raster(tmp_path / "n.tif", pixels, nodata=0), 3) as raster:
            np.testing.assert_array_equal(np.argwhere(~raster.read(0, 0, 60, 80)[1]), [[3, 4]])
        mask = np.ones((60, 80), bool)
        mask[50:, :] = False
        with open_raster(write_raster(tmp_path / "m.tif", pixels, mask), 3) as raster:
            np.testing.assert_array_equal(raster.read(0, 0, 60, 80)[1], mask)

    def test_plain_tiffs_raise_no_warning(self, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
        pixels = noise()
        tifffile.imwrite(tmp_path / "plain.tif", pixels)
        with open_raster(tmp_path / "plain.tif", 3) as raster:
            np.testing.assert_array_equal(raster.read(0, 0, 60, 80)[0], pixels)
            with create_class_raster(tmp_path / "out.tif", raster, LABELS) as writer:
                writer.write(0, 0, np.ones((60, 80), np.uint8))
        assert not recwarn.list


class TestWhatIsARaster:
    def test_headers_decide(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        geo = write_raster(tmp_path / "geo.tif", noise())
        tifffile.imwrite(tmp_path / "plain.tiff", noise())
        (tmp_path / "broken.tif").write_bytes(b"II*\0 and no more")
        (tmp_path / "photo.png").write_bytes(geo.read_bytes())
        assert is_raster(geo)
        for name in ("plain.tiff", "broken.tif", "photo.png", "none.tif"):
            assert not is_raster(tmp_path / name)
        monkeypatch.setattr(rasters, "LARGEST_WHOLE", 60 * 80 - 1)
        assert is_raster(tmp_path / "plain.tiff")

    def test_a_world_file_counts(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", noise())
        (tmp_path / "a.tfw").write_text("0.5\n0\n0\n-0.5\n0\n0\n")
        assert is_raster(tmp_path / "a.tif")


class TestWriting:
    def test_everything_about_the_place_is_kept(self, tmp_path: Path) -> None:
        turned = rasterio.Affine(0.4, 0.3, 400_000, 0.3, -0.4, 5_000_000)
        source = write_raster(tmp_path / "a.tif", noise(600, 700), transform=turned)
        ids = np.random.default_rng(1).integers(0, 3, (600, 700)).astype(np.uint8)
        ids[5, 5] = 255
        with writing(source, tmp_path / "out.tif") as writer:
            writer.write(0, 0, ids)
        with rasterio.open(tmp_path / "out.tif") as file:
            assert file.crs.to_epsg() == 32633
            assert file.transform.almost_equals(turned)
            assert (file.nodata, file.dtypes, file.block_shapes) == (255, ("uint8",), [(512, 512)])
            assert file.compression.name == "deflate"
            assert [file.colormap(1)[i][:3] for i in range(3)] == list(LABELS.colours)
            assert file.overviews(1) == [2, 4]
            assert LabelMap.from_dict(json.loads(file.tags()["PIXELWISE_LABELS"])) == LABELS
            np.testing.assert_array_equal(file.read(1), ids)
            small = file.read(1, out_shape=(150, 175))
            assert set(np.unique(small)) <= {0, 1, 2, 255}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "out.tif"]

    def test_ground_control_points_are_kept(self, tmp_path: Path) -> None:
        points = [
            rasterio.control.GroundControlPoint(row, column, 10 + column / 100, 50 - row / 100, 0)
            for row, column in ((0, 0), (0, 80), (60, 0), (60, 80))
        ]
        source = tmp_path / "g.tif"
        size = {"height": 60, "width": 80, "count": 3, "dtype": "uint8"}
        with rasterio.open(source, "w", driver="GTiff", gcps=points, crs="EPSG:4326", **size) as file:
            file.write(np.moveaxis(noise(), 2, 0))
        with (
            open_raster(source, 3) as raster,
            create_class_raster(tmp_path / "o.tif", raster, LABELS) as writer,
        ):
            writer.write(0, 0, np.zeros((60, 80), np.uint8))
        with rasterio.open(tmp_path / "o.tif") as file:
            found, crs = file.gcps
        assert [(p.row, p.col, p.x, p.y) for p in found] == [(p.row, p.col, p.x, p.y) for p in points]
        assert crs.to_epsg() == 4326

    def test_many_classes_take_sixteen_bits(self, tmp_path: Path) -> None:
        labels = LabelMap(tuple(f"c{number}" for number in range(300)))
        with writing(write_raster(tmp_path / "a.tif", noise()), tmp_path / "o.tif", labels) as writer:
            writer.write(0, 0, np.full((60, 80), 299, np.uint16))
        with open_class_raster(tmp_path / "o.tif") as classes:
            assert classes.labels == labels
            assert (classes.read(0, 0, 60, 80) == 299).all()
        with rasterio.open(tmp_path / "o.tif") as file:
            assert (file.nodata, file.dtypes) == (65535, ("uint16",))
            assert file.colormap(1)[299][:3] == labels.colours[299]
