"""What is asked for: disturbances by name, and their levels."""

import pytest

from ttfs_cupy import Corruption, Noise, UserError
from ttfs_cupy.data import CORRUPTIONS
from ttfs_cupy.robustness.kinds import KINDS, MOST_LEVELS, Disturbance, chosen


def test_all_kinds_at_their_own_levels_by_default() -> None:
    found = chosen(None, [])
    assert list(found) == list(KINDS) and set(CORRUPTIONS) <= set(found)
    for name, levels in found.items():
        assert levels == KINDS[name].levels and len(levels) >= 5
        for level in levels:
            # each is a disturbance
            one = KINDS[name].at(level, 3)
            assert one.noise.is_on or one.corruptions


@pytest.mark.parametrize(
    ("name", "level", "disturbance", "is_drawn"),
    [
        ("jitter", 0.1, Disturbance(Noise(jitter=0.1, seed=2)), True),
        ("drop-spikes", 0.1, Disturbance(Noise(drop_spikes=0.1, seed=2)), True),
        ("time-bits", 3.0, Disturbance(Noise(time_bits=3, seed=2)), False),
        ("weight-bits", 3, Disturbance(Noise(weight_bits=3, seed=2)), False),
        ("gaussian", 0.1, Disturbance(Noise(seed=2), (Corruption("gaussian", 0.1),)), True),
        ("blur", 1, Disturbance(Noise(seed=2), (Corruption("blur", 1),)), False),
        ("jitter", 0, Disturbance(Noise(seed=2)), False),
    ],
)
def test_a_level_is_a_disturbance(name: str, level: float, disturbance: Disturbance, is_drawn: bool) -> None:
    found = KINDS[name].at(level, 2)
    assert found == disturbance and found.is_drawn == is_drawn


def test_names_and_levels_that_are_chosen() -> None:
    found = chosen("weight-bits,jitter", ["jitter=0.3,0.1"])
    # in the order of the kinds; levels as they were given
    assert list(found.items()) == [("jitter", (0.3, 0.1)), ("weight-bits", KINDS["weight-bits"].levels)]
    (bits,) = chosen("time-bits", ["time-bits=3.0,2"]).values()
    assert bits == (3, 2) and all(isinstance(level, int) for level in bits)


KNOWN = ", ".join(KINDS)


@pytest.mark.parametrize(
    ("only", "levels", "sentence"),
    [
        ("fog", [], f"--only: there is no disturbance 'fog', but {KNOWN}"),
        ("", [], f"--only: there is no disturbance '', but {KNOWN}"),
        ("jitter,blur,jitter", [], "--only names a disturbance twice: 'jitter,blur,jitter'"),
        (None, ["fog=1"], f"--levels: there is no disturbance 'fog', but {KNOWN}"),
        (None, ["jitter"], "--levels must read NAME=LEVEL,LEVEL, such as jitter=0.01,0.05, not 'jitter'"),
        (None, ["jitter="], "--levels must read NAME=LEVEL,LEVEL, such as jitter=0.01,0.05, not 'jitter='"),
        ("blur", ["jitter=0.1"], "--levels jitter: --only leaves jitter out; name it there, too"),
        (None, ["blur=1", "blur=2"], "--levels blur is given twice: give all of its levels at once"),
        (None, ["blur=1,1.0"], "--levels blur: the level '1.0' is given twice"),
        (None, ["blur=1,,2"], "--levels blur: a level must be a number, not ''"),
        (None, ["blur=nan"], "--levels blur: a level must be a number, not 'nan'"),
        (None, ["blur=inf"], "--levels blur: a level must be a number, not 'inf'"),
        (None, ["jitter=2"], "--levels jitter: jitter must be a number from 0 to 1, not 2"),
        (None, ["time-bits=2.5"], "--levels time-bits: time_bits must be a whole number from 1 to 16, not 2.5"),
        (None, ["salt=-1"], "--levels salt: the level of salt must be a number from 0 to 1, not -1"),
        (
            None,
            [f"blur={','.join(str(n / 10) for n in range(MOST_LEVELS + 1))}"],
            f"--levels blur: at most {MOST_LEVELS} levels, not {MOST_LEVELS + 1}",
        ),
    ],
)
def test_what_is_none_of_them_is_refused(only: str | None, levels: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        chosen(only, levels)
    assert str(refused.value) == sentence
