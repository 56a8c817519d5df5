"""Draws what training makes of its images, as pixels and as spike times: python -m ttfs_cupy.preview CONFIG."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.preview()

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import check_picture, write_atomically
from ttfs_cupy.common.shown import one_line, short
from ttfs_cupy.data import Batches, augmentation
from ttfs_cupy.data.examples import Example, available, chosen, in_epoch
from ttfs_cupy.device import get_device
from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.files.outputs import check_of_no_run
from ttfs_cupy.experiment.prepare import input_encoder, read_dataset, split_of, training_batches
from ttfs_cupy.neuron.encoding import Encoder
from ttfs_cupy.plot.canvas import matplotlib, saved

IMAGES, EPOCHS = 10, 3
# of a sheet: what programs still open
MOST_PIXELS, LONGEST_SIDE = 1 << 26, 1 << 16

# Pixels of the sheet: at least a cell's longer side; what lies between cells, and between groups of them; margins
CELL, GAP, GROUP_GAP = 112, 6, 30
LEFT, TOP, RIGHT, BOTTOM, CAPTION = 118, 104, 16, 72, 28
# the scale of colours, and it with what silence looks like
BAR, SCALE = 300, 420
# a power of two, so that a whole number of pixels is one of inches in binary, too
DPI = 128
SMALL, NORMAL, LARGE = 6.0, 7.0, 9.0
# characters of a class's name, beside a row and below a cell
LONGEST_NAME = 14
GREY, SILENT = "#606060", (222, 222, 222)
MATPLOTLIB = ("matplotlib, which draws the sheet,", "pip install 'ttfs-cupy[preview]'")

Pixels = NDArray[np.uint8]
Cells = Sequence[Example | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = parser().parse_args(arguments)
    return command_line.run(lambda: _preview(parsed), process_ends=arguments is None)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("preview"), description=__doc__.split(":")[0] + ".")
    add = parser.add_argument
    add("config", type=command_line.path, help="a YAML file, or the name of a bundled one such as quickstart")
    add("-o", "--output", type=command_line.path, default=Path("preview.png"), help="a PNG file (default: preview.png)")
    add("--images", type=int, metavar="N", help=f"how many images, a row each (default: {IMAGES})")
    add("--epochs", type=int, metavar="N", help=f"how many of the first epochs, a column each (default: {EPOCHS})")
    add("--device", help="auto, cuda, cuda:N or cpu")
    add("--seed", type=int, help="of the validation split, the images' order and augmentation")
    parser.add_overrides("any key of the config; may be repeated")
    return parser


def _preview(parsed: argparse.Namespace) -> None:
    check_picture("--output", parsed.output)
    check_of_no_run(parsed.output)
    matplotlib("figure", *MATPLOTLIB)
    config = load_config(parsed.config, parsed.set, {"device": parsed.device, "seed": parsed.seed})
    count, epochs = _sizes(parsed, config)
    sheet = collected(config, count, epochs)
    write_atomically(parsed.output, picture(sheet))
    first = "epoch 1" if epochs == 1 else f"epochs 1 to {epochs}"
    command_line.say(f"{parsed.output}: images of {config.data.dataset}, {len(sheet.images)} of them, in {first}")


def _sizes(parsed: argparse.Namespace, config: Config) -> tuple[int | None, int]:
    """How many images and epochs are asked for; None: the default, or all images where there are fewer."""
    most = config.training.epochs
    epochs = min(EPOCHS, most) if parsed.epochs is None else check_count("--epochs", parsed.epochs)
    if epochs > most:
        raise UserError(f"--epochs {epochs} is more than the {most} of the config: raise training.epochs, too")
    return None if parsed.images is None else check_count("--images", parsed.images), epochs


@dataclass(frozen=True)
class Layout:
    """Where things lie on a sheet, in its pixels from the upper left corner.

    A row for each image; in it groups, of which the first shows pixels and the others one channel's code each; in each
    group a column for the original and for each epoch. shape: (H, W, C) of an image. captions: whether a cell has one.
    """

    rows: int
    columns: int
    shape: tuple[int, int, int]
    captions: bool

    @property
    def scale(self) -> int:
        """The side of the square that shows a pixel."""
        return -(-CELL // max(self.shape[:2]))

    @property
    def groups(self) -> int:
        return 1 + self.shape[2]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        top, left = self.cell(self.rows, self.groups, 0)
        return top - GAP + BOTTOM, max(left - GROUP_GAP, self.cell(0, 1, 0)[1] + SCALE) + RIGHT

    def cell(self, row: int, group: int, column: int) -> tuple[int, int]:
        """(top, left) of one."""
        height, width = (side * self.scale for side in self.shape[:2])
        step = width + GAP
        group_step = self.columns * step - GAP + GROUP_GAP
        return TOP + row * (height + GAP + CAPTION * self.captions), LEFT + group * group_step + column * step

    def check(self) -> None:
        """Raises UserError for a sheet that is too large."""
        height, width = self.size
        if max(height, width) >= LONGEST_SIDE or height * width > MOST_PIXELS:
            raise UserError(f"the sheet would have {width:,} x {height:,} pixels: lower --images or --epochs")


class Sheet(NamedTuple):
    """What is drawn. images: indices (N,). labels: their classes (N,).

    pixels and codes: a list for each column, the originals and then the epochs, of an Example for each image, of pixels
    in [0, 1] and of what the network gets; None where an epoch has not this image.
    """

    config: Config
    encoder: Encoder
    layout: Layout
    images: NDArray[np.int64]
    labels: NDArray[np.int32]
    pixels: list[Cells]
    codes: list[Cells]
    class_names: tuple[str, ...] | None = None

    def called(self, label: int) -> str:
        """A class as a title: its name, shortened, or its number."""
        name = str(label) if self.class_names is None else self.class_names[label]
        return f"class {name}" if name.isdecimal() else one_line(name, LONGEST_NAME)


def collected(config: Config, count: int | None, epochs: int) -> Sheet:
    """Has the kernels make what the training of this config sees of some images. count: None for the default."""
    device, _ = get_device(config.device, config.threads)
    dataset = read_dataset(config)
    encoder = input_encoder(config, dataset.description)
    # the same draws, and as code the pixels themselves
    members = split_of(config, dataset).training
    batches, plain = (training_batches(config, dataset, members, code) for code in (encoder, Encoder()))
    images = chosen(batches, min(IMAGES, available(batches)) if count is None else count)
    height, width, channels = dataset.train.images.shape[1:]
    layout = Layout(len(images), 1 + epochs, (height, width, channels), captions=batches.mix is not None)
    layout.check()

    def columns(of: Batches) -> list[Cells]:
        originals = Batches(dataset.train, len(images), encode=of.encode, members=images)
        return [
            in_epoch(originals, images, 0, device),
            *(in_epoch(of, images, epoch, device) for epoch in range(epochs)),
        ]

    labels = dataset.train.labels[images]
    return Sheet(config, encoder, layout, images, labels, columns(plain), columns(batches), dataset.class_names)


def picture(sheet: Sheet) -> bytes:
    """A PNG, in which a pixel of an image is a square of layout.scale pixels."""
    layout, scale = sheet.layout, _scale(sheet.encoder)
    canvas = np.full((*layout.size, 3), 255, np.uint8)
    for column, (pixels, codes) in enumerate(zip(sheet.pixels, sheet.codes, strict=True)):
        for row, (shown, code) in enumerate(zip(pixels, codes, strict=True)):
            if shown is None or code is None:
                continue
            _paste(canvas, _rgb(shown.inputs), layout, (row, 0, column))
            for channel in range(layout.shape[2]):
                _paste(canvas, scale.colours(code.inputs[..., channel]), layout, (row, 1 + channel, column))
    if scale.t_win is not None:
        bottom, left = layout.size[0] - 46, layout.cell(0, 1, 0)[1] + BAR + 30
        canvas[bottom - 10 : bottom, left : left + 10] = SILENT
    return _lettered(canvas, sheet, scale)


def _rgb(values: NDArray[np.float32]) -> Pixels:
    """Values in [0, 1], (H, W, C), as grey levels of their mean, or as colours where they are three."""
    if values.shape[2] != 3:
        values = np.repeat(values.mean(2, keepdims=True), 3, axis=2)
    return np.rint(255 * values).astype(np.uint8)


def _paste(canvas: Pixels, image: Pixels, layout: Layout, place: tuple[int, int, int]) -> None:
    large = image.repeat(layout.scale, 0).repeat(layout.scale, 1)
    (top, left), (height, width) = layout.cell(*place), large.shape[:2]
    canvas[top : top + height, left : left + width] = large


@dataclass(frozen=True)
class _Scale:
    """Colours of a code: of spike times, early ones bright and silence grey; of other values, those above 0 red.

    mapping: matplotlib's, from numbers to colours. title: of a group of cells. label: what the numbers are.
    """

    mapping: Any
    title: str
    label: str
    t_win: float | None

    def colours(self, code: NDArray[np.float32]) -> Pixels:
        """Of inputs (H, W): RGB, (H, W, 3)."""
        numbers = code if self.t_win is None else self.t_win - code
        found: Pixels = self.mapping.to_rgba(numbers, bytes=True)[..., :3]
        return found if self.t_win is None else np.where(code[..., np.newaxis] == 0, np.array(SILENT, np.uint8), found)


def _scale(encoder: Encoder) -> _Scale:
    colours, mappable = (matplotlib(name, *MATPLOTLIB) for name in ("colors", "cm"))
    t_win = encoder.t_win
    if encoder.is_spike_code:
        mapping = mappable.ScalarMappable(colours.Normalize(0, t_win), "viridis_r")
        return _Scale(mapping, "spike times", f"spike time t, in a window of T = {short(t_win)}", t_win)
    most = max(map(abs, encoder.bounds))
    mapping = mappable.ScalarMappable(colours.Normalize(-most, most), "RdBu_r")
    if encoder.encoding == "direct":
        return _Scale(mapping, "input values", "value z = (p - mean) / std, no spike time", None)
    label = f"value T (p - mean) / std, no spike time, T = {short(t_win)}"
    return _Scale(mapping, "input values", label, None)


def _lettered(canvas: Pixels, sheet: Sheet, scale: _Scale) -> bytes:
    """The PNG of a canvas whose cells are filled: with titles, captions and the scale of colours."""
    layout, (height, width) = sheet.layout, canvas.shape[:2]
    figure = matplotlib("figure", *MATPLOTLIB).Figure((width / DPI, height / DPI), DPI)
    figure.figimage(canvas, origin="upper", zorder=-1)

    def write(left: float, top: float, text: str, size: float = NORMAL, **style: Any) -> None:
        # a class may be called $$, which is no formula
        style = {"va": "top", "linespacing": 1.1, "parse_math": False, **style}
        figure.text(left / width, 1 - top / height, text, size=size, **style)

    cell_height, cell_width = (side * layout.scale for side in layout.shape[:2])
    title, details = _heading(sheet)
    write(LEFT, 14, title, LARGE, weight="bold")
    write(LEFT, 38, details, color=GREY)
    shown = "pixels" if layout.shape[2] in (1, 3) else "pixels, mean of channels"
    for group, name in enumerate([shown, *_channels(scale.title, layout.shape[2])]):
        for column in range(layout.columns):
            left = layout.cell(0, group, column)[1]
            write(left + cell_width / 2, TOP - 7, _column(column), SMALL, color=GREY, ha="center", va="bottom")
        write(layout.cell(0, group, 0)[1], TOP - 26, name, weight="bold", va="bottom")
    for row, (index, label) in enumerate(zip(sheet.images, sheet.labels, strict=True)):
        middle = layout.cell(row, 0, 0)[0] + cell_height / 2
        write(LEFT - 10, middle - 2, sheet.called(label), ha="right", va="bottom")
        write(LEFT - 10, middle + 2, f"image {index}", SMALL, color=GREY, ha="right")
        for column, examples in enumerate(sheet.pixels):
            top, left = layout.cell(row, 0, column)
            example, centre = examples[row], left + cell_width / 2
            if example is None:
                style = {"color": GREY, "ha": "center", "va": "center"}
                write(centre, top + cell_height / 2, "not in\nthis epoch", SMALL, **style)
            elif column > 0 and layout.captions:
                write(centre, top + cell_height + 3, _caption(example, sheet), SMALL, ha="center")
    _bar(figure, sheet, scale, write)
    return saved(figure, format="png", dpi=DPI)


def _heading(sheet: Sheet) -> tuple[str, str]:
    data, encoder = sheet.config.data, sheet.encoder
    mix = data.mix if data.mix == "none" else f"{data.mix}, alpha {short(data.mix_alpha)}"
    code = f"{encoder.encoding}{', standardised' if encoder.standardize else ''}"
    details = f"seed: {sheet.config.seed}   encoding: {code}   mix: {mix}   augment: {augmentation(data.augment)}"
    return f"{data.dataset}: what the network is trained on", one_line(details, (sheet.layout.size[1] - LEFT) // 8)


def _channels(title: str, count: int) -> list[str]:
    """The groups' names, one for each channel."""
    if count == 1:
        return [title]
    names = ("red", "green", "blue") if count == 3 else tuple(f"channel {number}" for number in range(count))
    return [f"{title}, {name}" for name in names]


def _column(number: int) -> str:
    # as a run's log counts, whose first epoch is the batches' epoch 0
    return f"epoch {number}" if number else "original"


def _caption(example: Example, sheet: Sheet) -> str:
    """Of which classes a mixed image is."""
    share = 100 * example.share
    return f"{share:.0f} % {sheet.called(example.label)}\n{100 - share:.0f} % {sheet.called(example.other)}"


def _bar(figure: Any, sheet: Sheet, scale: _Scale, write: Any) -> None:
    """The scale of colours, below the first group that it is for."""
    height, width = sheet.layout.size
    left = sheet.layout.cell(0, 1, 0)[1]
    axes = figure.add_axes((left / width, 46 / height, BAR / width, 10 / height))
    bar = figure.colorbar(scale.mapping, cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=SMALL, length=2, width=0.4, pad=2)
    write(left + BAR / 2, height - 20, scale.label, SMALL, ha="center", va="center")
    if scale.t_win is not None:
        write(left + BAR + 46, height - 51, "no spike", SMALL, va="center")
