"""A folder in which what the documentation shows can be typed: small runs, data sets and pictures of its names."""

import shutil
from pathlib import Path

import numpy as np
import torch

from helpers.commands import run_small, small, train
from helpers.datasets_on_disk import separable, write_cifar10, write_events, write_images, write_mnist
from helpers.environments import REPOSITORY
from helpers.t2fsnn_files import BATCH_32, write_json

# what train is given on top: an epoch of a small network, on the CPU
SETTINGS = {
    "network.model": "[4, P, 8, P]",
    "training.epochs": "2",
    "training.batch_size": "8",
    "schedule.warmup": "0",
}
# runs of the digits by these names
COPIES = ("fmnist", "slope0", "slope1", "a-seed-0", "a-seed-1", "b", "slope1-anneal", "pictured")


def make(folder: Path) -> None:
    """Fills it."""

    network = {"network__model": SETTINGS["network.model"]}
    run_small(folder / "runs/quickstart", **network, training__average=0.9, training__keep={"every": 1})
    for name in COPIES:
        shutil.copytree(folder / "runs/quickstart", folder / "runs" / name)
    datasets = folder / "datasets"
    write_mnist(datasets, "mnist")
    raw = write_mnist(datasets, "fmnist", train=1500, test=60)
    write_cifar10(datasets)
    for path in raw.glob("t10k-*"):
        shutil.copy(path, folder)
    data = {"data__dataset": "fmnist", "data__root": str(datasets)}
    outcome = train(*small(folder / "runs/small_fmnist", **network, **data))
    assert outcome.code == 0, outcome
    _write_pictures(folder)
    for name in ("old.json", "config.json"):
        write_json(folder / name, BATCH_32)
    write_events(folder / "recordings")
    torch.save([torch.zeros(4, 3, 3, 3), torch.zeros(8, 4, 3, 3), torch.zeros(10, 8 * 8 * 8)], folder / "weights.pt")
    for name in (".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"):
        (folder / name).mkdir(parents=True)
    for name in ("configs", "models", "setup.cfg", "Makefile"):
        (folder / name).symlink_to(REPOSITORY / name)


def _write_pictures(folder: Path) -> None:
    images, labels = separable(60, (12, 12, 1), 3)
    for half, chosen in (("train", range(40)), ("test", range(40, 60))):
        for number in chosen:
            write_images(
                folder / f"photographs/{half}/class {labels[number]}", {f"{number}.png": images[number, ..., 0]}
            )
    halves = {"images": images[:40], "labels": labels[:40], "test_images": images[40:], "test_labels": labels[40:]}
    np.savez(folder / "images.npz", **halves)
    from sklearn.datasets import load_digits

    digits = load_digits()
    (folder / "images").write_bytes(digits.images[:10].astype(np.uint8).tobytes())
    pictures = [(image * 15).astype(np.uint8) for image in digits.images[:6]]
    names = ("photo.png", "a.png", "b.png", "more/c.png", "more/d.jpg", "photos/e.jpg")
    write_images(folder, dict(zip(names, pictures, strict=True)))
