"""How a stage ended, and what it left."""

from dataclasses import dataclass, field
from typing import Literal

from ttfs_cupy.check.deep.notes import Finding, Record

# interrupted: it had not ended, or not begun, when the user ended the whole
How = Literal["done", "failed", "killed", "out of time", "interrupted", "skipped"]


@dataclass(frozen=True)
class Ended:
    """A stage, how it ended, and after how many seconds.

    last: what it printed last, if it was cut off. size: bytes of its figures and findings.
    """

    name: str
    how: How
    detail: str = ""
    seconds: float = 0.0
    last: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    figures: list[Record] = field(default_factory=list)
    size: int = 0

    @property
    def lost(self) -> bool:
        """It did not come to its end, though there was time."""
        return self.how not in ("done", "skipped")

    @property
    def needs_attention(self) -> bool:
        return self.lost or any(finding.attention for finding in self.findings)
