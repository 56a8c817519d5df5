"""An augmentation from what a user writes, back to it, and what is answered where it is wrong."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import yaml_text
from ttfs_cupy.data.augmentation import (
    AUGMENTATIONS,
    CHOICES,
    OPERATIONS,
    Augmentation,
    AutoAugment,
    Cutout,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomTranslation,
    RandomVerticalFlip,
    TrivialAugmentWide,
    augmentation,
    augmentation_trouble,
)

many = settings(max_examples=150, deadline=None)


def test_names_are_the_lists_that_they_stand_for() -> None:
    shift, flip = RandomTranslation(1 / 14), RandomHorizontalFlip(0.5)
    crop = RandomTranslation(0.125, fill=128)
    erase = RandomErasing(0.5, [0.02, 0.4], [0.3, 1 / 0.3], 0)
    assert {name: one.operations for name, one in AUGMENTATIONS.items()} == {
        "none": (),
        "cifar": (crop, flip, AutoAugment("cifar10", 128), Cutout(None, 0)),
        "crop_flip": (crop, flip),
        "flip": (flip,),
        "shift": (shift,),
        "shift_flip": (shift, flip),
        "shift_erase": (shift, erase),
        "shift_flip_erase": (shift, flip, erase),
    }
    for name, one in AUGMENTATIONS.items():
        assert augmentation(name) is augmentation(one) is one
        assert str(one) == one.plain() == name
        assert one == Augmentation(one.operations)


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("[]", []),
        ("[RandomHorizontalFlip]", [RandomHorizontalFlip()]),
        ("[RandomVerticalFlip: {p: 0.2}, RandomHorizontalFlip: ]", [RandomVerticalFlip(0.2), RandomHorizontalFlip()]),
        ("[{RandomCrop: {padding: 4, fill: 128}}]", [RandomCrop(padding=4, fill=128)]),
        ("[{RandomCrop: {padding: [1, 2], size: 32}}]", [RandomCrop(32, (1, 2))]),
        ("[{Cutout: 16}, {Cutout: [3, 4]}, Cutout]", [Cutout(16), Cutout((3, 4)), Cutout()]),
        ("[{AutoAugment: cifar10}, AutoAugment]", [AutoAugment(), AutoAugment()]),
        ("[{RandAugment: {num_ops: 3, magnitude: 5}}]", [RandAugment(3, 5)]),
        ("[TrivialAugment, {TrivialAugment: 10}, TrivialAugmentWide]", [*map(TrivialAugmentWide, (31, 10, 31))]),
        ("[{RandomErasing: {value: [1, 2, 3]}}]", [RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3), (1, 2, 3))]),
        ("[{RandomTranslation: [0.1, 0]}]", [RandomTranslation((0.1, 0.0))]),
    ],
)
def test_lists(text: str, operations: list) -> None:
    found = augmentation(yaml_text.parse(text))
    assert found.operations == tuple(operations)
    # an operation made in Python is the same
    assert augmentation(operations) == found
    assert augmentation_trouble(yaml_text.parse(text)) == ""


def test_the_plain_form_has_what_differs_from_the_defaults() -> None:
    given = [
        {"RandomCrop": {"padding": [4, 4], "fill": 0}},
        {"TrivialAugment": 31},
        {"RandomErasing": {"scale": [0, 1]}},
    ]
    found = augmentation(given)
    assert found.plain() == [
        {"RandomCrop": {"padding": [4, 4]}},
        "TrivialAugmentWide",
        {"RandomErasing": {"scale": [0.0, 1.0]}},
    ]
    assert str(found) == ("[{RandomCrop: {padding: [4, 4]}}, TrivialAugmentWide, {RandomErasing: {scale: [0.0, 1.0]}}]")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["RandomHorizontalFlip", "RandomVerticalFlip", {"Cutout": 3}, {"RandomCrop": {"padding": 4}}], False),
        ([{"RandomErasing": {"p": 1}}, {"RandomTranslation": 0.5}], False),
        ([{"RandomErasing": {"value": 1}}], True),
        ([{"Cutout": {"fill": [0, 0, 1]}}], True),
        ([{"Cutout": {"fill": [0, 0, 0]}}], False),
        ([{"RandomCrop": {"padding": 4, "fill": 128}}], True),
        ([{"RandomTranslation": {"fill": 1}}], True),
        (["AutoAugment"], True),
        (["RandAugment"], True),
        (["TrivialAugment"], True),
        ("cifar", True),
        ("crop_flip", True),
        ("shift_flip_erase", False),
        ("none", False),
    ],
    ids=str,
)
def test_which_need_pixels_up_to_255(given: Any, expected: bool) -> None:
    assert augmentation(given).needs_bytes is expected


KNOWN = ", ".join(OPERATIONS)
WRONG = {
    "cifra": f"must be {CHOICES}, not 'cifra': did you mean cifar?",
    "randomcrop": f"must be {CHOICES}, not 'randomcrop': did you mean RandomCrop?",
    "xyz": f"must be {CHOICES}, not 'xyz'",
    "3": f"must be {CHOICES}, not 3",
    "null": f"must be {CHOICES}, not null",
    "{Cutout: 16}": f"must be {CHOICES}, not {{'Cutout': 16}}",
    "Cutout": "must be a list where it names an operation: write [Cutout]",
    "TrivialAugment": "must be a list where it names an operation: write [TrivialAugment]",
    "[Cutout, RandomHorizontalFlp]": (
        "operation 2: there is no operation 'RandomHorizontalFlp': did you mean RandomHorizontalFlip?"
    ),
    "[ColorJitter]": f"operation 1: there is no operation 'ColorJitter': there are {KNOWN}",
    "[MixUp]": "operation 1: MixUp mixes the images of a batch: set data.mix to mixup instead",
    "[{CutMix: {alpha: 1}}]": "operation 1: CutMix mixes the images of a batch: set data.mix to cutmix instead",
    "[cifar]": "operation 1: cifar is a whole augmentation: write it in place of the list, or its operations",
    "[16]": "operation 1 must be a name or a mapping, such as {Cutout: 16}, not 16",
    "[[Cutout]]": "operation 1 must be a name or a mapping, such as {Cutout: 16}, not ['Cutout']",
    "[{}]": "operation 1 must be a mapping with one key, the operation's name, but has no key",
    "[{Cutout: 16, RandomCrop: {padding: 4}}]": (
        "operation 1 must be a mapping with one key, the operation's name, but has 2 keys (Cutout, RandomCrop)"
    ),
    "[{Cutout: {sise: 16}}]": "operation 1, Cutout: there is no parameter 'sise': did you mean size?",
    "[{Cutout: {p: 16}}]": "operation 1, Cutout: there is no parameter 'p': it has size, fill",
    "[{Cutout: 0}]": "operation 1, Cutout: size must be a whole number from 1 to 8192, not 0",
    "[{Cutout: {fill: 300}}]": "operation 1, Cutout: fill must be at most 255, not 300",
    "[{Cutout: {fill: grey}}]": (
        "operation 1, Cutout: fill must be a level from 0 to 255, or one for each channel, not 'grey'"
    ),
    "[RandomCrop]": "operation 1, RandomCrop: padding is missing: it must be a whole number of pixels, such as 4",
    # torchvision's first parameter is the size, too
    "[{RandomCrop: 32}]": (
        "operation 1, RandomCrop: padding is missing: it must be a whole number of pixels, such as 4"
    ),
    "[{RandomCrop: {padding: [1, 2, 3, 4]}}]": (
        "operation 1, RandomCrop: padding must be a whole number, or two of them, [left and right, top and bottom], "
        "not [1, 2, 3, 4]"
    ),
    "[{RandomTranslation: 2}]": "operation 1, RandomTranslation: translate must be a number from 0 to 1, not 2",
    "[{RandomTranslation: true}]": "operation 1, RandomTranslation: translate must be a number from 0 to 1, not true",
    "[{RandomHorizontalFlip: .nan}]": "operation 1, RandomHorizontalFlip: p must be a number from 0 to 1, not nan",
    "[{RandomErasing: {scale: [0.5, 0.1]}}]": (
        "operation 1, RandomErasing: scale must be two numbers, the lower one first, not [0.5, 0.1]"
    ),
    "[{RandomErasing: {ratio: [0, 1]}}]": (
        "operation 1, RandomErasing: ratio must be a number from 0.001 to 1e3, not 0"
    ),
    "[{RandomErasing: {value: random}}]": (
        "operation 1, RandomErasing: value must be a level from 0 to 255, or one for each channel, not 'random'"
    ),
    "[{AutoAugment: imagenet}]": (
        "operation 1, AutoAugment: policy must be cifar10, the one that is made here, not 'imagenet'"
    ),
    "[{RandAugment: {magnitude: 31}}]": "operation 1, RandAugment: magnitude must be at most 30, not 31",
    "[{RandAugment: 0}]": "operation 1, RandAugment: num_ops must be a whole number from 1 to 32, not 0",
    "[{TrivialAugmentWide: 1}]": (
        "operation 1, TrivialAugmentWide: num_magnitude_bins must be a whole number from 2 to 256, not 1"
    ),
    f"[{', '.join(['Cutout'] * 33)}]": "must be a list of up to 32 operations, not of 33",
}


@pytest.mark.parametrize("text", WRONG)
def test_mistakes(text: str) -> None:
    value = yaml_text.parse(text)
    assert augmentation_trouble(value) == WRONG[text]
    with pytest.raises(UserError) as caught:
        augmentation(value)
    assert str(caught.value) == f"augmentation {WRONG[text]}"


sizes = st.integers(1, 9)
probabilities = st.floats(0, 1)
fills = st.integers(0, 255) | st.lists(st.integers(0, 255), min_size=3, max_size=3)
ranges = st.tuples(probabilities, probabilities).map(sorted)
PARAMETERS: dict[str, tuple[dict, dict]] = {
    "RandomCrop": (
        {"padding": sizes | st.lists(sizes, min_size=2, max_size=2)},
        {"fill": fills, "size": st.none() | st.just([8, 10])},
    ),
    "RandomTranslation": ({}, {"translate": probabilities | st.tuples(probabilities, probabilities), "fill": fills}),
    "RandomHorizontalFlip": ({}, {"p": probabilities}),
    "RandomVerticalFlip": ({}, {"p": probabilities}),
    "Cutout": ({}, {"size": st.none() | sizes | st.lists(sizes, min_size=2, max_size=2), "fill": fills}),
    "RandomErasing": (
        {},
        {"p": probabilities, "scale": ranges, "ratio": ranges.map(lambda two: [1e-3 + x for x in two]), "value": fills},
    ),
    "AutoAugment": ({}, {"policy": st.just("cifar10"), "fill": fills}),
    "RandAugment": (
        {},
        {"num_ops": st.integers(1, 3), "magnitude": sizes, "num_magnitude_bins": st.integers(10, 31), "fill": fills},
    ),
    "TrivialAugmentWide": ({}, {"num_magnitude_bins": st.integers(2, 10), "fill": fills}),
}
operations = st.one_of(
    *(
        st.fixed_dictionaries({name: st.fixed_dictionaries(needed, optional=optional)})
        for name, (needed, optional) in PARAMETERS.items()
    ),
    st.sampled_from([name for name in PARAMETERS if name != "RandomCrop"]),
)


def test_every_operation_is_tried() -> None:
    assert set(PARAMETERS) == set(OPERATIONS)


@many
@given(st.lists(operations, max_size=4))
def test_any_list_goes_to_yaml_and_back_and_makes_a_program(given_list: list) -> None:
    found = augmentation(given_list)
    assert len(found.operations) == len(given_list)
    assert augmentation(found.plain()) == found
    assert augmentation(yaml_text.parse(str(found))) == found
    assert "\n" not in str(found)
    program = found.program((8, 10, 3))
    slots, choices = program
    assert slots.dtype == choices.dtype == np.int32
    assert slots.shape[1:] == (8,) and choices.shape[1:] == (17,)
    assert len(given_list) <= len(slots) <= 32
    assert set(slots[:, 0].tolist()) <= set(range(5))
    assert (choices[:, 0] >= 0).all() and (choices[:, 0] <= 1 << 24).all()
    for first, count, chooser in slots[slots[:, 0] == 4, 1:4].tolist():
        assert first >= 0 and count > 0 and first + count <= len(choices)
        assert slots[chooser, 0] == 4 and slots[chooser, 2] == count


words = st.sampled_from([*OPERATIONS, *AUGMENTATIONS, "padding", "fill", "p", "size", "MixUp", ""]) | st.text(
    max_size=5
)
numbers = st.integers(-3, 300) | st.floats() | st.booleans() | st.none() | st.integers(2**60, 2**80)
anything = st.recursive(
    words | numbers,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(words, below, max_size=3),
    max_leaves=12,
)


@many
@given(anything)
def test_anything_is_an_augmentation_or_refused_with_a_sentence(value: Any) -> None:
    trouble = augmentation_trouble(value)
    if trouble:
        assert trouble.startswith(("must be ", "operation ")) and "\n" not in trouble
        with pytest.raises(UserError):
            augmentation(value)
    else:
        found = augmentation(value)
        assert isinstance(found, Augmentation) and augmentation(yaml_text.parse(str(found))) == found
