"""An experiment's YAML file as typed, checked values: the keys, their defaults, and what is right for each.

The names of datasets, augmentations and models are their own rooms' business: here they are only text.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ttfs_cupy.common.checks import LARGEST, SMALLEST, check_kind
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import yaml_text
from ttfs_cupy.common.shown import one_line, short, shown
from ttfs_cupy.convolution.algorithm import PRECISIONS
from ttfs_cupy.convolution.choice import DEFAULT_PRECISION
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.data.mixing import ALPHAS, MIXES
from ttfs_cupy.engine.optimizer import BELOW_ONE, EPSILONS, NORM_BOUNDS, decay_trouble
from ttfs_cupy.engine.standardization import NORMALIZATIONS
from ttfs_cupy.experiment import config_file
from ttfs_cupy.experiment.config_problems import BOUND, CONFLICT, sentence
from ttfs_cupy.experiment.schedule import SCHEDULES
from ttfs_cupy.models.builder import MAX_SEED, READOUTS, WEIGHTS
from ttfs_cupy.neuron import CLIP_MODES, GAIN_BOUNDS, WINDOWS
from ttfs_cupy.neuron.encoding import ENCODINGS

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


def _without_home_sign(path: str) -> str:
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        raise _bound("a path whose ~ names a user of this machine") from None


# A description says what is right, and ends the sentence that a user gets to read: "... must be {description}".
Flag = Annotated[bool, Field(strict=True, description="true or false")]
Text = Annotated[str, Field(strict=True, min_length=1, description="some text")]
PathText = Annotated[Text, AfterValidator(_without_home_sign)]
Seed = Annotated[int, Field(strict=True, ge=0, description="a whole number from 0"), AfterValidator(_up_to(MAX_SEED))]
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
Mean = Annotated[Real, _between(-WEIGHTS[1], WEIGHTS[1])]
Deviation = Annotated[Real, _between(*WEIGHTS)]
Epsilon = Annotated[Real, _between(*EPSILONS)]
NormBound = Annotated[Real, _between(*NORM_BOUNDS)]
Alpha = Annotated[Real, _between(*ALPHAS)]
Factor = Annotated[Number, Field(gt=0, le=1, description="a number above 0, up to 1")]


def _one_of(names: Sequence[str], default: str | None) -> Any:
    """A field that takes one of the names; they come from the code that knows what to do with them."""
    choices = f"{_or(names)}{', or null' if default is None else ''}"
    return Field(default, strict=True, pattern=f"^({'|'.join(names)})$", description=choices)


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _conflict(key: str, problem: str) -> PydanticCustomError:
    """A mistake between keys, told at one of them."""
    return PydanticCustomError(CONFLICT, "{problem}", {"key": key, "problem": problem})


class _Section(BaseModel):
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


def _is_set(section: BaseModel, key: str) -> bool:
    """Whether a key differs from its default. That it was written out is no matter: dump_config() writes all keys."""
    return bool(getattr(section, key) != type(section).model_fields[key].default)


def _refuse_idle(section: Any, title: str, owners: Mapping[str, str]) -> None:
    """Refuses a key that the chosen name would ignore: whoever set it expects an effect."""
    for key, owner in owners.items():
        if section.name != owner and _is_set(section, key):
            raise _conflict(
                f"{title}.{key}",
                f"has no effect with {title}.name {section.name}: leave it out, or choose {owner}",
            )


class PspSlopeSchedule(_Section):
    """psp_slope over a run: `from_` until `start`, then linearly to `to`, which it reaches at `end` and keeps."""

    from_: Share = Field(alias="from")
    to: Share
    start: Share = 0.0
    end: Share = 1.0

    @model_validator(mode="after")
    def _check(self) -> "PspSlopeSchedule":
        if self.start > self.end:
            raise _conflict("network.psp_slope.start", f"is {self.start}, but must not exceed end, {self.end}")
        return self

    def at(self, progress: float) -> float:
        """The slope when that share of the run, in [0, 1], is done."""
        if progress >= self.end:
            return self.to
        if progress <= self.start:
            return self.from_
        done = (progress - self.start) / (self.end - self.start)
        return (1 - done) * self.from_ + done * self.to


def _slope_kind(value: Any) -> str:
    return "schedule" if isinstance(value, (Mapping, PspSlopeSchedule)) else "number"


PspSlope = Annotated[
    Annotated[Share, Tag("number")] | Annotated[PspSlopeSchedule, Tag("schedule")],
    Discriminator(_slope_kind),
    Field(description="a number from 0 to 1, or a schedule such as {from: 0, to: 1, start: 0.2, end: 0.75}"),
]
Model = Annotated[
    Annotated[str, Field(strict=True, min_length=1)] | Annotated[list[Any], Field(strict=True, min_length=1)],
    Field(description="a model's name, the path of its YAML file, or a list of layers such as [32, P, 64, P]"),
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


class NetworkConfig(_Section):
    """The network, its neurons and its input code (docs/model.md: `psp_slope`, `clip` and the rest)."""

    model: Model = "vgg11"
    t_win: Window = 1.0
    psp_slope: PspSlope = 1.0
    clip: str = _one_of(CLIP_MODES, "gain")
    grad_clip: GainBound = 1.0
    readout: str = _one_of(READOUTS, "potential")
    encoding: str | None = _one_of(ENCODINGS, None)
    standardize: Flag = False
    weight_mean: Mean = 0.0
    weight_std: Deviation | None = None
    normalization: str = _one_of(NORMALIZATIONS, "none")
    initial_potential: Flag = False
    initial_weights: PathText | None = None
    convolution: Convolution = "auto"
    precision: str = _one_of(PRECISIONS, DEFAULT_PRECISION)

    @model_validator(mode="after")
    def _check(self) -> "NetworkConfig":
        if self.clip == "separate" and self.psp_slope != 1:
            raise _conflict("network.clip", "separate is defined for a psp_slope of 1 alone: choose gain or none")
        if self.clip == "none" and _is_set(self, "grad_clip"):
            raise _conflict("network.grad_clip", "has no effect with clip none: leave it out, or choose gain")
        if self.standardize and self.encoding == "direct":
            raise _conflict("network.standardize", "belongs to latency encoding (direct always does it): leave it out")
        if self.normalization == "weight" and _is_set(self, "weight_mean"):
            raise _conflict("network.weight_mean", "has no effect with normalization weight: leave it out")
        for key in ("weight_mean", "weight_std"):
            if self.initial_weights is not None and _is_set(self, key):
                raise _conflict(f"network.{key}", "has no effect with initial_weights: leave one of them out")
        return self


class DataConfig(_Section):
    """Which images, from where, and how they are split and varied. mix makes each training image of two; the share of
    one is Beta(mix_alpha, mix_alpha)."""

    dataset: Text
    root: PathText = "datasets"
    download: Flag = False
    augment: Text = "none"
    mix: str = _one_of(MIXES, "none")
    mix_alpha: Alpha = 1.0
    validation: ProperShare = 0.1

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if self.mix == "none" and _is_set(self, "mix_alpha"):
            raise _conflict("data.mix_alpha", f"has no effect with mix none: leave it out, or choose {_or(MIXES[1:])}")
        return self


class TrainingConfig(_Section):
    """How long, and towards what; patience is the number of epochs without a better validation accuracy after which to
    stop, label_smoothing the share of a target that all classes have evenly, average the decay of a moving average of
    the weights, which is validated beside them (null for none). accumulate: how many batches make a step of the
    optimiser; schedules and psp_slope go by these steps."""

    epochs: Count
    batch_size: Count
    patience: Count | None = 25
    label_smoothing: ShareBelowOne = 0.0
    average: Decay | None = None
    accumulate: Count = 1


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] >= bounds[1]:
        raise ValueError("low is not below high")
    return bounds


def _increasing(milestones: tuple[int, ...]) -> tuple[int, ...]:
    if any(later <= earlier for earlier, later in pairwise(milestones)):
        raise ValueError("not increasing")
    return milestones


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


class OptimizerConfig(_Section):
    """The rule of an update and what bounds it; clip_norm bounds the gradient's global norm."""

    name: Annotated[Literal["adam", "sgd"], Field(description="adam or sgd")] = "adam"
    lr: Positive = 1e-3
    beta1: ShareBelowOne = 0.9
    beta2: ShareBelowOne = 0.999
    eps: Epsilon = 1e-8
    momentum: ShareBelowOne = 0.0
    weight_decay: NotNegative = 0.0
    clip_norm: NormBound | None = None
    weight_clip: WeightRange | None = None
    fixed_sign: Flag = False

    @model_validator(mode="after")
    def _check(self) -> "OptimizerConfig":
        _refuse_idle(self, "optimizer", {"momentum": "sgd", "beta1": "adam", "beta2": "adam", "eps": "adam"})
        if trouble := decay_trouble(self.lr, self.weight_decay):
            raise _conflict("optimizer.weight_decay", trouble)
        return self


