"""Operations and energy of an image: as lines of text, and as what JSON holds."""

from collections.abc import Callable, Sequence
from typing import Any

from ttfs_cupy.common.columns import aligned
from ttfs_cupy.energy import costs
from ttfs_cupy.energy.costs import ANN, WAYS, Work, additions_of_a_tick, total, work
from ttfs_cupy.energy.counting import LayerOperations, Operations, share_of_ann


def lines(operations: Operations, memory: str) -> list[str]:
    """Three tables, the layers below one another: operations, the energy of arithmetic, that of memory."""
    per_tick = additions_of_a_tick(operations)
    return [
        *_table("operations of an image", _operations(operations)),
        "",
        *_table(f"arithmetic of an image, nJ ({costs.SOURCE})", _arithmetic(operations)),
        "",
        *_table(
            f"memory of an image, nJ ({memory}: {costs.ACCESS[memory]:g} pJ for 32 bits), in brackets million accesses",
            _memory(operations, memory),
        ),
        "",
        f"additions only: neurons integrate by themselves; a clocked circuit adds {per_tick:,} times more, "
        f"{Work(per_tick).arithmetic:,.1f} nJ, for each tick of a window",
        *_comparison(operations, memory),
    ]


def _table(title: str, rows: list[tuple[str, ...]]) -> list[str]:
    head, *body, last = aligned(rows, left=1)
    rule = "-" * max(map(len, (head, *body, last)))
    return [title, head, rule, *body, rule, last]


def _operations(operations: Operations) -> list[tuple[str, ...]]:
    head = (
        "layer",
        "neurons",
        "spikes",
        "firing rate",
        "synaptic operations",
        "multiply-adds",
        "ANN's multiply-adds",
        "share",
    )
    rows: list[tuple[str, ...]] = [head]
    for layer in operations.layers:
        rate = operations.firing_rate(layer)
        fires = ("", "") if rate is None else (f"{layer.spikes_of(operations.images):,.1f}", f"{rate:.3f}")
        rows.append((layer.name, f"{layer.neurons:,}", *fires, *_synapses([layer], operations.images)))
    # pooling has no neurons of its own: it lets spikes through
    firing = operations.weighted
    neurons, spikes = (
        sum(layer.neurons for layer in firing),
        sum(layer.spikes_of(operations.images) for layer in firing),
    )
    rows.append(("total", f"{neurons:,}", f"{spikes:,.1f}", "", *_synapses(firing, operations.images)))
    return _without_empty_columns(rows)


def _synapses(layers: Sequence[LayerOperations], images: int) -> tuple[str, str, str, str]:
    connections, share = sum(layer.connections for layer in layers), share_of_ann(layers, images)
    if share is None:
        return "", "", "", ""
    events = sum(layer.synaptic_operations for layer in layers) / images
    products = sum(layer.multiply_adds for layer in layers) // images
    shown = f"{100 * share:.1f} %"
    return f"{events:,.0f}" if events else "", f"{products:,}" if products else "", f"{connections:,}", shown


def _without_empty_columns(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Without the columns that have nothing but a head."""
    kept = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return list(zip(*kept, strict=True))


def _arithmetic(operations: Operations) -> list[tuple[str, ...]]:
    return _by_layer(operations, lambda done: f"{done.arithmetic:,.1f}")


def _memory(operations: Operations, memory: str) -> list[tuple[str, ...]]:
    return _by_layer(operations, lambda done: f"{done.memory(memory):,.1f} ({done.accesses / 1e6:,.3f})")


def _by_layer(operations: Operations, shown: Callable[[Work], str]) -> list[tuple[str, ...]]:
    weighted = operations.weighted
    rows: list[tuple[str, ...]] = [("layer", *WAYS.values())]
    rows += [(layer.name, *(shown(work(layer, operations.images, way)) for way in WAYS)) for layer in weighted]
    return [*rows, ("total", *(shown(total(weighted, operations.images, way)) for way in WAYS))]


def _comparison(operations: Operations, memory: str) -> list[str]:
    """How each way compares with the ANN, in words."""
    ann = total(operations.layers, operations.images, ANN)
    said = []
    for way in (way for way in WAYS if way != ANN):
        done = total(operations.layers, operations.images, way)
        both, of_ann = (one.arithmetic + one.memory(memory) for one in (done, ann))
        said.append(
            f"{WAYS[way] + ':':16}{100 * done.arithmetic / ann.arithmetic:.1f} % of the ANN's energy in arithmetic, "
            f"{100 * both / of_ann:.1f} % with memory"
        )
    return said


def content(operations: Operations, memory: str) -> dict[str, Any]:
    """Of an image, on average, for JSON; energies in nJ."""
    images = operations.images
    return {
        "images": images,
        "accuracy": operations.accuracy,
        "psp_slope": operations.psp_slope,
        "source": costs.SOURCE,
        "pj": {
            "addition": costs.ADDITION,
            "multiply_add": costs.MULTIPLY_ADD,
            "memory": memory,
            "access": costs.ACCESS[memory],
        },
        "layers": [_layer(layer, operations, memory) for layer in operations.layers],
        "total": {
            "synaptic_operations": operations.synaptic_operations,
            "multiply_adds": sum(layer.multiply_adds for layer in operations.layers) / images,
            "ann_multiply_adds": operations.ann_multiply_adds,
            "clocked_additions_per_tick": additions_of_a_tick(operations),
            **{way: _energy(total(operations.layers, images, way), memory) for way in WAYS},
        },
    }


def _layer(layer: LayerOperations, operations: Operations, memory: str) -> dict[str, Any]:
    images = operations.images
    found: dict[str, Any] = {
        "name": layer.name,
        "neurons": layer.neurons,
        "spikes": None if layer.spikes is None else layer.spikes / images,
        "firing_rate": operations.firing_rate(layer),
    }
    if layer.has_weights:
        found["synaptic_operations"] = layer.synaptic_operations / images
        found["multiply_adds"] = layer.multiply_adds / images
        found["ann_multiply_adds"] = layer.connections
        found |= {way: _energy(work(layer, images, way), memory) for way in WAYS}
    return found


def _energy(done: Work, memory: str) -> dict[str, float]:
    return {"arithmetic_nj": done.arithmetic, "accesses": done.accesses, "memory_nj": done.memory(memory)}
