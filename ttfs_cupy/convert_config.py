"""Writes T2FSNN's config as a YAML file of ours: python -m ttfs_cupy.convert_config OLD.json -o NEW.yaml."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.convert_config()

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.typed_command import called, typed
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.experiment import named_config
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.config.keys import resolve
from ttfs_cupy.experiment.files.outputs import check_output
from ttfs_cupy.migration import t2fsnn
from ttfs_cupy.migration.recognition import is_ours
from ttfs_cupy.migration.rows import ALWAYS, DEFAULT, OPTION, Row, table

logger = logging.getLogger("ttfs_cupy")

_SECTIONS = {
    "network": "what is trained",
    "data": "what it is trained on",
    "training": "how long",
    "optimizer": "how the weights change",
    "schedule": "how the learning rate changes",
}
# where comments begin, but behind longer lines
_COLUMN = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = parser().parse_args(arguments)
    has_output = parsed.output is None
    return command_line.run(lambda: _convert(parsed), process_ends=arguments is None, has_output=has_output)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("convert-config"), description=__doc__)
    add = parser.add_argument
    add("source", metavar="OLD.json", type=command_line.path, help="a config of T2FSNN's")
    named_config.add_options(parser)
    add("-o", "--output", type=command_line.path, metavar="NEW.yaml", help="the file (default: standard output)")
    parser.add_force()
    return parser


def _convert(parsed: argparse.Namespace) -> None:
    if parsed.output is not None:
        _check_output(parsed.output, force=parsed.force)
    content = t2fsnn.read(parsed.source)
    if is_ours(content):
        raise UserError(f"'{shown_path(parsed.source)}' is no config of T2FSNN's: its keys are those of this package")
    translation = t2fsnn.translate(parsed.source, content, parsed.dataset, parsed.network)
    # what would be refused is not written
    t2fsnn.check_first_layer(translation.where, parsed.network)
    config = resolve(translation.where, translation.content, translation.sources)
    text = named_config.origin(translation) + yaml_of(translation.rows, config)
    for line in table(translation.rows):
        logger.info("%s", line)
    if parsed.output is None:
        command_line.say(text.removesuffix("\n"))
        return
    write_atomically(parsed.output, text.encode())
    command_line.say("", f"{parsed.output}: train it by {typed('train', parsed.output)}")


def _check_output(output: Path, *, force: bool) -> None:
    if output.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"--output must end in .yaml, not '{shown_path(output)}'")
    check_output(output, force=force)


def yaml_of(rows: Sequence[Row], config: Config) -> str:
    """A config's text: a line for each key, in our order, with what it was."""
    found, lines = {row.new: row for row in rows}, []
    for section, about in _SECTIONS.items():
        lines.append(_commented(f"{section}:", about))
        for key in config.model_dump(by_alias=True)[section]:
            if (row := found.get(f"{section}.{key}")) is not None:
                lines.append(_commented(_indented(key, row.here), _remark(row)))
    return "".join(f"{line}\n" for line in lines)


def _indented(key: str, value: object) -> str:
    """As config.yaml has it; a mapping is below its key."""
    return "\n".join(f"  {line}" for line in config_text.write({key: value}).splitlines())


def _commented(text: str, comment: str) -> str:
    """With a comment behind its first line."""
    first, *rest = text.splitlines()
    return "\n".join([f"{first:{_COLUMN}} # {comment}" if comment else first, *rest])


def _remark(row: Row) -> str:
    if row.origin == ALWAYS:
        return row.why
    what = (
        f"as {row.old} says"
        if row.origin == OPTION
        else f"T2FSNN's {row.old}{', by default' * (row.origin == DEFAULT)}"
    )
    return f"{what}: {row.why}" if row.why else what
