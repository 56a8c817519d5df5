"""--resume with --set: what of a run may change, what follows from it, and where it is recorded."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import STEPS, cut_short, evaluate, metrics, run_small, small, timeless, train
from helpers.refusals import refused, tree

from ttfs_cupy.experiment.config import Config, changes, load_config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.metrics import AFTER, MetricsFile
from ttfs_cupy.experiment.files.run_directory import RunDirectory


def resume(run: Path, *assignments: str, **options: Any) -> Any:
    return train("--resume", run, *(part for item in assignments for part in ("--set", item)), **options)


def changes_of(run: Path) -> list[dict[str, Any]]:
    return [line for line in metrics(run) if AFTER in line]


def test_a_run_trains_longer(tmp_path: Path) -> None:
    """Under a constant rate it is the run that would have been longer from its start, but for the record."""
    longer = run_small(tmp_path / "longer", training__epochs=4, schedule__name="exponential")
    run = run_small(tmp_path / "run", training__epochs=2, schedule__name="exponential")
    outcome = resume(run, "training.epochs=4")
    assert (outcome.code, outcome.err) == (0, "")
    assert "changed after epoch 2: training.epochs 2 -> 4\n" in outcome.out
    assert changes_of(run) == [{AFTER: 2, "step": 2 * STEPS, "changes": {"training.epochs": [2, 4]}}]
    assert [line.get("epoch", line.get(AFTER)) for line in metrics(run)] == [1, 2, 2, 3, 4, None]
    assert [line for line in timeless(run) if AFTER not in line] == timeless(longer)
    for name in ("best.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == (longer / name).read_bytes()
    assert load_config(run / "config.yaml").training.epochs == 4
    assert evaluate(run).code == 0
    # once more: the first change stays on record, and the test set's line is the last one
    assert resume(run, "training.epochs=5", "optimizer.lr=1e-4").code == 0
    assert [line["changes"] for line in changes_of(run)] == [
        {"training.epochs": [2, 4]},
        {"training.epochs": [4, 5], "optimizer.lr": [0.003, 0.0001]},
    ]
    assert [line["learning_rate"] for line in metrics(run) if "epoch" in line] == [0.003] * 4 + [0.0001]
    assert "test_accuracy" in metrics(run)[-1]


def test_a_schedule_is_that_of_the_whole_longer_run(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=2, schedule__name="cosine")
    assert resume(run, "training.epochs=4").code == 0
    rates = [line["learning_rate"] for line in metrics(run) if "epoch" in line]

    def cosine(step: int, steps: int) -> float:
        return 0.003 * 0.5 * (1 + math.cos(math.pi * step / steps))

    lasts = [STEPS - 1, 2 * STEPS - 1, 3 * STEPS - 1, 4 * STEPS - 1]
    expected = [*(cosine(step, 2 * STEPS) for step in lasts[:2]), *(cosine(step, 4 * STEPS) for step in lasts[2:])]
    assert rates == pytest.approx(expected)


def test_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    cut_short(
        monkeypatch, STEPS + 6, *small(run, training__checkpoint_every="{steps: 1}", schedule__name="exponential")
    )
    outcome = resume(run, "optimizer.lr=1e-5", "training.checkpoint_every=null")
    assert outcome.code == 0
    assert f"changed in epoch 2, after batch 5 of {STEPS}: " in outcome.out
    (line,) = changes_of(run)
    assert line[AFTER] == 1 and line["step"] == STEPS + 5
    assert line["changes"]["training.checkpoint_every"] == [{"minutes": None, "steps": 1}, None] or line["changes"][
        "training.checkpoint_every"
    ] == [{"steps": 1, "minutes": None}, None]
    assert metrics(run)[-2]["learning_rate"] == 1e-5


FIXED_VALUES = {
    "seed": "7",
    "output": "elsewhere",
    "data.dataset": "mnist",
    "data.sampling": "balanced",
    "data.subset": "0.5",
    "data.validation": "0.2",
    "training.batch_size": "64",
    "training.accumulate": "2",
    "training.average": "0.9",
    "optimizer.name": "sgd",
    "optimizer.fixed_sign": "true",
    "network.model": "[8, P]",
    "network.t_win": "2",
    "network.encoding": "direct",
    "network.standardize": "true",
    "network.readout": "spike_times",
    "network.normalization": "weight",
    "network.initial_potential": "true",
    "network.weight_mean": "0.1",
    "network.weight_std": "0.1",
}


@pytest.mark.parametrize("key", FIXED_VALUES)
def test_what_belongs_to_a_run_from_its_start(key: str, good_run: Path) -> None:
    before = tree(good_run)
    refused(resume(good_run, f"{key}={FIXED_VALUES[key]}"), f"--resume cannot change {key}, ", "begin a new run")
    assert tree(good_run) == before


def test_every_fixed_key_is_one(good_run: Path) -> None:
    known = {key for key, _ in changes.leaves(load_config(good_run / "config.yaml"))}
    assert known >= changes.FIXED
    # of images of one's own; what goes in pairs; another command's business; and of a readout that fires
    elsewhere = {"data.size", "data.channels", "data.test", "data.time_window", "network.initial_weights"}
    elsewhere |= {"network.silent"}
    assert {*FIXED_VALUES, "data.mean", "data.std"} | elsewhere == changes.FIXED


def test_what_pixels_are_standardised_with_belongs_to_a_run(good_run: Path) -> None:
    refused(resume(good_run, "data.mean=0.5", "data.std=0.5"), "--resume cannot change data.mean, ", "begin a new run")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.epochs=1", "training.epochs cannot be 1: the run is in its epoch 2 already"),
        ("training.epoch=3", "training.epoch is not a key: did you mean training.epochs?"),
        ("training.epochs=0", "training.epochs must be a whole number from 1, not 0"),
        ("training", "this must read key.sub=value"),
    ],
)
def test_changes_that_cannot_be(assignment: str, words: str, short_run: Path) -> None:
    before = tree(short_run)
    refused(resume(short_run, assignment), words)
    after = tree(short_run)
    assert {**after, "log.txt": b""} == {**before, "log.txt": b""}


def test_fewer_epochs_than_were_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    cut_short(monkeypatch, STEPS + 1, *small(run, training__epochs=9))
    assert resume(run, "training.epochs=2").code == 0
    assert [line.get("epoch") for line in metrics(run) if "epoch" in line] == [1, 2]
    assert "test_accuracy" in metrics(run)[-1]


def test_best_weights_of_an_epoch_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after best.safetensors, before last.safetensors: they would be the best of a run that never had them."""
    run, real = tmp_path / "run", checkpoint.save

    class KilledError(BaseException):
        pass

    def save(path: Path, arrays: Any, metadata: Any, previous: Path | None = None) -> None:
        if path.name == "last.safetensors" and metadata["progress"]["epochs"] == 2:
            raise KilledError
        real(path, arrays, metadata, previous)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(checkpoint, "save", save)
        train(*small(run))
    assert checkpoint.metadata(run / "best.safetensors")["epoch"] == 2
    assert len(metrics(run)) == 2
    # nothing is learnt any more: the epoch is as accurate as the one before, and not the lost one
    outcome = resume(run, "optimizer.lr=1e-30")
    assert outcome.code == 0
    assert f"the best weights so far are of another run from here on, and do not count: {run}/best" in outcome.out
    lines = metrics(run)
    assert [line.get("epoch", line.get(AFTER)) for line in lines] == [1, 1, 2, None]
    assert lines[0]["validation_accuracy"] == lines[2]["validation_accuracy"]
    assert evaluate(run).code == 0


