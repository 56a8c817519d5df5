"""Tells whether ttfs_cupy works on this machine, and what to do where it does not: python -m ttfs_cupy.check."""

import ctypes
import importlib
import importlib.metadata
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ttfs_cupy import command_line, cuda_libraries, kernel_checks, models
from ttfs_cupy import device as devices
from ttfs_cupy.device import Device
from ttfs_cupy.errors import UserError
from ttfs_cupy.kernels import cpu_library, nvrtc, source
from ttfs_cupy.network import Network
from ttfs_cupy.optimizer import Adam
from ttfs_cupy.training_step import TrainingStep
from ttfs_cupy.version import __version__

T = TypeVar("T")

FAILED = 1

# Every kind of layer, odd sizes, a rectangular kernel with stride and padding.
TINY_NETWORK = (16, "P", {"convolution": 21, "kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)}, {"linear": 33})
TINY_INPUT = (3, 12, 13)
TINY_BATCH = 37
# Launched, recorded, and replayed twice.
TINY_STEPS = 4

# Between two devices: of the loss, and of each gradient in the norm.
DEVICE_TOLERANCE = 1e-4

# What to do about an error whose text matches. The first that matches counts.
REMEDIES = (
    (r"no NVIDIA driver", "install NVIDIA's driver; a container has to be started with its GPUs (--gpus all)"),
    (r"InsufficientDriver", "update NVIDIA's driver to one that knows CUDA 12 (525 or later)"),
    (r"NoDevice|sees no GPU", "see whether nvidia-smi lists the GPU, and what CUDA_VISIBLE_DEVICES says"),
    (r"libcublas", "pip install nvidia-cublas-cu12"),
    (r"libnvrtc", "pip install nvidia-cuda-nvrtc-cu12"),
    (r"cuda_fp16|headers|include", "pip install nvidia-cuda-runtime-cu12"),
    (r"No module named 'cupy", "pip install cupy-cuda12x"),
    (r"OutOfMemory|out of memory", "free the GPU's memory: nvidia-smi lists who holds it"),
)
PLEASE_REPORT = "please report it, with all of this output; --device cpu may work meanwhile"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0 if all is well, 1 if something is wrong."""
    parser = command_line.Parser(prog="ttfs-check", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N or cpu")
    name = parser.parse_args(arguments).device
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        parser.error(f"device '{name}' is not known")
    try:
        return Report().conclude(name)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return command_line.INTERRUPTED


class Report:
    """Prints what it finds as it goes; remembers what is wrong, and what this machine cannot tell."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.untested: list[str] = []

    def conclude(self, name: str) -> int:
        """All parts, one after the other, and the last line."""
        self.say("ttfs_cupy", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
        self.attempt(lambda: versions(self))
        self.attempt(lambda: cuda_stack(self))
        self.attempt(lambda: gpus(self))
        device = self.attempt(lambda: chosen_device(self, name))
        built = self.attempt(lambda: cpu_kernels(self, needed=device is None or device.name == "cpu"))
        compiled = self.attempt(lambda: cubins(self))
        if device is None or (device.name == "cpu" and not built):
            self.untested.append("no kernel was run")
        else:
            self.attempt(lambda: run_kernels(self, device))
            self.attempt(lambda: run_network(self, device))
            self.attempt(lambda: replay_steps(self, device))
        if device is not None and device.name == "cpu":
            done = f"compiled for {compiled}, not run" if compiled else "neither compiled nor run"
            self.untested.append(
                f"no GPU was used: the kernels for GPUs were {done}, and no training step was replayed as a CUDA graph"
            )
        return self.last_line()

    def say(self, title: str, text: str) -> None:
        first, *rest = text.splitlines()
        print(f"{title:12}{first}", *(f"{'':12}{line}" for line in rest), sep="\n", flush=True)

    def problem(self, sentence: str) -> None:
        """One sentence that says what is wrong and what to do; several parts may come upon the same."""
        if sentence not in self.problems:
            self.problems.append(sentence)
            self.say("  WRONG", sentence)

    def attempt(self, part: Callable[[], T]) -> T | None:
        """Runs a part. What it raises is a problem with a remedy, never a traceback."""
        try:
            return part()
        except UserError as error:
            # its sentence says what to do
            self.problem(" ".join(str(error).split()))
        except Exception as error:  # what a broken installation raises is beyond listing
            self.problem(diagnosis(error))
        return None

    def last_line(self) -> int:
        untested = f"; {'; '.join(self.untested)}" if self.untested else ""
        if self.problems:
            print(f"something is wrong: {'; '.join(self.problems)}{untested}")
            return FAILED
        print(f"all is well{untested}")
        return 0


def diagnosis(error: Exception | str) -> str:
    """What happened and what to do about it, in one sentence."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    # compilers' and loaders' messages go on for pages
    return f"{' '.join(text.split())[:300]}: {remedy(text)}"


def remedy(text: str) -> str:
    """What to do about an error of that text."""
    for pattern, action in REMEDIES:
        if re.search(pattern, text, re.IGNORECASE):
            return action
    return PLEASE_REPORT


def versions(report: Report) -> None:
    """The libraries that matter, as installed."""
    report.say("NumPy", np.__version__)
    names = ("torchvision", "torch", "safetensors", "psutil")
    report.say("libraries", ", ".join(f"{name} {_version(name)}" for name in names))


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def cuda_stack(report: Report) -> None:
    """CuPy and the CUDA libraries, which have to be of one CUDA version."""
    compiler = nvrtc.version()  # first, since it knows what to say where CuPy is missing
    found = " ".join(cuda_libraries.cupy_distribution() or ("cupy", devices.import_cupy().__version__))
    report.say("CuPy", f"{found}, CUDA runtime {_dotted(devices.import_cupy().cuda.runtime.runtimeGetVersion())}")
    report.say("NVRTC", ".".join(map(str, compiler)))
    report.attempt(lambda: report.say("cuBLAS", _cublas_version()))
    paths = cuda_libraries.loaded()
    report.say("loaded", "\n".join(map(str, paths)) or "(this system does not tell from where)")
    wanted, majors = cuda_libraries.wanted_major(), cuda_libraries.installed_majors()
    if len(majors) > 1:
        both = " and ".join(map(str, sorted(majors)))
        report.say("", f"the libraries of CUDA {both} are installed (PyTorch brings its own); CuPy uses {compiler[0]}")
    if wanted not in (None, compiler[0]):
        report.problem(
            f"{found} was built for CUDA {wanted}, but NVRTC {compiler[0]} was loaded: "
            f"pip install nvidia-cuda-nvrtc-cu{wanted} nvidia-cuda-runtime-cu{wanted} nvidia-cublas-cu{wanted}"
        )


def _cublas_version() -> str:
    importlib.import_module("cupy.cublas")  # loads the library, GPU or not
    for path in cuda_libraries.loaded():
        if path.name.startswith("libcublas.so"):
            library, parts = ctypes.CDLL(str(path)), (ctypes.c_int * 3)()
            for index in range(3):
                library.cublasGetProperty(index, ctypes.byref(parts, index * ctypes.sizeof(ctypes.c_int)))
            return ".".join(map(str, parts))
    return "loaded, version unknown"


def gpus(report: Report) -> None:
    """The driver, and each GPU; or why there is none to be used."""
    trouble = devices.cuda_trouble()
    if trouble:
        report.say("GPU", f"none can be used: {trouble}")
        if "no NVIDIA driver" not in trouble:
            report.problem(diagnosis(trouble))
        return
    runtime = devices.import_cupy().cuda.runtime
    report.say("driver", f"{_driver()}, for CUDA up to {_dotted(runtime.driverGetVersion())}")
    for index in range(runtime.getDeviceCount()):
        properties = runtime.getDeviceProperties(index)
        capability = f"{properties['major']}.{properties['minor']}"
        name, memory = properties["name"].decode(), properties["totalGlobalMem"] / 2**30
        report.say(f"cuda:{index}", f"{name}, compute capability {capability}, {memory:.1f} GiB")


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return "version unknown"
    match = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return match[0] if match else "version unknown"


def chosen_device(report: Report, name: str) -> Device:
    """The device that the rest runs on. Raises UserError if it cannot be used."""
    device, reason = devices.get(name)
    report.say("device", f"{device.name}: {device.description} ({reason})")
    return device


def cpu_kernels(report: Report, *, needed: bool) -> bool:
    """The compiler, and the library that it builds; without a GPU nothing works without them. Returns success."""
    started = time.perf_counter()
    try:
        compiler = cpu_library.find_compiler()
        cpu_library.load()
    except UserError as error:
        if needed:
            raise
        report.untested.append(f"the kernels for the CPU were not built ({error})")
        return False
    report.say("compiler", str(compiler))
    seconds = time.perf_counter() - started
    report.say("kernels", f"{len(source.kernels())} built for the CPU, or taken from the cache, in {seconds:.1f} s")
    return True


def cubins(report: Report) -> str:
    """Compiles every kernel for every architecture, which needs no GPU. Returns their names."""
    started = time.perf_counter()
    usages = [usage for cubin in nvrtc.compile_all() for usage in cubin.usage]
    names = ", ".join(f"sm_{architecture}" for architecture in nvrtc.ARCHITECTURES)
    report.say("", f"built by NVRTC for {names} in {time.perf_counter() - started:.1f} s")
    report.say("", nvrtc.table(usages))
    for usage in usages:
        if usage.spills:
            report.say("", f"{usage.kernel} spills registers on sm_{usage.architecture}, and is slower for it")
    return names


def run_kernels(report: Report, device: Device) -> None:
    """Every kernel against its reference, on the device."""
    results = kernel_checks.run(device)
    rows = [f"{'against float64 in NumPy':28}{'error':>10}{'allowed':>10}{'seconds':>10}"]
    for result in results:
        numbers = f"{result.largest_error:>10.1e}{result.tolerance:>10.1e}{result.seconds:>10.2f}"
        rows.append(f"{result.kernel:28}{numbers}{'' if result.passed else '   FAILED: ' + result.problem}")
    report.say("results", "\n".join(rows))
    failed = [result for result in results if not result.passed]
    if failed:
        names = ", ".join(result.kernel for result in failed)
        action = remedy(failed[0].problem)
        if device.name == "cpu":
            action = "try another C++ compiler (CXX=clang++), and please report it, with all of this output"
        report.problem(f"wrong results on {device.name} from {names}: {action}")


def run_network(report: Report, device: Device) -> None:
    """A tiny network forward and backward: the same bits twice, and on a GPU what the CPU says."""
    for psp_slope in (1.0, 0.0):
        first, again = (_differentiate(device, psp_slope) for _ in range(2))
        same = first[0] == again[0] and all(first[1][name].tobytes() == again[1][name].tobytes() for name in first[1])
        if not same:
            report.problem(
                f"a network's gradients differ from run to run on {device.name}: "
                "test the memory of the device; if that is sound, please report it, with all of this output"
            )
        finite = np.isfinite(first[0]) and all(np.isfinite(gradient).all() for gradient in first[1].values())
        if not finite:
            report.problem(f"a network's gradients are not finite on {device.name}: {PLEASE_REPORT}")
        verdict = f"loss {first[0]:.6f}, the same bits twice" if same else "its bits differ"
        report.say("network", f"psp_slope {psp_slope:g}: forward and backward, {verdict}")
        if device.name != "cpu":
            _compare_with_cpu(report, device, psp_slope, first)


Gradients = tuple[float, dict[str, np.ndarray], Network]


def _differentiate(device: Device, psp_slope: float) -> Gradients:
    network, images, labels = _tiny_network(device, psp_slope)
    return *network.loss_and_gradients(network.encode(images), labels), network


def _tiny_network(device: Device, psp_slope: float) -> tuple[Network, np.ndarray, np.ndarray]:
    """With a batch of images, some of whose pixels are black, and labels, int32."""
    network = models.build(list(TINY_NETWORK), input_shape=TINY_INPUT, device=device, seed=0, psp_slope=psp_slope)
    draw = np.random.default_rng(0)
    images = draw.random((TINY_BATCH, *TINY_INPUT)).astype(np.float32)
    images[images < 0.3] = 0
    return network, images, draw.integers(0, network.classes, TINY_BATCH).astype(np.int32)


def replay_steps(report: Report, device: Device) -> None:
    """Training steps replayed as a CUDA graph: the same bits as launched kernel by kernel."""
    if device.streams is None:
        return
    for psp_slope in (1.0, 0.0):
        (launched, _), (replayed, graphs) = (_trained(device, psp_slope, capture=capture) for capture in (False, True))
        if not graphs:
            report.untested.append(f"no training step was replayed as a CUDA graph: {device.name} captured none")
            return
        same = all(launched[name].tobytes() == replayed[name].tobytes() for name in launched)
        if not same:
            report.problem(
                f"a training step replayed as a CUDA graph computes something else on {device.name} than launched "
                f"kernel by kernel: CUDA_LAUNCH_BLOCKING=1 does without graphs; {PLEASE_REPORT}"
            )
        verdict = "the same bits" if same else "its bits differ"
        report.say("graph", f"psp_slope {psp_slope:g}: training steps launched and replayed, {verdict}")


def _trained(device: Device, psp_slope: float, *, capture: bool) -> tuple[dict[str, np.ndarray], int]:
    """Weights after a few steps, and how many graphs were recorded for them."""
    network, images, labels = _tiny_network(device, psp_slope)
    optimizer = Adam(device, network.parameters)
    step = TrainingStep(network, optimizer, TINY_BATCH, capture=capture)
    inputs = device.to_host(network.encode(images))
    for number in range(TINY_STEPS):
        step.send(inputs, labels)
        optimizer.lr = 0.01 / (1 + number)
        step.run()
    return network.state_dict(), step.graphs


def _compare_with_cpu(report: Report, device: Device, psp_slope: float, on_device: Gradients) -> None:
    try:
        on_cpu = _differentiate(devices.get("cpu")[0], psp_slope)
    except UserError as error:
        report.untested.append(f"the network was not compared with the CPU's ({error})")
        return
    flips = _flips(on_device[2], on_cpu[2])
    if flips and flips <= TINY_BATCH:
        # rounding decided about a neuron, which moves all that it feeds: nothing is wrong, and nothing to compare
        report.say("", f"{flips} neurons fire on one of {device.name} and the CPU only: not compared")
        return
    distances = [abs(on_device[0] - on_cpu[0]) / max(1.0, abs(on_cpu[0]))]
    for name, expected in on_cpu[1].items():
        size = float(np.linalg.norm(expected))
        distances.append(float(np.linalg.norm(on_device[1][name] - expected)) / (size or 1.0))
    report.say("", f"{max(distances):.1e} apart from the CPU's, {DEVICE_TOLERANCE:.0e} allowed")
    if not max(distances) <= DEVICE_TOLERANCE:
        report.problem(f"a network computes something else on {device.name} than on the CPU: {PLEASE_REPORT}")


def _flips(one: Network, other: Network) -> int:
    """Neurons that fire in one of the two only (SPEC, "Sensitivity")."""
    times, expected = one.spike_times(), other.spike_times()
    return sum(int((np.isinf(times[name]) != np.isinf(expected[name])).sum()) for name in times)


if __name__ == "__main__":
    sys.exit(main())
