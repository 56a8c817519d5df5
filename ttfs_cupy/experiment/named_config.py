"""The config that a command's line names: a YAML file, a bundled one, or T2FSNN's JSON, which is translated."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfs_cupy.common.command.command_line import Parser
from ttfs_cupy.common.files import yaml_text
from ttfs_cupy.common.shown import harmless, one_line
from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.config.keys import resolve
from ttfs_cupy.migration import t2fsnn
from ttfs_cupy.migration.recognition import is_json, is_ours
from ttfs_cupy.migration.rows import table


@dataclass(frozen=True)
class NamedConfig:
    """table: of a translation, what became of each key, line by line. origin: a comment that says what was translated;
    both are empty for a config of ours."""

    config: Config
    table: Sequence[str] = ()
    origin: str = ""


def add_options(parser: Parser) -> None:
    """Adds --dataset and --network."""
    parser.add_argument("--dataset", metavar="NAME", help="the data set, which T2FSNN's .json does not name")
    parser.add_argument(
        "--network",
        metavar="NETWORK",
        type=_network,
        help="a model's name, its YAML file, or layers such as '64C3 - P2 - 512F'; T2FSNN's .json needs it, too",
    )


def _network(text: str) -> Any:
    """The option's value: a list is written as in YAML."""
    if not text.lstrip().startswith("["):
        return text
    try:
        return yaml_text.parse(text)
    except yaml_text.TextError as error:
        raise argparse.ArgumentTypeError(f"{one_line(text, 60)}: {error.problem}") from None


def named(
    path: Path, dataset: str | None, network: Any, overrides: Sequence[str], options: Mapping[str, Any]
) -> NamedConfig:
    """The config of that name with overrides and options on top, as `load_config` has them.

    dataset, network: of the command's line; a YAML file may name others. As options they win over overrides.
    Raises UserError.
    """
    options = {**options, "data.dataset": dataset, "network.model": network}
    content = t2fsnn.read(path) if is_json(path) else None
    if content is None or is_ours(content):
        return NamedConfig(load_config(path, overrides, options))
    translation = t2fsnn.translate(path, content, dataset, network)
    config = resolve(translation.where, translation.content, translation.sources, overrides, options)
    if config.network.standardize:
        t2fsnn.check_first_layer(translation.where, config.network.model)
    elif config.network.encoding == "latency":
        # whoever sets network.standardize to false need not take off what goes with it
        translation = translation.without_statistics()
        config = resolve(translation.where, translation.content, translation.sources, overrides, options)
    counting = (one for one in overrides if options.get(one.partition("=")[0]) is None)
    told = [*table(translation.rows), *(f"then {config_text.called(assignment)}" for assignment in counting)]
    return NamedConfig(config, told, origin(translation))


def origin(translation: t2fsnn.Translation) -> str:
    """A comment for the YAML file that a translation becomes, with a line break behind it."""
    return f"# Translated from T2FSNN's {harmless(translation.where)}.\n"
