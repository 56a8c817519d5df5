"""What of a run's config would help: only what it does not do already, and what would be accepted beside the rest."""

from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule, is_set
from ttfs_cupy.neuron.silent_classes import EXCLUDED, LATEST


def joined(advice: list[str]) -> str:
    """As the end of a sentence."""
    *others, last = advice
    return f"{', '.join(others)}{', or ' if others else ''}{last}"


def for_silence(config: Config, first: str) -> list[str]:
    """For layers that never fire, or hardly ever; `first` is the lowest."""
    network, advice = config.network, []
    if first == "readout" and network.silent == EXCLUDED:
        # classes that are left out of the loss get no gradient that would wake them
        if network.initial_weights is None:
            advice.append("set network.weight_mean {readout: 0.005}")
        return [*advice, f"set network.silent {LATEST}"]
    if network.normalization == "weight" and not network.initial_potential:
        advice.append("set network.initial_potential")
    if _draws_plain_weights(config):
        advice.append("raise network.weight_mean or network.weight_std")
    return [*advice, *_begin_without_slope(config), "lower optimizer.lr"]


def for_saturation(config: Config) -> list[str]:
    """For layers that fire as their window opens: their drive is too large, whatever psp_slope is."""
    advice = ["lower network.weight_mean or network.weight_std"] if _draws_plain_weights(config) else []
    return [*advice, *_standardize(config), "lower optimizer.lr"]


def for_chance(config: Config) -> list[str]:
    """For a network that learns nothing."""
    return [*_standardize(config), *_begin_without_slope(config), "try another optimizer.lr"]


def for_steps(config: Config) -> list[str]:
    """For steps that are too long: a loss that rises, gradients that are not finite."""
    clip = "set" if config.optimizer.clip_norm is None else "lower"
    return ["lower optimizer.lr", f"{clip} optimizer.clip_norm"]


def _draws_plain_weights(config: Config) -> bool:
    """Whether weight_mean and weight_std say how large weights are."""
    return config.network.initial_weights is None and config.network.normalization == "none"


def _begin_without_slope(config: Config) -> list[str]:
    slope = config.network.psp_slope
    begins = slope.from_ if isinstance(slope, PspSlopeSchedule) else slope
    return ["begin with network.psp_slope 0"] if begins != 0 and config.network.clip != "separate" else []


def _standardize(config: Config) -> list[str]:
    network, optimizer = config.network, config.optimizer
    refused = is_set(network, "weight_mean") or is_set(optimizer, "weight_clip") or is_set(optimizer, "fixed_sign")
    return ["set network.normalization weight"] if network.normalization == "none" and not refused else []
