"""Runs to be reported, and their pages."""

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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its slope is 1, so that answers change within the readout's window; it makes mistakes."""
    return run_small(tmp_path_factory.mktemp("run") / "first run", training__average=0.9)


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return reported(tmp_path_factory.mktemp("page"), run)


@pytest.fixture(scope="module")
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
