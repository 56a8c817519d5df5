"""Writes a run's network for other runtimes, and in C: python -m ttfs_cupy.export RUN_DIR --onnx FILE."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import named_twice
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.common.machine.cores import chosen_threads
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.experiment.config import changes, load_config
from ttfs_cupy.experiment.files.outputs import check_output
from ttfs_cupy.experiment.files.run_directory import OWN_WEIGHTS, RunDirectory
from ttfs_cupy.export import nir_graph, onnx_check, onnx_graph
from ttfs_cupy.export.about import About
from ttfs_cupy.export.c.export import c_files, check_folder, write_files
from ttfs_cupy.trained.opening import OpenedRun, open_run

# A file is compared with the network in float32, whatever the run was trained with.
_IN_FLOAT32 = ("network.precision=float32", "network.convolution=auto", "tune=false")
# of the test set, in that comparison
IMAGES = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 1 if what it made is not what the network computes."""
    parsed = parser().parse_args(arguments)
    return command_line.run(lambda: _export(parsed), process_ends=arguments is None)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("export"), description=__doc__)
    add = parser.add_argument
    parser.add_run()
    add("--onnx", type=command_line.path, metavar="FILE", help="the network as a graph of standard ONNX operators")
    add("--nir", type=command_line.path, metavar="FILE", help="its neurons as a graph of standard NIR nodes")
    add("--c", type=command_line.path, metavar="DIR", help="a folder of C files: in float32, and in 8-bit integers")
    add("--images", type=int, default=IMAGES, metavar="N", help=f"test images of the comparison (default: {IMAGES})")
    parser.add_force()
    parser.add_device()
    parser.add_epoch()
    parser.add_overrides("where the data are: data.root=DIR")
    return parser


@dataclass(frozen=True)
class Made:
    """A file's content, or that of a folder's files by their names, what is said of it, and whether it is as it should
    be."""

    content: bytes | Mapping[str, bytes]
    said: str
    is_good: bool = True


# What makes a file of an opened run, comparing it on that many images.
_Maker = Callable[[OpenedRun, int], Made]


def _export(parsed: argparse.Namespace) -> int:
    wanted: list[tuple[str, Path, _Maker]] = []
    # what may be refused comes first, then what is long compared
    if parsed.nir is not None:
        imported("nir", *nir_graph.NIR)
        wanted.append(("--nir", parsed.nir, _nir))
    if parsed.onnx is not None:
        imported("onnx", *onnx_graph.ONNX)
        wanted.append(("--onnx", parsed.onnx, _onnx))
    if parsed.c is not None:
        wanted.append(("--c", parsed.c, _c))
    if not wanted:
        raise UserError("nothing is to be written: name a file with --onnx or --nir, or a folder with --c")
    check_count("--images", parsed.images)
    for option, output, _ in wanted:
        _check_output(option, output, force=parsed.force)
    if named_twice(output for _, output, _ in wanted):
        raise UserError("--onnx, --nir and --c name one file twice: name one for each")
    _check_overrides(parsed.run, parsed.set)
    opened = open_run(parsed.run, [*_IN_FLOAT32, *parsed.set], parsed.device, parsed.epoch)
    # made before anything is written: all of the files, or none
    made = [(output, maker(opened, parsed.images)) for _, output, maker in wanted]
    wrong = [(output, file) for output, file in made if not file.is_good]
    for output, file in wrong:
        command_line.say(f"{shown_path(output)} is not written, as it is wrong: {file.said}")
    if wrong:
        return 1
    for output, file in made:
        _write(output, file.content)
        command_line.say(f"{shown_path(output)}: {file.said}")
    return 0


def _write(output: Path, content: bytes | Mapping[str, bytes]) -> None:
    if isinstance(content, bytes):
        write_atomically(output, content)
    else:
        write_files(output, content)


def _check_output(option: str, output: Path, *, force: bool) -> None:
    if option == "--c":
        check_folder(output, force=force)
        return
    check_output(output, force=force, option=option)


def _check_overrides(path: Path, overrides: Sequence[str]) -> None:
    """Raises UserError where another network would be written than the run's."""
    run = RunDirectory.existing(path)
    before, after = (load_config(run.config, [OWN_WEIGHTS, *added]) for added in ([], overrides))
    changes.require_same_network(before, after)


def _onnx(opened: OpenedRun, images: int) -> Made:
    graph = onnx_graph.onnx_graph(opened.network, _about(opened))
    network = f"the network of {shown_path(opened.path)}"
    try:
        onnx_check.check_graph(graph)
        found = _beside_it(opened, graph, images)
    except onnx_check.GraphError as error:
        return Made(graph.content, f"{network}; {error}", is_good=False)
    if isinstance(found, UserError):
        return Made(graph.content, f"{network}, not compared with it: {found}")
    return Made(graph.content, f"{network}; {found}", found.is_good)


def _beside_it(opened: OpenedRun, graph: onnx_graph.Graph, images: int) -> onnx_check.Agreement | UserError:
    """How it agrees with the network, or why that is not known."""
    try:
        imported("onnxruntime", *onnx_check.RUNTIME)
    except UserError as error:
        return error
    test = opened.experiment.dataset.test
    pixels = test.images[:images].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(test.maximum)
    threads, _ = chosen_threads(opened.experiment.config.threads)
    return onnx_check.agreement(opened.network, graph, pixels, threads)


def _nir(opened: OpenedRun, _images: int) -> Made:
    content = nir_graph.content(opened.network, _about(opened))
    return Made(content, f"the neurons of {shown_path(opened.path)}, in NIR's nodes")


def _c(opened: OpenedRun, images: int) -> Made:
    made = c_files(opened, images)
    return Made(made.content, "\n  ".join((f"the network of {shown_path(opened.path)}", *made.said)), made.is_good)


def _about(opened: OpenedRun) -> About:
    return About(str(opened.path), opened.weights.class_names or opened.class_names)
