"""What is there: driver, clocks, power, versions, tools; and whether float32 products stay float32 on this device."""

import importlib.metadata
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.common.machine.cores import available_cores
from ttfs_cupy.device import Array, Device, Stack, get_device

TOOLS = ("nvidia-smi", "ncu", "compute-sanitizer", "nvdisasm", "g++")
PACKAGES = ("cupy", "cuda-", "nvidia-", "numpy", "torch", "triton", "scikit-learn", "ttfs", "ziglang")
QUERY = (
    "name,driver_version,compute_cap,memory.total,power.limit,power.draw,temperature.gpu,clocks.sm,clocks.max.sm,"
    "clocks.mem,clocks.max.mem,persistence_mode"
)

# Of a product of SIZE x SIZE matrices of normal values, in the norm: float32 leaves about 3e-7, TF32 about 3e-4.
SIZE = 1024
FLOAT32_ERROR = 1e-5


@dataclass(frozen=True)
class Machine:
    """system: of the host. gpus: what nvidia-smi answers of each, by the names that it was asked by."""

    system: str
    python: str
    cores: int
    device: str
    gpus: list[dict[str, str]]


@dataclass(frozen=True)
class Tool:
    """path: None where it is not installed."""

    name: str
    path: str | None


@dataclass(frozen=True)
class Package:
    name: str
    version: str


@dataclass(frozen=True)
class TorchSettings:
    """PyTorch's own, which the bench leaves as they are."""

    cudnn_allow_tf32: bool
    matmul_allow_tf32: bool
    cuda: str
    cudnn: int


@dataclass(frozen=True)
class Product:
    """A float32 product by that way, beside float64: the error in the norm."""

    by: str
    size: int
    error: float
    allowed: float


def run(notes: Notes, name: str) -> None:
    gpus = _nvidia_smi(notes)
    for tool in TOOLS:
        path = tools.find(tool)
        notes.record(Tool(tool, str(path) if path else None))
        notes.say(f"{tool}: {path or 'not installed'}")
    for package in installed():
        notes.record(package)
    device, reason = get_device(name)
    cores = available_cores()
    notes.record(Machine(platform.platform(), platform.python_version(), cores, device.description, gpus))
    notes.found(f"{device.description} ({reason}); {cores} cores; {_versions(gpus)}")
    if device.target == "cuda":
        device.xp.show_config()
        notes.say(f"CUDA_VISIBLE_DEVICES {os.environ.get('CUDA_VISIBLE_DEVICES', 'is not set')}")
    _torch_settings(notes, device)
    products(notes, device, SIZE)


def _nvidia_smi(notes: Notes) -> list[dict[str, str]]:
    if tools.find("nvidia-smi") is None:
        return []
    notes.say(tools.run(["nvidia-smi"], 5).short(4000))
    notes.say(tools.run(["nvidia-smi", "-q", "-d", "CLOCK,POWER,PERFORMANCE"], 5).short(5000))
    answer = tools.run(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"], 5)
    names = QUERY.split(",")
    rows = [line.split(", ") for line in answer.text.splitlines()] if answer.code == 0 else []
    return [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]


def installed() -> list[Package]:
    """The distributions that matter here."""
    found = {
        (distribution.metadata["Name"] or "").lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return [Package(name, found[name]) for name in sorted(found) if name.startswith(PACKAGES)]


def _versions(gpus: list[dict[str, str]]) -> str:
    wanted = ("cupy-cuda12x", "cupy-cuda13x", "torch", "numpy")
    versions = [f"{package.name} {package.version}" for package in installed() if package.name in wanted]
    return ", ".join([f"driver {gpu['driver_version']}" for gpu in gpus[:1]] + versions)


def _torch_settings(notes: Notes, device: Device) -> None:
    trouble = tools.torch_trouble(device)
    if trouble:
        notes.found(f"{trouble}: nothing is compared with it")
        return
    import torch

    settings = TorchSettings(
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.version.cuda or "none",
        torch.backends.cudnn.version() or 0,
    )
    notes.record(settings)
    notes.say(f"PyTorch, as it is by default: {settings}")


def products(notes: Notes, device: Device, size: int) -> None:
    """Of the engine, which does them on a CPU, too, and of CuPy."""
    draw = np.random.default_rng(0)
    left, right = (draw.standard_normal((size, size), np.float32) for _ in range(2))
    wanted = left.astype(np.float64) @ right.astype(np.float64)
    ways: dict[str, Callable[[], Array]] = {"the engine": lambda: _by_engine(device, left, right)}
    if device.target == "cuda":
        a, b = device.to_device(left), device.to_device(right)
        ways["cupy.matmul"] = lambda: device.xp.matmul(a, b)
        ways["cupy.matmul of a stack"] = lambda: device.xp.matmul(a[None], b[None])[0]
    for by, product in ways.items():
        found = device.to_host(product()).astype(np.float64)
        error = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
        notes.record(Product(by, size, error, FLOAT32_ERROR))
        text = f"float32 product by {by}: error {error:.1e}"
        if error <= FLOAT32_ERROR:
            notes.say(text)
        else:
            notes.attention(f"{text}, more than {FLOAT32_ERROR:.0e}: it is not float32")


def _by_engine(device: Device, left: np.ndarray, right: np.ndarray) -> Array:
    rows, panel = len(right), device.panel(right.shape[1])
    panels = device.to_device(right.reshape(rows, -1, panel).transpose(1, 0, 2))
    out = device.xp.empty((len(left), right.shape[1]), np.float32)
    b = Stack(panels.reshape(1, -1), rows, right.shape[1], panel)
    device.multiply(Stack.of(device.to_device(left)), b, Stack.of(out))
    device.synchronize()
    return out