class ScheduleConfig(_Section):
    """The learning rate over a run; warmup counts steps of the optimiser. The last three are onecycle's: the share of
    the run in which it rises, and where it starts and ends, as shares of lr."""

    name: str = _one_of(SCHEDULES, "exponential")
    annealing: Factor = 1.0
    milestones: Milestones = ()
    factor: Factor = 0.1
    warmup: Whole = 0
    rise: Share = 0.3
    start_factor: Share = 0.04
    end_factor: Share = 4e-6

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        owners = {"annealing": "exponential", "milestones": "multistep", "factor": "multistep"}
        owners |= dict.fromkeys(("rise", "start_factor", "end_factor"), "onecycle")
        _refuse_idle(self, "schedule", owners)
        if self.name == "onecycle" and self.warmup:
            raise _conflict("schedule.warmup", "has no effect with onecycle: leave it out, or set schedule.rise")
        if self.name == "multistep" and not self.milestones:
            raise _conflict("schedule.milestones", "is missing: multistep needs epochs, such as [15, 30, 40]")
        return self


class Config(_Section):
    """One experiment. output: the run's directory; null leaves it to the command. tune: whether network.convolution
    auto times algorithms on the device; without, it goes by a layer's shape."""

    seed: Seed = 0
    device: Annotated[
        str, Field(strict=True, pattern=r"^(auto|cpu|cuda(:[0-9]{1,4})?)$", description="auto, cuda, cuda:N or cpu")
    ] = "auto"
    threads: Threads | None = None
    tune: Flag = True
    output: PathText | None = None
    network: NetworkConfig = NetworkConfig()
    data: DataConfig
    training: TrainingConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    @model_validator(mode="after")
    def _check(self) -> "Config":
        for key in ("weight_clip", "fixed_sign"):
            if self.network.normalization == "weight" and _is_set(self.optimizer, key):
                raise _conflict(
                    f"optimizer.{key}", "does not go with network.normalization weight: leave one of them out"
                )
        if self.data.mix != "none" and self.training.batch_size == 1:
            raise _conflict("data.mix", "mixes the images of a batch: needs a training.batch_size of at least 2")
        return self


