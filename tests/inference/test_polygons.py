"""Predictions as polygons, and as COCO's JSON: nothing is lost, nothing is invented."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import pixelwise as pw
from pixelwise.data.raster import paint, rasterise
from pixelwise.inference import Segmentation
from pixelwise.inference.polygons import find_regions, write_coco_predictions
from pixelwise.io import write_mask
from pixelwise.labels import LabelMap
from pixelwise.shapes import Shape
from tests.inference.fakes import fake_segmenter

LABELS = LabelMap(("background", "square", "disc"))
STREET = LabelMap(("sky", "road", "car"))
BRIEF = settings(deadline=None, max_examples=150)  # the first call compiles
SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def segmentation(mask, labels=LABELS, probabilities=None):
    return Segmentation(mask, labels, np.zeros((*mask.shape[-2:], 3), np.uint8), probabilities)


def repaint(regions, size, empty):
    canvas = np.full(size, empty, np.uint8)
    paint(canvas, [Shape(r.name, r.polygon) for r in regions], [r.class_id for r in regions])
    return canvas


def smooth(seed, size=(360, 480), sigma=30):
    """Three classes with smooth borders, none of them small."""
    noise = np.random.default_rng(seed).normal(size=(3, *size)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in noise]).argmax(0).astype(np.uint8)


def ringed(size=(40, 50)):
    """A square with a hole, in which a disc lies; a second square; one ignored corner."""
    mask = np.zeros(size, np.uint8)
    mask[5:30, 4:34] = 1
    mask[10:25, 10:30] = 0
    mask[14:20, 15:25] = 2
    mask[35:38, 40:44] = 1
    mask[:3, -3:] = 255
    return mask


# --- bad input


@pytest.mark.parametrize("tolerance", [-0.5, float("nan")])
def test_a_tolerance_that_is_none_is_one_sentence(tolerance):
    with pytest.raises(pw.UsageError, match="tolerance of outlines must be at least 0 pixels"):
        segmentation(ringed()).polygons(tolerance=tolerance)


def test_an_id_that_is_no_class_is_one_sentence():
    with pytest.raises(pw.DataError, match=r"holds the value 7, which is no class of the model \(0 to 2\)"):
        find_regions(np.full((3, 4), 7, np.uint8), LABELS)


def save(folder, masks, labels=LABELS):
    """Masks on disk, below folders as ``predict`` writes them, with the images' paths."""
    images = {}
    for number, mask in enumerate(masks):
        path = folder / "out" / f"f{number % 2}" / f"{number}.png"
        write_mask(path, mask, labels)
        images[folder / "photos" / f"f{number % 2}" / f"{number}.jpg"] = path
    return images


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "damaged"),
        (lambda path: write_mask(path, np.full((9, 9), 9, np.uint8), LABELS), "holds the value 9"),
    ],
)
def test_a_bad_mask_is_named_and_nothing_is_written(tmp_path, damage, message):
    images = save(tmp_path, [ringed(), smooth(0), ringed()])
    second = list(images.values())[1]
    damage(second)
    with pytest.raises(pw.DataError, match=f"{second}.*{message}"):
        write_coco_predictions(images, LABELS, tmp_path / "out" / "predictions.coco.json", 1.0)
    assert not list((tmp_path / "out").glob("*.json")) and not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"PK nonsense"), "damaged"),
        (lambda path: np.savez(path, other=np.zeros(3)), "damaged"),
        (
            lambda path: np.savez(path, probabilities=np.zeros((3, 4, 5))),
            r"of 50x40 pixels, found .*\(3, 4, 5\)",
        ),
    ],
)
def test_bad_probabilities_are_named(tmp_path, write, message):
    images = save(tmp_path, [ringed()])
    path = next(iter(images.values())).with_suffix(".npz")
    write(path)
    with pytest.raises(pw.DataError, match=f"{path}.*{message}"):
        write_coco_predictions(images, LABELS, tmp_path / "p.json", probabilities=True)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(pw.PixelwiseError, match=r"cannot write .*file/p\.json"):
        write_coco_predictions(save(tmp_path, [ringed()]), LABELS, tmp_path / "file" / "p.json")


# --- regions


@BRIEF
@given(arrays(np.uint8, SIDES, elements=st.sampled_from([0, 1, 2, 255])))
def test_repainting_exact_outlines_gives_the_mask_back(mask):
    regions = find_regions(mask, STREET, tolerance=0)
    np.testing.assert_array_equal(repaint(regions, mask.shape, STREET.ignore), mask)
    assert sum(region.area for region in regions) == np.count_nonzero(mask != 255)
    for region in regions:
        pixels = rasterise(region.polygon, *mask.shape)
        assert len(region.polygon.rings) == 1
        assert region.area == pixels.sum()
        assert region.box == cv2.boundingRect(pixels.astype(np.uint8))
        assert cv2.connectedComponents(pixels.astype(np.uint8), connectivity=4)[0] == 2


