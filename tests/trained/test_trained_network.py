"""load(run).predict(images): the classes of an evaluation, by whatever way the images come."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import run_small
from helpers.earlier_runs import forget_input
from PIL import Image
from reference.comparison import DEVICE

from ttfs_cupy import Batches, ImageSet, UserError, build, load, predict
from ttfs_cupy.data import InputDescription
from ttfs_cupy.trained.decision import softmax
from ttfs_cupy.trained.image_stream import batched
from ttfs_cupy.trained.opening import open_run
from ttfs_cupy.trained.trained_network import Classification, trained


def same(one: Classification, other: Classification) -> bool:
    return one.names == other.names and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("classes", "probabilities", "margin", "decision_time")
    )


def pictures(digits: ImageSet) -> np.ndarray:
    """uint8 (N, C, H, W)."""
    return digits.images.transpose(0, 3, 1, 2)


def test_classes_are_those_of_an_evaluation(digits_run: Path, digits: ImageSet, folder: Path) -> None:
    opened = open_run(digits_run)
    expected = predict(opened.network, opened.experiment.test)
    net = load(digits_run)
    found = net.predict(pictures(digits))
    assert found.classes.dtype == np.int64 and np.array_equal(found.classes, expected.classes)
    accuracy = (found.classes == digits.labels).mean()
    assert accuracy == pytest.approx(expected.evaluation.totals.accuracy) and accuracy > 0.7
    assert found.names == tuple(net.class_names[label] for label in found.classes)
    assert same(net.predict(pictures(digits) / np.float32(16)), found)
    assert same(net.predict([folder / f"{number:04}.png" for number in range(len(digits))]), found)
    # the loss is the mean of -log p
    chosen = found.probabilities[np.arange(len(digits)), digits.labels].astype(np.float64)
    assert -np.log(chosen).mean() == pytest.approx(expected.evaluation.totals.loss, rel=1e-4)


def test_its_parts(digits_run: Path, digits: ImageSet) -> None:
    net = load(digits_run)
    assert net.class_names == tuple("0123456789") and net.input_shape == (1, 8, 8) == net.network.input_shape
    found = net.predict(pictures(digits)[:50])
    readouts = np.asarray(net.network.forward(net.network.encode(pictures(digits)[:50] / np.float32(16))), np.float64)
    assert len(found) == 50 and found.probabilities.shape == (50, 10)
    for array in (found.probabilities, found.margin, found.decision_time):
        assert array.dtype == np.float32
    shares = np.exp(readouts) / np.exp(readouts).sum(axis=1, keepdims=True)
    assert np.allclose(found.probabilities, shares, atol=1e-6)
    assert np.array_equal(found.classes, readouts.argmax(axis=1))
    ordered = np.sort(readouts, axis=1)
    assert np.allclose(found.margin, ordered[:, -1] - ordered[:, -2], atol=1e-5)
    # three layers with weights; the readout's window is the fourth
    assert ((found.decision_time >= 3) & (found.decision_time <= 4)).all()


def test_results_can_be_told_apart(digits_run: Path, digits: ImageSet) -> None:
    net, images = load(digits_run), pictures(digits)[:3]
    found, other = net.predict(images), net.predict(images)
    assert found == found and found != other and len({found, other}) == 2


@pytest.mark.skipif(DEVICE != "cpu", reason="a GPU's library chooses its products by the batch size")
def test_an_image_is_classified_alone_as_among_others(digits_run: Path, digits: ImageSet) -> None:
    net, images = load(digits_run), pictures(digits)[:40]
    together = net.predict(images)
    assert same(net.predict(images, batch_size=7), together)
    for index in (0, 39):
        alone = net.predict(images[index : index + 1])
        for name in ("classes", "probabilities", "margin", "decision_time"):
            assert np.array_equal(getattr(alone, name)[0], getattr(together, name)[index])


@pytest.mark.parametrize("nothing", [[], np.empty((0, 1, 8, 8), np.uint8), np.empty((0, 1, 8, 8), np.float32)])
def test_no_images_have_no_classes(nothing: Any, digits_run: Path) -> None:
    found = load(digits_run).predict(nothing)
    assert len(found) == 0 and found.names == () and found.probabilities.shape == (0, 10)
    assert found.classes.dtype == np.int64 and found.margin.shape == found.decision_time.shape == (0,)


def test_a_kept_epoch(digits_run: Path, digits: ImageSet) -> None:
    first, best = (load(str(digits_run), DEVICE, epoch).predict(pictures(digits)) for epoch in (1, None))
    assert not np.array_equal(first.classes, best.classes)
    with pytest.raises(UserError, match="keeps no checkpoint of epoch 9: there are 1, 2, 3, 4, 5, 6"):
        load(digits_run, epoch=9)


def test_the_data_set_is_not_needed(digits_run: Path, digits: ImageSet, tmp_path: Path) -> None:
    """A run on images of one's own, which are gone."""
    images = tmp_path / "arrays"
    images.mkdir()
    colours = np.repeat(digits.images[:200] * np.uint8(15), 3, axis=3)
    for name, array in (("images", colours), ("labels", digits.labels[:200])):
        np.save(images / f"{name}.npy", array)
    root = {"data__dataset": "arrays", "data__root": str(images), "training__batch_size": 32}
    run = run_small(tmp_path / "run", **root, network__encoding="direct")
    opened = open_run(run)
    expected = predict(opened.network, opened.experiment.test)
    test = opened.experiment.test.images.images.transpose(0, 3, 1, 2)
    shutil.rmtree(images)
    net = load(run)
    assert np.array_equal(net.predict(test).classes, expected.classes)
    # nobody named the classes
    assert net.class_names == tuple(map(str, range(10)))
    for file in (run / "best.safetensors", run / "last.safetensors"):
        forget_input(file)
    with pytest.raises(UserError, match="did not record what its network's input is, so its data set is needed"):
        load(run)


