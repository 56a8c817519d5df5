"""VGG7 and VGG11 of T2FSNN, as it builds them, layer by layer and backward."""

from typing import Any

import numpy as np
import pytest
from reference.specification import random_images

from parity import comparison
from parity.checkouts import T2fsnn
from parity.ours import build
from parity.their_network import sides_of, spec_of

SHAPE, CLASSES = (3, 32, 32), 10
# of CIFAR-10, as their app/run.py has them
STATISTICS = {"mean": np.array([0.4914, 0.4822, 0.4465]), "std": np.array([0.2023, 0.1994, 0.2010])}
PIXELS = {"raw": {}, "standardised": {"standardize": True, **STATISTICS}}
# Where 2e-6 does not hold: Winograd's algorithm, which `auto` takes, rounds more than matrix products do, and that adds
# up on the way down.
WINOGRAD_GRADIENTS = 5e-6


def photographs(count: int) -> np.ndarray:
    """Random pixels, a quarter of each image black, as raw images often are."""
    images = random_images(count, SHAPE, seed=1)
    images[:, :, : SHAPE[1] // 4] = 0
    return images


@pytest.mark.parametrize("convolution", ["gemm", "auto"])
@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("model", ["vgg7", "vgg11"])
def test_every_layer_and_gradient_is_theirs(t2fsnn: T2fsnn, model: str, pixels: str, convolution: str) -> None:
    options: dict[str, Any] = {"clip": "separate", "convolution": convolution, **PIXELS[pixels]}
    net = build(model, SHAPE, CLASSES, **options)
    sides = sides_of(t2fsnn, model, SHAPE, CLASSES, list(net.state_dict().values()))
    labels = np.arange(3, dtype=np.int32)
    about = f"{model}, {pixels} pixels, {convolution}"
    gradients = WINOGRAD_GRADIENTS if convolution == "auto" else comparison.GRADIENTS
    comparison.check(net, sides, photographs(3), labels, about, gradients)


@pytest.mark.parametrize("model", ["vgg7", "vgg11"])
def test_bundled_models_are_theirs(t2fsnn: T2fsnn, model: str) -> None:
    from ttfs_cupy.models import read

    plan = t2fsnn.run.parse_network_str(t2fsnn.run.ARCHITECTURES[model] + " - 10F")
    assert read(spec_of(plan)).layers == read(model).layers
