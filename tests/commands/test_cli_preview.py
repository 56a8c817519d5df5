"""The contact sheet: its cells are the data's pixels and what training gets, and its errors one sentence."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import preview
from helpers.datasets_on_disk import write_cifar10, write_mnist
from helpers.refusals import refused, tree
from numpy.typing import NDArray
from PIL import Image

from ttfs_cupy import preview as command
from ttfs_cupy.data import DATASETS, Dataset, Source, load_dataset
from ttfs_cupy.data.examples import Example, chosen
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.prepare import prepare
from ttfs_cupy.preview import SILENT, Layout

pytest.importorskip("matplotlib", reason="the extra preview brings it")

# an empty working directory
pytestmark = pytest.mark.usefixtures("here")

SMALL = {"network.model": "[4, P]", "training.batch_size": "16", "training.epochs": "5", "tune": "false"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder, "fmnist", train=60)
    write_cifar10(folder, train=80)
    return folder


def settings(root: Path, **changes: str) -> list[str]:
    values = {**SMALL, "data.root": str(root), **{key.replace("__", "."): changes[key] for key in changes}}
    return [f"{key}={value}" for key, value in values.items()]


def typed(overrides: list[str]) -> list[str]:
    return ["--device", "cpu", *(part for item in overrides for part in ("--set", item))]


class Sheet:
    """A sheet that the command has drawn, and the training that it is of."""

    def __init__(self, config: str, overrides: list[str], images: int, epochs: int):
        sizes = ["--images", str(images), "--epochs", str(epochs)]
        outcome = preview(config, "-o", "sheet.png", *sizes, *typed(overrides))
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("sheet.png: images of ") and f", {images} of them, in epoch" in outcome.out
        self.pixels = np.asarray(Image.open("sheet.png").convert("RGB"))
        loaded = load_config(config, overrides, {"device": "cpu"})
        self.experiment = prepare(loaded)
        self.training = self.experiment.training
        self.images = chosen(self.training, images)
        shape = self.experiment.dataset.train.images.shape[1:]
        self.layout = Layout(images, 1 + epochs, shape, captions=self.training.mix is not None)
        assert self.pixels.shape[:2] == self.layout.size

    def cell(self, row: int, group: int, column: int) -> NDArray[np.uint8]:
        """RGB (H, W, 3), of an image's pixels, each of which must be one square."""
        (top, left), scale = self.layout.cell(row, group, column), self.layout.scale
        height, width = (side * scale for side in self.layout.shape[:2])
        large = self.pixels[top : top + height, left : left + width]
        small = large[::scale, ::scale]
        assert np.array_equal(large, small.repeat(scale, 0).repeat(scale, 1))
        return small

    def inputs(self, epoch: int) -> dict[int, NDArray[np.float32]]:
        """What the network gets of each image in a whole epoch of training, where it comes first."""
        order, found = iter(self.training.order(epoch).images.tolist()), dict[int, Any]()
        for batch in self.training.epoch(epoch):
            for values in batch.inputs:
                found.setdefault(next(order), values)
        return found


def brightness(colours: NDArray[np.uint8]) -> NDArray[Any]:
    return colours @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ("small_fmnist", {"data__augment": "shift_erase"}),
        ("small_fmnist", {"data__augment": "shift_flip", "data__mix": "mixup", "network__t_win": "2"}),
        ("vgg11_cifar10", {"data__mix": "both", "seed": "4"}),
    ],
    ids=["grey", "grey, mixed", "colour, mixed"],
)
def test_a_sheet_shows_the_data_and_what_training_gets(config: str, changes: dict[str, str], root: Path) -> None:
    sheet = Sheet(config, settings(root, **changes), images=12, epochs=2)
    dataset: Dataset = sheet.experiment.dataset
    channels = dataset.train.images.shape[3]
    encoder = sheet.experiment.network.encoder
    epochs = [sheet.inputs(epoch) for epoch in range(2)]
    changed = 0
    for row, image in enumerate(sheet.images.tolist()):
        original = dataset.train.images[image]
        # all three of RGB are a grey image's level
        assert np.array_equal(sheet.cell(row, 0, 0), np.broadcast_to(original, (*original.shape[:2], 3)))
        inputs = [encoder(original.astype(np.float32) / 255), *(epoch[image] for epoch in epochs)]
        for column, code in enumerate(inputs):
            levels = np.rint(255 * code / np.float32(encoder.t_win))
            assert np.array_equal(sheet.cell(row, 0, column), np.broadcast_to(levels, (*levels.shape[:2], 3)))
            changed += not np.array_equal(levels, original)
            for channel in range(channels):
                cell = sheet.cell(row, 1 + channel, column)
                values = code[..., channel]
                assert np.array_equal((cell == SILENT).all(-1), values == 0)
                # the earlier, the brighter, but for what is rounded to 8 bits
                spikes = values > 0
                order = np.argsort(values[spikes])
                assert (np.diff(brightness(cell[spikes][order])) > -1).all()
    assert changed > 12
    assert (np.diff(dataset.train.labels[sheet.images]) >= 0).all()


