"""Words of others in a sentence of ours: at most a line of any value, and no control characters."""

# Characters of a value that a message shows.
MOST = 80
# Digits of a whole number that a message shows; Python itself refuses to write out some thousands.
MOST_DIGITS = 40


def shown(value: object, most: int = MOST) -> str:
    """A value as a message shows it: at most a line, whatever it is."""
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)):
        return shortened(repr(value[: most + 1]), most)
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    # what a container holds may be long, deep or its own part
    return f"a {type(value).__name__}"


def one_line(error: BaseException, most: int = 200) -> str:
    """An exception's message on one line, its type's name if it has none; what cannot be printed as \\x1b."""
    text = " ".join(str(error).split())
    seen = (one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return shortened("".join(seen) or type(error).__name__, most)


def shortened(text: str, most: int) -> str:
    """The text, or both its ends where it is longer."""
    if len(text) <= most:
        return text
    end = (most - 3) // 2
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"
