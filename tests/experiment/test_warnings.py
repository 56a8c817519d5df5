"""Warnings after an epoch: each once, from the lines of metrics.jsonl alone, and no cry of wolf."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.watching.epochs import new_warnings
from ttfs_cupy.experiment.watching.layers import layer_warnings
from ttfs_cupy.experiment.watching.losses import chance_loss, rises, stays_at_chance

CHANCE = math.log(10)
PLAIN = ["network.normalization=none", "network.psp_slope=1"]
SLOPE, STANDARDIZE = "begin with network.psp_slope 0", "set network.normalization weight"
WEIGHTS = "network.weight_mean or network.weight_std"


def config(*changes: str) -> Config:
    return load_config("quickstart", [*PLAIN, *changes])


def line(epoch: int = 1, **values: Any) -> dict[str, Any]:
    """Of an epoch in which all is well."""
    good = {"train_loss": 1.0, "firing_rates": {"conv1": 0.5}, "saturations": {"conv1": 0.1}, "psp_slope": 1.0}
    return {"epoch": epoch, **good, "skipped_steps": 0, **values}


def lines(**values: list[Any]) -> list[dict[str, Any]]:
    """A line for each of the values that these keys have, one after the other."""
    (count,) = {len(each) for each in values.values()}
    return [line(place + 1, **{key: each[place] for key, each in values.items()}) for place in range(count)]


def told(of_run: list[dict[str, Any]], of: Config | None = None) -> list[list[str]]:
    """What is told after each epoch."""
    return [new_warnings(of_run[: count + 1], of or config(), CHANCE) for count in range(len(of_run))]


def losses(*values: float | None) -> list[dict[str, Any]]:
    return lines(train_loss=list(values))


# Layers


def test_of_layers_that_fire_nothing_is_said() -> None:
    assert told([line(), line(2)]) == [[], []]


def test_a_layer_that_falls_silent_is_told_of_by_degrees_and_once() -> None:
    rates = [{"conv1": 0.5, "conv2": rate} for rate in (0.2, 0.009, 0.005, 0.0, 0.0, 0.5, 0.001)]
    after = told(lines(firing_rates=rates))
    advice = f"raise {WEIGHTS}, {SLOPE}, or lower optimizer.lr"
    passes = "and what is silent does not learn"
    assert after == [
        [],
        [
            "warning: layer conv2 (firing rate 0.009) almost never fires on the validation images: little passes "
            f"conv2, {passes}; {advice}"
        ],
        [],
        [f"warning: layer conv2 never fires on the validation images: nothing passes conv2, {passes}; {advice}"],
        *([], [], []),
    ]


def test_an_average_hides_no_silent_layer() -> None:
    """A line's rates are those of the better weights, which may be old ones for long."""
    of_current = {"current_firing_rates": [{"conv1": 0.5}, {"conv1": 0.0}], "current_saturations": [{}, {}]}
    after = told(lines(firing_rates=[{"conv1": 0.5}] * 2, saturations=[{}, {}], **of_current))
    assert after[0] == [] and after[1][0].startswith("warning: layer conv1 never fires on the validation images")


def test_a_layer_that_never_fired_is_not_told_to_fire_too_little_later() -> None:
    after = told(lines(firing_rates=[{"conv1": 0.0}, {"conv1": 0.003}], saturations=[{}, {}]))
    assert len(after[0]) == 1 and after[1] == []


def test_several_layers_are_one_warning() -> None:
    (warning,) = layer_warnings({"conv1": 0.0099, "conv2": 0.01, "conv3": 1e-7}, {}, "test", config())
    assert warning.startswith(
        "warning: layers conv1 (firing rate 0.0099), conv3 (1e-07) almost never fire on the test images: little passes "
        "conv1, "
    )


def test_a_layer_that_fires_as_its_window_opens() -> None:
    saturations = [{"conv1": 0.1, "conv2": at_once} for at_once in (0.396, 0.397, 0.4)]
    after = told(lines(firing_rates=[{"conv1": 0.5, "conv2": 0.4}] * 3, saturations=saturations))
    assert after == [
        [],
        [
            "warning: nearly all spikes of layer conv2 (99.2 %) on the validation images come as the window opens: "
            "these pass no gradient on, so it hardly learns, nor does what lies below; "
            f"lower {WEIGHTS}, {STANDARDIZE}, or lower optimizer.lr"
        ],
        [],
    ]


