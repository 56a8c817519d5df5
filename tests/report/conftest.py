"""Runs to be reported, and their pages."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Outcome, command, run_small, small, train
from helpers.datasets_on_disk import write_images
from helpers.page import Page, page_of

from ttfs_cupy.report import command as report_command

NEEDED = "the extra report brings it"
pytest.importorskip("vl_convert", reason=NEEDED)
pytest.importorskip("jinja2", reason=NEEDED)

# names of classes, and so of folders, that would be HTML, JavaScript, or both
EVIL = ("<script>alert(1)<", '"><img src=x onerror=alert(1)>', "'-alert(1)-${alert(1)}")


def report(*arguments: str | Path) -> Outcome:
    return command(report_command.main, *arguments)


def reported(folder: Path, *arguments: str | Path) -> Page:
    """The page that must be made, in that folder."""
    outcome = report(*arguments, "-o", folder / "page.html", "--force")
    assert outcome.code == 0, outcome
    return page_of(folder / "page.html")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its slope is 1, so that answers change within the readout's window; it makes mistakes."""
    return run_small(tmp_path_factory.mktemp("run") / "first run", training__average=0.9)


@pytest.fixture(scope="session")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return reported(tmp_path_factory.mktemp("page"), run)


@pytest.fixture(scope="session")
def evil_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes with EVIL names, and a directory with such a one."""
    root, generator = tmp_path_factory.mktemp("evil"), np.random.default_rng(0)
    for place, name in enumerate(EVIL):
        images = (generator.integers(0, 200, (8, 8)) // (place + 1) for _ in range(20))
        write_images(root / "images" / name, {f"{n}.png": image.astype(np.uint8) for n, image in enumerate(images)})
    path = root / "<b onclick=alert(2)>&amp;'\""
    data = {"data__dataset": "folder", "data__root": str(root / "images"), "data__test": 0.25, "data__validation": 0.2}
    outcome = train(*small(path, **data, training__batch_size=8, training__epochs=1, optimizer__lr=1e-5))
    assert (outcome.code, outcome.err) == (0, "")
    return path


@pytest.fixture(scope="session")
def evil_page(evil_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return reported(tmp_path_factory.mktemp("page"), evil_run)


@pytest.fixture(scope="session")
def together(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of three runs: two of one seed, and one of a single epoch whose name is evil and whose lr is another."""
    folder = tmp_path_factory.mktemp("together")
    again = Path(shutil.copytree(run, folder / "again"))
    other = Path(shutil.copytree(run, folder / "a\"b'c\\<i onclick=alert(3)>"))
    config = (other / "config.yaml").read_text()
    assert "lr: 0.003" in config
    (other / "config.yaml").write_text(config.replace("lr: 0.003", "lr: 0.002"))
    first, *_, test = (other / "metrics.jsonl").read_text().splitlines()
    (other / "metrics.jsonl").write_text(f"{first}\n{test}\n")
    return reported(folder, run, again, other)
