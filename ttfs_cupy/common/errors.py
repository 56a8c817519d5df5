"""The one exception for a user's mistake: commands print it as one sentence and exit with 2."""

import reprlib

_MOST_CHARACTERS = 60


class UserError(ValueError):
    """What was wrong, where, and what would be right, in one sentence."""


def shown(value: object) -> str:
    """A value as a message shows it: a piece of a line, however large or strange it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a number of " + ("more than 60 digits" if value > 0 else "more than 60 digits, below 0")
    text = " ".join(reprlib.repr(value).split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."
