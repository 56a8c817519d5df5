"""Layers in a row: the plan of their buffers, forward, event-driven backward, and the public boundary (NCHW)."""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from ttfs_cupy.common.checks import check_count, check_kind
from ttfs_cupy.convolution.algorithm import PRECISIONS, Pass, Precision
from ttfs_cupy.convolution.choice import DEFAULT_PRECISION
from ttfs_cupy.convolution.shape import Activations
from ttfs_cupy.convolution.tuner import Tuner
from ttfs_cupy.device import Array, Device, reductions, standardization
from ttfs_cupy.device import initial_potential as potential_kernels
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.engine.layers import Layer, MaxPool, Weighted
from ttfs_cupy.engine.loss import CrossEntropy, class_weights_on
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.engine.parameters import Parameters
from ttfs_cupy.engine.plan import Plan, StageSlots, stages_of
from ttfs_cupy.engine.summary import summary, summary_html
from ttfs_cupy.engine.turns import Turns, in_turn
from ttfs_cupy.engine.validity import Labels, Validity
from ttfs_cupy.neuron import PspSlope
from ttfs_cupy.neuron.encoding import Encoder
from ttfs_cupy.neuron.silent_classes import LATEST

# Told of a layer and its output, (batch, height, width, channels), which the next layer may overwrite.
Watcher = Callable[[Layer, Array], None]


