"""Checkpoints that are damaged, and those that are kept."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.changing_run import CHANGING, EVERY
from helpers.commands import STEPS, cut_short, evaluate, run_small, small, timeless, train
from helpers.refusals import refused

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config.values import Keep
from ttfs_cupy.experiment.files import checkpoint


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that has come to the middle of its second epoch, with a checkpoint every two steps."""
    run = tmp_path / "stopped"
    cut_short(monkeypatch, STEPS + 7, *small(run, **CHANGING, **EVERY))
    return run


@pytest.mark.parametrize(
    "damage", ["a bit", "metadata", "its key", "other weights", "half of it", "nothing left", "gone"]
)
def test_a_damaged_checkpoint_is_passed_over(damage: str, stopped: Path, whole_changing: Path) -> None:
    last = stopped / "last.safetensors"
    content = bytearray(last.read_bytes())
    if damage == "a bit":
        content[-1] ^= 1
    elif damage == "metadata":
        place = content.index(b'\\"step\\": ') + len(b'\\"step\\": ')
        content[place] ^= 1
    elif damage == "its key":
        # a digest is no longer found, either
        content[content.index(b'"ttfs_cupy"') + 1] ^= 1
    elif damage == "other weights":
        content = bytearray((whole_changing / "best.safetensors").read_bytes())
    elif damage == "half of it":
        del content[len(content) // 2 :]
    else:
        content.clear()
    last.write_bytes(content)
    if damage == "gone":
        last.unlink()
    outcome = train("--resume", stopped)
    assert (outcome.code, outcome.err) == (0, "")
    (told,) = [line for line in outcome.out.splitlines() if line.startswith("warning: weights '")]
    assert str(last) in told and told.endswith(
        f"the run goes on from the checkpoint before it, {stopped}/previous.safetensors"
    )
    assert timeless(stopped) == timeless(whole_changing)
    assert last.read_bytes() == (whole_changing / "last.safetensors").read_bytes()


def test_the_checkpoint_before_is_not_lost_for_a_damaged_one(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (stopped / "previous.safetensors").read_bytes()
    (stopped / "last.safetensors").write_bytes(b"damaged")
    # one more checkpoint; the next would be after two steps
    cut_short(monkeypatch, 3, "--resume", stopped)
    assert (stopped / "previous.safetensors").read_bytes() == good
    newest = (stopped / "last.safetensors").read_bytes()
    checkpoint.load(stopped / "last.safetensors")
    cut_short(monkeypatch, 3, "--resume", stopped)
    assert (stopped / "previous.safetensors").read_bytes() == newest


def test_what_is_said_of_a_run_whose_newest_checkpoint_is_damaged(stopped: Path) -> None:
    last = stopped / "last.safetensors"
    last.write_bytes(last.read_bytes().replace(b'"ttfs_cupy"', b'"utfs_cupy"'))
    refused(evaluate(stopped), f"'{stopped}' has no best weights yet: psp_slope moves until epoch 2 of 2 (over: 1)")


def test_both_checkpoints_are_damaged(stopped: Path) -> None:
    for name in ("last", "previous"):
        path = stopped / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    refused(train("--resume", stopped), "previous.safetensors' cannot be read: it is not a whole safetensors file")


def test_best_weights_that_are_damaged(stopped: Path) -> None:
    assert train("--resume", stopped).code == 0
    best = stopped / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[-1] ^= 64
    best.write_bytes(content)
    refused(evaluate(stopped), f"weights '{best}' cannot be used: the file is damaged")


def test_another_programs_file_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"b": np.ones(3, np.float32), "a": np.zeros((2, 2), np.int64)}, {"x": 1})
    arrays, metadata = checkpoint.load(path)
    assert set(arrays) == {"a", "b"} and metadata == {"x": 1}
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(UserError, match="the file is damaged, its content is not what was written"):
        checkpoint.load(path)
    # what another program, or an earlier version, wrote
    path.write_bytes(bytes(changed).replace(b"sha256", b"sha255"))
    assert set(checkpoint.load(path)[0]) == {"a", "b"}


# Kept ones


@pytest.mark.parametrize(
    ("keep", "epochs"),
    [
        ("{last: 2}", [4, 5]),
        ("{every: 2}", [2, 4]),
        ("{last: 1, every: 3}", [3, 5]),
        ("null", []),
        ("{last: 9}", [1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("links", [True, False])
def test_kept_checkpoints(
    keep: str, epochs: list[int], links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    run = run_small(tmp_path / "run", training__epochs=5, training__keep=keep)
    names = [path.name for path in sorted((run / "checkpoints").glob("*"))]
    assert names == [f"epoch-{epoch:04}.safetensors" for epoch in epochs]
    for epoch in epochs:
        _, metadata = checkpoint.load(run / "checkpoints" / f"epoch-{epoch:04}.safetensors")
        assert metadata["progress"]["epochs"] == epoch
    assert sorted(path.name for path in run.glob(".*")) == []


def _no_links(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_kept_checkpoints_of_epochs_that_are_done_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_small(tmp_path / "run", training__epochs=3, training__keep="{last: 3}")
    kept = {epoch: run / "checkpoints" / f"epoch-{epoch:04}.safetensors" for epoch in (1, 2, 3)}
    whole = {epoch: path.read_bytes() for epoch, path in kept.items()}
    # as if what came after the first epoch had been lost, but for the kept ones
    (run / "last.safetensors").unlink()
    shutil.copy(kept[1], run / "previous.safetensors")
    cut_short(monkeypatch, STEPS + 1, "--resume", run)
    assert sorted(kept[1].parent.iterdir()) == [kept[1], kept[2]]
    assert train("--resume", run).code == 0
    assert {epoch: path.read_bytes() for epoch, path in kept.items()} == whole


@pytest.mark.parametrize("newest", ["whole", "damaged"])
def test_a_run_that_was_killed_before_it_kept_a_checkpoint(newest: str, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=3, training__keep="{last: 2}")
    kept = {epoch: run / "checkpoints" / f"epoch-{epoch:04}.safetensors" for epoch in (1, 2, 3)}
    whole = {epoch: kept[epoch].read_bytes() for epoch in (2, 3)}
    # as after a kill, right after the checkpoint was written
    kept[3].rename(kept[1])
    if newest == "damaged":
        (run / "last.safetensors").replace(run / "previous.safetensors")
        (run / "last.safetensors").write_bytes(b"damaged")
    assert train("--resume", run).code == 0
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == {
        kept[epoch].name: content for epoch, content in whole.items()
    }


def test_what_is_kept() -> None:
    keep = Keep(last=2, every=5)
    assert [epoch for epoch in range(1, 13) if keep.keeps(epoch, 12)] == [5, 10, 11, 12]
