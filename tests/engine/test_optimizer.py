"""Adam and SGD over several steps, beside plain loops in float64 (docs/model.md, "Optimisers")."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from reference.comparison import DEVICE, host

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Limits, Optimizer, Sgd, StepCounts
from ttfs_cupy.experiment.config.keys import OptimizerConfig

STEPS = 12
LR = 0.03


def network(seed: int = 0) -> Network:
    """8,532 weights: a size that no block or share divides, of layers with nothing in between."""
    return models.build([12, 27, {"linear": 12}], (3, 4, 4), 9, DEVICE, seed=seed)


def gradients(size: int, scale: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [(scale * rng.standard_normal(size) * rng.choice([1e-4, 1, 30], size)).astype(np.float32)] * 2 + [
        (scale * rng.standard_normal(size)).astype(np.float32) for _ in range(STEPS - 2)
    ]


def run(optimizer: Optimizer, steps: Sequence[np.ndarray]) -> np.ndarray:
    """The weights after these gradients, float64."""
    parameters = optimizer.parameters
    for gradient in steps:
        parameters.gradients[...] = optimizer.device.to_device(gradient)
        optimizer.step()
    return host(parameters.values).astype(np.float64)


@dataclass
class Plain:
    """The rules of docs/model.md, written out. momentum None: Adam."""

    lr: float = LR
    momentum: float | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    limits: Limits = field(default_factory=Limits)

    def run(self, weights: np.ndarray, steps: Sequence[np.ndarray]) -> np.ndarray:
        w = weights.astype(np.float64)
        born = np.where(w < 0, -1.0, 1.0)
        w = np.clip(w, *self.limits.weight_clip)
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t, gradient in enumerate(steps, 1):
            g = gradient.astype(np.float64)
            norm = math.sqrt((g**2).sum())
            if norm > self.limits.clip_norm:
                g = g * (self.limits.clip_norm / norm)
            g = g + self.limits.l2 * w
            if self.momentum is None:
                m = self.beta1 * m + (1 - self.beta1) * g
                v = self.beta2 * v + (1 - self.beta2) * g**2
                w = w - self.lr * (m / (1 - self.beta1**t)) / (np.sqrt(v / (1 - self.beta2**t)) + self.eps)
            else:
                v = self.momentum * v + g
                w = w - self.lr * v
            w = w - self.lr * self.limits.weight_decay * w
            w = np.clip(w, *self.limits.weight_clip)
            if self.limits.fixed_sign:
                w = np.where(w * born > 0, w, 0.0)
        return w


def check(actual: np.ndarray, expected: np.ndarray) -> None:
    # float32 rounds each of twelve steps
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())


LIMITS = [
    Limits(),
    Limits(weight_decay=0.5),
    Limits(clip_norm=1.0),
    Limits(weight_clip=(-0.1, 0.2)),
    Limits(fixed_sign=True),
    Limits(weight_decay=0.1, clip_norm=3.0, weight_clip=(-0.3, 0.25), fixed_sign=True),
    Limits(l2=0.3),
    Limits(weight_decay=0.1, clip_norm=3.0, weight_clip=(-0.3, 0.25), l2=2.0),
]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_adam(limits: Limits) -> None:
    net = network()
    weights, steps = host(net.parameters.values).copy(), gradients(net.parameters.size)
    actual = run(Adam(net.device, net.parameters, LR, limits=limits), steps)
    check(actual, Plain(limits=limits).run(weights, steps))
    assert np.abs(actual - weights).max() > LR


def test_adam_takes_other_constants() -> None:
    net = network()
    weights, steps = host(net.parameters.values).copy(), gradients(net.parameters.size)
    actual = run(Adam(net.device, net.parameters, LR, beta1=0.5, beta2=0.8, eps=0.1), steps)
    check(actual, Plain(beta1=0.5, beta2=0.8, eps=0.1).run(weights, steps))
    with pytest.raises(AssertionError):
        check(actual, Plain().run(weights, steps))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_sgd(momentum: float, limits: Limits) -> None:
    net = network()
    weights, steps = host(net.parameters.values).copy(), gradients(net.parameters.size, scale=0.1)
    actual = run(Sgd(net.device, net.parameters, LR, momentum=momentum, limits=limits), steps)
    check(actual, Plain(momentum=momentum, limits=limits).run(weights, steps))


@pytest.mark.parametrize("bound", [math.inf, 3.0])
@pytest.mark.parametrize("name", ["adam", "adam with l2", "sgd", "sgd with l2", "adamw"])
def test_as_pytorch_does_it(name: str, bound: float) -> None:
    """Twenty steps; the gradient's norm is clipped before the optimiser adds l2 to it."""
    torch = pytest.importorskip("torch")
    net = network()
    steps = gradients(net.parameters.size, scale=0.1) + gradients(net.parameters.size)[:8]
    l2, decay = 0.7 if "l2" in name else 0.0, 0.5 if name == "adamw" else 0.0
    limits = Limits(decay, bound, l2=l2)
    # decay comes before the step there: theirs are our weights as they are before a decay
    kept = 1 - LR * decay
    theirs = torch.tensor(host(net.parameters.values).astype(np.float64) / kept, requires_grad=True)
    if name == "adamw":
        published = torch.optim.AdamW([theirs], lr=LR, weight_decay=decay)
    elif name.startswith("adam"):
        published = torch.optim.Adam([theirs], lr=LR, weight_decay=l2)
    else:
        published = torch.optim.SGD([theirs], lr=LR, momentum=0.9, weight_decay=l2)
    ours: Optimizer = Adam(net.device, net.parameters, LR, limits=limits)
    if name.startswith("sgd"):
        ours = Sgd(net.device, net.parameters, LR, momentum=0.9, limits=limits)
    for gradient in steps:
        theirs.grad = torch.tensor(gradient.astype(np.float64))
        torch.nn.utils.clip_grad_norm_([theirs], bound)
        published.step()
    check(run(ours, steps), kept * theirs.detach().numpy())


