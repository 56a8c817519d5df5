"""What `ttfs predict` says."""

import json
from pathlib import Path
from typing import Any

from helpers.commands import Outcome, command
from ttfs_cupy.trained import predict_command


def classify(*arguments: str | Path) -> Outcome:
    return command(predict_command.main, *arguments)


def lines_of(outcome: Outcome, code: int = 0) -> list[dict[str, Any]]:
    assert outcome.code == code, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]
