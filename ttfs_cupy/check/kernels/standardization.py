"""Checks of standardised weights, on a CPU and by a GPU's blocks, forward and backward."""

from collections.abc import Callable

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.standardization import gradients, standardized
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.device import standardization
from ttfs_cupy.device.standardization import WeightMatrix

# (inputs, neurons) of layers whose neurons are fewer than a strip's, no multiple of them, and several strips; whose
# inputs are few, and more than are summed at once; the last is trained as it is
LAYERS = ((9, 5), (27, 70), (300, 130), (1, 3), (2_000, 16), (70, 11))

Launch = Callable[..., list[np.ndarray]]


class _Layout:
    """Where the layers' weights lie, one after another at multiples of 4, and their gains behind them."""

    def __init__(self, trial: KernelTrial):
        self.matrices, end, gains = [], 0, 0
        for number, (inputs, neurons) in enumerate(LAYERS):
            own = number < len(LAYERS) - 1
            first = -(-end // 4) * 4
            self.matrices.append(WeightMatrix(first, inputs, neurons, gains if own else None))
            end, gains = first + inputs * neurons, gains + neurons * own
        self.size, self.gains = end, gains
        self.trained = np.concatenate([trial.normal(self.size, scale=0.3), trial.uniform(0.2, 2, gains)])
        # neurons whose raw weights have a mean far from 0, and are all the same
        self.of(self.trained, self.matrices[2])[:, 7] += 3
        self.of(self.trained, self.matrices[2])[:, 8] = 0.25
        self.grad = trial.normal(self.size)
        # what lies between two layers belongs to nobody
        self.is_weight = np.zeros(self.size, bool)
        for matrix in self.matrices:
            self.of(self.is_weight, matrix)[...] = True

    @staticmethod
    def of(values: np.ndarray, matrix: WeightMatrix) -> np.ndarray:
        """A view of a layer's part, (inputs, neurons)."""
        return values[matrix.first : matrix.first + matrix.inputs * matrix.neurons].reshape(matrix.inputs, -1)

    def gains_of(self, matrix: WeightMatrix) -> slice:
        assert matrix.first_gain is not None
        return slice(matrix.first_gain, matrix.first_gain + matrix.neurons)

    @property
    def statistics(self) -> np.ndarray:
        """float32 (2 gains,)."""
        found = np.zeros((self.gains, 2), np.float32)
        for matrix in self.matrices[:-1]:
            raw = self.of(self.trained, matrix).astype(np.float64)
            _, *columns = standardized(raw, np.ones(matrix.neurons))
            found[self.gains_of(matrix)] = np.stack(columns, axis=1)
        return found.reshape(-1)


def _forward(trial: KernelTrial, columns: int, launch: Launch) -> None:
    layout = _Layout(trial)
    table = standardization.strips(layout.matrices, columns)
    blank = (trial.blank(2 * layout.gains), trial.blank(layout.size))
    skipped, applied = (np.array([one, 1, 1e-3, 1, 1], np.float32) for one in (0, 1))
    for array in launch(len(table), table, layout.trained, skipped, *blank, layout.size, len(table)):
        trial.require(np.isnan(array).all(), "a skipped step changes something")
    statistics, weights = launch(len(table), table, layout.trained, applied, *blank, layout.size, len(table))
    again = launch(len(table), table, layout.trained, None, *blank, layout.size, len(table))
    trial.require(again[1].tobytes() == weights.tobytes(), "an applied step writes other weights than none")
    trial.require(np.isnan(weights[~layout.is_weight]).all(), "it writes between two layers")
    of_gains = statistics.reshape(-1, 2)
    for matrix in layout.matrices[:-1]:
        raw, gains = layout.of(layout.trained, matrix).astype(np.float64), layout.gains_of(matrix)
        scale = layout.trained[layout.size :][gains].astype(np.float64)
        expected, mean, inverse = standardized(raw, scale)
        size = np.abs(raw).max(axis=0)
        trial.compare(layout.of(weights, matrix), expected, scale * inverse * size)
        trial.compare(of_gains[gains, 0], mean, size)
        trial.compare(of_gains[gains, 1], inverse, inverse)
    plain = layout.matrices[-1]
    trial.compare(layout.of(weights, plain), layout.of(layout.trained, plain), 0.0)


def _backward(trial: KernelTrial, columns: int, launch: Launch) -> None:
    layout = _Layout(trial)
    table = standardization.strips(layout.matrices, columns)
    blank = trial.blank(layout.size + layout.gains)
    arguments = (table, layout.trained, layout.statistics, layout.grad, blank, layout.size)
    (found,) = launch(len(table), *arguments, len(table))
    trial.require(np.isnan(found[: layout.size][~layout.is_weight]).all(), "it writes between two layers")
    for matrix in layout.matrices[:-1]:
        raw, grad = (layout.of(values, matrix).astype(np.float64) for values in (layout.trained, layout.grad))
        gains = layout.gains_of(matrix)
        scale = layout.trained[layout.size :][gains].astype(np.float64)
        of_raw, of_gains = gradients(raw, scale, grad)
        _, _, inverse = standardized(raw, scale)
        reach = np.abs(raw).max(axis=0) * inverse
        trial.compare(found[layout.size :][gains], of_gains, reach * np.sqrt((grad**2).sum(axis=0)))
        trial.compare(layout.of(found, matrix), of_raw, scale * inverse * (1 + reach) * np.abs(grad).max(axis=0))
    plain = layout.matrices[-1]
    trial.compare(layout.of(found, plain), layout.of(layout.grad, plain), 0.0)


@check(tolerance=2e-6)
def standardize_weights(trial: KernelTrial) -> None:
    _forward(trial, standardization.NARROW_COLUMNS, lambda _, *arguments: trial.launch(70_003, *arguments))


@check(tolerance=2e-6)
def standardized_gradients(trial: KernelTrial) -> None:
    _backward(trial, standardization.NARROW_COLUMNS, lambda _, *arguments: trial.launch(70_003, *arguments))


@check(tolerance=2e-6)
def standardize_weights_by_blocks(trial: KernelTrial) -> None:
    _forward(
        trial, standardization.GPU_COLUMNS, lambda *arguments: trial.launch_blocks(standardization.FORWARD, *arguments)
    )


@check(tolerance=2e-6)
def standardized_gradients_by_blocks(trial: KernelTrial) -> None:
    _backward(
        trial, standardization.GPU_COLUMNS, lambda *arguments: trial.launch_blocks(standardization.BACKWARD, *arguments)
    )