def test_a_silent_layer_is_not_saturated() -> None:
    (warning,) = layer_warnings({"conv1": 0.0}, {"conv1": 0.0}, "test", config())
    assert "never fires" in warning


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        (["network.normalization=weight"], "lower optimizer.lr"),
        (["network.initial_weights=w.safetensors"], f"{STANDARDIZE}, or lower optimizer.lr"),
        # which are refused beside standardised weights
        (["network.weight_mean=0.1"], f"lower {WEIGHTS}, or lower optimizer.lr"),
        (["optimizer.fixed_sign=true"], f"lower {WEIGHTS}, or lower optimizer.lr"),
        (["optimizer.weight_clip=[-1, 1]"], f"lower {WEIGHTS}, or lower optimizer.lr"),
    ],
)
def test_of_a_saturated_layer_nothing_is_advised_that_is_so_or_would_be_refused(
    changes: list[str], advice: str
) -> None:
    (warning,) = layer_warnings({"conv1": 0.5}, {"conv1": 0.5}, "test", config(*changes))
    assert warning.endswith(f"nor does what lies below; {advice}")


@pytest.mark.parametrize("changes", [[], ["optimizer.fixed_sign=true"], ["network.weight_mean=0.1"]])
def test_what_is_advised_is_accepted(changes: list[str]) -> None:
    (warning,) = layer_warnings({"conv1": 0.5}, {"conv1": 0.5}, "test", config(*changes))
    if STANDARDIZE in warning:
        assert config(*changes, "network.normalization=weight").network.normalization == "weight"
    else:
        with pytest.raises(Exception, match="normalization weight"):
            config(*changes, "network.normalization=weight")


# Chance


def test_a_loss_at_chance_is_told_of_in_the_second_epoch_and_once() -> None:
    after = told(losses(2.31, 2.30, 2.3026, 2.3026, 1.0, 2.3, 2.31))
    assert after[1] == [
        "warning: the training loss is no better than chance for the second epoch (2.3000; 2.3026 is had without a "
        f"look at the images): nothing is learnt; {STANDARDIZE}, {SLOPE}, or try another optimizer.lr"
    ]
    assert after[:1] + after[2:5] == [[]] * 4 and all("than chance" not in text for each in after[5:] for text in each)


def test_a_loss_a_little_below_chance_is_not_at_it() -> None:
    assert told(losses(2.4, 2.27, 2.29, 2.27)) == [[]] * 4
    assert not stays_at_chance([2.4], CHANCE)


def test_where_silent_classes_are_excluded_the_loss_is_not_held_beside_chance() -> None:
    """One image in five whose class is silent, and all others right, would be worse than chance."""
    excluded = config("network.readout=spike_times", "network.silent=excluded")
    assert told(losses(21.0, 20.9, 20.8), excluded) == [[]] * 3
    # but a rise is one
    assert "rises" in told(losses(20.0, 20.5, 21.0, 21.5), excluded)[-1][0]


def test_behind_a_silent_layer_nothing_is_learnt_and_that_was_told() -> None:
    after = told(lines(train_loss=[2.3] * 4, firing_rates=[{"conv1": rate} for rate in (0.0, 0.0, 0.5, 0.5)]))
    assert [len(each) for each in after] == [1, 0, 1, 0]
    assert "never fires" in after[0][0] and "than chance" in after[2][0]


def test_an_epoch_without_a_finite_loss_repeats_nothing() -> None:
    assert [len(each) for each in told(losses(2.3, 2.3, None, 2.3))] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        (["network.psp_slope=0", "network.normalization=weight"], "nothing is learnt; try another optimizer.lr"),
        (["network.clip=separate"], f"nothing is learnt; {STANDARDIZE}, or try another optimizer.lr"),
    ],
)
def test_of_chance_nothing_is_advised_that_is_so_or_would_be_refused(changes: list[str], advice: str) -> None:
    assert told(losses(2.3, 2.3), config(*changes))[1][0].endswith(advice)


def best_constant(targets: np.ndarray, weights: np.ndarray) -> float:
    """The lowest mean loss of one softmax for all images, by gradient descent on its potentials."""
    potentials = np.zeros(targets.shape[1])
    of_all = (weights[:, None] * targets).mean(axis=0)
    for _ in range(20_000):
        p = np.exp(potentials - potentials.max())
        p /= p.sum()
        potentials -= (weights.mean() * p - of_all) / weights.mean()
    return float(-(of_all * np.log(p)).sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("class_weights", [None, (0.5, 2.0, 3.0), (2.5, 0.1, 1.0)])
@pytest.mark.parametrize("sampling", ["plain", "balanced"])
def test_chance_is_what_the_best_constant_prediction_reaches(
    smoothing: float, class_weights: tuple[float, ...] | None, sampling: str
) -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), (12, 6, 2) if sampling == "plain" else (5, 5, 5))
    of_class = np.ones(3) if class_weights is None else np.array(class_weights)
    targets = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3
    wanted = best_constant(targets, of_class[labels])
    uneven = np.repeat(np.arange(3, dtype=np.int32), (12, 6, 2))
    found = chance_loss(uneven, 3, class_weights=class_weights, smoothing=smoothing, sampling=sampling)
    assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_of_even_classes_chance_is_their_logarithm(smoothing: float) -> None:
    labels = np.arange(70, dtype=np.int32) % 7
    assert chance_loss(labels, 7, smoothing=smoothing) == pytest.approx(math.log(7))
    # a class without images, which one learns first
    without = chance_loss(labels, 8, smoothing=smoothing)
    assert without == pytest.approx(math.log(7)) if smoothing == 0 else math.log(7) < without < math.log(8)


