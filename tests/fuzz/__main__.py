"""python -m fuzz [TOPIC ...]: random attempts until the time is up; exit code 1 if a promise was broken."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.environments import REPOSITORY
from helpers.sanitizers import preloaded

from fuzz.worker import Task

TOPICS = ("api", "configs", "run_directories", "data_files")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=600, help="for all topics together")
    parser.add_argument("--attempts", type=int, default=10**9, help="of each topic at most")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="another one, other attempts")
    parser.add_argument("--first", type=int, default=0, help="the number of the first attempt: repeats one")
    parser.add_argument("--plain", action="store_true", help="kernels without sanitizers, which need g++")
    parsed = parser.parse_args()
    topics = parsed.topics or list(TOPICS)
    if unknown := set(topics) - {*TOPICS}:
        parser.error(f"there is no topic {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")
    broken = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for topic in topics:
            place = Path(folder, topic)
            place.mkdir()
            task = Task(
                *(topic, str(place), parsed.seed, parsed.first, 1, parsed.attempts, parsed.seconds / len(topics)),
                sanitized=not parsed.plain,
            )
            broken += not run(task)
    return 1 if broken else 0


def run(task: Task) -> bool:
    """Whether all promises held; says what came out."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")}
    if task.sanitized:
        environment |= preloaded()
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "fuzz.worker", task.dump()],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    seconds = time.monotonic() - start
    if result.returncode == 0:
        print(f"{task.topic}: {result.stdout.splitlines()[-1]} in {seconds:.0f} s", flush=True)
        return True
    attempt = Path(task.folder, "attempt")
    number = attempt.read_text() if attempt.exists() else "none"
    print(f"{task.topic}: broken in attempt {number} (exit code {result.returncode}):\n{result.stderr[-6000:]}")
    print(f"again: make fuzz ARGUMENTS='{task.topic} --seed {task.seed} --first {number} --attempts 1'", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