class Network:
    """A deep TTFS network; ttfs_cupy.build makes one.

    Sizes at this boundary are (channels, height, width), as PyTorch users expect; arguments may be NumPy or CuPy
    arrays, and results are arrays of the network's device. Threads take turns: a call waits until no other one runs. A
    copy, by the module copy or by pickle, has weights of its own.
    device: where it computes. encoder: makes earliness of pixels, as encode() does. t_win: T, the length of a window.
    parameters: the weights and their gradients, which an optimiser takes. loss: sums up the loss and the accuracy of
    steps until loss.reset(); loss.read() waits for the device.
    """

    def __init__(
        self,
        device: Device,
        layers: Sequence[Layer],
        encoder: Encoder,
        psp_slope: PspSlope,
        classes: int,
        wanted_precision: Precision = DEFAULT_PRECISION,
        *,
        standardized: bool = False,
        initial_potential: bool = False,
        silent: str = LATEST,
    ):
        self.device = device
        self.layers = list(layers)
        self.encoder = encoder
        self.classes = classes
        self.t_win = encoder.t_win
        self.wanted_precision = wanted_precision
        self.silent = silent
        self._psp_slope = psp_slope
        with device.current():
            weighted = [layer for layer in layers if isinstance(layer, Weighted)]
            self.parameters = Parameters(
                device, weighted, standardized=standardized, initial_potential=initial_potential
            )
            self.validity = Validity(device, self.layers[0].in_shape, encoder, classes)
        self.loss = self._new_loss(1)  # until something is planned
        self._plan: Plan | None = None
        self.last_inputs: Array | None = None

    @property
    def turns(self) -> Turns:
        """What its calls wait for, those of its optimiser, and whoever wants several calls in one turn."""
        return self.parameters.turns

    def __getstate__(self) -> dict[str, Any]:
        """Without what is of this process, or made anew when it is needed."""
        return {**self.__dict__, "_plan": None, "loss": None, "last_inputs": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.loss = self._new_loss(1)

    def __copy__(self) -> "Network":
        # half a copy, with shared weights, is what nobody wants
        return copy.deepcopy(self)

    # What a user calls

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        height, width, channels = self.layers[0].in_shape
        return channels, height, width

    @property
    def psp_slope(self) -> float:
        """λ, in [0, 1]: how much of the weight sum a membrane potential grows by (docs/model.md, "A spiking layer").

        It may be set between two steps. Raises UserError for a value outside [0, 1].
        """
        return self._psp_slope.value

    @psp_slope.setter
    @in_turn
    def psp_slope(self, value: float) -> None:
        leaves_or_meets_0 = (value != 0) != (self._psp_slope.value != 0)
        self._psp_slope.value = value
        if leaves_or_meets_0 and self._plan is not None:
            self.compile_ahead(self._plan.batch_size, training=self._plan.training)

    @property
    def algorithms(self) -> dict[str, str]:
        """The algorithm that convolves each layer that has weights."""
        return {layer.name: layer.algorithms.name for layer in self.layers if isinstance(layer, Weighted)}

    @property
    def precision(self) -> Precision:
        """What its products are computed in: of the least exact layer, which depends on the device."""
        weighted = [layer.algorithms.precision for layer in self.layers if isinstance(layer, Weighted)]
        return max(weighted, key=PRECISIONS.index)

    def encode(self, images: Array) -> Array:
        """Earliness, (N, height, width, channels), for images (N, channels, height, width) in [0, 1].

        Raises ValueError for images of another shape, outside [0, 1] or not numbers.
        """
        pixels = self.device.to_device(images)
        if pixels.ndim != 4 or pixels.shape[1:] != self.input_shape:
            sizes = ", ".join(map(str, self.input_shape))
            raise ValueError(f"images must have shape (N, {sizes}), not {tuple(pixels.shape)}")
        if pixels.dtype.kind not in "fiub":
            raise ValueError(f"images must hold numbers in [0, 1], not {pixels.dtype}")
        with self.device.current():
            pixels = pixels.astype(np.float32)
            # written so that NaN, which compares false to everything, is refused too
            if not bool(((pixels >= 0) & (pixels <= 1)).all()):
                raise ValueError("images must lie in [0, 1], without NaN; divide 8-bit pixels by 255")
            nhwc = self.device.xp.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
            return self.encoder(nhwc, self.device.xp)

    @in_turn
    def forward(self, encoded: Array) -> Array:
        """The readout, (N, classes): membrane potentials, or earliness where the readout fires."""
        readout = self.run(self.validity.to_inputs(encoded)).copy()
        self.validity.raise_if_marked()
        return readout

    @in_turn
    def loss_and_gradients(
        self, encoded: Array, labels: Labels, label_smoothing: float = 0.0, class_weights: Any = None
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Mean cross-entropy, and dLoss/d(weights) named and shaped like state_dict().

        label_smoothing, class_weights: as TrainingStep takes them.
        """
        inputs = self.validity.to_inputs(encoded)
        targets = self.validity.to_labels(labels, len(inputs))
        self.validity.raise_if_marked()
        self.plan(len(inputs), training=True)
        self.loss.reset()
        self.differentiate(inputs, targets, label_smoothing, class_weights_on(self.device, class_weights, self.classes))
        loss = self.loss.read().loss
        self.loss.reset()
        return loss, self.parameters.gradient_dict()

    @in_turn
    def spike_times(self) -> dict[str, np.ndarray]:
        """Local spike times T - x of the last batch, +inf for silence, by layer: (N, C, H, W) or (N, C), NumPy.

        Nothing keeps every layer's output, so the batch passes through the network once more, as it is now.
        """
        if self.last_inputs is None:
            raise ValueError("spike_times() tells of the last forward, and there has been none")
        times = {}

        def record(layer: Layer, output: Array) -> None:
            if layer.is_spiking or isinstance(layer, MaxPool):
                x = layer.public(self.device.to_host(output))
                times[layer.name] = np.where(x == 0, np.float32(np.inf), np.float32(self.t_win) - x)

        self.run(self.last_inputs, watch=record)
        self.validity.raise_if_marked()
        return times

    @in_turn
    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the weights, NumPy: (out, in, kernel_h, kernel_w) or (out, in), in layer order.

        Raises ValueError if a batch was none since somebody last waited for a GPU.
        """
        self.validity.raise_if_marked()
        return self.parameters.state_dict()

    @in_turn
    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Takes weights named and shaped like state_dict(); raises ValueError, changing nothing, unless all fit."""
        self.parameters.load(state)

    def summary(self) -> str:
        """A table: layer, output shape, parameters, operations per image; and the bytes of what is planned."""
        return summary(self.layers, self.input_shape, self._plan)

    def _repr_html_(self) -> str:
        """That table, as a notebook shows it of a cell's last expression."""
        return summary_html(self.layers, self.input_shape, self._plan)

    # What the trainer calls: no checks, no copies, nothing allocated once planned

    @in_turn
    def plan(self, batch_size: int, *, training: bool = False) -> None:
        """Makes the arrays for up to `batch_size` images, unless those at hand suffice; new ones start `loss` anew.

        Raises UserError where they do not fit into memory.
        """
        batch_size = check_count("batch_size", batch_size)
        if self._plan is not None:
            if batch_size <= self._plan.batch_size and (self._plan.training or not training):
                return
            batch_size, training = max(batch_size, self._plan.batch_size), training or self._plan.training
            self._plan = None  # its memory is free for the next one
        self.compile_ahead(batch_size, training=training)
        plan = Plan(stages_of(self.layers), batch_size, training=training)
        plan.allocate(self.device)
        self.loss = self._new_loss(batch_size)
        self._plan = plan

    def compile_ahead(self, batch_size: int, *, training: bool, slopes: Iterable[float] | None = None) -> None:
        """Has the kernels ready that batches of up to so many images ask for while psp_slope has these values.

        slopes: None for the present one. Only whether they are 0 matters. Raises UserError where one does not compile.
        """
        if self.device.gpu is None:
            return
        sums = {slope != 0 for slope in ([self.psp_slope] if slopes is None else slopes)}
        variants: dict[Variant, None] = dict.fromkeys(reductions.VARIANTS)
        if training and self.parameters.is_standardized:
            variants |= dict.fromkeys(standardization.VARIANTS)
        if training and self.parameters.has_potentials:
            variants |= dict.fromkeys(potential_kernels.VARIANTS)
        for index, stage in enumerate(stages_of(self.layers)):
            layer = stage.layer
            if not isinstance(layer, Weighted):
                continue
            passes: tuple[Pass, ...] = ("forward",)
            if training:
                passes += ("weight_gradient", "data_gradient") if index else ("weight_gradient",)
            # a direct code's neurons have a slope of their own
            each_sum = sums if layer.neuron.psp_slope is self._psp_slope else {layer.neuron.needs_weight_sum}
            # whoever watches sees every neuron; few images may be cut otherwise than many
            for which, has_weight_sum, images in product(passes, sorted(each_sum), (1, batch_size)):
                algorithm, joined = layer.algorithms.of(which), stage.pool is not None
                for pooled in {joined, joined and which != "forward"}:
                    variants |= dict.fromkeys(
                        algorithm.kernels(which, images, layer.neuron, has_weight_sum=has_weight_sum, pooled=pooled)
                    )
        self.device.compile_ahead(variants)

    @property
    def planned(self) -> Plan | None:
        """The plan at hand: another one has its arrays elsewhere."""
        return self._plan

    @in_turn
    def tune(self, batch_size: int, tuner: Tuner | None = None, *, only: Collection[str] | None = None) -> None:
        """Chooses each convolution's algorithms by timing them for batches of that many images.

        only: the names of the layers that this is for.
        """
        batch_size = check_count("batch_size", batch_size)
        tuner = tuner or Tuner(self.device)
        for index, layer in enumerate(self.layers):
            if isinstance(layer, Weighted) and not layer.flat and (only is None or layer.name in only):
                layer.algorithms = tuner.choose(
                    layer.shape, batch_size, is_first=index == 0, precision=self.wanted_precision
                )
        self._plan = None

    @in_turn
    def run(self, inputs: Array, *, training: bool = False, watch: Watcher | None = None) -> Array:
        """The readout for encoded inputs, (N, classes); a view that the next run overwrites.

        inputs: float32 (N, height, width, channels) on the device. training: keeps what backward needs. watch: is told
        of every layer's output, in order. Raises TypeError or ValueError for inputs that are none; for values outside
        the code's, on a GPU, it is whoever next waits for it that raises (ttfs_cupy.engine.validity).
        """
        self.validity.check_inputs(inputs)
        plan = self._planned(len(inputs), training=training)
        self.last_inputs = inputs
        for stage, slots in zip(plan.stages, plan.slots, strict=True):
            batch_size = len(inputs)
            out = slots.activations(batch_size, with_weight_sum=training and stage.needs_weight_sum)
            workspace = slots.forward_workspace.array
            if watch is not None and stage.pool is not None:
                assert slots.unpooled is not None
                every = Activations(slots.unpooled.array[:batch_size])
                stage.layer.forward(inputs, every, workspace)
                watch(stage.layer, every.output)
                stage.pool.forward(every.output, out, workspace)
            else:
                stage.layer.forward(inputs, out, workspace)
            if watch is not None:
                watch(stage.layers[-1], out.output)
            inputs = out.output
        return inputs.reshape(-1, self.classes)

    @property
    def readout_inputs(self) -> Array:
        """What the readout was given in the last run, (N, height, width, channels); the next one overwrites it."""
        if self.last_inputs is None or self._plan is None:
            raise ValueError("readout_inputs are of the last run, and there has been none")
        below = self._plan.slots[-2:-1]
        return below[0].output.array[: len(self.last_inputs)] if below else self.last_inputs

    @in_turn
    def differentiate(
        self,
        inputs: Array,
        labels: Labels,
        label_smoothing: float = 0.0,
        class_weights: Array | None = None,
        images: int | None = None,
        *,
        done: Callable[[Layer], None] | None = None,
    ) -> None:
        """Forward and backward of a batch: adds to `loss`, and leaves the gradients in `parameters`.

        labels, label_smoothing, class_weights, images: as CrossEntropy.add takes them. done: is told of each layer
        whose gradients are there, from the last one down. Raises TypeError or ValueError as run() does, for labels that
        are not int32 (N,) and classes, or such MixedLabels, and for images below N.
        """
        readout = self.run(inputs, training=True)
        batch_size, plan = len(inputs), self._planned(len(inputs), training=True)
        grad = self.loss.add(readout, labels, label_smoothing, class_weights, images)
        grad = grad.reshape(-1, *self.layers[-1].out_shape)
        for index in reversed(range(len(plan.stages))):
            stage, slots = plan.stages[index], plan.slots[index]
            below = plan.slots[index - 1] if index else None
            under = below.output.array[:batch_size] if below else inputs
            grad_under = _grad(below, batch_size) if below else None
            assert slots.backward_workspace is not None
            out = slots.activations(batch_size, with_weight_sum=stage.needs_weight_sum)
            stage.layer.backward(under, grad, out, grad_under, slots.backward_workspace.array)
            if done is not None:
                done(stage.layer)
            grad = grad_under

    @in_turn
    def train_step(
        self,
        inputs: Array,
        labels: Labels,
        optimizer: Optimizer,
        label_smoothing: float = 0.0,
        class_weights: Array | None = None,
    ) -> None:
        """One step on a batch: encoded inputs and int32 labels, or MixedLabels, on the device. Nothing is read back.

        label_smoothing, class_weights: as CrossEntropy.add takes them.
        Raises TypeError or ValueError as differentiate() does: a batch that is none changes no weight.
        """
        self.check_optimizer(optimizer)
        self.differentiate(inputs, labels, label_smoothing, class_weights)
        optimizer.step()

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Raises TypeError for what is none, ValueError for one that would change other weights."""
        check_kind("optimizer", optimizer, Optimizer)
        if optimizer.parameters is not self.parameters:
            raise ValueError("the optimiser must be of this network's parameters: Adam(net.device, net.parameters)")

    def _new_loss(self, batch_size: int) -> CrossEntropy:
        with self.device.current():
            return CrossEntropy(self.device, batch_size, self.classes, self.validity, self.turns, self.silent)

    def _planned(self, batch_size: int, *, training: bool) -> Plan:
        self.plan(batch_size, training=training)
        assert self._plan is not None
        return self._plan


def _grad(slots: StageSlots, batch_size: int) -> Array:
    assert slots.grad is not None
    return slots.grad.array[:batch_size]