def test_what_is_no_image_is_refused(digits_run: Path, tmp_path: Path) -> None:
    net = load(digits_run)
    for wrong, told in [
        (np.zeros((2, 8, 8), np.uint8), r"images must have shape \(N, 1, 8, 8\), not \(2, 8, 8\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"images must have shape \(N, 1, 8, 8\), not \(2, 3, 8, 8\)"),
        (np.full((1, 1, 8, 8), 17, np.uint8), "uint8 images of this network reach from 0 to 16, and one has 17"),
        (np.full((1, 1, 8, 8), 1.5), r"images must lie in \[0, 1\]"),
        (np.full((1, 1, 8, 8), "x"), r"images must hold numbers in \[0, 1\]"),
        (7, "images must be an array, or paths of image files, not 7"),
        ([b"x"], "images must be an array, or paths of image files, and one is b'x'"),
    ]:
        with pytest.raises(ValueError, match=told):
            net.predict(wrong)
    with pytest.raises(UserError, match="batch_size must be a whole number from 1"):
        net.predict(np.zeros((1, 1, 8, 8)), batch_size=0)
    (tmp_path / "text.png").write_text("text")
    good = tmp_path / "good.png"
    Image.new("L", (8, 8)).save(good)
    assert len(net.predict(str(good))) == len(net.predict(good)) == 1
    with pytest.raises(UserError, match=r"text\.png is no image, or a damaged one"):
        net.predict([good, tmp_path / "text.png", good])


def test_a_network_that_image_files_are_not_for(digits: ImageSet, tmp_path: Path) -> None:
    two = ImageSet(np.repeat(digits.images[:64], 2, axis=3), digits.labels[:64], 16)
    opened_shape = (2, 8, 8)
    net = trained(build([4], opened_shape, 10, DEVICE), InputDescription(opened_shape, 10, 16), None)
    assert len(net.predict(two.images.transpose(0, 3, 1, 2))) == 64
    with pytest.raises(UserError, match="this network takes 2 channels: give it arrays"):
        net.predict([tmp_path / "any.png"])
    batches = Batches(two, 64, encode=net.network.encoder)
    assert np.array_equal(net.predict(two.images.transpose(0, 3, 1, 2)).classes, predict(net.network, batches).classes)


def test_parts_of_it() -> None:
    assert list(batched(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []
    # beyond what exp could hold
    assert softmax(np.array([[1e4, 1e4, -1e4]], np.float32)).tolist() == [[0.5, 0.5, 0]]
