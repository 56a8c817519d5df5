"""Networks of T2FSNN's layers, trained by its trainer, on the CPU, in float64 or float32."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from parity.checkouts import T2fsnn
from parity.precision import computing_in

Array = np.ndarray
CPU = torch.device("cpu")


class TheirNetwork:
    """Layers as SNNtrainer makes them of a network's string, with given weights.

    text: as theirs, without the last layer; one of `classes` neurons follows. weights: in layer order.
    Times are NumPy, float64, and infinite for silence, whatever the network computes in.
    """

    def __init__(
        self,
        t2fsnn: T2fsnn,
        text: str,
        input_shape: tuple[int, int, int],
        classes: int,
        weights: Sequence[Array],
        *,
        dtype: torch.dtype = torch.float64,
        readout: str = "potential",
        t_win: float = 1,
        w_ei: bool = False,
        w_clip: tuple[float, float] | None = None,
    ):
        self.t2fsnn, self.dtype, self.t_win = t2fsnn, dtype, t_win
        text = t2fsnn.run.ARCHITECTURES.get(text, text)
        self.plan = t2fsnn.run.parse_network_str(f"{text} - {classes}F")
        options: dict[str, Any] = {"t_win": t_win, "w_ei": w_ei, "device": CPU}
        if w_clip is not None:
            options |= {"w_clip": True, "w_min": w_clip[0], "w_max": w_clip[1]}
        with computing_in(dtype):
            self.layers = self._layers(input_shape, readout, options)
            for layer, given in zip(self.trained, weights, strict=True):
                assert tuple(layer.weights.shape) == given.shape
                layer.weights = torch.from_numpy(np.array(given)).to(dtype)
                # what its constructor does with the weights that it draws
                layer.w_ei = layer.weights >= 0 if w_ei else None
                layer.clip_weights()

    def _layers(self, input_shape: tuple[int, int, int], readout: str, options: Mapping[str, Any]) -> list[Any]:
        snn, shape, layers = self.t2fsnn.snn, input_shape, []
        for number, part in enumerate(self.plan):
            match part["layer"]:
                case "conv":
                    sizes = part["n_channels"], part["kernel_size"], part["stride_size"], part["padding_size"]
                    layer = snn.Conv(shape, *sizes, **options)
                case "maxpool":
                    layer = snn.MaxPool(shape, part["kernel_size"], part["stride_size"])
                case _:
                    no_spk = number == len(self.plan) - 1 and readout == "potential"
                    layer = snn.Fc(int(np.prod(shape)), part["n_neurons"], no_spk=no_spk, **options)
            shape = layer.output_shape
            layers.append(layer)
        return layers

    @property
    def trained(self) -> list[Any]:
        return [layer for layer in self.layers if layer.trainable]

    @property
    def weights(self) -> list[Array]:
        return [layer.weights.numpy().astype(np.float64) for layer in self.trained]

    def times_of(self, earliness: Array) -> torch.Tensor:
        """Of our (N, C, H, W) or (N, n): T - x, as their code wants it, and infinity for silence."""
        # a copy: what only counts as contiguous, with one channel, PyTorch takes for another memory format
        x = torch.from_numpy(earliness.copy()).to(self.dtype)
        times = self.t_win - x
        times[x == 0] = torch.inf
        return times

    @torch.no_grad()
    def forward(self, times: torch.Tensor) -> list[torch.Tensor]:
        """What every layer puts out, the readout last."""
        outputs = []
        with computing_in(self.dtype):
            for layer in self.layers:
                times = layer(times)
                outputs.append(times)
        return outputs

    @torch.no_grad()
    def layer_forward(self, number: int, times: torch.Tensor) -> Array:
        """That of one layer, which keeps what its backward pass needs."""
        with computing_in(self.dtype):
            return self.layers[number](times).numpy().astype(np.float64)

    @torch.no_grad()
    def gradients(self, outputs: Sequence[torch.Tensor], labels: Array) -> list[Array]:
        """dLoss/dw, in layer order, by their backward pass over these outputs and what layers keep of the last forward.

        They update each layer's weights in the same call; here that step writes the gradient down instead.
        """
        found: dict[int, Array] = {}
        trainer = self.trainer(use_adam=False)
        trainer._apply_weight_change = lambda number, gradient: found.update(
            {number: gradient.numpy().astype(np.float64)}
        )
        with computing_in(self.dtype):
            trainer(list(outputs), torch.from_numpy(labels))
        return [found[number] for number in sorted(found)]

    def trainer(self, **options: Any) -> Any:
        """EventBP, with their names of options."""
        with computing_in(self.dtype):
            return self.t2fsnn.train.EventBP(self.layers, **options)

    @torch.no_grad()
    def step(self, trainer: Any, times: torch.Tensor, labels: Array) -> None:
        outputs = self.forward(times)
        with computing_in(self.dtype):
            trainer(outputs, torch.from_numpy(labels))


def sides_of(*arguments: Any, **options: Any) -> dict[torch.dtype, TheirNetwork]:
    """The same network in float64 and in float32; arguments and options as TheirNetwork's, but for dtype."""
    return {dtype: TheirNetwork(*arguments, dtype=dtype, **options) for dtype in (torch.float64, torch.float32)}


def spec_of(plan: Sequence[Mapping[str, Any]]) -> list[Any]:
    """A network of theirs, without its last layer, as a list for ttfs_cupy.build."""
    spec: list[Any] = []
    for part in plan[:-1]:
        match part["layer"]:
            case "conv":
                sizes = {"kernel": part["kernel_size"], "stride": part["stride_size"], "padding": part["padding_size"]}
                spec.append({"convolution": part["n_channels"], **sizes})
            case "maxpool":
                spec.append({"pool": part["kernel_size"], "stride": part["stride_size"]})
            case _:
                spec.append({"linear": part["n_neurons"]})
    return spec
