"""The same model in eager PyTorch, T2FSNN's way: the peer that the benchmarks time and weigh the engine against.

After the public framework (github.com/ggoupy/T2FSNN): spike times with inf for silence, one pass over the activations
for each element-wise operation, two forward convolutions a layer (I over the times, S over the mask) and, in an
explicit backward pass, torch.nn.grad's three (one data gradient, two weight gradients).

Where that framework wastes work that no one needs, this peer does not: no data gradient of the first layer, the
readout's gradients are matrix products rather than a broadcast (batch, in, out) array, a layer's cache is dropped
once its gradients are known, and Adam is torch.optim's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight


@dataclass
class Cache:
    """What forward keeps for backward."""

    fired: Tensor
    times: Tensor
    weight_sum: Tensor
    weighted_times: Tensor
    output: Tensor


class Convolution:
    """3x3, padding 1, stride 1, and the spiking neurons that it drives."""

    PADDING = 1

    def __init__(self, weight: Tensor, t_win: float, grad_clip: float):
        self.weight = weight
        self.t_win = t_win
        self.grad_clip = grad_clip
        self.cache: Cache | None = None
        self.gradient: Tensor | None = None

    def forward(self, times: Tensor, *, training: bool = True) -> Tensor:
        fired = times != inf
        weight_sum = functional.conv2d(fired.to(times.dtype), self.weight, padding=self.PADDING)
        valid_times = times.masked_fill(~fired, 0.0)
        weighted_times = functional.conv2d(valid_times, self.weight, padding=self.PADDING)
        output = self._spike_times(weighted_times, weight_sum)
        if training:
            self.cache = Cache(fired, valid_times, weight_sum, weighted_times, output)
        return output

    def backward(self, grad: Tensor, *, needs_input_gradient: bool = True) -> Tensor:
        """Leaves the weight's gradient in `gradient`; returns dLoss/dt of the inputs (grad where nobody needs it)."""
        cache, self.cache = self.cache, None
        assert cache is not None
        by_sum = -(2 * self.t_win + cache.weighted_times) / (1 + cache.weight_sum) ** 2
        by_times = 1 / (1 + cache.weight_sum)
        by_sum.clamp_(-self.grad_clip, self.grad_clip)
        by_times.clamp_(-self.grad_clip, self.grad_clip)

        passes = (cache.output < self.t_win) * (cache.output > 0)
        outgoing = grad.view_as(cache.output) * passes.to(grad.dtype)
        by_times = outgoing * by_times
        by_sum = outgoing * by_sum
        shape = self.weight.shape
        of_times = conv2d_weight(cache.times, shape, by_times, padding=self.PADDING)
        of_mask = conv2d_weight(cache.fired.to(grad.dtype), shape, by_sum, padding=self.PADDING)
        self.gradient = of_times + of_mask
        if not needs_input_gradient:
            return grad
        return conv2d_input(cache.times.shape, self.weight, by_times, padding=self.PADDING)

    def _spike_times(self, weighted_times: Tensor, weight_sum: Tensor) -> Tensor:
        """Where V(t) = S t - I meets 2T - t, as a local time; V above the threshold as the window opens fires then."""
        begin, end = self.t_win, 2 * self.t_win
        times = (end + weighted_times) / (1 + weight_sum)
        # T2FSNN compares with > here: a neuron none of whose inputs fired would spike as its window closes, and count
        # in the mask. The engine's model calls that silence.
        times[times >= end] = inf
        times[times < 0] = inf
        times[self.t_win * weight_sum >= begin + weighted_times] = begin
        times = times - begin
        times[times < 0] = inf
        return times


class MaxPool:
    """The earliest spike of each 2x2 window."""

    KERNEL = 2

    def __init__(self) -> None:
        self.winner: Tensor | None = None
        self.input_size: torch.Size | None = None

    def forward(self, times: Tensor, *, training: bool = True) -> Tensor:
        if not training:
            return -functional.max_pool2d(-times, self.KERNEL)
        self.input_size = times.shape
        pooled, self.winner = functional.max_pool2d(-times, self.KERNEL, return_indices=True)
        return -pooled

    def backward(self, grad: Tensor, *, needs_input_gradient: bool = True) -> Tensor:
        winner, self.winner = self.winner, None
        assert winner is not None and self.input_size is not None
        if not needs_input_gradient:
            return grad
        window, size = [self.KERNEL, self.KERNEL], list(self.input_size[2:])
        return functional.max_unpool2d(grad.view(winner.shape), winner, window, output_size=size)


