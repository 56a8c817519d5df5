"""python -m fuzz [TOPIC ...]: random attempts until the time is up; exit code 1 if a promise was broken."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.environments import REPOSITORY
from helpers.sanitizers import preloaded

from fuzz.worker import Task

# Attempts in this process, each of 10 seconds at most, the kernels built with sanitizers
WITHIN = {
    "api": "fuzz.api:Api",
    "configs": "fuzz.configs:Configs",
    "run_directories": "fuzz.run_directories:RunDirectories",
    "data_files": "fuzz.data_files:DataFiles",
    "weight_files": "fuzz.weight_files:WeightFiles",
}
# Attempts of several processes, which compare the bits of whole runs
WHOLE_RUNS = {
    "pairs": "fuzz.runs:Pairs",
    "signals": "fuzz.runs:Signals",
    "kills": "fuzz.kills:Kills",
    "survival": "fuzz.kills:Survival",
}
TOPICS = WITHIN | WHOLE_RUNS


@dataclass(frozen=True)
class Result:
    """What came out of a task, as a text, and whether all promises held. attempt: the last one."""

    held: bool
    text: str
    attempt: int | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=600, help="for all topics together")
    parser.add_argument("--attempts", type=int, default=10**9, help="of each topic at most")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="another one, other attempts")
    parser.add_argument("--first", type=int, default=0, help="the number of the first attempt: repeats one")
    parser.add_argument("--kills", type=int, default=100, help="of each run of survival")
    parser.add_argument("--plain", action="store_true", help="kernels without sanitizers, which need g++")
    parsed = parser.parse_args()
    topics = parsed.topics or list(TOPICS)
    if unknown := set(topics) - {*TOPICS}:
        parser.error(f"there is no topic {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")
    broken = 0
    for topic in topics:
        is_within = topic in WITHIN
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            result = run(
                Task(
                    *(TOPICS[topic], folder, parsed.seed, parsed.first, parsed.attempts),
                    seconds=parsed.seconds / len(topics),
                    limit=10 if is_within else 120 + (10 * parsed.kills if topic == "survival" else 0),
                    sanitized=is_within and not parsed.plain,
                    options={"kills": parsed.kills} if topic == "survival" else {},
                )
            )
        print(f"{topic}: {result.text} ({time.monotonic() - start:.0f} s, seed {parsed.seed})", flush=True)
        if not result.held:
            broken += 1
            again = f"{topic} --seed {parsed.seed} --first {result.attempt or 0} --attempts 1"
            print(f"again: make fuzz ARGUMENTS='{again}'", flush=True)
    return 1 if broken else 0


def run(task: Task) -> Result:
    """The task in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")}
    if task.sanitized:
        environment |= preloaded()
    result = subprocess.run(
        [sys.executable, "-m", "fuzz.worker", task.dump()],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    file = Path(task.folder, "attempt")
    attempt = int(file.read_text()) if file.exists() else None
    if result.returncode == 0:
        return Result(True, result.stdout.splitlines()[-1], attempt)
    said = result.stderr[-6000:]
    return Result(False, f"broken in attempt {attempt}, exit code {result.returncode}:\n{said}\n", attempt)


if __name__ == "__main__":
    sys.exit(main())
