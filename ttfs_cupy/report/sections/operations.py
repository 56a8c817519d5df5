"""Synaptic operations beside an ANN's multiply-adds, and the energy that both are estimated to take."""

from dataclasses import dataclass

from ttfs_cupy.energy import costs
from ttfs_cupy.energy.costs import ANN, MEMORY, WAYS, total
from ttfs_cupy.energy.counting import Operations, share_of_ann
from ttfs_cupy.report.drawing.charts import NONE, Chart, Series, Table, percent, rounded
from ttfs_cupy.report.drawing.line_charts import bars

EVENTS, PRODUCTS = Series("s0", "synaptic operations", 0), Series("s1", "multiply-adds of the ANN", 1)


@dataclass(frozen=True)
class Energy:
    about: str
    chart: Chart
    energies: Table


def energy(operations: Operations) -> Energy:
    """Of an image of the test set, on average."""
    share = share_of_ann(operations.weighted, operations.images)
    products = sum(layer.multiply_adds for layer in operations.weighted) // operations.images
    of_pixels = f"and {products:,} multiply-adds for pixels, " if products else ""
    about = (
        f"Of an image, on average: {operations.synaptic_operations:,.0f} synaptic operations, each an addition that a "
        f"spike causes, {of_pixels}where an ANN of the same shape makes {operations.ann_multiply_adds:,} "
        f"multiply-adds: {percent(share, 1)}. Energies are estimates ({costs.SOURCE}; memory of {MEMORY}), not "
        "measured."
    )
    return Energy(about, _chart(operations), _energies(operations))


def _chart(operations: Operations) -> Chart:
    images = operations.images
    rows: list[list[str | int | float | None]] = []
    cells = []
    for layer in operations.weighted:
        events = layer.synaptic_operations / images
        rows += [[layer.name, rounded(events), EVENTS.key], [layer.name, layer.connections, PRODUCTS.key]]
        spikes = NONE if layer.spikes is None else f"{layer.spikes_of(images):,.1f}"
        products = f"{layer.multiply_adds // images:,}"
        share = percent(share_of_ann([layer], images), 1)
        cells.append([layer.name, spikes, f"{events:,.0f}", products, f"{layer.connections:,}", share])
    header = ["layer", "its spikes", "synaptic operations", "own multiply-adds", "of the ANN", "share"]
    table = Table("Operations of an image, by layer", header, cells)
    said = "; ".join(f"{row[0]}: {row[2]} of {row[4]}" for row in cells)
    return Chart(
        "operations",
        "Operations of an image",
        f"Synaptic operations, and the multiply-adds of an ANN, by layer. {said}.",
        bars([EVENTS, PRODUCTS], [layer.name for layer in operations.weighted], "operations"),
        {"rows": (("layer", "y", "s"), rows)},
        table,
        (EVENTS, PRODUCTS),
    )


def _energies(operations: Operations) -> Table:
    """A row for each way to compute it."""
    ann = total(operations.layers, operations.images, ANN)
    rows = []
    for way, called in WAYS.items():
        done = total(operations.layers, operations.images, way)
        both = done.arithmetic + done.memory()
        share = both / (ann.arithmetic + ann.memory())
        rows.append([called, f"{done.arithmetic:,.0f}", f"{done.memory():,.0f}", f"{both:,.0f}", percent(share, 1)])
    header = ["computed by", "arithmetic", "memory", "both", "of the ANN"]
    return Table("Estimated energy of an image, nJ", header, rows)
