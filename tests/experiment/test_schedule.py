"""Learning rates at exact points of a run (docs/model.md, "Optimisers")."""

import math
from typing import Any

import numpy as np
import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.config.schedule import LearningRateSchedule
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.trainer import learning_rates

STEPS = 10


def schedule(name: str, **options: Any) -> LearningRateSchedule:
    return LearningRateSchedule(0.5, STEPS, 4, name, **options)


def test_exponential_falls_after_each_epoch_and_not_within() -> None:
    rates = schedule("exponential", annealing=0.9)
    assert [rates.at(step) for step in (0, 9)] == [0.5, 0.5]
    assert [rates.at(step) for step in (10, 19)] == [0.5 * 0.9] * 2
    assert rates.at(30) == pytest.approx(0.5 * 0.9**3)


def test_exponential_without_annealing_is_constant() -> None:
    assert {schedule("exponential").at(step) for step in range(40)} == {0.5}


def test_multistep_falls_at_its_milestones() -> None:
    rates = schedule("multistep", milestones=(1, 3), factor=0.1)
    expected = [0.5, 0.05, 0.05, 0.005]
    for epoch, rate in enumerate(expected):
        assert rates.at(epoch * STEPS) == pytest.approx(rate)
        assert rates.at(epoch * STEPS + 9) == pytest.approx(rate)