@BRIEF
@given(arrays(np.uint8, st.tuples(st.just(3), *[st.integers(1, 9)] * 2), elements=st.integers(0, 1)))
def test_classes_of_a_multilabel_model_overlap(mask):
    regions = find_regions(mask, STREET, tolerance=0)
    for class_id, plane in enumerate(mask):
        found = repaint([r for r in regions if r.class_id == class_id], plane.shape, 9) == class_id
        np.testing.assert_array_equal(found, plane == 1)


@pytest.mark.parametrize("seed", range(3))
def test_a_pixel_of_tolerance_keeps_smooth_shapes(seed):
    mask = smooth(seed)
    exact, loose = find_regions(mask, STREET, tolerance=0), find_regions(mask, STREET)
    corners = [sum(len(r.polygon.rings[0].exterior) for r in regions) for regions in (exact, loose)]
    assert corners[1] < corners[0] / 4
    for before, after in zip(exact, loose, strict=True):
        assert (before.area, before.box, before.class_id) == (after.area, after.box, after.class_id)
        if before.area > 5000:  # a third of a pixel all around is more of a smaller one
            a, b = rasterise(before.polygon, *mask.shape), rasterise(after.polygon, *mask.shape)
            assert (a & b).sum() / (a | b).sum() > 0.98


def test_what_a_region_knows():
    square, second, disc = segmentation(ringed()).polygons(tolerance=0)
    assert [square.name, second.name, disc.name] == ["square", "square", "disc"]
    assert square.area == 25 * 30 - 15 * 20 and square.box == (4, 5, 30, 25)
    assert second.box == (40, 35, 4, 3) and second.area == 12
    assert disc.class_id == 2 and disc.box == (15, 14, 10, 6)
    (ring,) = square.polygon.rings
    assert {tuple(corner) for corner in ring.exterior} == {(4, 5), (34, 5), (34, 30), (4, 30)}
    assert {tuple(corner) for corner in ring.holes[0]} == {(10, 10), (30, 10), (30, 25), (10, 25)}
    assert square.score is None


def test_background_is_left_out_unless_asked_for_and_ignored_pixels_always():
    regions = segmentation(ringed()).polygons(background=True)
    assert sorted({region.name for region in regions}) == ["background", "disc", "square"]
    assert sum(region.area for region in regions) == ringed().size - 9
    last = LabelMap(("square", "disc", "Background"))
    assert {region.name for region in find_regions(ringed(), last)} == {"square", "disc"}


def test_small_regions_are_left_out():
    assert [r.area for r in segmentation(ringed()).polygons(min_area=12)] == [450, 12, 60]
    assert [r.area for r in segmentation(ringed()).polygons(min_area=13)] == [450, 60]


def test_nothing_there_gives_nothing():
    assert segmentation(np.zeros((4, 5), np.uint8)).polygons() == []
    assert segmentation(np.full((4, 5), 255, np.uint8)).polygons(background=True) == []


def test_ids_beyond_a_byte():
    many = LabelMap(tuple(f"c{number}" for number in range(400)))
    mask = np.full((4, 5), 65535, np.uint16)
    mask[1:3, 2:4] = 399
    assert [(r.name, r.area) for r in find_regions(mask, many)] == [("c399", 4)]


def test_scores_are_mean_probabilities_of_the_regions_own_pixels():
    mask = ringed()
    planes = np.random.default_rng(0).random((3, *mask.shape)).astype(np.float32)
    for region in segmentation(mask, probabilities=planes).polygons(tolerance=0, background=True):
        pixels = rasterise(region.polygon, *mask.shape)
        assert region.score == pytest.approx(planes[region.class_id][pixels].mean())


def test_scores_of_a_binary_model():
    mask = np.array([[0, 1, 1]], np.uint8)
    chances = np.array([[[0.1, 0.7, 0.9]]], np.float32)
    regions = find_regions(mask, LabelMap(("background", "road")), chances, background=True)
    assert [region.score for region in regions] == pytest.approx([0.9, 0.8])


def test_a_segmenter_gives_polygons(monkeypatch):
    image = np.full((64, 96, 3), (0, 0, 200), np.uint8)
    image[10:40, 20:60] = (200, 0, 0)
    found = fake_segmenter(monkeypatch).predict(image, probabilities=True).polygons()
    assert [(region.name, region.box) for region in found] == [
        ("sky", (20, 10, 40, 30)),
        ("car", (0, 0, 96, 64)),
    ]
    assert all(region.score > 0.9 for region in found)
    assert len(found[1].polygon.rings[0].holes) == 1


