"""T2FSNN's config, a JSON file, as one of ours: plain keys and values, and a row for each key on what became of it."""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ttfs_cupy import models
from ttfs_cupy.common.checks import check_flag
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import yaml_text
from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import reason
from ttfs_cupy.common.shown import are, counted, listed, one_line, shown, shown_path
from ttfs_cupy.data.sources.datasets import DATASETS
from ttfs_cupy.migration.old_keys import T2FSNN_KEYS, T2FSNN_TAKEN, old_key
from ttfs_cupy.migration.rows import ALWAYS, DEFAULT, FILE, OPTION, Row
from ttfs_cupy.models.builder import READOUT, check_layers_named

_REQUIRED = ("epochs", "batch_size")
# of its run.py, for keys that the file lacks
_DEFAULTS = {
    "use_adam": True,
    "lr": 1e-4,
    "w_decay": 0,
    "w_ei": False,
    "grad_clip": 1,
    "annealing": 1,
    "early_stopping": 25,
}
_BOUNDS = {"w_min": -1, "w_max": 1}
# The last layer's, which its run.py sets: what to do for what it would say
_NO_SPK = "leave it out here; for false train with --set network.readout=spike_times --set network.silent=excluded"
_OF_ADAM = ("adam_beta1", "adam_beta2", "adam_epsilon", "betas", "eps")

# What it standardises with, by data set: mean and deviation of each channel. CIFAR-10's serve for CIFAR-100, too.
_CIFAR = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
_STATISTICS = {"mnist": (0.1307, 0.3081), "fmnist": (0.2860, 0.3530), "cifar10": _CIFAR, "cifar100": _CIFAR}
# below the working folder, where it keeps each data set in a folder of its own
_ROOT = "datasets"

# Nothing of its JSON says these: T2FSNN knows no other way.
_ALWAYS = {
    "network.psp_slope": (1, "T2FSNN has no other neuron"),
    "network.clip": ("separate", "clips a spike time's two derivatives one by one"),
    "network.readout": ("potential", "its last layer does not fire"),
    "network.encoding": ("latency", "a brighter pixel spikes earlier"),
    "network.standardize": (True, "pixels are standardised first, and leave the window"),
    "data.validation": (0.1, "of the training images"),
    "schedule.name": ("exponential", "the rate is multiplied by annealing after each epoch"),
}


@dataclass(frozen=True)
class Translation:
    """where: what to call the old file in messages."""

    where: str
    rows: tuple[Row, ...]

    @property
    def content(self) -> dict[str, Any]:
        """Nested mappings, as a YAML file of ours holds them."""
        content: dict[str, Any] = {}
        for row in self.rows:
            if row.new:
                section, _, key = row.new.partition(".")
                content.setdefault(section, {})[key] = row.here
        return content

    @property
    def sources(self) -> dict[str, str]:
        """Dotted key → what set it, for messages: the old one, or T2FSNN's way."""
        names = {row.new: f"{self.where}, {row.old}" for row in self.rows if row.new and row.origin == FILE}
        ways = {row.new: f"{self.where}, as T2FSNN always has it" for row in self.rows if row.origin == ALWAYS}
        return names | ways

    def without_statistics(self) -> "Translation":
        """For a network that codes pixels as they are."""
        return replace(self, rows=tuple(row for row in self.rows if row.new not in ("data.mean", "data.std")))


