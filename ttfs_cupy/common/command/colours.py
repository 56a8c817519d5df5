"""Colours, for terminals alone. What NO_COLOR, FORCE_COLOR and TERM=dumb mean, they mean here as in Python itself."""

import os
from typing import Any

RED, YELLOW, BOLD = "31", "33", "1"


def suit(stream: Any) -> bool:
    """Whether that stream is to get colours: it is a terminal, unless the environment says otherwise.

    NO_COLOR (no-color.org) forbids them, FORCE_COLOR has a file or a pipe get them, too; either counts if it is not
    empty, and the first one counts more.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    if os.environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        # closed, or none of a file's kind
        return False


def painted(text: str, colour: str, stream: Any) -> str:
    """The text as that stream is to get it. colour: RED, YELLOW or BOLD."""
    return f"\033[{colour}m{text}\033[0m" if text and suit(stream) else text
