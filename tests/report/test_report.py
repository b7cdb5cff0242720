import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pixelwise.data import check
from pixelwise.errors import DataError, Problem, UsageError
from pixelwise.evaluation import Evaluation, ImageScore
from pixelwise.labels import LabelMap
from pixelwise.metrics import ConfusionMatrix
from pixelwise.report import write_check_report, write_evaluation_report, write_run_report
from pixelwise.sample import Dataset, Sample

LABELS = LabelMap(("road & <kerb>", "car", "sky"))
COUNTS = np.array([[60, 15, 0], [5, 20, 0], [0, 0, 0]])


class Page(HTMLParser):
    """The page's text, the addresses it refers to, and the tags that were not closed."""

    VOID = {"meta", "img", "br"}

    def __init__(self, path):
        super().__init__()
        self.addresses, self.scripts, self.open, self.images = [], [], [], 0
        self.source = path.read_text(encoding="utf-8")
        self.words = []
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        self.images += tag == "img"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.words.append(data)


def evaluation(labels=LABELS, counts=COUNTS):
    return Evaluation(
        labels,
        ConfusionMatrix.from_counts(counts),
        images=[ImageScore.from_counts(0, "first", "", counts)],
        name="streets",
        split="val",
        skipped=("no mask",),
        seconds=2.0,
    )


def example(group, title="picture <1>"):
    rng = np.random.default_rng(0)
    prediction, target = rng.integers(0, 3, (2, 30, 40), dtype=np.uint8)
    target[:5] = LABELS.ignore
    image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return {"title": title, "group": group, "image": image, "target": target, "prediction": prediction}


