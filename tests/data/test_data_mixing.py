"""mixup and CutMix: what images become, and what their labels say of it."""

from typing import Any

import numpy as np
import pytest
from helpers.batches import PIXELS, Epoch, draws, made, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import MIXES, Batches, MixedLabels, Mixing, mixing
from ttfs_cupy.data.mixing import ALPHAS
from ttfs_cupy.neuron.encoding import Encoder

NAMES = MIXES[1:]
many = settings(max_examples=40, deadline=None)
shapes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))
seeds = st.integers(0, 2**64 - 1)
alphas = st.sampled_from([*ALPHAS, 0.2, 1.0])


def both(batches: Batches, epoch: int = 0) -> tuple[np.ndarray, Epoch]:
    """The inputs of an epoch without its mix, by label, and all of it with the mix."""
    options: dict[str, Any] = {"encode": batches.encode, "augment": batches.augment, "seed": batches.seed}
    plain = made(Batches(batches.images, batches.batch_size, shuffle=batches.shuffle, **options), epoch)
    assert plain.labels.tolist() == batches.order(epoch).images.tolist()
    return plain.by_label().inputs, made(batches, epoch)


@pytest.mark.parametrize("encoder", [PIXELS, Encoder("latency", 2.5, True, np.array([0.3]), np.array([0.2]))])
@pytest.mark.parametrize("name", NAMES)
@many
@given(shapes, st.integers(1, 30), seeds, alphas)
def test_a_mix_is_what_its_labels_say(
    name: str, encoder: Encoder, shape: tuple[int, int, int], count: int, seed: int, alpha: float
) -> None:
    """In the same order, of the same images changed in the same way as without it; partners are changed as they are
    themselves."""
    augment = "shift_flip_erase"
    options: dict[str, Any] = {"shuffle": True, "seed": seed, "augment": augment, "mix": mixing(name, alpha)}
    batches = Batches(pictures(count, shape), max(1, count // 3), encode=encoder, **options)
    plain, mixed = both(batches)
    assert mixed.labels.tolist() == batches.order(0).images.tolist()
    assert [array.dtype for array in mixed] == [np.float32, np.int32, np.int32, np.float32]
    assert all(len(array) == count for array in mixed)
    assert mixed.shares.min() >= 0 and mixed.shares.max() <= 1
    drawn = draws(batches)
    is_cut = drawn.weights == 1
    # a rectangle, or a weight below 1; of a share that is rounded to 1 neither
    assert name != "cutmix" or is_cut.all()
    assert (drawn.boxes[~is_cut] == 0).all()
    rounding = 4 * np.finfo(np.float32).eps * (np.abs(plain).max() + 1)
    for number, (label, other, share) in enumerate(zip(*mixed[1:], strict=True)):
        own, partner, found = plain[label], plain[other], mixed.inputs[number]
        if is_cut[number]:
            top, bottom, left, right = drawn.boxes[number]
            expected = own.copy()
            expected[top:bottom, left:right] = partner[top:bottom, left:right]
            # bit for bit: no pixel is half of either
            assert np.array_equal(found, expected)
            assert share == pytest.approx(1 - (bottom - top) * (right - left) / (shape[0] * shape[1]), abs=1e-6)
        else:
            share = np.float64(share)
            assert np.abs(share * own + (1 - share) * partner - found).max() <= rounding
        assert (found >= np.minimum(own, partner)).all() and (found <= np.maximum(own, partner)).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_is_its_own_partner_stays_as_it_is(name: str) -> None:
    """As any does in a set of one."""
    for seed in range(20):
        batches = Batches(pictures(1, (9, 9, 3)), 1, encode=Encoder(t_win=0.7), mix=mixing(name), seed=seed)
        plain, mixed = both(batches)
        assert np.array_equal(mixed.inputs, plain) and mixed.others.tolist() == mixed.labels.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_each_image_has_a_share_of_its_own(name: str) -> None:
    batches = Batches(pictures(100, (32, 32, 1)), 20, encode=PIXELS, mix=mixing(name))
    epochs = [made(batches, epoch) for epoch in range(2)]
    shares = np.concatenate([epoch.shares for epoch in epochs])
    # areas repeat here and there; those cut and those blended differ
    assert len({*shares.tolist()}) > 150 * (1 if name == "mixup" else 0.5)
    assert (epochs[0].others != epochs[1].others).mean() > 0.9
    other = made(Batches(pictures(100, (32, 32, 1)), 20, encode=PIXELS, mix=mixing(name), seed=1))
    assert (other.others != epochs[0].others).mean() > 0.9 and (other.shares != epochs[0].shares).mean() > 0.8


def test_partners_are_of_the_epoch_and_not_of_the_batch() -> None:
    batches = Batches(pictures(200, (4, 4, 1)), 10, encode=PIXELS, mix=mixing("mixup"))
    mixed = made(batches)
    same_batch = mixed.labels // 10 == mixed.others // 10
    assert same_batch.mean() < 0.15
    # in batches of one, too
    alone = made(Batches(pictures(200, (4, 4, 1)), 1, encode=PIXELS, mix=mixing("mixup")))
    assert alone.bits() == mixed.bits()


def test_no_mix_leaves_plain_labels() -> None:
    batch = next(Batches(pictures(20, (4, 4, 1)), 16, encode=PIXELS, mix=mixing("none")).epoch(0))
    assert isinstance(batch.labels, np.ndarray) and batch.labels.dtype == np.int32


def test_mixed_labels_have_a_length_and_go_to_a_device() -> None:
    batch = next(Batches(pictures(20, (4, 4, 1)), 16, encode=PIXELS, mix=mixing("both")).epoch(0))
    assert isinstance(batch.labels, MixedLabels) and len(batch.labels) == 16

    class Device:
        def to_device(self, array: np.ndarray) -> bytes:
            return array.tobytes()

    assert batch.labels.to(Device()).arrays == tuple(array.tobytes() for array in batch.labels.arrays)


def test_what_is_no_mix_is_refused() -> None:
    with pytest.raises(UserError, match="mix must be one of none, mixup, cutmix, both, not 'cut'"):
        mixing("cut")
    with pytest.raises(UserError, match="mix must be one of mixup, cutmix, both, not 'none'"):
        Mixing("none")
    for alpha in (0, -1, 0.001, 101, np.nan, "1", None):
        with pytest.raises(UserError, match=r"mix_alpha must be a number from 0\.01 to 100"):
            mixing("mixup", alpha)  # type: ignore[arg-type]
    assert mixing("none", "not looked at") is None  # type: ignore[arg-type]
