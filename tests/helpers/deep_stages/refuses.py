"""Cannot be used as it is asked to."""

from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.common.errors import UserError


def run(notes: Notes, device: str) -> None:
    raise UserError(f"device '{device}'\n  cannot be used")
