"""The predictions as text: tables that are Markdown's, too."""

from collections.abc import Iterable, Sequence

from ttfs_cupy.benchmarks.scaling_model.assumptions import NETWORKS, NVLINKS, PROTOCOLS, Assumptions
from ttfs_cupy.benchmarks.scaling_model.prediction import OtherWay, Prediction, Run, speedup
from ttfs_cupy.benchmarks.scaling_model.share import Gradients

NOTHING_RAN = "Predicted, nothing of it was run on a GPU."
LEGEND = (
    f"{NOTHING_RAN} step: of the GPU with the most images. exchange: of all gradients by itself;\n"
    "hidden: the share of it that backward hides. efficiency: a step without exchange to one with it. times one GPU:\n"
    "images/s to those of one that computes the whole batch; small shares cost some of it, too."
)
STEPS = (
    *("GPU", "network", "between", "batch", "GPUs", "images a GPU", "step, ms", "images/s", "exchange, ms"),
    *("hidden", "efficiency"),
)
TIMES_ONE = "times one GPU"
EFFICIENCIES = (0.9, 0.5)
LIMITS = ("GPU", "network", "between", "GPUs", *(f"images a GPU for {share:.0%}" for share in EFFICIENCIES))
FASTEST = ("GPU", "network", "between", "batch", "GPUs", "images a GPU", "images/s", TIMES_ONE)
OTHER_WAYS = ("way", "GPU", "network", "between", "GPUs", "images a GPU", "step, ms", "change", "memory, MB")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of even width, numbers to the right."""
    cells = [list(heads), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if cell[:1].isdigit() or cell[:1] in ("+", "-") else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append(f"| {' | '.join(padded)} |")
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join(lines)


def assumptions(given: Assumptions, gpus: Sequence[str], between: Sequence[str]) -> str:
    lines = ["Assumptions, beside those of python -m ttfs_cupy.benchmarks.gpu_model", *given.lines()]
    for name in gpus:
        link = NVLINKS[name]
        within, in_two, in_more = link.most_by_ll
        lines.append(
            f"{f'NVLink, {name}:':22}{link.bandwidth:g} GB/s each way of {link.nominal:g} ({link.source}); by LL "
            f"{within:g} at most, {in_two:g} in two machines, {in_more:g} in more (NCCL, llMaxBws); a hop of a ring "
            f"between machines takes at least {link.overhead:g} us (NCCL, getNetOverhead)"
        )
    for name in between:
        network = NETWORKS[name]
        lines.append(f"{f'{name}:':22}{network.nominal:g} GB/s each way of a machine ({network.source})")
    lines.append(
        "Ways of NCCL 2.28 (src/graph/tuning.cc): microseconds of a call, of a hop by NVLink and by network, and"
    )
    lines.append("the shares of the bandwidth in one machine and in several, a tree's before treeCorrectionFactor")
    lines += [
        f"  {f'{way.algorithm} {way.name}:':20}{way.base:g}, {way.nvlink:g}, {way.network:g}, "
        f"{way.within:.3g}, {way.between:.3g}"
        for way in PROTOCOLS
    ]
    return "\n".join(lines)


def gradients(network: str, found: Gradients) -> str:
    """What is exchanged, and in which pieces."""
    sizes = ", ".join(f"{bucket.bytes / 1e6:.2f}" for bucket in found.buckets)
    return f"{network}: gradients of {found.bytes / 1e6:.1f} MB; buckets, in their order, of {sizes} MB"


def between_of(run: Run, ranks: int) -> str:
    """What an exchange goes over."""
    if ranks == 1:
        return ""
    return "NVLink" if run.fabric.machines(ranks) == 1 else run.between


def step(run: Run, found: Prediction) -> list[str]:
    """Under STEPS."""
    line = found.timeline
    return [
        *(run.gpu, run.network, between_of(run, found.ranks), f"{found.images:,}", f"{found.ranks:,}"),
        *(f"{found.of_a_gpu:,}", f"{line.time / 1e3:.2f}", f"{found.images_per_second:,.0f}"),
        f"{line.exchange / 1e3:.2f}" if line.exchange else "",
        f"{line.hidden / line.exchange:.0%}" if line.exchange else "",
        f"{found.efficiency:.1%}",
    ]


def limits(run: Run, ranks: int, fewest: Sequence[int | None]) -> list[str]:
    """Under LIMITS."""
    shown = ["more than 4,096" if images is None else f"{images:,}" for images in fewest]
    return [run.gpu, run.network, between_of(run, ranks), f"{ranks:,}", *shown]


def fastest(run: Run, found: Prediction) -> list[str]:
    """Under FASTEST."""
    return [
        *(run.gpu, run.network, run.between, f"{found.images:,}", f"{found.ranks:,}", f"{found.of_a_gpu:,}"),
        *(f"{found.images_per_second:,.0f}", f"{speedup(run, found):.1f}"),
    ]


def other_way(run: Run, ranks: int, images: int, found: OtherWay, beside: OtherWay) -> list[str]:
    """Under OTHER_WAYS; images: of a GPU."""
    change = f"{found.time / beside.time - 1:+.1%}" if found is not beside else ""
    return [
        *(found.what, run.gpu, run.network, between_of(run, ranks), f"{ranks:,}", f"{images:,}"),
        *(f"{found.time / 1e3:.2f}", change, f"{-found.memory / 1e6:+.1f}" if found.memory else ""),
    ]
