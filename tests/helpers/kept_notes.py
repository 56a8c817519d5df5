"""What a stage of a deep check leaves, for its tests."""

import time
from pathlib import Path

from ttfs_cupy.check.deep import notes
from ttfs_cupy.check.deep.notes import Finding, Notes, Record


class Kept(Notes):
    """What a stage leaves."""

    def __init__(self, folder: Path, seconds: float = 600):
        super().__init__(folder, "stage", time.monotonic() + seconds)

    def take(self) -> tuple[list[Record], list[Finding]]:
        figures, findings, _ = notes.take(self.folder, "stage", 1 << 20)
        return figures, findings

    def marked(self) -> list[str]:
        """What needs attention."""
        return [finding.text for finding in self.take()[1] if finding.attention]
