"""What a key of a config may be: types for pydantic, each with the words of what is right, and rules between keys."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ttfs_cupy.common.checks import LARGEST, SMALLEST
from ttfs_cupy.common.files import yaml_text
from ttfs_cupy.common.shown import short
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.data.augmentation import CHOICES, augmentation, augmentation_trouble
from ttfs_cupy.data.class_weights import BALANCED
from ttfs_cupy.data.mixing import ALPHAS
from ttfs_cupy.data.sources.datasets import DATASETS
from ttfs_cupy.data.sources.images import DEVIATIONS, MEANS
from ttfs_cupy.data.sources.raw import MOST_SIDE
from ttfs_cupy.engine.loss import CLASS_WEIGHTS
from ttfs_cupy.engine.optimizer import BELOW_ONE, EPSILONS, NORM_BOUNDS
from ttfs_cupy.experiment.config.problems import BOUND, CONFLICT
from ttfs_cupy.models.builder import MAX_SEED, WEIGHTS
from ttfs_cupy.neuron import GAIN_BOUNDS, WINDOWS

# Nobody counts further. Products of two such numbers stay below 2^63.
MAX_COUNT = 1_000_000_000
MAX_THREADS = 1024


def _bound(must: str) -> PydanticCustomError:
    """A value that is of the right kind, but too small or too large; `must` is what it must be."""
    return PydanticCustomError(BOUND, "{must}", {"must": must})


def _up_to(most: float) -> Callable[[Any], Any]:
    def check(value: float) -> float:
        if value > most:
            raise _bound(f"at most {most}")
        return value

    return check


def _between(least: float, most: float) -> Any:
    return Field(ge=least, le=most, description=f"a number from {short(least)} to {short(most)}")


def _held_by_float32(value: float) -> float:
    if value != 0 and not SMALLEST <= abs(value) <= LARGEST:
        raise _bound(f"a number of a size that float32 can hold, {short(SMALLEST)} to {short(LARGEST)}")
    return value


def _one_or_three(value: int) -> int:
    if value not in (1, 3):
        raise _bound("1 or 3, or null")
    return value


def _without_home_sign(path: str) -> str:
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        raise _bound("a path whose ~ names a user of this machine") from None


# A description says what is right, and ends the sentence that a user gets to read: "... must be {description}".
Flag = Annotated[bool, Field(strict=True, description="true or false")]
Text = Annotated[str, Field(strict=True, min_length=1)]
PathText = Annotated[Text, Field(description="a path"), AfterValidator(_without_home_sign)]
DatasetName = Annotated[Text, Field(description=f"the name of a data set ({', '.join(DATASETS)})")]
Seed = Annotated[int, Field(strict=True, ge=0, description="a whole number from 0"), AfterValidator(_up_to(MAX_SEED))]
Channels = Annotated[int, Field(strict=True, description="1 or 3"), AfterValidator(_one_or_three)]
Side = Annotated[int, Field(strict=True, ge=1, description="a whole number from 1"), AfterValidator(_up_to(MOST_SIDE))]
Size = Annotated[
    tuple[Side, Side], Field(description=f"[height, width], two whole numbers from 1 to {MOST_SIDE}, such as [32, 32]")
]
Whole = Annotated[int, Field(strict=True, ge=0, description="a whole number from 0"), AfterValidator(_up_to(MAX_COUNT))]
Count = Annotated[int, Field(strict=True, ge=1, description="a whole number from 1"), AfterValidator(_up_to(MAX_COUNT))]
Threads = Annotated[
    int, Field(strict=True, ge=1, description="a whole number from 1"), AfterValidator(_up_to(MAX_THREADS))
]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False, description="a number")]
Number = Annotated[Real, AfterValidator(_held_by_float32)]
Decay = Annotated[Number, Field(gt=0, lt=1, description="a number above 0, below 1"), AfterValidator(_up_to(BELOW_ONE))]
Positive = Annotated[Number, Field(gt=0, description="a number above 0")]
NotNegative = Annotated[Number, Field(ge=0, description="a number from 0")]
Share = Annotated[Number, Field(ge=0, le=1, description="a number from 0 to 1")]
ProperShare = Annotated[Number, Field(gt=0, lt=1, description="a number above 0, below 1")]
ShareBelowOne = Annotated[
    Number, Field(ge=0, lt=1, description="a number from 0 to below 1"), AfterValidator(_up_to(BELOW_ONE))
]
Window = Annotated[Real, _between(*WINDOWS)]
GainBound = Annotated[Real, _between(*GAIN_BOUNDS)]
Epsilon = Annotated[Real, _between(*EPSILONS)]
NormBound = Annotated[Real, _between(*NORM_BOUNDS)]
Alpha = Annotated[Real, _between(*ALPHAS)]
Factor = Annotated[Number, Field(gt=0, le=1, description="a number above 0, up to 1")]


def one_of(names: Sequence[str], default: str | None) -> Any:
    """A field that takes one of the names; they come from the code that knows what to do with them."""
    choices = f"{either(names)}{', or null' if default is None else ''}"
    return Field(default, strict=True, pattern=f"^({'|'.join(names)})$", description=choices)


def either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def conflict(key: str, problem: str) -> PydanticCustomError:
    """A mistake between keys, told at one of them."""
    return PydanticCustomError(CONFLICT, "{problem}", {"key": key, "problem": problem})


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, content: Any) -> Any:
        """NumPy's numbers count as Python's."""
        return _plain(content)


def _plain(value: Any, depth: int = 0) -> Any:
    if depth < yaml_text.MAX_DEPTH and isinstance(value, Mapping):
        return {key: _plain(one, depth + 1) for key, one in value.items()}
    if depth < yaml_text.MAX_DEPTH and isinstance(value, (list, tuple)):
        return [_plain(one, depth + 1) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def is_set(section: BaseModel, key: str) -> bool:
    """Whether a key differs from its default. That it was written out is no matter: dump_config() writes all keys."""
    return bool(getattr(section, key) != type(section).model_fields[key].default)


def refuse_idle(section: Any, title: str, owners: Mapping[str, str]) -> None:
    """Refuses a key that the chosen name would ignore: whoever set it expects an effect."""
    for key, owner in owners.items():
        if section.name != owner and is_set(section, key):
            raise conflict(
                f"{title}.{key}",
                f"has no effect with {title}.name {section.name}: leave it out, or choose {owner}",
            )


class PspSlopeSchedule(Section):
    """psp_slope over a run: `from_` until `start`, then linearly to `to`, which it reaches at `end` and keeps."""

    from_: Share = Field(alias="from")
    to: Share
    start: Share = 0.0
    end: Share = 1.0

    @model_validator(mode="after")
    def _check(self) -> "PspSlopeSchedule":
        if self.start > self.end:
            raise conflict("network.psp_slope.start", f"is {self.start}, but must not exceed end, {self.end}")
        return self

    def at(self, progress: float) -> float:
        """The slope when that share of the run, in [0, 1], is done."""
        if progress >= self.end:
            return self.to
        if progress <= self.start:
            return self.from_
        done = (progress - self.start) / (self.end - self.start)
        return (1 - done) * self.from_ + done * self.to

    def rests_after(self, epochs: int) -> int:
        """After which epoch, counted from 1, of a run of so many the slope is where it will stay."""
        return next(epoch for epoch in range(1, epochs + 1) if self.at(epoch / epochs) == self.at(1.0))


class CheckpointEvery(Section):
    """How often a checkpoint is written within an epoch: minutes of training, or steps of the optimiser."""

    minutes: Positive | None = None
    steps: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> "CheckpointEvery":
        if (self.minutes is None) == (self.steps is None):
            raise conflict("training.checkpoint_every", "must be {minutes: 10} or {steps: 500}, one of them")
        return self


class Keep(Section):
    """Which epochs' checkpoints are kept: the last so many, every n-th, or both."""

    last: Count | None = None
    every: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> "Keep":
        if self.last is None and self.every is None:
            raise conflict("training.keep", "must be {last: 3}, {every: 10}, or both")
        return self

    def keeps(self, epoch: int, newest: int) -> bool:
        """Whether the checkpoint after that epoch is kept when the newest is that one. Epochs count from 1."""
        is_recent = self.last is not None and epoch > newest - self.last
        return is_recent or (self.every is not None and epoch % self.every == 0)


