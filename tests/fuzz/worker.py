"""Attempts of one fuzzer, one after the other, in a process of its own: python -m fuzz.worker '{"topic": ...}'.

Prints what came out, as JSON. Ends with a traceback, a signal, or by the watch where a promise was broken; the file
`attempt` in the folder then says in which attempt.
"""

import faulthandler
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from helpers import sanitizers

from ttfs_cupy.benchmarks.comparison.memory import peak_resident_bytes
from ttfs_cupy.device.compilation import cpu_library

# Of one attempt, beyond what the first ones took
BYTES = 1 << 30


class Fuzzer(Protocol):
    """What the classes of this folder are; each is made with a folder to work in, and its options."""

    def attempt(self, chance: random.Random) -> str:
        """One random attempt, a function of `chance` alone; returns a word for what came out. Raises AssertionError,
        or anything else, if a promise was broken."""


@dataclass(frozen=True)
class Task:
    """Attempts of a class ("module:Name") from number `first` on: so many of them, or as many as go into so many
    seconds. limit: seconds of one attempt."""

    fuzzer: str
    folder: str
    seed: int = 0
    first: int = 0
    attempts: int = 1
    seconds: float = 3600.0
    limit: float = 10.0
    sanitized: bool = False
    options: dict[str, int] = field(default_factory=dict)

    def dump(self) -> str:
        return json.dumps(asdict(self))


def main(task: Task) -> None:
    folder = Path(task.folder)
    if not task.sanitized:  # which tell of a crash themselves
        faulthandler.enable()
    else:
        _build_with_sanitizers()
    module, _, name = task.fuzzer.partition(":")
    fuzzer: Fuzzer = getattr(import_module(module), name)(folder, **task.options)
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + task.seconds
    usual = 0
    for count in range(task.attempts):
        if time.monotonic() > end:
            break
        number = task.first + count
        (folder / "attempt").write_text(str(number))
        faulthandler.dump_traceback_later(task.limit, exit=True)
        outcomes[fuzzer.attempt(random.Random(f"{task.seed} {number}"))] += 1
        faulthandler.cancel_dump_traceback_later()
        used = peak_resident_bytes()
        # the first attempts load what all of them need
        usual = used if count < 10 else usual
        assert used - usual <= BYTES, f"{(used - usual) >> 20} MiB more than after the first attempts"
    print(json.dumps(outcomes))


def _build_with_sanitizers() -> None:
    sanitizers.CACHE.mkdir(parents=True, exist_ok=True)
    library = cpu_library.load(sanitizers.FLAGS, sanitizers.CACHE)
    cpu_library.load = lambda: library  # type: ignore[assignment]


if __name__ == "__main__":
    main(Task(**json.loads(sys.argv[1])))
