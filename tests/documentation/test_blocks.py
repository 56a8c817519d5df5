"""Every code block of docs/ does what it is there for: it is typed, run, or read as a config."""

import contextlib
import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.documentation import shell, workshop
from helpers.documentation.blocks import Block, blocks
from helpers.environments import REPOSITORY

from ttfs_cupy.experiment.config import load_config

for needed in ("torch", "sklearn", "matplotlib"):
    pytest.importorskip(needed, reason="the extra test brings it")

PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
# What may stand in a fence without being run: what commands print, and other languages
# What `py` marks is the code's own text, which test_how_it_works.py compares.
SHOWN = ("", "c", "cpp", "cuda", "json", "mermaid", "py")
OPTIONAL = ("pandas", "onnxruntime", "nir", "onnx")
REQUIRED = ("data.dataset=digits", "training.epochs=1", "training.batch_size=8")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is there when somebody begins to type, but for a page's own doings."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        workshop.make(folder)
    return folder


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shell.programs_in(tmp_path_factory.mktemp("programs") / "bin")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_work(
    page: Path, prepared: Path, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(blocks(page))
    for package in OPTIONAL:
        if any(block.language == "python" and re.search(rf"^import {package}\b", block.code, re.M) for block in found):
            pytest.importorskip(package, reason="an extra brings it")
    folder = tmp_path / "scratch"
    shutil.copytree(prepared, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.syspath_prepend(str(folder))
    names: dict[str, Any] = {"__name__": "documentation"}
    for block in found:
        assert not block.reason or block.reason in shell.REASONS, f"{block.place}: {block.reason} is no reason"
        assert block.language in ("sh", "python", "yaml", *SHOWN), f"{block.place}: a language that is not known"
        if block.language == "sh":
            shell.check(block) if block.reason else shell.run(block, folder, programs)
        elif block.language == "python":
            run_python(block, names)
        elif block.language == "yaml":
            read_yaml(block, tmp_path / "config.yaml")


def run_python(block: Block, names: dict[str, Any]) -> None:
    """What a page's blocks define, its later ones have."""
    # so that tracebacks name the page and its line
    code = compile("\n" * (block.line - 1) + block.code, str(block.page), "exec")
    if block.reason:
        return
    with contextlib.redirect_stdout(io.StringIO()):
        exec(code, names)


def read_yaml(block: Block, path: Path) -> None:
    """As a config, or as a part of one: what every config must have is added."""
    if block.reason:
        return
    if block.saved_as:
        Path(block.saved_as).write_text(block.code)
    path.write_text(block.code)
    try:
        load_config(path, [one for one in REQUIRED if f"{one.partition('=')[0].rpartition('.')[2]}:" not in block.code])
    except ValueError as error:
        raise AssertionError(f"{block.place}: {error}") from error
