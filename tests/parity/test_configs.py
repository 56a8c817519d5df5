"""Their config files, as `ttfs train OLD.json` takes them, beside what SNNtrainer makes of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from parity.checkouts import T2fsnn
from parity.ours import build
from parity.their_network import CPU
from ttfs_cupy import Config, LearningRateSchedule, load_config
from ttfs_cupy.experiment.named_config import named

# torchvision's classes by the names of both, and a pixel image's mode
SETS = {
    "mnist": ("MNIST", "L"),
    "fmnist": ("FashionMNIST", "L"),
    "cifar10": ("CIFAR10", "RGB"),
    "cifar100": ("CIFAR100", "RGB"),
}
BUNDLED = {
    "mnist": "t2fsnn_vgg7_mnist",
    "fmnist": "t2fsnn_vgg7_fmnist",
    "cifar10": "t2fsnn_vgg11_cifar10",
    "cifar100": "t2fsnn_vgg11_cifar100",
}
# their loaders want more processes than a small machine has cores; none of them is started here
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

FILE = {
    "use_adam": False,
    "lr": 3e-4,
    "w_decay": 0.2,
    "grad_clip": 2,
    "annealing": 0.99,
    "early_stopping": 7,
    "epochs": 11,
    "batch_size": 32,
    "w_ei": True,
}


class Blank(torch.utils.data.Dataset):
    """In place of torchvision's, which would be downloaded: twenty images, and the transform that it was given."""

    def __init__(self, root: str, train: bool, download: bool, transform: Any):
        self.transform = transform

    def __len__(self) -> int:
        return 20


@pytest.fixture
def no_download(t2fsnn: T2fsnn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _ in SETS.values():
        monkeypatch.setattr(t2fsnn.run.torchvision.datasets, name, Blank)


def trainer_of(t2fsnn: T2fsnn, dataset: str, network: str, content: dict[str, Any]) -> Any:
    return t2fsnn.run.SNNtrainer(dataset, network, content, CPU)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("keys", [FILE, {"epochs": 3, "batch_size": 16}], ids=["every key", "defaults"])
def test_a_config_file_means_the_same(t2fsnn: T2fsnn, tmp_path: Path, keys: dict[str, Any]) -> None:
    file = tmp_path / "old.json"
    file.write_text(json.dumps(keys))
    agree(named(file, "cifar10", "vgg7", [], {}).config, trainer_of(t2fsnn, "cifar10", "vgg7", keys))


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("dataset", SETS)
def test_bundled_configs_are_their_example_run(t2fsnn: T2fsnn, dataset: str) -> None:
    root = Path(t2fsnn.run.__file__).parents[1]
    content = json.loads((root / "config" / "example-batch-256.json").read_text())
    name = BUNDLED[dataset]
    config, theirs = load_config(name), trainer_of(t2fsnn, dataset, name.split("_")[1], content)
    assert config.data.dataset == dataset
    agree(config, theirs)


def agree(config: Config, theirs: Any) -> None:
    """All numbers of the config, and the shapes of all weights."""
    training, optimizer = config.training, config.optimizer
    assert (training.epochs, training.batch_size) == (theirs.epochs, theirs.batch_size)
    assert training.patience == theirs.early_stopper.patience
    trainer = theirs.trainer
    assert optimizer.name == ("adam" if trainer.use_adam else "sgd")
    assert (optimizer.lr, optimizer.weight_decay) == (trainer.lr, trainer.w_decay)
    assert (optimizer.beta1, optimizer.beta2, optimizer.eps) == (
        *(trainer.adam_beta1, trainer.adam_beta2, trainer.adam_epsilon),
    )
    assert config.network.clip == "separate" and config.network.grad_clip == trainer.grad_clip
    schedule = LearningRateSchedule(optimizer.lr, 10, 5, config.schedule.name, config.schedule.annealing)
    for epoch in range(3):
        assert np.isclose(schedule.at(10 * epoch), trainer.lr, rtol=1e-12)
        trainer.anneal()
    first, last = theirs.network[0], theirs.network[-1]
    assert optimizer.fixed_sign == (first.w_ei is not None)
    assert config.network.t_win == first.t_win
    assert config.network.psp_slope == 1 and config.network.readout == "potential" and last.no_spk
    net = build(config.network.model, first.input_shape, last.n_neurons)
    shapes = [tuple(layer.weights.shape) for layer in theirs.network if layer.trainable]
    assert [array.shape for array in net.state_dict().values()] == shapes
    for mine, layer in zip(net.state_dict().values(), (one for one in theirs.network if one.trainable), strict=True):
        assert np.isclose(mine.std(), layer.weights.std().item(), rtol=0.1)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("dataset", SETS)
def test_pixels_are_standardised_alike(t2fsnn: T2fsnn, dataset: str, tmp_path: Path) -> None:
    """A random image by their transform for validation, and by the encoder of a bundled and of a translated config."""
    shape, classes, _, validation, _ = t2fsnn.run.load_dataset(dataset, 16)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape[1:], shape[0]), dtype=np.uint8)
    image = Image.fromarray(pixels.squeeze(), SETS[dataset][1])
    theirs = validation.dataset.dataset.transform(image).numpy()
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"epochs": 1, "batch_size": 1}))
    images = pixels.transpose(2, 0, 1)[np.newaxis] / np.float32(255)
    for config in (load_config(BUNDLED[dataset]), named(file, dataset, "vgg7", [], {}).config):
        mean, std = (
            np.broadcast_to(np.asarray(given, np.float64), (shape[0],)) for given in (config.data.mean, config.data.std)
        )
        net = build([4], shape, classes, standardize=config.network.standardize, mean=mean, std=std)
        encoded = net.device.to_host(net.encode(images))[0].transpose(2, 0, 1)
        np.testing.assert_allclose(encoded, theirs, rtol=1e-5, atol=1e-6)
