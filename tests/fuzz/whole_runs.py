"""Runs that nothing came in the way of, to compare others with, bit by bit."""

import statistics
from pathlib import Path
from typing import Any

from helpers.commands import metrics, run_small, small, timeless

from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.metrics_table import as_csv

# All that a step depends on changes, there are checkpoints within an epoch and kept ones, and only the last two epochs
# may be the best.
SETTINGS: dict[str, Any] = {
    "training__epochs": 4,
    "training__checkpoint_every": "{steps: 2}",
    "training__keep": "{last: 2, every: 3}",
    "training__accumulate": 2,
    "training__average": 0.9,
    "training__label_smoothing": 0.1,
    "network__psp_slope": "{from: 0, to: 1, end: 0.6}",
    "network__model": "[4, P]",
    "data__augment": "shift_erase",
    "data__mix": "both",
    "data__mix_alpha": 0.4,
    "optimizer__fixed_sign": True,
    "threads": 1,
}
SEEDS = 3


class Runs:
    """Whole runs of a few seeds to compare with, and a fresh folder for each attempt."""

    def __init__(self, folder: Path, seeds: int = SEEDS, **changes: Any):
        self.folder = folder
        self.settings = SETTINGS | changes
        self.whole = [run_small(folder / f"whole-{seed}", seed=seed, **self.settings) for seed in range(seeds)]
        lines = metrics(self.whole[0])
        self.epoch_seconds = statistics.median(line["seconds"] for line in lines if "seconds" in line)
        self._attempts = 0

    def fresh(self) -> Path:
        self._attempts += 1
        path = self.folder / f"attempt-{self._attempts}"
        path.mkdir()
        return path

    def start(self, run: Path, seed: int) -> list[str]:
        """The arguments that begin the run."""
        return small(run, seed=seed, **self.settings)

    def next_command(self, run: Path, seed: int) -> list[str]:
        """What begins the run, or goes on with it."""
        return ["--resume", str(run)] if (run / "config.yaml").exists() else self.start(run, seed)

    def check(self, run: Path, seed: int, *, previous: bool = False) -> None:
        """That the run has the bits of one that was alone and was never stopped, and nothing else in its directory.

        previous: also in the checkpoint before the last, which a signal may have asked for.
        """
        whole = self.whole[seed]
        assert _names(run) == _names(whole), sorted({*_names(run)} ^ {*_names(whole)})
        assert load_config(run / "config.yaml").seed == seed
        assert timeless(run) == timeless(whole)
        assert (run / "metrics.csv").read_text() == as_csv(metrics(run))
        for path in whole.rglob("*.safetensors"):
            ours = run / path.relative_to(whole)
            if path.name != "previous.safetensors":
                assert ours.read_bytes() == path.read_bytes(), ours
            elif previous:
                assert contents(ours) == contents(path), ours


def _names(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*"))


def contents(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A checkpoint's arrays and metadata, but for the time that its epoch took."""
    arrays, metadata = checkpoint.load(path)
    metadata.get("progress", {}).pop("seconds", None)
    return {name: array.tobytes() for name, array in arrays.items()}, metadata
