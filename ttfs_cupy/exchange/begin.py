"""A network begins with weights of a file."""

from collections.abc import Mapping

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.placing import Placement, place
from ttfs_cupy.exchange.weight_file import WeightFile


def take_weights(network: Network, file: WeightFile) -> list[str]:
    """Gives the network the file's weights, and its initial potentials where both have some; without, they are 0.

    Returns a table's lines: what of the file went where, and what was left out. Raises UserError, changing nothing, if
    a weight finds none in the file, or what it finds is not finite or no float.
    """
    own = network.state_dict()
    placement = place({name: array.shape for name, array in own.items()}, file)
    state = {name: np.zeros_like(array) for name, array in own.items()}
    state |= {name: file.float32(tensor) for name, tensor in placement.placed.items()}
    _load(network, state, file)
    begin_at_0 = [name for name in own if name not in placement.placed]
    lines = placement.table()
    return (
        [*lines, f"  the file has no initial potentials for {len(begin_at_0)} layers: they begin at 0"]
        if begin_at_0
        else lines
    )


def take_trained(network: Network, file: WeightFile) -> list[str] | None:
    """Gives a standardised network a checkpoint's raw weights and gains to the bit; None if these are not its own.

    Returns the lines of a table, and raises UserError, as `take_weights` does.
    """
    own = {name: array.shape for name, array in network.parameters.trained_dict().items()}
    by_name = {one.name: one for one in file.tensors}
    if own != {name: one.shape for name, one in by_name.items()}:
        return None
    trained = {name: file.float32(one) for name, one in by_name.items()}
    try:
        network.parameters.load_trained(trained)
    except ValueError as error:
        raise UserError(f"the weights in '{file.path}' do not fit: {error}") from None
    return Placement({name: by_name[name] for name in own}, ()).table()


def _load(network: Network, state: Mapping[str, np.ndarray], file: WeightFile) -> None:
    try:
        network.load_state_dict(state)
    except ValueError as error:
        raise UserError(f"the weights in '{file.path}' do not fit: {error}") from None
