"""data.augment as a list of operations: from a file, from --set, and through dump_config."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.configs import MINIMAL
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data.augmentation import RandomCrop, RandomHorizontalFlip, augmentation
from ttfs_cupy.experiment.config import Config, dump_config, load_config

LIST = """data:
  dataset: digits
  augment:
    - RandomCrop: {padding: 4, fill: 128}
    - RandomHorizontalFlip
    - AutoAugment: cifar10
    - Cutout: 16
training: {epochs: 1, batch_size: 8}
"""
PLAIN = [
    {"RandomCrop": {"padding": 4, "fill": 128}},
    "RandomHorizontalFlip",
    {"AutoAugment": "cifar10"},
    {"Cutout": 16},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(LIST)
    return path


def test_a_list_from_a_file_is_dumped_as_it_was_given(file: Path) -> None:
    config = load_config(file)
    assert config.data.augment == PLAIN
    assert (
        "\n  augment: [{RandomCrop: {padding: 4, fill: 128}}, RandomHorizontalFlip, {AutoAugment: cifar10}, "
        "{Cutout: 16}]\n" in dump_config(config)
    )


def test_a_list_by_an_override(file: Path) -> None:
    given_list = "[{RandomCrop: {padding: 4}}, RandomHorizontalFlip]"
    config = load_config(file, [f"data.augment={given_list}"])
    assert config.data.augment == [{"RandomCrop": {"padding": 4}}, "RandomHorizontalFlip"]
    assert str(augmentation(config.data.augment)) == given_list
    assert load_config(file, ["data.augment=shift"]).data.augment == "shift"
    assert load_config(file, ["data.augment=[]"]).data.augment == []


def test_a_mistake_is_told_with_its_file_or_override(file: Path) -> None:
    wrong = file.with_name("wrong.yaml")
    wrong.write_text(LIST.replace("padding: 4", "paddin: 4").replace("batch_size: 8", "batch_size: x"))
    with pytest.raises(UserError) as caught:
        load_config(wrong)
    about = "data.augment operation 1, RandomCrop: there is no parameter 'paddin': did you mean padding?"
    assert str(caught.value) == f"{wrong}: {about} (and 1 more mistake)"
    override = "data.augment=[Cutot]"
    with pytest.raises(UserError) as caught:
        load_config(file, [override])
    about = "data.augment operation 1: there is no operation 'Cutot': did you mean Cutout?"
    assert str(caught.value) == f"--set {override}: {about}"


def test_numpys_numbers_and_tuples_count_as_pythons(file: Path) -> None:
    data = {"dataset": "digits", "augment": ({"RandomCrop": {"padding": (np.int64(4), np.uint8(2))}},)}
    config = Config.model_validate({"data": data, "training": {"epochs": 1, "batch_size": 8}})
    assert config.data.augment == [{"RandomCrop": {"padding": [4, 2]}}]
    file.write_text(dump_config(config))
    assert load_config(file) == config


def test_operations_of_python_are_dumped_as_yaml(file: Path) -> None:
    data = {"dataset": "digits", "augment": [RandomHorizontalFlip(), {"Cutout": 3}, RandomCrop(padding=2)]}
    config = Config.model_validate({"data": data, "training": {"epochs": 1, "batch_size": 8}})
    assert config.data.augment == ["RandomHorizontalFlip", {"Cutout": {"size": 3}}, {"RandomCrop": {"padding": 2}}]
    file.write_text(dump_config(config))
    assert load_config(file) == config


sides = st.integers(0, 20)
shares = st.floats(0, 1)
operations = st.one_of(
    st.sampled_from(["RandomHorizontalFlip", "AutoAugment", "TrivialAugment", "Cutout"]),
    st.builds(lambda fill: {"RandomCrop": {"padding": 3, "fill": fill}}, st.integers(0, 255)),
    st.builds(lambda padding: {"RandomCrop": {"padding": padding}}, sides | st.lists(sides, min_size=2, max_size=2)),
    st.builds(lambda share: {"RandomVerticalFlip": share}, shares),
    st.builds(lambda two: {"RandomErasing": {"scale": sorted(two)}}, st.tuples(shares, shares)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(operations, max_size=5))
def test_any_list_loads_back_to_an_equal_config(tmp_path_factory: pytest.TempPathFactory, augment: list[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "augment.yaml"
    path.write_text(MINIMAL)
    config = load_config(path)
    content = config.model_dump(by_alias=True)
    content["data"]["augment"] = augment
    original = Config.model_validate(content)
    path.write_text(dump_config(original))
    assert load_config(path) == original
    assert augmentation(load_config(path).data.augment) == augmentation(augment)
