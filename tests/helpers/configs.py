"""Configs, and mistakes in them."""

from pathlib import Path

import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import load_config

MINIMAL = "data: {dataset: digits}\ntraining: {epochs: 3, batch_size: 8}\n"
BUNDLED = (
    "fmnist",
    "quickstart",
    "small_fmnist",
    "t2fsnn_vgg11_cifar10",
    "t2fsnn_vgg11_cifar100",
    "t2fsnn_vgg7_fmnist",
    "t2fsnn_vgg7_mnist",
    "vgg11_cifar10",
    "vgg11_cifar100",
    "vgg7_fmnist",
    "vgg7_mnist",
    "wei_vgg11_cifar10",
    "wei_vgg16_cifar100",
)


def mistake(path: Path | str, *overrides: str) -> str:
    """The message for that file, which must be one sentence."""
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message