@pytest.mark.parametrize("code", [{"network__standardize": "true"}, {"network__encoding": "direct"}])
def test_values_that_are_no_spike_times_are_red_above_0_and_blue_below(code: dict[str, str], root: Path) -> None:
    sheet = Sheet("vgg11_cifar10", settings(root, data__augment="flip", **code), images=3, epochs=1)
    inputs = sheet.inputs(0)
    for row, image in enumerate(sheet.images.tolist()):
        for channel in range(3):
            red, _, blue = np.moveaxis(sheet.cell(row, 1 + channel, 1).astype(int), -1, 0)
            values = inputs[image][..., channel]
            clear = np.abs(values) > 0.05
            assert clear.sum() > 500 and {*np.sign(values[clear])} == {-1, 1}
            assert np.array_equal((red > blue)[clear], (values > 0)[clear])


def test_the_digits_levels_are_scaled(here: Path) -> None:
    pytest.importorskip("sklearn", reason="the extra digits brings the images")
    sheet = Sheet("quickstart", ["network.model=[4, P]", "tune=false"], images=10, epochs=1)
    images = load_dataset("digits", here).train.images
    for row, image in enumerate(sheet.images.tolist()):
        assert np.array_equal(sheet.cell(row, 0, 0)[..., :1], np.rint(images[image] / 16 * 255))


def test_balanced_epochs_have_an_image_twice_or_not_at_all(root: Path) -> None:
    changes = {"data__sampling": "balanced", "data__validation": "7", "data__augment": "shift_flip"}
    sheet = Sheet("small_fmnist", settings(root, **changes), images=50, epochs=3)
    absent = 0
    for epoch in range(3):
        inputs = sheet.inputs(epoch)
        for row, image in enumerate(sheet.images.tolist()):
            if image in inputs:
                assert np.array_equal(sheet.cell(row, 0, 1 + epoch)[..., :1], np.rint(255 * inputs[image]))
            else:
                # white, in the first group but for words
                absent += 1
                top, left = sheet.layout.cell(row, 0, 1 + epoch)
                assert 240 < sheet.pixels[top : top + 112, left : left + 112].mean() < 255
                assert (sheet.cell(row, 1, 1 + epoch) == 255).all()
    assert absent


def test_channels_that_are_no_colours(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 9, 7, 2), np.uint8)
    raw = Raw(np.where(noise < 128, 0, noise), np.arange(40) % 2, "none")
    monkeypatch.setitem(DATASETS, "two", Source(lambda root, download: (raw, raw), (9, 7, 2), 2))
    sheet = Sheet("small_fmnist", [*settings(here, data__augment="shift"), "data.dataset=two"], images=3, epochs=1)
    inputs = sheet.inputs(0)
    for row, image in enumerate(sheet.images.tolist()):
        assert np.array_equal(sheet.cell(row, 0, 1)[..., 0], np.rint(255 * inputs[image].mean(2)))
        for channel in range(2):
            silent = (sheet.cell(row, 1 + channel, 1) == SILENT).all(-1)
            assert np.array_equal(silent, inputs[image][..., channel] == 0)
            assert 0 < silent.sum() < 63


def test_defaults_and_that_a_sheet_is_a_function_of_the_seed(root: Path, here: Path) -> None:
    arguments = ["small_fmnist", *typed(settings(root, training__epochs="2"))]
    for options in ([], ["-o", "again.png"], ["-o", "other.png", "--seed", "1"]):
        assert preview(*arguments, *options).code == 0
    (here / "preview.png").rename(here / "first.png")
    first = (here / "first.png").read_bytes()
    assert first == (here / "again.png").read_bytes() != (here / "other.png").read_bytes()
    height, width = Layout(10, 3, (28, 28, 1), captions=False).size
    assert Image.open(here / "first.png").size == (width, height)
    # what was there is replaced, and nothing else is left
    assert preview(*arguments, "-o", "other.png").code == 0
    assert tree(here) == dict.fromkeys(("first.png", "again.png", "other.png"), first)


