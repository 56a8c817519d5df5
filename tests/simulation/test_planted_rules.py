"""Wrong rules planted into the closed form: the simulation, which knows none, has to find each."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Outcome, command, run_small

from ttfs_cupy import simulate
from ttfs_cupy.neuron.readout import PotentialReadout
from ttfs_cupy.neuron.spike_time import SpikingNeuron

# A, S, psp_slope and T to earliness
Rule = Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]


def closed_form(
    a: np.ndarray,
    s: np.ndarray,
    slope: float,
    t: float,
    *,
    sign: float = 1,
    at_end: float | None = None,
    gain: bool = True,
    masked: bool = True,
    clipped: bool = True,
    late: float = 0,
    late_inside: float = 0,
    at_once: bool = True,
    most: float | None = None,
) -> np.ndarray:
    """The right rule, unless told otherwise. late: by so much, to silence; late_inside: but for what it would silence,
    and what spikes at once. at_once: whether a neuron that is beyond its threshold as its window opens spikes whatever
    its growth. most: the earliest."""
    growth = 1 + sign * slope * s if gain else np.ones_like(s)
    numerator = a + sign * slope * (t if at_end is None else at_end) * s
    fires = growth > 0
    x = np.where(fires, numerator / np.where(fires, growth, 1), 0)
    x = np.maximum(x - late, 0) if masked else x
    x = np.where((a >= t) & (fires | at_once), t, np.minimum(x, t)) if clipped else x
    x = np.where((x < t) & (x > late_inside), x - late_inside, x)
    return x if most is None else np.minimum(x, most)


def planted(monkeypatch: pytest.MonkeyPatch, run: Path, rule: Rule, *options: str) -> Outcome:
    """The command, while the engine's neurons spike by that rule; gemm is the algorithm that asks them."""

    def output(self: SpikingNeuron, drive: Any, weight_sum: Any, out: Any) -> None:
        device = self.device
        a, s = (device.to_host(array).astype(np.float64) for array in (drive, weight_sum))
        assert self.potential is not None
        a = self.scale * a + self.t_win * device.to_host(self.potential)
        out[...] = device.to_device(rule(a, s, float(self.psp_slope.value), self.t_win).astype(np.float32))

    monkeypatch.setattr(SpikingNeuron, "output", output)
    return command(simulate.main, run, "--images", "40", "--set", "network.convolution=gemm", *options)


def test_the_right_rule_is_none_to_find(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    outcome = planted(monkeypatch, run, closed_form)
    assert (outcome.code, outcome.err) == (0, "")
    assert "\nthe simulation agrees with the closed form: every spike and every potential" in outcome.out


@pytest.mark.parametrize(
    "wrong",
    [
        {"sign": -1},
        # T missing in A + psp_slope T S
        {"at_end": 1},
        {"gain": False},
        # the silent ones are not
        {"masked": False},
        # nothing is earlier than the window
        {"clipped": False},
        # by a twentieth of a step more than steps explain
        {"late": 1.05 * 2e-3},
        # by less than a step, on the side on which no simulated spike is
        {"late_inside": 0.5 * 2e-3},
        # nothing is earlier than almost the second step
        {"most": 2 - 0.999 * 2e-3},
    ],
    ids=str,
)
def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch, run: Path, wrong: dict[str, Any]) -> None:
    outcome = planted(monkeypatch, run, lambda *given: closed_form(*given, **wrong))
    assert outcome.code == 1
    assert re.search(
        r"the simulation does not agree with the closed form, in \d+ neurons of conv1, [\w, ]* at dt 0.002: "
        r"in conv1, neuron \d+ of image \d+ (is silent|spikes at [\d.e-]+), by the closed form it "
        r"(is silent|spikes at [-\d.e]+); (steps explain [\d.e-]+ earlier to [\d.e-]+ later|"
        r"its margin is [\d.e-]+, and steps explain [\d.e-]+)\n",
        outcome.out + outcome.err,
    )


def test_neurons_that_spike_at_once_against_their_growth_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A >= T but D <= 0: the potential falls as fast as its threshold, which is met as the window opens or never. To a
    rule that asks for D > 0 first they are silent."""
    run = run_small(
        tmp_path / "run",
        network__psp_slope=1,
        network__initial_potential=True,
        network__weight_std=0.8,
        training__epochs=1,
    )
    against = 0

    def silent(a: np.ndarray, s: np.ndarray, slope: float, t: float) -> np.ndarray:
        nonlocal against
        against += int(((a >= t) & (1 + slope * s <= 0)).sum())
        return closed_form(a, s, slope, t, at_once=False)

    assert planted(monkeypatch, run, closed_form).code == 0
    outcome = planted(monkeypatch, run, silent)
    assert against > 10 and outcome.code == 1
    assert re.search(
        r"neuron \d+ of image \d+ spikes at 0, by the closed form it is silent; ", outcome.out + outcome.err
    )


def test_weights_of_silent_inputs_that_count_are_found(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    """S without its mask: as if every input had spiked."""

    def unmasked(a: np.ndarray, s: np.ndarray, slope: float, t: float) -> np.ndarray:
        # the most that spiked anywhere in a channel
        return closed_form(a, np.broadcast_to(s[np.abs(s).argmax(axis=0), np.arange(s.shape[1])], s.shape), slope, t)

    assert planted(monkeypatch, run, unmasked).code == 1


def test_a_wrong_readout_is_found(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    """Its potential as its window opens, not as it ends."""
    right = PotentialReadout.output

    def opening(self: PotentialReadout, drive: Any, weight_sum: Any, out: Any) -> None:
        right(self, drive, self.device.xp.zeros_like(drive), out)

    monkeypatch.setattr(PotentialReadout, "output", opening)
    outcome = command(simulate.main, run, "--images", "5", "--set", "network.convolution=gemm", "--quiet")
    assert outcome.code == 1
    assert re.fullmatch(
        r"(error: )?the simulation does not agree with the closed form, in \d+ neurons of readout at dt 0.002: in "
        r"readout, neuron \d of image 0 ends with the potential [-\d.e]+, by the closed form with [-\d.e]+, and steps "
        r"explain [\d.e-]+ less to [\d.e-]+ more\n",
        outcome.out + outcome.err,
    )


def test_convergence_says_it_too(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    outcome = planted(monkeypatch, run, lambda *given: closed_form(*given, sign=-1), "--convergence", "2e-2,1e-2")
    assert outcome.code == 1 and "does not agree" in outcome.out + outcome.err
