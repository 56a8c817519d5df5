"""What docs/several_gpus.md hands out: a script for Slurm, and the Dockerfile."""

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.commands import small
from helpers.documentation.shell import programs_in
from helpers.environments import CODE, REPOSITORY
from helpers.processes import ended, started

SCRIPT = REPOSITORY / "docs/slurm/train.sbatch"
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
# What the script calls of Slurm's, in place of it: srun runs one process of what it is told, and scancel signals it.
SLURM = {
    "srun": """while [ "${1#--}" != "$1" ]; do shift; done; echo $$ > step; exec "$@" """,
    "scancel": """[ "$1 $2" = "--signal=TERM 7" ] && kill -TERM "$(cat step)" """,
    "scontrol": """echo "$@" >> requeued""",
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of a job: a folder of its own, and programs."""
    pytest.importorskip("sklearn", reason="the extra digits brings the images")
    monkeypatch.chdir(tmp_path)
    programs = programs_in(tmp_path / "bin")
    for name, text in SLURM.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SLURM_JOB_ID": "7",
        "RUN": "run",
    }


def job(environment: dict[str, str], *, signal_after: str = "", epochs: int = 60) -> tuple[int, str]:
    """Exit code of a job, and what it printed. signal_after: what the log says when Slurm tells it that time is up."""
    output, *rest = small(Path("unused"), training__epochs=epochs)[2:]
    assert output == "unused"
    log, deadline = Path("run/log.txt"), time.monotonic() + 60
    with ended(started(["bash", str(SCRIPT), "quickstart", "--no-tune", *rest], environment)) as process:
        while signal_after and not (log.exists() and signal_after in log.read_text()):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        if signal_after:
            process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def test_a_job_whose_time_is_up_goes_on_in_the_next_one(environment: dict[str, str]) -> None:
    code, said = job(environment, signal_after="epoch 2/60")
    assert code == 143 and "interrupted: " in said, said
    assert Path("requeued").read_text() == "requeue 7\n"
    code, said = job(environment)
    assert code == 0, said
    *epochs, test = map(json.loads, Path("run/metrics.jsonl").read_text().splitlines())
    assert [line["epoch"] for line in epochs] == list(range(1, 61)) and "test_accuracy" in test
    # a job that finishes, and one that fails, are not put back
    assert Path("requeued").read_text() == "requeue 7\n"


def test_a_job_that_fails_is_not_put_back(environment: dict[str, str]) -> None:
    code, said = job(environment, epochs=-1)
    assert code == 2 and "training.epochs" in said
    assert not Path("requeued").exists()


@pytest.mark.parametrize(("code", "again"), [(143, True), (130, True), (0, False), (1, False), (2, False)])
def test_a_job_is_put_back_if_its_run_was_told_to_end(environment: dict[str, str], *, code: int, again: bool) -> None:
    """0: a run that finishes meanwhile. Of what ttfs does there is only that it answers SIGTERM by this exit code."""
    ttfs = Path("bin/ttfs")
    ttfs.write_text(f"""#!/bin/bash
trap "exit {code}" TERM
mkdir run && echo begun > run/log.txt
while :; do sleep 0.05; done
""")
    ttfs.chmod(0o755)
    ended, said = job(environment, signal_after="begun")
    assert ended == code and Path("requeued").exists() == again, said


def test_the_script_asks_slurm_for_the_signal_that_it_answers() -> None:
    text = SCRIPT.read_text()
    assert re.search(r"^#SBATCH --signal=B:USR1@\d+$", text, re.MULTILINE)
    # sbatch reads no line of these behind the first command
    assert "#SBATCH" not in text.split("set -euo pipefail")[1]


def test_the_script_is_sound() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_gets_all_of_the_code_and_nothing_else() -> None:
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert set(CODE) <= copied and [path for path in copied if not (REPOSITORY / path).exists()] == []
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in ignored and {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied


def test_the_image_is_made_of_the_extras_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the Dockerfile's own line of Python."""
    shutil.copy(REPOSITORY / "setup.cfg", tmp_path)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^RUN python3 -c '(.*?)'$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    exec(code.replace("\\\n", ""), {})
    named = set(re.findall(r"requirements-(\w*)\.txt", DOCKERFILE))
    assert {"", "mpi", "digits"} <= named
    for name in ("", "mpi", "digits", "cuda12", "cuda13", "nccl12", "nccl13"):
        lines = [line for line in (tmp_path / f"requirements-{name}.txt").read_text().splitlines() if line]
        assert lines and not any(line.startswith("torch") for line in lines)
    config = configparser.RawConfigParser()
    config.read("setup.cfg")
    (minor,) = re.findall(r"^FROM python:3\.(\d+)-slim", DOCKERFILE, re.MULTILINE)
    assert int(minor) >= int(config["options"]["python_requires"].split(".")[-1])
