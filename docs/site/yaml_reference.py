"""The reference of a config's keys: what yaml_keys.md says of each, and what the code that checks them knows."""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from mkdocs.plugins import get_plugin_logger
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ttfs_cupy.experiment.config.changes import FIXED
from ttfs_cupy.experiment.config.keys import Config
from ttfs_cupy.experiment.config.problems import annotation_of, fields_of, in_words, section_of

ENTRY = re.compile(r"^### (\S+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)

log = get_plugin_logger("docs/site")


def filled_in(markdown: str) -> str:
    """The page's text with what is right for each key, and its default."""
    known = dict(_keys(Config))
    written = dict(ENTRY.findall(markdown))
    for name in sorted({*known} ^ {*written}):
        what = "no such key" if name in written else "a key whose meaning is not written"
        log.warning("yaml_keys.md: %s is %s", name, what)

    def entry(found: re.Match[str]) -> str:
        name, meaning = found[1], found[2].strip()
        if not meaning:
            log.warning("yaml_keys.md: %s has no meaning", name)
        if name not in known:
            return found[0]
        for part in _unnamed_parts(known[name], meaning):
            log.warning("yaml_keys.md: %s does not say what its key `%s` means", name, part)
        return f"### {name}\n\n{meaning}\n\n{_facts(name, known[name])}\n\n"

    return ENTRY.sub(entry, markdown)


def _keys(schema: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """All keys but sections, in order, with dots."""
    for name, field in fields_of(schema).items():
        section = section_of(annotation_of(field))
        if section and in_words(annotation_of(field)).startswith("a section"):
            yield from _keys(section, f"{above}{name}.")
        else:
            yield above + name, field


def _unnamed_parts(field: FieldInfo, meaning: str) -> list[str]:
    """Of a value that may be a mapping, its keys that are not spoken of."""
    section = section_of(annotation_of(field))
    return [part for part in (fields_of(section) if section else {}) if f"`{part}`" not in meaning]


def _facts(name: str, field: FieldInfo) -> str:
    right = "".join(f"\\{character}" if character in "*_`[]<>{}" else character for character in _right(field))
    default = "none: it must be given" if field.is_required() else f"`{_default(field)}`"
    kept = " A run keeps it: `--resume` refuses another." if name in FIXED else ""
    return f"**Right:** {right}. **Default:** {default}.{kept}\n{{ .facts }}"


def _right(field: FieldInfo) -> str:
    words = in_words(annotation_of(field))
    return words if field.is_required() or field.default is not None or "null" in words else f"{words}, or null"


def _default(field: FieldInfo) -> str:
    """As YAML."""
    value: Any = field.default
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True, exclude_none=True)
    if isinstance(value, tuple):
        value = list(value)
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
