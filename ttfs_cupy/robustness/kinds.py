"""The kinds of disturbance, by name: their levels, and what each level is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.data.corruption import Corruption
from ttfs_cupy.engine.steps.noise import Noise

# Of a kind: how many levels may be asked for
MOST_LEVELS = 100


@dataclass(frozen=True)
class Disturbance:
    """A kind at a level, with a seed."""

    noise: Noise
    corruptions: tuple[Corruption, ...] = ()

    @property
    def is_drawn(self) -> bool:
        """Whether another seed is another disturbance."""
        return self.noise.is_drawn or any(one.is_drawn for one in self.corruptions)


@dataclass(frozen=True)
class Kind:
    """levels: those that are measured by default, the mildest first. axis: what a figure calls them. at: the
    disturbance of a level, by a seed; raises UserError for a level that is none. is_clean_at_0: whether level 0 is no
    disturbance; of bits it is no level."""

    name: str
    levels: tuple[float, ...]
    axis: str
    at: Callable[[float, int], Disturbance]
    is_clean_at_0: bool = True


def _noise(key: str) -> Callable[[float, int], Disturbance]:
    return lambda level, seed: Disturbance(Noise(**{key: _whole(level)}, seed=seed))


def _corruption(name: str) -> Callable[[float, int], Disturbance]:
    return lambda level, seed: Disturbance(Noise(seed=seed), (Corruption(name, level),))


def _whole(level: float) -> Any:
    """3.0 as 3; what is not whole is left for others to refuse."""
    return int(level) if level == int(level) else level


_BITS = (8, 6, 5, 4, 3, 2)
_KINDS = (
    Kind("jitter", (0.01, 0.02, 0.05, 0.1, 0.2), "sigma of spike times, share of the window", _noise("jitter")),
    Kind("drop-spikes", (0.01, 0.05, 0.1, 0.2, 0.3, 0.5), "share of spikes that are lost", _noise("drop_spikes")),
    Kind("time-bits", _BITS, "bits of a spike time", _noise("time_bits"), is_clean_at_0=False),
    Kind("weight-bits", _BITS, "bits of a weight", _noise("weight_bits"), is_clean_at_0=False),
    Kind("gaussian", (0.05, 0.1, 0.2, 0.3, 0.5), "sigma of noise on pixels", _corruption("gaussian")),
    Kind("salt", (0.02, 0.05, 0.1, 0.2, 0.3), "share of pixels black or white", _corruption("salt")),
    Kind("blur", (0.5, 1, 1.5, 2, 3), "sigma of the blur, pixels", _corruption("blur")),
    Kind("contrast", (0.2, 0.4, 0.6, 0.8, 0.9), "share of contrast that is lost", _corruption("contrast")),
)
KINDS = {kind.name: kind for kind in _KINDS}

# By kind, the levels to measure.
Levels = Mapping[str, Sequence[float]]


def chosen(only: str | None, levels: Iterable[str]) -> Levels:
    """What `--only NAME,NAME` and each `--levels NAME=LEVEL,LEVEL` ask for, in the order of KINDS.

    Raises UserError for names and levels that are none, or come twice.
    """
    names = list(KINDS) if only is None else _names(only)
    found = {name: KINDS[name].levels for name in KINDS if name in names}
    given: set[str] = set()
    for text in levels:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise UserError(f"--levels must read NAME=LEVEL,LEVEL, such as jitter=0.01,0.05, not {shown(text)}")
        _check_name("--levels", name)
        if name not in found:
            raise UserError(f"--levels {name}: --only leaves {name} out; name it there, too")
        if name in given:
            raise UserError(f"--levels {name} is given twice: give all of its levels at once")
        given.add(name)
        found[name] = _levels(KINDS[name], values)
    return found


def _names(only: str) -> list[str]:
    names = only.split(",")
    for name in names:
        _check_name("--only", name)
    if len(set(names)) < len(names):
        raise UserError(f"--only names a disturbance twice: {shown(only)}")
    return names


def _check_name(option: str, name: str) -> None:
    if name not in KINDS:
        raise UserError(f"{option}: there is no disturbance {shown(name)}, but {', '.join(KINDS)}")


def _levels(kind: Kind, values: str) -> tuple[float, ...]:
    found = []
    for text in values.split(","):
        try:
            level = _whole(float(text))
        except (ValueError, OverflowError):
            raise UserError(f"--levels {kind.name}: a level must be a number, not {shown(text)}") from None
        try:
            kind.at(level, 0)
        except UserError as error:
            raise UserError(f"--levels {kind.name}: {error}") from None
        if level in found:
            raise UserError(f"--levels {kind.name}: the level {shown(text)} is given twice")
        found.append(level)
    if len(found) > MOST_LEVELS:
        raise UserError(f"--levels {kind.name}: at most {MOST_LEVELS} levels, not {len(found)}")
    return tuple(found)
