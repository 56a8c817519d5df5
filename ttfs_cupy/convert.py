"""Writes a run's weights for PyTorch, and its network as a module: python -m ttfs_cupy.convert RUN_DIR -o FILE."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.convert()

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ttfs_cupy.common.checks import check_number
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_there, named_twice
from ttfs_cupy.common.files.writing import check_writable, write_all
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.device import get_device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange import pytorch_file
from ttfs_cupy.exchange.begin import take_weights
from ttfs_cupy.exchange.module_text import module_text
from ttfs_cupy.exchange.side_by_side import TOLERANCE, agreement
from ttfs_cupy.exchange.standardized import plain_weights
from ttfs_cupy.exchange.weight_file import WeightFile, of_arrays
from ttfs_cupy.experiment.config import Config, changes, load_config
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.outputs import check_output
from ttfs_cupy.experiment.files.run_directory import OWN_WEIGHTS, RunDirectory
from ttfs_cupy.experiment.initial_weights import SAFETENSORS, file_of, parts_of
from ttfs_cupy.experiment.prepare import network_of, read_dataset

MODULE, WEIGHTS = ".py", (*pytorch_file.SUFFIXES, SAFETENSORS)
# Which algorithms a run was computed with is none of a module's business.
_ANY_DEVICE = (OWN_WEIGHTS, "network.convolution=auto")
# of the test set, in the comparison of a module with the network
MOST_IMAGES = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = parser().parse_args(arguments)
    return command_line.run(lambda: _convert(parsed), process_ends=arguments is None)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("convert"), description=__doc__)
    add = parser.add_argument
    add("source", metavar="RUN_DIR", type=command_line.path, help="a run's directory, or a .safetensors file of one")
    add(
        "-o",
        "--output",
        type=command_line.path,
        action="append",
        required=True,
        metavar="FILE",
        help="NAME.pt or NAME.safetensors: the weights, as a state_dict; NAME.py: the module; may be repeated",
    )
    parser.add_force()
    parser.add_overrides("where the data are: data.root=DIR")
    return parser


def _convert(parsed: argparse.Namespace) -> None:
    source = file_of(parsed.source)
    # what is not there is told below
    if source.suffix.lower() != SAFETENSORS and os.path.exists(source):  # noqa: PTH110 (Path's raises)
        raise UserError(
            f"'{shown_path(source)}' cannot be converted: name a run's directory, or one of its {SAFETENSORS} files"
        )
    for output in parsed.output:
        _check_output(output, source, force=parsed.force)
    _check_names(parsed.output)
    arrays, metadata = checkpoint.load(source)
    own, _ = parts_of(arrays)
    file = plain_weights(of_arrays(source, own))
    weights = {tensor.name: file.float32(tensor) for tensor in file.tensors}
    # of weights alone nobody asks what network they are of; but what is set is to be a key
    has_module = any(map(_is_module, parsed.output))
    config = _config(source, parsed.set) if has_module or parsed.set else None
    # made before anything is written: all of the files, or none
    named = next((output.name for output in parsed.output if not _is_module(output)), "weights.pt")
    made = [
        _module(source, file, metadata, named, config)
        if config is not None and _is_module(output)
        else (_content(output, weights), f"{len(weights)} tensors of {source}")
        for output in parsed.output
    ]
    write_all({output: content for output, (content, _) in zip(parsed.output, made, strict=True)})
    for output, (_, said) in zip(parsed.output, made, strict=True):
        command_line.say(f"{output}: {said}")


def _is_module(output: Path) -> bool:
    return output.suffix.lower() == MODULE


def _check_names(outputs: Sequence[Path]) -> None:
    """Of several spellings of one file the last would be left."""
    if twice := named_twice(outputs):
        names = " and ".join(f"'{shown_path(name)}'" for name in twice)
        raise UserError(f"--output {names} are one file: name it once")


def _check_output(output: Path, source: Path, *, force: bool) -> None:
    if output.suffix.lower() not in (MODULE, *WEIGHTS):
        raise UserError(f"--output must end in .pt, .safetensors or .py, not '{shown_path(output)}'")
    check_writable(output)
    if is_there(output) and output.samefile(source):
        raise UserError(f"--output '{shown_path(output)}' is the file that is converted: name another one")
    check_output(output, force=force)


def _content(output: Path, weights: Mapping[str, np.ndarray]) -> bytes:
    if output.suffix.lower() in pytorch_file.SUFFIXES:
        return pytorch_file.content(weights)
    return safetensors.numpy.save(dict(weights), {"format": "pt"})


def _config(source: Path, overrides: Sequence[str]) -> Config:
    """The run's, with what was set. Raises UserError where there is none, or another network would be written."""
    run = RunDirectory(source.parent)
    if not run.config.is_file():
        raise UserError(
            f"'{source}' alone does not say what its network is: a .py file, and --set, need the run's config.yaml "
            "beside it"
        )
    before = load_config(run.config, _ANY_DEVICE)
    config = load_config(run.config, [*_ANY_DEVICE, *overrides], {"device": "cpu"})
    changes.require_same_network(before, config)
    return config


def _module(
    source: Path, file: WeightFile, metadata: Mapping[str, Any], named: str, config: Config
) -> tuple[bytes, str]:
    """The text of the module, and how it compares with the network on test images."""
    device, _ = get_device(config.device, config.threads)
    dataset = read_dataset(config)
    network: Network = network_of(config, device, dataset.description)
    take_weights(network, file)
    try:
        network.psp_slope = check_number("psp_slope", metadata.get("psp_slope"), 0, 1)
    except UserError as error:
        raise UserError(f"'{source}' is not the file that ttfs-train wrote: its {error}") from None
    text = module_text(network, str(source), named)
    test = dataset.test
    images = test.images[:MOST_IMAGES].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(test.maximum)
    found = agreement(network, text, network.state_dict(), images)
    said = f"the network of {source}; beside it on {found.images} test images potentials differ by {found.largest:.1e}"
    if found.differing:
        said += f", on {found.differing} of them by more than {TOLERANCE:.0e}, and {found.predictions} predictions"
    return text.encode(), said
