"""An experiment's YAML file as typed, checked values: the keys, their defaults, and what is right for each.

The names of datasets and models are their own rooms' business: here they are only text.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line, shown
from ttfs_cupy.convolution.algorithm import PRECISIONS
from ttfs_cupy.convolution.choice import DEFAULT_PRECISION
from ttfs_cupy.data.batches import RESIDENT
from ttfs_cupy.data.class_weights import BALANCED
from ttfs_cupy.data.mixing import MIXES
from ttfs_cupy.data.order import SAMPLINGS
from ttfs_cupy.data.sources.datasets import idle_option, options_of
from ttfs_cupy.data.sources.raw import OPTIONS
from ttfs_cupy.device import NAMES as DEVICE_NAMES
from ttfs_cupy.engine.optimizer import decay_trouble, sign_trouble
from ttfs_cupy.engine.standardization import NORMALIZATIONS
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.config.problems import sentence
from ttfs_cupy.experiment.config.schedule import SCHEDULES
from ttfs_cupy.experiment.config.values import (
    Alpha,
    Augment,
    ChannelDeviation,
    ChannelMean,
    Channels,
    CheckpointEvery,
    ClassWeights,
    Convolution,
    Count,
    DatasetName,
    Decay,
    Deviation,
    Epsilon,
    Factor,
    Flag,
    GainBound,
    HeldOut,
    Keep,
    Loggers,
    Mean,
    Milestones,
    Model,
    NormBound,
    NotNegative,
    PathText,
    Positive,
    ProperShare,
    PspSlope,
    Section,
    Seed,
    Share,
    ShareBelowOne,
    Size,
    Threads,
    WeightRange,
    Whole,
    Window,
    conflict,
    either,
    is_set,
    one_of,
    refuse_idle,
)
from ttfs_cupy.models.builder import IDLE_MEAN, READOUTS, is_idle_mean
from ttfs_cupy.neuron import CLIP_MODES, SILENT
from ttfs_cupy.neuron.encoding import ENCODINGS

# Commands' options that are not called as their keys are.
OPTIONS_OF_COMMANDS = {
    "network.initial_weights": "init-from",
    "network.model": "network",
    "data.dataset": "dataset",
}


class NetworkConfig(Section):
    """The network, its neurons and its input code (docs/model.md: `psp_slope`, `clip` and the rest). silent: what a
    class that does not spike is in the softmax, where the readout is spike_times."""

    model: Model = "vgg11"
    t_win: Window = 1.0
    psp_slope: PspSlope = 1.0
    clip: str = one_of(CLIP_MODES, "gain")
    grad_clip: GainBound = 1.0
    readout: str = one_of(READOUTS, "potential")
    silent: str = one_of(SILENT, "latest")
    encoding: str | None = one_of(ENCODINGS, None)
    standardize: Flag = False
    weight_mean: Mean = 0.0
    weight_std: Deviation | None = None
    normalization: str = one_of(NORMALIZATIONS, "none")
    initial_potential: Flag = False
    initial_weights: PathText | None = None
    convolution: Convolution = "auto"
    precision: str = one_of(PRECISIONS, DEFAULT_PRECISION)

    @model_validator(mode="after")
    def _check(self) -> "NetworkConfig":
        if self.clip == "separate" and self.psp_slope != 1:
            raise conflict("network.clip", "separate is defined for a psp_slope of 1 alone: choose gain or none")
        if self.clip == "none" and is_set(self, "grad_clip"):
            raise conflict("network.grad_clip", "has no effect with clip none: leave it out, or choose gain")
        if self.readout == "potential" and is_set(self, "silent"):
            problem = "has no effect with readout potential: leave it out, or choose spike_times"
            raise conflict("network.silent", problem)
        if self.standardize and self.encoding == "direct":
            raise conflict("network.standardize", "belongs to latency encoding (direct always does it): leave it out")
        if self.normalization == "weight" and is_idle_mean(self.weight_mean):
            raise conflict("network.weight_mean", IDLE_MEAN)
        for key in ("weight_mean", "weight_std"):
            if self.initial_weights is not None and is_set(self, key):
                raise conflict(f"network.{key}", "has no effect with initial_weights: leave one of them out")
        return self


class DataConfig(Section):
    """Which images, from where, and how they are split and varied.

    size, channels, test and time_window: of images and recordings of one's own (data/sources/raw.py has Options).
    mean, std: what pixels are standardised with, in place of the data set's own; a number, or one for each channel.
    augment: a name, or a list of operations (see ttfs_cupy.data.augmentation).
    mix: makes each training image of two; the share of one is Beta(mix_alpha, mix_alpha).
    class_weights: what an image counts in the training loss, by its class.
    sampling: whether an epoch has each image once, or each class as often.
    subset: which training images are used at all; the test set stays whole.
    validation: which of these are held out.
    resident: the share of a GPU's free memory that the images may take.
    """

    dataset: DatasetName
    root: PathText = "datasets"
    download: Flag = False
    size: Size | None = None
    channels: Channels | None = None
    test: ProperShare | None = None
    time_window: Count | None = None
    mean: ChannelMean | None = None
    std: ChannelDeviation | None = None
    augment: Augment = "none"
    mix: str = one_of(MIXES, "none")
    mix_alpha: Alpha = 1.0
    class_weights: ClassWeights | None = None
    sampling: str = one_of(SAMPLINGS, "plain")
    subset: HeldOut | None = None
    validation: HeldOut = 0.1
    resident: Share = RESIDENT

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        for key in OPTIONS:
            if is_set(self, key) and key not in options_of(self.dataset):
                raise conflict(f"data.{key}", idle_option(self.dataset, key))
        for key, other in (("mean", "std"), ("std", "mean")):
            if is_set(self, key) and not is_set(self, other):
                raise conflict(f"data.{key}", f"needs data.{other} beside it: set both, or neither")
        if self.mix == "none" and is_set(self, "mix_alpha"):
            raise conflict(
                "data.mix_alpha", f"has no effect with mix none: leave it out, or choose {either(MIXES[1:])}"
            )
        if self.sampling == self.class_weights == BALANCED:
            raise conflict(
                "data.class_weights", "and data.sampling are both balanced, which corrects twice: choose one"
            )
        return self


class TrainingConfig(Section):
    """How long, and towards what; patience is the number of epochs without a better validation accuracy after which to
    stop, label_smoothing the share of a target that all classes have evenly, average the decay of a moving average of
    the weights, which is validated beside them (null for none). accumulate: how many batches make a step of the
    optimiser; schedules and psp_slope go by these steps. max_skipped: after how many steps in a row that were
    skipped, their gradients not being finite, the run ends; null for never. checkpoint_every: how often, within an
    epoch, the run writes what it would go on from; keep: which epochs' checkpoints stay on disk."""

    epochs: Count
    batch_size: Count
    patience: Count | None = 25
    label_smoothing: ShareBelowOne = 0.0
    average: Decay | None = None
    accumulate: Count = 1
    max_skipped: Count | None = 20
    checkpoint_every: Annotated[CheckpointEvery | None, Field(description="{minutes: 10}, {steps: 500}, or null")] = (
        CheckpointEvery(minutes=10)
    )
    keep: Annotated[Keep | None, Field(description="{last: 3}, {every: 10}, both, or null")] = None


