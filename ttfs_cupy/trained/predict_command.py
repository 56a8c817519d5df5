"""Classifies images with a run's network: ttfs predict RUN_DIR IMAGES."""

import argparse
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.command import command_line, loudness
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import opened_aside
from ttfs_cupy.common.shown import are, counted, shown_path
from ttfs_cupy.experiment.files.outputs import check_output
from ttfs_cupy.trained.classification_text import ClassifiedImage, Csv, JsonLines, Table, Writer
from ttfs_cupy.trained.decision import Decisions
from ttfs_cupy.trained.image_names import STANDARD_INPUT, named_images
from ttfs_cupy.trained.image_stream import DecodedImage, batched, check_decodable
from ttfs_cupy.trained.opening import OpenedNetwork, open_network
from ttfs_cupy.trained.trained_network import BATCH_SIZE, TrainedNetwork, trained

logger = logging.getLogger("ttfs_cupy")

# exit code where some images were classified, and some could not be
SOME_FAILED = 1
RECORDINGS = "events"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    # images may come behind options, too
    parsed = parser().parse_intermixed_args(arguments)
    return command_line.run(
        lambda: _predict(parsed), process_ends=arguments is None, level=parsed.level, has_output=True
    )


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("predict"), description=__doc__)
    add = parser.add_argument
    parser.add_run()
    add(
        "images",
        metavar="IMAGE",
        nargs="*",
        type=command_line.file_name,
        help="image files; folders, with all below; - for one by standard input",
    )
    add(
        "--from-list",
        metavar="FILE",
        type=command_line.file_name,
        help="also the paths in that file, a line each, or ended by NUL; - for standard input",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a line of JSON for each image")
    form.add_argument("--csv", action="store_true", help="print CSV")
    add("--top", type=int, default=1, metavar="N", help="tell the N best classes (default: 1)")
    add("-o", "--output", type=command_line.path, metavar="FILE", help="write to that file")
    parser.add_force()
    parser.add_device()
    parser.add_epoch()
    add("--batch-size", type=int, default=BATCH_SIZE, metavar="N", help=f"images at once (default: {BATCH_SIZE})")
    parser.add_overrides("a key of the run's config, such as threads=2")
    loudness.add_options(parser, "warnings, errors, and the classes")
    return parser


def _predict(parsed: argparse.Namespace) -> int:
    _check(parsed)
    opened = open_network(parsed.run, parsed.set, parsed.device, parsed.epoch)
    if opened.config.data.dataset == RECORDINGS:
        raise UserError(
            f"'{parsed.run}' is a run on recordings (data.dataset {RECORDINGS}), and predict takes images alone: "
            "measure it with evaluate"
        )
    check_decodable(opened.images)
    network = trained(opened.network, opened.images, opened.class_names, opened.config.threads)
    _tell(opened)
    top = min(parsed.top, network.network.classes)
    kind: type[Writer] = JsonLines if parsed.json else Csv if parsed.csv else Table
    writer = kind(network.class_names, top)
    counts = _Counts()
    with _written(parsed.output) as write, closing(_images(parsed, network, counts)) as decoded:
        for images in batched(decoded, parsed.batch_size):
            head = writer.head() if counts.classified == 0 else None
            text = writer.text(_classified(network, images, top))
            write(text if head is None else f"{head}\n{text}")
            counts.classified += len(images)
        if not counts.classified:
            raise UserError(
                "no image is named: the list is empty"
                if not counts.failed
                else "no image is classified" + f": none of {counts.failed} could be read" * (counts.failed > 1)
            )
    if parsed.output is not None:
        logger.info("%s: %s", shown_path(parsed.output), counted(counts.classified, "image"))
    if counts.failed:
        known, failed = counts.classified, counts.failed
        logger.warning("%s %s classified, and %d %s not", counted(known, "image"), are(known), failed, are(failed))
    return SOME_FAILED if counts.failed else 0


class _Counts:
    """Images so far."""

    def __init__(self) -> None:
        self.classified = 0
        self.failed = 0


def _check(parsed: argparse.Namespace) -> None:
    check_count("--top", parsed.top)
    check_count("--batch-size", parsed.batch_size)
    if not parsed.images and parsed.from_list is None:
        raise UserError("no image is named: give files or folders, - for standard input, or --from-list")
    if [*parsed.images, parsed.from_list].count(STANDARD_INPUT) > 1:
        raise UserError("standard input (-) is named twice, and can be read once")
    if parsed.output is not None:
        check_output(parsed.output, force=parsed.force)


def _tell(opened: OpenedNetwork) -> None:
    network, weights = opened.network, opened.weights
    channels, height, width = network.input_shape
    logger.debug("device         %s", network.device.description)
    logger.debug("weights        %s, epoch %d%s", opened.path, weights.epoch, ", averaged" * weights.are_averaged)
    logger.debug("images         %d x %d pixels, %s", height, width, "grey" if channels == 1 else "in colour")


def _images(
    parsed: argparse.Namespace, network: TrainedNetwork, counts: _Counts
) -> Generator[DecodedImage, None, None]:
    """Those that can be decoded. The others are told of."""
    named = named_images(parsed.images, parsed.from_list)
    wanted = network.input_shape[1:]
    with closing(network.decoded(named, parsed.batch_size)) as decoded:
        for image in decoded:
            if isinstance(image, UserError):
                counts.failed += 1
                logger.error("%s", image)
                continue
            if image.found != wanted:
                sizes = (*image.found, *wanted)
                logger.debug("%s is resized: %d x %d to %d x %d pixels", shown_path(image.source.name), *sizes)
            yield image


def _classified(network: TrainedNetwork, images: Sequence[DecodedImage], top: int) -> list[ClassifiedImage]:
    decisions = network.decide(network.encode_levels(np.stack([image.levels for image in images])))
    return [
        ClassifiedImage(
            image.source.name,
            [(label, _number(decisions.probabilities[index, label])) for label in best],
            _number(decisions.margins[index]),
            _number(decisions.times[index]),
        )
        for index, (image, best) in enumerate(zip(images, _best(decisions, top), strict=True))
    ]


def _best(decisions: Decisions, top: int) -> list[list[int]]:
    """The labels of each image's best classes, by their readouts; of equals the first ones."""
    if top == 1:
        return [[label] for label in decisions.classes.tolist()]
    best: list[list[int]] = np.argsort(-decisions.readouts, axis=1, kind="stable")[:, :top].tolist()
    return best


def _number(value: np.float32) -> float:
    """With as few digits as tell it from other float32."""
    return float(str(value))


@contextmanager
def _written(output: Path | None) -> Iterator[Callable[[str], None]]:
    """What writes lines to the file, which is there as a whole or not at all, or prints them."""
    if output is None:
        yield command_line.say
        return
    with opened_aside(output) as write:
        yield lambda text: write(f"{text}\n".encode(errors="backslashreplace"))
