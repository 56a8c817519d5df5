"""What control groups leave to this process: trees of files as the kernel shows them, and a real group."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.common.machine import control_groups, cores
from ttfs_cupy.common.machine.control_groups import memory_left, quota
from ttfs_cupy.device import CpuDevice

MIB = 1 << 20
UNLIMITED_1 = 9223372036854771712

V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 31 0:31 {root} /sys/fs/cgroup/{name} rw,relatime shared:9 - cgroup cgroup rw,{name}\n"
OTHERS = "23 1 8:1 / / rw - ext4 /dev/vda rw\n31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"


def machine(folder: Path, groups: str, mounts: str, files: Mapping[str, str]) -> dict[str, Path]:
    """The arguments of memory_left and quota for a machine of these files below /sys/fs/cgroup."""
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text(OTHERS + mounts)
    for name, content in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return {"proc": proc, "root": folder}


def memory_2(group: str, limit: str, used: int, high: str = "max", **statistics: int) -> dict[str, str]:
    stat = "".join(f"{name} {value}\n" for name, value in statistics.items())
    names = {"memory.max": limit, "memory.high": high, "memory.current": str(used), "memory.stat": f"anon 5\n{stat}"}
    return {f"{group}{name}": f"{content}\n" for name, content in names.items()}


def memory_1(group: str, limit: int, used: int, **statistics: int) -> dict[str, str]:
    stat = "".join(f"{name} {value}\n" for name, value in statistics.items())
    names = {"limit_in_bytes": str(limit), "usage_in_bytes": str(used), "stat": f"cache 7\n{stat}"}
    return {f"memory/{group}memory.{name}": f"{content}\n" for name, content in names.items()}


class TestVersion2:
    def test_a_container_sees_its_own_group_as_the_root(self, tmp_path: Path) -> None:
        files = memory_2("", str(100 * MIB), 30 * MIB) | {"cpu.max": "150000 100000\n"}
        here = machine(tmp_path, "0::/\n", V2.format(root="/"), files)
        assert memory_left(**here) == 70 * MIB
        assert quota(**here) == 1.5

    def test_the_page_cache_is_left(self, tmp_path: Path) -> None:
        cache = {"active_file": 700 * MIB, "inactive_file": 900 * MIB, "slab_reclaimable": 100 * MIB}
        files = memory_2("", str(2048 * MIB), 2036 * MIB, **cache)
        here = machine(tmp_path, "0::/\n", V2.format(root="/"), files)
        assert memory_left(**here) == (12 + 1700) * MIB

    @pytest.mark.parametrize(
        ("limits", "left"),
        [
            (("max", "max", "max"), None),
            (("max", "max", "100"), 70),
            (("max", "60", "100"), 30),
            (("40", "60", "100"), 10),
            # a process above its limit, which was lowered, has nothing
            (("max", "20", "100"), 0),
        ],
    )
    def test_the_tightest_of_all_above(self, limits: tuple[str, ...], left: int | None, tmp_path: Path) -> None:
        groups = ("", "user.slice/", "user.slice/a b.scope/")
        files: dict[str, str] = {}
        for group, limit in zip(groups, reversed(limits), strict=True):
            files |= memory_2(group, limit, 30)
        here = machine(tmp_path, "0::/user.slice/a b.scope\n", V2.format(root="/"), files)
        assert memory_left(**here) == left

    def test_what_throttles_counts_as_a_limit(self, tmp_path: Path) -> None:
        files = memory_2("", str(100 * MIB), 30 * MIB, high=str(50 * MIB))
        assert memory_left(**machine(tmp_path, "0::/\n", V2.format(root="/"), files)) == 20 * MIB

    def test_a_quota_of_a_group_above(self, tmp_path: Path) -> None:
        files = {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000", "cpu.max": ""}
        here = machine(tmp_path, "0::/a/b\n", V2.format(root="/"), files)
        assert quota(**here) == 0.5
        assert memory_left(**here) is None


class TestVersion1:
    def test_limits_of_both_controllers(self, tmp_path: Path) -> None:
        groups = "9:name=systemd:/\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"
        mounts = V1.format(root="/", name="memory") + V1.format(root="/", name="cpu,cpuacct")
        files = memory_1("docker/abc/", 512 * MIB, 500 * MIB, total_inactive_file=100 * MIB, total_active_file=50 * MIB)
        files |= memory_1("", UNLIMITED_1, 9000 * MIB)
        # what the group alone holds, without those below it, and what is no page cache does not count
        files["memory/docker/abc/memory.stat"] += f"inactive_file {300 * MIB}\ntotal_shmem {99 * MIB}\n"
        files |= {
            "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "200000\n",
            "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        }
        here = machine(tmp_path, groups, mounts, files)
        assert memory_left(**here) == 162 * MIB
        assert quota(**here) == 2.0

    def test_a_container_that_sees_the_host_s_path(self, tmp_path: Path) -> None:
        # without a namespace of its own: the mount begins at the group, whose path is the host's
        mounts = V1.format(root="/docker/abc", name="memory")
        files = memory_1("", 512 * MIB, 12 * MIB)
        assert memory_left(**machine(tmp_path, "4:memory:/docker/abc\n", mounts, files)) == 500 * MIB

    @pytest.mark.parametrize("path", ["/elsewhere", "/../../host", "/docker/abc/../x"])
    def test_a_path_outside_the_mount(self, path: str, tmp_path: Path) -> None:
        mounts = V1.format(root="/docker/abc", name="memory")
        files = memory_1("", 512 * MIB, 12 * MIB)
        assert memory_left(**machine(tmp_path, f"4:memory:{path}\n", mounts, files)) == 500 * MIB

    def test_a_limit_above_that_is_told_below(self, tmp_path: Path) -> None:
        files = memory_1("", UNLIMITED_1, 12 * MIB, hierarchical_memory_limit=100 * MIB)
        mounts = V1.format(root="/", name="memory")
        assert memory_left(**machine(tmp_path, "4:memory:/\n", mounts, files)) == 88 * MIB


def test_no_groups_at_all(tmp_path: Path) -> None:
    assert memory_left(tmp_path / "none", tmp_path) is None
    assert quota(tmp_path / "none", tmp_path) == math.inf


LINES = st.text(st.sampled_from("0:/ -max,cpumeory1.9\n\\%é") | st.characters(codec="utf-8"), max_size=60)


@given(groups=LINES, mounts=LINES, limit=LINES, used=LINES, cpu=LINES)
def test_whatever_the_files_say(
    groups: str, mounts: str, limit: str, used: str, cpu: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = {"memory.max": limit, "memory.current": used, "memory.stat": limit, "cpu.max": cpu}
    folder = tmp_path_factory.mktemp("machine")
    here = machine(folder, f"0::/\n{groups}", V2.format(root="/") + mounts, files)
    left = memory_left(**here)
    assert left is None or left >= 0
    assert quota(**here) > 0


@pytest.mark.parametrize(
    ("usable", "time", "available"), [(8, math.inf, 8), (8, 0.5, 1), (8, 2.9, 2), (2, 2.5, 2), (2, 64.0, 2)]
)
def test_only_whole_cores_of_a_quota_count(
    usable: int, time: float, available: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: usable)
    monkeypatch.setattr(cores, "quota", lambda: time)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cores.available_cores() == CpuDevice().workers == available


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ("1", 1),
        ("3", 3),
        (" 3 ", 3),
        ("003", 3),
        ("3,2", 3),
        ("64", 8),
        ("9" * 5000, 8),
        # no whole number from 1
        ("", 4),
        ("0", 4),
        ("-1", 4),
        ("2.5", 4),
        ("two", 4),
        ("²", 4),
        (",2", 4),
    ],
)
def test_omp_num_threads(text: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    monkeypatch.setattr(cores, "quota", lambda: 4.0)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert CpuDevice().workers == threads
    # what is asked for by the config counts more
    assert CpuDevice(2).workers == 2


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Path:
    """A real group of that controller, version 1, where this machine lets one be made."""
    folder = Path("/sys/fs/cgroup", request.param, f"ttfs_cupy-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no group can be made here: {error}")
    request.addfinalizer(folder.rmdir)
    return folder


def inside(group: Path, code: str) -> str:
    """What a process in that group prints."""
    enter = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
    return subprocess.run(
        [sys.executable, "-c", f"{enter}\n{code}"], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("group", ["memory"], indirect=True)
def test_a_real_limit_of_memory(group: Path, tmp_path: Path) -> None:
    limit = group / "memory.limit_in_bytes"
    if not limit.exists():
        pytest.skip("no control groups of version 1")
    limit.write_text(str(256 * MIB))
    # 200 MiB that are written to a file fill the page cache, and are no memory in use
    code = (
        f"open({str(tmp_path / 'file')!r}, 'wb').write(bytes(200 << 20))\n"
        "from ttfs_cupy.device import CpuDevice\n"
        "print(CpuDevice().free_bytes())"
    )
    assert 120 * MIB < int(inside(group, code)) < 256 * MIB


@pytest.mark.parametrize("group", ["cpu"], indirect=True)
def test_a_real_quota(group: Path) -> None:
    if not (group / "cpu.cfs_quota_us").exists():
        pytest.skip("no control groups of version 1")
    (group / "cpu.cfs_quota_us").write_text("50000")
    assert float(inside(group, "from ttfs_cupy.common.machine.control_groups import quota; print(quota())")) == 0.5


def test_this_process_s_own() -> None:
    # read from the real files, whatever they are
    left = control_groups.memory_left()
    assert left is None or left > 0
