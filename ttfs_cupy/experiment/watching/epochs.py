"""Warnings after an epoch, from the lines of metrics.jsonl alone: a resumed run neither repeats nor forgets one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ttfs_cupy.engine.diagnosis import silent_layers
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.watching import advice
from ttfs_cupy.experiment.watching.layers import layer_warnings, troubles
from ttfs_cupy.experiment.watching.losses import RISES, rises, stays_at_chance
from ttfs_cupy.neuron.silent_classes import LATEST

Line = Mapping[str, Any]

# No number of a run's is larger; JSON's may be NaN, infinite, or of any number of digits.
MOST = 1e300


def new_warnings(lines: Sequence[Line], config: Config, chance: float) -> list[str]:
    """What is true of the last epoch, and was not told of after an earlier one.

    lines: of metrics.jsonl so far, the last one the new epoch's. chance: the loss that is none (losses.chance_loss).
    What a line does not have, or what is no number there, is not judged.
    """
    epochs = [line for line in lines if "epoch" in line]
    if not epochs:
        return []
    *earlier, last = epochs
    told = {trouble for line in earlier for trouble in troubles(*_of_layers(line))}
    warnings = layer_warnings(*_of_layers(last), "validation", config, told)
    if _number(last, "train_loss") is not None:
        losses, starts = _losses(epochs, config)
        # behind a silent layer nothing is learnt: that was told already
        awake = [not silent_layers(_of_layers(line)[0]) for line in epochs if _number(line, "train_loss") is not None]
        # an excluded class that is silent costs many times as much as chance does: the mean says how many are
        is_comparable = config.network.silent == LATEST
        if is_comparable and _is_new(
            lambda count: awake[count - 1] and stays_at_chance(losses[:count], chance), len(losses)
        ):
            warnings.append(_chance(losses[-1], chance, config))
        if _is_new(lambda count: rises(losses[starts[count - 1] : count], chance), len(losses)):
            warnings.append(_rise(losses[starts[-1] :], config))
    if _number(last, "skipped_steps"):
        warnings.append(_skipped(last, config))
    return warnings


def _is_new(holds: Callable[[int], bool], count: int) -> bool:
    """Whether it holds after so many epochs, for the first time."""
    return holds(count) and not any(holds(earlier) for earlier in range(1, count))


def _losses(epochs: Sequence[Line], config: Config) -> tuple[list[float], list[int]]:
    """The epochs' training losses; and for each the place of the first one that it can be compared with: while
    psp_slope moves, the task changes, and the loss may rise."""
    moves = isinstance(config.network.psp_slope, PspSlopeSchedule)
    losses: list[float] = []
    starts: list[int] = []
    slope: float | None = None
    start: int | None = None
    for line in epochs:
        # a line has the slope as its epoch ended, which is where the next one began
        before, slope = slope, _number(line, "psp_slope")
        loss = _number(line, "train_loss")
        if moves and slope != before:
            start = None
        elif start is None:
            start = len(losses)
        if loss is not None:
            losses.append(loss)
            starts.append(len(losses) if start is None else start)
    return losses, starts


def _chance(loss: float, chance: float, config: Config) -> str:
    return (
        f"warning: the training loss is no better than chance for the second epoch ({loss:.4f}; {chance:.4f} is had "
        f"without a look at the images): nothing is learnt; {advice.joined(advice.for_chance(config))}"
    )


def _rise(losses: Sequence[float], config: Config) -> str:
    best = min(losses)
    # behind the last one that was as low
    after = losses[len(losses) - losses[::-1].index(best) :]
    last = ", ".join(f"{loss:.4f}" for loss in after[-RISES:])
    return f"warning: the training loss rises, from {best:.4f} to {last}; {advice.joined(advice.for_steps(config))}"


def _skipped(line: Line, config: Config) -> str:
    count = line["skipped_steps"]
    subject = f"{count} steps of epoch {line['epoch']} were skipped, their gradients"
    if count == 1:
        subject = f"1 step of epoch {line['epoch']} was skipped, its gradient"
    return f"warning: {subject} not being finite; {advice.joined(advice.for_steps(config))}"


def _of_layers(line: Line) -> tuple[dict[str, float], dict[str, float]]:
    """Rates and saturations of the weights that are trained on; with an average they stand beside the better ones'."""
    kept = ("firing_rates", "saturations")
    rates, saturations = (_numbers(line.get(f"current_{key}", line.get(key))) for key in kept)
    return rates, saturations


def _number(line: Line, key: str) -> float | None:
    value = line.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < MOST:
        return None
    return value


def _numbers(values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    return {name: value for name in values if (value := _number(values, name)) is not None}
