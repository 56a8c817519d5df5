"""Single layers of every kind, and both readouts, beside T2FSNN's."""

from typing import Any

import numpy as np
import pytest
import torch
from reference.comparison import host, outputs_of
from reference.specification import random_images

from parity import comparison
from parity.checkouts import T2fsnn
from parity.figures import record
from parity.ours import build
from parity.precision import computing_in
from parity.their_network import CPU, TheirNetwork, sides_of, spec_of

SHAPE, CLASSES, IMAGES = (3, 12, 15), 7, 8
LABELS = np.arange(IMAGES, dtype=np.int32) % CLASSES
# by their own strings, each with a readout behind it. A convolution has to be pooled before a full connection: their
# backward pass goes from the one to the other through a pooling alone.
NETWORKS = ["40F", "64F - 32F", "16C5 - P2", "8C1 - 16C3 - P3", "P2", "16C3 - P2 - 24F"]


@pytest.mark.parametrize("network", NETWORKS)
def test_small_networks(t2fsnn: T2fsnn, network: str) -> None:
    net, sides = both(t2fsnn, network)
    images = random_images(IMAGES, SHAPE, seed=2)
    comparison.check(net, sides, images, LABELS, network)


def both(t2fsnn: T2fsnn, text: str, **options: Any) -> tuple[Any, dict[torch.dtype, TheirNetwork]]:
    spec = spec_of(t2fsnn.run.parse_network_str(f"{text} - {CLASSES}F"))
    net = build(spec, SHAPE, CLASSES, clip="separate", convolution="gemm", seed=3, **options)
    kept = {name: value for name, value in options.items() if name in ("readout", "t_win")}
    return net, sides_of(t2fsnn, text, SHAPE, CLASSES, list(net.state_dict().values()), **kept)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((3, 5), (1, 1), (1, 2)), ((4, 2), (2, 1), (0, 1)), ((5, 5), (2, 3), (2, 0))]
)
def test_convolutions_of_uneven_sizes(t2fsnn: T2fsnn, kernel: Any, stride: Any, padding: Any) -> None:
    """Their Conv takes pairs, too, (vertical, horizontal) as here; their network strings cannot say so."""
    layer = {"convolution": 12, "kernel": kernel, "stride": stride, "padding": padding}
    net = build([layer], SHAPE, CLASSES, seed=4)
    encoded = net.encode(random_images(IMAGES, SHAPE, seed=5))
    net.forward(encoded)
    output = outputs_of(net)[0]
    with computing_in(torch.float64), torch.no_grad():
        theirs = t2fsnn.snn.Conv(SHAPE, 12, kernel, stride, padding, device=CPU)
        theirs.weights = torch.from_numpy(net.state_dict()["conv1.weight"].astype(np.float64))
        x = torch.from_numpy(host(encoded).transpose(0, 3, 1, 2).astype(np.float64))
        answer = theirs(torch.where(x == 0, torch.inf, 1 - x)).numpy()
    sums = {name: array.numpy() for name, array in theirs.train_cache.items()}
    drive = sums["valid_w_sum"] - sums["weighted_input"]
    times = comparison.times_of(output)
    found = comparison.compared("conv1", times, answer, drive, sums["valid_w_sum"], 1.0)
    record(f"convolution {kernel}, stride {stride}, padding {padding}", spike_times=found.time_error, flips=found.flips)
    found.check()


def test_pooling_takes_the_first_of_several_that_spike_at_once(t2fsnn: T2fsnn) -> None:
    """In row-major order, on both sides: of a window whose neurons spike together, one gets the gradient."""
    x = np.full((1, 2, 4, 6), 0.25, np.float32)
    x[0, 0, 1, 3] = 0.5  # wins its window alone
    x[0, 1] = 0
    with torch.no_grad():
        theirs = t2fsnn.snn.MaxPool((2, 4, 6), 2, 2)
        theirs(torch.from_numpy(comparison.times_of(x)))
    net = build(["P"], (2, 4, 6), 2)
    net.plan(1, training=True)
    net.run(net.device.to_device(x.transpose(0, 2, 3, 1).copy()), training=True)
    assert net.planned is not None
    winner = net.planned.slots[0].activations(1, with_weight_sum=False).winner
    mine = host(winner).reshape(2, 3, 2).transpose(2, 0, 1)
    index = theirs.train_cache["pool_idx"].numpy()[0]
    rows, columns = index // 6 - 2 * np.arange(2)[:, None], index % 6 - 2 * np.arange(3)
    fired = np.array([True, False])[:, None, None]
    np.testing.assert_array_equal(np.where(fired, mine, 0), np.where(fired, rows * 2 + columns, 0))


def test_readout_by_spike_times(t2fsnn: T2fsnn) -> None:
    """Of a batch in which every class spikes, so that it does not matter what a silent one counts."""
    net, sides = both(t2fsnn, "48F", readout="spike_times")
    weights = net.state_dict()
    # more excitatory, so that none is silent
    weights["readout.weight"] = np.abs(weights["readout.weight"]) * np.float32(0.15)
    net.load_state_dict(weights)
    for dtype, theirs in sides.items():
        theirs.layers[-1].weights = torch.from_numpy(weights["readout.weight"]).to(dtype)
    outputs = comparison.check(net, sides, random_images(IMAGES, SHAPE, seed=6), LABELS, "readout by spike times")
    assert torch.isfinite(outputs).all(), "a class is silent: choose another seed"


def test_readout_by_spike_times_with_silent_classes(t2fsnn: T2fsnn) -> None:
    """They have the probability 0; some of the images' own classes are among them."""
    net, sides = both(t2fsnn, "48F", readout="spike_times", silent="excluded")
    about = "readout by spike times, silent classes excluded"
    outputs = comparison.check(net, sides, random_images(IMAGES, SHAPE, seed=6), LABELS, about)
    own = outputs[range(IMAGES), LABELS.tolist()]
    assert torch.isinf(own).any() and torch.isfinite(own).any()
    # theirs would be NaN
    assert torch.isfinite(outputs).any(dim=1).all(), "all classes of an image are silent: choose another seed"