def test_limits_hold_exactly() -> None:
    net = network()
    born = host(net.parameters.values).copy()
    limits = Limits(weight_clip=(-0.1, 0.2), fixed_sign=True)
    weights = run(Adam(net.device, net.parameters, LR, limits=limits), gradients(net.parameters.size))
    assert weights.min() == np.float32(-0.1)
    assert weights.max() == np.float32(0.2)
    assert not (weights * born < 0).any()
    assert 0.01 < np.mean(weights == 0) < 0.9


@pytest.mark.parametrize("kind", [Adam, Sgd])
def test_bounds_hold_from_the_start(kind: Any) -> None:
    """As T2FSNN's do: signs are those from before, and potentials have no bounds."""
    net = models.build([4, {"linear": 3}], (3, 4, 4), 2, DEVICE, initial_potential=True)
    parameters = net.parameters
    parameters.load({name: array if "weight" in name else array + 9 for name, array in net.state_dict().items()})
    born, state = host(parameters.values).copy(), net.state_dict()
    optimizer = kind(net.device, parameters, LR, limits=Limits(weight_clip=(-0.1, 0.2), fixed_sign=True))
    weights, count = host(parameters.values), parameters.decayed
    np.testing.assert_array_equal(weights[:count], np.clip(born[:count], np.float32(-0.1), np.float32(0.2)))
    np.testing.assert_array_equal(weights[count:], born[count:])
    assert optimizer.moved == (weights != born).sum() > 10
    np.testing.assert_array_equal(optimizer.state_dict()["birth_sign"], np.where(born[:count] < 0, -1, 1))
    # weights that lie within are left as they are, which is how a run goes on
    kept = net.state_dict()
    assert kind(net.device, parameters, LR, limits=Limits(weight_clip=(-0.1, 0.2))).moved == 0
    assert all(np.array_equal(array, kept[name]) for name, array in net.state_dict().items())
    # without bounds nothing is
    net.load_state_dict(state)
    assert kind(net.device, parameters, LR, limits=Limits(fixed_sign=True)).moved == 0
    np.testing.assert_array_equal(host(parameters.values), born)


