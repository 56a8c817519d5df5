"""Weights trained on one side compute the same on the other."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from reference.comparison import host, outputs_of

from parity.checkouts import T2fsnn
from parity.digits import CLASSES, SHAPE, digits
from parity.figures import record
from parity.ours import build
from parity.their_network import TheirNetwork, spec_of
from ttfs_cupy import Adam, Network
from ttfs_cupy.exchange import pytorch_file
from ttfs_cupy.exchange.begin import take_weights

TEXT = "32C3 - P2 - 64C3 - P2 - 64F"
IMAGES, STEPS, BATCH = 1000, 150, 32


def network(t2fsnn: T2fsnn, images: np.ndarray) -> Network:
    statistics = {"mean": np.array([images.mean()]), "std": np.array([images.std()])}
    spec = spec_of(t2fsnn.run.parse_network_str(f"{TEXT} - {CLASSES}F"))
    return build(spec, SHAPE, CLASSES, clip="separate", standardize=True, seed=1, **statistics)


def batches(images: np.ndarray, labels: np.ndarray) -> Any:
    draw = np.random.default_rng(7)
    for _ in range(STEPS):
        chosen = draw.integers(0, len(labels), BATCH)
        yield images[chosen], labels[chosen]


def test_trained_here(t2fsnn: T2fsnn) -> None:
    images, labels = digits()
    net = network(t2fsnn, images)
    optimizer = Adam(net.device, net.parameters, lr=2e-3)
    for of_batch, classes in batches(images, labels):
        net.train_step(net.encode(of_batch), net.device.to_device(classes), optimizer)
    theirs = TheirNetwork(t2fsnn, TEXT, SHAPE, CLASSES, list(net.state_dict().values()), dtype=torch.float32)
    agree(net, theirs, images[:IMAGES], labels[:IMAGES], "trained here, run there")


def test_trained_there(t2fsnn: T2fsnn, tmp_path: Path) -> None:
    """Their weights, as `torch.save([layer.weights for layer in st.network], FILE)` keeps them."""
    images, labels = digits()
    net = network(t2fsnn, images)
    theirs = TheirNetwork(t2fsnn, TEXT, SHAPE, CLASSES, list(net.state_dict().values()), dtype=torch.float32)
    trainer = theirs.trainer(lr=2e-3)
    for of_batch, classes in batches(images, labels):
        theirs.step(trainer, theirs.times_of(host(net.encode(of_batch)).transpose(0, 3, 1, 2)), classes)
    file = tmp_path / "weights.pt"
    torch.save([layer.weights for layer in theirs.layers], file)
    take_weights(net, pytorch_file.read(file))
    for mine, their_own in zip(net.state_dict().values(), theirs.weights, strict=True):
        np.testing.assert_array_equal(mine, their_own)
    agree(net, theirs, images[:IMAGES], labels[:IMAGES], "trained there, run here")


def agree(net: Network, theirs: TheirNetwork, images: np.ndarray, labels: np.ndarray, about: str) -> None:
    """Potentials within 1e-5 of the largest, but for images of which a neuron spikes on one side alone; those are
    counted, and have to be few. Predictions of all images."""
    encoded = net.encode(images)
    ours = host(net.forward(encoded)).astype(np.float64)
    outputs = theirs.forward(theirs.times_of(host(encoded).transpose(0, 3, 1, 2)))
    potentials = outputs[-1].numpy().astype(np.float64)
    flipped, at_end = np.zeros(len(images), bool), 0
    for mine, answer in zip(outputs_of(net)[:-1], outputs[:-1], strict=True):
        answered = answer.numpy().reshape(mine.shape)
        differs = (mine != 0) != np.isfinite(answered)
        at_end += int((differs & (answered == theirs.t_win)).sum())
        flipped |= differs.reshape(len(images), -1).any(axis=1)
    apart = np.abs(ours - potentials).max(axis=1) / np.abs(potentials).max()
    changed = int((ours.argmax(1) != potentials.argmax(1)).sum())
    accuracy = float((ours.argmax(1) == labels).mean())
    record(
        f"{about}, {len(images)} images",
        potentials=float(apart[~flipped].max()),
        images_with_a_flip=int(flipped.sum()),
        spikes_at_the_end=at_end,
        largest_with_them=float(apart.max()),
        other_predictions=changed,
        accuracy=accuracy,
    )
    assert apart[~flipped].max() <= 1e-5
    assert flipped.mean() <= 0.01
    assert changed == 0
    assert accuracy > 0.8, "nothing was learnt, so that predictions say little"
