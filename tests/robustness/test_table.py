"""Rows of runs and groups, as a console, spreadsheets and programs get them; and their picture."""

import csv
import io
import json
import statistics
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.robustness import figure, table
from ttfs_cupy.robustness.measurement import Measured, Pass, Point
from ttfs_cupy.robustness.settings import Group, MeasuredRun, groups

JITTERS, BITS = (0.1, 0.3), (4, 2)


def config(*overrides: str) -> Config:
    return load_config("quickstart", list(overrides))


def run(name: str, of: Config, best: float = 0.9, seeds: int = 3) -> MeasuredRun:
    draw = np.random.default_rng(len(name))

    def one(seed: int) -> Pass:
        return Pass(seed, best - float(draw.random()) / 4, float(draw.random()) / 2, float(draw.random()))

    points = [Point("jitter", level, tuple(map(one, range(seeds)))) for level in JITTERS]
    points += [Point("time-bits", level, (one(0),)) for level in BITS]
    return MeasuredRun(name, of, 7, "CPU", "float32", Measured(360, Pass(0, best, 0.0, 0.25), tuple(points)))


ONE = [run("runs/a", config())]
SLOPES = [
    run("runs/slope0", config("seed=0", "network.psp_slope=0")),
    run("runs/slope1", config("seed=0", "network.psp_slope=1"), 0.8),
    run("runs/slope0-again", config("seed=1", "network.psp_slope=0", "device=cpu", "watch.log_every=5"), 0.85),
]


def cells(lines: list[str]) -> list[list[str]]:
    return [line.split() for line in lines]


# Groups


def test_runs_that_differ_in_seeds_and_in_what_changes_no_result_are_one_group() -> None:
    first, second = groups(SLOPES)
    assert [one.name for one in first.runs] == ["runs/slope0", "runs/slope0-again"]
    assert (first.label, second.label) == ("psp_slope=0", "psp_slope=1")
    (alone,) = groups(SLOPES[:1])
    assert alone.label == ""


def test_groups_are_called_by_whatever_differs() -> None:
    several = ["network.model=[8, P]", "optimizer.name=sgd", "schedule.name=exponential"]
    runs = [run("a", config()), *(run(text, config(text)) for text in several)]
    labels = [group.label for group in groups(runs)]
    assert len(set(labels)) == 4
    assert labels[1].startswith("model=[8, 'P'], ")
    # two keys with one last part
    assert "optimizer.name=sgd, schedule.name=cosine" in labels[2]


def test_settings_whose_names_are_cut_short_are_told_apart() -> None:
    long = ", ".join(["8"] * 40)
    labels = [group.label for group in groups([run("a", config(f"network.model=[{long}, {n}]")) for n in (8, 9, 10)])]
    assert labels[1:] == [f"{labels[0]} (2)", f"{labels[0]} (3)"] and labels[0].startswith("model=[8, 8, ")


# The table


@pytest.mark.parametrize("runs", [ONE, SLOPES])
def test_rows_are_means_over_seeds_and_runs(runs: list[MeasuredRun]) -> None:
    found = groups(runs)
    rows = table.rows(found)
    assert [(row.disturbance, row.level, row.setting) for row in rows] == [
        (name, level, group.label)
        for name, level in [(table.CLEAN, None), *(("jitter", x) for x in JITTERS), *(("time-bits", x) for x in BITS)]
        for group in found
    ]
    for number, group in enumerate(found):
        clean, *points = rows[number :: len(found)]
        best = np.mean([one.measured.clean.accuracy for one in group.runs])
        assert (clean.accuracy, clean.lost, clean.changed) == (pytest.approx(best), 0, 0)
        for place, row in enumerate(points):
            own = [one.measured.points[place].passes for one in group.runs]
            means = [np.mean([one.accuracy for one in passes]) for passes in own]
            spread = means if len(own) > 1 else [one.accuracy for one in own[0]]
            assert row.accuracy == pytest.approx(np.mean(means))
            assert row.lost == pytest.approx(best - np.mean(means))
            assert row.deviation == (pytest.approx(statistics.stdev(spread)) if len(spread) > 1 else None)
            assert row.changed == pytest.approx(np.mean([one.changed for passes in own for one in passes]))
            assert row.firing_rate == pytest.approx(np.mean([one.firing_rate for passes in own for one in passes]))