def test_a_sign_outlasts_bounds_that_end_at_0() -> None:
    net = network()
    born = host(net.parameters.values).copy()
    Adam(net.device, net.parameters, LR, limits=Limits(weight_clip=(0, 0.2), fixed_sign=True))
    weights = host(net.parameters.values)
    assert (weights[born < 0] == 0).all() and (weights[born > 0.2] == np.float32(0.2)).all() and (weights > 0).any()


@pytest.mark.parametrize("bounds", [(0.1, 1), (-1, -0.25)])
def test_fixed_signs_need_0_within_the_bounds(bounds: tuple[float, float]) -> None:
    with pytest.raises(UserError) as caught:
        Limits(weight_clip=bounds, fixed_sign=True)
    assert str(caught.value) == (
        f"weight_clip is {[*map(float, bounds)]}, but fixed_sign needs 0 in it, where weights stay that would cross "
        "it: widen it, or leave one of them out"
    )
    assert Limits(weight_clip=bounds).weight_clip == bounds


def test_bounds_are_not_for_averaged_weights() -> None:
    net = network()
    average = WeightAverage(Adam(net.device, net.parameters), 0.9)
    with average.in_place(), pytest.raises(ValueError, match="the averaged weights are in place"):
        Adam(net.device, net.parameters, limits=Limits(weight_clip=(-1, 1)))


def test_the_learning_rate_may_change_at_every_step() -> None:
    net = network()
    weights, steps = host(net.parameters.values).astype(np.float64), gradients(net.parameters.size)[:2]
    optimizer = Sgd(net.device, net.parameters, 0.5)
    run(optimizer, steps[:1])
    optimizer.lr = 0.125
    check(run(optimizer, steps[1:]), weights - 0.5 * steps[0] - 0.125 * steps[1])


def test_counts_tell_applied_skipped_and_clipped_steps() -> None:
    net = network()
    size = net.parameters.size
    optimizer = Sgd(net.device, net.parameters, 0.1, limits=Limits(clip_norm=1.0))
    short, long, broken = (np.full(size, value, np.float32) for value in (0.5 / math.sqrt(size), 1, np.nan))
    run(optimizer, [short, long, long, broken, short, broken, broken])
    counts = optimizer.counts
    assert (counts.applied, counts.skipped, counts.clipped) == (4, 3, 2)
    assert (counts.in_a_row, counts.longest_row) == (2, 2)
    run(optimizer, [short, broken])
    assert (optimizer.counts.in_a_row, optimizer.counts.longest_row) == (1, 2)


def test_counts_of_earlier_versions_have_no_rows() -> None:
    net = network()
    optimizer = Sgd(net.device, net.parameters, 0.1)
    optimizer.load_state_dict({**optimizer.state_dict(), "counts": np.array([4, 3, 2])})
    assert optimizer.counts == StepCounts(4, 3, 2, 0, 0)
    with pytest.raises(ValueError, match=r"'counts' must be int64 \(4,\), not int64 \(5,\)"):
        optimizer.load_state_dict({**optimizer.state_dict(), "counts": np.array([4, 3, 2, 1, 1])})


