"""The energy of each layer as a picture: the spiking network in both ways, beside the ANN."""

from collections.abc import Callable
from typing import Any

from ttfs_cupy.energy.costs import ADDITIONS, ANN, EVENTS, WAYS, Work, total, work
from ttfs_cupy.energy.counting import Operations
from ttfs_cupy.plot.canvas import BLUE, GREY, ORANGE, SMALL, matplotlib, saved

COLOURS = {ADDITIONS: BLUE, EVENTS: ORANGE, ANN: GREY}
WIDTH = 0.27


def picture(operations: Operations, memory: str) -> bytes:
    """A PNG: for arithmetic and for memory, a group of bars for each layer; the legends have the sums."""
    names = [layer.name for layer in operations.weighted]
    figure = matplotlib("figure").Figure(figsize=(max(7.5, 3.6 + 0.62 * len(names)), 6.2), layout="constrained")
    arithmetic, accesses = figure.subplots(2, 1, sharex=True)
    _bars(arithmetic, operations, lambda done: done.arithmetic)
    _bars(accesses, operations, lambda done: done.memory(memory))
    arithmetic.set_ylabel("arithmetic, nJ")
    accesses.set_ylabel(f"memory ({memory}), nJ")
    accesses.set_xticks(range(len(names)), names, rotation=45 if len(names) > 10 else 0)
    title = f"energy of an image, by operations counted on {operations.images:,} images"
    figure.suptitle(title, fontsize="medium")
    return saved(figure, format="png", dpi=130)


def _bars(axes: Any, operations: Operations, energy: Callable[[Work], float]) -> None:
    images = operations.images
    weighted = operations.weighted
    for place, (way, name) in enumerate(WAYS.items()):
        heights = [energy(work(layer, images, way)) for layer in weighted]
        whole: Work = total(weighted, images, way)
        places = [number + (place - 1) * WIDTH for number in range(len(weighted))]
        axes.bar(places, heights, WIDTH, color=COLOURS[way], label=f"{name}: {_si(energy(whole))}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    axes.legend(fontsize=SMALL, frameon=False, title="sum of all layers", title_fontsize=SMALL, **beside)


def _si(nanojoules: float) -> str:
    return f"{nanojoules / 1e3:,.2f} µJ" if nanojoules >= 1e3 else f"{nanojoules:,.1f} nJ"
