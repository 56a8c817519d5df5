"""What loggers are told, by the names that it has there, of a line of metrics.jsonl."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# key of the line → name; those before a slash are shown together
_NAMES = {
    "train_loss": "loss/training",
    "validation_loss": "loss/validation",
    "current_validation_loss": "loss/validation_current",
    "average_validation_loss": "loss/validation_average",
    "train_accuracy": "accuracy/training",
    "validation_accuracy": "accuracy/validation",
    "validation_balanced_accuracy": "accuracy/validation_balanced",
    "current_validation_accuracy": "accuracy/validation_current",
    "average_validation_accuracy": "accuracy/validation_average",
    "learning_rate": "training/learning_rate",
    "psp_slope": "training/psp_slope",
    "images_per_second": "training/images_per_second",
    "skipped_steps": "training/skipped_steps",
    "clipped_steps": "training/clipped_steps",
}
_NAMES_OF_TEST = {
    "test_loss": "loss/test",
    "test_accuracy": "accuracy/test",
    "balanced_accuracy": "accuracy/test_balanced",
}


def of_epoch(line: Mapping[str, Any], gradient_norms: Mapping[str, float]) -> dict[str, float]:
    """Of an epoch's line; and the norm of each layer's gradient."""
    return {
        **dict(_told(line, _NAMES)),
        **{f"firing_rate/{layer}": rate for layer, rate in line["firing_rates"].items()},
        **{f"gradient_norm/{layer}": norm for layer, norm in gradient_norms.items()},
    }


def of_test(line: Mapping[str, Any]) -> dict[str, float]:
    """Of the test set's line."""
    return dict(_told(line, _NAMES_OF_TEST))


def _told(line: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for key, name in names.items():
        # null: of a loss that was not finite
        if line.get(key) is not None:
            yield name, float(line[key])


def norms_by_layer(gradients: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The 2-norm of each layer's gradient, of all its parameters together. gradients: by names such as conv1.weight."""
    squares: dict[str, float] = {}
    for name, gradient in gradients.items():
        layer = name.rpartition(".")[0]
        values = gradient.astype(np.float64).ravel()
        squares[layer] = squares.get(layer, 0.0) + float(values @ values)
    return {layer: float(np.sqrt(total)) for layer, total in squares.items()}