def load_config(
    path_or_name: str | Path, overrides: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> Config:
    """The config in that file, or the bundled one of that name, with `key.sub=value` overrides on top.

    options: values of a command's own options by key, such as {"device": "cpu"} for --device cpu, on top of all; None
    is an option that was not given.
    Raises UserError, one sentence: file, override or option, the key, what is wrong and what would be right.
    """
    if isinstance(overrides, str) or not (
        isinstance(overrides, Sequence) and all(isinstance(o, str) for o in overrides)
    ):
        raise UserError(f"overrides must be a list of texts, such as ['seed=1'], not {shown(overrides)}")
    check_kind("options", {} if options is None else options, Mapping)
    where, content = config_file.read(path_or_name)
    sources: dict[str, str] = {}
    for assignment in overrides:
        content, key = config_file.override(content, assignment)
        sources.pop(key, None)  # what comes last stands last
        sources[key] = config_file.called(assignment)
    for key, value in (options or {}).items():
        if value is not None:
            content = {**content, key: value}
            sources.pop(key, None)
            sources[key] = one_line(f"--{key} {shlex.quote(str(value))}", 100)
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise UserError(sentence(Config, error, content, where, sources)) from None


def dump_config(config: Config) -> str:
    """All keys, as resolved: YAML that loads back to an equal config."""
    check_kind("config", config, Config)
    return config_file.write(config.model_dump(by_alias=True))
