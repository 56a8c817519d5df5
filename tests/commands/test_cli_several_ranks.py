"""ttfs-train over several processes of this machine: the same run as with one, told of and kept by rank 0 alone."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import FILES, STEPS, metrics, run_small, small, timeless, train, weights
from helpers.several_ranks import launched, spoken, trained

from ttfs_cupy import train as train_command
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep

# whose training nothing amplifies: runs that round differently stay together
SMOOTH = {"network__psp_slope": 0}
LIMIT = 120.0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("alone") / "run", **SMOOTH)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    # which rank 1 does not find where it works
    outcome = spoken(trained(2, folder, *small(Path("run"), **SMOOTH)))
    assert (outcome.code, outcome.err) == (0, "")
    assert {file.name for file in (folder / "rank-1").iterdir()} == {"out", "err"}
    (folder / "said").write_text(outcome.out)
    return folder / "run"


def test_two_ranks_say_and_keep_what_one_does(alone: Path, two: Path) -> None:
    said = (two.parent / "said").read_text()
    shares = [line for line in said.splitlines() if line.startswith("  of each batch")]
    assert shares == ["  of each batch of 128 images a rank has 64"]
    assert re.search(r"^2 ranks train as one: ranks 0 and 1 on \S+ \(cpu; processes \d+, \d+\)$", said, re.M)
    assert re.search(r"^  gradients go by sockets: [\d.]+ MiB a step, in 1 bucket$", said, re.M)
    assert {path.name for path in two.iterdir()} == {path.name for path in alone.iterdir()} == FILES
    assert [set(line) for line in metrics(two)] == [set(line) for line in metrics(alone)]
    of_ranks = ("ranks train as one", "gradients go", "  of each")
    log = [line for line in form(two) if not any(part in line for part in of_ranks)]
    assert len(form(two)) == len(log) + len(of_ranks)
    # why it is this device and so many threads
    assert log[0].replace("(its share of the cores)", "(asked for)") == form(alone)[0]
    assert log[1:] == form(alone)[1:]


def form(run: Path) -> list[str]:
    """A run's log without its numbers, and without where it and Python are."""
    said = re.sub(r"\S+/python", "python", (run / "log.txt").read_text().replace(str(run), "run"))
    return [re.sub(r"[\d.,]+", "0", line).replace("threads", "thread") for line in said.splitlines()]


def test_two_and_three_ranks_train_as_one_does(alone: Path, two: Path, tmp_path: Path) -> None:
    outcome = spoken(trained(3, tmp_path, *small(tmp_path / "run", **SMOOTH)))
    assert (outcome.code, outcome.err) == (0, "")
    assert "of each batch of 128 images the first 2 ranks have 43, the others 42" in outcome.out
    for run in (two, tmp_path / "run"):
        close(run, alone)
        for name, array in weights(run, "last").items():
            reference = weights(alone, "last")[name]
            assert np.linalg.norm(array - reference) <= 1e-3 * max(1e-6, np.linalg.norm(reference)), name


def test_as_many_ranks_give_the_same_bits(two: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    assert spoken(trained(2, tmp_path, *small(again, **SMOOTH))).code == 0
    same(again, two)


def same(run: Path, other: Path) -> None:
    assert timeless(run) == timeless(other)
    for name in ("best", "last"):
        first, second = weights(run, name), weights(other, name)
        assert first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first), name


def close(run: Path, other: Path) -> None:
    """The same losses, but for rounding."""
    for line, second in zip(metrics(run), metrics(other), strict=True):
        assert line.get("epoch") == second.get("epoch")
        for key in {"train_loss", "validation_loss", "test_loss"} & line.keys():
            assert line[key] == pytest.approx(second[key], rel=1e-4)


