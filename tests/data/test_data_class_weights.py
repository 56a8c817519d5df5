"""What an image counts by its class: scikit-learn's rule, and lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import class_weights


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_balanced_weights_are_scikit_learns_and_have_the_mean_1(drawn: list[int]) -> None:
    labels = np.array(drawn, np.int32)
    found = class_weights("balanced", labels, 7)
    assert found is not None and len(found) == 7
    present = np.unique(labels)
    expected = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(np.array(found)[present], expected, rtol=1e-12)
    assert np.array(found)[labels].mean() == pytest.approx(1, rel=1e-12)
    # of a class without an image: nothing asks for it, and the loss takes it
    assert all(found[k] == 1 for k in range(7) if k not in present)


def test_a_list_is_taken_as_it_is() -> None:
    labels = np.array([0, 0, 1], np.int32)
    assert class_weights((2.0, 5.0), labels, 2) == (2.0, 5.0)
    assert class_weights(None, labels, 2) is None


def test_a_list_of_another_length() -> None:
    with pytest.raises(UserError, match="class_weights has 3 weights, and the data 2 classes: give one for each"):
        class_weights((1.0, 1.0, 1.0), np.array([0, 1], np.int32), 2)
