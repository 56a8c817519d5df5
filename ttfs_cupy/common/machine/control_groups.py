"""What the control groups that this process is in, those of a container say, leave to it: memory and processor time.

Both versions are read, of its own group and of all above it that can be seen: the kernel holds a process to each.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")

# A group without a limit has none in version 2 ("max"), and in version 1 the largest multiple of a page.
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class _Group:
    """A group's folder in a hierarchy of files."""

    folder: Path
    version: int

    def text(self, file: str) -> str:
        """Empty where there is no such file, or none that may be read."""
        try:
            return (self.folder / file).read_text()
        except (OSError, ValueError):
            return ""

    def number(self, file: str) -> int | None:
        return _whole(self.text(file).strip())

    def statistics(self) -> dict[str, int]:
        """memory.stat."""
        pairs = (line.split() for line in self.text("memory.stat").splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}

    def memory_left(self) -> int | None:
        """Bytes; None where there is no limit. What the kernel would give up for a request counts as left: the page
        cache of files that were read or written, and, in version 2, what it keeps of directories."""
        statistics = self.statistics()
        if self.version == 2:
            limits = [self.number("memory.max"), self.number("memory.high")]
            used = self.number("memory.current")
            given_up = ["active_file", "inactive_file", "slab_reclaimable"]
        else:
            # the second one is of the groups above, too, of which a container may not see the files
            limits = [self.number("memory.limit_in_bytes"), statistics.get("hierarchical_memory_limit")]
            used = self.number("memory.usage_in_bytes")
            given_up = ["total_active_file", "total_inactive_file"]
        known = [limit for limit in limits if limit is not None and limit < _NO_LIMIT]
        if not known or used is None:
            return None
        kept = used - sum(statistics.get(name, 0) for name in given_up)
        return max(0, min(known) - max(0, kept))

    def cores(self) -> float | None:
        """Seconds of processor time a second; None where there is no quota."""
        if self.version == 2:
            quota, period = ([*map(_whole, self.text("cpu.max").split()), None, None])[:2]
        else:
            quota, period = self.number("cpu.cfs_quota_us"), self.number("cpu.cfs_period_us")
        return quota / period if quota and period else None


def memory_left(proc: Path = PROC, root: Path = Path("/")) -> int | None:
    """How many bytes this process may still take before a limit of its groups; None where there is no limit.

    proc: the process's folder in /proc; root: what the paths in it are below.
    """
    left = [group.memory_left() for group in _groups("memory", proc, root)]
    return min((bytes_ for bytes_ in left if bytes_ is not None), default=None)


def quota(proc: Path = PROC, root: Path = Path("/")) -> float:
    """How many cores' time this process may take; infinite where there is no quota. Arguments as of memory_left."""
    cores = [group.cores() for group in _groups("cpu", proc, root)]
    return min((count for count in cores if count is not None), default=math.inf)


def _groups(controller: str, proc: Path, root: Path) -> Iterator[_Group]:
    """Those that limit what a controller counts, from the process's own up to the highest that can be seen."""
    mounts = list(_mounts(_text(proc / "mountinfo")))
    for line in _text(proc / "cgroup").splitlines():
        # 0::/path in version 2, 4:cpu,cpuacct:/path in version 1
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        for mount in mounts:
            if mount.version == version and (version == 2 or controller in mount.controllers):
                top = root / mount.point.lstrip("/")
                yield from (_Group(folder, version) for folder in _upwards(top, mount.below(path)))


@dataclass(frozen=True)
class _Mount:
    """Where a hierarchy, from the group `root` on, is to be seen as files."""

    version: int
    controllers: tuple[str, ...]
    root: str
    point: str

    def below(self, path: str) -> PurePosixPath:
        """A group's folder, relative to the mount; the mount itself for a group that lies outside what is mounted."""
        try:
            inside = PurePosixPath(path).relative_to(self.root)
        except ValueError:
            return PurePosixPath()
        return PurePosixPath() if ".." in inside.parts else inside


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        fields, _, kind = (part.split() for part in line.partition(" - "))
        if len(fields) >= 5 and len(kind) >= 3 and kind[0] in ("cgroup", "cgroup2"):
            version = 2 if kind[0] == "cgroup2" else 1
            # blanks are written as octal numbers there
            root, point = (field.replace(r"\040", " ") for field in fields[3:5])
            yield _Mount(version, tuple(kind[2].split(",")), root, point)


def _upwards(top: Path, inside: PurePosixPath) -> Iterator[Path]:
    yield top / inside
    yield from (top / parent for parent in inside.parents)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _whole(text: str) -> int | None:
    """Not below 0: version 1 says -1 for no quota."""
    return int(text) if text.isdecimal() and len(text) <= 20 else None
