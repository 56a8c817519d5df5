"""Fixtures of the tests of trained networks: a run on digits, and its test images as files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import run_small
from PIL import Image

from ttfs_cupy import ImageSet, load_dataset

# enough to tell most digits apart
SETTINGS = {"training__epochs": 6, "training__batch_size": 32, "optimizer__lr": 0.01, "training__keep": "{every: 1}"}


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("digits") / "run", **SETTINGS)


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """The test images, whose pixels reach from 0 to 16."""
    return load_dataset("digits", Path()).test


@pytest.fixture(scope="session")
def folder(digits: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them as PNG files, in their order."""
    folder = tmp_path_factory.mktemp("images") / "digits"
    folder.mkdir()
    for number, pixels in enumerate(digits.images[..., 0]):
        Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8)).save(folder / f"{number:04}.png")
    return folder


@pytest.fixture
def some(folder: Path, tmp_path: Path) -> Path:
    """Three images in folders."""
    images = tmp_path / "some"
    (images / "b").mkdir(parents=True)
    for number, name in enumerate(("c.png", "a.png", "b/1.png")):
        shutil.copy(folder / f"000{number}.png", images / name)
    (images / "notes.txt").write_text("no image")
    (images / ".hidden.png").write_text("no image")
    return images
