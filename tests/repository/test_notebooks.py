"""The notebooks: committed without outputs, run from top to bottom in an empty folder, and what each is about holds."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from helpers.environments import REPOSITORY

from ttfs_cupy.device.compilation import cpu_library

nbformat = pytest.importorskip("nbformat", reason="the extra notebook brings what runs notebooks")
nbclient = pytest.importorskip("nbclient", reason="the extra notebook brings what runs notebooks")
pytest.importorskip("ipykernel", reason="the extra notebook brings what runs notebooks")
pytest.importorskip("matplotlib", reason="the extra notebook brings what runs notebooks")
pytest.importorskip("altair", reason="the extra notebook brings what runs notebooks")
pytest.importorskip("vl_convert", reason="the extra notebook brings what runs notebooks")
pytest.importorskip("sklearn", reason="the extra digits brings the images")

NOTEBOOKS = REPOSITORY / "notebooks"
# seconds for one cell; a whole notebook takes less than 20 on two free cores
PATIENCE = 240


@dataclass(frozen=True)
class Told:
    """What a notebook shows. pictures: of matplotlib. charts: with sliders, of Altair. claims: of what it prints."""

    pictures: int
    charts: int
    claims: Callable[[str], None]


def number(pattern: str, text: str) -> float:
    """The number in parentheses of the one place that the pattern fits."""
    (found,) = re.findall(pattern, text)
    return float(found)


def reads_the_digits(text: str) -> None:
    # Twelve runs, four seeds with each of auto, gemm and winograd, reached 94.7 to 96.9 %; at one seed, rounding alone
    # moved it by up to 1.1 points.
    assert number(r"test accuracy (\d+\.\d+) %", text) >= 93.5


def each_reads_at_its_own_slope(text: str) -> None:
    assert number(r"trained at λ = 0: test accuracy (\d+\.\d) %", text) >= 94.5
    assert number(r"rising to 1: test accuracy (\d+\.\d) %", text) >= 91.5
    assert "a 3, read as 3" in text


def class_weights_help_rare_classes(text: str) -> None:
    rare = r"{}: .*, (\d+\.\d) % of the rare ones"
    without, weighted = (number(rare.format(which), text) for which in ("without weights", "with class weights"))
    assert weighted >= without + 15
    assert "read as: one (" in text
    assert "the folder is gone" in text


def gradients_are_slopes_and_ways_agree(text: str) -> None:
    assert number(r"at λ = 1: test accuracy (\d+\.\d+) %", text) >= 91
    assert "the same bits: True" in text and "computes the same bits: True" in text
    rates = [float(rate) for rate in re.findall(r"firing rates \d\.\d+ and (\d\.\d+)", text)]
    assert len(rates) == 4 and rates == sorted(rates, reverse=True) and rates[-1] < 0.5 * rates[0]


def computes_what_the_closed_form_says(text: str) -> None:
    # the notebook itself asserts how far apart spike times and gradients are
    assert number(r"test accuracy (\d+\.\d+) %", text) >= 92
    shares = [float(share) for share in re.findall(r"(\d+\.\d+) % within 1e-5", text)]
    assert len(shares) == 2 and min(shares) >= 99.9
    conv2 = [float(angle) for angle in re.findall(r"(?:gain|separate) .*conv2\.weight (\d+)°", text)]
    assert len(conv2) == 2 and conv2[0] < conv2[1]


TOLD = {
    "first_steps": Told(7, 0, reads_the_digits),
    "inside_a_spiking_network": Told(2, 4, each_reads_at_its_own_slope),
    "your_own_data": Told(6, 0, class_weights_help_rare_classes),
    "your_own_training_loop": Told(2, 0, gradients_are_slopes_and_ways_agree),
    "from_t2fsnn": Told(1, 0, computes_what_the_closed_form_says),
}


def notebook(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def outputs(executed: Any) -> list[Any]:
    return [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.fixture(scope="module", params=TOLD)
def executed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A notebook's name, and the notebook after a run in an empty folder, which it leaves empty."""
    # that the kernels are being built, once, is said on stderr
    cpu_library.load()
    folder, aside = (tmp_path_factory.mktemp(name) for name in ("notebook", "temporary"))
    found = notebook(request.param)
    client = nbclient.NotebookClient(
        found, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(aside))
        client.execute()
    assert list(folder.iterdir()) == [], "a notebook must leave no files behind"
    assert list(aside.iterdir()) == [], "nor in the temporary folder"
    return request.param, found


def test_every_notebook_is_here() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(TOLD)


@pytest.mark.parametrize("name", TOLD)
def test_they_are_committed_without_outputs(name: str) -> None:
    found = notebook(name)
    nbformat.validate(found)
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert code and all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("name", TOLD)
def test_they_begin_with_what_they_need_and_end_with_where_to_go(name: str) -> None:
    first, *_, last = notebook(name).cells
    assert first.cell_type == last.cell_type == "markdown"
    assert re.match(r"# \w.*\n\n", first.source)
    text = " ".join(first.source.split())
    assert "Needed besides `ttfs_cupy`: the extras `digits` and `notebook`" in text and "minute on two cores" in text
    assert last.source.startswith("## Where to go from here")


@pytest.mark.parametrize("name", TOLD)
def test_what_they_lead_to_is_there(name: str) -> None:
    text = "\n".join(cell.source for cell in notebook(name).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)]+)\)", text)
    files = re.findall(r"`((?:docs|configs)/[\w./]+\.\w+)`", text)
    assert links or files
    for link in links:
        assert link.startswith("https://") or (NOTEBOOKS / link).is_file(), link
    for file in files:
        assert (REPOSITORY / file).is_file(), file


def test_they_draw_every_figure_and_complain_of_nothing(executed: tuple[str, Any]) -> None:
    name, found = executed
    shown = [output.get("data", {}) for output in outputs(found)]
    assert sum("image/png" in data for data in shown) == TOLD[name].pictures
    assert sum("vegaEmbed" in data.get("text/html", "") for data in shown) == TOLD[name].charts
    assert [output.text for output in outputs(found) if output.get("name") == "stderr"] == []


def test_what_they_are_about_holds(executed: tuple[str, Any]) -> None:
    name, found = executed
    TOLD[name].claims("".join(output.text for output in outputs(found) if "text" in output))
