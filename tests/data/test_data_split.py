import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import split
from ttfs_cupy.data.seeds import Stream, generator


@given(count=st.integers(0, 3000), share=st.floats(0, 0.999), seed=st.integers(0, 2**70))
def test_divides_the_images_or_says_why_not(count, share, seed):
    held_out = round(share * count)
    if share > 0 and held_out in (0, count):
        with pytest.raises(UserError, match="validation"):
            split(count, share, seed)
        return
    train, validation = split(count, share, seed)
    assert len(validation) == held_out
    assert train.dtype == validation.dtype == np.int64
    assert np.all(np.diff(train) > 0) and np.all(np.diff(validation) > 0)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(count))


def test_the_seed_alone_decides():
    first, again, other = split(60000, 0.1, 7), split(60000, 0.1, 7), split(60000, 0.1, 8)
    assert len(first[1]) == 6000
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_held_out_images_are_spread_over_the_whole_set():
    _, validation = split(60000, 0.1, 0)
    tenths = np.histogram(validation, bins=10, range=(0, 60000))[0]
    assert tenths.min() > 500 and tenths.max() < 700


def test_share_zero_keeps_every_image_for_training():
    train, validation = split(5, 0, 3)
    assert train.tolist() == [0, 1, 2, 3, 4]
    assert validation.shape == (0,) and validation.dtype == np.int64


@pytest.mark.parametrize(
    ("count", "share", "message"),
    [
        (10, -0.1, "must be at least 0"),
        (10, 1.0, "less than 1"),
        (10, float("nan"), "must be at least 0"),
        (10, 0.01, "of 10 images is none at all"),
        (10, 0.99, "of 10 images leaves none for training"),
    ],
)
def test_refuses_a_share_that_leaves_nothing(count, share, message):
    with pytest.raises(UserError, match=message):
        split(count, share, 0)


def test_a_negative_seed_is_refused():
    with pytest.raises(UserError, match="seed must be 0 or more, not -1"):
        split(10, 0.5, -1)


def test_no_two_draws_share_their_numbers():
    """Also where positions end in zeros, which entropy given as a list would ignore."""
    positions = [(Stream.SPLIT,), (Stream.ORDER, 0), (Stream.ORDER, 1), (Stream.AUGMENTATION, 0)]
    positions += [(Stream.AUGMENTATION, 0, 0), (Stream.AUGMENTATION, 0, 1), (Stream.AUGMENTATION, 1, 0)]
    drawn = {tuple(generator(seed, *position).random(4)) for seed in (0, 1, 2**32) for position in positions}
    assert len(drawn) == 3 * len(positions)