class OptimizerConfig(Section):
    """The rule of an update and what bounds it. weight_decay comes after the step, l2 is a part of the gradient (what
    PyTorch's SGD and Adam call weight_decay); clip_norm bounds the gradient's global norm, before l2.

    adamw is another name for adam, for whoever knows weight_decay by it; what is dumped says adam.
    """

    name: Annotated[Literal["adam", "sgd"], Field(description="adam, adamw or sgd")] = "adam"
    lr: Positive = 1e-3
    beta1: ShareBelowOne = 0.9
    beta2: ShareBelowOne = 0.999
    eps: Epsilon = 1e-8
    momentum: ShareBelowOne = 0.0
    weight_decay: NotNegative = 0.0
    l2: NotNegative = 0.0
    clip_norm: NormBound | None = None
    weight_clip: WeightRange | None = None
    fixed_sign: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or content.get("name") != "adamw":
            return content
        if content.get("l2"):
            raise conflict(
                "optimizer.l2", "does not go with optimizer.name adamw: set optimizer.weight_decay, or choose adam"
            )
        return {**content, "name": "adam"}

    @model_validator(mode="after")
    def _check(self) -> "OptimizerConfig":
        refuse_idle(self, "optimizer", {"momentum": "sgd", "beta1": "adam", "beta2": "adam", "eps": "adam"})
        if trouble := decay_trouble(self.lr, self.weight_decay):
            raise conflict("optimizer.weight_decay", trouble)
        if self.fixed_sign and self.weight_clip is not None and (trouble := sign_trouble(self.weight_clip)):
            raise conflict("optimizer.weight_clip", trouble)
        return self


