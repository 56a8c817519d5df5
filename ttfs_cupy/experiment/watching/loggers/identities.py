"""By which names other programs know a run, so that it goes on there as the same one."""

import json
from collections.abc import Callable
from pathlib import Path

from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import read_own
from ttfs_cupy.common.files.writing import write_atomically

# bytes; a name has some ten
LARGEST = 1 << 16


class Identities:
    """A file with the run's identity by the name of a logger."""

    def __init__(self, path: Path):
        self._path = path

    def has(self, logger: str) -> bool:
        return logger in self._read()

    def of(self, logger: str, make: Callable[[], str]) -> str:
        """The one that it has, or else makes, which is then kept. Raises UserError where the file cannot be read or
        written."""
        known = self._read()
        if logger not in known:
            known[logger] = make()
            write_atomically(self._path, (json.dumps(known) + "\n").encode())
        return known[logger]

    def _read(self) -> dict[str, str]:
        about = f"'{self._path}'"
        try:
            content = read_own(self._path, about, LARGEST)
        except FileNotFoundError:
            return {}
        known = keys_and_values(content.decode("utf-8", "replace"), f"{about} cannot be read: it is")
        return {name: str(identity) for name, identity in known.items()}
