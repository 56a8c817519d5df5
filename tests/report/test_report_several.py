"""Runs side by side: which are one group, and the means of each."""

import json
import shutil
import statistics
from pathlib import Path

import pytest
from helpers.commands import metrics, run_small
from helpers.page import Page

from ttfs_cupy.report.gathering.reading import read
from ttfs_cupy.report.groups import differing, grouped

from .conftest import reported


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds at slope 1, one of them for another epoch number of threads, and one at slope 0."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        run_small(folder / "a", seed=0),
        run_small(folder / "slope 0", network__psp_slope=0),
        run_small(folder / "b", seed=1, threads=1),
    ]


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return reported(tmp_path_factory.mktemp("page"), *runs)


def test_groups_are_the_same_but_for_the_seed(runs: list[Path]) -> None:
    groups = grouped([read(path) for path in runs])
    assert [[run.name for run in group.runs] for group in groups] == [["a", "b"], ["slope 0"]]
    assert [group.label for group in groups] == ["psp_slope 1.0", "psp_slope 0.0"]


def test_results_are_means_over_seeds(page: Page, runs: list[Path]) -> None:
    first, second = page.rows("Means over seeds")[1:]
    tests = [100 * metrics(runs[place])[-1]["test_accuracy"] for place in (0, 2)]
    assert first[0] == "psp_slope 1.0" and first[1] == "0, 1" and first[2] == "2 of 2"
    assert first[4:] == [f"{statistics.fmean(tests):.2f}", f"{statistics.stdev(tests):.2f}"]
    assert second[1:3] == ["0", "1 of 1"] and second[5] == "-"
    assert page.rows("Settings that differ") == [
        ["setting", "psp_slope 1.0", "psp_slope 0.0"],
        ["network.psp_slope", "1.0", "0.0"],
    ]
    assert [row[0] for row in page.rows("Results of each run")[1:]] == ["a", "b", "slope 0"]


def test_curves_are_means_and_bands(page: Page, runs: list[Path]) -> None:
    (chart,) = (one for one in page.data["charts"] if one["id"] == "overlay-val-loss")
    drawn = {
        (x, s): values
        for x, *values, s in ((x, y, low, high, s) for x, y, s, low, high in chart["data"]["rows"]["rows"])
    }
    for epoch in (1, 2):
        losses = [metrics(runs[place])[epoch - 1]["validation_loss"] for place in (0, 2)]
        assert drawn[epoch, "s0"] == pytest.approx([statistics.fmean(losses), min(losses), max(losses)], rel=1e-4)
        alone = metrics(runs[1])[epoch - 1]["validation_loss"]
        assert drawn[epoch, "s1"] == pytest.approx([alone] * 3, rel=1e-4)
    # what does not move is no curve
    assert "overlay-slope" not in [one["id"] for one in page.data["charts"]]


def test_each_run_has_a_section(page: Page, runs: list[Path]) -> None:
    articles = page.section("runs").all("article")
    assert [article.one("h3").text for article in articles] == [path.name for path in runs]
    assert all(str(path) in article.text for path, article in zip(runs, articles, strict=True))
    assert page.path.stat().st_size < 3e6


def test_runs_of_one_seed_are_told(together: Page) -> None:
    rows = together.rows("Means over seeds")
    assert rows[1][:3] == ["lr 0.003", "0, 0", "2 of 2"]
    (caption,) = (one.text for one in together.root.all("caption") if one.text.startswith("Means over seeds"))
    assert caption.endswith("(lr 0.003 has several runs of seed 0, each of which counts)")


def test_runs_of_other_data_are_no_group(runs: list[Path], tmp_path: Path) -> None:
    """As of a folder's, which is called the same; nor are their classes compared."""
    other = Path(shutil.copytree(runs[2], tmp_path / "other"))
    recorded = json.loads((other / "split.json").read_text())
    (other / "split.json").write_text(json.dumps({**recorded, "labels": "0" * 64}))
    page = reported(tmp_path, runs[0], other)
    assert [row[:3] for row in page.rows("Means over seeds")[1:]] == [["a", "0", "1 of 1"], ["other", "1", "1 of 1"]]
    ((setting, mine, theirs),) = page.rows("Settings that differ")[1:]
    assert setting == "the data" and mine != theirs
    assert mine.startswith("1437 and 360 images, ") and theirs.startswith("1437 and 360 images, 00000000 ")
    assert "classes" not in [section.attributes["id"] for section in page.root.all("section")]
    # of a data set by another name that goes without saying
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("dataset: digits", "dataset: fmnist"))
    assert differing(grouped([read(runs[0]), read(other)])) == ["data.dataset"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": 1, "pixels": "a", "test_images": "<b>"}'])
def test_data_that_are_not_recorded_part_no_group(text: str, runs: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs[2], tmp_path / "other"))
    (other / "split.json").write_text(text)
    assert len(grouped([read(runs[0]), read(other)])) == 1


def test_runs_without_config_or_metrics(runs: list[Path], tmp_path: Path) -> None:
    broken = [Path(shutil.copytree(runs[0], tmp_path / name)) for name in ("no config", "no metrics")]
    (broken[0] / "config.yaml").write_text("[")
    (broken[1] / "metrics.jsonl").unlink()
    page = reported(tmp_path, runs[0], *broken)
    rows = page.rows("Means over seeds")[1:]
    # the second has the first's config, and no result
    assert [row[:3] for row in rows] == [["a and 1 more", "0, 0", "1 of 2"], ["no config", "?", "1 of 1"]]
    said = " ".join(aside.text for aside in page.root.all("aside"))
    assert "The config cannot be used" in said and "There is no metrics.jsonl" in said
