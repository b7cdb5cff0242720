import re

import numpy as np
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

import pixelwise as pw
from pixelwise.data import check
from pixelwise.labels import LabelMap
from pixelwise.sample import Dataset, Sample
from pixelwise.training.config import TrainConfig, make_config, read_config
from pixelwise.training.loader import epoch_order
from pixelwise.training.plan import make_plan, split_data
from pixelwise.training.schedule import rate_factor
from tests.conftest import write_shapes


def test_an_unknown_setting_suggests_the_nearest():
    with pytest.raises(pw.UsageError, match="unknown setting 'epoch': did you mean 'epochs'"):
        make_config({"epoch": 3})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": "large"}, "expected WIDTHxHEIGHT"),
        ({"size": "16x16"}, "at least 32 px"),
        ({"batch": 0}, "greater than or equal to 1"),
        ({"optimizer": "adam"}, "'adamw' or 'sgd'"),
        ({"scale_range": (2.0, 1.0)}, "0 < low <= high"),
    ],
)
def test_a_bad_value_names_the_setting(values, message):
    with pytest.raises(pw.UsageError, match=f"setting '{next(iter(values))}': .*{message}"):
        make_config(values)


def test_a_settings_file_round_trips(tmp_path):
    config = make_config({"size": "480x360", "epochs": 3})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert make_config(read_config(tmp_path / "c.yaml")) == config


def test_settings_files_fail_in_one_sentence(tmp_path):
    with pytest.raises(pw.UsageError, match="no such settings file"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(pw.DataError, match="not valid YAML"):
        read_config(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(pw.DataError, match="expected 'setting: value' lines"):
        read_config(tmp_path / "list.yaml")


@given(
    schedule=st.sampled_from(["onecycle", "poly", "constant"]),
    progress=st.floats(0, 1),
    warmup=st.floats(0, 0.9),
)
def test_rates_stay_between_nothing_and_the_peak(schedule, progress, warmup):
    assert 0 <= rate_factor(schedule, progress, warmup) <= 1


def test_rates_rise_then_fall():
    for schedule in ("onecycle", "poly"):
        factors = [rate_factor(schedule, p / 100, 0.2) for p in range(101)]
        assert int(np.argmax(factors)) == 20
        assert all(a <= b for a, b in zip(factors[:20], factors[1:21], strict=True))
        assert all(a >= b for a, b in zip(factors[20:], factors[21:], strict=False))


@given(
    count=st.integers(1, 60),
    batch=st.integers(1, 16),
    ranks=st.integers(1, 3),
    epoch=st.integers(0, 5),
)
def test_an_epoch_shows_no_image_twice_on_any_rank(count, batch, ranks, epoch):
    assume(min(count, batch) >= ranks)
    per_rank = [epoch_order(count, epoch, 0, batch, rank, ranks) for rank in range(ranks)]
    seen = [i for order in per_rank for indices in order for i in indices]
    assert len(seen) == len(set(seen))
    assert len(seen) == (count if count < batch else count // batch * batch)
    assert len({len(order) for order in per_rank}) == 1


def test_a_batch_smaller_than_the_processes_is_refused():
    with pytest.raises(pw.UsageError, match="a batch of 1 cannot be shared by 2 processes"):
        epoch_order(10, 0, 0, 1, 0, 2)


def test_the_plan_answers_every_open_question(shapes):
    data = pw.read(shapes)
    train_set, val_set, why = split_data(data, 0.2, 0)
    assert (len(train_set), len(val_set)) == (10, 4)
    assert "own split" in why
    plan = make_plan(TrainConfig(), train_set, check(data))
    config = plan.config
    assert config.size == (80, 64)
    assert None not in (config.batch, config.epochs, config.lr, config.class_weights, config.patches)
    assert set(plan.to_dict()) >= {"size", "batch", "epochs", "lr", "class_weights"}


def test_the_plan_keeps_what_the_user_said(shapes):
    data = pw.read(shapes)
    said = make_config(
        {"size": "64x48", "batch": 3, "epochs": 2, "lr": 0.1, "class_weights": "none", "patches": False}
    )
    assert make_plan(said, data, check(data)).config == said


def test_large_images_are_cut_into_patches(tmp_path):
    data = pw.read(write_shapes(tmp_path, {"train": 2}, (100, 2100)))
    config = make_plan(TrainConfig(), data, check(data)).config
    assert config.patches
    assert config.size == (512, 100)


def test_without_a_validation_split_some_images_are_held_out(tmp_path):
    data = pw.read(write_shapes(tmp_path, {"train": 10}))
    train_set, val_set, why = split_data(data, 0.2, 0)
    names = {s.name for s in train_set}, {s.name for s in val_set}
    assert len(names[0]) == 8
    assert len(names[1]) == 2
    assert not names[0] & names[1]
    assert "held out" in why
    assert [s.name for s in split_data(data, 0.2, 0)[1]] == [s.name for s in val_set]


def test_one_image_is_too_few(tmp_path):
    data = pw.read(write_shapes(tmp_path, {"train": 1}))
    with pytest.raises(pw.DataError, match="too few to train on"):
        split_data(data, 0.2, 0)


def test_slices_of_one_volume_stay_in_one_part():
    labels = LabelMap(("a", "b"))

    def open_slice(record):
        scan, number = record
        meta = {"volume_path": f"{scan}.nii.gz", "index": number}
        return Sample(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), meta=meta)

    records = [(scan, number) for scan in range(5) for number in range(scan + 2)]
    train_set, val_set, why = split_data(Dataset(records, open_slice, labels), 0.3, 0)
    parts = [{sample.meta["volume_path"] for sample in part} for part in (train_set, val_set)]
    assert len(parts[0]) + len(parts[1]) == 5 and not parts[0] & parts[1]
    assert len(train_set) + len(val_set) == len(records)
    assert why == "the slices of 2 of 5 volumes held out at random"


def test_a_sequence_of_the_training_images_can_be_held_out():
    names = [f"seq{n // 3}_{n}.png" for n in range(6)]

    def open_record(name):
        return Sample(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), path=name)

    splits = ["train"] * 5 + ["val"]
    data = Dataset(names, open_record, LabelMap(("a", "b")), splits=splits)
    train_set, val_set, why = split_data(data, 0.2, 0, "seq1_*")
    assert [sample.name for sample in train_set] == ["seq0_0", "seq0_1", "seq0_2"]
    assert [sample.name for sample in val_set] == ["seq1_3", "seq1_4"]  # the split 'val' is left alone
    assert why == "the 2 of 5 training images that match 'seq1_*'"
    for pattern, count in (("seq2_*", 0), ("seq*", 5)):
        with pytest.raises(pw.UsageError, match=rf"hold_out '{re.escape(pattern)}' matches {count} of 5"):
            split_data(data, 0.2, 0, pattern)
