"""The table that Network.summary() prints, and that notebooks show."""

from collections.abc import Sequence
from html import escape

from ttfs_cupy.common.columns import aligned
from ttfs_cupy.engine.layers import Layer, Weighted
from ttfs_cupy.engine.plan import Plan

# what the last two columns are
UNITS = "forward, training: million multiply-adds per image"


def summary(layers: Sequence[Layer], input_shape: tuple[int, int, int], plan: Plan | None = None) -> str:
    """Layer, output shape (channels first), parameters, and multiply-adds per image forward and in training."""
    head, *lines, total = aligned(_rows(layers, input_shape), left=2)
    rule = "-" * len(head)
    planned = "" if plan is None else f"\n{_memory(plan)}"
    return "\n".join([head, rule, *lines, rule, total, f"({UNITS})"]) + planned


def summary_html(layers: Sequence[Layer], input_shape: tuple[int, int, int], plan: Plan | None = None) -> str:
    """The same as a table of HTML, for notebooks: its heads say of which column or row they are."""
    head, *lines, total = _rows(layers, input_shape)
    caption = escape(UNITS if plan is None else f"{UNITS}; {_memory(plan)}")
    heads = "".join(
        f'<th scope="col" style="{_aligned(column)}">{escape(cell)}</th>' for column, cell in enumerate(head)
    )
    body = "".join(map(_html_row, lines))
    return (
        f"<table>\n<caption>{caption}</caption>\n<thead>\n<tr>{heads}</tr>\n</thead>\n"
        f"<tbody>\n{body}</tbody>\n<tfoot>\n{_html_row(total)}</tfoot>\n</table>"
    )


def _html_row(cells: Sequence[str]) -> str:
    first, *rest = map(escape, cells)
    named = f'<th scope="row" style="{_aligned(0)}">{first}</th>'
    numbers = "".join(f'<td style="{_aligned(column)}">{cell}</td>' for column, cell in enumerate(rest, 1))
    return f"<tr>{named}{numbers}</tr>\n"


def _aligned(column: int) -> str:
    return f"text-align: {'left' if column < 2 else 'right'}"


def _rows(layers: Sequence[Layer], input_shape: tuple[int, int, int]) -> list[tuple[str, ...]]:
    """The head, a row for the input and for each layer, and the total."""
    rows: list[tuple[str, ...]] = [("layer", "output", "parameters", "forward", "training")]
    rows.append(("input", _shape(input_shape), "", "", ""))
    totals = [0, 0, 0]
    for index, layer in enumerate(layers):
        height, width, channels = layer.out_shape
        flat = isinstance(layer, Weighted) and layer.flat
        counts = _counts(layer, first=index == 0)
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        numbers = [f"{counts[0]:,}", *(_millions(count) for count in counts[1:])] if layer.has_weights else ["", "", ""]
        rows.append((layer.name, _shape((channels,) if flat else (channels, height, width)), *numbers))
    rows.append(("total", "", f"{totals[0]:,}", *(_millions(total) for total in totals[1:])))
    return rows


def _memory(plan: Plan) -> str:
    purpose = "training" if plan.training else "inference"
    return f"{plan.bytes:,} bytes in one arena, for {purpose} with batches of up to {plan.batch_size}"


def _counts(layer: Layer, first: bool) -> tuple[int, int, int]:
    """Parameters, multiply-adds forward and in a training step. A and S, two weight gradients, one data gradient."""
    if not isinstance(layer, Weighted):
        return 0, 0, 0
    once = layer.shape.multiplications
    products = 2 if layer.neuron.needs_weight_sum else 1
    potentials = 0 if layer.potential is None else layer.shape.out_channels
    return layer.shape.weights + potentials, products * once, (2 * products + (0 if first else 1)) * once


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f} M"


def _shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in sizes)
