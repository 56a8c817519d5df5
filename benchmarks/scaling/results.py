"""From seconds to what is reported of a task on several ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttfs_cupy.benchmarks.measure import median
from ttfs_cupy.benchmarks.scaling.ranks import AFTER, ALONE, EXCHANGE, OVERLAPPED, WHOLE, Lockstep
from ttfs_cupy.benchmarks.workload import Task
from ttfs_cupy.data.share import Share


@dataclass(frozen=True)
class Row:
    """A global batch, images, on the ranks, each with so many of them, of_a_rank at most.

    found: of a step, round by round, by side; milliseconds: medians of its seconds. efficiency: a step of the share
    alone to one with the exchange. not_overlapped: the share of the step that the exchange makes it longer by. hidden:
    of the time that ranks wait for sums with the exchange after backward, the share that they do not wait with it
    beside it, where waits are counted, as on CPUs, else hidden_by_steps: the same of how much longer steps are with it.
    times_one: images a second to those of rank 0 alone with the whole batch; problem: why there are none. bytes: what a
    rank gives, and gets, in a step; ring_bytes: what it sends where the ranks are a ring. None: of one rank, or where
    the exchange costs nothing.
    """

    network: str
    images: int
    ranks: int
    of_a_rank: int
    psp_slope: float
    found: Lockstep
    milliseconds: Mapping[str, float]
    images_per_second: float
    efficiency: float | None
    not_overlapped: float | None
    hidden: float | None
    hidden_by_steps: float | None
    times_one: float | None
    bytes: int
    ring_bytes: int
    buckets: Sequence[int]
    problem: str = ""


def row(task: Task, ranks: int, found: Lockstep, buckets: Sequence[int], problem: str) -> Row:
    """buckets: bytes of each. problem: why rank 0 did not compute the whole batch, if it did not."""
    middle = {side: median(of_side) for side, of_side in found.seconds.items()}
    step = middle.get(OVERLAPPED, middle[ALONE])
    several = ranks > 1
    waited = {side: median(of_side) for side, of_side in found.waits.items()}
    by_steps = _hidden(*(middle[side] - middle[ALONE] for side in (AFTER, OVERLAPPED))) if several else None
    size = sum(buckets) if several else 0
    return Row(
        *(task.workload.name, task.batch_size, ranks, Share(0, ranks).most(task.batch_size), task.psp_slope),
        found=found,
        milliseconds={side: 1e3 * of_side for side, of_side in middle.items()},
        images_per_second=task.batch_size / step,
        efficiency=middle[ALONE] / step if several else None,
        not_overlapped=1 - middle[ALONE] / step if several else None,
        hidden=_hidden(waited[AFTER], waited[OVERLAPPED]) if several and waited[AFTER] else by_steps,
        hidden_by_steps=by_steps,
        times_one=middle[WHOLE] / step if WHOLE in middle else None,
        bytes=size,
        ring_bytes=2 * (ranks - 1) * size // ranks,
        buckets=buckets if several else (),
        problem=problem,
    )


def _hidden(after: float, beside: float) -> float | None:
    return 1 - beside / after if after > 0 else None


HEADS = (
    *("network", "batch", "of a rank", "alone", "overlapped", "after", "exchange", "images/s", "efficiency"),
    *("not overlapped", "hidden", "by steps", "whole", "times one"),
)


def cells(row: Row) -> list[str]:
    """Under HEADS."""

    def milliseconds(side: str) -> str:
        return f"{row.milliseconds[side]:,.1f}" if side in row.milliseconds else "-"

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    return [
        *(row.network, f"{row.images:,}", f"{row.of_a_rank:,}"),
        *(milliseconds(side) for side in (ALONE, OVERLAPPED, AFTER, EXCHANGE)),
        *(f"{row.images_per_second:,.1f}", share(row.efficiency), share(row.not_overlapped)),
        *(
            share(row.hidden),
            share(row.hidden_by_steps),
            milliseconds(WHOLE),
            "-" if row.times_one is None else f"{row.times_one:.2f}",
        ),
    ]


def bytes_line(row: Row) -> str:
    """What a rank exchanges in a step."""
    sizes = ", ".join(f"{size / 1e6:.2f}" for size in row.buckets)
    return (
        f"{row.network}: gradients of {row.bytes / 1e6:.1f} MB a rank and step, in buckets of {sizes} MB; in a ring a "
        f"rank sends {row.ring_bytes / 1e6:.1f} MB"
    )


def legend(rounds: int, steps_per_turn: int) -> str:
    """What the columns mean."""
    turns = f", each of {steps_per_turn} steps" if steps_per_turn > 1 else ""
    counted = f"{rounds} round{'s' if rounds > 1 else ''}{turns}"
    return (
        f"Milliseconds of a step, of the rank that takes the longest: medians of {counted}.\n"
        "alone: a rank's share without exchange. overlapped: with it beside backward, as in training. after: with it,\n"
        "once backward is done. exchange: by itself. whole: the whole batch at one rank, while the others wait.\n"
        "images/s: overlapped. efficiency: alone to overlapped. not overlapped: of the step, what the exchange adds.\n"
        "hidden: of the time that ranks wait for sums after backward, what they do not beside it (on CPUs). by steps:\n"
        "the same of how much longer steps are with it, a difference of medians. times one: whole to overlapped."
    )
