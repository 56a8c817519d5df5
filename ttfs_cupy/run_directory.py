"""A run's directory: config.yaml, metrics.jsonl, log.txt, best.safetensors, last.safetensors."""

import logging
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.errors import UserError
from ttfs_cupy.files import write_atomically

logger = logging.getLogger("ttfs_cupy")


@dataclass(frozen=True)
class RunDirectory:
    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"


def create(path: Path, config_text: str) -> RunDirectory:
    """A new run's directory with its config. Raises UserError if a run is there already, or it cannot be written."""
    run = RunDirectory(path)
    if run.config.exists():
        raise UserError(
            f"'{path}' already holds a run: name another folder with --output, or go on with --resume {path}"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the output directory '{path}' cannot be made: {error.strerror}") from None
    write_atomically(run.config, config_text.encode())
    return run


def unused(base: Path) -> Path:
    """base, or base-2, base-3, ...: the first in which there is no run."""
    number, path = 1, base
    while RunDirectory(path).config.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def existing(path: Path) -> RunDirectory:
    """The run in that directory. Raises UserError if there is none."""
    run = RunDirectory(path)
    if not run.config.exists():
        raise UserError(f"'{path}' holds no run: there is no config.yaml in it")
    return run


def log_to(run: RunDirectory) -> None:
    """Sends the log to log.txt too, with times; the console gets the messages alone."""
    try:
        handler = logging.FileHandler(run.log)
    except OSError as error:
        raise UserError(f"{run.log} cannot be written: {error.strerror}") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
