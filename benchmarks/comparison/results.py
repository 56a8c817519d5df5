"""From seconds to what is reported: one row for each side of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ttfs_cupy.benchmarks.comparison.sides import OURS, variants
from ttfs_cupy.benchmarks.measure import Measured, median
from ttfs_cupy.benchmarks.workload import Task


@dataclass(frozen=True)
class Row:
    """A side in one task, by its fastest variant. seconds: per step, round by round; milliseconds: their median.

    gflops: GFLOP/s, as if convolved directly. ratio: of the medians, this side's to the engine's.
    variants: median milliseconds of each, where there are several. problem: why there are no numbers.
    """

    network: str
    batch_size: int
    work: str
    psp_slope: float
    side: str
    variant: str = ""
    seconds: list[float] = field(default_factory=list)
    milliseconds: float | None = None
    fastest: float | None = None
    slowest: float | None = None
    images_per_second: float | None = None
    gflops: float | None = None
    share_of_peak: float | None = None
    ratio: float | None = None
    variants: dict[str, float] = field(default_factory=dict)
    problem: str = ""


def rows(task: Task, names: Sequence[str], measured: Measured, flops: Mapping[str, int], peak: float) -> list[Row]:
    """A row for each side. flops: per image, by side. peak: GFLOP/s."""
    return [_row(task, name, measured, flops[name], peak) for name in names]


def _row(task: Task, name: str, measured: Measured, flops: int, peak: float) -> Row:
    about = (task.workload.name, task.batch_size, task.work, task.psp_slope, name)
    by_variant = {
        variant: measured.seconds[label]
        for variant in variants(name)
        if (label := f"{name} {variant}".strip()) in measured.seconds
    }
    if not by_variant:
        return Row(*about, problem=" ".join(dict.fromkeys(_failures(name, measured))))
    variant = min(by_variant, key=lambda each: median(by_variant[each]))
    seconds = by_variant[variant]
    middle = median(seconds)
    gflops = flops * task.batch_size / middle / 1e9
    return Row(
        *about,
        variant=variant,
        seconds=seconds,
        milliseconds=1e3 * middle,
        fastest=1e3 * min(seconds),
        slowest=1e3 * max(seconds),
        images_per_second=task.batch_size / middle,
        gflops=gflops,
        share_of_peak=gflops / peak,
        ratio=middle / median(measured.seconds[OURS]),
        variants={each: 1e3 * median(taken) for each, taken in by_variant.items()} if len(by_variant) > 1 else {},
    )


def _failures(name: str, measured: Measured) -> list[str]:
    return [sentence for label, sentence in measured.failures.items() if label.split()[0] == name]
