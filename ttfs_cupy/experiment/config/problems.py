"""pydantic's findings about a config as one sentence for its author."""

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.shown import one_line, shown
from ttfs_cupy.migration.old_keys import T2FSNN_KEYS, old_key
from ttfs_cupy.migration.recognition import is_json, is_ours

# the type of an error between keys; its context names the dotted `key` and the `problem`
CONFLICT = "conflict"
# the type of an error of a value; its context says what it `must` be
BOUND = "bound"
# More mistakes than anybody mends at once are not counted: finding out what each unknown key may have meant takes time.
_MOST = 50

_UNKNOWN = ("extra_forbidden", "invalid_key")

Schema = type[BaseModel]


@dataclass(frozen=True)
class _Problem:
    """`{key} {text}`. cures: the dotted key that was probably meant, whose absence is then no second mistake."""

    key: str
    text: str
    is_unknown: bool = False
    cures: str = ""


def sentence(
    schema: Schema, error: ValidationError, content: Mapping[Any, Any], where: str, sources: dict[str, str]
) -> str:
    """The first mistake, and how many more there are. sources: dotted key → the override that set it."""
    # unknown keys first: they explain most of what is missing
    found = sorted(error.errors(include_url=False), key=lambda details: details["type"] not in _UNKNOWN)
    problems = [_problem(schema, details, content) for details in found[:_MOST]]
    # a union has an error per member; and a required key that was mistyped is missing too
    cured = {problem.cures for problem in problems}
    distinct = {problem.key: problem for problem in problems if problem.is_unknown or problem.key not in cured}
    first, *others = distinct.values()
    more = f" (and {len(others)} more mistake{'s' * (len(others) > 1)})" if others else ""
    if others and len(found) > _MOST:
        more = " (and many more mistakes)"
    is_theirs = is_json(Path(where)) and not is_ours(content)
    if is_theirs and first.is_unknown and first.key in T2FSNN_KEYS:
        more += f"; {called('convert-config')} translates T2FSNN's whole file"
    return f"{_source(first.key, where, sources)}: {one_line(first.key, 80) or shown(first.key)} {first.text}{more}"


def _source(key: str, where: str, sources: dict[str, str]) -> str:
    for overridden, assignment in reversed(sources.items()):  # the last one has the last word
        if f"{key}.".startswith(f"{overridden}.") or f"{overridden}.".startswith(f"{key}."):
            return assignment
    return where


def _problem(schema: Schema, details: ErrorDetails, content: Mapping[Any, Any]) -> _Problem:
    if details["type"] == CONFLICT:
        return _Problem(details["ctx"]["key"], details["ctx"]["problem"])
    *above, last = details["loc"]
    if details["type"] in _UNKNOWN:
        return _unknown(schema, [*_locate(schema, above)[0]], str(last))
    keys, field = _locate(schema, details["loc"])
    key, right = ".".join(keys), in_words(field)
    if details["type"] == "missing" and keys[-1] == last:
        return _Problem(key, f"is missing: it must be {right}")
    if details["type"] == BOUND:
        right = details["ctx"]["must"]
        return _Problem(key, f"must be {right}, not {shown(details['input'])}")
    return _Problem(key, f"must be {right}, not {shown(_lookup(content, keys))}")


def _locate(schema: Schema, loc: Any) -> tuple[list[str], Any]:
    """The keys along a location, and the annotation of the last; pydantic's tags and item numbers are left out."""
    keys: list[str] = []
    annotation: Any = schema
    for part in loc:
        section = section_of(annotation)
        fields = fields_of(section) if section else {}
        if part in fields:
            keys.append(part)
            annotation = annotation_of(fields[part])
    return keys, annotation


def _unknown(schema: Schema, above: list[str], name: str) -> _Problem:
    key = ".".join([*above, name])
    section = section_of(_locate(schema, above)[1])
    here = list(fields_of(section)) if section else []
    everywhere = _all_keys(schema)
    if key in everywhere:
        section_name, _, sub = key.rpartition(".")
        return _Problem(key, f"must not be written with a dot: put {sub} into the section {section_name}", True, key)
    by_leaf: dict[str, list[str]] = {}
    for known in everywhere:
        by_leaf.setdefault(known.rpartition(".")[2], []).append(known)
    old = None if name.lower() in by_leaf else old_key(name)
    if old is not None:
        return _Problem(key, f"is not a key: {old.answer(name)}", True, next(iter(old.here), ""))
    meant = _meant(name.lower(), above, here, by_leaf)
    if meant:
        return _Problem(key, f"is not a key: did you mean {' or '.join(meant)}?", True, meant[0])
    return _Problem(key, f"is not a key: {'.'.join(above) or 'a config'} has {', '.join(here)}", True)


def _meant(name: str, above: list[str], here: list[str], by_leaf: Mapping[str, list[str]]) -> list[str]:
    """The right name in another section, else a similar one here, else a similar one elsewhere; as dotted keys.

    by_leaf: all dotted keys, by the last of their words.
    """
    if name in by_leaf:
        return by_leaf[name]
    close = difflib.get_close_matches(name, here, n=1)
    if close:
        return [".".join([*above, close[0]])]
    close = difflib.get_close_matches(name, by_leaf, n=1)
    return by_leaf[close[0]] if close else []


def _all_keys(schema: Schema, above: str = "") -> list[str]:
    keys = []
    for name, field in fields_of(schema).items():
        keys.append(above + name)
        section = section_of(annotation_of(field))
        if section:
            keys += _all_keys(section, f"{above}{name}.")
    return keys


def fields_of(section: Schema) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def annotation_of(field: FieldInfo) -> Any:
    """A field's annotation with its description, which pydantic may have taken off."""
    return Annotated[field.annotation, field] if field.description else field.annotation


def section_of(annotation: Any) -> Schema | None:
    """The section that an annotation allows, if any."""
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(section_of, get_args(annotation))), None)


def in_words(annotation: Any) -> str:
    """What an annotation asks for, in words."""
    if annotation is types.NoneType:
        return "null"
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        described = [item.description for item in metadata if isinstance(item, FieldInfo) and item.description]
        return described[-1] if described else in_words(base)
    if get_origin(annotation) in (Union, types.UnionType):
        return ", or ".join(map(in_words, get_args(annotation)))
    section = section_of(annotation)
    assert section, f"{annotation} has no description"
    keys = fields_of(section)
    needed = [name for name, field in keys.items() if field.is_required()]
    needs = f"; {' and '.join(needed)} must be there" if needed else ""
    return f"a section with the keys {', '.join(keys)}{needs}"


def _lookup(content: Any, keys: list[str]) -> Any:
    for key in keys:
        content = content[key]
    return content