@pytest.mark.parametrize("kind", [Adam, Sgd])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])  # of the last, the square overflows
def test_a_gradient_that_is_not_finite_changes_nothing(kind: Any, value: float) -> None:
    net = network()
    size = net.parameters.size
    good = gradients(size)
    optimizer = kind(net.device, net.parameters, LR, limits=Limits(weight_decay=0.1, weight_clip=(-0.2, 0.2)))
    before = run(optimizer, good[:3])
    state = optimizer.state_dict()
    for position in (0, size // 2, size - 1):
        bad = good[3].copy()
        bad[position] = value
        np.testing.assert_array_equal(run(optimizer, [bad]), before)
    after = optimizer.state_dict()
    for name in state.keys() - {"counts"}:
        np.testing.assert_array_equal(after[name], state[name])
    assert (optimizer.counts.applied, optimizer.counts.skipped) == (3, 3)

    # and what follows goes on as if it had never been there
    other = network()
    undisturbed = kind(other.device, other.parameters, LR, limits=optimizer.limits)
    np.testing.assert_array_equal(run(optimizer, good[3:]), run(undisturbed, good))


def test_a_gradient_of_zero_is_no_trouble() -> None:
    net = network()
    before = host(net.parameters.values).copy()
    zero = np.zeros(net.parameters.size, np.float32)
    optimizer = Adam(net.device, net.parameters, LR, limits=Limits(clip_norm=1.0))
    np.testing.assert_array_equal(run(optimizer, [zero, zero]), before)
    assert optimizer.counts.skipped == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda net: Adam(net.device, net.parameters, LR, limits=Limits(fixed_sign=True, clip_norm=2.0)),
        lambda net: Sgd(net.device, net.parameters, LR, momentum=0.9, limits=Limits(fixed_sign=True)),
    ],
)
def test_a_restored_optimizer_goes_on_to_the_same_bits(build: Any) -> None:
    net, steps = network(), gradients(network().parameters.size)
    optimizer = build(net)
    run(optimizer, steps[:5])
    weights, state = net.state_dict(), optimizer.state_dict()
    kept = {name: array.copy() for name, array in state.items()}
    expected = run(optimizer, steps[5:])
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept[name], err_msg="state_dict must be a copy")

    other = network(seed=1)  # born with other signs
    restored = build(other)
    other.load_state_dict(weights)
    restored.load_state_dict(state)
    np.testing.assert_array_equal(run(restored, steps[5:]), expected)
    assert restored.counts == optimizer.counts


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1023, 1025, 8 * 1024 + 5])
def test_the_norm_sums_every_weight(size: int) -> None:
    """Clipped to norm 1, the step of SGD is the unit vector, wherever the one large gradient stands."""
    net = models.build([{"linear": 1}], (size, 1, 1), 2, DEVICE)  # size + 2 weights
    count = net.parameters.size
    for position in {0, size // 2, count - 1}:
        before = host(net.parameters.values).astype(np.float64)
        gradient = np.zeros(count, np.float32)
        gradient[position] = 1000
        moved = run(Sgd(net.device, net.parameters, 1.0, limits=Limits(clip_norm=1.0)), [gradient]) - before
        expected = np.zeros(count)
        expected[position] = -1
        np.testing.assert_allclose(moved, expected, atol=1e-6)


@pytest.mark.parametrize("kind", [Adam, Sgd])
def test_a_decay_of_more_than_all_of_a_weight(kind: Any) -> None:
    """What a config refuses; the rate may be raised later, too."""
    net, limits = network(), Limits(weight_decay=5)
    with pytest.raises(UserError, match=r"^weight_decay is 5: a step takes lr times that off each weight, with lr 1 "):
        kind(net.device, net.parameters, 1, limits=limits)
    optimizer = kind(net.device, net.parameters, 0.2, limits=limits)
    with pytest.raises(UserError, match=r"with lr 0\.21 more than all of it; lower one of them"):
        optimizer.lr = 0.21
    assert optimizer.lr == 0.2
    optimizer.lr = 0.1


@pytest.mark.parametrize(
    "make",
    [
        lambda net: Adam(net.device, net.parameters, np.float16(0)),
        lambda net: Adam(net.device, net.parameters, beta1=np.float16(1)),
        lambda net: Adam(net.device, net.parameters, eps=np.float16(0)),
        lambda net: Sgd(net.device, net.parameters, momentum=np.float32(1)),
        lambda net: Limits(clip_norm=np.float16(0)),
        lambda net: Adam(net.device, net.parameters, 10**400),
        lambda net: Limits(clip_norm=10**400),
    ],
)
def test_numbers_of_any_type_are_beside_the_same_bounds(make: Any) -> None:
    with pytest.raises(UserError, match="must be a number"):
        make(network())


SENTENCES = [
    (lambda net: Adam(net.device, net.parameters, beta1=1.0), "beta1 must be a number from 0 to below 1, not 1.0"),
    (lambda net: Adam(net.device, net.parameters, beta2=-1), "beta2 must be a number from 0 to below 1, not -1"),
    (
        lambda net: Adam(net.device, net.parameters, beta2=0.99999999),
        "beta2 must be at most 0.9999999, not 0.99999999",
    ),
    (lambda net: Sgd(net.device, net.parameters, momentum=1), "momentum must be a number from 0 to below 1, not 1"),
    (lambda net: Adam(net.device, net.parameters, 0), "lr must be a number above 0, not 0"),
    (lambda net: Adam(net.device, net.parameters, 1e-40), "lr must be a number from 1.18e-38 to 3.4e38, not 1e-40"),
    (lambda net: Limits(weight_decay=-1), "weight_decay must be a number from 0, not -1"),
    (lambda net: Limits(l2=-1), "l2 must be a number from 0, not -1"),
    (lambda net: Limits(l2=np.inf), "l2 must be a number from 1.18e-38 to 3.4e38, not inf"),
    (lambda net: Limits(weight_decay=1e-40), "weight_decay must be a number from 1.18e-38 to 3.4e38, not 1e-40"),
    (lambda net: Adam("cpu", net.parameters), "device must be a network's device, not str"),
    (lambda net: Sgd(None, None), "device must be a network's device, not NoneType"),
    (lambda net: Adam(net.device, net), "parameters must be of type Parameters, not Network"),
    (lambda net: Sgd(net.device, net.parameters, limits=3), "limits must be of type Limits, not int"),
]


@pytest.mark.parametrize(("make", "sentence"), SENTENCES, ids=[sentence for _, sentence in SENTENCES])
def test_what_is_said_of_a_wrong_argument(make: Any, sentence: str) -> None:
    with pytest.raises((UserError, TypeError), match=f"^{re.escape(sentence)}$"):
        make(network())


@pytest.mark.parametrize("bounds", [(1e-40, 1), (-1, -1e-320)])
def test_bounds_of_weights_that_float32_would_blur(bounds: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"^each number of weight_clip must be 0, or of a size that float32 can hold"):
        Limits(weight_clip=bounds)


def test_limits_are_pythons_own_numbers() -> None:
    limits = Limits(np.float16(1), np.float16(3), (np.float16(-2), np.float16(2)))
    assert {type(value) for value in (limits.weight_decay, limits.clip_norm, *limits.weight_clip)} == {float}


@pytest.mark.parametrize("bounds", [(0, 10**400), (-(10**400), 0.0), (0, 1e39)])
def test_bounds_of_weights_that_float32_cannot_hold(bounds: tuple[float, float]) -> None:
    """The first step ended in an OverflowError."""
    with pytest.raises(UserError, match=r"^each number of weight_clip must be a number from -3.4e38 to 3.4e38, not"):
        Limits(weight_clip=bounds)


def test_a_config_and_an_optimiser_refuse_the_same_decays() -> None:
    net = network()
    for lr, decay in ((0.1, 10), (0.1, 10.001), (1, 1), (1e-3, 1e3), (3.0, 0.34), (1e30, 1e30)):
        outcomes = []
        for make in (
            lambda lr=lr, decay=decay: OptimizerConfig(lr=lr, weight_decay=decay),
            lambda lr=lr, decay=decay: Adam(net.device, net.parameters, lr, limits=Limits(weight_decay=decay)),
        ):
            try:
                make()
                outcomes.append(True)
            except ValueError:
                outcomes.append(False)
        assert outcomes == [lr * decay <= 1] * 2


@pytest.mark.parametrize("infinity", [math.inf, float("inf"), np.inf, np.float32("inf")])
def test_no_largest_norm_by_any_infinity(infinity: float) -> None:
    assert Limits(clip_norm=infinity).clip_norm == math.inf
