"""The benchmark of a run's page: a row for each page, and sentences where there is none."""

import shutil
from pathlib import Path

import pytest
from helpers import browser as chromium
from helpers.commands import command, run_small
from helpers.refusals import refused

from ttfs_cupy.benchmarks.report_page import __main__ as report_page

for library in ("vl_convert", "jinja2", "selenium", "axe_core_python"):
    pytest.importorskip(library, reason="the extra test brings it")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("run") / "run")


@chromium.needed
def test_a_page_is_made_and_opened(run: Path) -> None:
    outcome = command(report_page.main, str(run), "--rounds", "1")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    head, row, note = outcome.out.splitlines()[-3:]
    assert head.split("  ")[0] == "page" and row.startswith("run ") and note.startswith("medians of 1")
    # faults that axe-core finds: none that is grave
    assert row.split()[-2] == "0"


def test_what_is_no_run(tmp_path: Path) -> None:
    outcome = command(report_page.main, str(tmp_path), "--rounds", "1")
    assert outcome.code == 2 and "holds no run" in outcome.err and "Traceback" not in outcome.err


def test_without_a_browser(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    refused(command(report_page.main, str(run), "--rounds", "1"), "chromedriver")