def _slope_kind(value: Any) -> str:
    return "schedule" if isinstance(value, (Mapping, PspSlopeSchedule)) else "number"


PspSlope = Annotated[
    Annotated[Share, Tag("number")] | Annotated[PspSlopeSchedule, Tag("schedule")],
    Discriminator(_slope_kind),
    Field(description="a number from 0 to 1, or a schedule such as {from: 0, to: 1, start: 0.2, end: 0.75}"),
]
Model = Annotated[
    Annotated[str, Field(strict=True, min_length=1)] | Annotated[list[Any], Field(strict=True, min_length=1)],
    Field(
        description="a model's name, the path of its YAML file, layers such as '64C3 - P2 - 512F', or a list such as "
        "[32, P, 64, P]"
    ),
]


def _known_augmentation(value: Any) -> Any:
    if trouble := augmentation_trouble(value):
        raise conflict("data.augment", trouble)
    is_yaml = isinstance(value, str) or all(isinstance(one, (str, Mapping)) for one in value)
    return value if is_yaml else augmentation(value).plain()


Augment = Annotated[
    Annotated[str, Field(strict=True, min_length=1)] | Annotated[list[Any], Field(strict=True)],
    AfterValidator(_known_augmentation),
    Field(description=CHOICES),
]

_ALGORITHM = f"({'|'.join(algorithms())})(:[0-9]{{1,4}})?"
Algorithms = Annotated[
    str, Field(strict=True, pattern=f"^(auto|{_ALGORITHM}(/{_ALGORITHM}/{_ALGORITHM})?)$", description=_ALGORITHM)
]


