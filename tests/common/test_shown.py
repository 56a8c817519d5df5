"""What stands in messages for values and names."""

import pytest

from ttfs_cupy.common.shown import harmless, listed, shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, ""),
        (1, "conv1"),
        (8, "conv1, conv2, conv3, conv4, conv5, conv6, conv7, conv8"),
        (9, "conv1, conv2, conv3, conv4, conv5, conv6, conv7, conv8 and 1 more"),
        (1000, "conv1, conv2, conv3, conv4, conv5, conv6, conv7, conv8 and 992 more"),
    ],
)
def test_names(count: int, shown: str) -> None:
    assert listed(f"conv{number}" for number in range(1, count + 1)) == shown


def test_words_are_those_of_yaml() -> None:
    assert [shown(value) for value in (None, True, False, "None")] == ["null", "true", "false", "'None'"]
    assert shown([None, 0.1, [True, {"conv1": None, "conv2": False}]]) == (
        "[null, 0.1, [true, {'conv1': null, 'conv2': false}]]"
    )


def test_nothing_ends_a_comment_or_a_docstring() -> None:
    assert harmless('runs/a-1, b@2.pt */ """ \\ \n é') == "runs/a-1, b@2.pt ?/ ??? ? ? é"
    assert harmless("é", is_ascii=True) == "?"
