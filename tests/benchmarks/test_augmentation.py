"""Augmentation beside torchvision's: what the command reports, and that both sides make what it says."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.environments import REPOSITORY

from ttfs_cupy.benchmarks import augmentation
from ttfs_cupy.benchmarks.peers.torchvision_loader import Cutout, TorchvisionLoader
from ttfs_cupy.data import ImageSet
from ttfs_cupy.device import get_device

TINY = ["--seconds", "0.5", "--images", "100", "--batch-size", "32", "--network", "vgg7", "--step-batch-size", "1"]


def random_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (count, 32, 32, 3), np.uint8), (np.arange(count) % 10).astype(np.int32)


def test_the_report_has_all_that_it_promises() -> None:
    command = [sys.executable, "-m", "ttfs_cupy.benchmarks.augmentation", *TINY]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    machine, head, ours, theirs, ratio, share, memory, load = result.stdout.splitlines()
    loads = r"load average( \d+\.\d){3}"
    assert re.search(rf"\d+ threads, 2 workers; {loads}$", machine) and re.fullmatch(loads, load)
    assert head.split() == ["cifar,", "batch", "32", "images/s", "slowest", "fastest"]
    speeds = []
    for line, name in ((ours, "ttfs_cupy"), (theirs, "torchvision in DataLoader")):
        assert line.startswith(name)
        middle, slowest, fastest = (float(word.replace(",", "")) for word in line.removeprefix(name).split())
        assert 0 < slowest <= middle <= fastest
        speeds.append(middle)
    found = re.fullmatch(r"ratio ([\d.]+), from round to round ([\d.]+) to ([\d.]+)", ratio)
    assert found and float(found[1]) == pytest.approx(speeds[0] / speeds[1], rel=0.05)
    assert float(found[2]) <= float(found[3])
    found = re.fullmatch(
        r"a training step of vgg7 at batch 1 takes ([\d.]+) ms an image, of which making it would be ([\d.]+)%", share
    )
    assert found and float(found[2]) == pytest.approx(100 * 1e3 / speeds[0] / float(found[1]), rel=0.05, abs=0.002)
    found = re.fullmatch(r"memory beyond the data set while ours are made: (\d+) MiB at most", memory)
    # of batches of 32 images and the library of kernels
    assert found and 0 < int(found[1]) < 200


def test_ours_are_the_batches_of_one_epoch_after_another() -> None:
    images = ImageSet(*random_images(100))
    device, _ = get_device("cpu")
    ours = augmentation.OurBatches(images, 32, device)
    # three batches an epoch are whole
    ours.make(3 + 2)
    epoch = [batch.inputs for batch in ours._batches.epoch(1, device)]
    assert np.array_equal(ours._production.inputs(32), epoch[1])
    assert [len(inputs) for inputs in epoch] == [32, 32, 32, 4]


def test_torchvision_s_are_of_the_same_kind() -> None:
    theirs = TorchvisionLoader(*random_images(40), batch_size=8, workers=1, fill=128)
    theirs.make(2)
    batches = [*theirs._loader]
    assert len(batches) == 2
    for inputs, labels in batches:
        assert inputs.shape == (8, 3, 32, 32) and inputs.dtype == torch.float32
        assert inputs.min() >= 0 and inputs.max() <= 1 and labels.shape == (8,)
        # a corner's hole is a sixteenth of the image
        assert ((inputs == 0).all(1).float().mean((1, 2)) >= 1 / 16).all()


def test_cutout_is_the_engine_s() -> None:
    holes = [Cutout()(torch.ones(3, 32, 32))[0] == 0 for _ in range(300)]
    sizes = [(int(hole.any(1).sum()), int(hole.any(0).sum())) for hole in holes]
    assert all(int(hole.sum()) == height * width for hole, (height, width) in zip(holes, sizes, strict=True))
    # centres 0 to 31, rows from centre - 8, 16 of them, clipped
    assert {size for pair in sizes for size in pair} == set(range(8, 17))
    assert max(sizes) == (16, 16)


def test_a_batch_larger_than_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert augmentation.main(["--images", "10", "--batch-size", "11"]) == 2
    assert "a batch of 11 is larger than the data, 10 images" in capsys.readouterr().err
