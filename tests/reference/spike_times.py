"""The model in NumPy float64 once more, in spike times, the way T2FSNN writes it; it shares no arithmetic with
earliness.py.

Times t are local, in [0, T], and +inf is silence. A layer's window is [T, 2T] in its own frame, its inputs spike in
[0, T]. A neuron over the inputs that fired:

    I = sum w t        S = sum w        V(t) = T S - I + L S (t - T)        theta(t) = 2T - t

With L = 1 that is V(t) = S t - I. V meets theta at t = (2T + I - (1 - L) T S) / (1 + L S), in the layer's frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from reference.specification import LayerSpec, Pair, Weights

Array = np.ndarray


@dataclass
class Cache:
    """Of one layer's forward pass, for its backward pass."""

    inputs: Array
    weighted_times: Array
    weight_sum: Array
    output: Array


@dataclass
class Network:
    layers: Sequence[LayerSpec]
    weights: Weights
    t_win: float = 1.0
    psp_slope: float = 1.0
    clip: str = "gain"
    grad_clip: float = 1.0
    readout: str = "potential"
    silent: str = "latest"
    caches: dict[str, Cache] = field(default_factory=dict)

    def encode(self, images: Array) -> Array:
        """Latency coding of pixels in [0, 1]: the brighter, the earlier; a black one does not spike."""
        pixels = np.asarray(images, np.float64)
        return np.where(pixels == 0, np.inf, (1 - pixels) * self.t_win)

    def forward(self, times: Array) -> Array:
        """The readout's potentials, or its spike times."""
        for layer in self.layers:
            times = self.layer_forward(layer, times)
        return times

    def layer_forward(self, layer: LayerSpec, times: Array) -> Array:
        """One layer's spike times (a readout's potentials); what its backward pass needs is kept."""
        if layer.kind == "pool":
            output = earliest(times, layer.kernel, layer.stride)[0]
            self.caches[layer.name] = Cache(times, output, output, output)
            return output
        fired = np.isfinite(times)
        weighted_times = self._weigh(layer, np.where(fired, times, 0.0))
        weight_sum = self._weigh(layer, fired.astype(np.float64))
        if layer.kind == "readout" and self.readout == "potential":
            # sum over the inputs that fired of w ((1 + L) T - t)
            output = (1 + self.psp_slope) * self.t_win * weight_sum - weighted_times
        else:
            output = self._fire(weighted_times, weight_sum)
        self.caches[layer.name] = Cache(times, weighted_times, weight_sum, output)
        return output

    def loss_and_gradients(self, times: Array, labels: Array) -> tuple[float, dict[str, Array]]:
        return self.backward(self.forward(times), labels)

    def backward(self, output: Array, labels: Array) -> tuple[float, dict[str, Array]]:
        """From the readout's output, over the caches of the last forward pass (or over those a test put there)."""
        loss, grad = self._loss(output, labels)
        gradients: dict[str, Array] = {}
        for layer in reversed(self.layers):
            grad = grad.reshape(self.caches[layer.name].output.shape)
            if layer.kind == "pool":
                grad = self._pool_backward(layer, grad)
            else:
                grad, gradients[layer.weight_name] = self._weighted_backward(layer, grad)
        return loss, {name: gradients[name] for name in reversed(gradients)}

    def _fire(self, weighted_times: Array, weight_sum: Array) -> Array:
        t_win, slope = self.t_win, self.psp_slope
        with np.errstate(divide="ignore", invalid="ignore"):
            meeting = (2 * t_win + weighted_times - (1 - slope) * t_win * weight_sum) / (1 + slope * weight_sum)
        # where V falls faster than theta (D <= 0), it never catches up with it
        rises = 1 + slope * weight_sum > 0
        in_window = rises & (meeting >= t_win) & (meeting < 2 * t_win)
        times = np.where(in_window, meeting - t_win, np.inf)
        opens_above = t_win * weight_sum - weighted_times >= t_win
        return np.where(opens_above, 0.0, times)

    def _weighted_backward(self, layer: LayerSpec, grad: Array) -> tuple[Array, Array]:
        """(dLoss/dt of the inputs, dLoss/dw) from grad = dLoss/d(output)."""
        cache = self.caches[layer.name]
        if layer.kind == "readout" and self.readout == "potential":
            by_times, by_sum = -grad, grad * (1 + self.psp_slope) * self.t_win
        else:
            by_times, by_sum = self._spike_backward(cache, grad)
        fired = np.isfinite(cache.inputs)
        times = np.where(fired, cache.inputs, 0.0)
        weight = self._weight_gradient(layer, times, by_times) + self._weight_gradient(layer, fired * 1.0, by_sum)
        return np.where(fired, self._input_gradient(layer, by_times, times.shape), 0.0), weight

    def _spike_backward(self, cache: Cache, grad: Array) -> tuple[Array, Array]:
        """(dLoss/dI, dLoss/dS): t = N / D gives dt/dI = 1/D and dt/dS = -((1 - L) T + L t) / D."""
        t_win, slope, limit = self.t_win, self.psp_slope, self.grad_clip
        passes = (cache.output > 0) & (cache.output < t_win)
        grad = np.where(passes, grad, 0.0)
        frame_time = np.where(passes, cache.output, 0.0) + t_win
        by_times = 1 / np.where(passes, 1 + slope * cache.weight_sum, 1.0)
        if self.clip == "gain":
            by_times = np.minimum(by_times, limit)
        by_sum = -((1 - slope) * t_win + slope * frame_time) * by_times
        if self.clip == "separate":
            by_times, by_sum = np.clip(by_times, -limit, limit), np.clip(by_sum, -limit, limit)
        return grad * by_times, grad * by_sum

    def _pool_backward(self, layer: LayerSpec, grad: Array) -> Array:
        inputs = self.caches[layer.name].inputs
        winner = earliest(inputs, layer.kernel, layer.stride)[1]
        result = np.zeros_like(inputs)
        for number, (_, view) in enumerate(taps(layer.kernel, layer.stride, grad.shape[2:])):
            result[view] += np.where(winner == number, grad, 0.0)
        return result

    def _loss(self, output: Array, labels: Array) -> tuple[float, Array]:
        """Cross-entropy of the softmax of potentials, or of -t with silence as late as a spike can be."""
        if self.silent == "excluded":
            return self._loss_of_spikes(output, labels)
        spikes = self.readout == "spike_times"
        scores = -np.minimum(output, self.t_win) if spikes else output
        share = np.exp(scores - scores.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        wanted = np.eye(scores.shape[1])[labels]
        loss = -np.log((share * wanted).sum(axis=1)).mean()
        grad = (share - wanted) / len(labels)
        return float(loss), -grad if spikes else grad

    def _loss_of_spikes(self, times: Array, labels: Array) -> tuple[float, Array]:
        """Cross-entropy of the softmax of -t, t = inf for silence: of nothing but silence it is uniform. An image whose
        class is silent, but others are not, loses 104 and the logarithm of all e^(T - t)."""
        every = np.arange(len(times))
        shares = np.exp(-times)
        shares[np.isinf(times).all(axis=1)] = 1.0
        sums = shares.sum(axis=1)
        own = np.where(shares[every, labels] == 0, np.exp(-104.0 - self.t_win), shares[every, labels])
        loss = (np.log(sums) - np.log(own)).mean()
        wanted = np.eye(times.shape[1])[labels]
        return float(loss), -(shares / sums[:, np.newaxis] - wanted) / len(labels)

    # The linear maps: one shifted view of the inputs and one small matrix product for each tap of the kernel

    def _weigh(self, layer: LayerSpec, values: Array) -> Array:
        weight = self._weight(layer)
        if layer.kind != "convolution":
            return np.einsum("ni,oi->no", values.reshape(len(values), -1), weight, optimize=True)
        padded = pad(values, layer.padding)
        size = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], layer.kernel, layer.stride, strict=True)]
        total = np.zeros((len(values), len(weight), *size))
        for (y, x), view in taps(layer.kernel, layer.stride, size):
            total += np.einsum("oc,nchw->nohw", weight[:, :, y, x], padded[view], optimize=True)
        return total

    def _weight_gradient(self, layer: LayerSpec, values: Array, grad: Array) -> Array:
        if layer.kind != "convolution":
            return np.einsum("no,ni->oi", grad, values.reshape(len(values), -1), optimize=True)
        padded = pad(values, layer.padding)
        result = np.zeros_like(self._weight(layer))
        for (y, x), view in taps(layer.kernel, layer.stride, grad.shape[2:]):
            result[:, :, y, x] = np.einsum("nohw,nchw->oc", grad, padded[view], optimize=True)
        return result

    def _input_gradient(self, layer: LayerSpec, grad: Array, shape: tuple[int, ...]) -> Array:
        weight = self._weight(layer)
        if layer.kind != "convolution":
            return np.einsum("no,oi->ni", grad, weight, optimize=True).reshape(shape)
        padded = pad(np.zeros(shape), layer.padding)
        for (y, x), view in taps(layer.kernel, layer.stride, grad.shape[2:]):
            padded[view] += np.einsum("oc,nohw->nchw", weight[:, :, y, x], grad, optimize=True)
        above, before = layer.padding
        return padded[:, :, above : above + shape[2], before : before + shape[3]]

    def _weight(self, layer: LayerSpec) -> Array:
        return np.asarray(self.weights[layer.weight_name], np.float64)


def earliest(times: Array, kernel: Pair, stride: Pair) -> tuple[Array, Array]:
    """The earliest spike of each window, and its place in it row by row: the first on a tie, -1 if all are silent."""
    size = [(n - k) // s + 1 for n, k, s in zip(times.shape[2:], kernel, stride, strict=True)]
    best = np.full((*times.shape[:2], *size), np.inf)
    winner = np.full(best.shape, -1)
    for number, (_, view) in enumerate(taps(kernel, stride, size)):
        earlier = times[view] < best
        winner = np.where(earlier, number, winner)
        best = np.where(earlier, times[view], best)
    return best, winner


def taps(kernel: Pair, stride: Pair, size: Sequence[int]) -> Iterator[tuple[Pair, tuple[slice, ...]]]:
    """Each place in a window, and the view of an array (N, C, H, W) that `size` windows see through it."""
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            rows = slice(y, y + (size[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(x, x + (size[1] - 1) * stride[1] + 1, stride[1])
            yield (y, x), (slice(None), slice(None), rows, columns)


def pad(values: Array, padding: Pair) -> Array:
    """Zeros around the image: no spike arrives from outside, so 0 counts for nothing in a sum over those that fired."""
    return np.pad(values, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