def write_history(path, cut_off=False):
    lines = []
    for step in range(10, 310, 10):
        values = {"loss": 1 / step, "lr": 1e-3, "images_per_second": 12.5}
        lines.append({"kind": "train", "step": step, "epoch": step // 100, "seconds": step * 25.0} | values)
        if step % 100 == 0:
            scores = {
                "mean_iou": step / 500,
                "pixel_accuracy": 0.9,
                "per_class_iou": dict.fromkeys(LABELS.names),
            }
            lines.append({"kind": "val", "step": step, "epoch": step // 100, "seconds": step * 25.0} | scores)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text + ('{"kind": "tra' if cut_off else ""))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run <7>"
    folder.mkdir()
    (folder / "config.yaml").write_text("arch: unet\nencoder: resnet18\nsize: [480, 360]\nlr: 0.001\n")
    return folder


def check_report():
    masks = np.zeros((3, 60, 80), np.uint8)
    masks[:, :15] = 1
    splits = ["train", "train", "val"]
    data = Dataset(masks, lambda mask: Sample(np.zeros((60, 80, 3), np.uint8), mask), LABELS, splits=splits)
    problem = Problem("warning", "x", "a <b> problem", "mend it", ("a&b.png",) * 7)
    report = check(data)
    return dataclasses.replace(report, problems=(*report.problems, problem)).to_dict()


def assert_self_contained(page):
    assert page.open == []
    assert all(address.startswith(("data:", "#")) for address in page.addresses), page.addresses
    assert not re.search(r"@import|url\((?!#)", page.source)


def test_evaluation_page(tmp_path):
    path = write_evaluation_report(
        evaluation(), tmp_path / "out" / "page.html", [example("worst"), example("best")]
    )
    page = Page(path)
    assert_self_contained(page)
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]
    assert "road &amp; &lt;kerb&gt;" in page.source and "<kerb>" not in page.source
    assert "road & <kerb>" in page.text and "picture <1>" in page.text
    mean_iou = (60 / 80 + 20 / 40) / 2
    assert f"{100 * mean_iou:.1f} %" in page.text and "80.0 %" in page.text
    assert "skipped, because they have no mask: 1 images (no mask)" in page.text
    assert page.images == 8 and page.text.index("Where it fails most") < page.text.index("Where it does best")
    row = re.search(r"sky - - - - 0\.0 %", page.text)
    assert row, "an absent class shows dashes"


def test_numbers_for_programs_are_json_without_nan(tmp_path):
    page = Page(write_evaluation_report(evaluation(), tmp_path / "page.html"))

    def refuse(constant):
        raise AssertionError(constant)

    numbers = json.loads(page.scripts[0], parse_constant=refuse)
    assert numbers["confusion"] == COUNTS.tolist() and numbers["per_class"]["sky"]["iou"] is None
    assert numbers["class_names"] == list(LABELS.names)


def test_largest_confusions_come_first(tmp_path):
    page = Page(write_evaluation_report(evaluation(), tmp_path / "page.html"))
    assert "Of all road & <kerb> car 20.0 % 15.00 % car road & <kerb> 20.0 % 5.00 %" in page.text


def test_many_classes_leave_the_matrix_out_but_keep_the_table(tmp_path):
    labels = LabelMap(tuple(f"class {i}" for i in range(60)))
    counts = np.eye(60, dtype=np.int64)
    counts[3, 9] = 4
    page = Page(write_evaluation_report(evaluation(labels, counts), tmp_path / "page.html"))
    assert 'class="matrix"' not in page.source
    assert "class 3 class 9 80.0 %" in page.text


def test_an_evaluation_without_a_valid_pixel(tmp_path):
    page = Page(
        write_evaluation_report(evaluation(counts=np.zeros((3, 3), np.int64)), tmp_path / "page.html")
    )
    assert "Mean IoU -" in page.text and "nan" not in page.text


def test_run_page_with_everything(run):
    write_history(run / "metrics.jsonl", cut_off=True)
    evaluation().save(run / "evaluation.json")
    (run / "plan.json").write_text(json.dumps({"class_weights": "none (because & so)"}))
    (run / "check.json").write_text(json.dumps(check_report()))
    (run / "bundle").mkdir()
    (run / "bundle" / "bundle.json").write_text(json.dumps({"parameters": 4_812_345, "architecture": "unet"}))
    path = write_run_report(run, [example("worst")])
    assert path == run / "report.html"
    page = Page(path)
    assert_self_contained(page)
    for words in (
        "run <7>",
        "unet + resnet18 · streets (val)",
        "4.81 M",
        "2 h 05 min",
        "12.5 images a second",
        "none (because & so)",
        "learning rate",
        "images 2 1",
        "median size 80x60 80x60",
        "car 25.00 % 25.00 %",
        "a <b> problem",
        "mend it",
        "and 2 more",
    ):
        assert words.casefold() in page.text.casefold(), words
    assert page.source.count("<svg") == 3


def test_run_page_from_settings_alone(run):
    page = Page(write_run_report(run))
    assert_self_contained(page)
    assert "resnet18" in page.text and "480, 360" in page.text and "<svg" not in page.source


def test_run_page_before_the_evaluation_takes_the_best_validation(run):
    write_history(run / "metrics.jsonl")
    page = Page(write_run_report(run, [example("")]))
    assert "60.0 % best validation" in page.text and page.images == 4
    assert "road & <kerb>" in page.text


def test_run_page_survives_nan_in_the_history(run):
    (run / "metrics.jsonl").write_text(
        "".join(
            json.dumps({"kind": "val", "step": i, "seconds": 1, "mean_iou": v, "pixel_accuracy": None}) + "\n"
            for i, v in enumerate((float("nan"), 0.25, None))
        )
    )
    assert "25.0 % best validation" in Page(write_run_report(run)).text


def test_mistakes_take_one_sentence(run, tmp_path):
    with pytest.raises(UsageError, match=r"not a run folder \(no config.yaml\)"):
        write_run_report(tmp_path)
    (run / "metrics.jsonl").write_text('{"broken\n{"kind": "train"}\n')
    with pytest.raises(DataError, match=r"metrics.jsonl: line 1 is not valid JSON"):
        write_run_report(run)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="examples need class names"):
        write_run_report(run, [example("best")])
    (run / "plan.json").write_text("[1]")
    with pytest.raises(DataError, match=r"plan.json: expected a JSON object, found list"):
        write_run_report(run)
    assert not (run / "report.html").exists()


class TestCheckPage:
    def dataset(self, root):
        from pixelwise.data.annotations import AnnotatedImage, Document, to_dataset
        from pixelwise.io import write_image
        from pixelwise.shapes import Box, Polygon, Shape

        crossing = Polygon.of([(2, 2), (20, 20), (20, 2), (2, 20)])
        images = []
        for number in range(6):
            path = root / f"{number}.png"
            write_image(path, np.full((24, 32, 3), 40 * number, np.uint8))
            geometry = crossing if number == 4 else Box(2, 2, 20, 20)
            images.append(
                AnnotatedImage(path.name, root / "all.json", 24, 32, [Shape("car & <van>", geometry)])
            )
            images[-1].path = path
        return to_dataset(Document(images), root)

    def test_suspicious_shapes_come_first(self, tmp_path):
        data = self.dataset(tmp_path)
        found = check(data)
        page = Page(write_check_report(found, data, tmp_path / "page.html", samples=3))
        assert page.images == 6 and not page.open and not page.scripts
        assert page.text.index("Suspicious shapes 4.png") < page.text.index("Samples")
        assert "shapes whose outline crosses itself: 1" in page.text
        assert "car & <van>" in page.text
        assert all(address.startswith("data:image/") for address in page.addresses)

    def test_images_that_cannot_be_read_are_left_out(self, tmp_path):
        data = self.dataset(tmp_path)
        (tmp_path / "0.png").write_bytes(b"no image")
        page = Page(write_check_report(check(data), data, tmp_path / "page.html"))
        assert page.images == 2 * 5
        assert "cannot be read" in page.text
