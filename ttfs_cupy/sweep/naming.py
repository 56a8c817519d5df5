"""What a run's folder is called: by its settings, within what file systems and shells bear."""

import hashlib
import re
from collections.abc import Sequence

# characters; file systems allow 255 bytes
LONGEST = 100
# hexadecimal digits, of which so many tell 10,000 names apart
DIGITS = 12

_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]+")


def folder_name(assignments: Sequence[tuple[str, str]]) -> str:
    """key=value,key=value. Where that had to be changed or cut, it ends in a digest of what it was.

    Different assignments have different names.
    """
    whole = ",".join(f"{key}={value}" for key, value in assignments)
    safe = ",".join(f"{_safe(key)}={_safe(value)}" for key, value in assignments)
    if safe == whole and len(safe) <= LONGEST:
        return safe
    # as parts: a value may itself hold commas and equals signs
    digest = hashlib.sha256(repr(list(assignments)).encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    return f"{safe[: LONGEST - DIGITS - 1]}-{digest}"


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text)