def cut(call: int, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of that rank ends at once as it is to run a step for the call-th time."""
    real, calls = TrainingStep.run, [0]

    def run(self: TrainingStep) -> None:
        calls[0] += 1
        if calls[0] == call and os.environ.get("RANK") == str(rank):
            os.kill(os.getpid(), signal.SIGKILL)
        real(self)

    monkeypatch.setattr(TrainingStep, "run", run)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks, one of which was killed in the second epoch, after a checkpoint within it."""
    folder = tmp_path_factory.mktemp("broken")
    with pytest.MonkeyPatch.context() as patch:
        cut(STEPS + 7, 1, patch)
        first, second = trained(2, folder, *small(folder / "run", **SMOOTH, training__checkpoint_every="{steps: 3}"))
    assert second.code == -signal.SIGKILL and first.code > 0
    assert re.search(r"rank 1 \(\S+, process \d+\)", first.err), first
    return folder / "run"


def copied(run: Path, to: Path) -> Path:
    to.mkdir()
    for file in run.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_a_killed_rank_ends_all_and_resuming_gives_the_bits_of_an_undisturbed_run(
    broken: Path, two: Path, tmp_path: Path
) -> None:
    run = copied(broken, tmp_path / "again")
    # which rank 1 does not find where it works
    outcome = spoken(trained(2, tmp_path, "--resume", "again"))
    assert (outcome.code, outcome.err) == (0, "") and "goes on on" not in outcome.out
    same(run, two)


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_run_goes_on_on_another_number_of_ranks(ranks: int, broken: Path, two: Path, tmp_path: Path) -> None:
    run = copied(broken, tmp_path / "again")
    outcome = train("--resume", run) if ranks == 1 else spoken(trained(ranks, tmp_path, "--resume", run))
    assert (outcome.code, outcome.err) == (0, "")
    now = "1 rank" if ranks == 1 else f"{ranks} ranks"
    assert f"goes on on {now}; it ran on 2 ranks: the batches are the same" in outcome.out
    close(run, two)


def test_one_ranks_run_goes_on_on_two(alone: Path, tmp_path: Path) -> None:
    run = copied(alone, tmp_path / "more")
    outcome = spoken(trained(2, tmp_path, "--resume", run, "--set", "training.epochs=3"))
    assert (outcome.code, outcome.err) == (0, "") and "goes on on 2 ranks; it ran on 1 rank" in outcome.out
    assert [line["epoch"] for line in metrics(run) if "epoch" in line] == [1, 2, 3]


def test_another_config_at_one_rank_is_refused_by_name(tmp_path: Path) -> None:
    other = small(tmp_path / "run", optimizer__lr=0.01)
    outcome = spoken(trained(3, tmp_path, *small(tmp_path / "run"), at_rank={2: other}))
    assert outcome.code == 2 and not (tmp_path / "run").exists()
    assert re.fullmatch(
        r"error: rank 2 \(\S+, process \d+\) has another value of optimizer.lr than rank 0 \(.*\): 0.01, not 0.003\n",
        outcome.err,
    )


def test_other_data_at_one_rank_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ttfs_cupy.experiment import prepare

    real = prepare.read_dataset

    def read(config):  # type: ignore[no-untyped-def]
        dataset = real(config)
        if os.environ.get("RANK") == "1":
            dataset.train.images.setflags(write=True)
            dataset.train.images[0, 0, 0, 0] += 1
        return dataset

    monkeypatch.setattr(prepare, "read_dataset", read)
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run")))
    assert outcome.code == 2 and "has another digest of all pixels than rank 0" in outcome.err
    assert not (tmp_path / "run").exists()


def test_what_all_ranks_refuse_is_said_once(two: Path, tmp_path: Path) -> None:
    outcome = spoken(trained(2, tmp_path, *small(two, **SMOOTH)))
    assert outcome.code == 2 and outcome.err.startswith(f"error: '{two}' already holds a run: ")
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run", training__batch_size=5000)))
    assert outcome.code == 2 and outcome.err.startswith("error: training.batch_size 5000 is larger than the training ")
    assert outcome.err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_run_that_comes_to_nothing_is_told_once(tmp_path: Path) -> None:
    hopeless = {"optimizer__clip_norm": "null", "schedule__name": "exponential", "optimizer__lr": "1e38"}
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run", **hopeless, training__max_skipped=3)))
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert re.match(
        r"error: \d+ steps in a row were skipped in epoch 1: .*; the last good weights are in ", outcome.err
    )


def test_batches_of_fewer_images_than_ranks_and_steps_of_two_batches(tmp_path: Path) -> None:
    few = {"data__subset": 61, "training__batch_size": 2, "training__accumulate": 2, "training__average": 0.9, **SMOOTH}
    one = run_small(tmp_path / "one", **few)
    assert spoken(trained(3, tmp_path, *small(tmp_path / "three", **few))).err == ""
    close(tmp_path / "three", one)


def test_ranks_begin_with_the_weights_of_a_file(alone: Path, tmp_path: Path) -> None:
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run", **SMOOTH), "--init-from", alone, "--quiet"))
    assert (outcome.code, outcome.err) == (0, "") and outcome.out.startswith("test accuracy ")
    assert metrics(tmp_path / "run")[0]["train_loss"] < metrics(alone)[1]["train_loss"]


def test_ranks_end_early_together_and_one_keeps_checkpoints(tmp_path: Path) -> None:
    early = {"training__patience": 1, "training__epochs": 9, "training__keep": "{last: 2}", "optimizer__lr": 0.5}
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run", **early)))
    assert (outcome.code, outcome.err) == (0, "")
    epochs = [line["epoch"] for line in metrics(tmp_path / "run") if "epoch" in line]
    assert len(epochs) < 9
    kept = sorted(file.name for file in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"epoch-{epoch:04}.safetensors" for epoch in epochs[-2:]]


def test_resuming_and_beginning_are_not_one_command(two: Path, tmp_path: Path) -> None:
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run"), at_rank={1: ("--resume", two)}))
    assert outcome.code == 2 and "has another command than rank 0" in outcome.err


def test_weights_that_part_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = TrainingStep.run, [0]

    def run(self: TrainingStep) -> None:
        real(self)
        calls[0] += 1
        if calls[0] == STEPS + 2 and os.environ.get("RANK") == "1":
            self._network.parameters.trained[3] += np.float32(1e-7)

    monkeypatch.setattr(TrainingStep, "run", run)
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run")))
    assert outcome.code == 2
    assert re.search(r"the weights of rank 1 \(.*\) are no longer rank 0's after epoch 2", outcome.err), outcome
    # the epoch that went well is there
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [1]


def wait_for(words: str, folder: Path) -> None:
    """Until rank 0 has said that."""
    deadline = time.monotonic() + LIMIT
    while not (folder / "rank-0" / "out").exists() or words not in (folder / "rank-0" / "out").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_at_any_rank_ends_all_in_order(rank: int, number: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with launched(2, tmp_path, *small(run, training__epochs=2000)) as children:
        wait_for("epoch 1/", tmp_path)
        os.kill(children[rank].pid, signal.SIGUSR1)
        wait_for("saved: ", tmp_path)
        os.kill(children[rank].pid, number)
        outcome = spoken([child.wait() for child in children])
    assert (outcome.code, outcome.err) == (128 + number, "")
    *before, last_but_one, last = outcome.out.splitlines()
    assert re.search(r"^interrupted: .*; go on with: .*--resume", last)
    # once for the first signal; and for the second, unless it came between two epochs
    told = [line for line in before if line.startswith("saved: ")]
    assert len(told) == 1 and last_but_one.startswith(("saved: ", "epoch "))
    epochs = len(metrics(run))
    resumed = spoken(trained(2, tmp_path, "--resume", run, "--set", f"training.epochs={epochs + 1}"))
    assert (resumed.code, resumed.err) == (0, "")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_in_a_validation_breaks_it_off_at_the_same_batch(
    rank: int, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Evaluator.run, [0]

    def run(self: Evaluator) -> None:
        real(self)
        calls[0] += 1
        (tmp_path / f"batches-{os.environ['RANK']}").write_text(str(calls[0]))
        if calls[0] == 1 and os.environ["RANK"] == str(rank):
            signal.raise_signal(signal.SIGTERM)

    # as slow as a large one: each batch ends in a decision
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "run", run)
        patch.setattr("ttfs_cupy.ranks.pace.SECONDS", 0.0)
        outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run", **SMOOTH)))
    assert (outcome.code, outcome.err) == (143, "")
    assert [(tmp_path / f"batches-{each}").read_text() for each in range(2)] == ["1", "1"]
    assert re.search(r"^saved: .*\ninterrupted: .*; go on with: .*--resume \S+\n\Z", outcome.out, re.M)
    # of the epoch's last step
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert spoken(trained(2, tmp_path, "--resume", tmp_path / "run")).code == 0
    same(tmp_path / "run", two)


def test_a_signal_outside_of_the_epochs_tells_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = train_command.load_best

    def load(*arguments: Any) -> Any:
        if os.environ["RANK"] == "1":
            signal.raise_signal(signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(train_command, "load_best", load)
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run")))
    assert (outcome.code, outcome.err) == (143, "")
    assert re.search(r"^interrupted: the best weights .*; go on with: .*--resume \S+\n\Z", outcome.out, re.M)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("no 8 GiB"), "the memory does not suffice (no 8 GiB): end other programs, or raise the limit "),
        (PermissionError(13, "Permission denied", "/x"), "[Errno 13] Permission denied: '/x'\n"),
    ],
)
def test_what_one_rank_lacks_is_told_once_and_leaves_no_run(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TrainingStep.run

    def run(self: TrainingStep) -> None:
        if os.environ["RANK"] == "1":
            raise error
        real(self)

    monkeypatch.setattr(TrainingStep, "run", run)
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run")))
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert re.match(rf"error: rank 1 \(\S+, process \d+\) has ended: {re.escape(said)}", outcome.err), outcome
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_two_ranks(tmp_path: Path) -> None:
    outcome = spoken(trained(2, tmp_path, *small(tmp_path / "run"), "--dry-run"))
    assert (outcome.code, outcome.err) == (0, "") and not (tmp_path / "run").exists()
    assert "2 ranks train as one" in outcome.out and outcome.out.endswith("nothing was written\n")