def test_another_psp_slope_has_other_best_weights(short_run: Path, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run")
    refused(resume(run, "network.psp_slope=0.5"), "the run is over, and with these settings would have no best weights")
    outcome = resume(run, "network.psp_slope=0.5", "training.epochs=3")
    assert outcome.code == 0 and "do not count" in outcome.out
    metadata = checkpoint.metadata(run / "best.safetensors")
    assert (metadata["epoch"], metadata["psp_slope"]) == (3, 0.5)
    assert metrics(run)[-1]["best_epoch"] == 3


def test_settings_of_a_run_that_was_killed_before_its_first_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    class KilledError(BaseException):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr("ttfs_cupy.train._train", killed)
        patch.setattr(RunDirectory, "discard", lambda _: None)
        train(*small(run))
    assert {path.name for path in run.iterdir()} == {"config.yaml"}
    assert resume(run, "training.epochs=1", "optimizer.lr=1e-4").code == 0
    config = load_config(run / "config.yaml")
    assert (config.training.epochs, config.optimizer.lr) == (1, 1e-4)
    assert len(metrics(run)) == 2 and changes_of(run) == []


def test_a_change_stays_on_record_where_the_run_falls_back(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=3, training__keep="{every: 1}")
    assert resume(run, "optimizer.lr=1e-4", "training.epochs=4").code == 0
    assert [line[AFTER] for line in changes_of(run)] == [3]
    # the newest two are lost
    (run / "last.safetensors").unlink()
    shutil.copy(run / "checkpoints/epoch-0002.safetensors", run / "previous.safetensors")
    assert train("--resume", run).code == 0
    (line,) = changes_of(run)
    assert (line[AFTER], line["step"]) == (2, 2 * STEPS)
    assert [line.get("epoch", line.get(AFTER)) for line in metrics(run)] == [1, 2, 2, 3, 4, None]


def test_a_record_that_cannot_be_written(short_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_small(tmp_path / "run")

    def fails(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    before = tree(run)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        refused(resume(run, "training.epochs=3"), "config.yaml cannot be written: No space left on device")
    assert {**tree(run), "log.txt": b""} == {**before, "log.txt": b""}


def test_nothing_is_recorded_where_the_best_weights_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    cut_short(monkeypatch, STEPS + 5, *small(run))
    (run / "best.safetensors").write_bytes(b"damaged")
    before = tree(run)
    refused(resume(run, "optimizer.lr=0.01"), f"weights '{run / 'best.safetensors'}' cannot be read")
    assert {**tree(run), "log.txt": b""} == {**before, "log.txt": b""}


def test_a_device_of_another_name_is_a_change_too(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run")
    content = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**content, "device": "auto"}))
    assert train("--resume", run, "--device", "cpu").code == 0
    assert [line["changes"] for line in changes_of(run)] == [{"device": ["auto", "cpu"]}]


def test_an_algorithm_by_name(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", tune=False, network__convolution="gemm")
    assert resume(run, "network.convolution.conv2=winograd", "training.epochs=3").code == 0
    gemm, winograd = "gemm/gemm/gemm", "winograd"
    (line,) = changes_of(run)
    old, new = line["changes"]["network.convolution.conv2"]
    assert gemm.startswith(old.split("/")[0]) and new.startswith(winograd)
    refused(resume(run, "network.convolution.conv2=first_layer", "training.epochs=4"), "conv2", "first_layer")


# psp_slope


def config_with(slope: str, epochs: int) -> Config:
    return load_config("quickstart", [f"network.psp_slope={slope}", f"training.epochs={epochs}"])


@pytest.mark.parametrize("rest", [", end: 0.7", ", start: 0.3, end: 0.3", ""])
@pytest.mark.parametrize(("old", "new"), [(3, 5), (7, 9), (10, 30), (49, 131), (6, 6)])
def test_psp_slope_stays_on_its_way(rest: str, old: int, new: int) -> None:
    slope = f"{{from: 0, to: 1{rest}}}"
    before, after = config_with(slope, old), config_with(slope, new)
    kept = changes.with_slope_kept(before, after, [f"training.epochs={new}"]).network.psp_slope
    was = before.network.psp_slope
    assert isinstance(kept, PspSlopeSchedule) and isinstance(was, PspSlopeSchedule)
    for epoch in range(old + 1):
        assert kept.at(epoch / new) == pytest.approx(was.at(epoch / old), abs=1e-9)
    # exactly where it has come to rest: it decides which epoch may be the best
    rests = [epoch for epoch in range(old + 1) if was.at(epoch / old) == was.to]
    assert [epoch for epoch in range(old + 1) if kept.at(epoch / new) == kept.to] == rests
    assert kept.at(1.0) == was.to


def test_psp_slope_of_a_shorter_run_ends_with_it() -> None:
    before, after = config_with("{from: 0, to: 1, start: 0.5}", 10), config_with("{from: 0, to: 1, start: 0.5}", 4)
    kept = changes.with_slope_kept(before, after, []).network.psp_slope
    assert isinstance(kept, PspSlopeSchedule)
    assert kept.start == kept.end == 1.0


def test_psp_slope_that_is_set_is_as_set(tmp_path: Path) -> None:
    before, after = config_with("{from: 0, to: 1}", 4), config_with("{from: 0, to: 1}", 8)
    assert changes.with_slope_kept(before, after, ["network.psp_slope={from: 0, to: 1}"]) == after
    constant = load_config("quickstart", ["training.epochs=9"])
    assert changes.with_slope_kept(before, constant, []) == constant


def test_best_weights_survive_a_longer_run(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=3, network__psp_slope="{from: 0, to: 1, end: 0.6}")
    assert resume(run, "training.epochs=5").code == 0
    slopes = [line["psp_slope"] for line in metrics(run) if "epoch" in line]
    assert slopes == [pytest.approx(1 / 1.8), 1, 1, 1, 1]
    assert evaluate(run).code == 0
    assert load_config(run / "config.yaml").network.psp_slope.end == pytest.approx(0.36)  # type: ignore[union-attr]


def test_lines_of_changes_are_cut_with_their_epochs(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    lines: list[dict[str, Any]] = [{"epoch": 1}, {AFTER: 1}, {"epoch": 2}, {AFTER: 2}, {"test_accuracy": 1}]
    for line in lines:
        file.add(**line)
    # what was changed later is in force from there on
    found = [MetricsFile.of_epochs(path, epochs).lines for epochs in (0, 1, 2)]
    assert found == [
        [{AFTER: 0}, {AFTER: 0}],
        [{"epoch": 1}, {AFTER: 1}, {AFTER: 1}],
        [{"epoch": 1}, {AFTER: 1}, {"epoch": 2}, {AFTER: 2}],
    ]
    file.add(**{AFTER: 2, "step": 25})
    assert MetricsFile.of_epochs(path, 2, 22).lines[-1] == {AFTER: 2, "step": 22}
    assert MetricsFile.of_epochs(path, 2, 26).lines[-1] == {AFTER: 2, "step": 25}
