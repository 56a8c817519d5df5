"""What spikes exactly at the window's end, and a fixed order of images, change: python -m parity.window_end

In T2FSNN a neuron without any input spikes as its window ends, and the next layer counts its weight. On raw pixels with
a black background these are many. This trains its code as it is, its code with such neurons silent, and ours, on the
digits, with the same first weights and images, for several seeds; and all of them again with the images in the same
order each epoch, as T2FSNN's loader has them. Run it in tests/, with TTFS_T2FSNN set (parity/__init__.py).
"""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from parity.checkouts import T2fsnn, t2fsnn
from parity.digits import CLASSES, SHAPE, digits
from parity.their_network import TheirNetwork, spec_of
from ttfs_cupy import Adam, Network, build

TEXT = "16C3 - P2 - 32C3 - P2"
BATCH, LR = 32, 1e-3
Array = np.ndarray


class Sets(NamedTuple):
    images: Array
    labels: Array
    test_images: Array
    test_labels: Array


class Result(NamedTuple):
    """accuracy on the test images; rates: the share of neurons that spike there, by layer; at_end: that of conv1's
    neurons that spike as the window ends."""

    accuracy: float
    rates: list[float]
    at_end: float


def sets(seed: int) -> Sets:
    images, labels = digits()
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = order[:1500], order[1500:]
    return Sets(images[train], labels[train], images[test], labels[test])


def batches(count: int, epochs: int, seed: int, *, shuffled: bool) -> Iterator[Array]:
    draw = np.random.default_rng((seed, 1))
    order = draw.permutation(count)
    for _ in range(epochs):
        if shuffled:
            order = draw.permutation(count)
        yield from np.array_split(order, count // BATCH)


def ours(data: Sets, net: Network, epochs: int, seed: int, *, shuffled: bool) -> Result:
    optimizer = Adam(net.device, net.parameters, lr=LR)
    for chosen in batches(len(data.labels), epochs, seed, shuffled=shuffled):
        net.train_step(net.encode(data.images[chosen]), net.device.to_device(data.labels[chosen]), optimizer)
    potentials = net.device.to_host(net.forward(net.encode(data.test_images)))
    times = net.spike_times()
    rates = [float(np.isfinite(one).mean()) for name, one in times.items() if name.startswith("conv")]
    return Result(float((potentials.argmax(1) == data.test_labels).mean()), rates, 0.0)


def theirs(data: Sets, network: TheirNetwork, epochs: int, seed: int, *, shuffled: bool, silent: bool) -> Result:
    if silent:
        for layer in network.layers[:-1]:
            make_silent(layer)
    trainer = network.trainer(lr=LR)
    for chosen in batches(len(data.labels), epochs, seed, shuffled=shuffled):
        network.step(trainer, network.times_of(data.images[chosen]), data.labels[chosen])
    outputs = [output.numpy() for output in network.forward(network.times_of(data.test_images))]
    spikes = [one for one, layer in zip(outputs, network.layers, strict=True) if layer.trainable][:-1]
    rates = [float(np.isfinite(one).mean()) for one in spikes]
    accuracy = float((outputs[-1].argmax(1) == data.test_labels).mean())
    return Result(accuracy, rates, float((outputs[0] == 1).mean()))


def make_silent(layer: Any) -> None:
    """Has that layer not spike exactly as its window ends."""
    rule = getattr(layer, "compute_spike_times", None)
    if rule is None:
        return

    def silent_at_the_end(weighted_input: torch.Tensor, valid_w_sum: torch.Tensor) -> torch.Tensor:
        times = rule(weighted_input, valid_w_sum)
        times[times == layer.t_win] = torch.inf
        return times

    layer.compute_spike_times = silent_at_the_end


def results(code: T2fsnn, seed: int, epochs: int, *, shuffled: bool) -> dict[str, Result]:
    data = sets(seed)
    spec = spec_of(code.run.parse_network_str(f"{TEXT} - {CLASSES}F"))
    net = build(spec, SHAPE, CLASSES, device="cpu", clip="separate", seed=seed)
    weights = list(net.state_dict().values())
    found = {}
    for name, silent in (("T2FSNN", False), ("T2FSNN, silent at the end", True)):
        network = TheirNetwork(code, TEXT, SHAPE, CLASSES, weights, dtype=torch.float32)
        found[name] = theirs(data, network, epochs, seed, shuffled=shuffled, silent=silent)
    found["ttfs_cupy"] = ours(data, net, epochs, seed, shuffled=shuffled)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m parity.window_end", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parsed = parser.parse_args()
    code = t2fsnn()
    print(f"{TEXT}, digits, raw pixels, {parsed.epochs} epochs, {parsed.seeds} seeds; accuracies in %")
    for shuffled in (True, False):
        runs = [results(code, seed, parsed.epochs, shuffled=shuffled) for seed in range(parsed.seeds)]
        for name in runs[0]:
            accuracy = 100 * np.array([run[name].accuracy for run in runs])
            rates = np.mean([run[name].rates for run in runs], axis=0)
            at_end = np.mean([run[name].at_end for run in runs])
            order = "shuffled" if shuffled else "same order"
            print(
                f"{order:10}  {name:26} {accuracy.mean():.2f} ± {accuracy.std(ddof=1):.2f}"
                f"  firing rates {' '.join(f'{rate:.2f}' for rate in rates)}  conv1 at its end {at_end:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
