"""Every algorithm of convolution that fits the device: against `gemm`, and against itself run after run."""

import importlib
from dataclasses import dataclass
from itertools import product

import numpy as np

from ttfs_cupy.check.report import PLEASE_REPORT, Report
from ttfs_cupy.check.trial import SILENT, Trial
from ttfs_cupy.convolution.algorithm import PASSES, Algorithm, Pass
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape
from ttfs_cupy.device import Array, Device

IMAGES = 3
RUNS = 20
PSP_SLOPES = (1.0, 0.0)

# Odd sizes, strides, a kernel of one pixel and a rectangular one, channels that fill no vector and no tile; and whether
# 2x2 pooling follows.
SHAPES = (
    (ConvolutionShape((7, 9), 3, 20, (3, 3), padding=(1, 1)), False),
    (ConvolutionShape((9, 7), 20, 68, (3, 3), (2, 2), (1, 1)), False),
    (ConvolutionShape((5, 5), 68, 3, (1, 1)), False),
    (ConvolutionShape((9, 8), 3, 12, (3, 3), padding=(1, 1)), True),
    (ConvolutionShape((11, 6), 1, 20, (3, 2), (1, 2), (1, 0)), False),
    (ConvolutionShape((13, 11), 20, 20, (3, 3), padding=(1, 1)), True),
    (ConvolutionShape((8, 8), 68, 36, (3, 3), padding=(1, 1)), True),
)


@dataclass
class Verdict:
    """Of an algorithm's pass, on all shapes: the largest deviation from gemm, in the norm; what is wrong."""

    algorithm: str
    which: Pass
    allowed: float
    deviation: float = 0.0
    problem: str = ""

    def note(self, trial: Trial, deviation: float, *, same_bits: bool) -> None:
        """Of one more shape."""
        self.deviation = max(self.deviation, deviation)
        where = f"{trial.shape}, pooled {trial.pooled}, psp_slope {trial.psp_slope:g}"
        if not deviation <= self.allowed:
            self.problem = self.problem or f"{deviation:.1e} from gemm at {where}"
        if not same_bits:
            self.problem = self.problem or f"its bits differ from run to run at {where}"


def run_algorithms(report: Report, device: Device) -> list[Verdict]:
    """Each pass on awkward shapes."""
    _compile_ahead(device)
    verdicts: dict[tuple[str, Pass], Verdict] = {}
    failed: dict[str, str] = {}
    for shape, pooled in SHAPES:
        for kind in algorithms().values():
            if kind.fits(shape, device) is not None or kind.name in failed:
                continue
            for which in PASSES:
                verdict = verdicts.setdefault((kind.name, which), Verdict(kind.name, which, kind.tolerance[which]))
                try:
                    _try(verdict, kind(device, shape), device, shape, pooled)
                except Exception as error:  # whatever stops one algorithm must not hide how the others fare
                    verdict.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]} at {shape}"
                    failed[kind.name] = verdict.problem
                    break
    rows = [f"{f'against gemm, {RUNS} runs each':36}{'error':>10}{'allowed':>10}"]
    for verdict in sorted(verdicts.values(), key=lambda verdict: verdict.algorithm):
        numbers = f"{verdict.deviation:>10.1e}{verdict.allowed:>10.1e}"
        trouble = f"   FAILED: {verdict.problem}" if verdict.problem else ""
        rows.append(f"{f'{verdict.algorithm} {verdict.which}':36}{numbers}{trouble}")
    report.say("convolution", "\n".join(rows))
    wrong = [verdict for verdict in verdicts.values() if verdict.problem]
    if wrong:
        names = ", ".join(f"{verdict.algorithm} ({verdict.which}): {verdict.problem}" for verdict in wrong)
        report.problem(f"wrong convolutions on {device.name}: {names}: {PLEASE_REPORT}")
    missing = [name for name in algorithms() if (name, "forward") not in verdicts]
    if missing and device.gpu is not None:
        report.untested.append(f"not run on {device.name}, which they do not fit: {', '.join(missing)}")
    return list(verdicts.values())


def _compile_ahead(device: Device) -> None:
    """All that the trials will ask for."""
    variants = []
    for shape, pooled in SHAPES:
        neurons = {slope: Trial(device, shape, IMAGES, slope, pooled).neuron for slope in PSP_SLOPES}
        for kind in algorithms().values():
            if kind.fits(shape, device) is None:
                algorithm, joined = kind(device, shape), pooled and kind.joins_pooling
                for which, slope in product(PASSES, PSP_SLOPES):
                    variants += algorithm.kernels(
                        which, IMAGES, neurons[slope], has_weight_sum=slope != 0, pooled=joined
                    )
    device.compile_ahead(variants)


