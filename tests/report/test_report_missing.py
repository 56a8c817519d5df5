"""Runs of which something is missing or damaged: the page says what, and shows the rest. And what is refused."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import cut_short, metrics, small, train
from helpers.page import Page
from helpers.refusals import refused, tree

from .conftest import report, reported


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def troubles(page: Page) -> str:
    return " ".join(aside.text for aside in page.root.all("aside"))


def sections(page: Page) -> list[str]:
    return [section.attributes["id"] for section in page.root.all("section")]


def test_without_data_the_curves_are_there(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    page = reported(tmp_path, copy)
    assert sections(page) == ["run", "curves", "layers"]
    assert "The test set was not looked at" in troubles(page)
    # what the weights alone tell
    assert page.rows("Layers")[0] == ["layer", "neurons", "weights"]
    assert [one["id"] for one in page.data["charts"] if "weights-" in one["id"]] == [f"weights-{k}" for k in range(3)]


@pytest.mark.parametrize(
    ("damage", "said", "left"),
    [
        (lambda run: (run / "best.safetensors").unlink(), "best.safetensors", ["run", "curves"]),
        (lambda run: (run / "best.safetensors").write_bytes(b"x"), "best.safetensors", ["run", "curves"]),
        (lambda run: (run / "split.json").write_text("{}"), "split.json", ["run", "curves", "layers"]),
        (lambda run: (run / "metrics.jsonl").unlink(), "There is no metrics.jsonl", None),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\xfe"), "metrics.jsonl", None),
        (lambda run: (run / "log.txt").unlink(), "There is no log.txt", None),
        (lambda run: (run / "log.txt").write_bytes(b"\xff\n\0"), "", None),
        (lambda run: (run / "config.yaml").write_text("seed: [1"), "The config cannot be used", ["run", "curves"]),
        (lambda run: (run / "config.yaml").write_text("data: {dataset: <b>}\n"), "config", ["run", "curves"]),
    ],
)
def test_what_is_gone_or_damaged_is_told(
    damage: Callable[[Path], object], said: str, left: list[str] | None, copy: Path, tmp_path: Path
) -> None:
    damage(copy)
    page = reported(tmp_path, copy)
    assert said in troubles(page)
    if left is not None:
        assert sections(page) == left
    else:
        assert "layers" in sections(page)


def test_damaged_lines_of_metrics_are_left_out(copy: Path, tmp_path: Path) -> None:
    lines = (copy / "metrics.jsonl").read_text().splitlines()
    odd = ['{"epoch": 1e400}', '{"epoch": "<b>"}', "[1]", "{", '{"epoch": 3, "train_loss": "<i>", "firing_rates": 3}']
    (copy / "metrics.jsonl").write_text("\n".join([*odd, lines[0], '{"train_loss": NaN}', *lines[1:]]))
    page = reported(tmp_path, copy)
    assert "5 lines of metrics.jsonl cannot be read and are left out: line 1 is the first" in troubles(page)
    assert [row[0] for row in page.rows("Loss by epoch")] == ["epoch", "1", "2", "3"]
    assert page.rows("Loss by epoch")[3][1] == "\N{EN DASH}"
    json.dumps(page.data, allow_nan=False)


def test_of_an_epoch_that_is_there_twice_the_last_line_counts(copy: Path, tmp_path: Path) -> None:
    first, second, test = metrics(copy)
    lines = [first, second, {**first, "train_loss": 9, "seconds": 5000}, test]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = reported(tmp_path, copy, "--images", "0")
    assert "1 epoch is in metrics.jsonl more than once, epoch 1: the last line counts." in troubles(page)
    assert [row[:2] for row in page.rows("Loss by epoch")[1:]] == [["1", "9"], ["2", f"{second['train_loss']:.4g}"]]
    assert "1 h 23 min" in page.root.one("header", class_="top").text


@pytest.mark.parametrize("value", [10**400, 1e308, float("nan"), -1, "<b>", None, [], {"a": 1}])
def test_numbers_that_are_none(value: object, copy: Path, tmp_path: Path) -> None:
    """Wherever one stands in the metrics: curves have a gap there, and the head a dash."""
    (copy / "best.safetensors").unlink()
    lines = metrics(copy)
    lines[0] |= dict.fromkeys(("train_loss", "seconds", "firing_rates", "learning_rate"), value)
    lines[1]["firing_rates"] = dict.fromkeys(lines[1]["firing_rates"], value)
    lines[-1] |= dict.fromkeys(("test_accuracy", "best_epoch", "class_accuracies", "convolutions"), value)
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = reported(tmp_path, copy)
    assert page.rows("Accuracy by epoch")[1:]
    assert sections(page) == ["run", "curves"]


def test_a_run_that_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(monkeypatch, 15, *small(tmp_path / "run"))
    page = reported(tmp_path, tmp_path / "run")
    assert "The run is not finished: 1 epoch of it" in troubles(page)
    assert "Test accuracy" not in page.root.one("header", class_="top").text


def test_a_run_that_has_only_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(monkeypatch, 1, *small(tmp_path / "run"))
    page = reported(tmp_path, tmp_path / "run")
    assert sections(page) == ["run"] and "no epoch of the run is over" in troubles(page)


def test_changes_of_settings_are_marked(copy: Path, tmp_path: Path) -> None:
    assert train("--resume", copy, "--set", "training.epochs=3").code == 0
    assert "changed_after_epoch" in str(metrics(copy))
    page = reported(tmp_path, copy)
    assert "after epoch 2 training.epochs: 2 \N{RIGHTWARDS ARROW} 3" in page.section("curves").text
    (chart,) = (one for one in page.data["charts"] if one["id"] == "curve-lr")
    assert [2.5, "settings changed", "right"] in chart["data"]["marks"]["rows"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["'nowhere' holds no run"]),
        (["RUN", "-o", "page.pdf"], ["--output makes an HTML page", ".html", "page.pdf"]),
        (["RUN", "-o", "folder/page.html"], ["no folder"]),
        (["RUN", "-o", "there.html"], ["'there.html' is there already", "--force"]),
        (["RUN", "--images", "-1"], ["--images"]),
        (["RUN", "--images", "101"], ["--images", "100"]),
        (["RUN", "--images", "x"], ["--images"]),
        (["RUN", "RUN"], ["are one run: name it once"]),
        (["RUN", "--device", "tpu"], ["tpu"]),
        (["RUN", "--set", "data.rood=x"], ["rood"]),
        (["RUN", "RUN2", "--set", "data.root=x"], ["--set", "one run"]),
        (["RUN", "RUN2", "--device", "cpu"], ["--device", "one run"]),
        ([], ["RUN_DIR"]),
    ],
)
def test_refused(arguments: list[str], words: list[str], run: Path, copy: Path, here: Path) -> None:
    (here / "there.html").write_text("old")
    places = {"RUN": str(run), "RUN2": str(copy)}
    refused(report(*(places.get(argument, argument) for argument in arguments)), *words)
    assert tree(here) == {"there.html": b"old"}


@pytest.mark.parametrize("owned", ["loggers/page.html", "config.yaml"])
def test_a_file_of_a_run_is_not_written_over(owned: str, run: Path, copy: Path, here: Path) -> None:
    """Whichever run's: what a logger wrote, and by another name what the run itself did."""
    (copy / "loggers").mkdir()
    file = copy / owned
    if file.suffix != ".html":
        (here / "page.html").symlink_to(file)
        file = here / "page.html"
    before = tree(copy)
    refused(report(run, "-o", file, "--force"), "is a file of the run", "name another one")
    assert tree(copy) == before


@pytest.mark.parametrize(("module", "package"), [("vl_convert", "vl-convert-python"), ("jinja2", "jinja2")])
def test_without_a_library(module: str, package: str, run: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else real(name))
    monkeypatch.setitem(sys.modules, module, None)
    refused(report(run), package, "pip install 'ttfs-cupy[report]'")
    assert tree(here) == {}


def test_no_images(run: Path, tmp_path: Path) -> None:
    page = reported(tmp_path, run, "--images", "0")
    assert "mistakes" not in sections(page) and "classes" in sections(page)


def test_it_is_written_where_it_is_asked_for(run: Path, here: Path) -> None:
    outcome = report(run)
    assert outcome.code == 0 and outcome.out.startswith("report.html: first run, ")
    assert list(tree(here)) == ["report.html"]
