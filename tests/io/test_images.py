"""Reading and writing photographs."""

import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pixelwise.errors import DataError, PixelwiseError, UsageError
from pixelwise.io import image_size, list_images, read_image, read_mask, verify_image, walk_files, write_image

ROTATE_90 = 6  # the EXIF orientation of a phone held upright
SUFFIXES = [".png", ".jpg", ".tif", ".bmp", ".webp", ".gif"]
Reader = Callable[[Path], object]
READERS: list[Reader] = [read_image, image_size, verify_image, read_mask]


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


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("orientation", "turns"), [(6, -1), (8, 1), (3, 2)])
def test_exif_rotation_is_applied_to_pixels_and_size(
    tmp_path: Path, orientation: int, turns: int, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    write_rotated(path, gradient(), orientation)
    upright = np.rot90(gradient(), turns)
    assert np.array_equal(read_image(path), upright)
    assert image_size(path) == upright.shape[:2]
    assert verify_image(path) == upright.shape[:2]


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
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_image_is_named(tmp_path: Path, suffix: str, keep: float, read: Reader) -> None:
    """Never a picture whose lower part is grey."""
    path = tmp_path / f"cut{suffix}"
    write_image(path, np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    truncate(path, keep)
    with pytest.raises(
        DataError, match=rf"cut\{suffix}: (the image is damaged|cannot be opened|not an image)"
    ):
        read(path)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
@pytest.mark.parametrize(
    "kind", ["progressive.jpg", "turned.jpg", "cmyk.jpg", "grey.jpg", "lzw.tif", "jpeg.tif"]
)
def test_truncated_images_of_other_kinds(tmp_path: Path, kind: str, keep: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    if kind == "turned.jpg":
        write_rotated(tmp_path / kind, np.asarray(noise), ROTATE_90)
    else:
        mode = {"cmyk.jpg": "CMYK", "grey.jpg": "L"}.get(kind, "RGB")
        options = {
            "progressive.jpg": {"progressive": True},
            "lzw.tif": {"compression": "tiff_lzw"},
            "jpeg.tif": {"compression": "jpeg"},
        }.get(kind, {})
        noise.convert(mode).save(tmp_path / kind, **options)
    truncate(tmp_path / kind, keep)
    with pytest.raises(DataError, match=kind):
        read_image(tmp_path / kind)


@pytest.mark.parametrize("read", [read_image, image_size, verify_image])
def test_text_missing_and_empty_files_are_data_errors(tmp_path: Path, read: object) -> None:
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "empty.png").touch()
    for name, said in (("text.jpg", "not an image"), ("empty.png", "not an image"), ("none.png", "no such")):
        with pytest.raises(DataError, match=f"{name}: {said}"):
            read(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(DataError):
        read(tmp_path)  # type: ignore[operator]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_large_images_open_from_several_threads_without_touching_pillows_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 2400 pixels are a "bomb" now
    Image.fromarray(gradient()).save(path, lossless=True)
    assert verify_image(path) == (40, 60)
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(read_image(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(np.array_equal(image, gradient()) for image in results)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bomb_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, read: Reader
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    path = tmp_path / f"a{suffix}"
    write_image(path, gradient())
    monkeypatch.setattr("pixelwise.io.images.MAX_PIXELS", 2400)
    assert image_size(path) == (40, 60)
    monkeypatch.setattr("pixelwise.io.images.MAX_PIXELS", 2399)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    monkeypatch.setattr("cv2.imdecode", decode)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: 60x40 pixels is over the limit of 2,399 for one image; if the file can be trusted, "
        "set the environment variable PIXELWISE_MAX_PIXELS to 2400"
    )


def claim(path: Path, width: int, height: int) -> None:
    """Let the header of a written image say that it is of another size."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".png":
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif path.suffix == ".jpg":
        frame = content.index(b"\xff\xc0")
        content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif path.suffix == ".bmp":
        content[18:26] = struct.pack("<ii", width, height)
    elif path.suffix == ".gif":
        content[6:10] = struct.pack("<HH", width, height)
    elif path.suffix == ".ppm":
        content[:] = content.replace(b"60 40", f"{width} {height}".encode(), 1)
    else:
        (directory,) = struct.unpack_from("<I", content, 4)
        for entry in range(directory + 2, directory + 26, 12):
            (tag,) = struct.unpack_from("<H", content, entry)
            if tag in (256, 257):
                struct.pack_into("<HII", content, entry + 2, 4, 1, width if tag == 256 else height)
    path.write_bytes(content)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".ppm", ".tif"])
def test_a_small_file_that_claims_gigapixels(tmp_path: Path, suffix: str, read: Reader) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, gradient())
    claim(path, 65500, 65400)
    with pytest.raises(DataError, match=r"65500x65400 pixels is over the limit of 1,000,000,000"):
        read(path)


def limit_of_a_new_process(value: str) -> subprocess.CompletedProcess[str]:
    code = "from pixelwise.io.images import MAX_PIXELS; print(MAX_PIXELS)"
    environment = os.environ | {"PIXELWISE_MAX_PIXELS": value}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_the_limit_can_be_raised() -> None:
    assert limit_of_a_new_process("4_000_000_000").stdout == "4000000000\n"


@pytest.mark.parametrize("value", ["much", "0", "-5", ""])
def test_a_limit_that_is_no_number_is_one_sentence(value: str) -> None:
    said = limit_of_a_new_process(value).stderr.strip().splitlines()[-1]
    assert said.startswith("pixelwise.errors.UsageError: PIXELWISE_MAX_PIXELS is")
    assert f"is '{value}': expected a number of pixels, such as 4000000000" in said


def test_an_image_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    write_image(tmp_path / "a.png", gradient())
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    for read in (read_image, verify_image):
        with pytest.raises(DataError, match=r"a\.png: 60x40 pixels do not fit into the memory"):
            read(tmp_path / "a.png")


def test_what_opencv_refuses_is_left_to_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.jpg", gradient())
    expected = read_image(tmp_path / "a.jpg")

    def refuse(*_: object) -> None:
        raise cv2.error("more than 2**30 pixels")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    assert np.array_equal(read_image(tmp_path / "a.jpg"), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_size_is_read_without_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    write_rotated(tmp_path / f"a{suffix}", gradient(), ROTATE_90)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    assert image_size(tmp_path / f"a{suffix}") == (60, 40)


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    write_rotated(tmp_path / "a.png", gradient(), ROTATE_90)
    content = (tmp_path / "a.png").read_bytes()
    start, pixels, end = (content.index(kind) - 4 for kind in (b"eXIf", b"IDAT", b"IEND"))
    moved = content[:start] + content[pixels:end] + content[start:pixels] + content[end:]
    (tmp_path / "a.png").write_bytes(moved)
    assert image_size(tmp_path / "a.png") == verify_image(tmp_path / "a.png") == (60, 40)
    assert read_image(tmp_path / "a.png").shape == (60, 40, 3)


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
