"""The report as text."""

from collections.abc import Sequence

from ttfs_cupy.benchmarks.comparison.layers import ELSEWHERE, Breakdown
from ttfs_cupy.benchmarks.comparison.memory import Weighed
from ttfs_cupy.benchmarks.comparison.peak import Peak
from ttfs_cupy.benchmarks.comparison.results import Row
from ttfs_cupy.benchmarks.comparison.sides import OURS

COLUMNS = (
    f"{'network':9}{'batch':>6}  {'work':11}{'side':18}{'ms':>10}{'from .. to':>22}"
    f"{'images/s':>11}{'GFLOP/s':>10}{'of peak':>9}{'ratio':>8}"
)


def peak_line(peak: Peak) -> str:
    return f"peak: {peak.gflops:,.0f} GFLOP/s, a float32 product of {peak.size} x {peak.size} matrices by {peak.by}"


def row_line(row: Row) -> str:
    """One side of a task, under COLUMNS."""
    start = f"{row.network:9}{row.batch_size:6}  {row.work:11}{f'{row.side} {row.variant}'.strip():18}"
    if row.milliseconds is None:
        return f"{start}  {row.problem}"
    spread = f"{row.fastest:,.1f} .. {row.slowest:,.1f}"
    return (
        f"{start}{row.milliseconds:10,.1f}{spread:>22}{row.images_per_second:11,.1f}"
        f"{row.gflops:10,.1f}{f'{row.share_of_peak:.0%}':>9}{row.ratio:8.2f}"
    )


def legend(rows: Sequence[Row], rounds: int, steps_per_turn: int) -> str:
    """What the columns mean, after the rows."""
    turns = f", each of {steps_per_turn} steps" if steps_per_turn > 1 else ""
    sentences = [
        f"ms: median of {rounds} round{'s' if rounds > 1 else ''}{turns}, and the fastest and slowest.",
        "GFLOP/s: as if every convolution were computed directly; one that saves multiplications may exceed the peak.",
    ]
    if any(row.side != OURS for row in rows):
        sentences.append(f"ratio: ms of a side to ms of {OURS}; above 1 means that {OURS} is faster.")
    if any(row.side == "ann" for row in rows):
        sentences.append("ann: an ordinary network of the same shape, with clipped ReLUs and autograd;")
        same = rows[0].psp_slope == 0
        sentences.append(
            f"     {'the same function' if same else 'another function: three convolutions a step, not five'}."
        )
    return "\n".join(sentences)


def breakdown(of: Breakdown) -> str:
    """Layer by layer, and what lies outside of the convolutions."""
    width = max(len(part.layer) for part in of.parts) + 2
    lines = [
        f"{of.network}, batch {of.batch_size}, psp_slope {of.psp_slope:g}: a step of {of.step_milliseconds:,.1f} ms, "
        "each part of which waits for the one before",
        "",
        f"{'layer':{width}}{'part':17}{'algorithm':12}{'ms':>10}{'share':>8}{'GFLOP/s':>10}",
    ]
    for part in of.parts:
        gflops = "" if part.gflops is None else f"{part.gflops:10,.1f}"
        start = f"{part.layer:{width}}{part.part:17}{part.algorithm:12}"
        lines.append(f"{start}{part.milliseconds:10,.2f}{part.share:8.1%}{gflops}")
    outside = [part for part in of.parts if part.gflops is None]
    milliseconds, share = sum(part.milliseconds for part in outside), sum(part.share for part in outside)
    lines += ["", f"outside of the convolutions: {milliseconds:,.2f} ms, {share:.1%}"]
    lines.append(f"({ELSEWHERE}: launching, and what Python does between the parts)")
    return "\n".join(lines)


def memory(weighed: Sequence[Weighed]) -> str:
    """Peak memory of each side's process."""
    gpu = any(each.footprint and each.footprint.gpu is not None for each in weighed)
    lines = [
        "peak memory in MiB of a process for each side: resident before the first step, resident at most"
        + (", and of the GPU's held by its allocator at most" if gpu else ""),
        "",
        f"{'network':9}{'batch':>6}  {'work':11}{'side':18}"
        f"{'before':>9}{'peak':>9}{'GPU' if gpu else '':>9}{'ratio':>8}",
    ]
    ours = {(each.network, each.batch_size, each.work): each.footprint for each in weighed if each.side == OURS}
    for each in weighed:
        base = ours[each.network, each.batch_size, each.work]
        lines.append(_memory_line(each, base.decisive if base else None))
    return "\n".join(lines)


def _memory_line(weighed: Weighed, ours: int | None) -> str:
    side = f"{weighed.side} {weighed.variant}".strip()
    start = f"{weighed.network:9}{weighed.batch_size:6}  {weighed.work:11}{side:18}"
    footprint = weighed.footprint
    if footprint is None:
        return f"{start}  {weighed.problem}"
    gpu = "" if footprint.gpu is None else f"{footprint.gpu / 2**20:.0f}"
    ratio = f"{footprint.decisive / ours:8.2f}" if ours else ""
    return f"{start}{footprint.ready / 2**20:9.0f}{footprint.peak / 2**20:9.0f}{gpu:>9}{ratio}"
