"""The command line as a user types it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pixelwise.cli.main import VERBS
from tests.conftest import draw_shapes


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(pixelwise, verb):
    code, out, _ = pixelwise(verb, "--help")
    assert code == 0
    assert f"Example: pixelwise {verb}" in out
    assert "--json" in out


def test_help_and_models_load_nothing_heavy():
    code = (
        "import sys\n"
        "sys.argv = ['pixelwise', 'models', '--json']\n"
        "from pixelwise.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'timm', 'cv2', 'openvino', 'numba', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_models_is_one_json_list(pixelwise):
    code, out, _ = pixelwise("models", "--json")
    rows = json.loads(out)
    assert code == 0
    assert {"name", "task", "paper", "year", "variants", "parameters", "gflops"} <= set(rows[0])
    assert {"fcn32s", "fcn16s", "fcn8s", "unet", "deeplabv3plus"} <= {row["name"] for row in rows}


def test_check_good_data(pixelwise, shapes):
    code, out, _ = pixelwise("check", shapes)
    assert code == 0
    assert "square" in out
    document = json.loads(pixelwise("check", shapes, "--json")[1])
    assert document["problems"] == []


def test_check_bad_data_exits_with_three(pixelwise, shapes, tmp_path):
    broken = shutil.copytree(shapes, tmp_path / "data")
    Image.fromarray(np.full((64, 80), 77, np.uint8)).save(next((broken / "masks" / "train").iterdir()))
    code, out, _ = pixelwise("check", broken)
    assert code == 3
    assert "77" in out


def test_check_writes_a_page(pixelwise, shapes, tmp_path):
    page = tmp_path / "page.html"
    assert pixelwise("check", shapes, "--report", page, "--samples", 3)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert text.count('<img src="data:image/') == 6  # three samples, each as it is and with its labels
    assert "square" in text and "<script" not in text


def test_convert_there_and_back(pixelwise, shapes, tmp_path):
    arguments = ("--split", 0.5, "--map", "square=shape", "--map", "disc=shape")
    code, text, _ = pixelwise("convert", shapes, tmp_path / "coco", "--to", "coco", *arguments, "--json")
    document = json.loads(text)
    assert code == 0
    assert document["losses"] == {} and document["images"] > 1
    code, text, _ = pixelwise("check", tmp_path / "coco", "--json")
    found = json.loads(text)
    assert found["labels"]["names"] == ["background", "shape"]
    assert abs(found["splits"]["train"]["images"] - found["splits"]["val"]["images"]) <= 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--to", "cocoo"), 2, "unknown format 'cocoo': did you mean 'coco'?"),
        (("--to", "coco", "--map", "square"), 2, "--map square: expected OLD=NEW"),
        (("--to", "coco", "--map", "sqare=x"), 2, "unknown class 'sqare': did you mean 'square'?"),
        (("--to", "coco", "--split", "80"), 2, "expected the share of images to train on"),
        (("--to", "coco", "--images", "move"), 2, "unknown way with images 'move'"),
        (("--to", "coco", "--read", "colour=1"), 2, "unknown option of the format masks 'colour'"),
        (("--to", "coco", "--format", "via"), 3, "holds no file of VIA"),
    ],
)
def test_convert_explains_what_is_wrong(pixelwise, shapes, tmp_path, arguments, code, message):
    found, _, err = pixelwise("convert", shapes, tmp_path / "out", *arguments)
    assert found == code
    assert message in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["labelme", "cvat", "coco"])
def test_predictions_to_correct(pixelwise, photos, run, tmp_path, format):
    """What the model says, as shapes: read again they give nearly the same pixels."""
    from pixelwise.data import read
    from pixelwise.io import read_mask

    out = tmp_path / "out"
    options = ("--annotations", format, "--tolerance", 0)
    code, text, _ = pixelwise("predict", photos, "--model", run, "--out", out, *options, "--json")
    assert code == 0 and json.loads(text)["annotations"]["images"] == 5
    data = read(out / format)
    masks = {p.stem: read_mask(p) for p in out.rglob("*.png") if format not in p.parts}
    names = ("background", "square", "disc")
    for sample in data:
        found = np.array([names.index(name) if name in names else 0 for name in data.labels.names])
        np.testing.assert_array_equal(found[sample.mask], masks[sample.name])


def test_an_annotation_format_that_is_none(pixelwise, photos, run, tmp_path):
    options = ("--out", tmp_path / "out", "--annotations", "cvta")
    code, _, err = pixelwise("predict", photos, "--model", run, *options)
    assert code == 2 and "unknown format 'cvta': did you mean 'cvat'?" in err
    assert not (tmp_path / "out").exists()


def test_predict_a_folder(pixelwise, photos, run, tmp_path):
    out = tmp_path / "out"
    code, text, _ = pixelwise(
        "predict", photos, "--model", run, "--out", out, "--overlay", "--probabilities", "--json"
    )
    assert code == 0
    assert json.loads(text)["images"] == 5
    for photo in photos.rglob("*.png"):
        target = (out / photo.relative_to(photos)).with_suffix(".png")
        width, height = Image.open(photo).size
        mask = Image.open(target)
        assert mask.mode == "P"
        assert mask.size == (width, height)
        assert Image.open(out / "overlay" / target.relative_to(out)).size == (width, height)
        assert np.load(target.with_suffix(".npz"))["probabilities"].shape == (3, height, width)
    assert not list(out.rglob(".*"))


def test_one_bad_file_stops_nothing_and_is_listed(pixelwise, photos, run, tmp_path):
    (photos / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 truncated")
    (photos / "a" / "text.png").write_text("not an image")
    code, text, _ = pixelwise("predict", photos, "--model", run, "--out", tmp_path / "out", "--json")
    assert code == 3
    document = json.loads(text)
    assert document["images"] == 5
    assert {name.rsplit("/", 1)[-1] for name in document["failed"]} == {"broken.jpg", "text.png"}


def test_predict_files_globs_and_a_video(pixelwise, photos, run, tmp_path):
    from pixelwise.io.video import write_video

    write_video(tmp_path / "clip.avi", (draw_shapes(n)[0] for n in range(5)), rate=10)
    out = tmp_path / "out"
    code, text, _ = pixelwise(
        "predict", photos / "a" / "*.png", tmp_path / "clip.avi", "--model", run, "--out", out, "--overlay"
    )
    assert code == 0
    assert "3 images and 5 video frames" in text
    assert len(list((out / "clip").glob("*.png"))) == 5
    assert (out / "overlay" / "clip.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.jpg"], 3, "no such file or folder"),
        (["{photos}", "--engine", "tensorrt"], 2, "unknown engine 'tensorrt'"),
        (["{photos}", "--tile", "big"], 2, "expected WIDTHxHEIGHT"),
        (["{empty}"], 3, "nothing to label in this folder"),
        (["{photos}", "--scale", "huge"], 2, "unknown scale 'huge'"),
    ],
)
def test_predict_explains_what_is_wrong(pixelwise, photos, run, tmp_path, arguments, code, message):
    (tmp_path / "empty").mkdir()
    arguments = [a.format(photos=photos, empty=tmp_path / "empty") for a in arguments]
    found, out, err = pixelwise("predict", *arguments, "--model", run, "--out", tmp_path / "out")
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_predict_refuses_to_write_into_its_input(pixelwise, photos, run):
    code, _, err = pixelwise("predict", photos, "--model", run, "--out", photos / "masks")
    assert code == 2
    assert "lies inside the input folder" in err


def test_predict_never_overwrites_its_input(pixelwise, photos, run):
    before = (photos / "a" / "0.png").read_bytes()
    for source in (photos / "a" / "0.png", photos / "a" / "*.png"):
        code, _, err = pixelwise("predict", source, "--model", run, "--out", photos / "a")
        assert code == 2
        assert "would overwrite an input" in err
    assert (photos / "a" / "0.png").read_bytes() == before


def test_every_setting_is_a_flag_that_works(pixelwise, shapes, tmp_path):
    flags = {"--scale-range": "0.5,2", "--weights": "none", "--patience": "3", "--layer-decay": "0.9"}
    flags |= {"--size": "64x48", "--max-steps": "1", "--batch": "5", "--clip": "0", "--warmup": "0.2"}
    arguments = [part for flag in flags.items() for part in flag]
    code, _, err = pixelwise(
        "train", "--data", shapes, "--out", tmp_path / "run", *arguments, "--freeze-batch-norm"
    )
    assert code == 0, err


def test_settings_files_know_only_settings(pixelwise, shapes, tmp_path):
    (tmp_path / "settings.yaml").write_text("out: here\n")
    code, _, err = pixelwise("train", "--data", shapes, "--config", tmp_path / "settings.yaml")
    assert code == 2
    assert f"{tmp_path / 'settings.yaml'}: unknown setting 'out'" in err


def test_a_run_goes_on_only_with_its_own_data(pixelwise, shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / "data")
    flags = ["--size", "64x48", "--batch", "4", "--max-steps", "1"]
    assert pixelwise("train", "--data", data, "--out", tmp_path / "run", *flags)[0] == 0
    assert pixelwise("train", "--resume", tmp_path / "run")[0] == 0
    (data / "classes.txt").write_text("background\ndisc\nsquare\n")
    code, _, err = pixelwise("train", "--resume", tmp_path / "run")
    assert code == 3
    assert "not the data that" in err


def test_predict_refuses_clashing_names(pixelwise, photos, run, tmp_path):
    Image.fromarray(draw_shapes(1)[0]).save(photos / "a" / "0.jpg")
    code, _, err = pixelwise("predict", photos, "--model", run, "--out", tmp_path / "out")
    assert code == 2
    assert "would both become" in err


def test_no_permission_and_a_full_disk_are_one_sentence(pixelwise, photos, run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    code, _, err = pixelwise("predict", photos, "--model", run, "--out", tmp_path / "file")
    assert code == 1
    assert f"cannot write {tmp_path / 'file'}" in err

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = pixelwise("predict", photos, "--model", run, "--out", tmp_path / "out")
    assert code == 1
    assert "the disk is full" in err
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_evaluate_prints_a_table_and_exact_keys(pixelwise, run, shapes, tmp_path):
    code, out, _ = pixelwise("evaluate", "--model", run, "--data", shapes, "--split", "val")
    assert code == 0
    assert "square" in out
    report = tmp_path / "report.html"
    code, out, _ = pixelwise(
        "evaluate", "--model", run, "--data", shapes, "--split", "val", "--json", "--report", report
    )
    document = json.loads(out)
    assert {
        "mean_iou",
        "pixel_accuracy",
        "frequency_weighted_iou",
        "mean_f1",
        "per_class",
        "images",
        "confusion",
    } <= set(document)
    assert document["images"] == 4
    assert set(document["per_class"]["disc"]) == {"iou", "f1", "precision", "recall"}
    assert "disc" in report.read_text()


def test_evaluate_without_masks_or_split_is_one_sentence(pixelwise, run, shapes):
    code, _, err = pixelwise("evaluate", "--model", run, "--data", shapes, "--split", "tset")
    assert code == 2
    assert "unknown split 'tset'" in err


def test_train_from_the_command_line(pixelwise, shapes, tmp_path):
    (tmp_path / "settings.yaml").write_text("size: 64x48\nbatch: 4\nepochs: 100\n")
    code, out, err = pixelwise(
        "train",
        "--data",
        shapes,
        "--out",
        tmp_path / "run",
        "--config",
        tmp_path / "settings.yaml",
        "--max-steps",
        2,
        "--json",
    )
    assert code == 0, err
    document = json.loads(out)
    assert document["finished"]
    assert document["steps"] == 2
    assert (tmp_path / "run" / "bundle" / "graph.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give --data FOLDER"),
        (["--data", "{shapes}", "--size", "tiny"], 2, "expected WIDTHxHEIGHT"),
        (["--data", "{shapes}", "--arch", "deeplab"], 2, "unknown architecture 'deeplab': did you mean"),
        (["--data", "{shapes}", "--loss", "cross_entrpy"], 2, "unknown loss 'cross_entrpy': did you mean"),
        (["--data", "missing"], 3, "missing"),
        (["--data", "{shapes}", "--device", "cuda"], 2, "no cuda device"),
        (["--data", "{shapes}", "--weights", "imagenet", "--encoder", "resnet18"], 2, "no ImageNet weights"),
        (["--data", "{shapes}", "--map", "255"], 2, "expected OLD=NEW"),
    ],
)
def test_train_explains_what_is_wrong(pixelwise, shapes, tmp_path, arguments, code, message):
    arguments = [a.format(shapes=shapes) for a in arguments]
    found, out, err = pixelwise("train", *arguments, *(["--out", tmp_path / "run"] if arguments else []))
    assert (found, out) == (code, "")
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_damaged_models_exit_with_three(pixelwise, photos, run, tmp_path):
    for number, content in enumerate((b"changed", b"\x80\x04pickle")):
        bundle = shutil.copytree(run / "bundle", tmp_path / f"bundle{number}")
        (bundle / "model.safetensors").write_bytes(content)
        code, out, err = pixelwise("predict", photos, "--model", bundle, "--out", tmp_path / "out")
        assert (code, out, err.count("\n")) == (3, "", 1)


def test_ctrl_c_and_surprises_are_one_sentence(pixelwise, photos, run, tmp_path, monkeypatch):
    for error, message in ((KeyboardInterrupt(), "stopped"), (ValueError("odd"), "ValueError: odd")):

        def fail(*arguments, error=error, **options):
            raise error

        monkeypatch.setattr("pixelwise.api.load", fail)
        code, _, err = pixelwise("predict", photos, "--model", run, "--out", tmp_path / "out")
        assert code == 1
        assert message in err
        assert "Traceback" not in err


def test_predicting_needs_no_cache_folder(pixelwise, photos, run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert pixelwise("predict", photos, "--model", run, "--out", tmp_path / "out")[0] == 0


def test_files_that_are_no_images_are_named(pixelwise, photos, run, tmp_path):
    (photos / "photo.heic").write_bytes(b"?")
    code, out, _ = pixelwise("predict", photos, "--model", run, "--out", tmp_path / "out")
    assert code == 0
    assert "photo.heic" in out


def test_json_errors_are_json_too(pixelwise):
    code, out, _ = pixelwise("check", "missing-folder", "--json")
    assert code == 3
    assert json.loads(out)["exit_code"] == 3


def test_the_demo_keeps_its_hands_off_other_folders(pixelwise, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    code, _, err = pixelwise("demo", "--out", tmp_path)
    assert code == 2
    assert "not an earlier demo" in err
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_the_layers_of_a_network(pixelwise):
    code, out, error = pixelwise("models", "deeplabv1", "--variant", "paper", "--json")
    assert code == 0, error
    layers = json.loads(out)
    assert sum(layer["parameters"] for layer in layers) == 20_505_429
    first = {"name": "encoder.blocks.0.0", "kind": "Conv2d", "output": [64, 513, 513], "parameters": 1792}
    assert layers[0] == first
    code, out, error = pixelwise("models", "deeplabv1")
    assert code == 0, error
    assert "4,708,373 parameters for 21 classes" in out
    code, _, error = pixelwise("models", "deeplab1")
    assert code == 2
    assert "did you mean 'deeplabv1'" in error


def test_evaluate_in_detail_and_against_before(pixelwise, run, shapes, tmp_path):
    saved, page = tmp_path / "before.json", tmp_path / "page.html"
    base = ("evaluate", "--model", run, "--data", shapes, "--split", "val", "--json")
    code, text, _ = pixelwise(*base, "--details", "--save", saved, "--report", page)
    assert code == 0
    assert 0 <= json.loads(text)["details"]["boundary_f1"] <= 1
    assert "Reliability" in page.read_text(encoding="utf-8")
    comparison = json.loads(pixelwise(*base, "--against", saved)[1])["comparison"]
    assert comparison["mean_iou"]["difference"] == 0 and not comparison["mean_iou"]["clear"]
    (tmp_path / "no.json").write_text("{}")
    code, _, err = pixelwise(*base, "--against", tmp_path / "no.json")
    assert code == 3 and "not an evaluation, or damaged" in err


def test_a_killed_prediction_goes_on_to_the_same_files(pixelwise, photos, run, tmp_path):
    """SIGKILL at the third file: a torn line, a lock and half a file stay behind."""
    from pixelwise.io.video import write_video

    write_video(photos / "clip.avi", (draw_shapes(n)[0] for n in range(4)), rate=10)
    arguments = ["predict", photos, "--model", run, "--overlay", "--probabilities"]
    code, _, err = pixelwise(*arguments, "--out", tmp_path / "clean")
    assert code == 2 and "--probabilities is not for videos" in err
    arguments = ["predict", photos, "--model", run, "--overlay", "--json"]
    assert pixelwise(*arguments, "--out", tmp_path / "clean")[0] == 0
    out = tmp_path / "out"
    script = (
        "import os, signal\n"
        "from pixelwise.cli.main import main\n"
        "from pixelwise.inference import Journal\n"
        "add, calls = Journal.add, []\n"
        "def killed(journal, *entry):\n"
        "    calls.append(entry)\n"
        "    if len(calls) < 3:\n"
        "        return add(journal, *entry)\n"
        "    with journal.path.open('ab') as file:\n"
        '        file.write(b\'{"input": "b/c\')\n'
        "    folder = journal.folder / 'b' / 'c'\n"
        "    folder.mkdir(parents=True, exist_ok=True)\n"
        "    (folder / '.3-abcdefgh.png').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Journal.add = killed\n"
        "main()\n"
    )
    command = [sys.executable, "-c", script, *map(str, arguments), "--out", str(out)]
    assert subprocess.run(command, capture_output=True).returncode == -9
    assert (out / "manifest.jsonl").read_bytes().count(b"\n") == 2
    code, text, _ = pixelwise(*arguments, "--out", out, "--resume")
    document = json.loads(text)
    assert code == 0
    assert (document["images"], document["frames"], document["skipped"]) == (5, 4, 2)
    assert contents(out) == contents(tmp_path / "clean")
    code, text, _ = pixelwise(*arguments, "--out", out, "--resume")
    document = json.loads(text)
    assert (document["images"], document["frames"], document["skipped"]) == (5, 4, 6)
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 6


def test_one_folder_takes_one_run_of_one_model(pixelwise, photos, run, tmp_path):
    from pixelwise.inference import Journal

    out = tmp_path / "out"
    arguments = ["predict", photos, "--model", run, "--out", out]
    with Journal(out, "another", {}) as journal:
        code, _, err = pixelwise(*arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert f"another run is writing into {out}" in err
        assert journal.finished("9.png", photos / "a" / "0.png") is None
        journal.add("9.png", ["9.png"])
    code, _, err = pixelwise(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{out} holds results that were made by another model" in err
    assert pixelwise("predict", photos, "--model", run, "--out", tmp_path / "own")[0] == 0
    code, _, err = pixelwise(
        "predict", photos, "--model", run, "--out", tmp_path / "own", "--scale", "native"
    )
    assert code == 2
    assert "with other settings (scale working, now native)" in err


def test_a_bad_file_is_tried_again_by_a_resumed_run(pixelwise, photos, run, tmp_path):
    good = (photos / "a" / "0.png").read_bytes()
    (photos / "a" / "0.png").write_text("not an image")
    arguments = ["predict", photos, "--model", run, "--out", tmp_path / "out", "--resume", "--json"]
    assert pixelwise(*arguments)[0] == 3
    code, text, _ = pixelwise(*arguments)
    assert code == 3 and json.loads(text)["skipped"] == 4
    (photos / "a" / "0.png").write_bytes(good)
    code, text, _ = pixelwise(*arguments)
    assert code == 0 and json.loads(text)["images"] == 5


def contents(folder):
    """Every file below a folder, hidden ones too, by its path; of the manifest only that it is there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.name == "manifest.jsonl" or path.read_bytes()
        for path in files
    }