def test_more_images_than_the_default_where_there_are_fewer(root: Path, here: Path) -> None:
    few = settings(root, data__validation="0.9", training__batch_size="2")
    assert preview("small_fmnist", *typed(few)).code == 0
    assert Image.open(here / "preview.png").height == Layout(6, 4, (28, 28, 1), captions=False).size[0]


@pytest.mark.parametrize(
    ("names", "caption"),
    [
        (None, "62 % class 0\n38 % class 1"),
        (("0", "1"), "62 % class 0\n38 % class 1"),
        (("cat", "a very long name"), "62 % cat\n38 % a very long..."),
    ],
)
def test_what_a_mixed_cell_says(names: tuple[str, ...] | None, caption: str) -> None:
    example = Example(np.zeros((8, 8, 1), np.float32), 0, 1, 0.625)
    nothing: Any = None
    sheet = command.Sheet(nothing, nothing, nothing, nothing, nothing, [], [], names)
    assert command._caption(example, sheet) == caption


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "sheet.jpg"], ["--output", ".png", "'sheet.jpg'"]),
        (["-o", "nowhere/sheet.png"], ["nowhere/sheet.png cannot be written: there is no folder nowhere"]),
        (["-o", "folder.png"], ["folder.png cannot be written: it is a folder"]),
        (["--epochs", "6"], ["--epochs 6 is more than the 5 of the config: raise training.epochs"]),
        (["--epochs", "0"], ["--epochs must be a whole number from 1, not 0"]),
        (["--images", "-1"], ["--images must be a whole number from 1, not -1"]),
        (["--set", "data.mix=mixdown"], ["data.mix", "mixdown"]),
        (["--seed", "-1"], ["--seed -1"]),
    ],
)
def test_mistakes_are_refused_before_data_are_read(
    arguments: list[str], words: list[str], root: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(command, "read_dataset")
    (here / "folder.png").mkdir()
    refused(preview("small_fmnist", *typed(settings(root)), *arguments), *words)
    assert tree(here) == {"folder.png": None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--images", "55"], ["there are 54 training images, fewer than the 55"]),
        (["--set", "data.root=elsewhere"], ["elsewhere"]),
        (["--set", "training.batch_size=55"], ["training.batch_size 55 is larger than the training set of 54"]),
        (["--set", "network.encoding=direct", "--set", "network.model=[P, 4]"], ["layer 1 must be a convolution"]),
        (
            ["--images", "54", "--set", "training.epochs=1000", "--epochs", "1000"],
            ["the sheet would have 236,388 x 6,542 pixels: ", "lower --images or --epochs"],
        ),
    ],
)
def test_mistakes_that_the_data_tell(changes: list[str], words: list[str], root: Path, here: Path) -> None:
    if "data.root=elsewhere" in changes:
        changes = ["--set", "data.dataset=mnist", "--set", "data.download=false", *changes]
    (here / "preview.png").write_text("old")
    refused(preview("small_fmnist", *typed(settings(root)), *changes), *words)
    assert tree(here) == {"preview.png": b"old"}


def test_without_matplotlib(root: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(preview("small_fmnist", *typed(settings(root))), "matplotlib", "pip install 'ttfs-cupy[preview]'")
    assert tree(here) == {}


def test_no_network_is_built(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttfs_cupy.models.builder.Network", None)
    assert preview("small_fmnist", *typed(settings(root))).code == 0


def test_a_class_whose_name_would_be_a_formula(here: Path) -> None:
    for name in ("$$", "a$\\q$"):
        for number in range(6):
            path = here / "own" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(path)
    own = {"data.dataset": "folder", "data.root": str(here / "own"), "data.mix": "mixup", "training.batch_size": "2"}
    overrides = [f"{key}={value}" for key, value in own.items()]
    assert preview("quickstart", *typed([*overrides, "data.validation=0.3"])).code == 0


def test_an_epoch_of_fewer_images_than_are_shown_by_default(here: Path) -> None:
    """Of uneven classes, evenly drawn: there are twelve images to train on, but not all come in the first epoch."""
    for name, count in (("many", 12), ("few", 2)):
        (here / "own" / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(here / "own" / name / f"{number}.png")
    own = {"data.dataset": "folder", "data.root": str(here / "own"), "data.sampling": "balanced", "data.test": "0.01"}
    overrides = [f"{key}={value}" for key, value in own.items()]
    outcome = preview("quickstart", *typed([*overrides, "training.batch_size=2", "data.validation=1"]))
    assert (outcome.code, outcome.err) == (0, "") and "7 of them" in outcome.out
