"""The figure of what was measured, by its artists."""

import itertools
from pathlib import Path

import pytest
from helpers.environments import python

from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.robustness.measurement import Measured, Pass, Point
from ttfs_cupy.robustness.settings import Group, MeasuredRun

pytest.importorskip("matplotlib", reason="the extra plot brings it")
from ttfs_cupy.robustness import figure


def of(accuracy: float) -> Pass:
    return Pass(0, accuracy, 0.0, 0.1)


def group(points: dict[str, dict[float, float]], name: str = "run", dataset: str = "digits") -> Group:
    """By kind and level, accuracies; 0.5 without disturbance."""
    config = load_config(Path("quickstart"), [f"data.dataset={dataset}"])
    made = [Point(kind, level, (of(share),)) for kind, levels in points.items() for level, share in levels.items()]
    run = MeasuredRun(name, config, 1, "CPU", "float32", Measured(360, of(0.5), tuple(made)))
    return Group("", (run,))


def test_the_scale_holds_all_panels() -> None:
    drawn = figure._figure([group({"jitter": {0.1: 0.4}, "blur": {1: 0.9}, "contrast": {0.2: 0.45}})])
    assert drawn.axes[0].get_ylim()[1] >= 90


@pytest.mark.parametrize("highest", [0.00018, 0.0013, 0.11])
@pytest.mark.parametrize("kinds", [1, 2, 4])
def test_the_title_is_within_the_figure_and_numbers_do_not_touch(kinds: int, highest: float) -> None:
    levels = dict.fromkeys((0.5 * highest, 0.95 * highest, highest), 0.4)
    names = ["jitter", "salt", "gaussian", "contrast"][:kinds]
    drawn = figure._figure([group(dict.fromkeys(names, levels), "runs/" + "a_long_name_of_a_run/" * 3)])
    drawn.draw_without_rendering()
    title = drawn._suptitle.get_window_extent()
    assert title.x0 >= 0 and title.x1 <= drawn.bbox.x1
    for panel in drawn.axes:
        assert title.y0 >= panel.title.get_window_extent().y1
        low, high = panel.get_xlim()
        shown = [label for label in panel.get_xticklabels() if low <= label.get_position()[0] <= high]
        boxes = [label.get_window_extent() for label in shown if label.get_text()]
        assert len(boxes) > 1
        assert all(left.x1 + 2 <= right.x0 for left, right in itertools.pairwise(boxes))


def test_the_title_names_every_data_set() -> None:
    runs = [group({"blur": {1: 0.4}}, name, name) for name in ("digits", "fmnist")]
    assert "360 test images of digits, fmnist," in figure._figure(runs)._suptitle.get_text().replace("\n", " ")


def test_a_backend_that_there_is_not() -> None:
    code = (
        "from ttfs_cupy.common.errors import UserError\n"
        "from ttfs_cupy.robustness import figure\n"
        "from ttfs_cupy import preview\n"
        "for draw in (figure.require, lambda: preview.main(['digits_that_are_not_there'])):\n"
        "    try:\n        draw()\n    except UserError as error:\n        print(error)\n"
    )
    result = python(code, variables={"MPLBACKEND": "foo"})
    assert "Traceback" not in result.stderr
    assert "mend or unset MPLBACKEND=foo" in result.stdout and "mend or unset MPLBACKEND=foo" in result.stderr
