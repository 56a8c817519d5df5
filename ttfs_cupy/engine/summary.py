"""The table that Network.summary() prints."""

from collections.abc import Sequence

from ttfs_cupy.common.columns import aligned
from ttfs_cupy.engine.layers import Layer, Weighted
from ttfs_cupy.engine.plan import Plan


def summary(layers: Sequence[Layer], input_shape: tuple[int, int, int], plan: Plan | None = None) -> str:
    """Layer, output shape (channels first), parameters, and multiply-adds per image forward and in training."""
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
    head, *lines, total = aligned(rows, left=2)
    rule = "-" * len(head)
    return (
        "\n".join([head, rule, *lines, rule, total])
        + "\n(forward, training: million multiply-adds per image)"
        + _memory(plan)
    )


def _memory(plan: Plan | None) -> str:
    """What is planned, if anything is."""
    if plan is None:
        return ""
    purpose = "training" if plan.training else "inference"
    return f"\n{plan.bytes:,} bytes in one arena, for {purpose} with batches of up to {plan.batch_size}"


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
