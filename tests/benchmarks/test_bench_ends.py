"""How the benchmarks' commands end."""

from typing import Any

import pytest

from ttfs_cupy import bench
from ttfs_cupy.benchmarks import training_step
from ttfs_cupy.common.command import command_line


@pytest.mark.parametrize("command", [bench, training_step])
def test_nothing_interrupts_the_end_of_the_process(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[bool] = []
    monkeypatch.setattr(command_line, "run", lambda work, process_ends: ends.append(process_ends) or 0)
    monkeypatch.setattr("sys.argv", ["bench", "--rounds", "1"])
    for arguments in (None, ["--rounds", "1"]):
        assert command.main(arguments) == 0
    # called from Python, the process goes on
    assert ends == [True, False]
