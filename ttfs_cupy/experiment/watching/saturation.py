"""Layers that fire as their window opens: what it means, and what of a run's config would help."""

from collections.abc import Mapping

from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.watching import advice

# Such a spike passes no gradient on (docs/model.md, "Derivatives"). With a larger share of them, what is learnt comes
# from fewer than one spike in a hundred.
SATURATED = 0.99


def saturation(shares: Mapping[str, float], images: str, config: Config) -> str:
    """A warning that such shares of these layers' spikes on some images come as the window opens."""
    named = ", ".join(f"{name} ({100 * share:.1f} %)" for name, share in shares.items())
    several = len(shares) > 1
    subject, learns = (f"layers {named}", "they hardly learn") if several else (f"layer {named}", "it hardly learns")
    return (
        f"warning: nearly all spikes of {subject} on the {images} images come as the window opens: these pass no "
        f"gradient on, so {learns}, nor does what lies below; {advice.joined(advice.for_saturation(config))}"
    )
