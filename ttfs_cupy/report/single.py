"""The page of one run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.common.version import __version__
from ttfs_cupy.engine.network import Network
from ttfs_cupy.report.drawing.charts import Chart, Compiled
from ttfs_cupy.report.gathering.measuring import measure
from ttfs_cupy.report.gathering.reading import RunFiles
from ttfs_cupy.report.page import rendered
from ttfs_cupy.report.sections.classes import classes, names_of
from ttfs_cupy.report.sections.curves import changed, curves
from ttfs_cupy.report.sections.decisions import decisions
from ttfs_cupy.report.sections.head import head
from ttfs_cupy.report.sections.layers import layers
from ttfs_cupy.report.sections.mistakes import mistakes
from ttfs_cupy.report.sections.operations import energy
from ttfs_cupy.trained.opening import OpenedRun, open_network, open_run

Parts = dict[str, Any]
# by the id of a section its name in the page's menu, in the page's order
SECTIONS = {
    "run": "Run",
    "curves": "Curves",
    "layers": "Layers",
    "classes": "Classes",
    "decisions": "Decisions",
    "mistakes": "Mistakes",
    "energy": "Energy",
}


def page(files: RunFiles, overrides: Sequence[str], device: str | None, images: int) -> tuple[bytes, list[str]]:
    """The page, and the sentences in it that say what is missing. images: how many mistakes it shows at most."""
    parts: Parts = dict.fromkeys(("layers", "classes", "decisions", "mistakes", "energy"))
    network, found_parts, missing = _looked_at(files.run.path, overrides, device, images)
    parts |= found_parts
    troubles = [*files.troubles, *missing]
    found = curves(files)
    compiled = Compiled()
    for chart in [*found, *_charts(parts)]:
        compiled.add(chart)
    there = {"run", *(["curves"] if found else []), *(name for name, part in parts.items() if part)}
    content = {
        "title": f"{files.name} - ttfs_cupy",
        "version": __version__,
        "sections": [(id_, name) for id_, name in SECTIONS.items() if id_ in there],
        "head": head(files, None if network is None else _parameters(network)),
        "troubles": troubles,
        "curves": found,
        "changes": changed(files),
        **parts,
    }
    return rendered("run.html", compiled, content), troubles


def _looked_at(
    path: Path, overrides: Sequence[str], device: str | None, images: int
) -> tuple[Network | None, Parts, list[str]]:
    """The network, with what can be said of it: all of it with weights and data, without data its weights, and without
    weights nothing; and why it is not all."""
    try:
        opened = open_run(path, overrides, device)
    except UserError as error:
        said = [f"The test set was not looked at: {message_of(error, 400)}."]
    else:
        return opened.network, _measured(opened, images), []
    try:
        alone = open_network(path, overrides, device)
    except UserError as error:
        if message_of(error, 400) not in said[0]:
            said.append(f"Nor was the network: {message_of(error, 400)}.")
        return None, {}, said
    return alone.network, {"layers": layers(alone.network, None, alone.config)}, said


def _measured(opened: OpenedRun, images: int) -> Parts:
    measured = measure(opened)
    names = names_of(opened.network.classes, opened.class_names)
    return {
        "layers": layers(opened.network, measured, opened.experiment.config),
        "classes": classes(measured, names),
        "decisions": decisions(measured),
        "energy": energy(measured.operations),
        "mistakes": mistakes(opened, measured, names, images),
    }


def _charts(parts: Parts) -> list[Chart]:
    found: list[Chart] = []
    if parts["layers"]:
        found += [chart for card in parts["layers"].cards for chart in card.charts]
    if parts["classes"] and parts["classes"].matrix is not None:
        found.append(parts["classes"].matrix)
    if parts["decisions"]:
        found += parts["decisions"].charts
    if parts["mistakes"]:
        found += [item.chart for item in parts["mistakes"].items]
    if parts["energy"]:
        found.append(parts["energy"].chart)
    return found


def _parameters(network: Network) -> int:
    return sum(array.size for array in network.state_dict().values())
