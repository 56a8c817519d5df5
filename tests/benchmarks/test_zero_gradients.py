"""The study of gradients that are only rounding, on few images."""

import numpy as np
from helpers.commands import command

from ttfs_cupy.benchmarks.precision import zero_gradients

SMALL = ("--set", "network.model=[16, 16, P, 16]", "--set", "network.psp_slope=1", "--set", "training.batch_size=16")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rounding_moves_weights_and_the_rule_keeps_them() -> None:
    outcome = command(zero_gradients.main, *SMALL, "--steps", "1", "3")
    assert (outcome.code, outcome.err) == (0, "")
    gradients, weights = (part.splitlines()[2:] for part in outcome.out.strip().split("\n\n"))
    assert [cells(line)[:2] for line in gradients] == [[str(n), name] for n in (1, 3) for name in ("conv2", "conv3")]
    assert all(cells(line)[4] == "0.00%" for line in gradients)
    assert any(cells(line)[3] != "0.00%" for line in gradients)
    moved: dict[str, list[float]] = {}
    for line in weights:
        by, _, _, number, _, largest = cells(line)
        moved.setdefault(by, []).append(float(largest) if int(number) else 0.0)
    assert list(map(len, moved.values())) == [4, 4, 4]
    assert not any(moved["gemm"]) and not any(moved["winograd"]) and max(moved["winograd, as rounded"]) > 1e-6


def test_accuracies() -> None:
    outcome = command(zero_gradients.main, *SMALL, "--accuracy", "2", "--set", "training.epochs=1")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.strip().splitlines()
    rows = [[float(cell.rstrip("%")) for cell in cells(line)[1:]] for line in lines[2:5]]
    np.testing.assert_allclose(np.mean(rows[:2], axis=0), rows[2], atol=0.011)
    assert all(20 < accuracy <= 100 for row in rows for accuracy in row)
    for line, by in zip(lines[5:], ("winograd, as rounded", "winograd"), strict=True):
        assert line.startswith(f"{by} - gemm: ") and "standard error" in line
