"""Layers that never fire: what it means, and what of a run's config would help."""

from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule


def silence(layers: list[str], images: str, config: Config) -> str:
    """A warning that these layers never fire on some images."""
    several = len(layers) > 1
    subject = f"layers {', '.join(layers)} never fire" if several else f"layer {layers[0]} never fires"
    *others, last = _advice(config)
    return (
        f"warning: {subject} on the {images} images: nothing passes {layers[0]}, and what is silent does not learn; "
        f"{', '.join(others)}{', or ' if others else ''}{last}"
    )


def _advice(config: Config) -> list[str]:
    """What the config does not do already, and would be accepted beside the rest of it."""
    network, advice = config.network, []
    if network.normalization == "weight" and not network.initial_potential:
        advice.append("set network.initial_potential")
    if network.initial_weights is None and network.normalization == "none":
        advice.append("raise network.weight_mean or network.weight_std")
    slope = network.psp_slope
    begins = slope.from_ if isinstance(slope, PspSlopeSchedule) else slope
    if begins != 0 and network.clip != "separate":
        advice.append("begin with network.psp_slope 0")
    return [*advice, "lower optimizer.lr"]
