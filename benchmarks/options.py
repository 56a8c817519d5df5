"""What the commands accept, and refuse before anything is measured, which takes a while."""

import argparse
import math
from importlib.util import find_spec
from pathlib import Path

from ttfs_cupy.benchmarks.workload import WORKLOADS
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import check_picture, check_writable


def count(text: str) -> int:
    """A type for argparse."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def _float(text: str) -> float:
    """NaN, which lies within no bounds, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def slope(text: str) -> float:
    """A type for argparse: a psp_slope."""
    value = _float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, not {text!r}")
    return value


def rate(text: str) -> float:
    """A type for argparse: a learning rate."""
    value = _float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def milliseconds(text: str) -> float:
    """A type for argparse, up to a minute."""
    value = _float(text)
    if not 0 <= value <= 60_000:
        raise argparse.ArgumentTypeError(f"must be a number of milliseconds from 0 to 60000, not {text!r}")
    return value


def add_networks_and_batch_sizes(parser: argparse.ArgumentParser, batch_sizes: list[int]) -> None:
    """What to run: every network with every batch size. batch_sizes: the default."""
    parser.add_argument(
        "--networks", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="default: all of them"
    )
    parser.add_argument(
        "--batch-size",
        nargs="+",
        type=count,
        default=batch_sizes,
        metavar="N",
        help=f"batch sizes (default: {' '.join(map(str, batch_sizes))})",
    )


def add_device_and_rounds(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Where sides take turns, and how often. rounds: the default."""
    parser.add_argument("--device", default="cpu", help="auto, cuda, cuda:N or cpu (default: cpu)")
    parser.add_argument("--rounds", type=count, default=rounds, metavar="N", help=f"turns of each (default: {rounds})")


def check_files(json: Path | None, plot: Path | None) -> None:
    """Raises UserError where one of the files could not be written, or the plot not drawn."""
    if json is not None:
        check_writable(json)
    if plot is not None:
        check_picture("--plot", plot)
        check_matplotlib("--plot")


def check_matplotlib(what: str) -> None:
    """Raises UserError where what is to be drawn cannot be."""
    if find_spec("matplotlib") is None:
        raise UserError(f"{what} needs matplotlib: pip install 'ttfs-cupy[bench]'")