# --- COCO


def load(path):
    coco = pytest.importorskip("pycocotools.coco")
    return coco.COCO(path)


@pytest.mark.parametrize("labels", [LABELS, STREET])
def test_pycocotools_reads_the_very_masks(tmp_path, labels):
    rng = np.random.default_rng(0)
    masks = [
        ringed(),
        smooth(1),
        rng.choice([0, 1, 2, 255], (30, 41)).astype(np.uint8),
        np.zeros((7, 9), np.uint8),
    ]
    images = save(tmp_path, masks, labels)
    target = tmp_path / "out" / "predictions.coco.json"
    count = write_coco_predictions(images, labels, target, 0.0)
    coco = load(target)
    assert count == len(coco.anns) > 100
    assert [coco.imgs[n]["file_name"] for n in (1, 2, 3, 4)] == [
        "f0/0.jpg",
        "f1/1.jpg",
        "f0/2.jpg",
        "f1/3.jpg",
    ]
    for number, mask in enumerate(masks, 1):
        assert (coco.imgs[number]["height"], coco.imgs[number]["width"]) == mask.shape
        for category in coco.cats.values():
            class_id = labels.index(category["name"])
            found = np.zeros(mask.shape, int)
            for annotation in coco.imgToAnns[number]:
                if annotation["category_id"] == category["id"]:
                    pixels = coco.annToMask(annotation)
                    assert annotation["area"] == pixels.sum() and annotation["iscrowd"] == 0
                    assert tuple(annotation["bbox"]) == cv2.boundingRect(pixels)
                    found += pixels
            np.testing.assert_array_equal(found, mask == class_id)
    assert [c["name"] for c in coco.cats.values()] == [n for n in labels.names if n != "background"]
    assert list(coco.cats) == list(range(1, len(coco.cats) + 1))


def test_only_regions_with_holes_are_run_lengths(tmp_path):
    write_coco_predictions(save(tmp_path, [ringed()]), LABELS, tmp_path / "p.json")
    kinds = [type(a["segmentation"]) for a in json.loads((tmp_path / "p.json").read_text())["annotations"]]
    assert kinds == [dict, list, list]


def test_the_projects_own_reader_reads_it(tmp_path):
    images = save(tmp_path, [ringed(), smooth(2)])
    for path, mask in images.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((*cv2.imread(str(mask)).shape[:2], 3), np.uint8))
    write_coco_predictions(images, LABELS, tmp_path / "out" / "predictions.coco.json", 0.0)
    data = pw.read(tmp_path / "out" / "predictions.coco.json", image_dir=tmp_path / "photos")
    assert data.labels.names == LABELS.names and not data.problems
    for sample, mask in zip(data, [ringed(), smooth(2)], strict=True):
        np.testing.assert_array_equal(sample.mask, np.where(mask == 255, 0, mask))


def test_scores_come_from_the_probabilities_beside_the_masks(tmp_path):
    images = save(tmp_path, [ringed()])
    planes = np.random.default_rng(0).random((3, 40, 50)).astype(np.float16)
    np.savez_compressed(next(iter(images.values())).with_suffix(".npz"), probabilities=planes)
    assert write_coco_predictions(images, LABELS, tmp_path / "p.json", probabilities=True) == 3
    scores = [a["score"] for a in json.loads((tmp_path / "p.json").read_text())["annotations"]]
    expected = [region.score for region in find_regions(ringed(), LABELS, planes)]
    assert scores == pytest.approx(expected, abs=1e-4)


def test_small_regions_stay_out_of_the_file_and_progress_is_told(tmp_path):
    told = []
    count = write_coco_predictions(
        save(tmp_path, [ringed(), ringed()]),
        LABELS,
        tmp_path / "p.json",
        min_area=13,
        progress=lambda done, total: told.append((done, total)),
    )
    assert count == 4 and told == [(1, 2), (2, 2)]


def test_no_images_make_a_file_that_loads(tmp_path):
    assert write_coco_predictions({}, LABELS, tmp_path / "p.json") == 0
    assert load(tmp_path / "p.json").imgs == {}


def test_masks_do_not_pile_up(tmp_path, monkeypatch):
    """However many images there are, only a few are ahead of what is written."""
    images = save(tmp_path, [ringed()] * 30)
    read, written = [], []
    from pixelwise.inference import polygons

    def counted(path, labels):
        read.append(path)
        assert len(read) - len(written) <= 6
        return ringed()

    monkeypatch.setattr(polygons, "read_mask", counted)
    write_coco_predictions(images, LABELS, tmp_path / "p.json", progress=lambda *done: written.append(done))
    assert len(read) == len(written) == 30