# A loss that rises


def test_three_rises_in_a_row_are_told_of_once() -> None:
    after = told(losses(0.5, 0.6, 0.65, 0.7, 0.75, 0.4, 0.5, 0.6, 0.7))
    assert after[3] == [
        "warning: the training loss rises, from 0.5000 to 0.6000, 0.6500, 0.7000; lower optimizer.lr, or lower "
        "optimizer.clip_norm"
    ]
    assert after[:3] + after[4:] == [[]] * 8
    (warning,) = told(losses(0.5, 0.6, 0.65, 0.7), config("optimizer.clip_norm=null"))[3]
    assert warning.endswith("; lower optimizer.lr, or set optimizer.clip_norm")


def test_a_loss_far_above_its_best_for_two_epochs_is_told_of() -> None:
    assert [len(each) for each in told(losses(1.5, 0.5, 0.8, 0.79, 0.9))] == [0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    "course",
    [
        (0.5, 0.6, 0.55, 0.6, 0.65, 0.6),  # up and down
        (0.5, 0.9, 0.5, 0.9, 0.4),  # one bad epoch after the other
        (1e-3, 2e-3, 3e-3, 4e-3, 9e-3, 9e-3),  # small losses move by as much as they are
        (2.0, 1.5, 1.2, 1.21, 1.22, 1.23),  # a plateau
        (0.9, None, 0.8, None),  # not finite
    ],
)
def test_no_cry_of_wolf(course: tuple[float | None, ...]) -> None:
    assert told(losses(*course)) == [[]] * len(course)


def test_while_psp_slope_moves_the_loss_may_rise() -> None:
    moving = config("network.psp_slope={from: 0, to: 1, start: 0.2, end: 0.6}")
    course = [0.5, 0.5, 0.7, 0.9, 1.1, 1.3, 1.2, 1.1, 1.0]
    slopes = [0, 0, 0.2, 0.5, 0.8, 1, 1, 1, 1]
    of_run = lines(train_loss=course, psp_slope=slopes)
    assert told(of_run, moving) == [[]] * 9
    assert any(told(of_run))
    # and afterwards it may not
    of_run += [line(place + 10, train_loss=loss) for place, loss in enumerate((1.2, 1.4, 1.6))]
    assert [len(each) for each in told(of_run, moving)] == [0] * 11 + [1]
    # nor before
    early = lines(train_loss=[0.5, 0.5, 0.6, 0.7, 0.9], psp_slope=[0] * 5)
    assert [len(each) for each in told(early, moving)] == [0] * 4 + [1]


@given(st.lists(st.floats(0, 10), max_size=8), st.floats(0.01, 5))
def test_a_loss_that_never_rises_does_not_rise(course: list[float], chance: float) -> None:
    falling = sorted(course, reverse=True)
    assert not any(rises(falling[:count], chance) for count in range(len(falling) + 1))


# Steps that were skipped


def test_skipped_steps_are_told_of_after_each_epoch_that_has_any() -> None:
    after = told(lines(skipped_steps=[0, 1, 0, 12]))
    advice = "lower optimizer.lr, or lower optimizer.clip_norm"
    assert after == [
        [],
        [f"warning: 1 step of epoch 2 was skipped, its gradient not being finite; {advice}"],
        [],
        [f"warning: 12 steps of epoch 4 were skipped, their gradients not being finite; {advice}"],
    ]


# Lines as they are on disk


def test_lines_of_earlier_versions_and_the_test_sets_are_no_trouble() -> None:
    old = {"epoch": 1, "train_loss": 1.0, "firing_rates": {"conv1": 0.5}}
    assert told([old, line(2), {"test_accuracy": 0.5, "firing_rates": {"conv1": 0.0}}]) == [[], [], []]
    assert new_warnings([], config(), CHANCE) == []


damaged = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=2)
values = damaged | st.lists(damaged, max_size=2) | st.dictionaries(st.text(max_size=2), damaged, max_size=2)
KEYS = ("train_loss", "firing_rates", "saturations", "psp_slope", "skipped_steps")


@given(st.lists(st.fixed_dictionaries({"epoch": st.integers(1, 9)}, optional=dict.fromkeys(KEYS, values)), max_size=5))
def test_damaged_lines_end_in_no_exception(of_run: list[dict[str, Any]]) -> None:
    for of in (config(), config("network.psp_slope={from: 0, to: 1, start: 0.2, end: 0.6}")):
        told(of_run, of)
