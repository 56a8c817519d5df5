"""What standardised weights cost: the command of docs/design.md."""

import pytest

from ttfs_cupy.benchmarks import standardized_weights


def test_the_command_compares_both_steps_and_times_what_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    assert standardized_weights.main(["--networks", "vgg7", "--batch-size", "2", "--rounds", "1"]) == 0
    head, line = capsys.readouterr().out.splitlines()[-2:]
    assert head.split() == ["plain", "standardised", "ratio", "two", "launches", "of", "a", "step"]
    name, batch, size, plain, standardized, ratio, launches, share = line.split()
    assert (name, batch, size) == ("vgg7,", "batch", "2")
    assert float(ratio) == pytest.approx(float(standardized) / float(plain), abs=0.01)
    # two launches are a part of the step, not all of it
    assert 0 < float(launches) < float(standardized)
    assert float(share.rstrip("%")) == pytest.approx(100 * float(launches) / float(plain), abs=0.1)
