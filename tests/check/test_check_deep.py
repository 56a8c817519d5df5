"""python -m ttfs_cupy.check --deep: a stage that crashes, hangs or is killed leaves the others, and the report."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.environments import REPOSITORY
from helpers.processes import ends, started
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.check import command as check
from ttfs_cupy.check import deep
from ttfs_cupy.check.deep import runner, summary
from ttfs_cupy.check.deep.ended import Ended
from ttfs_cupy.check.deep.notes import Finding
from ttfs_cupy.check.deep.runner import FIGURES, REPORT, SUMMARY
from ttfs_cupy.check.deep.stages import nvidia
from ttfs_cupy.common.command import command_line, interruption
from ttfs_cupy.common.errors import UserError

TESTS = REPOSITORY / "tests"
MEGABYTE = 1 << 20


def stage(name: str, most: float = 60, least: float = 0) -> deep.Stage:
    return deep.Stage(name, f"helpers.deep_stages.{name}", most, least)


def figures(folder: Path) -> dict[str, dict[str, Any]]:
    """What is kept of each stage."""
    return {one["name"]: one for one in json.loads((folder / FIGURES).read_text())["stages"]}


def found_before(of: dict[str, Any]) -> bool:
    """What a stage has found before it came to grief."""
    return of["figures"] == [{"record": "Figure", "name": "before", "value": 1.0}]


def test_figures_and_findings_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "report"
    assert deep.run([stage("fine")], folder, 60, "cpu") == 0
    assert {path.name for path in folder.iterdir()} == {REPORT, FIGURES, SUMMARY}
    fine = figures(folder)["fine"]
    assert fine["how"] == "done"
    assert fine["figures"] == [
        {"record": "Figure", "name": "a third", "value": 0.33333},
        {"record": "Figure", "name": "nothing", "value": None},
    ]
    assert fine["findings"] == [{"text": "all is well on cpu", "attention": False}]
    assert "== all is well on cpu" in (folder / REPORT).read_text()
    said = capsys.readouterr().out
    assert said.endswith((folder / SUMMARY).read_text())
    assert "nothing needs attention" in said.splitlines()[-1]


def test_a_finding_that_needs_attention_is_marked_and_fails(tmp_path: Path) -> None:
    assert deep.run([stage("finds_something")], tmp_path, 60, "cpu") == 1
    lines = (tmp_path / SUMMARY).read_text().splitlines()
    assert lines[1].split() == ["!!", "this", "is", "not"]
    assert "need attention: finds_something;" in lines[-1]


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("raises", "failed (exit code 1)", "RuntimeError: out of order"),
        ("crashes", "killed (by SIGSEGV, in string_at, __init__.py line", "said last: about to read"),
        ("is_killed", "killed (by SIGKILL)", "said last: about to be killed"),
        ("hangs", "out of time (killed after 2 s, in wait_forever, hangs.py line", "said last: about to wait"),
    ],
)
def test_one_that_does_not_end_well_leaves_the_others(name: str, how: str, said: str, tmp_path: Path) -> None:
    start = time.monotonic()
    assert deep.run([stage(name, most=3), stage("fine")], tmp_path, 60, "cpu") == 1
    assert time.monotonic() - start < 20
    kept = figures(tmp_path)
    assert found_before(kept[name]) and kept["fine"]["how"] == "done"
    lines = (tmp_path / SUMMARY).read_text().splitlines()
    assert lines[0].startswith(f"!! {name:11} {how}")
    assert any(line.startswith("!!") and said in line for line in lines[1:])
    assert lines[-1].startswith(f"!! need attention: {name};")


def test_what_a_hanging_stage_has_started_is_killed_with_it(tmp_path: Path) -> None:
    deep.run([stage("hangs", most=3)], tmp_path, 60, "cpu")
    child = int((tmp_path / "child").read_text())
    assert ends(child)


def test_a_mistake_of_the_users_is_one_sentence(tmp_path: Path) -> None:
    assert deep.run([stage("refuses")], tmp_path, 60, "cuda:7") == 1
    assert "!!     device 'cuda:7' cannot be used\n" in (tmp_path / SUMMARY).read_text()
    assert "Traceback" not in (tmp_path / REPORT).read_text()


def test_the_budget_is_kept(tmp_path: Path) -> None:
    start = time.monotonic()
    stages = [stage("hangs"), stage("fine", least=2), stage("finds_something", least=2)]
    assert deep.run(stages, tmp_path, 8, "cpu") == 1
    assert time.monotonic() - start < 8
    lines = (tmp_path / SUMMARY).read_text().splitlines()
    assert lines[0].startswith("!! hangs       out of time (killed after 4 s")
    assert [line for line in lines if "skipped (" in line] == [
        f"   {name:11} skipped (0 s are left), 0.0 s" for name in ("fine", "finds_something")
    ]
    assert "; skipped: fine, finds_something; " in lines[-1]


def test_a_report_stays_small(tmp_path: Path) -> None:
    stages = [deep.Stage(f"flood {number}", "helpers.deep_stages.floods", 60, 0) for number in range(len(deep.STAGES))]
    assert deep.run(stages, tmp_path, 120, "cpu") == 0
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size + nvidia.MOST_OF_NCU + len(nvidia.SANITIZERS) * nvidia.MOST_OF_SANITIZER < MEGABYTE
    text = (tmp_path / REPORT).read_text()
    assert "lines are left out" in text and "line 1999 of many" in text
    assert text.count("== came to its end") == len(stages)
    assert all("came to its end" in of["findings"][0]["text"] for of in figures(tmp_path).values())


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 130)],
    ids=lambda value: str(value),
)
def test_an_interrupt_ends_the_stage_and_leaves_a_report(number: signal.Signals, code: int, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.append({str(TESTS)!r}); from pathlib import Path; from ttfs_cupy.check import deep;"
        "from ttfs_cupy.common.command import command_line;"
        "names = ('fine', 'hangs', 'finds_something');"
        "stages = [deep.Stage(name, f'helpers.deep_stages.{name}', 60, 0) for name in names];"
        f"sys.exit(command_line.run(lambda: deep.run(stages, Path({str(tmp_path)!r}), 60, 'cpu')))"
    )
    process = started([sys.executable, "-c", script])
    deadline = time.monotonic() + 30
    while not (tmp_path / "child").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (code, "")
    kept = figures(tmp_path)
    assert {name: of["how"] for name, of in kept.items()} == {
        "fine": "done",
        "hangs": "interrupted",
        "finds_something": "interrupted",
    }
    assert found_before(kept["hangs"])
    assert out.endswith((tmp_path / SUMMARY).read_text())
    child = int((tmp_path / "child").read_text())
    assert ends(child)


class TestHangup:
    @pytest.fixture(autouse=True)
    def usual_answer(self) -> Iterator[None]:
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        yield
        signal.signal(signal.SIGHUP, before)

    def test_one_that_is_ignored_stays_so(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with runner._hangup_is_an_interrupt():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def test_a_second_one_does_not_cut_the_end_short(self) -> None:
        ends = []

        def command() -> None:
            with runner._hangup_is_an_interrupt():
                try:
                    signal.raise_signal(signal.SIGHUP)
                except KeyboardInterrupt:
                    interruption.arrived()
                    signal.raise_signal(signal.SIGHUP)
                    ends.append("written")
                    raise

        assert command_line.run(command) == 130
        assert ends == ["written"]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL

    def test_without_a_command(self) -> None:
        with pytest.raises(KeyboardInterrupt), runner._hangup_is_an_interrupt():
            signal.raise_signal(signal.SIGHUP)


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="there python -m looks into the folder that it is started in first"
)
def test_stages_are_of_the_package_that_was_started(tmp_path: Path) -> None:
    # a checkout of something else, in which the installed command is called
    (tmp_path / "ttfs_cupy").mkdir()
    (tmp_path / "ttfs_cupy" / "__init__.py").write_text("raise RuntimeError('of another package')\n")
    (tmp_path / "models.py").touch()
    code = "import sys; sys.path.remove(''); from ttfs_cupy.check.command import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--deep", "--report", "report", "--device", "cpu", "--only", "nvidia"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout


def test_a_report_is_not_written_over(tmp_path: Path) -> None:
    deep.run([stage("fine")], tmp_path, 60, "cpu")
    with pytest.raises(UserError, match="holds a report already: name another folder"):
        deep.run([stage("fine")], tmp_path, 60, "cpu")


def test_a_report_that_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match="is no folder that could be written"):
        deep.run([stage("fine")], file, 60, "cpu")


findings = st.lists(st.builds(Finding, st.text("ab ", max_size=300), st.booleans()), max_size=30)


@given(st.lists(findings, min_size=1, max_size=10))
def test_a_summary_is_short_and_leaves_out_what_is_well_first(of_stages: list[list[Finding]]) -> None:
    ended = [Ended(f"stage {number}", "done", findings=some) for number, some in enumerate(of_stages)]
    lines = summary.lines(ended, 1.0, 2.0)
    assert len(lines) <= summary.MOST_LINES
    assert max(map(len, lines)) <= summary.MOST_COLUMNS
    marked = sum(finding.attention for some in of_stages for finding in some)
    plain = sum(len(some) for some in of_stages) - marked
    room = summary.MOST_LINES - len(ended) - 1
    shown = sum(line.startswith("!!") for line in lines[:-1])
    assert shown == min(marked, room)
    assert len(lines) - len(ended) - 1 - shown == min(plain, room - shown)


def test_the_real_command(tmp_path: Path) -> None:
    """From another folder; without the two stages that are tests of their own: all architectures, and check itself."""
    folder = tmp_path / "report"
    names = [stage.name for stage in deep.STAGES if stage.name not in ("compile", "check")]
    command = [sys.executable, "-m", "ttfs_cupy.check", "--deep", "--report", str(folder), "--device", "cpu"]
    command += ["--seconds", "300", "--only", ",".join(names)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.rstrip().splitlines()
    assert "nothing needs attention" in lines[-1]
    kept = figures(folder)
    assert {name: of["how"] for name, of in kept.items()} == dict.fromkeys(names, "done")
    # what was tuned, if anything, is this user's
    records = {name: {figure["record"] for figure in of["figures"]} - {"Tuned"} for name, of in kept.items()}
    assert records == {
        "environment": {"Tool", "Package", "Machine", "Product", "TorchSettings"},
        "graph": {"Replay", "NanGradient"},
        "ranks": set(),
        "layers": {"Candidate"},
        "profile": {"Wall"},
        "parity": {"LayerParity", "GradientParity", "Outcome"},
        "bench": {"Speed"},
        "train": {"Quickstart", "Fed"},
        "nvidia": set(),
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) < MEGABYTE
    assert len((folder / SUMMARY).read_text().splitlines()) <= summary.MOST_LINES


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--deep"], "--deep needs --report, a folder for what it finds"),
        (["--deep", "--report", "x", "--only", "graph,speed"], "stage 'speed' is not known"),
        (["--deep", "--report", "x", "--seconds", "0"], "--seconds 0 is no budget"),
        (["--only", "graph"], "--seconds and --only are for --deep"),
        (["--seconds", "9"], "--seconds and --only are for --deep"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        check.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_a_folder_that_cannot_be_used_is_an_error_of_the_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / REPORT).touch()
    assert check.main(["--deep", "--report", str(tmp_path), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.startswith(f"error: --report {tmp_path} holds a report already")


def test_only_runs_those_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(deep, "run", lambda *given: asked.append(given) or 0)
    assert check.main(["--deep", "--report", str(tmp_path), "--only", "layers,graph"]) == 0
    ((stages, folder, seconds, device),) = asked
    # in their own order, the most important first
    assert [stage.name for stage in stages] == ["graph", "layers"]
    assert (folder, seconds, device) == (tmp_path, check.SECONDS, "auto")