def test_cosine_goes_from_the_rate_to_zero_step_by_step() -> None:
    rates = schedule("cosine")
    assert rates.at(0) == 0.5
    assert rates.at(10) == pytest.approx(0.5 * (1 + math.sqrt(0.5)) / 2)
    assert rates.at(20) == pytest.approx(0.25)
    assert 0 < rates.at(39) < 0.001
    assert rates.at(40) == pytest.approx(0, abs=1e-16)
    values = [rates.at(step) for step in range(41)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 41


def torchs(lr: float, steps: int, rise: float, start: float, end: float) -> list[float]:
    """What PyTorch's OneCycleLR has for each step."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        *(lr, steps),
        pct_start=rise,
        div_factor=1 / start,
        final_div_factor=start / end,
        cycle_momentum=False,
    )
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if len(rates) < steps:
            cycle.step()
    return rates


@pytest.mark.parametrize("rise", [0.0, 0.1, 0.3, 1 / 3, 0.99, 1.0])
@pytest.mark.parametrize(("start", "end"), [(0.04, 4e-6), (0.5, 0.25), (1.0, 1.0)])
@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(10, 4), (7, 3), (391, 2), (1, 2)])
def test_onecycle_is_pytorchs(rise: float, start: float, end: float, steps_per_epoch: int, epochs: int) -> None:
    rates = LearningRateSchedule(
        0.5, steps_per_epoch, epochs, "onecycle", rise=rise, start_factor=start, end_factor=end
    )
    steps = steps_per_epoch * epochs
    np.testing.assert_allclose(
        [rates.at(step) for step in range(steps)], torchs(0.5, steps, rise, start, end), rtol=1e-12, atol=1e-15
    )


def test_onecycle_rises_to_the_rate_and_falls_to_its_end() -> None:
    rates = schedule("onecycle")
    assert rates.at(0) == pytest.approx(0.5 * 0.04)
    # three tenths of 40 steps: the twelfth
    assert rates.at(11) == pytest.approx(0.5)
    assert rates.at(39) == pytest.approx(0.5 * 4e-6)
    assert rates.at(40) == rates.at(1000) == rates.at(39)
    values = [rates.at(step) for step in range(40)]
    assert values == [*sorted(values[:12]), *sorted(values[12:], reverse=True)]


@pytest.mark.parametrize("rise", [0.0, 0.5, 1.0])
def test_onecycle_of_a_single_step(rise: float) -> None:
    rates = LearningRateSchedule(0.5, 1, 1, "onecycle", rise=rise, start_factor=0.1, end_factor=0.0)
    assert all(0 <= rates.at(step) <= 0.5 for step in range(3))


def test_onecycle_has_no_warmup() -> None:
    with pytest.raises(UserError, match=r"^warmup has no effect with onecycle"):
        schedule("onecycle", warmup=3)


@pytest.mark.parametrize("name", ["rise", "start_factor", "end_factor"])
def test_shares_of_onecycle_lie_in_0_to_1(name: str) -> None:
    for value in (-0.1, 1.1, math.nan, "x"):
        with pytest.raises(UserError, match=f"^{name} must be a number from 0 to 1"):
            schedule("onecycle", **{name: value})


@pytest.mark.parametrize("name", ["exponential", "multistep", "cosine"])
def test_warmup_rises_linearly_to_what_the_schedule_says(name: str) -> None:
    options: dict[str, Any] = {"milestones": (2,)} if name == "multistep" else {}
    plain, warm = schedule(name, **options), schedule(name, warmup=8, **options)
    for step in range(8):
        assert warm.at(step) == pytest.approx(plain.at(step) * (step + 1) / 8)
    assert [warm.at(step) for step in range(8, 40)] == [plain.at(step) for step in range(8, 40)]


def test_a_rate_is_a_function_of_the_step_alone() -> None:
    rates = schedule("cosine", warmup=3)
    forwards = [rates.at(step) for step in range(40)]
    assert [rates.at(step) for step in reversed(range(40))] == forwards[::-1]


@pytest.mark.parametrize("name", ["exponential", "multistep", "cosine"])
def test_short_numbers_of_numpy_count_as_far_as_any(name: str) -> None:
    """int8 holds no step above 127; float16 rates are rounded once, not at every step."""
    plain = LearningRateSchedule(0.5, 100, 90, name, 0.75, (3, 70), 0.25, 50)
    short = LearningRateSchedule(
        *(np.float16(0.5), np.int8(100), np.int8(90), name, np.float32(0.75)),
        *((np.int8(3), np.uint8(70)), np.float16(0.25), np.int8(50)),
    )
    steps = [0, 49, 127, 128, 1000, 8999]
    assert [short.at(np.int16(step)) for step in steps] == [plain.at(step) for step in steps]
    assert short == plain and repr(short) == repr(plain)


@pytest.mark.parametrize(
    ("milestones", "sentence"),
    [
        ((), r"milestones are missing: multistep needs epochs, such as \(15, 30\)"),
        ((3, 1), r"milestones must increase, as \(15, 30\) do, not \(3, 1\)"),
        ((2, 2), r"milestones must increase, as \(15, 30\) do, not \(2, 2\)"),
    ],
)
def test_milestones_that_a_config_refuses(milestones: tuple[int, ...], sentence: str) -> None:
    """Out of order, they gave rates of any epoch."""
    with pytest.raises(UserError, match=f"^{sentence}$"):
        schedule("multistep", milestones=milestones)
    with pytest.raises(UserError, match=r"schedule\.milestones"):
        load_config("quickstart", ["schedule.name=multistep", f"schedule.milestones={list(milestones)}"])


def test_a_config_becomes_its_schedule() -> None:
    loaded = load_config(
        "quickstart",
        ["schedule={name: multistep, milestones: [2, 5], factor: 0.4, warmup: 7}", "optimizer.lr=0.02"],
    )
    expected = LearningRateSchedule(0.02, 41, 30, "multistep", 1.0, (2, 5), 0.4, 7)
    assert learning_rates(loaded, 41) == expected
    loaded = load_config(
        "quickstart", ["schedule={name: onecycle, rise: 0.2, start_factor: 0.1, end_factor: 0}", "optimizer.lr=0.02"]
    )
    expected = LearningRateSchedule(0.02, 41, 30, "onecycle", rise=0.2, start_factor=0.1, end_factor=0.0)
    assert learning_rates(loaded, 41) == expected


@pytest.mark.parametrize(
    ("progress", "slope"), [(0, 0.2), (0.1, 0.2), (0.25, 0.2), (0.5, 0.5), (0.75, 0.8), (0.9, 0.8), (1, 0.8)]
)
def test_the_slopes_schedule(progress: float, slope: float) -> None:
    changes = PspSlopeSchedule(**{"from": 0.2, "to": 0.8, "start": 0.25, "end": 0.75})
    assert changes.at(progress) == pytest.approx(slope)
