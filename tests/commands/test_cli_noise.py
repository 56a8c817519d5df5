"""ttfs-evaluate with noise at test time."""

import re
from pathlib import Path

import pytest
from helpers import commands


def test_the_output_says_what_noise_was_on(good_run: Path) -> None:
    quiet = commands.evaluate(good_run)
    options = ["--jitter", "0.05", "--time-bits", "3", "--weight-bits", "3", "--noise-seed", "7"]
    noisy, again = commands.evaluate(good_run, *options), commands.evaluate(good_run, *options)
    assert (noisy.code, noisy.err) == (0, "")
    assert noisy.out == again.out
    assert (
        "noise          jitter of 0.05 of the window (seed 7), spike times of 3 bits, weights of 3 bits\n" in noisy.out
    )
    accuracy = re.findall(r"test accuracy  ([\d.]+) %", quiet.out)
    told = re.findall(r"without noise  ([\d.]+) %; ([\d.]+) % of predictions change", noisy.out)
    assert [before for before, _ in told] == accuracy
    assert 0 < float(told[0][1]) < 100
    assert re.findall(r"test loss.*", noisy.out) != re.findall(r"test loss.*", quiet.out)
    assert "noise" not in quiet.out
    # the run is as it was
    assert commands.evaluate(good_run).out == quiet.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--jitter", "2"], "jitter must be a number from 0 to 1, not 2.0"),
        (["--time-bits", "0"], "time_bits must be a whole number from 1 to 16, not 0"),
        (["--weight-bits", "1"], "weight_bits must be a whole number from 2 to 16, not 1"),
        (["--noise-seed", "-1"], "noise_seed must be a whole number from 0, not -1"),
        (["--jitter", "much"], "argument --jitter: invalid float value: 'much': see ttfs-evaluate --help"),
    ],
)
def test_what_is_no_noise_is_one_sentence(good_run: Path, options: list[str], sentence: str) -> None:
    outcome = commands.evaluate(good_run, *options)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"error: {sentence}\n")
