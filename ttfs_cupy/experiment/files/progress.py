"""Where a run stands between two epochs, and whether what a file says of it can be true."""

from dataclasses import dataclass, fields

from ttfs_cupy.common.checks import check_count, check_number
from ttfs_cupy.common.shown import shown
from ttfs_cupy.engine.optimizer import StepCounts


@dataclass
class Progress:
    """Counts since the start; best_accuracy is -1 before there is one."""

    epochs: int = 0
    step: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    epochs_without_improvement: int = 0
    skipped: int = 0
    clipped: int = 0

    @classmethod
    def from_metadata(cls, metadata: object, steps_per_epoch: int) -> "Progress":
        """What a file's metadata say. Raises ValueError, naming what is wrong, unless they agree."""
        if not isinstance(metadata, dict):
            raise ValueError(f"its progress is {shown(metadata)}, not keys and values")
        unknown = set(metadata) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"its progress has a key {shown(min(unknown))}, which means nothing here")
        progress = cls(**metadata)
        for field in fields(cls):
            about, value = f"its {field.name}", getattr(progress, field.name)
            if field.type in (float, "float"):
                check_number(about, value, -1, 1)
            else:
                check_count(about, value, least=0, most=2**53)
        progress._check(steps_per_epoch)
        return progress

    def check_counts(self, counts: StepCounts) -> None:
        """ValueError unless an optimiser that has counted so has taken these steps."""
        if min(counts.applied, counts.skipped, counts.clipped) < 0 or counts.applied + counts.skipped != self.step:
            raise ValueError(
                f"its optimiser counts {counts.applied} steps and {counts.skipped} skipped ones after step {self.step}"
            )
        if not 0 <= counts.in_a_row <= counts.longest_row <= counts.skipped:
            raise ValueError(
                f"its optimiser counts {counts.in_a_row} steps skipped in a row, {counts.longest_row} at most, and "
                f"{counts.skipped} in all"
            )

    def _check(self, steps_per_epoch: int) -> None:
        if self.step != self.epochs * steps_per_epoch:
            raise ValueError(
                f"it is at step {self.step} after {self.epochs} epochs, which have {steps_per_epoch} steps each here"
            )
        for name, most in (
            ("best_epoch", self.epochs),
            ("epochs_without_improvement", self.epochs),
            ("skipped", self.step),
            ("clipped", self.step),
        ):
            if getattr(self, name) > most:
                raise ValueError(f"its {name} is {getattr(self, name)}, and can be {most} at most")
