"""A little of each fuzzer, the kernels built with sanitizers; and that they would find something."""

import random
from pathlib import Path

import pytest
from helpers.sanitizers import trouble

from fuzz.__main__ import WITHIN, run
from fuzz.worker import Task

# Of those whose attempts are short; the others have tests of their own that use them
SECONDS = {"api": 12.0, "configs": 6.0, "run_directories": 8.0, "data_files": 4.0, "weight_files": 4.0}

sanitized = pytest.mark.skipif(trouble() is not None, reason=trouble() or "")


@sanitized
@pytest.mark.parametrize("topic", sorted(SECONDS))
def test_all_promises_hold(topic: str, tmp_path: Path) -> None:
    # more patience than a fuzzing user has, for machines that are busy with other tests
    task = Task(WITHIN[topic], str(tmp_path), attempts=10**6, seconds=SECONDS[topic], limit=60, sanitized=True)
    result = run(task)
    assert result.held, result.text
    assert result.attempt is not None and result.attempt >= 5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Breaks", "AssertionError: a promise was broken"),
        ("Hangs", "Timeout"),
        ("Crashes", "Segmentation fault"),
        ("Grows", "MiB more than after the first attempts"),
    ],
)
def test_what_is_planted_is_found(name: str, said: str, tmp_path: Path) -> None:
    result = run(Task(f"helpers.planted_fuzzers:{name}", str(tmp_path), attempts=20, limit=10))
    assert not result.held and said in result.text
    assert result.attempt == (11 if name == "Grows" else 2)


@sanitized
def test_a_step_beyond_an_array_is_found(tmp_path: Path) -> None:
    result = run(Task("helpers.planted_fuzzers:ReadsBeyond", str(tmp_path), attempts=5, limit=60, sanitized=True))
    assert not result.held and "AddressSanitizer: heap-buffer-overflow" in result.text and result.attempt == 2


def test_an_attempt_depends_on_its_number_alone(tmp_path: Path) -> None:
    from fuzz.api import _CALLS, Api, _World

    api = Api(tmp_path)
    first, again = (repr(_World(random.Random("0 7"), api.device, tmp_path)) for _ in range(2))
    assert first == again and len(_CALLS) > 25
