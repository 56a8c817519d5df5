"""YAML from users: plain values as YAML 1.2's core schema reads them, and no more of them than a person writes.

PyYAML cuts the text into events. The values are made of them here, since PyYAML's own are those of YAML 1.1, in which
010 is 8, 1:30 is 90 and no is false; and since its aliases and nesting have no bounds.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file
from ttfs_cupy.common.shown import one_line, shown

MAX_BYTES = 256 << 10
# as they stand once every alias is replaced by what it names
MAX_VALUES = 20_000
MAX_DEPTH = 32
MAX_DIGITS = 100

_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_WORDS |= {word: float("nan") for word in (".nan", ".NaN", ".NAN")}
_WORDS |= {f"{sign}{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")}
# the base, and what an integer in it looks like
_INTEGERS = ((10, re.compile(r"[-+]?[0-9]+")), (8, re.compile(r"0o[0-7]+")), (16, re.compile(r"0x[0-9a-fA-F]+")))
# a number with a point or an exponent
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# {linear:3} where {linear: 3} was meant
_NO_SPACE = re.compile(r"\w+:\S+")

_TAG = "tag:yaml.org,2002:"
_KINDS: dict[str, type] = {"null": type(None), "bool": bool, "int": int, "float": float}


class TextError(Exception):
    """What is wrong with a piece of YAML, and in which of its lines."""

    def __init__(self, line: int, problem: str):
        super().__init__(problem)
        self.line = line
        self.problem = problem


def read_file(path: Path, called: str, kind: str = "YAML file") -> bytes:
    """A file's bytes. Raises OSError as `open_file` does, and UserError, which begins with `called`, if it is large.

    kind: what should have been named instead.
    """
    with open_file(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"{called} is larger than {MAX_BYTES >> 10} KiB: name a {kind}, which is a page or two")
    return content


def parse_file(raw: bytes, where: str) -> Any:
    """The value that a file holds, None for an empty one. Raises UserError that begins with `where` and the line."""
    try:
        return parse(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}, line {line}, is not UTF-8: save the file as UTF-8 text") from None
    except TextError as error:
        raise UserError(f"{where}, line {error.line}: {error.problem}") from None


def parse(text: str) -> Any:
    """The value of a YAML text: None, bool, int, float, str, lists, and mappings with keys of text.

    No two places of it are one and the same list or mapping. Raises TextError.
    """
    try:
        return _Text(text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = one_line(error.problem or error.context or "it cannot be parsed", 120)
        raise TextError(mark.line + 1 if mark else 1, f"this is not YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise TextError(line, f"YAML does not allow the character U+{ord(text[error.position]):04X}") from None


class _Text:
    """One pass over the events of a text."""

    def __init__(self, text: str):
        self._loader = yaml.SafeLoader(text)
        self._anchors: dict[str, Any] = {}
        self._unfinished: set[str] = set()
        self._values = 0
        self._characters = 0  # of copies

    def document(self) -> Any:
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()
        second = self._next()
        if not isinstance(second, yaml.StreamEndEvent):
            raise TextError(_line(second), "a second document begins here: keep one of them")
        return value

    def _next(self) -> Any:
        try:
            return self._loader.get_event()
        except (ValueError, OverflowError):
            # PyYAML's, of an escape such as \U00110000
            raise TextError(self._loader.line + 1, "this is not YAML: an escape names no character") from None

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._copy(self._named(event), depth, _line(event))
        self._enter(depth, _line(event))
        name = event.anchor
        if name is not None:
            self._unfinished.add(name)
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            _refuse_tag(event, "seq")
            value = self._list(depth)
        else:
            _refuse_tag(event, "map")
            value = self._mapping(depth)
        if name is not None:
            self._unfinished.discard(name)
            self._anchors[name] = value
        return value

    def _enter(self, depth: int, line: int) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise TextError(line, f"from here on there are more than {MAX_VALUES:,} values, aliases counted as copies")
        if depth > MAX_DEPTH:
            raise TextError(line, f"lists and mappings are nested more than {MAX_DEPTH} deep")

    def _named(self, event: Any) -> Any:
        name = one_line(event.anchor, 40)
        if event.anchor in self._unfinished:
            raise TextError(_line(event), f"the alias *{name} stands inside of what it names")
        if event.anchor not in self._anchors:
            raise TextError(_line(event), f"this is not YAML: the alias *{name} names nothing that stands above it")
        return self._anchors[event.anchor]

    def _copy(self, value: Any, depth: int, line: int) -> Any:
        self._enter(depth, line)
        # a text, or a mapping's keys
        self._characters += len("".join(value)) if isinstance(value, (str, dict)) else 0
        if self._characters > MAX_BYTES:
            raise TextError(
                line, f"from here on the copies that aliases stand for are longer than {MAX_BYTES >> 10} KiB"
            )
        if isinstance(value, dict):
            return {key: self._copy(below, depth + 1, line) for key, below in value.items()}
        if isinstance(value, list):
            return [self._copy(below, depth + 1, line) for below in value]
        return value

    def _list(self, depth: int) -> list[Any]:
        values = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._value(event, depth + 1))
        return values

    def _mapping(self, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key, line = _key(event), _line(event)
            self._enter(depth, line)
            if event.anchor is not None:
                self._anchors[event.anchor] = key
            value = self._value(self._next(), depth + 1)
            if value is None and event.implicit[0] and _NO_SPACE.fullmatch(key):
                raise TextError(line, f"{one_line(key, 40)} is one word to YAML: write a space after its colon")
            if key == "<<" and event.implicit[0]:
                # of several, the first one with a key has the say
                for source in value if isinstance(value, list) else [value]:
                    if not isinstance(source, dict):
                        raise TextError(
                            line, f"<< takes the keys of a mapping, or of a list of them, not {shown(source)}"
                        )
                    merged = source | merged
                continue
            if key in lines:
                raise TextError(
                    line, f"the key {one_line(key, 40)} stands in line {lines[key]} already: keep one of them"
                )
            own[key], lines[key] = value, line
        return merged | own


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _key(event: Any) -> str:
    """A key as it is written: what is not a key of ours is told by that name, whatever YAML would read it as."""
    if not isinstance(event, yaml.ScalarEvent):
        raise TextError(_line(event), "a key must be a word, not a list, a mapping or an alias")
    return _text(event)


def _text(event: Any) -> str:
    for character in event.value:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise TextError(_line(event), f"the character U+{ord(character):04X} has no place in a value")
    return str(event.value)


def _scalar(event: Any) -> Any:
    text, line = _text(event), _line(event)
    # "!" asks for what the value is without a meaning of its own: text
    if event.tag is None:
        return _plain(text, line) if event.implicit[0] else text
    kind = event.tag.removeprefix(_TAG)
    if kind in ("!", "str"):
        return text
    if kind not in _KINDS:
        raise _unknown_tag(event)
    value = _plain(text, line)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value) is not _KINDS[kind]:
        raise TextError(line, f"{shown(text, 40)} is not a valid {kind}")
    return value


def _plain(text: str, line: int) -> Any:
    """What a value without quotes is."""
    if text in _WORDS:
        return _WORDS[text]
    for base, pattern in _INTEGERS:
        if pattern.fullmatch(text):
            _refuse_length(text, line)
            return int(text if base == 10 else text[2:], base)
    if FLOAT.fullmatch(text):
        _refuse_length(text, line)
        return float(text)
    return text


def _refuse_length(number: str, line: int) -> None:
    if len(number) > MAX_DIGITS:
        raise TextError(
            line, f"{one_line(number, 40)} has {len(number):,} digits: write a number in at most {MAX_DIGITS}"
        )


def _refuse_tag(event: Any, kind: str) -> None:
    if event.tag not in (None, "!", _TAG + kind):
        raise _unknown_tag(event)


def _unknown_tag(event: Any) -> TextError:
    return TextError(
        _line(event), f"the tag {one_line(event.tag.replace(_TAG, '!!'), 40)} is not known here: leave it out"
    )
