"""How far a module's potentials are from the network's own, on the same images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.common.packages import imported
from ttfs_cupy.engine.network import Network

# of potentials, or of the largest one if that is above 1
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """largest: the difference of any potential, relative to the largest potential of all, or to 1 if none is above.
    differing: on how many of the images it is above TOLERANCE. predictions: how many of them change."""

    images: int
    largest: float
    differing: int
    predictions: int


def agreement(network: Network, text: str, state: Mapping[str, np.ndarray], images: np.ndarray) -> Agreement:
    """Runs both. text: of the module; images: (N, C, H, W) in [0, 1].

    Raises UserError where PyTorch is not installed.
    """
    torch = imported("torch", "PyTorch, which runs the module,", "pip install torch")
    names: dict[str, object] = {}
    exec(compile(text, "<module>", "exec"), names)
    net = names["Net"]()  # type: ignore[operator]
    net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    pixels = np.ascontiguousarray(images, np.float32)
    with torch.no_grad():
        theirs = net(torch.from_numpy(pixels)).numpy().astype(np.float64)
    ours = network.device.to_host(network.forward(network.encode(pixels))).astype(np.float64)
    scale = max(1.0, float(np.abs(ours).max()))
    apart = np.abs(theirs - ours).max(axis=1) / scale
    changed = np.count_nonzero(theirs.argmax(1) != ours.argmax(1))
    return Agreement(len(pixels), float(apart.max()), int(np.count_nonzero(apart > TOLERANCE)), int(changed))
