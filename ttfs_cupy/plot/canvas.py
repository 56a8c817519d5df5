"""Where a figure is drawn, and its colours: told apart by colour-blind readers, too."""

from __future__ import annotations

import io
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import message_of, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PACKAGE = ("matplotlib, which draws figures,", "pip install 'ttfs-cupy[plot]'")

# Okabe and Ito's palette, "Color Universal Design" (2008)
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#7f7f7f"
# of what lies behind the data: light on white, and dark on black
SHADE: dict[str, Any] = {"color": GREY, "alpha": 0.12, "linewidth": 0, "zorder": 0}

SMALL, NORMAL = 8, 9  # points


def matplotlib(module: str, package: str = _PACKAGE[0], install: str = _PACKAGE[1]) -> ModuleType:
    """A module of matplotlib. package, install: what it is needed for, and what to do, as `imported` takes them.

    Raises UserError where it is not installed, or refuses its settings.
    """
    try:
        return imported(f"matplotlib.{module}" if module else "matplotlib", package, install)
    except UserError:
        raise
    except ValueError as error:
        backend = os.environ.get("MPLBACKEND")
        look = f"MPLBACKEND={one_line(backend, 60)}" if backend else "its file matplotlibrc"
        raise UserError(f"matplotlib refuses its settings ({message_of(error, 160)}): mend or unset {look}") from error


def axes_for(ax: Axes | None, width: float, height: float) -> Axes:
    """Those given, or the only ones of a new figure of so many inches, which pyplot shows and closes as its own."""
    if ax is not None:
        return ax
    try:
        figure = matplotlib("pyplot").figure(figsize=(width, height), layout="constrained")
    except ImportError:
        # a window was asked for, by MPLBACKEND say, where there is no display: what is drawn can still be saved
        figure = matplotlib("figure").Figure(figsize=(width, height), layout="constrained")
    new: Axes = figure.add_subplot()
    new.spines[["top", "right"]].set_visible(False)
    return new


def depth_colours(count: int) -> list[tuple[float, ...]]:
    """A colour for each of so many layers, dark at the bottom of the network and light at its top (viridis)."""
    colours = matplotlib("cm").ScalarMappable(matplotlib("colors").Normalize(0, 1), "viridis")
    # its last quarter is too light on white
    return [tuple(map(float, colours.to_rgba(0.75 * place / max(1, count - 1)))) for place in range(count)]


def saved(figure: Any, **options: Any) -> bytes:
    """A figure's file. options: as its `savefig` takes them."""
    buffer = io.BytesIO()
    figure.savefig(buffer, **options)
    return buffer.getvalue()
