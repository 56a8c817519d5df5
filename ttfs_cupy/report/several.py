"""The page of several runs, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.version import __version__
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.report.drawing.charts import Compiled, Table, percent
from ttfs_cupy.report.gathering.reading import RunFiles, by_layer
from ttfs_cupy.report.groups import by_class, each, grouped, overlaid, results, settings
from ttfs_cupy.report.page import rendered
from ttfs_cupy.report.sections.classes import names_of
from ttfs_cupy.report.sections.head import Head, head


@dataclass(frozen=True)
class Section:
    """A run's: shorter than its own page."""

    head: Head
    troubles: list[str]
    layers: Table | None


def page(runs: Sequence[RunFiles]) -> tuple[bytes, list[str]]:
    """The page, and the sentences in it that say what is missing."""
    groups = grouped(runs)
    charts = overlaid(groups)
    compiled = Compiled()
    for chart in charts:
        compiled.add(chart)
    classes = by_class(groups, _names(runs))
    there = [
        ("results", "Results", True),
        ("curves", "Curves", charts),
        ("classes", "Classes", classes),
        ("runs", "Runs", True),
    ]
    content = {
        "title": f"{len(runs)} runs - ttfs_cupy",
        "version": __version__,
        "sections": [(id_, name) for id_, name, part in there if part],
        "count": len(runs),
        "groups": groups,
        "results": results(groups),
        "settings": settings(groups),
        "each": each(groups),
        "curves": charts,
        "classes": classes,
        "runs": [Section(head(run), run.troubles, _layers(run)) for run in runs],
    }
    return rendered("several.html", compiled, content), [f"{run.name}: {said}" for run in runs for said in run.troubles]


def _names(runs: Sequence[RunFiles]) -> list[str] | None:
    """The classes' names, as the weights have them; None where no file has any, or two differ."""
    found = set()
    for run in runs:
        try:
            names = checkpoint.metadata(run.run.best).get("class_names") if run.run.best.exists() else None
        except UserError:
            continue
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            found.add(tuple(names))
    if len(found) != 1:
        return None
    (one,) = found
    return names_of(len(one), one)


def _layers(run: RunFiles) -> Table | None:
    """Firing rates on the test set, as the run measured them."""
    rates, saturations = (by_layer(run.test, key) for key in ("firing_rates", "saturations"))
    if not rates:
        return None
    rows = [[name, percent(rate), percent(saturations.get(name))] for name, rate in rates.items()]
    return Table(f"Firing rates of {run.name} on the test set", ["layer", "firing rate", "as the window opens"], rows)