def _convolution_kind(value: Any) -> str:
    return "layers" if isinstance(value, Mapping) else "name"


Convolution = Annotated[
    Annotated[Algorithms, Tag("name")] | Annotated[dict[str, Algorithms], Tag("layers")],
    Discriminator(_convolution_kind),
    Field(
        description=f"auto or one of {', '.join(algorithms())}, or three with slashes between them (forward, data "
        "gradient, weight gradient), or such for each layer: {conv1: direct, conv2: gemm}; tensorcore:2 is a variant"
    ),
]


def _or_several(bounds: tuple[float, float], kinds: type | tuple[type, ...], several: Any, words: str) -> Any:
    """A number for all, or several: of these kinds, and such as `several`, whose values are within the bounds, too."""
    return Annotated[
        Annotated[Real, Field(ge=bounds[0], le=bounds[1]), Tag("one")] | Annotated[several, Tag("several")],
        Discriminator(lambda value: "several" if isinstance(value, kinds) else "one"),
        Field(description=f"a number from {short(bounds[0])} to {short(bounds[1])}, or {words}"),
    ]


def _of_layers(least: float, most: float) -> Any:
    several = dict[str, Annotated[Real, Field(ge=least, le=most)]]
    return _or_several((least, most), Mapping, several, "such by layer, as in {conv1: 0.1, readout: 0.05}")


Mean, Deviation = _of_layers(-WEIGHTS[1], WEIGHTS[1]), _of_layers(*WEIGHTS)


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] >= bounds[1]:
        raise ValueError("low is not below high")
    return bounds


def _increasing(milestones: tuple[int, ...]) -> tuple[int, ...]:
    if any(later <= earlier for earlier, later in pairwise(milestones)):
        raise ValueError("not increasing")
    return milestones


# Of watch.loggers: what takes a run's numbers beside its own files (experiment/watching/).
LOGGERS = ("wandb", "mlflow")


def _distinct_loggers(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names) or not set(names) <= set(LOGGERS):
        raise ValueError("unknown, or twice")
    return names


Loggers = Annotated[
    tuple[Annotated[str, Field(strict=True)], ...],
    AfterValidator(_distinct_loggers),
    Field(description=f"a list of {' and '.join(LOGGERS)}, each once at most, such as [{LOGGERS[0]}]"),
]


def _held_out_kind(value: Any) -> str:
    if isinstance(value, str):
        return "file"
    return "count" if isinstance(value, int) and not isinstance(value, bool) else "share"


# Some of the training images
HeldOut = Annotated[
    Annotated[ProperShare, Tag("share")] | Annotated[Count, Tag("count")] | Annotated[PathText, Tag("file")],
    Discriminator(_held_out_kind),
    Field(
        description="a share above 0, below 1, a number of images, or the path of a file of their indices, one a line"
    ),
]


def _weights_kind(value: Any) -> str:
    return "name" if isinstance(value, str) else "weights"


ClassWeights = Annotated[
    Annotated[str, Field(strict=True, pattern=f"^{BALANCED}$"), Tag("name")]
    | Annotated[tuple[Annotated[Real, _between(*CLASS_WEIGHTS)], ...], Tag("weights")],
    Discriminator(_weights_kind),
    Field(
        description=f"{BALANCED}, or a list of numbers from {short(CLASS_WEIGHTS[0])} to {short(CLASS_WEIGHTS[1])}, "
        "one for each class"
    ),
]


def _by_channel(least: float, most: float) -> Any:
    several = Annotated[tuple[Annotated[Real, Field(ge=least, le=most)], ...], Field(min_length=1)]
    return _or_several((least, most), (list, tuple), several, "a list with one for each channel")


ChannelMean, ChannelDeviation = _by_channel(*MEANS), _by_channel(*DEVIATIONS)
WeightRange = Annotated[
    tuple[Number, Number],
    AfterValidator(_ordered),
    Field(description="two numbers, the lower one first, such as [-1, 1]"),
]
Milestones = Annotated[
    tuple[Count, ...],
    AfterValidator(_increasing),
    Field(description="a list of increasing epochs, such as [15, 30, 40]"),
]