def read(path: Path) -> dict[str, Any]:
    """A JSON file's keys and values. Raises UserError where it cannot be read, or holds anything else."""
    where = shown_path(path)
    beginning = f"{where} cannot be read: it is"
    try:
        text = yaml_text.read_file(path, where, "config").decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{where} cannot be read: {reason(error)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{beginning} not UTF-8 text") from None
    return keys_and_values(text, beginning, each_once=True)


def translate(path: Path, content: Mapping[str, Any], dataset: str | None, network: Any) -> Translation:
    """What T2FSNN's JSON asks for. content: what `read` gives for the path.

    dataset, network: what its command line names beside the file; a network is whatever `models.read` takes.
    Raises UserError for keys that T2FSNN does not know, which it would ignore, and for what cannot be translated. What
    values may be is left to the keys that they go to.
    """
    where = shown_path(path)
    if dataset is None or network is None:
        lacks = " and ".join(
            option for option, value in (("--dataset", dataset), ("--network", network)) if value is None
        )
        raise UserError(
            f"{where} is T2FSNN's, which names data set and network on the command line: add {lacks}, such as "
            "--dataset cifar10 --network vgg11"
        )
    if dataset not in DATASETS:
        raise UserError(f"there is no data set {shown(dataset)}; there are {', '.join(DATASETS)}")
    layers = _weighted_layers(network)
    _check_keys(where, content)
    rows = [
        Row("--dataset", dataset, "data.dataset", dataset, _of_dataset(dataset), OPTION),
        Row("--network", network, "network.model", network, "", OPTION),
        *_Keys(where, content, layers).rows(),
        *_always(dataset),
    ]
    return Translation(where, tuple(rows))


def check_first_layer(where: str, network: Any) -> None:
    """Of a network that is to read standardised pixels. Raises UserError unless it is a convolution.

    T2FSNN takes others, too, and their times from outside the window. Here these layers read spikes alone.
    """
    first = models.read(network).layers[0]
    if not isinstance(first, models.ConvolutionSpec):
        kind = "pooling" if isinstance(first, models.PoolSpec) else "full connection"
        raise UserError(
            f"{where}: network {shown(network)} begins with a {kind}, but here only a convolution reads standardised "
            f"pixels: {called('train')} takes it with --set network.standardize=false, which codes them as they are"
        )


def _check_keys(where: str, content: Mapping[str, Any]) -> None:
    for key in content:
        if key not in T2FSNN_KEYS:
            close = difflib.get_close_matches(key.lower(), T2FSNN_KEYS, n=1, cutoff=0.7)
            old = old_key(key)
            if key.lower() == "no_spk":
                hint = _NO_SPK
            elif close:
                hint = f"did you mean {close[0]}?"
            elif old is not None:
                hint = f"leave it out here; {old.answer(key)}"
            else:
                hint = f"known are {', '.join(T2FSNN_KEYS)}"
            raise UserError(
                f"{where}: {one_line(key, 60) or shown(key)} is not a key of T2FSNN's, which would have ignored it: "
                f"{hint}"
            )
    if missing := [key for key in _REQUIRED if key not in content]:
        raise UserError(f"{where}: {' and '.join(missing)} must be there, for which T2FSNN has no default")


def _of_dataset(dataset: str) -> str:
    return "" if dataset in _STATISTICS else "T2FSNN does not know it"


def _always(dataset: str) -> Iterator[Row]:
    for new, (here, why) in _ALWAYS.items():
        yield Row("", None, new, here, why, ALWAYS)
    is_cifar = dataset.startswith("cifar")
    how = "crop, flip, AutoAugment's policy for CIFAR-10, Cutout" if is_cifar else "images as they are"
    yield Row("", None, "data.augment", "cifar" if is_cifar else "none", how, ALWAYS)
    if dataset not in _STATISTICS:
        return
    mean, std = _STATISTICS[dataset]
    yield Row("", None, "data.mean", mean, "T2FSNN's, with which pixels are standardised", ALWAYS)
    yield Row("", None, "data.std", std, "and its deviations", ALWAYS)
    folder = f"{_ROOT}/{dataset}"
    # False, too, where nobody may look
    if os.path.isdir(folder):  # noqa: PTH112 (Path's raises)
        yield Row("", None, "data.root", folder, "T2FSNN's folder, which is there", ALWAYS)
    else:
        yield Row("", None, "data.root", _ROOT, f"T2FSNN's {folder} is not there", ALWAYS)
    yield Row("", None, "data.download", True, "T2FSNN fetches what is missing", ALWAYS)


def _weighted_layers(network: Any) -> list[str]:
    """The names of the layers that have weights, as `build` gives them."""
    spec = models.read(network)
    named = zip(spec.layer_names, spec.layers, strict=True)
    return [*(name for name, layer in named if not isinstance(layer, models.PoolSpec)), READOUT]


@dataclass(frozen=True)
class _Keys:
    """What became of the keys of one file."""

    where: str
    content: Mapping[str, Any]
    layers: list[str]

    def rows(self) -> Iterator[Row]:
        uses_adam = self._flag("use_adam", default=True)
        for key in T2FSNN_KEYS:
            if key in self.content:
                if key in _OF_ADAM and not uses_adam:
                    yield self._idle(key, "left out: SGD has no use for it")
                else:
                    yield from self._given(key)
            elif key in _DEFAULTS:
                here = ("adam" if uses_adam else "sgd") if key == "use_adam" else _DEFAULTS[key]
                yield self._row(key, _DEFAULTS[key], here, origin=DEFAULT)

    def _given(self, key: str) -> Iterator[Row]:
        value = self.content[key]
        if key == "use_adam":
            yield self._row(key, value, "adam" if value else "sgd")
        elif key == "betas":
            yield from self._betas(value)
        elif key in ("w_clip", "w_min", "w_max"):
            yield self._clipping(key, value)
        elif key in ("w_init_mean", "w_init_std"):
            yield self._drawing(key, value)
        elif key == "t_win" and value != 1:
            yield self._row(key, value, value, "the readout adds T S to A, where T2FSNN adds S")
        else:
            self._refuse_twice(key)
            yield self._row(key, value, value)

    def _row(self, key: str, value: Any, here: Any, why: str | None = None, *, origin: str = FILE) -> Row:
        old = T2FSNN_KEYS[key]
        return Row(key, value, old.here[0], here, old.remark if why is None else why, origin, key in T2FSNN_TAKEN)

    def _idle(self, key: str, why: str) -> Row:
        return Row(key, self.content[key], "", None, why, FILE)

    def _flag(self, key: str, *, default: bool) -> bool:
        return check_flag(f"{self.where}: {key}", self.content.get(key, default))

    def _refuse_twice(self, key: str) -> None:
        """Of the names for one thing."""
        for one, other in (("adam_epsilon", "eps"), ("adam_beta1", "betas"), ("adam_beta2", "betas")):
            if key == one and other in self.content:
                raise UserError(f"{self.where}: {one} and {other} say the same: keep one of them")

    def _betas(self, value: Any) -> Iterator[Row]:
        if not isinstance(value, list) or len(value) != 2:
            raise UserError(f"{self.where}: betas must be two numbers, such as [0.9, 0.999], not {shown(value)}")
        for beta, new in zip(value, T2FSNN_KEYS["betas"].here, strict=True):
            yield Row("betas", value, new, beta, "", FILE, is_unread=True)

    def _clipping(self, key: str, value: Any) -> Row:
        clips = self._flag("w_clip", default=False)
        if key != "w_clip":
            return self._idle(key, "in w_clip's" if clips else "left out: of no use without w_clip")
        bounds = [self.content.get(bound, default) for bound, default in _BOUNDS.items()]
        return self._row(key, value, bounds if clips else None, "[w_min, w_max], by default [-1, 1]" if clips else "")

    def _drawing(self, key: str, value: Any) -> Row:
        """One number for all layers, or one for each."""
        if value is None:
            return self._idle(key, "left out: Kaiming's, as here")
        check_layers_named(f"{self.where}: {key}", value, self.layers)
        if not isinstance(value, list):
            return self._row(key, value, value, "")
        if len(value) != len(self.layers):
            count = len(self.layers)
            raise UserError(
                f"{self.where}: {key} has {counted(len(value), 'value')}, but there {are(count)} "
                f"{counted(count, 'layer')} with weights: {listed(self.layers, 20)}"
            )
        named = {layer: one for layer, one in zip(self.layers, value, strict=True) if one is not None}
        return self._row(key, value, named, "by layer") if named else self._idle(key, "left out: Kaiming's, as here")
