"""What others say in a sentence of ours: on one line, without control characters, and not too long."""


def message_of(error: BaseException, most: int = 200) -> str:
    """An exception's message, its type's name if it has none; what cannot be printed as \\x1b."""
    text = " ".join(str(error).split())
    seen = (one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return shortened("".join(seen) or type(error).__name__, most)


def shortened(text: str, most: int) -> str:
    """The text, or both its ends where it is longer."""
    if len(text) <= most:
        return text
    end = (most - 3) // 2
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"