@pytest.mark.parametrize(
    ("tta", "message"),
    [
        ("flipp", "unknown test-time augmentation 'flipp': did you mean 'flip'?"),
        ("scales=0.75:9", "scales=0.75:9: expected 0.5 to 2, found 9"),
    ],
)
def test_test_time_augmentation_that_is_none(pixelwise, photos, shapes, run, tmp_path, tta, message):
    for verb in (["predict", photos, "--out", tmp_path / "out"], ["evaluate", "--data", shapes]):
        code, out, err = pixelwise(*verb, "--model", run, "--tta", tta)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
    assert not (tmp_path / "out").exists()


def test_test_time_augmentation_changes_what_is_written_and_measured(
    pixelwise, photos, shapes, run, tmp_path
):
    import pixelwise as pw

    arguments = ["predict", photos / "a", "--model", run, "--out", tmp_path / "out", "--tta", "d4"]
    assert pixelwise(*arguments)[0] == 0
    expected = pw.load(run).predict(photos / "a" / "0.png", tta="d4").mask
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / "0.png")), expected)
    code, _, err = pixelwise(*arguments[:-2])
    assert code == 2 and "with other settings (tta d4, now none)" in err
    base = ("evaluate", "--model", run, "--data", shapes, "--split", "val", "--json")
    plain, views = (json.loads(pixelwise(*base, "--tta", tta)[1]) for tta in ("none", "flip,scales=0.5:1"))
    assert plain["confusion"] != views["confusion"]
    assert views["mean_iou"] > 0.5


