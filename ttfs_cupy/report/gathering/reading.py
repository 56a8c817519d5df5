"""What a run's files say; whatever of them is missing or damaged becomes a sentence of the page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttfs_cupy.common.checks import is_number, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import read_own
from ttfs_cupy.common.shown import are, counted, message_of, one_line
from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.files.metrics import AFTER, LARGEST
from ttfs_cupy.experiment.files.run_directory import OWN_WEIGHTS, RunDirectory
from ttfs_cupy.sweep.results import Result, read_result

Line = Mapping[str, Any]

# "2026-01-31 12:00:00,123 ttfs_cupy 0.1.0 on CPU, 2 threads (why)", a log's first line
_LOGGED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} (.*)")
_BEGINNING = re.compile(r"ttfs_cupy (\S+) on (.+)")
# no number of a run's is larger
MOST = 1e300
MOST_EPOCHS = 1 << 31
# what split.json says of the data, whatever the seed is
IMAGES, DIGESTS = ("training_images", "test_images"), ("labels", "pixels")


@dataclass(frozen=True)
class RunFiles:
    """A run without its weights and data. epochs: the lines of epochs, in their order; changes: those that say what was
    changed as the run went on; test: the test set's. data: what tells its images and labels from others; None where it
    is not known. began, ended: of the log. troubles: sentences."""

    run: RunDirectory
    config_text: str
    config: Config | None
    epochs: list[Line]
    changes: list[Line]
    test: Line | None
    result: Result | None
    data: str | None
    began: str | None
    ended: str | None
    version: str | None
    device: str | None
    troubles: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """That of its directory."""
        return self.run.path.resolve().name or str(self.run.path)

    @property
    def best_epoch(self) -> int | None:
        """As the test set's line says; None while there is none."""
        best = None if self.test is None else self.test.get("best_epoch")
        return int(best) if is_whole(best) and 0 < int(best) < MOST_EPOCHS else None


def read(path: Path) -> RunFiles:
    """The run in that directory. Raises UserError if there is none, or its config.yaml cannot be read."""
    run = RunDirectory.existing(path)
    troubles: list[str] = []
    text = read_own(run.config, f"'{run.config}'", LARGEST).decode("utf-8", "replace")
    config = None
    try:
        config = load_config(run.config, [OWN_WEIGHTS])
    except UserError as error:
        troubles.append(f"The config cannot be used: {message_of(error, 400)}.")
    epochs, changes, test = _metrics(run, troubles)
    began, ended, version, device = _log(run, troubles)
    owner = run.owner()
    if owner is not None:
        troubles.append(f"The run is still going on: {owner} is at work on it. This page shows it as it was.")
    elif epochs and test is None:
        troubles.append(f"The run is not finished: {counted(len(epochs), 'epoch')} of it, and no test set's line.")
    if test is not None:
        version, device = _text(test, "version") or version, _text(test, "device") or device
    result = _finite(read_result(run))
    return RunFiles(
        run, text, config, epochs, changes, test, result, _data(run), began, ended, version, device, troubles
    )


def _finite(result: Result | None) -> Result | None:
    """None, too, for one of which no mean could be told."""
    values = () if result is None else (result.test_accuracy, result.best_validation_accuracy, result.seconds)
    return result if all(abs(value) <= MOST for value in values) else None


def number(line: Line | None, key: str) -> float | None:
    """A finite number of a line; None for whatever else is there."""
    value = None if line is None else line.get(key)
    # written so that NaN, which compares false to everything, is none
    if not is_number(value) or not abs(value) <= MOST:  # type: ignore[arg-type]
        return None
    return float(value)  # type: ignore[arg-type]


def by_layer(line: Line | None, *keys: str) -> dict[str, float]:
    """The numbers by layer that the first of these keys has which is there."""
    for key in keys:
        found = None if line is None else line.get(key)
        if isinstance(found, Mapping):
            return {str(name): value for name in found if (value := number(found, name)) is not None}
    return {}


def _data(run: RunDirectory) -> str | None:
    """Counts and digests of the images; not which were held out, which the seed decides. Whoever opens the run is told
    what is wrong with the file."""
    try:
        recorded = run.read_split() or {}
    except UserError:
        return None
    images = [recorded.get(key) for key in IMAGES]
    digests = [digest for key in DIGESTS if isinstance(digest := recorded.get(key), str)]
    if not all(map(is_whole, images)) or len(digests) < len(DIGESTS):
        return None
    return f"{images[0]} and {images[1]} images, {' '.join(one_line(digest[:8]) for digest in digests)}"


def _metrics(run: RunDirectory, troubles: list[str]) -> tuple[list[Line], list[Line], Line | None]:
    try:
        content = read_own(run.metrics, f"'{run.metrics.name}'", LARGEST).decode("utf-8", "replace")
    except FileNotFoundError:
        troubles.append("There is no metrics.jsonl: no epoch of the run is over, or the file is gone.")
        return [], [], None
    except UserError as error:
        troubles.append(f"The run's metrics are missing: {message_of(error)}.")
        return [], [], None
    epochs: dict[int, Line] = {}
    repeated: set[int] = set()
    changes: list[Line] = []
    test, damaged, why = None, [], ""
    for place, text in enumerate(content.split("\n"), 1):
        if not text.strip():
            continue
        try:
            line = keys_and_values(text, "it is")
        except UserError as error:
            damaged.append(place)
            why = why or message_of(error)
            continue
        if is_whole(line.get("epoch")) and 0 < line["epoch"] < MOST_EPOCHS:
            if line["epoch"] in epochs:
                repeated.add(line["epoch"])
            epochs[line["epoch"]] = line
        elif is_whole(line.get(AFTER)) and 0 <= line[AFTER] < MOST_EPOCHS and isinstance(line.get("changes"), Mapping):
            changes.append(line)
        elif "test_accuracy" in line:
            test = line
        else:
            damaged.append(place)
            why = why or "it is of no epoch"
    if damaged:
        first = f"{counted(len(damaged), 'line')} of metrics.jsonl cannot be read and {are(len(damaged))} left out"
        troubles.append(f"{first}: line {damaged[0]}{' is the first' if len(damaged) > 1 else ''}, {why}.")
    if repeated:
        stand = f"{counted(len(repeated), 'epoch')} {are(len(repeated))} in metrics.jsonl more than once"
        troubles.append(f"{stand}, epoch {min(repeated)}{' first' if len(repeated) > 1 else ''}: the last line counts.")
    return [epochs[epoch] for epoch in sorted(epochs)], changes, test


def _log(run: RunDirectory, troubles: list[str]) -> tuple[str | None, str | None, str | None, str | None]:
    """When the run began, when its log ends, and which version on which device it names first."""
    try:
        lines = read_own(run.log, f"'{run.log.name}'", LARGEST).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        troubles.append("There is no log.txt, so it is not known when the run was made.")
        return None, None, None, None
    except UserError as error:
        troubles.append(f"The run's log is missing: {message_of(error)}.")
        return None, None, None, None
    found = [match for match in map(_LOGGED.fullmatch, lines) if match]
    if not found:
        return None, None, None, None
    begins = next((match for one in found if (match := _BEGINNING.fullmatch(one[2]))), None)
    version, device = (begins[1], begins[2]) if begins else (None, None)
    return found[0][1], found[-1][1], version, device


def _text(line: Line, key: str) -> str | None:
    value = line.get(key)
    return value if isinstance(value, str) else None
