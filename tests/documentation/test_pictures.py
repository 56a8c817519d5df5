"""docs/pictures/spikes.py draws a run's spikes, and what is committed is small and still where motion is not wanted."""

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.commands import run_small
from helpers.environments import REPOSITORY

from ttfs_cupy import load, load_dataset

pytest.importorskip("sklearn", reason="the extra digits brings the images")

SCRIPT = REPOSITORY / "docs" / "pictures" / "spikes.py"
COMMITTED = REPOSITORY / "docs" / "images"
IMAGE = 4
STILL, MOVING = "spikes.svg", "spikes_in_motion.svg"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("pictured") / "run")


def dots(picture: str) -> list[int]:
    """How many spikes each row has, the image's first."""
    return [path.count("h0") for path in re.findall(r'<path class="spikes" d="([^"]*)"', picture)]


def test_the_spikes_are_the_network_s_and_the_bytes_are_the_same_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as a script finds what lies beside it
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    main = runpy.run_path(str(SCRIPT))["main"]
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
