"""Twenty steps of each optimiser beside EventBP's, on the digits.

Whole networks, so that a neuron that rounding decides about parts the two for good, and float32 from float64 whoever
computes it. With these weights and images none does.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from reference.comparison import relative_error

from parity.checkouts import T2fsnn
from parity.comparison import flat
from parity.digits import CLASSES, SHAPE, digits
from parity.figures import record
from parity.ours import build
from parity.their_network import sides_of, spec_of
from ttfs_cupy import Adam, Limits, Network, Optimizer, Sgd

NETWORK = "32C3 - P2 - 64C3 - P2 - 64F"
BATCH, STEPS, COUNTED = 64, 20, 5
# as close to float64 as their own float32 is: within this factor, after 5 steps and after 20
AS_CLOSE = 1.15


class Case(NamedTuple):
    """theirs: of EventBP. bounds: of weights, on both sides. signs: whether weights keep theirs."""

    theirs: dict[str, Any]
    bounds: tuple[float, float] | None = None
    signs: bool = False


CASES = {
    "adam": Case({"lr": 1e-3}),
    "adam, decay": Case({"lr": 1e-3, "w_decay": 0.1}),
    "sgd": Case({"lr": 0.05, "use_adam": False}),
    "sgd, decay": Case({"lr": 0.05, "use_adam": False, "w_decay": 0.1}),
    "adam, w_ei": Case({"lr": 1e-3}, signs=True),
    "sgd, w_ei": Case({"lr": 0.05, "use_adam": False}, signs=True),
    "adam, w_clip": Case({"lr": 1e-3}, bounds=(-0.43, 0.57)),
    "sgd, w_clip": Case({"lr": 0.05, "use_adam": False}, bounds=(-0.43, 0.57)),
}


def optimizer(net: Network, case: Case) -> Optimizer:
    limits = Limits(
        weight_decay=case.theirs.get("w_decay", 0.0),
        weight_clip=case.bounds or (-np.inf, np.inf),
        fixed_sign=case.signs,
    )
    kind = Adam if case.theirs.get("use_adam", True) else Sgd
    return kind(net.device, net.parameters, case.theirs["lr"], limits=limits)


@pytest.mark.parametrize("convolution", ["gemm", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_steps_are_as_close_to_float64_as_theirs(t2fsnn: T2fsnn, name: str, convolution: str) -> None:
    case, images, labels = CASES[name], *digits()
    plan = t2fsnn.run.parse_network_str(f"{NETWORK} - {CLASSES}F")
    mean, std = (np.array([statistic]) for statistic in (images.mean(), images.std()))
    rule: dict[str, Any] = {
        "clip": "separate",
        "standardize": True,
        "mean": mean,
        "std": std,
        "convolution": convolution,
    }
    net = build(spec_of(plan), SHAPE, CLASSES, **rule)
    weights = net.state_dict()
    # both sides bound them before the first step, too
    step = optimizer(net, case)
    limits: dict[str, Any] = {"w_ei": case.signs, "w_clip": case.bounds}
    sides = sides_of(t2fsnn, NETWORK, SHAPE, CLASSES, list(weights.values()), **limits)
    trainers = {dtype: side.trainer(**case.theirs) for dtype, side in sides.items()}
    apart = []
    for number in range(STEPS):
        batch = slice(number * BATCH, (number + 1) * BATCH)
        encoded, of_batch = net.encode(images[batch]), labels[batch]
        net.train_step(encoded, net.device.to_device(of_batch), step)
        x = net.device.to_host(encoded).transpose(0, 3, 1, 2)
        for dtype, side in sides.items():
            side.step(trainers[dtype], side.times_of(x), of_batch)
        exact = flat(sides[torch.float64].weights)
        apart.append(
            [relative_error(flat(w), exact) for w in (net.state_dict().values(), sides[torch.float32].weights)]
        )
    (ours, theirs), (ours_later, theirs_later) = apart[COUNTED - 1], apart[-1]
    record(
        f"{name}, {convolution}, weights from float64",
        ours_after_5=ours,
        theirs_in_float32=theirs,
        ours_after_20=ours_later,
        theirs_after_20=theirs_later,
        larger_by=max(ours / theirs, ours_later / theirs_later),
    )
    assert ours <= AS_CLOSE * theirs
    assert ours_later <= AS_CLOSE * theirs_later