def test_several_models_together(pixelwise, photos, shapes, run, tmp_path):
    import pixelwise as pw

    changed = shutil.copytree(run / "bundle", tmp_path / "changed")
    manifest = json.loads((changed / "bundle.json").read_text())
    manifest["labels"]["names"][1] = "box"
    (changed / "bundle.json").write_text(json.dumps(manifest))
    models = ("--model", run, "--model", changed)
    for verb in (["predict", photos, "--out", tmp_path / "no"], ["evaluate", "--data", shapes]):
        code, _, err = pixelwise(*verb, *models)
        assert (code, err.count("\n")) == (2, 1)
        assert "have different classes" in err and "has square" in err and "has box" in err
    assert not (tmp_path / "no").exists()
    models = ("--model", run, "--model", run / "bundle")
    out = tmp_path / "out"
    code, text, err = pixelwise("predict", photos / "a", *models, "--out", out, "--tta", "flip", "--json")
    assert code == 0, err
    assert json.loads(text)["images"] == 3
    expected = pw.load([run, run]).predict(photos / "a" / "0.png", tta="flip").mask
    np.testing.assert_array_equal(np.array(Image.open(out / "0.png")), expected)
    code, _, err = pixelwise("predict", photos / "a", "--model", run, "--out", out, "--tta", "flip")
    assert code == 2 and "by another model" in err
    code, text, _ = pixelwise("evaluate", *models, "--data", shapes, "--split", "val", "--json", "--details")
    assert code == 0 and json.loads(text)["mean_iou"] > 0.5
    assert pw.evaluate([run, run], shapes, "val").to_dict()["confusion"] == json.loads(text)["confusion"]
