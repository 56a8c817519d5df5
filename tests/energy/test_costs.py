"""What operations cost: by hand."""

import pytest

from ttfs_cupy import UserError
from ttfs_cupy.energy.costs import ADDITIONS, ANN, EVENTS, WAYS, Work, additions_of_a_tick, total, work
from ttfs_cupy.energy.counting import LayerOperations, Operations

IMAGES = 10
# of a hundred connections, sixty events in all ten images; twelve spikes
SLOPE_0 = LayerOperations("conv1", 8, 12, connections=100, input_spikes=5, synaptic_operations=60)
SLOPE_1 = LayerOperations("conv1", 8, 12, connections=100, input_spikes=5, synaptic_operations=60, has_weight_sum=True)
DIRECT = LayerOperations("conv1", 8, 12, connections=100, multiply_adds=1000)
READOUT = LayerOperations("readout", 8, None, connections=100, input_spikes=5, synaptic_operations=60)


@pytest.mark.parametrize(
    ("layer", "way", "expected"),
    [
        # an event reads a weight and reads and writes a slope; 0.5 spikes are read and 1.2 written
        (SLOPE_0, ADDITIONS, Work(6, 0, 6 * 3 + 0.5 + 1.2)),
        (SLOPE_1, ADDITIONS, Work(6, 0, 6 * 3 + 0.5 + 1.2)),
        (SLOPE_0, EVENTS, Work(6, 6, 6 * 3 + 0.5 + 1.2)),
        # S beside A
        (SLOPE_1, EVENTS, Work(12, 6, 6 * 5 + 0.5 + 1.2)),
        # a weight and an input for each product
        (DIRECT, ADDITIONS, Work(100, 100, 200 + 1.2)),
        (DIRECT, EVENTS, Work(100, 100, 200 + 1.2)),
        # every potential is written
        (READOUT, ADDITIONS, Work(6, 0, 6 * 3 + 0.5 + 8)),
        *((layer, ANN, Work(100, 100, 208)) for layer in (SLOPE_0, SLOPE_1, DIRECT, READOUT)),
        *((LayerOperations("pool1", 8, 12), way, Work()) for way in WAYS),
    ],
)
def test_work_of_a_layer(layer: LayerOperations, way: str, expected: Work) -> None:
    found = work(layer, IMAGES, way)
    assert (found.additions, found.multiplications) == (expected.additions, expected.multiplications)
    assert found.accesses == pytest.approx(expected.accesses)


def test_energy_is_counted_in_nanojoules() -> None:
    done = Work(1000, 100, 50)
    assert done.arithmetic == pytest.approx(0.9 + 0.37)
    assert [done.memory(size) for size in ("8kB", "32kB", "1MB", "DRAM")] == pytest.approx([0.25, 0.5, 2.5, 32.5])
    assert Work(1000, 1000).arithmetic == pytest.approx(4.6)
    with pytest.raises(UserError, match="memory must be one of 8kB, 32kB, 1MB, DRAM, not '2MB'"):
        done.memory("2MB")


def test_layers_add_up_and_a_clock_adds_while_potentials_grow() -> None:
    layers = (LayerOperations("input", 50, 70), SLOPE_1, READOUT)
    whole = total(layers, IMAGES, EVENTS)
    assert (whole.additions, whole.multiplications) == (18, 12)
    # where psp_slope is above 0 the potential grows in two windows
    assert additions_of_a_tick(Operations(IMAGES, 1.0, 0.5, layers)) == 2 * 8 + 8
    assert additions_of_a_tick(Operations(IMAGES, 0.0, 0.5, (DIRECT, READOUT))) == 8
