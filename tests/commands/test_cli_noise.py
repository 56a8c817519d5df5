"""ttfs-evaluate with noise, losses and corrupted images at test time."""

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


def test_lost_spikes_and_corrupted_images(good_run: Path) -> None:
    quiet = commands.evaluate(good_run)
    corrupt = ["--corrupt", "gaussian", "0.2", "--corrupt", "blur", "0.4", "--corrupt", "salt", ".01"]
    noisy = commands.evaluate(good_run, *corrupt, "--drop-spikes", "0.1", "--noise-seed", "2")
    assert (noisy.code, noisy.err) == (0, "")
    assert (
        "noise          images with Gaussian noise of sigma 0.2, a Gaussian blur of sigma 0.4 pixels, 1 % of pixels "
        "black or white (seed 2), 10 % of spikes lost (seed 2)\n" in noisy.out
    )
    accuracy = re.findall(r"test accuracy  ([\d.]+) %", quiet.out)
    told = re.findall(r"without noise  ([\d.]+) %; ([\d.]+) % of predictions change", noisy.out)
    assert [before for before, _ in told] == accuracy
    assert 0 < float(told[0][1]) < 100
    other = commands.evaluate(good_run, *corrupt, "--drop-spikes", "0.1", "--noise-seed", "3")
    assert re.findall(r"test loss.*", other.out) != re.findall(r"test loss.*", noisy.out)
    images = commands.evaluate(good_run, *corrupt)
    assert "without noise" in images.out and "lost" not in images.out


def test_a_corruption_of_level_0_changes_nothing(good_run: Path) -> None:
    quiet, found = commands.evaluate(good_run), commands.evaluate(good_run, "--corrupt", "gaussian", "0")
    assert "; 0.00 % of predictions change\n" in found.out
    lines = [line for line in found.out.splitlines() if not re.match("noise|without", line)]
    assert lines == quiet.out.splitlines()


def test_what_noise_silences_is_no_fault_of_the_training(good_run: Path) -> None:
    outcome = commands.evaluate(good_run, "--drop-spikes", "1")
    assert "firing rate    conv1    0.000\n" in outcome.out
    assert "never fire" not in outcome.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--drop-spikes", "2"], "drop_spikes must be a number from 0 to 1, not 2.0"),
        (["--corrupt", "fog", "1"], "a corruption must be one of gaussian, salt, blur, contrast, not 'fog'"),
        (["--corrupt", "salt", "2"], "the level of salt must be a number from 0 to 1, not 2.0"),
        (["--corrupt", "salt", "much"], "--corrupt salt: the level must be a number, not 'much'"),
        (["--corrupt", "blur", "-1"], "the level of blur must be a number from 0 to 32, not -1.0"),
        (["--corrupt", "blur"], "argument --corrupt: expected 2 arguments: see ttfs-evaluate --help"),
    ],
)
def test_what_is_no_disturbance_is_one_sentence(good_run: Path, options: list[str], sentence: str) -> None:
    outcome = commands.evaluate(good_run, *options)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"error: {sentence}\n")
