"""Volumes from file to file: what is refused, slices as in training, averaging, and where voxels end up."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pixelwise as pw
from pixelwise.bundles import Bundle, WorkingScale
from pixelwise.bundles.manifest import VolumeReading
from pixelwise.data.formats import nifti
from pixelwise.data.synthetic import volume_dataset
from pixelwise.errors import DataError, UsageError
from pixelwise.inference import Ensemble, Segmenter
from pixelwise.inference import volumes as runner
from pixelwise.inference.volumes import label_volume
from pixelwise.io.volumes import label_table, read_slice, read_volume
from tests.inference.fakes import fake_segmenter
from tests.io.test_dicom import save_series

nibabel = pytest.importorskip("nibabel")

SHAPE = (36, 33, 34)  # sides of at least 32, so that no slice is mirrored up to that
NAMES = ("air", "soft", "bone")
WINDOW = (-200.0, 250.0)
LPS = np.diag([-0.8, -0.8, 0.8, 1.0])
TURNED = np.array([[0, 0, 0.8, 5], [-0.8, 0, 0, 6], [0, -0.8, 0, 7], [0, 0, 0, 1.0]])


def by_value_and_place(pixels: np.ndarray) -> np.ndarray:
    """Logits that depend on every channel, on the row and on the column: any wrong turn shows."""
    grey = pixels.astype(np.float32)
    weights = np.arange(1, grey.shape[2] + 1, dtype=np.float32)
    value = (grey * weights).sum(axis=2) / weights.sum() / 32
    rows = np.linspace(0, 3, grey.shape[0], dtype=np.float32)[:, None]
    columns = np.linspace(2, 0, grey.shape[1], dtype=np.float32)[None]
    return np.stack([4 - value + rows, value - columns, np.full_like(value, 2) + rows * columns])


def segmenter_of(
    monkeypatch: pytest.MonkeyPatch,
    reading: dict[str, Any] | None = None,
    graph: Callable[[np.ndarray], np.ndarray] = by_value_and_place,
    in_channels: int = 3,
    **options: Any,
) -> Segmenter:
    """A model of slices at their own scale that was trained on this kind of them."""
    model = fake_segmenter(monkeypatch, graph, names=options.pop("names", NAMES), **options)
    volumes = None if reading is None else VolumeReading(**reading)
    changes = {
        "in_channels": in_channels,
        "volumes": volumes,
        "working": WorkingScale(rule="native", height=512, width=512),
    }
    model.bundle = Bundle(model.bundle.path, model.bundle.manifest.model_copy(update=changes))
    return model


def axial(**changes: Any) -> dict[str, Any]:
    return {"axis": 2, "window": WINDOW} | changes


def volume_model(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Segmenter:
    """A model of volumes whose answer depends on where a voxel lies in its patch."""

    def graph(voxels: np.ndarray) -> np.ndarray:
        value = voxels[..., 0] / 200
        ramp = np.linspace(0, 2, value.shape[0], dtype=np.float32)[:, None, None]
        return np.stack([-value, value - ramp, np.full_like(value, 0.3)])

    model = segmenter_of(monkeypatch, changes.pop("reading", None), graph, in_channels=1)
    working = WorkingScale(rule="native", depth=20, height=64, width=64)
    manifest = model.bundle.manifest.model_copy(update={"task": "volume", "working": working} | changes)
    model.bundle = Bundle(model.bundle.path, manifest)
    return model


def scan(dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-300, 400, shape).astype(dtype)


def save(path: Path, array: np.ndarray | None = None, affine: np.ndarray = LPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(scan() if array is None else array, affine), path)
    return path


def labels_in(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def probabilities_in(path: Path) -> np.ndarray:
    """K×X×Y×Z."""
    return np.moveaxis(np.asarray(nibabel.load(path).dataobj), -1, 0)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=0))
    result: np.ndarray = powers / powers.sum(axis=0)
    return result


# What is refused


def bad_source(kind: str, path: Path) -> Path:
    holes = scan("float32")
    holes[3, 4, 5], holes[1, 1, 1] = np.nan, np.inf
    arrays = {"numbers": holes, "time": scan(shape=(*SHAPE, 2)), "empty": np.zeros((4, 0, 3), np.int16)}
    if kind in arrays:
        return save(path / f"{kind}.nii", arrays[kind])
    if kind == "cut":
        whole = save(path / "whole.nii.gz").read_bytes()
        (path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
        return path / "cut.nii.gz"
    if kind == "text":
        (path / "text.nii.gz").write_bytes(gzip.compress(b"words " * 99))
        return path / "text.nii.gz"
    if kind == "png":
        (path / "a.png").write_bytes(b"")
        return path / "a.png"
    return path / kind


@pytest.mark.parametrize("kind_of_model", ["image", "volume"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gone.nii", r"gone\.nii: no such file"),
        ("png", r"a\.png: expected a \.nii or \.nii\.gz file, or the folder of a DICOM series"),
        ("text", r"text\.nii\.gz: cannot be read as NIfTI"),
        ("cut", r"cut\.nii\.gz: the volume is truncated or damaged"),
        ("numbers", r"numbers\.nii: 2 of 40,392 voxels are NaN or infinite; replace them"),
        ("time", r"time\.nii: 2 channel\(s\) a voxel, which makes no input of [13] channel\(s\)"),
        ("empty", r"empty\.nii: no voxels \(4x0x3\)"),
        ("", r"no DICOM image in this folder"),
    ],
)
def test_bad_sources_are_one_sentence_and_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, said: str, kind_of_model: str
) -> None:
    volumes = kind_of_model == "volume"
    model = volume_model(monkeypatch) if volumes else segmenter_of(monkeypatch, axial())
    (tmp_path / "in").mkdir()
    source = bad_source(kind, tmp_path / "in")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=said):
        label_volume(model, source, out / "a.nii.gz", probabilities=out / "p.nii")
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"axes": ""}, "axes are one or several of x, y and z, .* found ''"),
        ({"axes": "zz"}, "found 'zz'"),
        ({"axes": "w"}, "found 'w'"),
        ({"window": (5, 5)}, r"low before high, found \(5, 5\)"),
        ({"probabilities": "p.npz"}, r"p\.npz: volumes are written as \.nii"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str
) -> None:
    model = segmenter_of(monkeypatch, axial())
    with pytest.raises(UsageError, match=said):
        label_volume(model, save(tmp_path / "a.nii"), tmp_path / "b.nii", **options)


def test_models_of_volumes_have_no_axes_and_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii")
    for options in ({"axes": "z"}, {"window": WINDOW}):
        with pytest.raises(UsageError, match="are for models of slices"):
            label_volume(volume_model(monkeypatch), source, tmp_path / "b.nii", **options)  # type: ignore[arg-type]


def test_targets_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, source = segmenter_of(monkeypatch, axial()), save(tmp_path / "a.nii")
    with pytest.raises(UsageError, match=r"b\.png: volumes are written as"):
        label_volume(model, source, tmp_path / "b.png")
    before = source.read_bytes()
    with pytest.raises(UsageError, match="would overwrite its source"):
        label_volume(model, source, tmp_path / "x" / ".." / "a.nii")
    with pytest.raises(UsageError, match="would overwrite its source or another result"):
        label_volume(model, source, tmp_path / "b.nii", probabilities=tmp_path / "b.nii")
    assert source.read_bytes() == before and not (tmp_path / "b.nii").exists()


def test_without_a_window_one_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii")
    for reading in (None, {"axis": 2}):
        model = segmenter_of(monkeypatch, reading)
        with pytest.raises(
            UsageError, match=r"a\.nii: voxels of type int16, .* pass a window \(--window LOW:HIGH\), such as"
        ):
            label_volume(model, source, tmp_path / "b.nii")
        assert not (tmp_path / "b.nii").exists()


def test_other_channels_than_the_slices_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = segmenter_of(monkeypatch, axial(neighbours=1), in_channels=5)
    with pytest.raises(DataError, match=r"1 channel\(s\) a voxel, which makes no input of 5 channel"):
        label_volume(model, save(tmp_path / "a.nii"), tmp_path / "b.nii")


def test_an_engine_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graph(pixels: np.ndarray) -> np.ndarray:
        if len(model.engine.sizes) > 40:  # type: ignore[attr-defined]
            raise RuntimeError("out of memory")
        return by_value_and_place(pixels)

    model = segmenter_of(monkeypatch, axial(), graph)
    source, out = save(tmp_path / "a.nii"), tmp_path / "out"
    with pytest.raises(RuntimeError):
        label_volume(model, source, out / "a.nii.gz", axes="xyz", probabilities=out / "p.nii")
    assert list(out.iterdir()) == []


def test_members_that_saw_different_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [segmenter_of(monkeypatch, axial(axis=axis)) for axis in (1, 2)]
    with pytest.raises(UsageError, match="made in different ways"):
        label_volume(Ensemble(members), save(tmp_path / "a.nii"), tmp_path / "b.nii")


# Slices as in training


@pytest.mark.parametrize("canonical", [True, False])
@pytest.mark.parametrize("affine", [LPS, TURNED])
@pytest.mark.parametrize(("axis", "neighbours"), [(2, 0), (2, 1), (1, 2), (0, 1)])
def test_slices_are_those_of_the_training_data(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    axis: int,
    neighbours: int,
    affine: np.ndarray,
    canonical: bool,
) -> None:
    """The very pixels that training saw, and the answers back where they belong."""
    source = save(tmp_path / "data" / "images" / "a.nii", affine=affine)
    save(tmp_path / "data" / "masks" / "a.nii", np.zeros(SHAPE, np.uint8), affine)
    options: dict[str, Any] = {
        "axis": axis,
        "window": WINDOW,
        "neighbours": neighbours,
        "canonical": canonical,
    }
    data = nifti.read(tmp_path / "data", list(NAMES), as_slices=True, **options)
    seen = []

    def graph(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels.copy())
        return by_value_and_place(pixels)

    model = segmenter_of(monkeypatch, data[0].meta["reading"], graph, in_channels=max(3, 2 * neighbours + 1))
    label_volume(model, source, tmp_path / "mask.nii")
    assert len(seen) == len(data)
    result = read_slice(tmp_path / "mask.nii", 7, axis, canonical=canonical)
    for pixels, sample in zip(seen, data, strict=True):
        assert np.array_equal(pixels, sample.image)
    assert np.array_equal(result.T[::-1], model.predict(data[7].image).mask)


def test_the_result_lies_on_the_grid_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = nibabel.Nifti1Image(scan(), None)
    image.header.set_qform(TURNED, 1)
    image.header.set_sform(LPS, 4)
    nibabel.save(image, tmp_path / "a.nii.gz")
    label_volume(segmenter_of(monkeypatch, axial()), tmp_path / "a.nii.gz", tmp_path / "out" / "b.nii.gz")
    before, after = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "out" / "b.nii.gz")
    assert after.shape == SHAPE and after.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "pixdim"):
        assert np.array_equal(before.header[field], after.header[field]), field
    assert label_table(tmp_path / "out" / "b.nii.gz") == dict(enumerate(NAMES))
    assert set(np.unique(labels_in(tmp_path / "out" / "b.nii.gz"))) == {0, 1, 2}
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_window_and_axis_can_be_overridden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, other = save(tmp_path / "a.nii"), (-50.0, 90.0)
    plain = segmenter_of(monkeypatch, axial())
    label_volume(plain, source, tmp_path / "own.nii")
    label_volume(plain, source, tmp_path / "given.nii", axes="y", window=other)
    label_volume(segmenter_of(monkeypatch, axial(axis=1, window=other)), source, tmp_path / "trained.nii")
    assert np.array_equal(labels_in(tmp_path / "given.nii"), labels_in(tmp_path / "trained.nii"))
    assert not np.array_equal(labels_in(tmp_path / "given.nii"), labels_in(tmp_path / "own.nii"))
    # A bundle without a record works as the defaults of reading slices are.
    label_volume(segmenter_of(monkeypatch), source, tmp_path / "told.nii", window=WINDOW)
    assert np.array_equal(labels_in(tmp_path / "told.nii"), labels_in(tmp_path / "own.nii"))


@pytest.mark.parametrize("in_channels", [1, 3])
def test_eight_bits_need_no_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_channels: int) -> None:
    array = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    model = segmenter_of(monkeypatch, in_channels=in_channels)
    label_volume(model, save(tmp_path / "a.nii", array, np.eye(4)), tmp_path / "b.nii")
    picture = np.repeat(array[:, :, 4].T[::-1, :, None], in_channels, axis=2)
    assert np.array_equal(labels_in(tmp_path / "b.nii")[:, :, 4].T[::-1], model.predict(picture).mask)


def test_views_are_averaged_in_every_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = segmenter_of(monkeypatch, axial(), tta="d4")
    source = save(tmp_path / "a.nii", affine=np.eye(4))
    label_volume(model, source, tmp_path / "b.nii")
    assert len(model.engine.sizes) == 8 * SHAPE[2]  # type: ignore[attr-defined]
    picture = ((scan()[:, :, 4].T[::-1, :, None] + 200.0) * (255 / 450)).round().clip(0, 255)
    mask = model.predict(np.repeat(picture.astype(np.uint8), 3, axis=2)).mask
    assert np.array_equal(labels_in(tmp_path / "b.nii")[:, :, 4].T[::-1], mask)


def test_channels_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii.gz", scan(shape=(*SHAPE, 2)), np.eye(4))
    model = segmenter_of(monkeypatch, axial(), in_channels=2)
    label_volume(model, source, tmp_path / "b.nii")
    picture = ((scan(shape=(*SHAPE, 2))[:, :, 9].swapaxes(0, 1)[::-1] + 200.0) * (255 / 450)).round()
    mask = model.predict(picture.clip(0, 255).astype(np.uint8)).mask
    assert np.array_equal(labels_in(tmp_path / "b.nii")[:, :, 9].T[::-1], mask)


# Probabilities and averaging


def directly(array: np.ndarray, axes: str, neighbours: int = 0) -> np.ndarray:
    """Mean probabilities over slices across these axes, written plainly, of a canonical volume."""
    grey = np.rint((array.astype(np.float32) - WINDOW[0]) * (255 / 450)).clip(0, 255).astype(np.uint8)
    total = np.zeros((3, *array.shape))
    for axis in ("xyz".index(letter) for letter in axes):
        count = array.shape[axis]
        for index in range(count):
            near = range(index - neighbours, index + neighbours + 1)
            planes = [grey.take(min(max(other, 0), count - 1), axis).T[::-1] for other in near]
            image = np.dstack(planes if neighbours else planes * 3)
            found = softmax(by_value_and_place(image))[:, ::-1].swapaxes(1, 2)
            where: list[Any] = [slice(None)] * 4
            where[axis + 1] = index
            total[tuple(where)] += found
    return total / len(axes)


@pytest.mark.parametrize(("axes", "neighbours"), [("z", 0), ("xyz", 0), ("zx", 1)])
@pytest.mark.parametrize("chunk", [1, 6 * 36 * 34 * 4 * 3])
def test_averages_are_those_of_a_plain_computation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: str, neighbours: int, chunk: int
) -> None:
    monkeypatch.setattr(runner, "_CHUNK_BYTES", chunk)
    model = segmenter_of(monkeypatch, axial(neighbours=neighbours))
    source = save(tmp_path / "a.nii", affine=LPS)
    label_volume(model, source, tmp_path / "b.nii", axes=axes, probabilities=tmp_path / "p.nii.gz")
    expected = directly(scan()[::-1, ::-1], axes, neighbours)[:, ::-1, ::-1]
    found = probabilities_in(tmp_path / "p.nii.gz")
    assert found.shape == expected.shape
    assert np.array_equal(nibabel.load(tmp_path / "p.nii.gz").affine, nibabel.load(source).affine)
    assert np.abs(found - expected).max() < 1e-3
    ranked = np.sort(expected, axis=0)
    clear = ranked[-1] - ranked[-2] > 2e-3  # sums of half precision may differ where two classes are even
    assert clear.mean() > 0.99
    assert np.array_equal(labels_in(tmp_path / "b.nii")[clear], expected.argmax(axis=0)[clear])


def test_probabilities_change_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii.gz", affine=TURNED)
    for head, names in (("softmax", NAMES), ("binary", ("no", "yes")), ("multilabel", NAMES)):

        def graph(pixels: np.ndarray, head: str = head) -> np.ndarray:
            return by_value_and_place(pixels)[: 1 if head == "binary" else 3] - 2

        model = segmenter_of(monkeypatch, axial(), graph, head=head, names=names)
        label_volume(model, source, tmp_path / "a.nii")
        label_volume(model, source, tmp_path / "b.nii", probabilities=tmp_path / "p.nii.gz")
        mask, chances = labels_in(tmp_path / "a.nii"), probabilities_in(tmp_path / "p.nii.gz")
        assert np.array_equal(mask, labels_in(tmp_path / "b.nii"))
        assert chances.shape == (1 if head == "binary" else 3, *SHAPE)
        if head == "softmax":
            assert (np.sort(chances, axis=0)[-1] == np.take_along_axis(chances, mask[None], 0)).mean() > 0.99
        else:
            planes = mask[None] if head == "binary" else np.moveaxis(mask, -1, 0)
            assert mask.shape == (SHAPE if head == "binary" else (*SHAPE, 3))
            clear = np.abs(chances - 0.5) > 1e-3
            assert clear.mean() > 0.9 and np.array_equal(planes[clear], chances[clear] > 0.5)


def test_an_ensemble_labels_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii")
    model = segmenter_of(monkeypatch, axial())
    label_volume(model, source, tmp_path / "one.nii")
    label_volume(Ensemble([model, model]), source, tmp_path / "two.nii")
    assert np.array_equal(labels_in(tmp_path / "one.nii"), labels_in(tmp_path / "two.nii"))


def test_slices_across_other_axes_get_square_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii", affine=np.diag([0.8, 0.8, 2.0, 1]))
    model = segmenter_of(monkeypatch, axial())
    label_volume(model, source, tmp_path / "b.nii", axes="xz")
    sizes = model.engine.sizes  # type: ignore[attr-defined]
    # Across x: 34 rows of 2 mm by 33 columns of 0.8 mm.
    assert sizes == [(85, 33)] * SHAPE[0] + [(33, 36)] * SHAPE[2]
    label_volume(model, source, tmp_path / "c.nii", axes="x")
    assert labels_in(tmp_path / "c.nii").shape == SHAPE
    trained = segmenter_of(monkeypatch, axial(axis=0))
    label_volume(trained, source, tmp_path / "d.nii")
    assert set(trained.engine.sizes) == {(34, 33)}  # type: ignore[attr-defined]
    same = labels_in(tmp_path / "c.nii") == labels_in(tmp_path / "d.nii")
    assert 0.6 < same.mean() < 1


def test_averaging_needs_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_CHUNK_BYTES", 1 << 18)
    shape, classes = (48, 48, 48), 24

    def graph(pixels: np.ndarray) -> np.ndarray:
        return np.stack([pixels[..., 0] / 100 - k for k in range(classes)]).astype(np.float32)

    names = tuple(f"class {k}" for k in range(classes))
    model = segmenter_of(monkeypatch, axial(), graph, names=names)
    source = save(tmp_path / "a.nii", scan(shape=shape))
    label_volume(model, source, tmp_path / "b.nii", axes="xyz")  # imports what it needs
    tracemalloc.start()
    label_volume(model, source, tmp_path / "b.nii", axes="xyz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48**3 * classes * 2 / 2  # half of what all probabilities take in half precision


# Models of volumes


def test_models_of_volumes_go_from_file_to_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii", affine=TURNED)
    calls = []
    model = volume_model(monkeypatch)
    label_volume(
        model,
        source,
        tmp_path / "b.nii.gz",
        probabilities=tmp_path / "p.nii.gz",
        progress=lambda done, total: calls.append((done, total)),
    )
    expected = model.predict_volume(read_volume(source)).mask
    assert np.array_equal(labels_in(tmp_path / "b.nii.gz"), expected)
    chances = probabilities_in(tmp_path / "p.nii.gz")
    assert np.allclose(chances.sum(axis=0), 1, atol=2e-3)
    assert (np.sort(chances, axis=0)[-1] == np.take_along_axis(chances, expected[None], 0)).mean() > 0.99
    assert calls[-1] == (SHAPE[0], SHAPE[0]) and len(calls) > 1


def test_models_of_volumes_see_axes_as_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii", affine=TURNED)
    model = volume_model(monkeypatch, reading={"canonical": True})
    label_volume(model, source, tmp_path / "b.nii")
    expected = model.predict_volume(read_volume(source, canonical=True)).mask
    assert np.array_equal(read_volume(tmp_path / "b.nii", canonical=True).array, expected)


# Series and reports


def test_a_series_becomes_a_nifti_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom")
    save_series(tmp_path / "ct")
    calls: list[tuple[int, int]] = []
    report = label_volume(
        segmenter_of(monkeypatch, axial()),
        tmp_path / "ct",
        tmp_path / "out" / "ct.nii.gz",
        progress=lambda *state: calls.append(state),
    )
    written = nibabel.load(tmp_path / "out" / "ct.nii.gz")
    assert written.shape == report.shape == (7, 5, 4)
    assert np.allclose(written.affine @ (0, 0, 0, 1), (10, -20, 30, 1))
    assert int(written.header["sform_code"]) == 1
    assert calls == [(number, 4) for number in (1, 2, 3, 4)]


def test_the_report_counts_voxels_and_millilitres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.nii", affine=np.diag([0.5, 0.5, 4, 1]))
    report = label_volume(segmenter_of(monkeypatch, axial()), source, tmp_path / "b.nii")
    counts = np.bincount(labels_in(tmp_path / "b.nii").ravel(), minlength=3)
    assert report.voxels == dict(zip(NAMES, counts.tolist(), strict=True))
    assert report.millilitres["bone"] == pytest.approx(counts[2] / 1000)  # 0.5 x 0.5 x 4 is 1 cubic mm
    assert report.shape == SHAPE and report.spacing == pytest.approx((0.5, 0.5, 4))
    assert report.text().splitlines()[0] == "36x33x34 voxels of 0.5x0.5x4 mm"
    assert f"  bone: {counts[2] / 1000:,.1f} ml ({counts[2]:,} voxels)" in report.text()
    assert report.to_dict()["shape"] == list(SHAPE)


def test_units_of_the_header_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = nibabel.Nifti1Image(scan(), np.diag([500, 500, 4000, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    report = label_volume(segmenter_of(monkeypatch, axial()), tmp_path / "a.nii", tmp_path / "b.nii")
    assert report.spacing == pytest.approx((0.5, 0.5, 4))
    assert report.millilitres["bone"] == pytest.approx(report.voxels["bone"] / 1000)


# From training to file


def test_a_model_trained_on_slices_and_their_neighbours_labels_volumes_alike(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for number, volume in enumerate(volume_dataset(2, size=(24, 20, 16), splits={"train": 1, "val": 1})):
        folder = tmp_path / "data" / ("train", "val")[number]
        save(folder / "images" / "ct.nii.gz", volume.array, LPS)
        save(folder / "masks" / "ct.nii.gz", volume.mask, LPS)
    options: dict[str, Any] = {"as_slices": True, "window": (-150, 240), "neighbours": 2, "axis": 1}
    data = pw.read(tmp_path / "data", "nifti", labels=["background", "liver", "tumour"], **options)
    tiny: dict[str, Any] = {"arch": "unet", "variant": "paper", "options": {"width": 0.0625}}
    settings = {"size": "32x32", "batch": 2, "max_steps": 2, "precision": "fp32", "workers": 1}
    run = pw.train(data, out=tmp_path / "run", **tiny, **settings)
    segmenter = pw.load(run.path)
    assert segmenter.bundle.manifest.volumes == VolumeReading(axis=1, window=(-150, 240), neighbours=2)
    label_volume(segmenter, tmp_path / "data" / "val" / "images" / "ct.nii.gz", tmp_path / "mask.nii.gz")
    for number, sample in enumerate(data.select("val")):
        plane = read_slice(tmp_path / "mask.nii.gz", number, axis=1, canonical=True)
        assert np.array_equal(plane.T[::-1], segmenter.predict(sample.image).mask)
