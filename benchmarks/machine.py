"""What numbers were measured on, and with."""

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from ttfs_cupy.common.version import __version__
from ttfs_cupy.device import Device


@dataclass(frozen=True)
class Machine:
    """threads: of the engine on a CPU, else 0. torch: PyTorch's settings by name; empty where it takes no part."""

    processor: str
    system: str
    device: str
    description: str
    reason: str
    versions: dict[str, str]
    threads: int
    torch: dict[str, bool | int | str]

    def __str__(self) -> str:
        lines = [
            f"{self.processor}, {self.system}",
            f"device {self.device}: {self.description} ({self.reason})",
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        if self.threads:
            lines.append(f"threads of ttfs_cupy: {self.threads}")
        if self.torch:
            lines.append("PyTorch: " + ", ".join(f"{name} {value}" for name, value in self.torch.items()))
        return "\n".join(lines)


def describe(device: Device, reason: str, torch_settings: dict[str, bool | int | str]) -> Machine:
    """torch_settings: as PyTorch was set up, empty where it takes no part."""
    on_gpu = device.target == "cuda"
    versions = {
        "Python": platform.python_version(),
        "ttfs-cupy": __version__,
        "numpy": np.__version__,
    }
    if on_gpu:
        versions["cupy"] = device.xp.__version__
    if torch_settings:
        versions["torch"] = metadata.version("torch")
    threads = 0 if on_gpu else device.workers
    system = f"{platform.system()} {platform.machine()}"
    return Machine(
        processor(), system, device.name, device.description, reason, versions, threads, dict(torch_settings)
    )


def processor() -> str:
    """The CPU's name, where the system tells."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
