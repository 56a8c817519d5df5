"""The ordinary artificial network of the same shape, in PyTorch with autograd: what one would train without spikes.

With the same weights it computes what the engine does at psp_slope 0, gradients included.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Ann(nn.Module):
    """3x3 convolutions, clamped to [0, 1], and 2x2 pooling; no biases. Weights as in the engine's state_dict()."""

    def __init__(
        self, spec: Sequence[int | str], weights: Mapping[str, np.ndarray], device: torch.device | str = "cpu"
    ):
        super().__init__()
        arrays = iter(weights.values())
        layers: list[nn.Module] = []
        for entry in spec:
            if entry == "P":
                layers.append(nn.MaxPool2d(2))
            else:
                # in place: less memory, and faster, than clamp(); 0 and 1 themselves pass no gradient, as in the engine
                layers += [_convolution(next(arrays)), nn.Hardtanh(0.0, 1.0, inplace=True)]
        self.hidden = nn.Sequential(*layers)
        self.readout = _linear(next(arrays))
        self.to(device)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, classes) for images NCHW."""
        potentials: Tensor = self.readout(self.hidden(images).flatten(1))
        return potentials

    def train_step(self, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(self(images), labels).backward()
        optimizer.step()

    def infer(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.forward(images)


def _convolution(weights: np.ndarray) -> nn.Conv2d:
    layer = nn.Conv2d(weights.shape[1], weights.shape[0], kernel_size=3, padding=1, bias=False)
    layer.weight = nn.Parameter(torch.tensor(weights))
    return layer


def _linear(weights: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    layer.weight = nn.Parameter(torch.tensor(weights))
    return layer
