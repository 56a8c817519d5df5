"""What a command may write where its user says: not over a run's own files, and over others only when told to."""

from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_there
from ttfs_cupy.common.files.writing import check_writable
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.experiment.files.run_directory import RunDirectory


def check_output(file: Path, *, force: bool, option: str = "", other: str = "another file") -> None:
    """Raises UserError where that file cannot be written, belongs to a run, or is there without `force`.

    option: what named it, for the sentence. other: what else to name.
    """
    check_writable(file)
    check_of_no_run(file)
    # a link that leads nowhere would be lost, too
    if (is_there(file) or file.is_symlink()) and not force:
        named = f"{option} '{shown_path(file)}'".lstrip()
        raise UserError(f"{named} is there already: name {other}, or add --force")


def check_of_no_run(file: Path) -> None:
    """Raises UserError for what a run keeps, whichever run that is, and by whatever name: no command writes over it."""
    for folder in dict.fromkeys((*file.absolute().parents, *file.resolve().parents)):
        run = RunDirectory(folder)
        if run.owns(file) and run.config.is_file():
            raise UserError(f"'{shown_path(file)}' is a file of the run in '{shown_path(folder)}': name another one")