def test_the_console_gets_the_rows_in_percent() -> None:
    caption, *lines = table.lines(groups(ONE))
    assert "on 360 test images" in caption and "over noise seeds" in caption
    rows = table.rows(groups(ONE))
    assert cells(lines)[:2] == [
        ["disturbance", "level", "accuracy", "+-", "lost", "changed", "firing", "rate"],
        ["none", "90.00", "-", "0.00", "0.00", "0.250"],
    ]
    assert cells(lines)[2] == [
        "jitter",
        "0.1",
        f"{100 * rows[1].accuracy:.2f}",
        f"{100 * (rows[1].deviation or 0):.2f}",
        f"{100 * rows[1].lost:.2f}",
        f"{100 * rows[1].changed:.2f}",
        f"{rows[1].firing_rate:.3f}",
    ]
    assert len(lines) == 1 + len(rows)


def test_of_several_settings_each_has_its_row() -> None:
    caption, header, *lines = table.lines(groups(SLOPES))
    assert "over runs" in caption
    assert header.split()[:3] == ["disturbance", "level", "setting"]
    assert [line.split()[0] for line in lines[:2]] == ["none", "none"]
    assert ["psp_slope=0" in line for line in lines] == [True, False] * 5


@pytest.mark.parametrize("runs", [ONE, SLOPES])
def test_csv_has_a_line_for_each_pass(runs: list[MeasuredRun]) -> None:
    lines = list(csv.DictReader(io.StringIO(table.csv_text(groups(runs)))))
    assert len(lines) == len(runs) * (1 + 2 * 3 + 2)
    for one in runs:
        own = [line for line in lines if line["run"] == one.name]
        clean = own[0]
        assert (clean["disturbance"], clean["level"]) == ("none", "")
        passes = [(point, each) for point in one.measured.points for each in point.passes]
        for line, (point, each) in zip(own[1:], passes, strict=True):
            assert (line["disturbance"], float(line["level"])) == (point.kind, point.level)
            assert int(line["noise_seed"]) == each.seed and int(line["seed"]) == one.config.seed
            for key in ("accuracy", "changed", "firing_rate"):
                assert float(line[key]) == getattr(each, key)


def test_json_has_the_rows_and_the_passes() -> None:
    found = groups(SLOPES)
    content = json.loads(table.json_text(found))
    rows = table.rows(found)
    assert content["images"] == 360
    assert [(row["level"], row["accuracy"], row["deviation"]) for row in content["rows"]] == [
        (row.level, row.accuracy, row.deviation) for row in rows
    ]
    assert [one["run"] for one in content["runs"]] == ["runs/slope0", "runs/slope0-again", "runs/slope1"]
    again = content["runs"][1]
    assert (again["setting"], again["seed"], again["epoch"]) == ("psp_slope=0", 1, 7)
    assert again["points"][0]["passes"][2]["accuracy"] == SLOPES[2].measured.points[0].passes[2].accuracy


# The figure


def labelled(label: str) -> list[Group]:
    return [Group(label, (ONE[0],)), Group("other", (ONE[0],))]


@pytest.mark.parametrize("found", [groups(ONE), groups(SLOPES), labelled("a$b$, <&>")])
def test_the_figure_is_a_png_and_an_svg(found: list[Group]) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot brings it")
    made = figure.pictures(found)
    image = np.asarray(Image.open(io.BytesIO(made["png"])).convert("RGB"))
    # not blank: the colour of the first group is in it
    colour = tuple(int(figure.COLOURS[0][place : place + 2], 16) for place in (1, 3, 5))
    assert min(image.shape[:2]) > 300 and (image == colour).all(axis=2).sum() > 100
    second = tuple(int(figure.COLOURS[1][place : place + 2], 16) for place in (1, 3, 5))
    assert bool((image == second).all(axis=2).sum() > 100) == (len(found) > 1)
    assert ElementTree.fromstring(made["svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    # no time and no random name is in it
    assert figure.pictures(found) == made
