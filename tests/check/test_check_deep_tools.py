"""The stages of a deep check that run other programs: made-up ones, which find, hang and fail."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.kept_notes import Kept
from helpers.processes import ends

from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.stages import nvidia
from ttfs_cupy.device import CpuDevice

CPU = CpuDevice(1)


TABLE = """a line of the program
"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value","Rule Name"
"0","tensorcore_forward(const float *, int)","Speed","Duration","us","123.4",""
"0","tensorcore_forward(const float *, int)","Speed","Compute (SM) Throughput","%","71.5",""
"0","tensorcore_forward(const float *, int)","Speed","","","","SOLBottleneck"
"1","tensorcore_data_gradient(int)","Launch","Registers Per Thread","register/thread","168",""
"""
NCU = f"""
if "--import" in sys.argv:
    print({TABLE!r} if "--csv" in sys.argv else "pages of text")
else:
    assert sys.argv[-2:] == ["hot", "cpu"] and "--set" in sys.argv
    Path(sys.argv[sys.argv.index("-o") + 1]).touch()
"""


def test_profiles_of_the_hot_kernels(kept: Kept, on_path: Callable[[str, str], None]) -> None:
    on_path("ncu", NCU)
    nvidia.profile(kept, CPU, 60)
    figures, findings = kept.take()
    assert [(one["kernel"], one["metric"], one["value"]) for one in figures] == [
        ("tensorcore_forward", "Duration", "123.4"),
        ("tensorcore_forward", "Compute (SM) Throughput", "71.5"),
        ("tensorcore_data_gradient", "Registers Per Thread", "168"),
    ]
    assert [finding.text for finding in findings] == [
        "tensorcore_forward: 123.4 us, SM 71.5 %",
        "tensorcore_data_gradient: registers 168 register/thread",
    ]
    assert (kept.folder / "ncu.txt").read_text() == "pages of text\n"


def test_counters_that_may_not_be_read(kept: Kept, on_path: Callable[[str, str], None]) -> None:
    on_path("ncu", "print('==ERROR== ERR_NVGPUCTRPERM - no permission'); sys.exit(1)")
    nvidia.profile(kept, CPU, 60)
    (finding,) = kept.take()[1]
    assert not finding.attention and "ERR_NVGPUCTRPERM" in finding.text


@pytest.mark.parametrize(
    ("which", "said", "code", "attention"),
    [
        ("memcheck", "========= ERROR SUMMARY: 0 errors", 0, False),
        ("memcheck", "========= ERROR SUMMARY: 3 errors", nvidia.FOUND_ERRORS, True),
        ("racecheck", "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 0, False),
        ("racecheck", "========= RACECHECK SUMMARY: 2 hazards displayed (0 errors, 2 warnings)", 0, True),
        ("synccheck", "the program, and no verdict", 0, True),
        ("synccheck", "========= ERROR SUMMARY: 0 errors", 1, True),
    ],
)
def test_sanitizers(
    which: str, said: str, code: int, attention: bool, kept: Kept, on_path: Callable[[str, str], None]
) -> None:
    on_path("compute-sanitizer", f"assert {which!r} in sys.argv; print({said!r}); sys.exit({code})")
    nvidia.sanitize(kept, CPU, which, 60)
    (figure,), (finding,) = kept.take()
    assert (figure["tool"], figure["code"], finding.attention) == (which, code, attention)
    assert said in (kept.folder / "sanitizer.txt").read_text()


def test_a_sanitizer_that_takes_too_long(kept: Kept, on_path: Callable[[str, str], None]) -> None:
    on_path("compute-sanitizer", "import time; print('tensorcore forward', flush=True); time.sleep(60)")
    nvidia.sanitize(kept, CPU, "racecheck", 1)
    assert kept.marked() == ["racecheck: killed after 1 s, 0 verdicts, at: tensorcore forward"]


def test_a_command_out_of_time_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    start = time.monotonic()
    ended = tools.run([sys.executable, "-c", parent], 1.5)
    assert time.monotonic() - start < 20
    assert (ended.text, ended.code) == ("begun\n", None)
    pid = int((tmp_path / "pid").read_text())
    assert ends(pid)


def test_a_tool_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_PLACES", ())
    assert tools.find("no-such-tool") is None
    assert tools.find("sh") is not None


def test_a_long_text_keeps_both_ends() -> None:
    output = tools.Output("a" * 100 + "b" * 100, 0)
    assert output.short(200) == output.text
    assert output.short(20) == f"{'a' * 10}\n... 180 characters are left out ...\n{'b' * 10}"
