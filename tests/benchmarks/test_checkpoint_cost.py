"""What a checkpoint costs: the command of docs/performance.md."""

from pathlib import Path

import pytest

from ttfs_cupy.benchmarks import checkpoint_cost


def test_the_command_times_the_copy_and_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--networks", "vgg7", "--batch-size", "2", "--rounds", "1", "--folder", str(tmp_path)]
    assert checkpoint_cost.main(arguments) == 0
    head, line = capsys.readouterr().out.splitlines()[-2:]
    assert head.split() == ["MB", "step", "copy", "whole", "step", "beside", "copy/epoch", "whole/epoch"]
    name, batch, size, megabytes, step, copy, whole, _, of_copy, of_whole = line.split()
    assert (name, batch, size) == ("vgg7,", "batch", "2")
    # weights and two moments, float32
    weights = 64 * 9 + 64 * 128 * 9 + 128 * 256 * 9 + 256 * 256 * 9 + 256 * 512 * 9 + 512 * 512 * 9 + 10 * 512 * 9
    assert float(megabytes) == pytest.approx(3 * 4 * weights / 1e6, abs=0.1)
    epoch = float(step) * checkpoint_cost.IMAGES / 2
    assert float(of_copy.rstrip("%")) == pytest.approx(100 * float(copy) / epoch, abs=0.002)
    assert float(of_whole.rstrip("%")) == pytest.approx(100 * float(whole) / epoch, abs=0.002)
    assert list(tmp_path.iterdir()) == []
