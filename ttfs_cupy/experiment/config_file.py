"""A config's text: bundled or on disk, YAML read into nested mappings, `key.sub=value` put on top, and written back."""

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ttfs_cupy.common.errors import UserError

BUNDLED = "ttfs_cupy.configs"


def names() -> list[str]:
    """The bundled configs, without their .yaml."""
    entries = (entry.name for entry in resources.files(BUNDLED).iterdir())
    return sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml"))


def read(path_or_name: str | Path) -> tuple[str, dict[Any, Any]]:
    """What to call the file in messages, and its content.

    An existing file is read; else `quickstart`, `quickstart.yaml` and `configs/quickstart.yaml` stand for the
    bundled one. Raises UserError for anything but a mapping.
    """
    where, raw = _bytes(Path(path_or_name))
    try:
        content = _parse(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}, line {line}, is not UTF-8: save the file as UTF-8 text") from None
    except _TextError as error:
        raise UserError(f"{where}, line {error.line}: {error.problem}") from None
    if content is None:
        raise UserError(f"{where} is empty: it must hold the keys of a config, as configs/quickstart.yaml does")
    if not isinstance(content, dict):
        kind = "list" if isinstance(content, list) else "single value"
        raise UserError(f"{where} must hold keys and values, such as 'seed: 0', not a {kind}")
    return where, content


def override(content: dict[Any, Any], assignment: str) -> tuple[dict[Any, Any], str]:
    """A copy of content with `key.sub=value` put in, the value read as YAML; and the dotted key."""
    key, equals, text = assignment.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {assignment}: this must read key.sub=value, such as network.t_win=1.5")
    try:
        return _with(content, parts, _parse(text)), key
    except _TextError as error:
        raise UserError(f"--set {assignment}: {error.problem}") from None
    except _NotASectionError as error:
        raise UserError(
            f"--set {assignment}: {error} has a value, not keys of its own, in this config: set it as a whole"
        ) from None


def write(content: dict[str, Any]) -> str:
    """YAML that reads back as the same content, keys in order, lists on one line."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _bytes(path: Path) -> tuple[str, bytes]:
    stem = path.name.removesuffix(".yaml")
    may_be_bundled = str(path.parent) in (".", "configs") and stem in names()
    try:
        if may_be_bundled and not path.is_file():
            return f"configs/{stem}.yaml", resources.files(BUNDLED).joinpath(f"{stem}.yaml").read_bytes()
        return str(path), path.read_bytes()
    except FileNotFoundError:
        close = difflib.get_close_matches(stem, names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"name a YAML file, or one of {', '.join(names())}"
        raise UserError(f"config '{path}' does not exist: {hint}") from None
    except IsADirectoryError:
        raise UserError(f"config '{path}' is a directory: name a YAML file") from None
    except OSError as error:
        raise UserError(f"config '{path}' cannot be read: {error.strerror or error}") from None


class _TextError(Exception):
    """What is wrong with a piece of YAML, and in which of its lines."""

    def __init__(self, line: int, problem: str):
        super().__init__(problem)
        self.line = line
        self.problem = problem


class _NotASectionError(Exception):
    """Its text is the dotted key that holds a value where a section was expected."""


def _with(content: dict[Any, Any], parts: list[str], value: Any, above: str = "") -> dict[Any, Any]:
    # copies, because a YAML alias may have put one and the same mapping under several keys
    first, *rest = parts
    if rest:
        section = content.get(first)
        if section is None:
            section = {}
        if not isinstance(section, dict):
            raise _NotASectionError(above + first)
        value = _with(section, rest, value, f"{above}{first}.")
    return {**content, first: value}


def _parse(text: str) -> Any:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be parsed"
        raise _TextError(mark.line + 1 if mark else 1, f"this is not YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _TextError(line, f"YAML does not allow the character U+{ord(text[error.position]):04X}") from None
    except RecursionError:
        raise _TextError(1, "lists and mappings are nested too deeply") from None


# YAML 1.2's numbers with an exponent, such as 1e-3, which YAML 1.1, and so PyYAML, takes for text
_EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
_FLOAT = "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number and no key may be given twice."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        # checked here and not where the mapping is built: by then `<<` has put merged keys beside its own
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise _TextError(line, f"the key {key.value} stands in line {lines[name]} already: keep one of them")
            lines[name] = line
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError):
            # PyYAML's own constructors fail so on 2024-13-45, on '!!int x' and the like
            line = node.start_mark.line + 1
            raise _TextError(line, f"{str(node.value)[:40]} is not a valid {node.tag.rpartition(':')[2]}") from None


class _Dumper(yaml.SafeDumper):
    """Quotes what _Loader would take for a number; lists stand on one line."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # left to itself, PyYAML writes U+0085 and its like as line breaks, which read back as spaces
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')

    def represent_items(self, items: list[Any] | tuple[Any, ...]) -> yaml.SequenceNode:
        return self.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))
_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_items)
_Dumper.add_representer(tuple, _Dumper.represent_items)
