"""A run is what its seed and config say, whatever other threads ask of its network meanwhile."""

import threading
from pathlib import Path

import numpy as np
from helpers.commands import SMALL, timeless, weights
from reference.comparison import DEVICE

from ttfs_cupy import Network, RunDirectory, Trainer, load_config, prepare


def trained(run: Path, *, disturbed: bool) -> None:
    settings = {**SMALL, "device": DEVICE, "tune": "false"}
    experiment = prepare(load_config("quickstart", [f"{key}={value}" for key, value in settings.items()]))
    sets = (experiment.training, experiment.validation)
    directory = RunDirectory.create(run, "seed: 0")
    trainer = Trainer(experiment.config, experiment.network, experiment.optimizer(), *sets, directory)
    done = threading.Event()
    thread = threading.Thread(target=ask, args=(experiment.network, done))
    if disturbed:
        thread.start()
    try:
        trainer.fit()
    finally:
        done.set()
        if disturbed:
            thread.join()


def ask(net: Network, done: threading.Event) -> None:
    """What leaves its traces in the network's buffers and totals."""
    pixels, labels = np.random.default_rng(0).random((7, 1, 8, 8), np.float32), np.arange(7)
    while not done.is_set():
        encoded = net.encode(pixels)
        net.loss_and_gradients(encoded, labels)
        net.loss.reset()
        net.forward(encoded)
        net.spike_times()


def test_other_threads_change_nothing(tmp_path: Path) -> None:
    trained(tmp_path / "alone", disturbed=False)
    trained(tmp_path / "disturbed", disturbed=True)
    assert timeless(tmp_path / "alone") == timeless(tmp_path / "disturbed")
    for name in ("best", "last"):
        alone, beside = weights(tmp_path / "alone", name), weights(tmp_path / "disturbed", name)
        assert all((beside[key] == values).all() for key, values in alone.items())
