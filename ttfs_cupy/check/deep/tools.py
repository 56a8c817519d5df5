"""NVIDIA's command-line tools, and PyTorch: where they are, why they cannot be used; and commands with a limit."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from ttfs_cupy.device import Device

# Beside PATH: where CUDA and Nsight are installed
_PLACES = ("/usr/local/cuda*/bin", "/opt/nvidia/nsight-compute/*", "/usr/local/nvidia/bin")


@dataclass(frozen=True)
class Output:
    """code: None where the tool was killed, out of time."""

    text: str
    code: int | None

    @property
    def ending(self) -> str:
        """How it ended, and the line that it printed last."""
        how = "was killed, out of time" if self.code is None else f"ended with exit code {self.code}"
        return f"{how}: {next(iter(self.text.strip().splitlines()[-1:]), 'it printed nothing')}"

    def short(self, most: int) -> str:
        """The text, without its middle where it is longer than that."""
        if len(self.text) <= most:
            return self.text
        half = most // 2
        return f"{self.text[:half]}\n... {len(self.text) - 2 * half} characters are left out ...\n{self.text[-half:]}"


def find(name: str) -> Path | None:
    """A tool on PATH, or where NVIDIA's installers put it."""
    places = [str(path) for place in _PLACES for path in sorted(Path("/").glob(place[1:]), reverse=True)]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))
    return Path(found) if found else None


def run(command: Sequence[str | Path], seconds: float) -> Output:
    """Runs a command, whose tool is found as `find` does; when the seconds are over, all that it started is killed.

    It stays in the stage's process group, so that the runner's kill reaches it, too.
    """
    name, *arguments = map(str, command)
    process = subprocess.Popen(
        [str(find(name) or name), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        text, _ = process.communicate(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        _kill(process.pid)
        text, _ = process.communicate()
        return Output(text, None)
    return Output(text, process.returncode)


def _kill(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def torch_trouble(device: Device) -> str | None:
    """Why PyTorch cannot take part on that device, or None if it can."""
    if find_spec("torch") is None:
        return "PyTorch is not installed"
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported ({next(iter(str(error).splitlines()), type(error).__name__)})"
    if device.target == "cuda" and not torch.cuda.is_available():
        return f"this PyTorch ({torch.__version__}) finds no CUDA device"
    return None
