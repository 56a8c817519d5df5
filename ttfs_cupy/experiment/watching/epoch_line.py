"""What the log says of an epoch: its line of metrics.jsonl, as people read it."""

from collections.abc import Mapping
from typing import Any

# what stands out on a terminal
BEST = {"bold": "(best)"}


def epoch_line(line: Mapping[str, Any], epochs: int, is_best: bool) -> str:
    """line: of metrics.jsonl. epochs: how many the run has."""
    rates = " ".join(f"{rate:.2f}" for rate in line["firing_rates"].values())
    best = " (best)" if is_best else ""
    validated = f"validation {100 * line['validation_accuracy']:.2f} %{best}"
    if "averaged" in line:
        current, average = (_percent(line[f"{of}_validation_accuracy"]) for of in ("current", "average"))
        bests = ("", best) if line["averaged"] else (best, "")
        validated = f"validation {current}{bests[0]}, averaged {average}{bests[1]}"
    loss = "not finite" if line["train_loss"] is None else f"{line['train_loss']:.4f}"
    return (
        f"epoch {line['epoch']}/{epochs}: loss {loss}, "
        f"training {100 * line['train_accuracy']:.2f} %, "
        f"{validated}, firing rates {rates}, {line['images_per_second']:.0f} images/s"
    )


def _percent(share: float | None) -> str:
    return "not finite" if share is None else f"{100 * share:.2f} %"
