"""Which training images are held out: a share of each class, a count, or those that a file names."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.batches import labelled
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import fingerprint, split
from ttfs_cupy.data.seeds import Stream, generator

SETS = st.lists(st.sampled_from([0, 0, 0, 0, 0, 1, 1, 2, 5]), max_size=200).map(
    lambda labels: np.array(labels, np.int32)
)


def evenly(count: int, classes: int = 10) -> np.ndarray:
    return (np.arange(count) % classes).astype(np.int32)


# A share or a count


@given(labels=SETS, share=st.floats(0, 0.999), seed=st.integers(0, 2**70))
def test_divides_the_images_or_says_why_not(labels: np.ndarray, share: float, seed: int) -> None:
    count = len(labels)
    held_out = round(share * count)
    if share > 0 and held_out in (0, count):
        with pytest.raises(UserError, match="validation"):
            split(labels, share, seed)
        return
    train, validation = split(labels, share, seed)
    assert len(validation) == held_out
    assert train.dtype == validation.dtype == np.int64
    assert np.all(np.diff(train) > 0) and np.all(np.diff(validation) > 0)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(count))
    if share > 0:
        assert np.array_equal(split(labels, held_out, seed).validation, validation), "a count is a share of so many"


@given(labels=SETS.filter(lambda labels: len(labels) > 1), data=st.data(), seed=st.integers(0, 2**32))
def test_each_class_has_its_share(labels: np.ndarray, data: st.DataObject, seed: int) -> None:
    """Within one image; only where a side would lack a class, and there are enough images, it has one all the same."""
    count = data.draw(st.integers(1, len(labels) - 1))
    sizes = np.bincount(labels)
    held_out = np.bincount(labels[split(labels, count, seed).validation], minlength=len(sizes))
    quotas = sizes * count / len(labels)
    assert held_out.sum() == count
    several = sizes > 1
    if count >= several.sum():
        assert (held_out[several] >= 1).all()
    if len(labels) - count >= (sizes > 0).sum():
        assert (held_out < np.maximum(sizes, 1)).all()
    if (quotas >= 1)[sizes > 0].all() and (sizes - quotas >= 1)[sizes > 0].all():
        # nothing but largest remainders
        rest = count - np.floor(quotas).sum().astype(int)
        expected = np.floor(quotas).astype(int)
        remainders = np.round(quotas - np.floor(quotas), 9)
        expected[np.argsort(-remainders, kind="stable")[:rest]] += 1
        assert sorted(np.abs(held_out - quotas).round(6)) == sorted(np.abs(expected - quotas).round(6))


@pytest.mark.parametrize(
    ("sizes", "count", "held_out"),
    [
        ((50, 50), 10, (5, 5)),
        ((50, 50), 11, (6, 5)),  # of equal remainders the lower class's
        ((90, 10), 10, (9, 1)),
        ((97, 3), 10, (9, 1)),  # 9.7 and 0.3: one of each class
        ((97, 3), 1, (1, 0)),  # too few for that
        ((99, 1), 50, (50, 0)),  # one is left to train on
        ((99, 1), 99, (98, 1)),  # too few for that
        ((40, 0, 20), 6, (4, 0, 2)),
        ((5, 5, 5, 5), 19, (5, 5, 5, 4)),
        ((500, 100, 20, 4), 62, (49, 10, 2, 1)),  # 49.7, 9.9, 2.0, 0.4
    ],
)
def test_how_many_of_each_class(sizes: tuple[int, ...], count: int, held_out: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
    found = np.bincount(labels[split(labels, count, 3).validation], minlength=len(sizes))
    assert tuple(found) == held_out


def test_the_seed_alone_decides() -> None:
    labels = evenly(60000)
    first, again, other = split(labels, 0.1, 7), split(labels, 0.1, 7), split(labels, 0.1, 8)
    assert len(first.validation) == 6000
    assert np.array_equal(first.validation, again.validation)
    assert not np.array_equal(first.validation, other.validation)


def test_held_out_images_are_spread_over_the_whole_set() -> None:
    labels = evenly(60000)
    validation = split(labels, 0.1, 0).validation
    tenths = np.histogram(validation, bins=10, range=(0, 60000))[0]
    assert tenths.min() > 500 and tenths.max() < 700
    assert np.bincount(labels[validation]).tolist() == [600] * 10
    # where classes lie in blocks, too
    blocks = np.repeat(np.arange(10, dtype=np.int32), 6000)
    validation = split(blocks, 0.1, 0).validation
    assert np.bincount(blocks[validation]).tolist() == [600] * 10
    assert np.histogram(validation, bins=100, range=(0, 60000))[0].min() > 30


def test_share_zero_keeps_every_image_for_training() -> None:
    train, validation = split(evenly(5), 0, 3)
    assert train.tolist() == [0, 1, 2, 3, 4]
    assert validation.shape == (0,) and validation.dtype == np.int64


@pytest.mark.parametrize(
    ("count", "held_out", "message"),
    [
        (10, -0.1, "must be at least 0"),
        (10, 1.0, "less than 1"),
        (10, float("nan"), "must be at least 0"),
        (10, True, "the validation share must be at least 0 and less than 1, not true"),
        (10, 0.01, "of 10 images is none at all"),
        (10, 0.99, "of 10 images leaves none for training"),
        (10, 10, "10 of 10 training images cannot be held out for validation: at least one must be, and one left for"),
        (10, -1, "-1 of 10 training images cannot be held out"),
        (10, 11, "11 of 10 training images cannot be held out"),
        (0, 0.5, "there are no images to divide"),
        (0, 1, "1 of 0 training images"),
    ],
)
def test_refuses_what_leaves_nothing(count: int, held_out: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(evenly(count, 1), held_out, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="seed must be 0 or more, not -1"):
        split(evenly(10), 0.5, -1)


# A file of indices


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


RIGHT = {
    "plain": b"7\n0\n3\n",
    "without an end": b"7\n0\n3",
    "blank lines, blanks and Windows's ends": b"\r\n 7\r\n\t0 \r\n\r\n3\r\n",
    "zeros before": b"007\n00\n3\n",
    "npy": npy(np.array([7, 0, 3])),
    "npy of bytes": npy(np.array([7, 0, 3], np.uint8)),
    "npy of another order of bytes": npy(np.array([7, 0, 3], ">u4")),
}


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_file_names_the_images(kind: str, as_text: bool, tmp_path: Path) -> None:
    path = tmp_path / "held out"
    path.write_bytes(RIGHT[kind])
    train, validation = split(evenly(9), str(path) if as_text else path, 0)
    assert validation.tolist() == [0, 3, 7] and train.tolist() == [1, 2, 4, 5, 6, 8]
    assert train.dtype == validation.dtype == np.int64


HEADER = b"\x93NUMPY\x01\x00v\x00"
WRONG = {
    b"": "names no image to hold out for validation: it must have one index a line",
    b"\n \n": "names no image to hold out",
    b"0\n9\n": "holds the index 9, and the training images are 0 to 8",
    b"999999999999999999\n": "holds the index 999999999999999999, and the",
    b"0\n-1\n": "line 2, must be the index of a training image, from 0, not '-1'",
    b"0\n\n1.0\n": "line 3, must be the index of a training image, from 0, not '1.0'",
    b"0 1\n": "line 1, must be the index of a training image, from 0, not '0 1'",
    b"1e1\n": "line 1, must be",
    b"9" * 5000 + b"\n": "line 1, must be the index of a training image, from 0, not '999",
    b"\xff\xfe0\n": "line 1, must be",
    b"a\x1b[2J\n": r"not 'a\\x1b\[2J'",
    b"3\n0\n3\n": "holds the index 3 more than once",
    b"\n".join(b"%d" % k for k in range(9)): "holds out all 9 training images: it must leave some to train on",
    b"0\n" * 40_000: "cannot be read: they have more than 65824 bytes, and 9 training images need less",
    npy(np.zeros(0, np.int64)): "names no image",
    npy(np.array([9])): "holds the index 9, and",
    npy(np.array([-1])): "holds the index -1, and",
    npy(np.array([2**64 - 1], np.uint64)): "holds the index 18446744073709551615, and",
    npy(np.array([1, 1])): "holds the index 1 more than once",
    npy(np.array([1.0])): "must hold integers of one dimension, not 'float64' of 1",
    npy(np.array([True])): "must hold integers of one dimension, not 'bool' of 1",
    npy(np.array([[1]])): "must hold integers of one dimension, not 'int64' of 2",
    npy(np.array(1)): "must hold integers of one dimension, not 'int64' of 0",
    npy(np.array(["1"])): "must hold integers of one dimension",
    npy(np.array([1, 2]))[:-1]: "is not a whole .npy file: it should have 16 bytes of numbers",
    npy(np.array([1, 2])) + b"x": "is not a whole .npy file: it should have 16",
    HEADER + b"{'descr': '<i8', 'fortran_order': False, 'shape': (1152921504606846976,)}".ljust(117) + b"\n": (
        "is not a whole .npy file: it should have 9223372036854775808 bytes"
    ),
    HEADER + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}".ljust(117) + b"\n": "must hold integers",
    HEADER + b"(" * 117 + b"\n": "is not a whole .npy file",
    HEADER[:7]: "is not a whole .npy file",
    b"\x93NUMPY\x09\x00": "is not a whole .npy file",
}


@pytest.mark.parametrize("content", WRONG, ids=lambda content: repr(content[:30]))
def test_a_file_that_is_none_is_told_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "held out.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=WRONG[content]) as caught:
        split(evenly(9), path, 0)
    told = str(caught.value)
    assert str(path) in told and "\n" not in told and len(told) < 300 + len(str(path))


def test_what_is_no_file(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "nosuch", "no such file"), (tmp_path, "it is a directory, not a file")):
        with pytest.raises(UserError, match=f"the validation indices '{path}' cannot be read: {said}"):
            split(evenly(9), path, 0)


# A subset


@given(labels=SETS.filter(lambda labels: len(labels) > 1), data=st.data(), seed=st.integers(0, 2**32))
def test_a_subset_is_drawn_by_class_and_divided_as_a_whole_set_is(
    labels: np.ndarray, data: st.DataObject, seed: int
) -> None:
    count = data.draw(st.integers(1, len(labels) - 1))
    used = split(labels, 0, seed, count).training
    assert len(used) == count and (np.diff(used) > 0).all()
    quotas = np.bincount(labels) * count / len(labels)
    # the rule is that of what is held out; it is drawn apart
    assert np.array_equal(np.bincount(labels[used]), np.bincount(labels[split(labels, count, seed).validation]))
    if (quotas >= 1)[quotas > 0].all() and (np.bincount(labels) - quotas >= 1)[quotas > 0].all():
        assert (np.abs(np.bincount(labels[used]) - quotas) < 1).all()
    if count > 1:
        held_out = data.draw(st.integers(1, count - 1))
        train, validation = split(labels, held_out, seed, count)
        assert np.array_equal(np.sort(np.concatenate([train, validation])), used)
        assert np.array_equal(validation, used[split(labels[used], held_out, seed).validation])


def test_a_subset_by_share_count_and_file(tmp_path: Path) -> None:
    labels, file = evenly(1000), tmp_path / "few.txt"
    train, validation = split(labels, 0.1, 4, 0.25)
    assert (len(train), len(validation)) == (225, 25)
    assert np.bincount(labels[np.concatenate([train, validation])]).tolist() == [25] * 10
    file.write_text("".join(f"{index}\n" for index in np.concatenate([validation, train])))
    for subset in (250, file, str(file)):
        found = split(labels, 0.1, 4, subset)
        assert np.array_equal(found.training, train) and np.array_equal(found.validation, validation)
    assert not np.array_equal(split(labels, 0, 4, 250).training, split(labels, 0, 5, 250).training)
    assert not np.array_equal(split(labels, 0, 4, 250).training, split(labels, 250, 4).validation)


def test_what_a_file_holds_out_is_part_of_the_subset(tmp_path: Path) -> None:
    used, held_out = tmp_path / "used.txt", tmp_path / "held out.txt"
    used.write_text("1\n3\n5\n7\n")
    held_out.write_text("5\n1\n")
    found = split(evenly(9), held_out, 0, used)
    assert (found.training.tolist(), found.validation.tolist()) == ([3, 7], [1, 5])
    held_out.write_text("5\n2\n")
    with pytest.raises(UserError) as caught:
        split(evenly(9), held_out, 0, used)
    assert str(caught.value) == f"'{held_out}' holds out image 2 for validation, which data.subset leaves out"


@pytest.mark.parametrize(
    ("subset", "said"),
    [
        (0, "a subset of no image leaves none to train on: give a share above 0, or a number from 1"),
        (0.0, "a subset of no image leaves none to train on"),
        (1.0, "the subset share must be at least 0 and less than 1, not 1.0"),
        (True, "the subset share must be at least 0 and less than 1, not true"),
        (0.001, "a subset share of 0.001 of 50 images is none at all: it must be at least 0.02, which is one image"),
        (0.999, "a subset share of 0.999 of 50 images leaves none out: lower it; without data.subset all are used"),
        (50, "50 of 50 training images cannot be a subset: at least one must be used, and one left out; without data"),
        (-1, "-1 of 50 training images cannot be a subset"),
    ],
)
def test_a_subset_that_is_none(subset: float, said: str) -> None:
    with pytest.raises(UserError) as caught:
        split(evenly(50), 0, 0, subset)
    assert str(caught.value).startswith(said)


def test_a_file_that_is_no_subset(tmp_path: Path) -> None:
    path = tmp_path / "used.txt"
    for content, said in (
        ("", f"'{path}' names no image to use: it must have one index a line"),
        ("0\n1\n2\n", f"'{path}' names all 3 training images: without data.subset all are used"),
        ("3\n", f"'{path}' holds the index 3, and the training images are 0 to 2"),
    ):
        path.write_text(content)
        with pytest.raises(UserError) as caught:
            split(evenly(3), 0, 0, path)
        assert str(caught.value) == said
    with pytest.raises(UserError, match=r"the subset indices '.*' cannot be read: no such file"):
        split(evenly(3), 0, 0, tmp_path / "nosuch")


# What tells data and split apart


def test_a_fingerprint_is_of_the_labels_and_of_what_is_held_out() -> None:
    labels, test = labelled(evenly(50)), labelled(evenly(20))
    held_out = split(labels.labels, 0.2, 0).validation
    found = fingerprint(labels, test, held_out)
    assert found == fingerprint(labelled(evenly(50)), test, held_out[::-1])
    assert (found["training_images"], found["test_images"]) == (50, 20)
    # as whoever wants to compare with another program computes it
    assert fingerprint(labels, test, np.array([258, 3]))["held_out"] == (
        "10d97238d84280a9a22a1783fa0192167634259fd1cdf57c045e4444b09a0276"
    )
    others = [
        fingerprint(labels, test, split(labels.labels, 0.2, 1).validation),
        fingerprint(labels, test, held_out[1:]),
        fingerprint(labelled(evenly(50)[::-1]), test, held_out),
        fingerprint(labels, labelled(evenly(20)[::-1]), held_out),
        fingerprint(labelled(evenly(50)[:49]), labelled(np.append(evenly(50)[49], evenly(20))), held_out),
        # two images of one class have changed places
        fingerprint(labels.take(np.array([10, *range(1, 10), 0, *range(11, 50)])), test, held_out),
        fingerprint(labels, test.take(np.array([10, *range(1, 10), 0, *range(11, 20)])), held_out),
    ]
    assert all(found != other for other in others)
    # a part of the images
    some, fewer = (fingerprint(labels, test, held_out, used) for used in (np.arange(40), np.arange(39)))
    assert some["subset"] != fewer["subset"] and {**some, "subset": ""} == {**found, "subset": ""}


def test_no_two_draws_share_their_numbers() -> None:
    """Also where positions end in zeros, which entropy given as a list would ignore."""
    positions: list[tuple[Any, ...]] = [(Stream.SPLIT,), (Stream.ORDER, 0), (Stream.ORDER, 1), (Stream.AUGMENTATION, 0)]
    positions += [(Stream.SUBSET,)]
    positions += [(Stream.AUGMENTATION, 0, 0), (Stream.AUGMENTATION, 0, 1), (Stream.AUGMENTATION, 1, 0)]
    drawn = {tuple(generator(seed, *position).random(4)) for seed in (0, 1, 2**32) for position in positions}
    assert len(drawn) == 3 * len(positions)
