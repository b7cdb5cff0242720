"""Reading and writing photographs."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.errors import DataError, PixelwiseError, UsageError
from pixelwise.io import image_size, list_images, read_image, verify_image, walk_files, write_image

ROTATE_90 = 6  # the EXIF orientation of a phone held upright


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 4, columns * 4, rows + columns], axis=2).astype(np.uint8)


def write_rotated(path: Path, image: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(path, exif=exif)


def truncate(path: Path, keep: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def test_png_comes_back_as_it_was(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", gradient())
    assert np.array_equal(read_image(tmp_path / "a.png"), gradient())
    assert image_size(tmp_path / "a.png") == (40, 60)


@pytest.mark.parametrize(("orientation", "turns"), [(6, -1), (8, 1), (3, 2)])
def test_exif_rotation_is_applied_to_pixels_and_size(tmp_path: Path, orientation: int, turns: int) -> None:
    write_rotated(tmp_path / "a.png", gradient(), orientation)
    upright = np.rot90(gradient(), turns)
    assert np.array_equal(read_image(tmp_path / "a.png"), upright)
    assert image_size(tmp_path / "a.png") == upright.shape[:2]
    assert verify_image(tmp_path / "a.png") == upright.shape[:2]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(gradient()).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (40, 60, 3) and image.dtype == np.uint8


def test_16_bit_grey_keeps_its_high_byte(tmp_path: Path) -> None:
    grey = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png")[..., 1], (grey >> 8).astype(np.uint8))


@pytest.mark.parametrize("read", [read_image, verify_image])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_image_is_named(tmp_path: Path, suffix: str, read: object) -> None:
    path = tmp_path / f"cut{suffix}"
    write_image(path, np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    truncate(path)
    with pytest.raises(DataError, match=r"cut\.(jpg|png): the image is damaged .*copy or export it again"):
        read(path)  # type: ignore[operator]


@pytest.mark.parametrize("read", [read_image, image_size, verify_image])
def test_text_missing_and_empty_files_are_data_errors(tmp_path: Path, read: object) -> None:
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "empty.png").touch()
    for name, said in (("text.jpg", "not an image"), ("empty.png", "not an image"), ("none.png", "no such")):
        with pytest.raises(DataError, match=f"{name}: {said}"):
            read(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(DataError):
        read(tmp_path)  # type: ignore[operator]


def test_large_images_open_from_several_threads_without_touching_pillows_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 2400 pixels are a "bomb" now
    write_image(tmp_path / "a.png", gradient())
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(read_image(tmp_path / "a.png"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(np.array_equal(image, gradient()) for image in results)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_absurd_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelwise.io.images.MAX_PIXELS", 1000)
    write_image(tmp_path / "a.png", gradient())
    with pytest.raises(DataError, match="60x40 pixels is over the limit of 1,000"):
        read_image(tmp_path / "a.png")


def test_unknown_suffix_is_a_usage_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write '\.xyz' images"):
        write_image(tmp_path / "a.xyz", gradient())
    assert not list(tmp_path.iterdir())


def test_listing_is_sorted_and_leaves_hidden_files_out(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a/1.jpg", "b/.hidden.png", ".cache/3.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == ["a/1.jpg", "b/2.PNG"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.png").touch()
    data = tmp_path / "data"
    data.mkdir()
    os.symlink(outside, data / "images")
    os.symlink(data, data / "again")
    assert list(walk_files(data)) == [("", []), ("images", ["a.png"])]


def test_a_folder_that_is_not_there_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be listed"):
        list_images(tmp_path / "nowhere")


def test_write_below_a_file_says_which_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PixelwiseError, match=r"cannot write .*file/a\.png"):
        write_image(tmp_path / "file" / "a.png", gradient())


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_decoded_as_pillow_does(tmp_path: Path, options: dict, mode: str) -> None:
    noisy = gradient(45, 67) ^ np.random.default_rng(0).integers(0, 32, (45, 67, 3), np.uint8)
    Image.fromarray(noisy).convert(mode).save(tmp_path / "a.jpg", quality=80, **options)
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.array_equal(read_image(tmp_path / "a.jpg"), np.asarray(image.convert("RGB")))
