"""The report as a picture: images per second of each side."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ttfs_cupy.benchmarks.comparison.results import Row
from ttfs_cupy.plot.canvas import saved


def picture(rows: Sequence[Row], title: str) -> bytes:
    """A PNG: a group of bars for each task, a bar for each side, and a line from its slowest to its fastest round."""
    tasks = list(dict.fromkeys((row.network, row.batch_size, row.work) for row in rows))
    sides = list(dict.fromkeys(row.side for row in rows))
    figure = Figure(figsize=(3 + 1.5 * len(tasks), 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(sides)
    for number, side in enumerate(sides):
        shown = [row for row in rows if row.side == side and row.milliseconds is not None]
        places = [tasks.index((row.network, row.batch_size, row.work)) + (number + 0.5) * width - 0.4 for row in shown]
        speeds = [row.images_per_second or 0.0 for row in shown]
        # from the bar's end down to the slowest round and up to the fastest
        below = [speed - 1e3 * row.batch_size / (row.slowest or 1) for speed, row in zip(speeds, shown, strict=True)]
        above = [1e3 * row.batch_size / (row.fastest or 1) - speed for speed, row in zip(speeds, shown, strict=True)]
        axes.bar(places, speeds, width, yerr=[below, above], label=side, capsize=2)
    axes.set_xticks(range(len(tasks)), [f"{network}, {batch_size}\n{work}" for network, batch_size, work in tasks])
    axes.set_ylabel("images per second")
    axes.set_title(title, fontsize="medium", wrap=True)
    axes.legend()
    return saved(figure, format="png", dpi=150)