class ScheduleConfig(Section):
    """The learning rate over a run; warmup counts steps of the optimiser. The last three are onecycle's: the share of
    the run in which it rises, and where it starts and ends, as shares of lr."""

    name: str = one_of(SCHEDULES, "exponential")
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
        refuse_idle(self, "schedule", owners)
        if self.name == "onecycle" and self.warmup:
            raise conflict("schedule.warmup", "has no effect with onecycle: leave it out, or set schedule.rise")
        if self.name == "multistep" and not self.milestones:
            raise conflict("schedule.milestones", "is missing: multistep needs epochs, such as [15, 30, 40]")
        return self


class WatchConfig(Section):
    """What a run tells while it goes on (docs/watching.md). log_every: seconds between two lines of an epoch, where
    there is no terminal; tensorboard: whether it writes event files; loggers: who else is told."""

    log_every: Positive = 60.0
    tensorboard: Flag = False
    loggers: Loggers = ()


class Config(Section):
    """One experiment; docs/yaml_keys.md has each key's meaning. output: the run's directory; null leaves it to the
    command. tune: whether network.convolution auto times algorithms on the device; without, it goes by a layer's
    shape."""

    seed: Seed = 0
    device: Annotated[
        str, Field(strict=True, pattern=f"^({DEVICE_NAMES})$", description="auto, cuda, cuda:N or cpu")
    ] = "auto"
    threads: Threads | None = None
    tune: Flag = True
    output: PathText | None = None
    network: NetworkConfig = NetworkConfig()
    data: DataConfig
    training: TrainingConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    watch: WatchConfig = WatchConfig()

    @model_validator(mode="after")
    def _check(self) -> "Config":
        for key in ("weight_clip", "fixed_sign"):
            if self.network.normalization == "weight" and is_set(self.optimizer, key):
                raise conflict(
                    f"optimizer.{key}", "does not go with network.normalization weight: leave one of them out"
                )
        return self


def load_config(
    path_or_name: str | Path, overrides: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> Config:
    """The config in that file, or the bundled one of that name, with `key.sub=value` overrides on top.

    options: values of a command's own options by dotted key, such as {"device": "cpu"} for --device cpu, on top of all;
    None is an option that was not given.
    Raises UserError, one sentence: file, override or option, the key, what is wrong and what would be right.
    """
    where, content = config_text.read(path_or_name)
    return resolve(where, content, {}, overrides, options)


def resolve(
    where: str,
    content: Mapping[str, Any],
    sources: Mapping[str, str],
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Config:
    """As `load_config`, of keys and values that were read already. where: what to call their file in messages.

    sources: dotted key → what else to call it, for that key, such as the key of another framework that it was.
    """
    if isinstance(overrides, str) or not (
        isinstance(overrides, Sequence) and all(isinstance(o, str) for o in overrides)
    ):
        raise UserError(f"overrides must be a list of texts, such as ['seed=1'], not {shown(overrides)}")
    check_kind("options", {} if options is None else options, Mapping)
    content, sources = dict(content), dict(sources)
    for assignment in overrides:
        content, key = config_text.override(content, assignment)
        sources.pop(key, None)  # what comes last stands last
        sources[key] = config_text.called(assignment)
    for key, value in (options or {}).items():
        if value is not None:
            source = one_line(f"--{OPTIONS_OF_COMMANDS.get(key, key)} {shlex.quote(str(value))}", 100)
            content = config_text.put(content, key, value, source)
            sources.pop(key, None)
            sources[key] = source
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise UserError(sentence(Config, error, content, where, sources)) from None


def dump_config(config: Config) -> str:
    """All keys, as resolved: YAML that loads back to an equal config."""
    check_kind("config", config, Config)
    return config_text.write(config.model_dump(by_alias=True))
