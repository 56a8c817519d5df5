"""The page's colours: told apart by all eyes, and seen on their ground."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from helpers.environments import REPOSITORY

from ttfs_cupy.report.drawing.charts import BLOCK, COLOURS

STYLE = Path(REPOSITORY / "ttfs_cupy/report/templates/style.css")
# What is left of linear RGB without one kind of cones: Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009
EYES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1, 1.089])
APART, GRAPHICS, TEXT = 30, 3, 4.5


def themes() -> dict[str, Mapping[str, np.ndarray]]:
    """By theme, its variables that are colours, as linear RGB."""
    blocks = re.findall(r"\{\s*color-scheme: (light|dark);(.*?)\}", STYLE.read_text(), re.DOTALL)
    found: dict[str, Mapping[str, np.ndarray]] = {}
    for place, (theme, text) in enumerate(blocks):
        colours = {name: linear(value) for name, value in re.findall(r"--([\w-]+): (#[0-9a-f]+);", text)}
        found[f"{theme} {place}"] = colours
    return found


def linear(text: str) -> np.ndarray:
    digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
    values = np.array([int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour: np.ndarray) -> np.ndarray:
    share = TO_XYZ @ np.clip(colour, 0, 1) / WHITE
    f = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """As WCAG defines it."""
    low, high = sorted(float(TO_XYZ[1] @ colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_there_are_two_themes_and_print() -> None:
    found = themes()
    assert [name.split()[0] for name in found] == ["light", "dark", "dark", "light"]
    keys = [set(colours) for colours in found.values()]
    assert keys[0] == keys[1] == keys[2] == keys[3]
    assert all((found["dark 1"][key] == found["dark 2"][key]).all() for key in keys[1])


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", ["light 0", "dark 1", "light 3"])
def test_lines_of_a_block_are_told_apart(theme: str, eyes: str) -> None:
    colours = themes()[theme]
    for first in range(1, COLOURS, BLOCK):
        seen = [lab(EYES[eyes] @ colours[f"s{first + k}"]) for k in range(BLOCK)]
        for one, other in itertools.combinations(seen, 2):
            assert np.linalg.norm(one - other) > APART


@pytest.mark.parametrize("theme", ["light 0", "dark 1", "light 3"])
def test_contrast(theme: str) -> None:
    colours = themes()[theme]
    for ground in ("page", "card", "band"):
        for text in ("text", "muted", "accent", "bad", "good", "warn"):
            if (text, ground) not in (("good", "band"), ("bad", "band"), ("warn", "band")):
                assert contrast(colours[text], colours[ground]) >= TEXT, (text, ground)
    for k in range(1, COLOURS + 1):
        assert contrast(colours[f"s{k}"], colours["card"]) >= GRAPHICS
    # numbers in the cells of a confusion matrix
    assert contrast(colours["card"], colours["s1"]) >= TEXT
