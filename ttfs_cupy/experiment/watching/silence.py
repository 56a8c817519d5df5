"""Layers that never fire, or hardly ever: what it means, and what of a run's config would help."""

from collections.abc import Mapping

from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.watching import advice

# A firing rate below it is almost none.
FAINT = 0.01


def silence(layers: list[str], images: str, config: Config) -> str:
    """A warning that these layers never fire on some images."""
    several = len(layers) > 1
    subject = f"layers {', '.join(layers)} never fire" if several else f"layer {layers[0]} never fires"
    return (
        f"warning: {subject} on the {images} images: nothing passes {layers[0]}, and what is silent does not learn; "
        f"{advice.joined(advice.for_silence(config, layers[0]))}"
    )


def faintness(rates: Mapping[str, float], images: str, config: Config) -> str:
    """A warning that these layers, of such firing rates, almost never fire on some images."""
    first, *others = rates
    named = ", ".join(
        [f"{first} (firing rate {rates[first]:.2g})", *(f"{name} ({rates[name]:.2g})" for name in others)]
    )
    subject = f"layers {named} almost never fire" if others else f"layer {named} almost never fires"
    return (
        f"warning: {subject} on the {images} images: little passes {first}, and what is silent does not learn; "
        f"{advice.joined(advice.for_silence(config, first))}"
    )