def _try(verdict: Verdict, algorithm: Algorithm, device: Device, shape: ConvolutionShape, pooled: bool) -> None:
    gemm = Gemm(device, shape)
    joined = pooled and algorithm.joins_pooling
    for psp_slope in PSP_SLOPES:
        trial = Trial(device, shape, IMAGES, psp_slope, pooled)
        if verdict.which == "forward":
            outs = trial.forward(algorithm, pooled=joined, times=RUNS)
            bits = {b"".join(_bits(array) for array in (out.output, out.weight_sum, out.winner)) for out in outs}
            (reference,) = trial.forward(gemm, pooled=False)
            deviation = _pooled_deviation(trial, outs[0], reference) if joined else _deviation(outs[0], reference)
        else:
            grads = trial.backward(algorithm, verdict.which, pooled=joined, times=RUNS)
            bits = {_bits(array) for array in grads}
            (wanted,) = trial.backward(gemm, verdict.which, pooled=False)
            deviation = relative(grads[0], wanted)
            # gemm is its own reference
            if finite_share(algorithm, verdict.which, Trial(device, shape, IMAGES, psp_slope, pooled)) == 1:
                verdict.problem = verdict.problem or f"of a gradient made of NaN it makes finite numbers at {shape}"
        verdict.note(trial, 0.0 if isinstance(algorithm, Gemm) else deviation, same_bits=len(bits) == 1)


def finite_share(algorithm: Algorithm, which: Pass, trial: Trial) -> float:
    """How much of what a pass makes is finite, of a gradient that is NaN wherever a neuron passes it on.

    Of silent inputs the gradient has no meaning, and does not count. The trial's own gradient is spoilt by it.
    """
    trial.gradient[trial.spikes.output > 0] = np.nan
    (found,) = trial.backward(algorithm, which, pooled=trial.pooled and algorithm.joins_pooling)
    found = found[trial.inputs != 0] if which == "data_gradient" else found
    return float(np.isfinite(found).mean())


def _bits(array: np.ndarray | None) -> bytes:
    return b"" if array is None else array.tobytes()


def _deviation(out: Activations, reference: Activations) -> float:
    """Of the weight sum; where there is none, of the earliness: a spike that rounding decides about is no error."""
    if reference.weight_sum is None:
        return relative(out.output, reference.output)
    if not np.isfinite(out.output).all():
        return float("inf")
    return relative(out.weight_sum, reference.weight_sum)


def _pooled_deviation(trial: Trial, out: Activations, reference: Activations) -> float:
    """Of windows: the same of their winners, which have to be as early as any."""
    winner: Array = out.winner
    fired = winner != SILENT
    if ((winner > 3) & fired).any() or (fired != (out.output > 0)).any():
        return float("inf")
    places = np.where(fired, winner, 0)[..., None].astype(int)
    earliness = trial.windows(reference.output)
    if reference.weight_sum is None:
        own = np.take_along_axis(earliness, places, axis=-1)[..., 0]
        return max(relative(out.output, earliness.max(axis=-1)), relative(np.where(fired, own, 0), out.output))
    of_winner = np.take_along_axis(trial.windows(reference.weight_sum), places, axis=-1)[..., 0]
    weight_sum: Array = out.weight_sum
    return relative(np.where(fired, weight_sum, 0), np.where(fired, of_winner, 0))


def relative(actual: Array, wanted: Array) -> float:
    """The difference in the norm; infinite where something is not finite."""
    distance = float(np.linalg.norm(actual.astype(np.float64) - wanted))
    size = float(np.linalg.norm(wanted.astype(np.float64)))
    if not np.isfinite(distance):
        return float("inf")
    return distance / size if size else (float("inf") if distance else 0.0)


def throughput(report: Report, device: Device) -> None:
    """On a GPU, how fast each pass of a typical layer is, beside cuDNN where PyTorch is installed with CUDA."""
    if device.gpu is None:
        return
    # what measures is not part of the engine, and may import PyTorch
    passes = importlib.import_module("ttfs_cupy.benchmarks.passes")
    report.say("throughput", "\n".join(passes.lines(device)))
    if not passes.has_cudnn():
        report.untested.append("speed was not compared with cuDNN's: PyTorch with CUDA is not installed")
