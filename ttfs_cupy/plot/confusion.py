"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line, shown
from ttfs_cupy.plot.canvas import NORMAL, axes_for, matplotlib
from ttfs_cupy.plot.spike_times import array_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_NAME = 20
MOST_CLASSES = 10_000
# Points: the smallest letters that can be read, what a digit takes of its height, and the room that a name needs
SMALLEST, DIGIT, NAME = 5.0, 0.62, 7.5
# shares of a class are few but on the diagonal: their square roots are what colours stand for
GAMMA = 0.5


def confusion_matrix(
    matrix: ArrayLike | tuple[ArrayLike, ArrayLike],
    class_names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draws how many images of each class (a row) were predicted to be of each class (a column).

    matrix: counts, whole numbers (classes, classes); or a tuple of two, labels and predictions, whole numbers (N,).
    class_names: one for each class; None for numbers. Colours stand for shares of the row; the counts are written into
    the cells where they can be read.
    Raises UserError (a ValueError) for counts, labels or names that are none.
    """
    class_names = _in_order(class_names)
    counts = _counts(matrix, class_names)
    classes, images = len(counts), int(counts.sum())
    side = min(8.0, max(4.2, 2.2 + 0.32 * classes))
    axes = axes_for(ax, side + 0.9, side)
    of_row = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(1, of_row)
    norm = matplotlib("colors").PowerNorm(GAMMA, 0, 100)
    drawn = axes.imshow(shares, "Blues", norm=norm, interpolation="nearest", aspect="equal")
    axes.spines[:].set_visible(True)
    figure = axes.figure
    figure.colorbar(drawn, ax=axes, label="share of the class, %", ticks=[0, 1, 5, 10, 25, 50, 75, 100], shrink=0.8)
    correct = f", accuracy {100 * int(np.trace(counts)) / images:.2f} %" if images else ""
    axes.set_title(f"{images:,} images{correct}", size=NORMAL)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("class")
    # in points, of the axes as they will be beside names and the scale of colours
    cell = 0.72 * 72 / figure.dpi * min(axes.get_window_extent().size) / classes
    _name_classes(axes, classes, class_names, cell)
    _write_counts(axes, counts, shares, cell)
    return axes


def _in_order(names: Any) -> list[Any] | None:
    """Those of a list, a tuple or an array."""
    if names is None:
        return None
    if isinstance(names, str | bytes | Set | Mapping) or not isinstance(names, Iterable):
        raise UserError(f"class_names must be a list of names, in the order of the classes, not {shown(names)}")
    return list(names)


def _counts(matrix: Any, names: Sequence[str] | None) -> NDArray[np.int64]:
    if isinstance(matrix, tuple) and len(matrix) == 2:
        labels, predictions = (_whole(name, one) for name, one in zip(("labels", "predictions"), matrix, strict=True))
        if labels.ndim != 1 or labels.shape != predictions.shape or not len(labels):
            raise UserError(
                f"labels and predictions must be as many numbers, in a row, not {labels.shape} and {predictions.shape}"
            )
        classes = max(int(labels.max()), int(predictions.max())) + 1
        classes = classes if names is None else max(classes, len(names))
        _check_classes(classes)
        counts = np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)
    else:
        counts = _whole("matrix", matrix)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
            raise UserError(f"matrix must have shape (classes, classes), not {counts.shape}")
        _check_classes(len(counts))
    if names is not None and len(names) != len(counts):
        raise UserError(f"class_names must be {len(counts)} names, one for each class, not {shown(names)}")
    return counts


def _check_classes(classes: int) -> None:
    if classes > MOST_CLASSES:
        raise UserError(f"a matrix of {classes:,} classes cannot be drawn: there may be up to {MOST_CLASSES:,}")


def _whole(name: str, values: ArrayLike) -> NDArray[np.int64]:
    numbers = array_of(name, values)
    if not bool(((numbers >= 0) & (numbers <= 2**53) & (numbers == np.floor(numbers))).all()):
        raise UserError(f"{name} must hold whole numbers from 0, not {shown(values)}")
    return numbers.astype(np.int64)


def _name_classes(axes: Axes, classes: int, names: Sequence[str] | None, cell: float) -> None:
    """As many as there is room for, evenly."""
    step = next(
        step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000) if step * cell >= NAME or step == 2000
    )
    places = range(0, classes, step)
    texts = [str(place) if names is None else one_line(str(names[place]), LONGEST_NAME) for place in places]
    size = min(NORMAL, max(SMALLEST + 1, 0.8 * step * cell))
    is_long = DIGIT * size * max(map(len, texts)) > 0.95 * cell * step
    # a class may be called $$, which is no formula
    style: dict[str, Any] = {"size": size, "parse_math": False}
    axes.set_yticks(places, texts, **style)
    turned: dict[str, Any] = {
        "rotation": 90 if cell * step < 14 else 45,
        "ha": "right",
        "va": "center",
        "rotation_mode": "anchor",
    }
    axes.set_xticks(places, texts, **style, **(turned if is_long else {}))


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.floating[Any]], cell: float) -> None:
    digits = len(str(counts.max()))
    size = min(float(NORMAL), 0.6 * cell, 0.9 * cell / (DIGIT * digits))
    if size < SMALLEST:
        return
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 35 else "black"
        place: dict[str, Any] = {"ha": "center", "va": "center", "size": size, "color": colour}
        axes.text(column, row, str(counts[row, column]), **place)
