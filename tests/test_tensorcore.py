"""Convolution on tensor cores, in the emulator, against float64: with the same rounding of operands, and with none.

The emulator finds races, reads of what was never written, and steps beyond an array by itself.
"""

import numpy as np
import pytest
from emulator import why_not
from hypothesis import HealthCheck, given, settings
from reference import earliness
from tensorcore_case import Case, cases, error, nchw, rounded_to_tf32

from ttfs_cupy.convolution.shape import Activations, OutgoingGradient
from ttfs_cupy.kernel_checks.neuron_reference import compare_spikes

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(cases())
def test_forward(case: Case) -> None:
    if case.pooled:
        return
    out = case.forward(fires=False)
    (weight_sum, drive), (exact_sum, exact_drive) = case.split_sums(), case.sums()
    potential = out.output - case.psp_slope * case.t_win * (out.weight_sum if case.psp_slope else 0)
    print(error(potential, drive), error(potential, exact_drive))
