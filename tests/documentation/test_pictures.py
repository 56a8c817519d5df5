"""docs/pictures/spikes.py draws a run's spikes, and what is committed is small and still where motion is not wanted."""

import re
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.commands import command, run_small
from helpers.datasets_on_disk import write_mnist
from helpers.environments import REPOSITORY

from ttfs_cupy import load, load_dataset

pytest.importorskip("sklearn", reason="the extra digits brings the images")

SCRIPT = REPOSITORY / "docs" / "pictures" / "spikes.py"
COMMITTED = REPOSITORY / "docs" / "images"
IMAGE = 4
Main = Callable[[Sequence[str]], int]
STILL, MOVING = "spikes.svg", "spikes_in_motion.svg"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("pictured") / "run")


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    """The script's."""
    # as a script finds what lies beside it
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    found: Main = runpy.run_path(str(SCRIPT))["main"]
    return found


def dots(picture: str) -> list[int]:
    """How many spikes each row has, the image's first."""
    return [path.count("h0") for path in re.findall(r'<path class="spikes" d="([^"]*)"', picture)]


def test_the_spikes_are_the_network_s_and_the_bytes_are_the_same_again(main: Main, run: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main([str(run), "-o", str(tmp_path / name)]) == 0
    levels = load_dataset("digits", tmp_path).test.images.transpose(0, 3, 1, 2)[IMAGE : IMAGE + 1]
    trained = load(run)
    decided = trained.predict(levels).names[0]
    times = trained.network.spike_times()
    wanted = [np.count_nonzero(levels)]
    for name in ("conv1", "conv2"):
        of_layer = times[name].ravel()
        drawn = np.linspace(0, of_layer.size - 1, min(360, of_layer.size)).round().astype(int)
        wanted.append(np.isfinite(of_layer[drawn]).sum())
    for name in (STILL, MOVING):
        picture = (tmp_path / "one" / name).read_text()
        assert picture == (tmp_path / "two" / name).read_text()
        assert dots(picture) == wanted
        assert f">{decided}</text>" in picture


def refusal(main: Main, run: Path, folder: Path, *options: str) -> str:
    """The sentence that the script says of a run that it cannot draw."""
    said = command(main, run, "-o", folder / "drawn", *options)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert not (folder / "drawn").exists()
    return said.err


def test_a_missing_run_or_image_gets_a_sentence(main: Main, run: Path, tmp_path: Path) -> None:
    assert "holds no run" in refusal(main, tmp_path / "none", tmp_path)
    assert "--image must be from 0 to 359, not 360" in refusal(main, run, tmp_path, "--image", "360")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network__psp_slope": 0}, "latency coding, psp_slope 1 and t_win 1: the run has another"),
        ({"network__model": "[{convolution: 4, kernel: 5, padding: 2}, P]"}, "3x3 convolutions: the run's network has"),
    ],
)
def test_a_network_of_another_kind_gets_a_sentence(
    main: Main, changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    run = run_small(tmp_path / "run", training__epochs=1, **changes)
    assert told in refusal(main, run, tmp_path)


def test_images_of_another_size_get_a_sentence(main: Main, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    changes = {"data__dataset": "mnist", "data__root": str(tmp_path), "training__batch_size": 16}
    run = run_small(tmp_path / "run", **changes)
    assert "of the digits, 1x8x8: the run's images are 1x28x28" in refusal(main, run, tmp_path)


@pytest.mark.parametrize(("name", "most"), [(STILL, 150_000), (MOVING, 300_000)])
def test_what_is_committed_is_small_and_needs_nothing_else(name: str, most: int) -> None:
    text = (COMMITTED / name).read_text()
    assert len(text.encode()) <= most
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()}
    assert {"title", "desc"} <= tags
    assert tags.isdisjoint({"script", "image", "foreignObject", "use"})
    assert re.findall(r"https?://(?!www\.w3\.org/)", text) == []
    assert "prefers-color-scheme: dark" in text
    assert ("animation" in text) == ("prefers-reduced-motion: reduce" in text) == (name == MOVING)
