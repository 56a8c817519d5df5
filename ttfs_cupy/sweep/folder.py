"""A sweep's folder: what it is (sweep.json, base.yaml), what came of it (sweep.csv, errors.txt), and a folder a run."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ttfs_cupy.common.command.typed_command import typed
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import folder_lock
from ttfs_cupy.common.files.folder_lock import FolderLock, InUseError
from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import path_trouble, read_own, reason
from ttfs_cupy.common.files.writing import clear_temporaries, write_atomically
from ttfs_cupy.common.shown import shown
from ttfs_cupy.experiment.config import changes, load_config
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.sweep.plan import PlannedRun

# bytes of sweep.json: a config, and at most 10,000 values and seeds
LARGEST = 1 << 24

# Beside what is said of the lock
_OTHER_OUTPUT = "name another folder with --output"


class Record(BaseModel):
    """What a sweep is. config: its base's content; settings: the values of each key, as texts; devices: what it was
    started on, None for what the config says, which may change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    config: dict[str, Any]
    settings: dict[str, list[str]]
    seeds: list[int]
    tune: bool
    devices: list[str] | None

    def difference(self, other: "Record") -> str | None:
        """What the other one has otherwise, as a part of a sentence: "--seeds, which were [0], and are [0, 1] now"."""
        if json.dumps(self.config) != json.dumps(other.config):
            return "config, which has changed"
        for option, before, now in (
            ("--set", _written(self.settings), _written(other.settings)),
            ("--seeds", str(self.seeds), str(other.seeds)),
            ("--no-tune", self.tune, other.tune),
        ):
            if before != now:
                told = f", which were {shown(before, 100)}, and are {shown(now, 100)} now"
                return option if option == "--no-tune" else f"{option}{told}"
        return None


class SweepFolder:
    """The folder at that path, which need not be there. Whoever writes has claimed it."""

    def __init__(self, path: Path):
        self.path = path
        self.record, self.base = path / "sweep.json", path / "base.yaml"
        self.table, self.errors = path / "sweep.csv", path / "errors.txt"
        self._lock = FolderLock(path, partial(clear_temporaries, (self.record, self.base, self.table)))

    @property
    def resume_command(self) -> str:
        """What goes on with the sweep, as a user types it."""
        return typed("sweep", "--resume", self.path)

    def run_directory(self, run: PlannedRun) -> RunDirectory:
        return RunDirectory(self.path / run.name)

    def trouble(self, run: PlannedRun) -> str | None:
        """Why what is in the run's directory is not that run, as a sentence: its config is another one, or cannot be
        read. None where it is, or nothing of a run is there. The sweep's own config has to be there."""
        directory = self.run_directory(run)
        try:
            if not directory.config.exists() and not directory.has_begun:
                return None
            found = load_config(RunDirectory.existing(directory.path).config)
        except UserError as error:
            return str(error)
        planned = load_config(self.base, run.setting.overrides, {"seed": run.seed})
        for key, (here, there) in changes.of_results(planned, found).items():
            return (
                f"its folder holds a run with {key} {shown(there)}, not {shown(here)}: move or remove it, and the "
                "sweep makes the run anew"
            )
        return None

    def read(self) -> Record | None:
        """What sweep it is; None if there is none. Raises UserError."""
        if not os.path.isdir(self.path):  # noqa: PTH112 (Path's raises where it cannot be told)
            return None
        beginning = f"'{self.record}' is not the file that ttfs-sweep wrote:"
        try:
            content = read_own(self.record, f"'{self.record}'", LARGEST).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        found = keys_and_values(content, f"{beginning} it is")
        try:
            return Record.model_validate(found)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{beginning} {shown(where)}: {first['msg']}") from None

    def existing(self) -> Record:
        """What sweep it is. Raises UserError where there is none."""
        found = self.read()
        if found is None:
            raise UserError(f"'{self.path}' holds no sweep: there is no {self.record.name} in it")
        return found

    def check(self, record: Record) -> None:
        """Raises UserError where something else is in the folder than that sweep, or nothing."""
        found = self.read()
        if found is not None:
            difference = found.difference(record)
            if difference:
                raise UserError(
                    f"'{self.path}' holds a sweep with another {difference}: {_OTHER_OUTPUT}, or go on with it: "
                    f"{self.resume_command}"
                )
            return
        try:
            names = [entry.name for entry in self.path.iterdir()]
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise self._unusable(error) from None
        # of a start that was killed
        ours = (folder_lock.NAME, f".{self.base.name}-", f".{self.record.name}-")
        others = [name for name in names if not name.startswith(ours) and not self._is_base(name, record)]
        if others:
            raise UserError(
                f"'{self.path}' holds something else than a sweep ({shown(min(others))}, for one): {_OTHER_OUTPUT}"
            )

    @contextmanager
    def claimed(self, record: Record) -> Iterator[None]:
        """Claims the folder for that sweep, and makes it where there is none; releases it at the end of the block.

        Raises UserError as `check` does, or where another process is at work there, or it cannot be written.
        """
        self.check(record)
        try:
            self._lock.take(make_folder=True)
        except InUseError as error:
            raise UserError(f"{error}: let it end, or interrupt it, first") from None
        except (OSError, ValueError) as error:
            raise self._unusable(error) from None
        try:
            # of somebody who was a little earlier
            self.check(record)
            # the record last: where it is, all is there
            write_atomically(self.base, _base(record))
            write_atomically(self.record, (json.dumps(record.model_dump(), indent=1) + "\n").encode())
            yield
        finally:
            self._lock.release()

    def _is_base(self, name: str, record: Record) -> bool:
        return name == self.base.name and self.base.is_file() and self.base.read_bytes() == _base(record)

    def _unusable(self, error: OSError | ValueError) -> UserError:
        why = f"its name {path_trouble(self.path)}" if isinstance(error, ValueError) else reason(error)
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            why = "it, or a folder above it, is a file"
        return UserError(f"the sweep's folder '{self.path}' cannot be made or written: {why}")


def _base(record: Record) -> bytes:
    return config_text.write(record.config).encode()


def _written(settings: Mapping[str, list[str]]) -> str:
    return " ".join(f"{key}={','.join(values)}" for key, values in settings.items())
