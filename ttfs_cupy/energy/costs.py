"""What operations cost in energy, and how many an image takes on each kind of hardware (docs/energy.md).

The figures are those of M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, pp. 10-14,
for 45 nm CMOS at 0.9 V and float32. An access of memory is one of 32 bits, half of the 64 that he gives.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ttfs_cupy.common.checks import check_choice
from ttfs_cupy.energy.counting import LayerOperations, Operations

SOURCE = "Horowitz, ISSCC 2014: 45 nm, 0.9 V, float32"
# pJ
ADDITION, MULTIPLICATION = 0.9, 3.7
MULTIPLY_ADD = ADDITION + MULTIPLICATION
# pJ, an access of 32 bits; of DRAM the lower end of what he gives
ACCESS = {"8kB": 5.0, "32kB": 10.0, "1MB": 50.0, "DRAM": 650.0}
MEMORY = "32kB"

ADDITIONS, EVENTS, ANN = "additions", "event_driven", "ann"
# what does the work, and how it is called in tables
WAYS = {ADDITIONS: "additions only", EVENTS: "event-driven", ANN: "ANN"}


@dataclass(frozen=True)
class Work:
    """Operations of an image, on average; accesses are those of memory, of 32 bits."""

    additions: float = 0.0
    multiplications: float = 0.0
    accesses: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.additions + other.additions,
            self.multiplications + other.multiplications,
            self.accesses + other.accesses,
        )

    @property
    def arithmetic(self) -> float:
        """Its energy in nJ."""
        return (ADDITION * self.additions + MULTIPLICATION * self.multiplications) / 1e3

    def memory(self, size: str = MEMORY) -> float:
        """The energy of its accesses in nJ. size: of the memory, of `ACCESS`; raises UserError for another one."""
        check_choice("memory", size, tuple(ACCESS))
        return ACCESS[size] * self.accesses / 1e3


def work(layer: LayerOperations, images: int, way: str) -> Work:
    """What a layer with weights takes on one kind of hardware, one of `WAYS`; any other layer is left out, so 0.

    additions: hardware whose neurons integrate by themselves. A spike adds its weight to a neuron's slope: an addition,
    for which the weight and the slope are read and the slope is written. event_driven: digital, where a spike brings
    its time: A += w x, and S += w where psp_slope is above 0; each is read and written. Both read each input spike once
    and write each of their own. Inputs that are no spikes are multiplied as in an ANN. ann: a multiply-add for each
    connection, for which weight and input are read, while the sum stays in a register; each output is written once.
    """
    if not layer.has_weights:
        return Work()
    if way == ANN:
        return Work(layer.connections, layer.connections, 2 * layer.connections + layer.neurons)
    states = 2 if way == EVENTS and layer.has_weight_sum else 1
    events, products = layer.synaptic_operations, layer.multiply_adds
    total = Work(
        events * states + products,
        (events if way == EVENTS else 0) + products,
        events * (1 + 2 * states) + 2 * products + layer.input_spikes + _written(layer, images),
    )
    return Work(total.additions / images, total.multiplications / images, total.accesses / images)


def _written(layer: LayerOperations, images: int) -> int:
    """Its spikes, or the potentials of a readout."""
    return layer.neurons * images if layer.spikes is None else layer.spikes


def total(layers: Iterable[LayerOperations], images: int, way: str) -> Work:
    """Of all layers."""
    return sum((work(layer, images, way) for layer in layers), Work())


def additions_of_a_tick(operations: Operations) -> int:
    """What a clocked circuit adds for each tick of a window, for an image: to each potential its slope, while the
    inputs arrive, and once they have where psp_slope is above 0."""
    reading = (layer for layer in operations.layers if layer.reads_spikes)
    return sum(layer.neurons * (2 if layer.has_weight_sum else 1) for layer in reading)
