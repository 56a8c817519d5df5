"""A config's text: bundled or on disk, YAML read into nested mappings, `key.sub=value` put on top, and written back."""

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import yaml_text
from ttfs_cupy.common.files.reading import reason
from ttfs_cupy.common.shown import one_line, shown

BUNDLED = "ttfs_cupy.configs"


def names() -> list[str]:
    """The bundled configs, without their .yaml."""
    entries = (entry.name for entry in resources.files(BUNDLED).iterdir())
    return sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml"))


def read(path_or_name: str | Path) -> tuple[str, dict[str, Any]]:
    """What to call the file in messages, and its content.

    An existing file is read; else `quickstart`, `quickstart.yaml` and `configs/quickstart.yaml` stand for the
    bundled one. Raises UserError for anything but a mapping.
    """
    if not isinstance(path_or_name, (str, Path)) or not str(path_or_name):
        raise UserError(f"a config must be a YAML file, or one of {', '.join(names())}, not {shown(path_or_name)}")
    where, raw = _bytes(Path(path_or_name))
    content = yaml_text.parse_file(raw, where)
    if content is None:
        raise UserError(f"{where} is empty: it must hold the keys of a config, as configs/quickstart.yaml does")
    if not isinstance(content, dict):
        kind = "list" if isinstance(content, list) else "single value"
        raise UserError(f"{where} must hold keys and values, such as 'seed: 0', not a {kind}")
    return where, content


def override(content: dict[str, Any], assignment: str) -> tuple[dict[str, Any], str]:
    """A copy of content with `key.sub=value` put in, the value read as YAML; and the dotted key."""
    key, equals, text = assignment.partition("=")
    parts = key.split(".")
    if not equals or not all(parts) or len(parts) > yaml_text.MAX_DEPTH:
        raise UserError(f"{called(assignment)}: this must read key.sub=value, such as network.t_win=1.5")
    if any(part != part.strip() for part in parts):
        bare = ".".join(part.strip() for part in parts)
        raise UserError(f"{called(assignment)}: no spaces may stand around a key: write {one_line(bare, 60)}=...")
    try:
        return put(content, key, yaml_text.parse(text), called(assignment)), key
    except yaml_text.TextError as error:
        raise UserError(f"{called(assignment)}: {error.problem}") from None


def put(content: dict[str, Any], key: str, value: Any, source: str) -> dict[str, Any]:
    """A copy of content with a value put in at a dotted key. source: what to call who wants that, in messages."""
    try:
        return _with(content, key.split("."), value)
    except _NotASectionError as error:
        raise UserError(
            f"{source}: {error} has a value, not keys of its own, in this config: set it as a whole"
        ) from None


def called(assignment: str) -> str:
    """What to call an override in messages."""
    return f"--set {one_line(assignment, 100)}"


def write(content: dict[str, Any]) -> str:
    """YAML that reads back as the same content, keys in order, lists on one line."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _bytes(path: Path) -> tuple[str, bytes]:
    stem, shown_path = path.name.removesuffix(".yaml"), one_line(str(path))
    may_be_bundled = str(path.parent) in (".", "configs") and stem in names()
    name = f"config '{shown_path}'"
    try:
        if may_be_bundled and not path.is_file():
            return f"configs/{stem}.yaml", resources.files(BUNDLED).joinpath(f"{stem}.yaml").read_bytes()
        return shown_path, yaml_text.read_file(path, name)
    except FileNotFoundError:
        close = difflib.get_close_matches(stem, names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"name a YAML file, or one of {', '.join(names())}"
        raise UserError(f"{name} does not exist: {hint}") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read: {reason(error)}") from None


class _NotASectionError(Exception):
    """Its text is the dotted key that holds a value where a section was expected."""


def _with(content: dict[str, Any], parts: list[str], value: Any, above: str = "") -> dict[str, Any]:
    first, *rest = parts
    if rest:
        section = content.get(first)
        if section is None:
            section = {}
        if not isinstance(section, dict):
            raise _NotASectionError(one_line(above + first, 60))
        value = _with(section, rest, value, f"{above}{first}.")
    return {**content, first: value}


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 takes for anything but text; lists stand on one line."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # left to itself, PyYAML writes U+0085 and its like as line breaks, which read back as spaces
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')

    def represent_items(self, items: list[Any] | tuple[Any, ...]) -> yaml.SequenceNode:
        return self.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


# PyYAML knows those of YAML 1.1
for _tag, _pattern, _first in (
    ("float", re.compile(f"(?:{yaml_text.FLOAT.pattern})$"), "-+.0123456789"),
    ("int", re.compile("0o[0-7]+$"), "0"),
):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))
_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_items)
_Dumper.add_representer(tuple, _Dumper.represent_items)
