"""Settings of a small run of which all that a step depends on changes."""

from typing import Any

# slope and learning rate change at every step, moments, signs and averages are remembered, images are changed and mixed
CHANGING: dict[str, Any] = {
    "training__epochs": 2,
    "network__psp_slope": "{from: 0, to: 1, end: 0.6}",
    "optimizer__fixed_sign": True,
    "data__augment": "shift_erase",
    "data__mix": "both",
    "data__mix_alpha": "0.4",
    "training__label_smoothing": "0.1",
    "training__average": 0.9,
}
# a checkpoint after every other step
EVERY: dict[str, Any] = {"training__checkpoint_every": "{steps: 2}"}
