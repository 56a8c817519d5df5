"""What a user gave, or somebody else said, as it may stand in a message: on one line, and not too long."""

import re
import reprlib
from collections.abc import Iterable


class _Repr(reprlib.Repr):
    """With YAML's words, in lists and mappings, too."""

    def repr_NoneType(self, _value: None, _level: int) -> str:  # noqa: N802 (named by the type)
        return "null"

    def repr_bool(self, value: bool, _level: int) -> str:
        return str(value).lower()


_repr = _Repr()
# no list or mapping is written out whole, nor is one that holds itself followed
_repr.maxlevel, _repr.maxlist, _repr.maxtuple, _repr.maxdict = 3, 10, 10, 5
_repr.maxstring = _repr.maxother = 1000


def shown(value: object, most: int = 60) -> str:
    """A value as its author may have written it (in YAML: null, true), of at most so many characters."""
    if isinstance(value, str):
        # all that is shown of a text is its beginning, without what reprlib puts into its middle
        return one_line(repr(value[: most + 1]), most)
    if isinstance(value, int) and value.bit_length() > 400:
        return "a number of more than 100 digits"
    return one_line(_repr.repr(value), most)


def one_line(text: str, most: int = 200) -> str:
    """The beginning of a text, with an escape for each character that does not print."""
    line = printable(text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."


def printable(text: str) -> str:
    """With an escape, such as \\x1b, for each character that does not print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def harmless(text: str, *, is_ascii: bool = False) -> str:
    """As it may stand in a comment or a docstring of a program, which nothing in it is to end; is_ascii: in ASCII."""
    return re.sub(r"[^\w ./:+=,@~-]", "?", text, flags=re.ASCII if is_ascii else re.UNICODE)


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first few of them, and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def short(number: float) -> str:
    """A bound as people write it: 1e-6, 1e6, 3.4e38."""
    return f"{number:.3g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")


def message_of(error: BaseException, most: int = 200) -> str:
    """An exception's message, its type's name if it has none; what cannot be printed as \\x1b."""
    text = " ".join(str(error).split())
    return shortened(printable(text) or type(error).__name__, most)


def shown_path(path: object) -> str:
    """A path as it is, with an escape for each character that does not print; of a very long one both its ends."""
    return shortened(printable(str(path)), 300)


def shortened(text: str, most: int) -> str:
    """The text, or both its ends where it is longer."""
    if len(text) <= most:
        return text
    end = (most - 3) // 2
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"


def counted(count: int, noun: str) -> str:
    """So many of a thing whose plural ends in s."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def are(count: int) -> str:
    return "is" if count == 1 else "are"
