"""Where T2FSNN computes something else, on purpose or by mistake, and how much of it there is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.comparison import host, outputs_of
from reference.specification import random_images

from parity.checkouts import T2fsnn
from parity.comparison import times_of
from parity.figures import record
from parity.ours import build
from parity.precision import computing_in
from parity.their_network import TheirNetwork
from ttfs_cupy import UserError, load_dataset

IMAGES = 64


def fashion(count: int) -> np.ndarray:
    try:
        images = load_dataset("fmnist", Path("datasets")).test.images[:count]
    except UserError as error:
        pytest.skip(f"Fashion-MNIST is not at hand: {error}")
    return images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def test_neurons_without_input_spike_as_their_window_ends(t2fsnn: T2fsnn) -> None:
    """Of raw pixels with a black background; those that the image reaches spike at the same time as here."""
    images = fashion(IMAGES)
    net = build([64], images.shape[1:], 10)
    theirs = TheirNetwork(t2fsnn, "64C3 - P2", images.shape[1:], 10, weights_of(net, "conv1.weight", 64, images))
    encoded = net.encode(images)
    net.forward(encoded)
    ours = outputs_of(net)[0]
    answer = theirs.layer_forward(0, theirs.times_of(host(encoded).transpose(0, 3, 1, 2)))
    at_end = answer == 1
    reached = np.isfinite(answer) & ~at_end
    record(
        "conv1 on raw Fashion-MNIST, share of neurons",
        spike_at_the_end_there=float(at_end.mean()),
        spike_within_the_window=float(reached.mean()),
        spike_here=float((ours != 0).mean()),
    )
    assert at_end.mean() > 0.2
    assert not ours[at_end].any()
    assert ((ours != 0) == reached).mean() > 0.9999


def weights_of(net: Any, name: str, channels: int, images: np.ndarray) -> list[np.ndarray]:
    """That layer's, and a readout's of zeros behind a pooling."""
    inputs = channels * (images.shape[2] // 2) * (images.shape[3] // 2)
    return [net.state_dict()[name], np.zeros((10, inputs), np.float32)]


def test_windows_of_another_length(t2fsnn: T2fsnn) -> None:
    """They fire at once where S ≥ T + I, which is V ≥ theta for T = 1 alone: it should be T S - I ≥ T."""
    t_win = 2.0
    images = random_images(IMAGES, (3, 8, 8), seed=9)
    net = build([32], (3, 8, 8), 10, t_win=t_win)
    weights = [net.state_dict()["conv1.weight"], np.zeros((10, 32 * 16), np.float32)]
    theirs = TheirNetwork(t2fsnn, "32C3 - P2", (3, 8, 8), 10, weights, t_win=t_win)
    encoded = net.encode(images)
    net.forward(encoded)
    ours = outputs_of(net)[0]
    answer = theirs.layer_forward(0, theirs.times_of(host(encoded).transpose(0, 3, 1, 2)))
    times = times_of(ours, t_win)
    cache = theirs.layers[0].train_cache
    sums, weighted = (cache[name].numpy() for name in ("valid_w_sum", "weighted_input"))
    at_once = t_win * sums - weighted >= t_win
    wrong = np.isfinite(times) != np.isfinite(answer)
    both = np.isfinite(times) & np.isfinite(answer)
    same = both.copy()
    same[both] = np.abs(times[both] - answer[both]) <= 1e-5
    record(
        "t_win 2, conv1, share of neurons",
        should_fire_at_once=float(at_once.mean()),
        of_those_silent_there=float((at_once & ~np.isfinite(answer)).sum() / at_once.sum()),
        same_time=float(same.mean()),
        spike_on_one_side_alone=float(wrong.mean()),
    )
    assert (at_once == (times == 0)).all(), "ours fire as the window opens where V is at the threshold"
    assert (at_once & ~np.isfinite(answer)).any()
    # all that is otherwise is of that test
    others = sums >= t_win + weighted
    assert not (wrong & (at_once == others)).any()


def test_readout_of_a_window_of_another_length(t2fsnn: T2fsnn) -> None:
    """They add S to A, whatever T is; the potential at the end of the window is A + T S."""
    images = random_images(IMAGES, (3, 8, 8), seed=10)
    net = build([{"pool": 1}], (3, 8, 8), 10, t_win=2.0)
    theirs = TheirNetwork(t2fsnn, "P1", (3, 8, 8), 10, [net.state_dict()["readout.weight"]], t_win=2.0)
    encoded = net.encode(images)
    ours = host(net.forward(encoded)).astype(np.float64)
    answer = theirs.forward(theirs.times_of(host(encoded).transpose(0, 3, 1, 2)))[-1].numpy()
    mask = (images != 0).reshape(len(images), -1).astype(np.float64)
    missing = mask @ net.state_dict()["readout.weight"].T
    np.testing.assert_allclose(ours - answer, missing, atol=1e-4)
    changed = float((ours.argmax(1) != answer.argmax(1)).mean())
    record("t_win 2, readout", predictions_that_differ=changed)


def test_a_convolution_right_below_a_full_connection_cannot_be_trained(t2fsnn: T2fsnn) -> None:
    """Their backward pass gives it a gradient of the wrong shape."""
    weights = [np.ones((4, 1, 3, 3), np.float32), np.ones((3, 4 * 36), np.float32)]
    theirs = TheirNetwork(t2fsnn, "4C3", (1, 6, 6), 3, weights)
    outputs = theirs.forward(theirs.times_of(random_images(2, (1, 6, 6), seed=11)))
    with pytest.raises(RuntimeError, match="size"):
        theirs.gradients(outputs, np.array([0, 1]))


def test_windows_that_overlap_lose_gradient_in_pooling(t2fsnn: T2fsnn) -> None:
    """A neuron that wins several windows gets the gradient of one there, and the sum here."""
    spikes = np.full((1, 1, 5, 5), np.inf)
    spikes[0, 0, 2, 2] = 0.5
    with computing_in(torch.float64), torch.no_grad():
        layer = t2fsnn.snn.MaxPool((1, 5, 5), 3, 2)
        output = layer(torch.from_numpy(spikes))
        trainer = t2fsnn.train.EventBP([layer], use_adam=False)
        found, _ = trainer._backward_maxpool(0, output, torch.ones_like(output))
    assert np.isfinite(output.numpy()).sum() == 4
    assert found[0, 0, 2, 2] == 1
