"""The head of a run's page: its result, how it was made, and what repeats it."""

import shlex
from dataclasses import dataclass
from typing import Any

from ttfs_cupy.common.shown import one_line, shown
from ttfs_cupy.experiment.config.keys import NetworkConfig
from ttfs_cupy.neuron.silent_classes import LATEST
from ttfs_cupy.report.drawing.charts import percent
from ttfs_cupy.report.gathering.reading import RunFiles, number


@dataclass(frozen=True)
class Tile:
    name: str
    value: str
    about: str = ""


@dataclass(frozen=True)
class Head:
    name: str
    about: str
    tiles: list[Tile]
    facts: list[tuple[str, str]]
    commands: str
    config: str


def head(files: RunFiles, parameters: int | None = None) -> Head:
    """parameters: how many the network has; None where it could not be built."""
    return Head(files.name, _about(files), _tiles(files, parameters), _facts(files), commands(files), files.config_text)


def duration(seconds: float) -> str:
    """To three digits or so: 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def commands(files: RunFiles) -> str:
    """What makes the run again, and measures what is there, as a user types it."""
    again = f"{files.run.path}-again"
    train = ["ttfs", "train", str(files.run.config), "--output", again]
    return "\n".join(shlex.join(words) for words in (train, ["ttfs", "evaluate", str(files.run.path)]))


def _about(files: RunFiles) -> str:
    config = files.config
    if config is None:
        return f"In {files.run.path}."
    return f"{_network(config.network.model)} on {config.data.dataset}, seed {config.seed}."


def _network(model: Any) -> str:
    if isinstance(model, list) and all(isinstance(layer, (int, str)) for layer in model):
        return f"The network {one_line('-'.join(map(str, model)), 120)}"
    return f"The network {one_line(model, 120) if isinstance(model, str) else shown(model, 120)}"


def _tiles(files: RunFiles, parameters: int | None) -> list[Tile]:
    test, last = files.test, files.epochs[-1] if files.epochs else None
    tiles = []
    if test is not None:
        images = number(test, "test_images")
        tiles.append(
            Tile("Test accuracy", percent(number(test, "test_accuracy")), f"{images:,.0f} images" if images else "")
        )
        loss, balanced = number(test, "test_loss"), number(test, "balanced_accuracy")
        if loss is not None:
            tiles.append(Tile("Test loss", f"{loss:.4f}"))
        if balanced is not None and percent(balanced) != tiles[0].value:
            tiles.append(Tile("Balanced accuracy", percent(balanced), "mean of the classes"))
    best = [value for line in files.epochs if (value := number(line, "validation_accuracy")) is not None]
    if best:
        about = f"epoch {files.best_epoch}" if files.best_epoch is not None else "best so far"
        value = max(best) if files.result is None else files.result.best_validation_accuracy
        tiles.append(Tile("Validation accuracy", percent(value), about))
    if last is not None:
        wanted = "" if files.config is None else f"of {files.config.training.epochs}"
        tiles.append(Tile("Epochs", f"{last['epoch']}", wanted))
        seconds = sum(number(line, "seconds") or 0 for line in files.epochs)
        tiles.append(Tile("Time of training", duration(seconds), f"{seconds / len(files.epochs):.3g} s an epoch"))
    if parameters is not None:
        tiles.append(Tile("Parameters", f"{parameters:,}"))
    return tiles


def _facts(files: RunFiles) -> list[tuple[str, str]]:
    config, test = files.config, files.test
    facts = [("directory", str(files.run.path))]
    if files.began is not None:
        facts.append(("made", f"{files.began} to {files.ended}"))
    if files.version is not None:
        facts.append(("version", f"ttfs_cupy {files.version}"))
    if files.device is not None:
        facts.append(("hardware", files.device))
    if config is not None:
        network, training, optimizer = config.network, config.training, config.optimizer
        facts += [
            ("data", f"{config.data.dataset}, augmented by {_plain(config.data.augment)}, seed {config.seed}"),
            ("neuron", f"psp_slope {_slope(network.psp_slope)}, t_win {network.t_win:g}, {_readout(network)}"),
            ("weights", f"normalization {network.normalization}"),
            ("optimiser", f"{optimizer.name}, lr {optimizer.lr:g}, schedule {config.schedule.name}"),
            ("batches", f"of {training.batch_size} images"),
        ]
    precision = None if test is None else test.get("precision")
    if isinstance(precision, str) or config is not None:
        facts.append(("precision", precision if isinstance(precision, str) else str(config.network.precision)))  # type: ignore[union-attr]
    convolutions = None if test is None else test.get("convolutions")
    if isinstance(convolutions, dict):
        facts.append(("algorithms", ", ".join(f"{layer}: {_plain(name)}" for layer, name in convolutions.items())))
    return facts


def _plain(value: Any) -> str:
    return one_line(value, 120) if isinstance(value, str) else shown(value, 120)


def _readout(network: NetworkConfig) -> str:
    is_usual = network.silent == LATEST
    return f"readout {network.readout}{'' if is_usual else f', silent classes {network.silent}'}"


def _slope(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else f"from {value.from_:g} to {value.to:g}"