class Readout:
    """Membrane potentials at the end of the window: sum over the inputs that fired of w (2T - t)."""

    def __init__(self, weight: Tensor, t_win: float):
        self.weight = weight
        self.t_win = t_win
        self.contribution: Tensor | None = None
        self.gradient: Tensor | None = None

    def forward(self, times: Tensor, *, training: bool = True) -> Tensor:
        times = times.view(len(times), -1)
        fired = times != inf
        earliness = (self.t_win - times).masked_fill(~fired, 0.0)
        if training:
            self.contribution = earliness + self.t_win * fired.to(times.dtype)
        weight_sum = functional.linear(fired.to(times.dtype), self.weight)
        return functional.linear(earliness, self.weight) + self.t_win * weight_sum

    def backward(self, grad: Tensor) -> Tensor:
        contribution, self.contribution = self.contribution, None
        assert contribution is not None
        self.gradient = grad.T @ contribution
        # a later spike lowers the potential
        return -(grad @ self.weight) * (contribution > 0)


class EagerNetwork:
    """spec: channels of a 3x3 convolution, or "P" for 2x2 pooling; weights as in the engine's state_dict().

    compiled: torch.compile has its way with forward and backward.
    """

    def __init__(
        self,
        spec: Sequence[int | str],
        weights: Mapping[str, np.ndarray],
        *,
        t_win: float = 1.0,
        grad_clip: float = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        compiled: bool = False,
    ):
        self.t_win = t_win
        self.parameters = {name: torch.tensor(array, dtype=dtype, device=device) for name, array in weights.items()}
        convolutions = (w for name, w in self.parameters.items() if name != "readout.weight")
        self.hidden: list[Convolution | MaxPool] = [
            MaxPool() if entry == "P" else Convolution(next(convolutions), t_win, grad_clip) for entry in spec
        ]
        self.readout = Readout(self.parameters["readout.weight"], t_win)
        self._infer: Callable[[Tensor], Tensor] = self._potentials
        self._differentiate: Callable[[Tensor, Tensor], Tensor] = self._forward_and_backward
        if compiled:
            self._infer = torch.compile(self._potentials, dynamic=False)
            self._differentiate = torch.compile(self._forward_and_backward, dynamic=False)

    def encode(self, images: Tensor) -> Tensor:
        """Spike times of pixels in [0, 1]; a black one is silent."""
        times = (1 - images) * self.t_win
        times[images == 0] = inf
        return times

    def infer(self, times: Tensor) -> Tensor:
        """Potentials, (batch, classes)."""
        with torch.no_grad():
            return self._infer(times)

    def loss_and_gradients(self, times: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy; the gradients are left in each parameter's grad."""
        with torch.no_grad():
            loss = self._differentiate(times, labels)
        for layer in (*self.hidden, self.readout):
            if not isinstance(layer, MaxPool):
                layer.weight.grad, layer.gradient = layer.gradient, None
        return loss

    def train_step(self, times: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = self.loss_and_gradients(times, labels)
        optimizer.step()
        return loss

    def _potentials(self, times: Tensor, *, training: bool = False) -> Tensor:
        """training: every layer keeps what its backward pass needs."""
        for layer in self.hidden:
            times = layer.forward(times, training=training)
        return self.readout.forward(times, training=training)

    def _forward_and_backward(self, times: Tensor, labels: Tensor) -> Tensor:
        """The loss; each layer is left with its gradient."""
        potentials = self._potentials(times, training=True)
        log_share = functional.log_softmax(potentials, dim=1)
        loss = functional.nll_loss(log_share, labels)
        errors = log_share.exp() - functional.one_hot(labels, log_share.shape[1])
        grad = self.readout.backward(errors / len(labels))
        for layer in reversed(self.hidden[1:]):
            grad = layer.backward(grad)
        # the images need no gradient
        self.hidden[0].backward(grad, needs_input_gradient=False)
        return loss
