"""A step of vgg7 and of vgg11 is one CUDA graph, whatever computes its passes (on cuda_stand_in, cuBLAS among it)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cuda_stand_in import Entry, Machine, device_of
from emulator import why_not

from ttfs_cupy import models
from ttfs_cupy.convolution.algorithm import PRECISIONS, Algorithm
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tuner import Tuner, TuningCache
from ttfs_cupy.device import CudaDevice
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.training_step import TrainingStep

STEPS = 3
BATCH = 2

# Images of three channels that three poolings leave a pixel of: kernels run one thread after the other here.
SHAPE = (3, 8, 8)
# Channels of the real networks for each of these; of emulated tensor cores, which take long.
THINNED, EMULATED_THINNED = 4, 16


def layers(network: str, thinned: int) -> list[Any]:
    listed = yaml.safe_load((Path(models.__file__).parent / f"{network}.yaml").read_text())["layers"]
    return [layer if layer == "P" else layer // thinned for layer in listed]


class Mixing(Tuner):
    """Takes all of a pass's candidates in turn, one for each pass of each layer, as if that were the fastest."""

    turn = 0

    def _time(
        self, shape: ConvolutionShape, images: int, passes: Iterable[Any], kinds: Iterable[type[Algorithm]]
    ) -> dict[str, str]:
        algorithms, chosen = [kind(self._device, shape) for kind in kinds], {}
        for which in passes:
            ways = [way.name for one in algorithms for way in list(one.variants(which).values())[:1] or [one]]
            chosen[which] = ways[self.turn % len(ways)]
            self.turn += 1
        return chosen


def trained(net: Network, device: CudaDevice, *, capture: bool) -> tuple[TrainingStep, dict[str, bytes]]:
    optimizer = Adam(device, net.parameters, 1e-3)
    step = TrainingStep(net, optimizer, BATCH, capture=capture)
    draw = np.random.default_rng(0)
    for _ in range(STEPS):
        inputs = draw.random((BATCH, *SHAPE[1:], SHAPE[0]), np.float32)
        step.send(np.where(inputs < 0.3, np.float32(0), inputs), draw.integers(0, 10, BATCH).astype(np.int32))
        step.run()
    return step, {name: array.tobytes() for name, array in (net.state_dict() | optimizer.state_dict()).items()}


def steps_of(
    network: str, precision: Any, psp_slope: float, folder: Path, *, tuned: bool, capture: bool, emulated: bool
) -> tuple[list[Entry], TrainingStep, dict[str, bytes], Network]:
    machine = Machine()
    device = device_of(machine, (9, 0) if emulated else (7, 5))
    spec = layers(network, EMULATED_THINNED if emulated else THINNED)
    net = models.build(spec, SHAPE, 10, device, psp_slope=psp_slope, precision=precision)
    if tuned:
        net.tune(BATCH, Mixing(device, TuningCache(folder / "tuning.json")))
    step, bits = trained(net, device, capture=capture)
    assert machine.violations == []
    return machine.log, step, bits, net


@pytest.mark.parametrize("psp_slope", [1.0, 0.0])
@pytest.mark.parametrize("tuned", [True, False], ids=["tuned", "untuned"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("network", ["vgg7", "vgg11"])
def test_a_step_is_one_graph(network: str, precision: str, tuned: bool, psp_slope: float, tmp_path: Path) -> None:
    emulated = precision != "float32"
    if emulated and why_not() is not None:
        pytest.skip(str(why_not()))
    given = {"tuned": tuned, "emulated": emulated}
    log, step, replayed, net = steps_of(network, precision, psp_slope, tmp_path, capture=True, **given)
    _, _, launched, _ = steps_of(network, precision, psp_slope, tmp_path, capture=False, **given)
    used = {part.partition(":")[0] for names in net.algorithms.values() for part in names.split("/")}
    if emulated:
        assert any(name.startswith("tensorcore") for name in used)
    # what goes through cuBLAS is what this is about
    assert not tuned or used >= {"gemm", "winograd"}
    assert step.graphs == 1
    assert [entry.kind for entry in log].count("graph") == STEPS - 1
    assert replayed == launched
