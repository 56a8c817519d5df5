"""What spikes exactly at the window's end, and a fixed order of images, change: python -m parity.window_end

In T2FSNN a neuron without any input spikes as its window ends, and the next layer counts its weight. On raw pixels with
a black background these are many. This trains its code as it is, its code with such neurons silent, and ours, with the
same first weights and images, for several seeds; and all of them again with the images in the same order each epoch, as
T2FSNN's loader has them. Differences are of runs with the same seed, with the standard error of their mean. Run it with
PYTHONPATH=tests, and TTFS_T2FSNN set (parity/__init__.py).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from parity.checkouts import T2fsnn, t2fsnn
from parity.their_network import TheirNetwork, spec_of
from ttfs_cupy import Adam, Network, build, load_dataset

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


def sets(name: str, count: int, seed: int) -> Sets:
    """So many training images, drawn by the seed, and the first 2,000 test images, or as many as there are."""
    dataset = load_dataset(name, Path("datasets"))
    images, test_images = (
        one.images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(one.maximum)
        for one in (dataset.train, dataset.test)
    )
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    labels, test_labels = (one.labels.astype(np.int32) for one in (dataset.train, dataset.test))
    return Sets(images[chosen], labels[chosen], test_images[:2000], test_labels[:2000])


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


def results(code: T2fsnn, data: Sets, seed: int, epochs: int, *, shuffled: bool) -> dict[str, Result]:
    shape, classes = data.images.shape[1:], 10
    spec = spec_of(code.run.parse_network_str(f"{TEXT} - {classes}F"))
    net = build(spec, shape, classes, device="cpu", clip="separate", seed=seed)
    weights = list(net.state_dict().values())
    found = {}
    for name, silent in (("T2FSNN", False), ("T2FSNN, silent at the end", True)):
        network = TheirNetwork(code, TEXT, shape, classes, weights, dtype=torch.float32)
        found[name] = theirs(data, network, epochs, seed, shuffled=shuffled, silent=silent)
    found["ttfs_cupy"] = ours(data, net, epochs, seed, shuffled=shuffled)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m parity.window_end", description=__doc__)
    parser.add_argument("--dataset", default="digits", choices=("digits", "fmnist"))
    parser.add_argument("--images", type=int, default=1437, help="for training")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parsed = parser.parse_args()
    code = t2fsnn()
    print(f"{parsed.dataset}, raw pixels, {TEXT}, {parsed.images} images, {parsed.epochs} epochs, {parsed.seeds} seeds")
    for shuffled in (True, False):
        runs = []
        for seed in range(parsed.seeds):
            data = sets(parsed.dataset, parsed.images, seed)
            runs.append(results(code, data, seed, parsed.epochs, shuffled=shuffled))
        show("shuffled" if shuffled else "same order", runs)


def show(order: str, runs: list[dict[str, Result]]) -> None:
    """A line for each side: accuracies in %, mean and deviation, and how far they are from T2FSNN's, seed by seed."""
    accuracies = {name: 100 * np.array([run[name].accuracy for run in runs]) for name in runs[0]}
    for name, accuracy in accuracies.items():
        apart = accuracy - accuracies["T2FSNN"]
        error = apart.std(ddof=1) / np.sqrt(len(apart))
        rates = np.mean([run[name].rates for run in runs], axis=0)
        at_end = np.mean([run[name].at_end for run in runs])
        print(
            f"{order:10}  {name:26} {accuracy.mean():.2f} ± {accuracy.std(ddof=1):.2f}"
            f"  beside T2FSNN {apart.mean():+.2f} ± {error:.2f}"
            f"  firing rates {' '.join(f'{rate:.2f}' for rate in rates)}  conv1 at its end {at_end:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
