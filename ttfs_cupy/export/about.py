"""What a file says of the network that it holds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ttfs_cupy.common.version import __version__
from ttfs_cupy.engine.network import Network


@dataclass(frozen=True)
class About:
    """source: what the network was read from; class_names: None where the run has none."""

    source: str
    class_names: Sequence[Any] | None = None


def facts(network: Network, about: About) -> dict[str, str]:
    """Text by key, the same in every format: numbers as Python writes them, class names as a list in JSON."""
    names = {} if about.class_names is None else {"class_names": json.dumps(list(about.class_names))}
    return {
        "producer": f"ttfs_cupy {__version__}",
        "source": about.source,
        "t_win": repr(float(network.t_win)),
        "psp_slope": repr(float(network.psp_slope)),
        "encoding": network.encoder.encoding,
        **names,
    }
